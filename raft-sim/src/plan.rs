//! What one run is: everything that is drawn before it begins. A plan can be kept, replayed and made smaller.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A run, before it happens. Equal plans give equal runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed of everything that is drawn while it runs: delays, losses, what clients ask.
    pub seed: u64,
    /// How many groups the run begins with, on the same machines. With more than one, groups come, move and go.
    #[serde(default = "one_group")]
    pub groups: u64,
    /// How many voters each group begins with.
    pub voters: u64,
    /// How long faults happen, in milliseconds of simulated time.
    pub duration_ms: u64,
    /// How replicas and clients are set up.
    pub settings: Settings,
    /// What is wrong with the network all the time.
    pub network: NetworkFaults,
    /// The faults, by the time at which they begin.
    pub faults: Vec<PlannedFault>,
}

/// What every run had before there could be more.
const fn one_group() -> u64 {
    1
}

impl Plan {
    /// Whether several groups share machines.
    #[must_use]
    pub fn has_many_groups(&self) -> bool {
        self.groups > 1
    }
}

/// How replicas and clients are set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The election timeout of every replica, in milliseconds.
    pub election_timeout_ms: u64,
    /// How far the election timeout may grow with the round trip, in milliseconds; none if it does not.
    #[serde(default)]
    pub election_timeout_max_ms: Option<u64>,
    /// After how long without anything to do the group sleeps, in milliseconds; none if it never does. Then clients rest
    /// now and then.
    #[serde(default)]
    pub quiesce_after_ms: Option<u64>,
    /// Whether nodes pulse all the time, for other groups that sleep.
    #[serde(default)]
    pub other_groups_sleep: bool,
    /// The heartbeat interval of every replica, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Whether reads are served by lease.
    pub leases: bool,
    /// By how many parts per million a clock runs too fast or too slow, at most.
    pub clock_error_ppm: u64,
    /// Whether replicas differ in how much they should lead.
    pub priorities: bool,
    /// Take a snapshot after so many entries.
    pub snapshot_entries: u64,
    /// Keep so many entries below a snapshot.
    pub retained_entries: u64,
    /// The limit of payload bytes per message.
    pub append_bytes_max: u64,
    /// The limit of unacknowledged messages per follower.
    pub inflight_messages_max: u64,
    /// The limit of payload bytes in the tail in memory.
    pub tail_bytes_max: u64,
    /// Whether a state machine keeps its state over a restart, as of a moment before it.
    pub durable_state: bool,
    /// The mean time in which a disk syncs, in microseconds.
    pub sync_us: u64,
    /// The mean time in which a state machine applies, in microseconds.
    pub apply_us: u64,
    /// How many clients there are.
    pub clients: u64,
    /// How many of a hundred use a session.
    pub session_percent: u32,
    /// The mean time between two requests of one client, in milliseconds.
    pub think_ms: u64,
}

impl Settings {
    /// The election timeout.
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }

    /// The longest that an election timeout becomes.
    #[must_use]
    pub fn election_timeout_longest(&self) -> Duration {
        Duration::from_millis(self.election_timeout_max_ms.unwrap_or(self.election_timeout_ms))
    }

    /// What replicas are told about clocks, if leases are kept: while the fastest clock passes an election timeout, the
    /// slowest one falls behind by exactly this much, so that a lease which lasts a moment too long is found out.
    #[must_use]
    pub fn lease_drift_max(&self) -> Option<Duration> {
        let (fast, slow) = (1_000_000 + self.clock_error_ppm, 1_000_000 - self.clock_error_ppm);
        let nanos = self.election_timeout_ms * 1_000_000;
        let behind = nanos - nanos / 1_000 * slow / fast * 1_000;
        // The rest is what rounding to nanoseconds can add up to.
        self.leases.then(|| Duration::from_nanos(behind + 10))
    }
}

/// What is wrong with the network all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFaults {
    /// The shortest time a message takes, in microseconds.
    pub delay_us: u64,
    /// The mean of what is added to it, in microseconds.
    pub jitter_us: u64,
    /// How many messages of a million are lost.
    pub loss_ppm: u32,
    /// How many of a million arrive twice, the second time up to two seconds later.
    pub duplicate_ppm: u32,
    /// Whether messages of one link overtake each other.
    pub reorder: bool,
    /// By how much what must keep its order is later than what is urgent, on average, in microseconds, if messages travel in
    /// two lanes, as those of a transport with a stream for each; none if all of a link travel in one.
    #[serde(default)]
    pub ordered_behind_us: Option<u64>,
    /// How many messages are under way on a link at most; more push out a random one.
    pub capacity: u64,
    /// How many of a million arrive once more as if they were of another group, with a term that is as high or higher.
    pub strangers_ppm: u32,
}

/// One fault and when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// Milliseconds after the run began.
    pub at_ms: u64,
    /// What happens.
    pub fault: Fault,
}

/// Whom a fault is meant for, decided when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Whoever leads; the node with the lowest id if nobody does.
    Leader,
    /// Some node: this number modulo how many there are.
    Node(u64),
}

/// In which direction a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What the target sends is lost.
    Out,
    /// What is sent to the target is lost.
    In,
    /// Both.
    Both,
}

/// What is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskDamage {
    /// A bit of a sector flips.
    BitRot,
    /// A bit of a snapshot flips.
    SnapshotRot,
    /// A write that was synced never reached the disk.
    LostWrite,
    /// A sector stands where another one belongs.
    Misdirected,
    /// The end of the log is cut off.
    CutTail,
    /// A sector holds what it held earlier.
    StaleSector,
    /// The disk is new.
    Wipe,
}

/// Something that goes wrong, or that an operator does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Power is lost: what was not synced may be lost or torn. It comes back later.
    Crash {
        /// Which node.
        target: Target,
        /// For how long it is down.
        down_ms: u64,
    },
    /// Every node loses power at once; each comes back at its own time.
    CrashAll {
        /// For how long they are down, at most.
        down_ms: u64,
    },
    /// The process does nothing at all for a while.
    Pause {
        /// Which node.
        target: Target,
        /// For how long.
        ms: u64,
    },
    /// A node is cut off from all others.
    Isolate {
        /// Which node.
        target: Target,
        /// In which direction.
        direction: Direction,
        /// For how long.
        ms: u64,
    },
    /// Two nodes do not hear each other, while all others hear both.
    CutLink {
        /// One.
        from: Target,
        /// The other.
        to: Target,
        /// In which direction, seen from the first.
        direction: Direction,
        /// For how long.
        ms: u64,
    },
    /// The nodes fall into two parts: bit `n` of `side` says where the n-th one is.
    Partition {
        /// Who is on the other side.
        side: u64,
        /// For how long.
        ms: u64,
    },
    /// Messages of a link are held back and then all arrive.
    Clog {
        /// The sender.
        from: Target,
        /// The receiver.
        to: Target,
        /// For how long.
        ms: u64,
    },
    /// A disk completes nothing for a while.
    DiskStall {
        /// Which node.
        target: Target,
        /// For how long.
        ms: u64,
    },
    /// A state machine does nothing for a while.
    ApplyStall {
        /// Which node.
        target: Target,
        /// For how long.
        ms: u64,
    },
    /// The next write fails; the process stops, as it must, and is started again.
    DiskError {
        /// Which node.
        target: Target,
        /// After how long it is started again.
        down_ms: u64,
    },
    /// The disk is full for a while.
    DiskFull {
        /// Which node.
        target: Target,
        /// For how long.
        ms: u64,
    },
    /// Power is lost, and what was durable is damaged. Only if fewer than a quorum of the disks are damaged then.
    Damage {
        /// Which node.
        target: Target,
        /// What is damaged.
        damage: DiskDamage,
        /// Picks the place.
        place: u64,
        /// For how long it is down.
        down_ms: u64,
    },
    /// A clock jumps ahead.
    ClockStep {
        /// Which node.
        target: Target,
        /// By how much.
        ms: u64,
    },
    /// A clock runs at another rate for a while.
    ClockRate {
        /// Which node.
        target: Target,
        /// Parts per million of true time; 0 stands still.
        rate_ppm: u64,
        /// For how long.
        ms: u64,
    },
    /// A replica begins an election without waiting for its timer.
    Campaign {
        /// Which node.
        target: Target,
    },
    /// An operator asks for a change of the members.
    ChangeMembers {
        /// Whom the operator asks.
        target: Target,
        /// Draws the change.
        draw: u64,
    },
    /// An operator asks that another voter leads.
    Transfer {
        /// Whom the operator asks.
        target: Target,
        /// Who shall lead.
        to: Target,
    },
    /// An operator creates one more group.
    CreateGroup {
        /// Draws the machines.
        draw: u64,
    },
    /// An operator destroys a group, replica by replica.
    DestroyGroup {
        /// Draws which.
        draw: u64,
    },
    /// An operator moves a replica onto another machine: that is added, another one removed, and destroyed there afterwards.
    MoveReplica {
        /// Whom the operator asks.
        target: Target,
        /// Draws which is removed.
        draw: u64,
    },
}

/// The kinds of faults, to choose among them and to count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// [`Fault::Crash`] and [`Fault::CrashAll`].
    Crash,
    /// [`Fault::Pause`].
    Pause,
    /// [`Fault::Isolate`], [`Fault::CutLink`] and [`Fault::Partition`].
    Partition,
    /// [`Fault::Clog`].
    Clog,
    /// [`Fault::DiskStall`].
    DiskStall,
    /// [`Fault::ApplyStall`].
    ApplyStall,
    /// [`Fault::DiskError`] and [`Fault::DiskFull`].
    DiskError,
    /// [`Fault::Damage`].
    Damage,
    /// [`Fault::ClockStep`] and [`Fault::ClockRate`].
    Clock,
    /// [`Fault::Campaign`].
    Campaign,
    /// [`Fault::ChangeMembers`].
    Membership,
    /// [`Fault::Transfer`].
    Transfer,
    /// [`Fault::CreateGroup`], [`Fault::DestroyGroup`] and [`Fault::MoveReplica`].
    Groups,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 13] = [
        FaultKind::Crash,
        FaultKind::Pause,
        FaultKind::Partition,
        FaultKind::Clog,
        FaultKind::DiskStall,
        FaultKind::ApplyStall,
        FaultKind::DiskError,
        FaultKind::Damage,
        FaultKind::Clock,
        FaultKind::Campaign,
        FaultKind::Membership,
        FaultKind::Transfer,
        FaultKind::Groups,
    ];

    /// What it is called in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Crash => "crash",
            FaultKind::Pause => "pause",
            FaultKind::Partition => "partition",
            FaultKind::Clog => "clog",
            FaultKind::DiskStall => "disk stall",
            FaultKind::ApplyStall => "apply stall",
            FaultKind::DiskError => "disk error",
            FaultKind::Damage => "damage",
            FaultKind::Clock => "clock",
            FaultKind::Campaign => "campaign",
            FaultKind::Membership => "membership",
            FaultKind::Transfer => "transfer",
            FaultKind::Groups => "groups",
        }
    }
}

impl Fault {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Fault::Crash { .. } | Fault::CrashAll { .. } => FaultKind::Crash,
            Fault::Pause { .. } => FaultKind::Pause,
            Fault::Isolate { .. } | Fault::CutLink { .. } | Fault::Partition { .. } => FaultKind::Partition,
            Fault::Clog { .. } => FaultKind::Clog,
            Fault::DiskStall { .. } => FaultKind::DiskStall,
            Fault::ApplyStall { .. } => FaultKind::ApplyStall,
            Fault::DiskError { .. } | Fault::DiskFull { .. } => FaultKind::DiskError,
            Fault::Damage { .. } => FaultKind::Damage,
            Fault::ClockStep { .. } | Fault::ClockRate { .. } => FaultKind::Clock,
            Fault::Campaign { .. } => FaultKind::Campaign,
            Fault::ChangeMembers { .. } => FaultKind::Membership,
            Fault::Transfer { .. } => FaultKind::Transfer,
            Fault::CreateGroup { .. } | Fault::DestroyGroup { .. } | Fault::MoveReplica { .. } => {
                FaultKind::Groups
            }
        }
    }
}
