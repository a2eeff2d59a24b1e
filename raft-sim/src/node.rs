//! One machine: its disks and its clock, and the process on it while that runs.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use raft_core::config::Config;
use raft_core::driver::{ApplyBatch, Driver};
use raft_core::effect::Write;
use raft_core::membership::Membership;
use raft_core::message::{Message, SnapshotMeta};
use raft_core::pulse::Pulses;
use raft_core::sessions::ReplicatedState;
use raft_core::status::Status;
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, HardState, NodeId, Ticket, Trust, WriteSeq};

use bytes::Bytes;

use crate::clock::{Clock, Instant};
use crate::disk::{LogImage, Storage, SyncMark};
use crate::random::Random;
use crate::workload::Sighting;

/// All machines, by their ids, which count up from 1.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Vec<Node>);

impl Nodes {
    /// One of them; asking for one that was never made is a mistake of the simulator.
    pub(crate) fn get(&self, id: NodeId) -> &Node {
        &self.0[id.0 as usize - 1]
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.0[id.0 as usize - 1]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.0.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, id: NodeId) -> bool {
        (1..=self.0.len() as u64).contains(&id.0)
    }

    /// The id of the next machine.
    pub(crate) fn next_id(&self) -> NodeId {
        NodeId(self.0.len() as u64 + 1)
    }

    pub(crate) fn push(&mut self, node: Node) {
        debug_assert_eq!(node.config.id, self.next_id(), "ids count up from 1");
        self.0.push(node);
    }
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    /// The configuration that it is started with if its disk is empty; empty for one that joins.
    pub(crate) founding: Membership,
    pub(crate) clock: Clock,
    pub(crate) storage: Storage,
    /// What will be durable once every write completed: the log as the replica sees it.
    pub(crate) issued: LogImage,
    /// What was durable when its last process ended, before anything was damaged.
    pub(crate) promised: LogImage,
    /// The process; none while it is down.
    pub(crate) process: Option<Process>,
    /// Counts its starts and stops: what was begun in an earlier life does not reach a later one.
    pub(crate) life: u64,
    /// Until when the process does nothing.
    pub(crate) paused_until: Instant,
    /// Until when the disk completes nothing.
    pub(crate) disk_stalled_until: Instant,
    /// Until when the state machine does nothing.
    pub(crate) apply_stalled_until: Instant,
    /// Whether its disks lost something that it had promised, and it is not trusted again since.
    pub(crate) lost: bool,
    /// What a state machine that survives restarts has kept: the state after an entry, as a snapshot of it.
    pub(crate) kept_state: Option<(EntryId, Bytes)>,
    /// Counts how often its disks were replaced.
    pub(crate) disks: u64,
    /// Delays of its disk and its state machine.
    pub(crate) random: Random,
}

impl Node {
    pub(crate) fn id(&self) -> NodeId {
        self.config.id
    }

    /// What its replica says of itself; none while it is down.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.process.as_ref().map(|process| &process.status)
    }

    /// What is durable on its disks.
    pub(crate) fn durable(&self) -> &LogImage {
        self.storage.durable()
    }

    /// Whether it remembers everything that it ever promised and may say so: it counts.
    pub(crate) fn is_sound(&self) -> bool {
        let trusts_itself = self.status().is_none_or(|status| !status.suspect);
        let durable = self.durable();
        trusts_itself
            && self.storage.is_intact()
            && durable.hard_state.trust == Trust::Trusted
            && durable.last() != EntryId::ZERO
    }

    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until > now
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) driver: Driver,
    /// Which groups of it sleep, and whom it watches for that; none where no group sleeps.
    pub(crate) pulses: Option<Pulses>,
    /// The state after the last step.
    pub(crate) status: Status,
    pub(crate) state: ReplicatedState,
    /// What its state machine was seen to do.
    pub(crate) sightings: Receiver<Sighting>,
    /// Writes that wait for the one under way.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) writing: Option<Writing>,
    /// Since when the disk owes an answer, by the own clock; meaningless if it does not.
    pub(crate) writing_since: raft_core::types::Time,
    /// What the state machine has to do.
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) is_working: bool,
    /// The earliest timer that is set.
    pub(crate) timer: Instant,
    /// Snapshots that are older were removed.
    pub(crate) oldest_snapshot: EntryId,
}

/// A write under way: one of the replica's, or several as one.
#[derive(Debug)]
pub(crate) struct Writing {
    /// None if it only keeps a place for its messages.
    pub(crate) change: Option<(GroupWrite, SyncMark)>,
    /// The hard state before.
    pub(crate) before: HardState,
    pub(crate) last: WriteSeq,
    pub(crate) then: Vec<Message>,
}

/// One thing for a state machine to do.
#[derive(Debug)]
pub(crate) enum Job {
    Apply(ApplyBatch),
    CreateSnapshot(SnapshotMeta),
    RestoreSnapshot(SnapshotMeta),
    Ask { ticket: Ticket, question: Bytes },
}
