//! How much of the world a model contains.

use std::time::Duration;

use raft_core::config::Config;
use raft_core::membership::MemberChange;
use raft_core::types::{GroupId, NodeId};

use super::mark::Mark;
use super::replica::Loss;

/// The most replicas that a model has.
pub const REPLICAS_MAX: usize = 4;

/// Where a model begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nobody has stored anything.
    Cold,
    /// Node 1 leads term 1, and its first entry is known to be committed by all. Every message of that election may still
    /// arrive if `late_messages` says so, or else none. Where there are clocks, it has just got a lease.
    Led {
        /// Whether the messages of the election are still under way.
        late_messages: bool,
    },
    /// The same, and the other voters but the last have a command that the last one lacks; it is committed. Nothing is
    /// under way but what that one was sent.
    Behind,
    /// The same, but the leader has heard of nobody that has the command: it is not committed. Nothing is under way.
    Undecided,
}

/// In which order states are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By their distance from the beginning: a violation is found on the shortest way. Takes the most memory.
    Breadth,
    /// The newest first: for scopes that are to be exhausted and are large. A way to a violation is a long one.
    Depth,
}

/// What a disk may lose, with how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// Everything, and the new disk is set up as those of the first members were.
    Wiped,
    /// Everything, and the new disk knows of no group.
    Replaced,
    /// The end of the log, and the vote. The store notices.
    End,
}

impl LossKind {
    /// The losses of this kind that are possible with so many entries.
    pub(super) fn losses(self, entries: usize) -> Vec<Loss> {
        match self {
            LossKind::Wiped => vec![Loss::Wiped],
            LossKind::Replaced => vec![Loss::Replaced],
            LossKind::End => (0..entries)
                .filter_map(|kept| u8::try_from(kept).ok())
                .map(Loss::End)
                .collect(),
        }
    }
}

/// Time, for leases. A tick is a third of an election timeout by a clock that is fast, and less by a slow one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// How many ticks pass.
    pub ticks: u8,
    /// Which clocks may be fast during a tick, one bit for each node from node 1 on; every other clock is slow then.
    pub fast: Vec<u8>,
    /// By how many quarters of a tick a clock goes on in a tick if it is slow; if it is fast it goes on by four.
    pub slow_quarters: u8,
    /// The drift that replicas are configured for, in quarters of a tick.
    pub drift_max_quarters: u8,
}

impl Clocks {
    /// By how many quarters of a tick a fast clock goes on in a tick.
    pub(super) const FAST_QUARTERS: u8 = 4;
}

/// A quarter of a tick.
pub(super) const QUARTER: Duration = Duration::from_millis(1);
/// The election timeout in quarters of a tick, where there are clocks.
pub(super) const TIMEOUT_QUARTERS: u32 = 12;

/// How much a model contains. Everything that is bounded is bounded over a whole course of events.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What it is called.
    pub name: &'static str,
    /// How many replicas there are: 1 to this, at most [`REPLICAS_MAX`].
    pub replicas: u8,
    /// How many of them, from node 1 on, are the voters that the group begins with; the others belong to no group yet.
    pub voters: u8,
    /// Where it begins.
    pub start: Start,
    /// Who may time out and ask for votes.
    pub campaigners: Vec<u64>,
    /// The last term that anybody asks for votes in.
    pub terms_max: u8,
    /// How often clients propose a command.
    pub commands: u8,
    /// How often clients read.
    pub reads: u8,
    /// The changes of the members that may be asked for: each of them, in any order, at most so often.
    pub changes: Vec<Vec<MemberChange>>,
    /// How many of these changes are asked for.
    pub changes_max: u8,
    /// How many times a replica crashes, losing what was not durable, and starts again.
    pub crashes: u8,
    /// How many disks lose something; the next one only when the last one's replica is trusted again.
    pub losses: u8,
    /// How they do.
    pub loss_kinds: Vec<LossKind>,
    /// How often an election timeout passes for one replica without its hearing anything: a leader gives up, a follower
    /// is free to vote. At most 3.
    pub silences: u8,
    /// How often a heartbeat interval passes for one replica.
    pub heartbeats: u8,
    /// Whether a replica may hear of a completed write later than others hear what waited for it.
    pub late_reports: bool,
    /// Clocks; none for a model in which time stands still but for `silences` and `heartbeats`.
    pub clocks: Option<Clocks>,
    /// What some state must show; otherwise the scope is too small to say anything, or the bound on states is: a million
    /// are enough for every scope of this crate.
    pub expected: Vec<Mark>,
    /// In which order states are visited.
    pub order: Order,
    /// After so many states nothing new is looked for; what was found so far is still checked.
    pub states_max: usize,
    /// How many steps a course has at most; none for as many as there are.
    pub depth_max: Option<usize>,
    /// The bug in the core that is to be found; none for the core as it is.
    #[cfg(feature = "mutants")]
    pub mutant: Option<raft_core::mutants::Mutant>,
}

impl Scope {
    /// Three voters that begin with nothing, one term, and nothing that goes wrong but the network.
    #[must_use]
    pub fn new(name: &'static str) -> Scope {
        Scope {
            name,
            replicas: 3,
            voters: 3,
            start: Start::Cold,
            campaigners: vec![1, 2, 3],
            terms_max: 1,
            commands: 0,
            reads: 0,
            changes: Vec::new(),
            changes_max: 0,
            crashes: 0,
            losses: 0,
            loss_kinds: Vec::new(),
            silences: 0,
            heartbeats: 0,
            late_reports: false,
            clocks: None,
            expected: vec![Mark::Election, Mark::Commit],
            order: Order::Breadth,
            states_max: usize::MAX,
            depth_max: None,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// The settings of a replica. No election timer expires by itself: the lowest priority makes it wait for five election
    /// timeouts, and no course lasts so long.
    pub(super) fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(GroupId(1), id);
        config.priority = 0;
        config.snapshot_entries = u64::MAX;
        if let Some(clocks) = &self.clocks {
            config.election_timeout = QUARTER * TIMEOUT_QUARTERS;
            config.heartbeat_interval = QUARTER * 3;
            config.lease_drift_max = Some(QUARTER * u32::from(clocks.drift_max_quarters));
        }
        config
    }
}
