//! The thread of the state machine: applies what is committed, answers questions, takes and restores snapshots.

use std::sync::Arc;

use super::shared::{PanicGuard, Shared};
use super::snapshots;
use super::waiters::Question;
use crate::driver::ApplyBatch;
use crate::input::Input;
use crate::message::SnapshotMeta;
use crate::traits::{StateMachine, StateMachineError};
use crate::types::EntryId;

/// One thing for the state machine to do.
#[derive(Debug)]
pub(super) enum Job {
    Apply(ApplyBatch),
    CreateSnapshot(SnapshotMeta),
    RestoreSnapshot(SnapshotMeta),
    Ask(Vec<Question>),
}

/// Starts the thread. It ends when the queue of jobs is closed or the state machine fails.
pub(super) fn spawn(shared: Arc<Shared>, state_machine: Box<dyn StateMachine>) -> std::io::Result<()> {
    let alive = shared.lifecycle.alive();
    let name = format!("raft-apply-{}", shared.config.id);
    let work = move || {
        let _alive = alive;
        let _guard = PanicGuard {
            shared: shared.clone(),
            part: "state machine",
        };
        // A transport may spawn tasks when it is given an answer to send.
        let _context = shared.handle.enter();
        let mut applier = Applier {
            shared: shared.clone(),
            state_machine,
        };
        let mut jobs = Vec::new();
        while shared.jobs.take(&mut jobs) {
            if let Err(error) = applier.perform(&mut jobs) {
                shared.fail(error.into());
                return;
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(work).map(drop)
}

struct Applier {
    shared: Arc<Shared>,
    state_machine: Box<dyn StateMachine>,
}

impl Applier {
    /// Does everything in order; entries that arrived in several batches are applied as one.
    fn perform(&mut self, jobs: &mut Vec<Job>) -> Result<(), StateMachineError> {
        let mut pending: Option<ApplyBatch> = None;
        for job in jobs.drain(..) {
            match (job, &mut pending) {
                (Job::Apply(next), Some(batch)) => batch.merge(next),
                (Job::Apply(next), None) => pending = Some(next),
                (other, _) => {
                    self.apply(pending.take())?;
                    self.perform_other(other)?;
                }
            }
        }
        self.apply(pending)
    }

    fn apply(&mut self, batch: Option<ApplyBatch>) -> Result<(), StateMachineError> {
        let Some(batch) = batch else {
            return Ok(());
        };
        let responses = self.state_machine.apply(&batch.entries)?;
        if responses.len() != batch.entries.len() {
            let (given, expected) = (responses.len(), batch.entries.len());
            let message = format!("it gave {given} responses to {expected} entries; give one for each");
            return Err(StateMachineError::new(message));
        }
        let last = batch.entries.last().map_or(EntryId::ZERO, |entry| entry.id);
        self.expect_position("applying entries", last)?;
        let mut settled = batch.settle(responses);
        let questions = self.shared.waiters.resolve(&mut settled.outcomes);
        self.shared.send_all(&mut settled.messages);
        self.shared.inbox.complete([Input::Applied(last.index)]);
        self.answer(questions);
        Ok(())
    }

    /// A state machine that does not count every entry would apply some twice after a restart (R72).
    fn expect_position(&self, after: &str, expected: EntryId) -> Result<(), StateMachineError> {
        let found = self.state_machine.last_applied();
        if found == expected {
            return Ok(());
        }
        Err(StateMachineError::new(format!(
            "after {after} up to {expected} its last_applied is {found}; every entry counts, also one without a command"
        )))
    }

    fn perform_other(&mut self, job: Job) -> Result<(), StateMachineError> {
        match job {
            Job::Apply(batch) => self.apply(Some(batch)),
            Job::CreateSnapshot(meta) => {
                self.expect_position("applying entries", meta.last)?;
                let content = self.state_machine.snapshot()?;
                snapshots::save(&self.shared, meta, content);
                Ok(())
            }
            Job::RestoreSnapshot(meta) => {
                let store = self.shared.snapshot_store.clone();
                let alive = self.shared.lifecycle.alive();
                let (handle, group) = (&self.shared.handle, self.shared.config.group);
                let content = snapshots::open_stream(handle, store, group, meta.last, alive);
                snapshots::restore(&mut *self.state_machine, &meta, content)?;
                self.shared.inbox.complete([Input::SnapshotRestored(meta.last)]);
                Ok(())
            }
            Job::Ask(questions) => {
                self.answer(questions);
                Ok(())
            }
        }
    }

    /// A question that cannot be answered concerns nobody but who asked it.
    fn answer(&self, questions: Vec<Question>) {
        for question in questions {
            let answer = self.state_machine.query(&question.question);
            self.shared.waiters.answer(question, answer);
        }
    }
}
