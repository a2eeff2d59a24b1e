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
use raft_core::types::EntryId;

use super::{LOOK_AGAIN, World};
use crate::history::hash_bytes;
use crate::machine::Machine;
use crate::node::{Job, ReplicaId};
use crate::observation::Observation;
use crate::queue::Event;
use crate::violation::Violation;
use crate::workload::Sighting;

/// Of a hundred times that a state machine applied something: how often it keeps its state, if it keeps any.
const KEEP_PERCENT: u32 = 4;

impl World<'_> {
    pub(super) fn add_job(&mut self, at: ReplicaId, job: Job) {
        if let Some(process) = &mut self.groups.node_mut(at).process {
            process.jobs.push_back(job);
        }
    }

    /// If the state machine rests, it begins with what is next.
    pub(super) fn begin_work(&mut self, at: ReplicaId) {
        let (now, apply_us) = (self.now, self.apply_us());
        let machine = self.machines.get_mut(at.node);
        let node = self.groups.node_mut(at);
        let life = machine.life;
        let Some(process) = &mut node.process else { return };
        if process.is_working || process.jobs.is_empty() {
            return;
        }
        process.is_working = true;
        let duration = Duration::from_micros(1 + machine.random.exponential(apply_us));
        let when = (now + duration).max(node.apply_stalled_until.min(now + LOOK_AGAIN));
        self.queue.push(when, Event::Worked { at, life });
    }

    /// A state machine did what was next.
    pub(super) fn worked(&mut self, at: ReplicaId, life: u64) -> Result<(), Violation> {
        let now = self.now;
        let machine = self.machines.get(at.node);
        if machine.life != life {
            return Ok(());
        }
        let node = self.groups.node_mut(at);
        let later = node.apply_stalled_until.max(machine.paused_until);
        if later > now {
            self.queue.push(self.again(later), Event::Worked { at, life });
            return Ok(());
        }
        set_wall_clock(machine, now);
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
                Some(self.apply(at, batch)?)
            }
            Some(Job::CreateSnapshot(meta)) => {
                self.create_snapshot(at, meta)?;
                None
            }
            Some(Job::RestoreSnapshot(meta)) => self.restore_snapshot(at, &meta)?,
            Some(Job::Ask { ticket, question }) => {
                let answer = process.state.query(&question);
                self.answered(at, ticket, answer.ok())?;
                None
            }
        };
        match done {
            Some(input) => self.step(at, vec![input]),
            None => {
                self.begin_work(at);
                Ok(())
            }
        }
    }

    fn apply(&mut self, at: ReplicaId, batch: ApplyBatch) -> Result<Input, Violation> {
        let node = self.groups.node_mut(at);
        let Some(process) = &mut node.process else {
            return Ok(Input::Tick);
        };
        let results = match process.state.apply(&batch.entries) {
            Ok(results) => results,
            Err(error) => return Err(self.failed(at, &error)),
        };
        let last = batch.entries.last().map_or(EntryId::ZERO, |entry| entry.id);
        for (entry, reply) in batch.entries.iter().zip(&results) {
            let seen = Observation::Applied {
                node: at.node,
                entry,
                reply,
            };
            self.observe(at.group, &seen)?;
        }
        self.state_reached(at)?;
        let settled = batch.settle(results);
        for (ticket, outcome) in settled.outcomes {
            self.resolved(at, ticket, outcome)?;
        }
        self.send_all(at.group, settled.messages)?;
        self.keep_state(at, last)?;
        Ok(Input::Applied(last.index))
    }

    /// Tells what the state machine was seen to do.
    fn state_reached(&mut self, at: ReplicaId) -> Result<(), Violation> {
        let process = self.groups.node(at).process.as_ref();
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
            self.observe(
                at.group,
                &Observation::StateReached {
                    node: at.node,
                    last,
                    responses,
                    state_hash,
                },
            )?;
        }
        Ok(())
    }

    /// A state machine that survives restarts stores its state now and then; the log replays the rest.
    fn keep_state(&mut self, at: ReplicaId, last: EntryId) -> Result<(), Violation> {
        let keeps = self.plan.settings.durable_state;
        let machine = self.machines.get_mut(at.node);
        let node = self.groups.node_mut(at);
        if !keeps || !machine.random.percent(KEEP_PERCENT) {
            return Ok(());
        }
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        match content_of(&mut process.state) {
            Ok(content) => node.kept_state = Some((last, content)),
            Err(error) => return Err(self.failed(at, &error)),
        }
        Ok(())
    }

    /// The state that a process begins with; none if the snapshot that it needs is not there.
    pub(super) fn recover_state(
        &mut self,
        at: ReplicaId,
        recovered: &Recovered,
    ) -> Result<Option<(ReplicatedState, Receiver<Sighting>)>, Violation> {
        let (state_machine, sightings) = (self.state_machines)();
        let opened = ReplicatedState::open(state_machine);
        let mut state = opened.map_err(|error| self.failed(at, &error))?;
        let node = self.groups.node(at);
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
        restored.map_err(|error| self.failed(at, &error))?;
        // What it was given at the start is what it had before.
        sightings.try_iter().for_each(drop);
        Ok(Some((state, sightings)))
    }

    /// A state machine gave an error: that stops its replica, and is a mistake of the state machine.
    pub(super) fn failed(&self, at: ReplicaId, error: &StateMachineError) -> Violation {
        self.broken(
            at.group,
            "state machine",
            &format!("that of node {} failed: {error}", at.node),
        )
    }

    // ---- snapshots ----

    fn create_snapshot(&mut self, at: ReplicaId, meta: SnapshotMeta) -> Result<(), Violation> {
        let (now, sync_us) = (self.now, self.sync_us());
        let machine = self.machines.get_mut(at.node);
        let life = machine.life;
        let Some(process) = &mut self.groups.node_mut(at).process else {
            return Ok(());
        };
        let content = match content_of(&mut process.state) {
            Ok(content) => content,
            Err(error) => return Err(self.failed(at, &error)),
        };
        let when = now + Duration::from_micros(50 + machine.random.exponential(2 * sync_us));
        let written = Event::SnapshotWritten {
            at,
            life,
            meta,
            content,
        };
        self.queue.push(when, written);
        Ok(())
    }

    fn restore_snapshot(&mut self, at: ReplicaId, meta: &SnapshotMeta) -> Result<Option<Input>, Violation> {
        let keeps = self.plan.settings.durable_state;
        let node = self.groups.node_mut(at);
        let Ok((_, content)) = node.storage.snapshot(meta.last) else {
            // A replica that cannot restore must stop.
            self.fail(at.node)?;
            return Ok(None);
        };
        let Some(process) = &mut node.process else {
            return Ok(None);
        };
        if let Err(error) = process.state.restore(meta, &mut &content[..]) {
            return Err(self.failed(at, &error));
        }
        let content_hash = hash_bytes(&content);
        if keeps {
            node.kept_state = Some((meta.last, content));
        }
        self.observe(
            at.group,
            &Observation::SnapshotRestored {
                node: at.node,
                meta,
                content_hash,
            },
        )?;
        self.state_reached(at)?;
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
fn set_wall_clock(machine: &Machine, now: crate::clock::Instant) {
    raft_core::mutants::set_wall_clock(machine.clock.at(now).as_nanos() / 1_000_000);
}

#[cfg(not(feature = "mutants"))]
fn set_wall_clock(_machine: &Machine, _now: crate::clock::Instant) {}
