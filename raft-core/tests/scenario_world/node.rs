//! One replica with its disk, its state machine, and the queues between them.

use std::collections::{BTreeMap, VecDeque};

use raft_core::config::Config;
use raft_core::effect::Write;
use raft_core::entry::Entry;
use raft_core::input::{Input, LogRead};
use raft_core::message::SnapshotMeta;
use raft_core::raft::{Raft, RaftError};
use raft_core::types::{EntryId, Index, NodeId, Time};

use super::disk::Disk;

/// What the state machine has to do next.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Apply these entries.
    Apply(Vec<Entry>),
    /// Save a snapshot.
    Create(SnapshotMeta),
    /// Replace the state by a snapshot.
    Restore(SnapshotMeta),
}

/// What becomes of reads of the log store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// They are answered at once.
    Answer,
    /// They fail at once.
    Fail,
    /// They wait until the mode changes.
    Hold,
}

/// One replica and everything that is its own.
pub(crate) struct Node {
    pub(crate) config: Config,
    /// The protocol; none while the node is down.
    pub(crate) raft: Option<Raft>,
    /// What is durable.
    pub(crate) disk: Disk,
    /// What will be durable once every queued write completed: the log as the replica sees it.
    pub(crate) issued: Disk,
    pub(crate) writes: VecDeque<Write>,
    pub(crate) disk_stalled: bool,
    pub(crate) work: VecDeque<Work>,
    pub(crate) apply_stalled: bool,
    pub(crate) log_reads: VecDeque<LogRead>,
    pub(crate) read_mode: ReadMode,
    /// The state machine's state: what it applied, in order. It is durable.
    pub(crate) applied: Vec<EntryId>,
    /// The snapshot store.
    pub(crate) snapshots: BTreeMap<Index, (SnapshotMeta, Vec<EntryId>)>,
    /// Completions that the replica has not been told yet.
    pub(crate) inputs: VecDeque<Input>,
    /// Whether the replica hears late of writes that completed, and of which.
    pub(crate) completions_held: bool,
    pub(crate) completions: Vec<Input>,
    /// What `timer` saw last.
    pub(crate) timer: Option<Time>,
}

impl Node {
    /// A node that is down, with this on its disk.
    pub(crate) fn new(config: Config, disk: Disk) -> Node {
        Node {
            config,
            raft: None,
            issued: disk.clone(),
            disk,
            writes: VecDeque::new(),
            disk_stalled: false,
            work: VecDeque::new(),
            apply_stalled: false,
            log_reads: VecDeque::new(),
            read_mode: ReadMode::Answer,
            applied: Vec::new(),
            snapshots: BTreeMap::new(),
            inputs: VecDeque::new(),
            completions_held: false,
            completions: Vec::new(),
            timer: None,
        }
    }

    /// This node.
    pub(crate) fn id(&self) -> NodeId {
        self.config.id
    }

    /// The last entry that the state machine applied.
    pub(crate) fn last_applied(&self) -> EntryId {
        self.applied.last().copied().unwrap_or(EntryId::ZERO)
    }

    /// Starts the replica from what is durable. Returns the snapshot that the state machine was restored from first, if
    /// it needed one: that is the owner's duty, not the protocol's.
    pub(crate) fn start(&mut self, now: Time) -> Result<Option<EntryId>, RaftError> {
        self.issued = self.disk.clone();
        self.config.incarnation += 1;
        let mut restored = None;
        if self.last_applied().index < self.disk.purged.index {
            let snapshot = &self.snapshots[&self.disk.snapshot.last.index];
            self.applied = snapshot.1.clone();
            restored = Some(snapshot.0.last);
        }
        let raft = Raft::new(
            self.config.clone(),
            self.disk.recovered(),
            self.last_applied(),
            now,
        )?;
        self.raft = Some(raft);
        Ok(restored)
    }

    /// Stops the replica; what was not durable is gone.
    pub(crate) fn crash(&mut self) {
        self.raft = None;
        self.issued = self.disk.clone();
        self.writes.clear();
        self.work.clear();
        self.log_reads.clear();
        self.inputs.clear();
        self.completions.clear();
        self.timer = None;
    }
}
