//! The state machine of each process, on a thread of its own as it were: jobs in order, each of which takes time.

use std::io::Read;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use raft_core::driver::ApplyBatch;
use raft_core::input::Input;
use raft_core::message::SnapshotMeta;
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{Recovered, StateMachineError};
use raft_core::types::{EntryId, NodeId};

use super::{LOOK_AGAIN, World};
use crate::history::hash_bytes;
use crate::node::{Job, Node};
use crate::observation::Observation;
use crate::queue::Event;
use crate::violation::Violation;
use crate::workload::Sighting;

/// Of a hundred times that a state machine applied something: how often it keeps its state, if it keeps any.
const KEEP_PERCENT: u32 = 4;

impl World<'_> {
    pub(super) fn add_job(&mut self, id: NodeId, job: Job) {
        if let Some(process) = &mut self.nodes.get_mut(id).process {
            process.jobs.push_back(job);
        }
    }

    /// If the state machine rests, it begins with what is next.
    pub(super) fn begin_work(&mut self, id: NodeId) {
        let (now, apply_us) = (self.now, self.apply_us());
        let node = self.nodes.get_mut(id);
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        if process.is_working || process.jobs.is_empty() {
            return;
        }
        process.is_working = true;
        let duration = Duration::from_micros(1 + node.random.exponential(apply_us));
        let at = (now + duration).max(node.apply_stalled_until.min(now + LOOK_AGAIN));
        self.queue.push(at, Event::Worked { node: id, life });
    }

    /// A state machine did what was next.
    pub(super) fn worked(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let now = self.now;
        let node = self.nodes.get_mut(id);
        if node.life != life {
            return Ok(());
        }
        let later = node.apply_stalled_until.max(node.paused_until);
        if later > now {
            self.queue
                .push(self.again(later), Event::Worked { node: id, life });
            return Ok(());
        }
        set_wall_clock(node, now);
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        process.is_working = false;
        let done = match process.jobs.pop_front() {
            None => return Ok(()),
            Some(Job::Apply(mut batch)) => {
                while let Some(Job::Apply(next)) =
                    process.jobs.pop_front_if(|job| matches!(job, Job::Apply(_)))
                {
                    batch.merge(next);
                }
                Some(self.apply(id, batch)?)
            }
            Some(Job::CreateSnapshot(meta)) => {
                self.create_snapshot(id, meta)?;
                None
            }
            Some(Job::RestoreSnapshot(meta)) => self.restore_snapshot(id, &meta)?,
            Some(Job::Ask { ticket, question }) => {
                let answer = process.state.query(&question);
                self.answered(id, ticket, answer.ok())?;
                None
            }
        };
        match done {
            Some(input) => self.step(id, vec![input]),
            None => {
                self.begin_work(id);
                Ok(())
            }
        }
    }

    fn apply(&mut self, id: NodeId, batch: ApplyBatch) -> Result<Input, Violation> {
        let node = self.nodes.get_mut(id);
        let Some(process) = &mut node.process else {
            return Ok(Input::Tick);
        };
        let results = match process.state.apply(&batch.entries) {
            Ok(results) => results,
            Err(error) => return Err(self.failed(id, &error)),
        };
        let last = batch.entries.last().map_or(EntryId::ZERO, |entry| entry.id);
        for (entry, reply) in batch.entries.iter().zip(&results) {
            let seen = Observation::Applied {
                node: id,
                entry,
                reply,
            };
            self.watch.observe(self.now, &self.nodes, &seen)?;
        }
        self.state_reached(id)?;
        let settled = batch.settle(results);
        for (ticket, outcome) in settled.outcomes {
            self.resolved(id, ticket, outcome)?;
        }
        self.send_all(settled.messages)?;
        self.keep_state(id, last)?;
        Ok(Input::Applied(last.index))
    }

    /// Tells what the state machine was seen to do.
    fn state_reached(&mut self, id: NodeId) -> Result<(), Violation> {
        let process = self.nodes.get(id).process.as_ref();
        let sightings: Vec<Sighting> =
            process.map_or_else(Vec::new, |process| process.sightings.try_iter().collect());
        for sighting in &sightings {
            let (last, responses, state_hash) = match sighting {
                Sighting::Applied {
                    last,
                    responses,
                    state_hash,
                    ..
                } => (*last, responses.as_slice(), *state_hash),
                Sighting::Restored { last, state_hash } => (*last, &[][..], *state_hash),
            };
            self.observe(&Observation::StateReached {
                node: id,
                last,
                responses,
                state_hash,
            })?;
        }
        Ok(())
    }

    /// A state machine that survives restarts stores its state now and then; the log replays the rest.
    fn keep_state(&mut self, id: NodeId, last: EntryId) -> Result<(), Violation> {
        let keeps = self.plan.settings.durable_state;
        let node = self.nodes.get_mut(id);
        if !keeps || !node.random.percent(KEEP_PERCENT) {
            return Ok(());
        }
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        match content_of(&mut process.state) {
            Ok(content) => node.kept_state = Some((last, content)),
            Err(error) => return Err(self.failed(id, &error)),
        }
        Ok(())
    }

    /// The state that a process begins with; none if the snapshot that it needs is not there.
    pub(super) fn recover_state(
        &mut self,
        id: NodeId,
        recovered: &Recovered,
    ) -> Result<Option<(ReplicatedState, Receiver<Sighting>)>, Violation> {
        let (state_machine, sightings) = (self.state_machines)();
        let opened = ReplicatedState::open(state_machine);
        let mut state = opened.map_err(|error| self.failed(id, &error))?;
        let node = self.nodes.get(id);
        let restored = match &node.kept_state {
            Some((last, content)) if last.index >= recovered.purged.index => {
                let meta = SnapshotMeta {
                    last: *last,
                    ..SnapshotMeta::default()
                };
                state.restore(&meta, &mut &content[..])
            }
            _ if recovered.purged == EntryId::ZERO => Ok(()),
            _ => match node.storage.snapshot(recovered.snapshot.last) {
                Ok((meta, content)) => state.restore(&meta, &mut &content[..]),
                Err(_) => return Ok(None),
            },
        };
        restored.map_err(|error| self.failed(id, &error))?;
        // What it was given at the start is what it had before.
        sightings.try_iter().for_each(drop);
        Ok(Some((state, sightings)))
    }

    /// A state machine gave an error: that stops its replica, and is a mistake of the state machine.
    pub(super) fn failed(&self, id: NodeId, error: &StateMachineError) -> Violation {
        self.broken("state machine", &format!("that of node {id} failed: {error}"))
    }

    // ---- snapshots ----

    fn create_snapshot(&mut self, id: NodeId, meta: SnapshotMeta) -> Result<(), Violation> {
        let (now, sync_us) = (self.now, self.sync_us());
        let node = self.nodes.get_mut(id);
        let life = node.life;
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        let content = match content_of(&mut process.state) {
            Ok(content) => content,
            Err(error) => return Err(self.failed(id, &error)),
        };
        let at = now + Duration::from_micros(50 + node.random.exponential(2 * sync_us));
        let written = Event::SnapshotWritten {
            node: id,
            life,
            meta,
            content,
        };
        self.queue.push(at, written);
        Ok(())
    }

    fn restore_snapshot(&mut self, id: NodeId, meta: &SnapshotMeta) -> Result<Option<Input>, Violation> {
        let keeps = self.plan.settings.durable_state;
        let node = self.nodes.get_mut(id);
        let Ok((_, content)) = node.storage.snapshot(meta.last) else {
            // A replica that cannot restore must stop.
            self.fail(id)?;
            return Ok(None);
        };
        let Some(process) = &mut node.process else {
            return Ok(None);
        };
        if let Err(error) = process.state.restore(meta, &mut &content[..]) {
            return Err(self.failed(id, &error));
        }
        let content_hash = hash_bytes(&content);
        if keeps {
            node.kept_state = Some((meta.last, content));
        }
        self.observe(&Observation::SnapshotRestored {
            node: id,
            meta,
            content_hash,
        })?;
        self.state_reached(id)?;
        Ok(Some(Input::SnapshotRestored(meta.last)))
    }
}

/// The whole state, as a snapshot would hold it.
fn content_of(state: &mut ReplicatedState) -> Result<Bytes, StateMachineError> {
    let mut content = Vec::new();
    state
        .snapshot()?
        .read_to_end(&mut content)
        .map_err(StateMachineError::new)?;
    Ok(content.into())
}

/// Bugs that look at a clock where none may be looked at see that of their node.
#[cfg(feature = "mutants")]
fn set_wall_clock(node: &Node, now: crate::clock::Instant) {
    raft_core::mutants::set_wall_clock(node.clock.at(now).as_nanos() / 1_000_000);
}

#[cfg(not(feature = "mutants"))]
fn set_wall_clock(_node: &Node, _now: crate::clock::Instant) {}
