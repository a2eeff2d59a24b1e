//! What hosts, groups and nodes are made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::membership::Membership;
use crate::memory::{InProcessNetwork, MemoryLogStore, MemorySnapshotStore};
use crate::traits::{LogStore, SnapshotStore, StateMachine, Transport};
use crate::types::{GroupId, NodeId};

/// Everything that [`Host::start`](super::Host::start) needs.
pub struct HostOptions {
    /// The node that the host is, in all of its groups.
    pub id: NodeId,
    /// Where the logs of all groups are stored.
    pub log_store: Arc<dyn LogStore>,
    /// Where the snapshots of all groups are stored.
    pub snapshot_store: Arc<dyn SnapshotStore>,
    /// Reaches the other nodes. The host starts it, and shuts it down when it stops.
    pub transport: Arc<dyn Transport>,
    /// How many tasks the groups are shared out to. At least 1. Default: as many as the machine has cores.
    pub workers: usize,
    /// How many threads the state machines that may block are shared out to, whichever has something to do. At least 1.
    /// Default: as many as the machine has cores.
    pub apply_threads: usize,
    /// How many bytes of commands the clients of this host may wait for, over all groups, before it answers
    /// [`Busy`](crate::request::RefusalReason::Busy); one command always passes when there is no other. The limits of each
    /// group hold beside it. None: there is no limit but those. Default: 256 MiB.
    pub proposal_bytes_max: Option<usize>,
    /// The host stops if its log store takes longer than this for one write: see
    /// [`Config::write_stall_max`], which it takes the place of. Default: 20 s.
    pub write_stall_max: Option<Duration>,
    /// How often the host tells other nodes that it lives, for the sake of groups that
    /// [sleep](Config::quiesce_after). As long as the heartbeat interval of those. Default: 100 ms.
    pub heartbeat_interval: Duration,
    /// After how long a silence the host wakes the groups that sleep under a leader of another node. As long as the election
    /// timeout of those. Default: 1 s.
    pub election_timeout: Duration,
    /// How many snapshots the host sends at once, over all groups; the others wait. At least 1. Default: 8.
    pub snapshot_transfers_max: usize,
    /// How many bytes of snapshots are sent per second, over all groups: see [`Config::snapshot_bytes_per_second`], which
    /// it takes the place of. Default: 100 MiB.
    pub snapshot_bytes_per_second: Option<u64>,
}

impl HostOptions {
    /// The defaults for node `id`.
    #[must_use]
    pub fn new(
        id: NodeId,
        log_store: Arc<dyn LogStore>,
        snapshot_store: Arc<dyn SnapshotStore>,
        transport: Arc<dyn Transport>,
    ) -> HostOptions {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        HostOptions {
            id,
            log_store,
            snapshot_store,
            transport,
            workers: cores,
            apply_threads: cores,
            proposal_bytes_max: Some(256 << 20),
            write_stall_max: Some(Duration::from_secs(20)),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            snapshot_transfers_max: 8,
            snapshot_bytes_per_second: Some(100 << 20),
        }
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting and the remedy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (heartbeat_interval, election_timeout) = (self.heartbeat_interval, self.election_timeout);
        if heartbeat_interval.is_zero() {
            return Err(ConfigError::ZeroDuration("heartbeat_interval"));
        }
        if heartbeat_interval.saturating_mul(3) > election_timeout {
            return Err(ConfigError::HeartbeatTooSlow {
                heartbeat_interval,
                election_timeout,
            });
        }
        Ok(())
    }

    /// A host that keeps everything in memory and talks to the other nodes of this process: for tests and examples.
    #[must_use]
    pub fn in_memory(id: NodeId, network: &InProcessNetwork) -> HostOptions {
        HostOptions::new(
            id,
            Arc::new(MemoryLogStore::new()),
            Arc::new(MemorySnapshotStore::new()),
            network.transport(id),
        )
    }
}

impl fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostOptions")
            .field("id", &self.id)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Everything that a host needs for one of its groups.
pub struct GroupOptions {
    /// The settings of the replica. Its `write_stall_max` and `snapshot_bytes_per_second` mean nothing: the host has its own.
    pub config: Config,
    /// The first configuration of the group, the same on every host that begins it. A host that joins later is given none,
    /// and neither is one that opens the group again.
    pub bootstrap: Option<Membership>,
    /// What the group replicates.
    pub state_machine: Box<dyn StateMachine>,
}

impl fmt::Debug for GroupOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupOptions")
            .field("config", &self.config)
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}

/// Everything that [`Node::start`](super::Node::start) needs.
pub struct NodeOptions {
    /// The settings of the replica.
    pub config: Config,
    /// The first configuration of the group. Used only if the log store has nothing of the group; the same on every
    /// node that begins the group. A node that joins later is given none.
    pub bootstrap: Option<Membership>,
    /// Where the log is stored. Other groups may share it.
    pub log_store: Arc<dyn LogStore>,
    /// Where snapshots are stored. Other groups may share it.
    pub snapshot_store: Arc<dyn SnapshotStore>,
    /// Reaches the other nodes. The node starts it, and shuts it down when it stops.
    pub transport: Arc<dyn Transport>,
    /// What the cluster replicates.
    pub state_machine: Box<dyn StateMachine>,
}

impl NodeOptions {
    /// A node of group 1 that keeps everything in memory and talks to the other nodes of this process: for tests and
    /// examples. `voters` begin the group.
    #[must_use]
    pub fn in_memory(
        id: NodeId,
        voters: &Membership,
        network: &InProcessNetwork,
        state_machine: impl StateMachine,
    ) -> NodeOptions {
        NodeOptions {
            config: Config::new(GroupId(1), id),
            bootstrap: Some(voters.clone()),
            log_store: Arc::new(MemoryLogStore::new()),
            snapshot_store: Arc::new(MemorySnapshotStore::new()),
            transport: network.transport(id),
            state_machine: Box::new(state_machine),
        }
    }

    /// A host for this node alone, and its one group.
    pub(super) fn split(self) -> (HostOptions, GroupOptions) {
        let NodeOptions {
            config,
            bootstrap,
            log_store,
            snapshot_store,
            transport,
            state_machine,
        } = self;
        let host = HostOptions {
            workers: 1,
            apply_threads: 1,
            proposal_bytes_max: None,
            write_stall_max: config.write_stall_max,
            heartbeat_interval: config.heartbeat_interval,
            election_timeout: config.election_timeout,
            snapshot_transfers_max: config.snapshot_transfers_max,
            snapshot_bytes_per_second: config.snapshot_bytes_per_second,
            ..HostOptions::new(config.id, log_store, snapshot_store, transport)
        };
        let group = GroupOptions {
            config,
            bootstrap,
            state_machine,
        };
        (host, group)
    }
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeOptions")
            .field("config", &self.config)
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}
