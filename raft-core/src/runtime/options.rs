//! What a node is made of.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::membership::Membership;
use crate::memory::{InProcessNetwork, MemoryLogStore, MemorySnapshotStore};
use crate::traits::{LogStore, SnapshotStore, StateMachine, Transport};
use crate::types::{GroupId, NodeId};

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
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeOptions")
            .field("config", &self.config)
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}
