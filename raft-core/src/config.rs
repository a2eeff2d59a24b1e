//! The configuration of one replica, validated once. Every queue, batch and window has its limit here.

use std::time::Duration;

use thiserror::Error;

use crate::types::{GroupId, NodeId};

/// The settings of one replica. Build it with [`Config::new`], change fields, and hand it to
/// [`Raft::new`](crate::raft::Raft::new), which validates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The group that the replica belongs to.
    pub group: GroupId,
    /// This replica.
    pub id: NodeId,
    /// A follower that hears nothing from a leader for between one and two times this long starts an election.
    /// Also the time within which a leader must hear from a quorum (R36), and after which one whose own write is not durable
    /// steps down, if another voter can lead (R35). Default: 1 s.
    pub election_timeout: Duration,
    /// How far the election timeout may grow with the measured round trip: a replica waits ten times the round trip to the
    /// nearest quorum and to the leader, but no less than `election_timeout` and no more than this. What replicas promise
    /// each other, stickiness and leases, rests on `election_timeout` all the same, and so does R35. It does nothing with a
    /// transport that measures no round trips. Replicas may differ. None: it does not grow. Default: none.
    pub election_timeout_max: Option<Duration>,
    /// How often a leader contacts its followers. At most a third of `election_timeout`. Default: 100 ms.
    pub heartbeat_interval: Duration,
    /// After how long without anything to do the group sleeps: then it sends no message and sets no timer, until something
    /// arrives for it. It sleeps only where every member has this set. None: it never sleeps. Default: none.
    ///
    /// A follower that sleeps relies on its surroundings to tell it with [`Input::PeerLost`](crate::input::Input::PeerLost)
    /// that its leader is gone. Never set this where nothing runs [`Pulses`](crate::pulse::Pulses).
    pub quiesce_after: Option<Duration>,
    /// How much this replica should lead, from 0 to [`PRIORITY_MAX`]. Each step below the highest makes it wait one
    /// election timeout longer before it campaigns, and half as long with every time that it waited in vain. It never
    /// overrides the log (R38). Default: `PRIORITY_MAX`.
    pub priority: u8,
    /// Serve reads by lease (thesis §6.4.1): by how much two clocks of the cluster may drift apart within
    /// `election_timeout`, at most. None asks a quorum for every batch of reads, which needs no clocks. Default: none.
    ///
    /// A leader reads by lease only while every voter that answers says that it keeps leases, too, and for the shortest of
    /// their election timeouts. It can be turned on replica by replica. Turn it off only with all of them stopped: a
    /// voter that is started without it does not wait for a lease that an earlier start of it granted. The clock must
    /// not stop while others go on: leave it off on machines that are suspended or moved while they run.
    pub lease_drift_max: Option<Duration>,
    /// Differs from one start of this replica to the next: tells its answers from those of an earlier start, which may
    /// have known more (R68). The runtime draws one; a simulator counts. Default: 0.
    pub incarnation: u64,
    /// The seed of the randomised election timeouts; replicas of one group should differ. The runtime mixes it with the
    /// incarnation. Default: from `id`.
    pub random_seed: u64,
    /// The largest command, in bytes. Default: 1 MiB.
    pub entry_bytes_max: usize,
    /// How many payload bytes one AppendEntries carries; the first entry always fits. Default: 1 MiB.
    pub append_bytes_max: usize,
    /// How many AppendEntries with entries may be unacknowledged per peer. Default: 256.
    pub inflight_messages_max: usize,
    /// How many payload bytes may be unacknowledged per peer; one message always passes (R18). Default: 16 MiB.
    pub inflight_bytes_max: usize,
    /// How many payload bytes a leader keeps uncommitted before it answers `Busy`; one proposal always passes when
    /// nothing is uncommitted (R19). Default: 64 MiB.
    pub uncommitted_bytes_max: usize,
    /// How many proposals may be unresolved on this replica before it answers `Busy`. Default: 65,536.
    pub proposals_max: usize,
    /// How many reads may be unresolved on this replica before it answers `Busy`. Default: 65,536.
    pub reads_max: usize,
    /// How many payload bytes may be handed to the state machine and not yet applied; one entry always passes.
    /// Default: 64 MiB.
    pub apply_bytes_max: usize,
    /// How many payload bytes of durable and applied entries are kept in memory for slow followers.
    /// Default: 32 MiB.
    pub tail_bytes_max: usize,
    /// A snapshot is taken when this many entries were applied since the last one. Default: 100,000.
    pub snapshot_entries: u64,
    /// How many followers are sent a snapshot at once. Default: 2.
    pub snapshot_transfers_max: usize,
    /// How many bytes of snapshots are sent per second, to all followers together: `t` seconds see at most `t` times as
    /// many, and one chunk more. A chunk is what the transport reads at once, and at most this divided by
    /// `snapshot_transfers_max`, so that no transfer stands still for more than a second. The snapshot of the own state is saved
    /// at the same pace, beside that. Enforced by the runtime; nothing else of the protocol waits for it, but a transfer that
    /// takes all of a machine's cores keeps heartbeats waiting for one. None moves snapshots as fast as network and disk take
    /// them. Default: 100 MiB.
    pub snapshot_bytes_per_second: Option<u64>,
    /// A node whose log store takes longer than this for one write stops: a disk that stands still for so long does not come
    /// back by itself, and whoever waits for this node had better go to another one. Enforced by the runtime. None waits
    /// for ever. Default: 20 s.
    pub write_stall_max: Option<Duration>,
    /// How many entries below a snapshot are kept, so that a follower that is a little behind needs no snapshot.
    /// Default: 10,000.
    pub retained_entries: u64,
    /// How many bytes of the newest inputs are kept in memory as a [recording](crate::record). Enforced by the runtime: see
    /// [`Node::recording`]. 0 keeps none. Default: 0, since a process may host many replicas.
    ///
    /// [`Node::recording`]: ../runtime/struct.Node.html#method.recording
    pub recording_bytes: usize,
    /// Whether recordings hold what clients wrote; if not, only how long it is, which is all that the protocol looks at.
    /// Default: false.
    pub recording_payloads: bool,
}

/// The longest election timeout and heartbeat interval.
const DURATION_MAX: Duration = Duration::from_secs(3_600);

/// The highest [`Config::priority`].
pub const PRIORITY_MAX: u8 = 4;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Node id 0.
    #[error("0 is not a node id; ids start at 1")]
    ZeroId,
    /// A duration is zero.
    #[error("{0} is zero; give a positive duration")]
    ZeroDuration(&'static str),
    /// A limit is zero.
    #[error("{0} is zero; give a positive limit")]
    ZeroLimit(&'static str),
    /// A duration is too long.
    #[error("{0} is longer than an hour; give a shorter one")]
    DurationTooLong(&'static str),
    /// A priority is out of range.
    #[error("priority {0} is above {PRIORITY_MAX}; give 0 to {PRIORITY_MAX}")]
    PriorityTooHigh(u8),
    /// Clocks that drift so much leave no lease.
    #[error(
        "lease_drift_max {lease_drift_max:?} is not below election_timeout {election_timeout:?}; no lease would ever \
         be valid"
    )]
    DriftTooLarge {
        /// The refused bound.
        lease_drift_max: Duration,
        /// The election timeout it was compared with.
        election_timeout: Duration,
    },
    /// The bounds of the election timeout are the wrong way round.
    #[error(
        "election_timeout_max {election_timeout_max:?} is below election_timeout {election_timeout:?}; give a longer one, \
         or none"
    )]
    ElectionTimeoutMaxTooShort {
        /// The refused bound.
        election_timeout_max: Duration,
        /// The election timeout it was compared with.
        election_timeout: Duration,
    },
    /// Heartbeats are too rare (mission row S15).
    #[error(
        "heartbeat_interval {heartbeat_interval:?} is more than a third of election_timeout {election_timeout:?}; \
         one lost heartbeat would start an election"
    )]
    HeartbeatTooSlow {
        /// The refused interval.
        heartbeat_interval: Duration,
        /// The election timeout it was compared with.
        election_timeout: Duration,
    },
}

impl Config {
    /// The defaults for replica `id` of `group`.
    #[must_use]
    pub fn new(group: GroupId, id: NodeId) -> Config {
        Config {
            group,
            id,
            election_timeout: Duration::from_secs(1),
            election_timeout_max: None,
            heartbeat_interval: Duration::from_millis(100),
            quiesce_after: None,
            priority: PRIORITY_MAX,
            lease_drift_max: None,
            incarnation: 0,
            random_seed: id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ group.0,
            entry_bytes_max: 1 << 20,
            append_bytes_max: 1 << 20,
            inflight_messages_max: 256,
            inflight_bytes_max: 16 << 20,
            uncommitted_bytes_max: 64 << 20,
            proposals_max: 65_536,
            reads_max: 65_536,
            apply_bytes_max: 64 << 20,
            tail_bytes_max: 32 << 20,
            snapshot_entries: 100_000,
            snapshot_transfers_max: 2,
            snapshot_bytes_per_second: Some(100 << 20),
            write_stall_max: Some(Duration::from_secs(20)),
            retained_entries: 10_000,
            recording_bytes: 0,
            recording_payloads: false,
        }
    }

    /// The longest that the election timeout of this replica becomes.
    #[must_use]
    pub fn election_timeout_longest(&self) -> Duration {
        self.election_timeout_max.unwrap_or(self.election_timeout)
    }

    /// Checks every field against its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.id == NodeId(0) {
            return Err(ConfigError::ZeroId);
        }
        for (name, duration) in [
            ("election_timeout", self.election_timeout),
            ("heartbeat_interval", self.heartbeat_interval),
            ("election_timeout_max", self.election_timeout_longest()),
            ("quiesce_after", self.quiesce_after.unwrap_or(DURATION_MAX)),
            ("write_stall_max", self.write_stall_max.unwrap_or(DURATION_MAX)),
        ] {
            if duration.is_zero() {
                return Err(ConfigError::ZeroDuration(name));
            }
            if duration > DURATION_MAX {
                return Err(ConfigError::DurationTooLong(name));
            }
        }
        if self.heartbeat_interval * 3 > self.election_timeout {
            return Err(ConfigError::HeartbeatTooSlow {
                heartbeat_interval: self.heartbeat_interval,
                election_timeout: self.election_timeout,
            });
        }
        if self.election_timeout_longest() < self.election_timeout {
            return Err(ConfigError::ElectionTimeoutMaxTooShort {
                election_timeout_max: self.election_timeout_longest(),
                election_timeout: self.election_timeout,
            });
        }
        if self.priority > PRIORITY_MAX {
            return Err(ConfigError::PriorityTooHigh(self.priority));
        }
        if let Some(lease_drift_max) = self.lease_drift_max
            && lease_drift_max >= self.election_timeout
        {
            return Err(ConfigError::DriftTooLarge {
                lease_drift_max,
                election_timeout: self.election_timeout,
            });
        }
        let per_second = self.snapshot_bytes_per_second.unwrap_or(u64::MAX);
        let limits = [
            ("entry_bytes_max", self.entry_bytes_max),
            ("append_bytes_max", self.append_bytes_max),
            ("inflight_messages_max", self.inflight_messages_max),
            ("inflight_bytes_max", self.inflight_bytes_max),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max),
            ("proposals_max", self.proposals_max),
            ("reads_max", self.reads_max),
            ("apply_bytes_max", self.apply_bytes_max),
            ("tail_bytes_max", self.tail_bytes_max),
            ("snapshot_transfers_max", self.snapshot_transfers_max),
            (
                "snapshot_bytes_per_second",
                usize::try_from(per_second).unwrap_or(usize::MAX),
            ),
            (
                "snapshot_entries",
                usize::try_from(self.snapshot_entries).unwrap_or(usize::MAX),
            ),
        ];
        match limits.iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(ConfigError::ZeroLimit(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mission row S15: the heartbeat interval is much smaller than the election timeout.
    #[test]
    fn a_slow_heartbeat_is_refused() {
        let mut config = Config::new(GroupId(1), NodeId(1));
        assert_eq!(config.validate(), Ok(()));
        config.heartbeat_interval = config.election_timeout / 2;
        assert!(matches!(
            config.validate(),
            Err(ConfigError::HeartbeatTooSlow { .. })
        ));
    }

    /// The election timeout grows or stays; it does not fall below what replicas promise.
    #[test]
    fn bounds_the_wrong_way_round_are_refused() {
        let mut config = Config::new(GroupId(1), NodeId(1));
        config.election_timeout_max = Some(config.election_timeout);
        assert_eq!(config.validate(), Ok(()));
        config.election_timeout_max = Some(config.election_timeout / 2);
        assert!(matches!(
            config.validate(),
            Err(ConfigError::ElectionTimeoutMaxTooShort { .. })
        ));
        config.election_timeout_max = Some(DURATION_MAX * 2);
        assert_eq!(
            config.validate(),
            Err(ConfigError::DurationTooLong("election_timeout_max"))
        );
    }

    #[test]
    fn a_zero_limit_names_itself() {
        let mut config = Config::new(GroupId(1), NodeId(1));
        config.reads_max = 0;
        assert_eq!(config.validate(), Err(ConfigError::ZeroLimit("reads_max")));
    }
}
