//! The state machine's own thread or task: applies what is committed, answers questions, takes and restores snapshots.

use std::sync::Arc;

use super::error::NodeError;
use super::queue::{TaskQueue, ThreadQueue};
use super::shared::{PanicGuard, Shared};
use super::snapshots::{self, SnapshotStream};
use super::waiters::Question;
use crate::driver::ApplyBatch;
use crate::input::Input;
use crate::message::SnapshotMeta;
use crate::sessions::ReplicatedState;
use crate::traits::StateMachineError;

/// One thing for the state machine to do.
#[derive(Debug)]
pub(super) enum Job {
    Apply(ApplyBatch),
    CreateSnapshot(SnapshotMeta),
    RestoreSnapshot(SnapshotMeta),
    Ask(Vec<Question>),
}

/// Starts the state machine: on a thread, or as a task if it never blocks. It ends when the queue of jobs is closed or
/// the state machine fails.
pub(super) fn spawn(shared: &Arc<Shared>, state: ReplicatedState) -> std::io::Result<()> {
    let alive = shared.lifecycle.alive();
    let guard = PanicGuard {
        shared: shared.clone(),
        part: "state machine",
    };
    let mut applier = Applier {
        shared: shared.clone(),
        state,
    };
    match &shared.jobs {
        Jobs::Task(_) => {
            shared.handle.spawn(async move {
                let _held = (alive, guard);
                let shared = applier.shared.clone();
                if let Err(error) = applier.run_as_task().await {
                    shared.fail(error);
                }
            });
            Ok(())
        }
        Jobs::Thread(_) => {
            let name = format!("raft-apply-{}", shared.config.id);
            let work = move || {
                let _held = (alive, guard);
                if let Err(error) = applier.run_as_thread() {
                    applier.shared.fail(error.into());
                }
            };
            std::thread::Builder::new().name(name).spawn(work).map(drop)
        }
    }
}

/// The queue of jobs, for a thread or for a task.
#[derive(Debug)]
pub(super) enum Jobs {
    Thread(ThreadQueue<Job>),
    Task(TaskQueue<Job>),
}

impl Jobs {
    pub(super) fn new(may_block: bool) -> Jobs {
        if may_block {
            Jobs::Thread(ThreadQueue::new())
        } else {
            Jobs::Task(TaskQueue::new())
        }
    }

    /// Moves everything out of `jobs` to the end of the queue. Drops it if the queue is closed.
    pub(super) fn push_all(&self, jobs: &mut Vec<Job>) {
        match self {
            Jobs::Thread(queue) => queue.push_all(jobs),
            Jobs::Task(queue) => queue.push_all(jobs),
        }
    }

    /// Lets the state machine end, and returns what it did not do.
    pub(super) fn close(&self) -> Vec<Job> {
        match self {
            Jobs::Thread(queue) => queue.close(),
            Jobs::Task(queue) => queue.close(),
        }
    }
}

/// Batches are merged up to about this size: each is a sign of life for the replica, which hands leadership over when its
/// state machine gives none for an election timeout (R35).
const MERGED_BYTES_MAX: usize = 4 << 20;

struct Applier {
    shared: Arc<Shared>,
    state: ReplicatedState,
}

impl Applier {
    fn run_as_thread(&mut self) -> Result<(), StateMachineError> {
        let shared = self.shared.clone();
        // A transport may spawn tasks when it is given an answer to send.
        let _context = shared.handle.enter();
        let Jobs::Thread(queue) = &shared.jobs else {
            return Ok(());
        };
        let mut jobs = Vec::new();
        while queue.take(&mut jobs) {
            let mut rest = jobs.drain(..);
            while let Some(meta) = self.perform(&mut rest)? {
                let mut content = self.open(&meta);
                self.state.restore(&meta, &mut content)?;
                self.restored(&meta);
            }
        }
        Ok(())
    }

    async fn run_as_task(mut self) -> Result<(), NodeError> {
        let shared = self.shared.clone();
        let Jobs::Task(queue) = &shared.jobs else {
            return Ok(());
        };
        let mut jobs = Vec::new();
        while queue.take(&mut jobs).await {
            let mut rest = jobs.drain(..);
            while let Some(meta) = self.perform(&mut rest)? {
                let (mut content, mut state, meta_of_task) = (self.open(&meta), self.state, meta.clone());
                // A snapshot is read as a blocking stream.
                let work = move || state.restore(&meta_of_task, &mut content).map(|()| state);
                let restored = tokio::task::spawn_blocking(work).await;
                self.state = restored.map_err(|_| NodeError::Panicked("state machine"))??;
                self.restored(&meta);
            }
        }
        Ok(())
    }

    /// Does jobs in order up to the next snapshot to restore, which is returned. Entries that arrived in several
    /// batches are applied as one.
    fn perform(
        &mut self,
        jobs: &mut impl Iterator<Item = Job>,
    ) -> Result<Option<SnapshotMeta>, StateMachineError> {
        let mut pending: Option<ApplyBatch> = None;
        let mut pending_bytes = 0;
        for job in jobs {
            match (job, &mut pending) {
                (Job::Apply(next), Some(batch)) if pending_bytes < MERGED_BYTES_MAX => {
                    pending_bytes += next.payload_bytes();
                    batch.merge(next);
                }
                (Job::Apply(next), _) => {
                    self.apply(pending.take())?;
                    pending_bytes = next.payload_bytes();
                    pending = Some(next);
                }
                (Job::CreateSnapshot(meta), _) => {
                    self.apply(pending.take())?;
                    let content = self.state.snapshot()?;
                    snapshots::save(&self.shared, meta, content);
                }
                (Job::RestoreSnapshot(meta), _) => {
                    self.apply(pending.take())?;
                    return Ok(Some(meta));
                }
                (Job::Ask(questions), _) => {
                    self.apply(pending.take())?;
                    self.answer(questions);
                }
            }
        }
        self.apply(pending)?;
        Ok(None)
    }

    fn open(&self, meta: &SnapshotMeta) -> SnapshotStream {
        let store = self.shared.snapshot_store.clone();
        let alive = self.shared.lifecycle.alive();
        let (handle, group) = (&self.shared.handle, self.shared.config.group);
        snapshots::open_stream(handle, store, group, meta.last, alive)
    }

    fn restored(&self, meta: &SnapshotMeta) {
        self.shared.inbox.complete([Input::SnapshotRestored(meta.last)]);
    }

    fn apply(&mut self, batch: Option<ApplyBatch>) -> Result<(), StateMachineError> {
        let Some(batch) = batch else {
            return Ok(());
        };
        let results = self.state.apply(&batch.entries)?;
        let last = batch.last_index();
        let mut settled = batch.settle(results);
        let questions = self.shared.waiters.resolve(&mut settled.outcomes);
        self.shared.send_all(&mut settled.messages);
        self.shared.inbox.complete([Input::Applied(last)]);
        self.answer(questions);
        Ok(())
    }

    /// A question that cannot be answered concerns nobody but who asked it.
    fn answer(&self, questions: Vec<Question>) {
        for question in questions {
            let answer = self.state.query(&question.question);
            self.shared.waiters.answer(question, answer);
        }
    }
}
