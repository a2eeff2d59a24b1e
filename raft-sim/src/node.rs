//! What a machine has of one group: its part of the disks, and the replica while that runs.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use raft_core::config::Config;
use raft_core::driver::{ApplyBatch, Driver};
use raft_core::effect::Write;
use raft_core::membership::Membership;
use raft_core::message::{Message, SnapshotMeta};
use raft_core::sessions::ReplicatedState;
use raft_core::status::Status;
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, GroupId, HardState, NodeId, Ticket, Trust, WriteSeq};

use bytes::Bytes;

use crate::by_id::{ById, Identified};
use crate::clock::Instant;
use crate::disk::{DiskError, LogImage, Storage, SyncMark};
use crate::workload::Sighting;

/// The replicas of one group: one for each machine, most of them only a place where one could be.
pub(crate) type Nodes = ById<Node>;

/// What a machine has of one group: its part of the disks, and the replica while that runs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) presence: Presence,
    /// The configuration that it is started with if its disk is empty; empty for one that joins.
    pub(crate) founding: Membership,
    pub(crate) storage: Storage,
    /// What will be durable once every write completed: the log as the replica sees it.
    pub(crate) issued: LogImage,
    /// What was durable when its last process ended, before anything was damaged.
    pub(crate) promised: LogImage,
    /// The replica; none while the machine is down, and where there is none.
    pub(crate) process: Option<Process>,
    /// Until when the state machine does nothing.
    pub(crate) apply_stalled_until: Instant,
    /// Whether its disks lost something that it had promised, and it is not trusted again since.
    pub(crate) lost: bool,
    /// What a state machine that survives restarts has kept: the state after an entry, as a snapshot of it.
    pub(crate) kept_state: Option<(EntryId, Bytes)>,
}

/// Which replica: of which group, and on which machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaId {
    pub(crate) group: GroupId,
    pub(crate) node: NodeId,
}

/// Whether a machine has a replica of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nobody created one.
    Absent,
    /// Somebody did, and it is there as soon as the machine runs.
    Ordered,
    /// It is there, on the disk at least.
    Here,
    /// It was destroyed, for ever. What its disks held is kept for those who watch, and read by nobody else.
    Destroyed,
}

impl Node {
    /// A place where a replica could be.
    pub(crate) fn absent(config: Config) -> Node {
        Node {
            presence: Presence::Absent,
            founding: Membership::empty(),
            storage: Storage::new(config.group),
            issued: LogImage::default(),
            promised: LogImage::default(),
            process: None,
            apply_stalled_until: Instant::ZERO,
            lost: false,
            kept_state: None,
            config,
        }
    }

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
            && self.presence != Presence::Destroyed
            && self.storage.is_intact()
            && durable.hard_state.trust == Trust::Trusted
            && durable.last() != EntryId::ZERO
    }

    /// If nothing is under way, everything that waits is written, and what that comes to is known when the sync ends.
    /// Returns whether anything changed on the disk; none if nothing waits.
    pub(crate) fn begin_write(&mut self) -> Option<Result<bool, DiskError>> {
        let process = self.process.as_mut()?;
        if process.writing.is_some() || process.writes.is_empty() {
            return None;
        }
        let (mut change, mut then, mut last): (Option<GroupWrite>, _, _) =
            (None, Vec::new(), WriteSeq::default());
        for write in process.writes.drain(..) {
            last = write.seq;
            let is_empty = write.is_empty();
            then.extend(write.then);
            if is_empty {
                continue;
            }
            let next = GroupWrite {
                group: self.config.group,
                hard_state: write.hard_state,
                snapshot: write.snapshot,
                log: write.log,
            };
            match &mut change {
                Some(change) => change.merge(next),
                None => change = Some(next),
            }
        }
        let before = self.storage.durable().hard_state;
        let change = match change.map(|change| self.storage.write(&change).map(|_| change)) {
            None => None,
            Some(Ok(change)) => Some((change, self.storage.begin_sync())),
            Some(Err(error)) => return Some(Err(error)),
        };
        let has_changed = change.is_some();
        process.writing = Some(Writing {
            change,
            before,
            last,
            then,
        });
        Some(Ok(has_changed))
    }
}

impl Identified for Node {
    fn id(&self) -> NodeId {
        self.config.id
    }
}

/// A running replica.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) driver: Driver,
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
    /// Nodes that are gone, of which the replica hears with its next step.
    pub(crate) lost_peers: Vec<NodeId>,
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
