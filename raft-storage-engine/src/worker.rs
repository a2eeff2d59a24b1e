//! A few threads for calls that block on a disk.
//!
//! The futures of this crate run on whatever executor the caller has; none may block it, and none may rely on tokio's
//! blocking pool, which exists only inside a tokio runtime and which a slow disk would fill for everybody else. So file
//! and database reads run here: named threads, a bounded queue, results through a oneshot channel.
//! Must never be used for the log's writes: those have an order, and a thread of their own.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// The threads. Dropping it waits for the jobs that are queued.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The job did not run to its end: the threads are being stopped, or the job panicked.
#[derive(Debug, Error)]
#[error("a disk thread stopped before it answered; restart the process")]
pub(crate) struct WorkerGone;

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    /// One permit for each job that may wait.
    room: Semaphore,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} jobs)", self.jobs.len())
    }
}

impl Workers {
    /// Starts `threads` threads whose queue holds at most `jobs_max` jobs.
    pub(crate) fn start(name: &str, threads: usize, jobs_max: usize) -> io::Result<Workers> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            ready: Condvar::new(),
            room: Semaphore::new(jobs_max),
        });
        let mut workers = Workers {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("{name}-{number}"));
            workers.threads.push(builder.spawn(move || shared.run())?);
        }
        Ok(workers)
    }

    /// Runs `job` on one of the threads. Once it is queued it runs, even when the returned future is dropped.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, WorkerGone>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permit = self.shared.room.acquire().await.map_err(|_| WorkerGone)?;
        permit.forget();
        let (answer, answered) = oneshot::channel();
        self.shared.push(Box::new(move || {
            // Nobody may be waiting any more; the job was done all the same.
            let _ = answer.send(job());
        }));
        answered.await.map_err(|_| WorkerGone)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has reported it; there is nothing left to do for it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // The queue is whole after every statement that touches it, so a poisoned lock protects nothing.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.ready.notify_one();
    }

    fn run(&self) {
        loop {
            let job = {
                let mut queue = self.lock();
                loop {
                    if let Some(job) = queue.jobs.pop_front() {
                        break job;
                    }
                    if queue.closed {
                        return;
                    }
                    queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            self.room.add_permits(1);
            // A panicking job drops its answer channel, which its caller sees; the thread goes on for the others.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job on a disk thread panicked; its caller was told");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_back_and_a_panic_costs_only_its_own_caller() {
        let workers = Workers::start("test", 1, 1).unwrap();
        let panicking = workers
            .run(|| {
                if true {
                    panic!("on purpose")
                }
            })
            .await;
        assert!(panicking.is_err());
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }
}
