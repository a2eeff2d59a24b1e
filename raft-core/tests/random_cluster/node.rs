//! One replica with its disk, its state machine, its clock, and the queues between them.

use std::collections::{BTreeMap, VecDeque};

use raft_core::config::{Config, PRIORITY_MAX};
use raft_core::effect::Write;
use raft_core::entry::Entry;
use raft_core::input::Input;
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::raft::Raft;
use raft_core::types::{EntryId, GroupId, Index, NodeId, Time, Trust};

use super::disk::Disk;
use super::random::{ELECTION_TIMEOUT, Random, Swarm};
use super::recording::Recording;

/// The group of every replica.
pub(crate) const GROUP: GroupId = GroupId(1);

/// What the state machine has to do next.
pub(crate) enum Work {
    Apply(Vec<Entry>),
    Create(SnapshotMeta),
    Restore(SnapshotMeta),
}

/// A clock that runs at its own speed.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    ppm: u64,
    ahead_us: u64,
}

impl Clock {
    /// What the clock shows at a true instant.
    pub(crate) fn at(self, now_us: u64) -> Time {
        Time::from_nanos(now_us * self.ppm / 1_000 + self.ahead_us * 1_000)
    }
}

/// One replica and everything that is its own.
pub(crate) struct Node {
    pub(crate) config: Config,
    /// The protocol; none while the node is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) clock: Clock,
    /// What is durable.
    pub(crate) disk: Disk,
    /// What will be durable once every write completed: the log as the replica sees it.
    pub(crate) issued: Disk,
    pub(crate) writes: VecDeque<Write>,
    /// Since when the first of them is being written, by the own clock.
    pub(crate) writing_since: Time,
    pub(crate) disk_stalled_until: u64,
    pub(crate) work: VecDeque<Work>,
    pub(crate) work_stalled_until: u64,
    /// Until when the process does nothing at all.
    pub(crate) paused_until: u64,
    /// The state: ids of the applied entries. The durable part is what a crash leaves.
    pub(crate) applied: Vec<EntryId>,
    pub(crate) applied_durable: Vec<EntryId>,
    /// Snapshots by their last index, with the state they hold.
    pub(crate) snapshots: BTreeMap<Index, (SnapshotMeta, Vec<EntryId>)>,
    /// Whether it lost something that it had promised, and is not trusted again yet.
    pub(crate) lost: bool,
    /// Reads of the log store that were answered.
    pub(crate) log_reads: Vec<Input>,
    /// What it did since it was started, if that is recorded.
    pub(crate) recording: Option<Recording>,
    /// How many steps were done again, and from how many states.
    pub(crate) replayed: (u64, u64),
}

impl Node {
    /// A machine with an empty disk; it is a member of `membership`, or of no group yet if that is empty.
    pub(crate) fn new(id: NodeId, membership: Membership, swarm: &Swarm, random: &mut Random) -> Node {
        let error = random.below(2 * swarm.clock_error_ppm + 1);
        let fastest = 2 * swarm.clock_error_ppm;
        let above_slowest = if swarm.is_duel {
            if id == NodeId(1) { 0 } else { fastest }
        } else {
            random.one_of(&[0, error, fastest]).expect("a choice")
        };
        let disk = Disk {
            snapshot: SnapshotMeta {
                last: EntryId::ZERO,
                membership,
            },
            ..Disk::default()
        };
        Node {
            config: config(id, swarm, random),
            raft: None,
            clock: Clock {
                ppm: 1_000_000 + above_slowest - swarm.clock_error_ppm,
                ahead_us: random.below(1_000_000_000),
            },
            issued: disk.clone(),
            disk,
            writes: VecDeque::new(),
            writing_since: Time::ZERO,
            disk_stalled_until: 0,
            work: VecDeque::new(),
            work_stalled_until: 0,
            paused_until: 0,
            applied: Vec::new(),
            applied_durable: Vec::new(),
            snapshots: BTreeMap::new(),
            lost: false,
            log_reads: Vec::new(),
            recording: None,
            replayed: (0, 0),
        }
    }

    /// Starts a node that is down, from what its disks hold.
    pub(crate) fn start(&mut self, now_us: u64, random_seed: u64, recorded: bool) {
        self.config.random_seed = random_seed;
        self.config.incarnation = random_seed;
        self.issued = self.disk.clone();
        self.applied.clone_from(&self.applied_durable);
        if (self.applied.len() as u64) < self.disk.purged.index.0 {
            self.applied = self.snapshots[&self.disk.snapshot.last.index].1.clone();
        }
        let applied = self.applied.last().copied().unwrap_or(EntryId::ZERO);
        let (recovered, now) = (self.disk.recovered(), self.clock.at(now_us));
        self.recording = recorded.then(|| Recording::new(&self.config, &recovered, applied, now));
        let raft = Raft::new(self.config.clone(), recovered, applied, now);
        self.raft = Some(raft.expect("a disk that only lost what was not durable"));
    }

    /// Stops a node. Some of the writes under way made it to the disk, in order; the state machine keeps a prefix of what
    /// it applied.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        self.check_recording();
        self.raft = None;
        let made_it = random.below(self.writes.len() as u64 + 1) as usize;
        for write in self.writes.drain(..).take(made_it) {
            self.disk.apply(&write);
        }
        self.work.clear();
        self.log_reads.clear();
        (
            self.disk_stalled_until,
            self.work_stalled_until,
            self.paused_until,
        ) = (0, 0, 0);
        let lost = random.below(4).min(self.applied.len() as u64) as usize;
        let kept = self.applied.len() - lost;
        if kept > self.applied_durable.len() {
            self.applied_durable = self.applied[..kept].to_vec();
        }
    }
}

impl Node {
    /// Does again what it did since it was started.
    pub(crate) fn check_recording(&mut self) {
        if let (Some(raft), Some(recording)) = (&self.raft, self.recording.take()) {
            let (steps, states) = recording.check(raft);
            self.replayed = (self.replayed.0 + steps, self.replayed.1 + states);
        }
    }

    /// Whether it has stored something and is trusted with all that it has, on its disk and in its mind.
    pub(crate) fn is_sound(&self) -> bool {
        let trusts_itself = self.raft.as_ref().is_none_or(|raft| !raft.status().suspect);
        trusts_itself && self.disk.hard_state.trust == Trust::Trusted && self.disk.last() != EntryId::ZERO
    }

    /// Forgets: everything, as a first member or as a newcomer, or the end of the log, which the store notices.
    pub(crate) fn lose(&mut self, kind: u64, keep_percent: u64, first: Membership) {
        self.lost = true;
        if kind == 2 {
            // What a snapshot covers was written long before.
            let covered = self.disk.snapshot.last.index;
            let old = self
                .disk
                .entries
                .partition_point(|entry| entry.index() <= covered);
            let kept = self.disk.entries.len() * keep_percent as usize / 100;
            self.disk.entries.truncate(kept.max(old));
            let last = self.disk.last().index;
            let hard_state = &mut self.disk.hard_state;
            hard_state.trust = Trust::Suspect;
            hard_state.vote = None;
            hard_state.commit = hard_state.commit.min(last);
            self.applied_durable.truncate(last.0 as usize);
        } else {
            let membership = if kind == 0 { first } else { Membership::empty() };
            self.disk = Disk {
                snapshot: SnapshotMeta {
                    last: EntryId::ZERO,
                    membership,
                },
                ..Disk::default()
            };
            self.applied_durable.clear();
            self.snapshots.clear();
        }
    }
}

/// Small limits, so that every window fills and every log is compacted.
fn config(id: NodeId, swarm: &Swarm, random: &mut Random) -> Config {
    let mut config = Config::new(GROUP, id);
    config.election_timeout = ELECTION_TIMEOUT;
    config.lease_drift_max = swarm.lease_drift_max();
    if swarm.priorities {
        config.priority = random.below(u64::from(PRIORITY_MAX) + 1) as u8;
    }
    config.append_bytes_max = 3;
    config.inflight_messages_max = 3;
    config.tail_bytes_max = 8;
    config.apply_bytes_max = 4;
    config.snapshot_entries = 12;
    config.snapshot_transfers_max = swarm.snapshot_transfers_max;
    config.retained_entries = 4;
    config
}
