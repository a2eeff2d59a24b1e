//! What waits for the writer: bounded by bytes and by count, first come first served, closed for good by a failure.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use raft_core::traits::{GroupWrite, LogStoreError};
use raft_core::types::{EntryId, GroupId};
use tokio::sync::{Semaphore, oneshot};

use super::group::lock;
use super::options::RocksLogOptions;

/// What a request costs beside its payload, so that many small ones are bounded, too.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// How often the writer looks in vain whether more requests come: some microseconds.
const LOOKS_MAX: usize = 16;

/// How often it looks before it goes to sleep, and how often in vain before it stops doing so.
const HOPE_LOOKS: usize = 64;
const HOPE_MISSES_MAX: u32 = 4;

/// What the writer shall do.
#[derive(Debug)]
pub(crate) enum Job {
    Write(Vec<GroupWrite>),
    Compact(GroupId, EntryId),
    Destroy(GroupId),
}

/// A job, and who waits for it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) job: Job,
    pub(crate) answer: oneshot::Sender<Result<(), LogStoreError>>,
    bytes: u32,
}

/// The queue between the callers and the writer thread.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// Held from the moment a call begins to wait for room until it is queued. Its waiters are served strictly in
    /// order; with the semaphores alone, a call that finds room could overtake one that was just woken.
    turn: tokio::sync::Mutex<()>,
    bytes: Semaphore,
    bytes_max: u32,
    requests: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// No new request is taken; the writer ends when the rest is done.
    closed: bool,
    /// The store failed: nothing is written any more (R60).
    failed: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.failed && !self.closed
    }
}

/// Whether it pays to look for the next request before going to sleep.
#[derive(Debug, Default)]
pub(crate) struct Hope {
    misses: u32,
}

impl Hope {
    fn looks(&self) -> usize {
        match self.misses {
            // One attempt in 64 finds out whether the callers have changed.
            misses if misses < HOPE_MISSES_MAX || misses.is_multiple_of(64) => HOPE_LOOKS,
            _ => 0,
        }
    }

    fn note(&mut self, found: bool) {
        self.misses = if found { 0 } else { self.misses.wrapping_add(1) };
    }
}

impl Queue {
    pub(crate) fn new(options: &RocksLogOptions) -> Queue {
        let bytes_max = u32::try_from(options.queue_bytes_max).unwrap_or(u32::MAX).max(1);
        Queue {
            state: Mutex::default(),
            ready: Condvar::new(),
            turn: tokio::sync::Mutex::new(()),
            bytes: Semaphore::new(bytes_max as usize),
            bytes_max,
            requests: Semaphore::new(options.queue_requests_max.max(1)),
        }
    }

    /// Queues a job and waits for its answer. Jobs are done in the order in which their calls were first polled. A
    /// call that is dropped before it was queued does nothing; afterwards it is done all the same.
    pub(crate) async fn submit(&self, job: Job) -> Result<(), LogStoreError> {
        let bytes = job.bytes().min(self.bytes_max);
        let (answer, answered) = oneshot::channel();
        let was_empty = {
            let _turn = self.turn.lock().await;
            // Both permits are given back by the writer when the request is done. Failure closes the semaphores.
            let requests = self.requests.acquire().await.map_err(|_| LogStoreError::Failed)?;
            let room = self
                .bytes
                .acquire_many(bytes)
                .await
                .map_err(|_| LogStoreError::Failed)?;
            let mut state = lock(&self.state);
            if state.failed || state.closed {
                return Err(LogStoreError::Failed);
            }
            requests.forget();
            room.forget();
            state.waiting.push_back(Request { job, answer, bytes });
            state.waiting.len() == 1
        };
        // With no lock held: the writer would wake up and wait for it.
        if was_empty {
            self.ready.notify_one();
        }
        answered.await.unwrap_or(Err(LogStoreError::Failed))
    }

    /// Waits for requests and takes all of them; `None` when the queue is closed and empty, or failed.
    ///
    /// `before` is how many the last batch had. Callers that were answered together come back one after the other: as
    /// long as fewer wait than came last time, and more keep coming, it is better to let them in than to sync for the
    /// first one alone. A caller that is alone never waits for that.
    ///
    /// A caller that is answered and has more to write is back within microseconds, and waking a thread takes as long. So
    /// the writer looks for it before it goes to sleep, as long as that proves right.
    pub(crate) fn take(&self, before: usize, hope: &mut Hope) -> Option<VecDeque<Request>> {
        let mut state = lock(&self.state);
        if state.is_idle() {
            for _ in 0..hope.looks() {
                drop(state);
                thread::yield_now();
                state = lock(&self.state);
                if !state.is_idle() {
                    break;
                }
            }
            hope.note(!state.is_idle());
        }
        while state.is_idle() {
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut seen, mut looks) = (state.waiting.len(), 0);
        while seen < before && looks < LOOKS_MAX && !state.failed {
            drop(state);
            thread::yield_now();
            state = lock(&self.state);
            looks = if state.waiting.len() > seen { 0 } else { looks + 1 };
            seen = state.waiting.len();
        }
        if state.failed || state.waiting.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut state.waiting))
    }

    /// Gives back the room that finished requests took.
    pub(crate) fn release(&self, requests: usize, bytes: usize) {
        self.requests.add_permits(requests);
        self.bytes.add_permits(bytes);
    }

    /// Takes no more requests; what is queued is still done.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.ready.notify_all();
    }

    /// Fails everything that waits, and every later request (R60).
    pub(crate) fn fail(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            state.failed = true;
            std::mem::take(&mut state.waiting)
        };
        self.requests.close();
        self.bytes.close();
        self.ready.notify_all();
        for request in waiting {
            request.finish(Err(LogStoreError::Failed));
        }
    }

    pub(crate) fn is_failed(&self) -> bool {
        lock(&self.state).failed
    }
}

impl Request {
    /// About what it adds to a batch; at most what the whole queue may hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Answers.
    pub(crate) fn finish(self, result: Result<(), LogStoreError>) {
        // The caller may have stopped waiting.
        let _ = self.answer.send(result);
    }
}

impl Job {
    fn bytes(&self) -> u32 {
        let bytes = match self {
            Job::Write(batch) => batch
                .iter()
                .map(|write| {
                    let entries = write.log.entries().iter();
                    ENTRY_OVERHEAD_BYTES
                        + entries
                            .map(|entry| ENTRY_OVERHEAD_BYTES + entry.payload_bytes())
                            .sum::<usize>()
                })
                .sum(),
            Job::Compact(..) | Job::Destroy(..) => ENTRY_OVERHEAD_BYTES,
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}
