//! Clusters: three nodes in this process that commit what concurrent clients propose.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::memory::InProcessNetwork;
use raft_core::runtime::{Node, NodeOptions};
use raft_core::types::{GroupId, NodeId};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogOptions, RocksLogStore};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::counter::Counter;

/// Three running nodes.
pub struct Cluster {
    nodes: Vec<Node>,
    _dirs: Vec<TempDir>,
    _certificates: Option<Certificates>,
}

impl Cluster {
    async fn start(
        options: Vec<NodeOptions>,
        dirs: Vec<TempDir>,
        certificates: Option<Certificates>,
    ) -> Cluster {
        let mut nodes = Vec::new();
        for options in options {
            nodes.push(Node::start(options).await.expect("the node starts"));
        }
        // The first command succeeds once there is a leader.
        while nodes[0].propose(Bytes::new()).await.is_err() {}
        Cluster {
            nodes,
            _dirs: dirs,
            _certificates: certificates,
        }
    }

    /// Has `clients` concurrent clients propose until `count` commands are applied on the leader.
    ///
    /// # Panics
    /// If a command is not applied: nothing fails here but the code.
    pub async fn commit(&self, command: &Bytes, count: u64, clients: u64) {
        let leader = self
            .nodes
            .iter()
            .find(|node| node.status().role == RoleKind::Leader);
        let leader = leader.expect("nothing disturbs the leader").clone();
        let each = count.div_ceil(clients);
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                let (leader, command) = (leader.clone(), command.clone());
                tokio::spawn(async move {
                    for _ in 0..each {
                        leader.propose(command.clone()).await.expect("the leader leads");
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("a client does not panic");
        }
    }

    /// Records every node in a directory of its own in `directory`.
    ///
    /// # Panics
    /// If that cannot be used.
    pub fn record_to(&self, directory: &Path, bytes_max: u64) {
        for (number, node) in self.nodes.iter().enumerate() {
            let own = directory.join(number.to_string());
            node.record_to(&own, bytes_max)
                .expect("a new directory can be used");
        }
    }

    /// Stops every node.
    pub async fn shutdown(self) {
        for node in &self.nodes {
            node.shutdown().await;
        }
    }
}

/// Every combination of backends that is measured, running.
///
/// # Panics
/// If a node cannot be started.
pub async fn clusters() -> Vec<(&'static str, Cluster)> {
    vec![
        ("memory", in_memory(|_| {}).await),
        ("rocksdb-quic", rocksdb_quic(|_| {}).await),
    ]
}

fn members() -> (Vec<NodeId>, Membership) {
    let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let membership = Membership::of_voters(ids.iter().copied()).expect("three distinct ids");
    (ids, membership)
}

/// Three nodes that keep everything in memory; `change` changes their settings.
///
/// # Panics
/// If a node cannot be started.
pub async fn in_memory(change: impl Fn(&mut Config)) -> Cluster {
    let network = InProcessNetwork::new();
    let (ids, voters) = members();
    let options = |id| {
        let mut options = NodeOptions::in_memory(id, &voters, &network, Counter::default());
        change(&mut options.config);
        options
    };
    let options = ids.iter().copied().map(options).collect();
    Cluster::start(options, Vec::new(), None).await
}

/// Three nodes with their logs on RocksDB that talk over QUIC; `change` changes their settings.
///
/// # Panics
/// If a node cannot be started.
pub async fn rocksdb_quic(change: impl Fn(&mut Config)) -> Cluster {
    let (ids, voters) = members();
    let certificates = Certificates::new(3);
    let mut dirs = Vec::new();
    let mut options = Vec::new();
    for (&id, transport) in ids.iter().zip(certificates.quic_transports()) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = RocksLogStore::open(dir.path().join("log"), RocksLogOptions::default());
        let snapshots = FileSnapshotStore::open(dir.path().join("snapshots"));
        let mut config = Config::new(GroupId(1), id);
        change(&mut config);
        options.push(NodeOptions {
            config,
            bootstrap: Some(voters.clone()),
            log_store: Arc::new(log.expect("an empty directory opens")),
            snapshot_store: Arc::new(snapshots.expect("an empty directory opens")),
            transport,
            state_machine: Box::new(Counter::default()),
        });
        dirs.push(dir);
    }
    Cluster::start(options, dirs, Some(certificates)).await
}
