//! Three nodes on real stores in one process, and one client that numbers its commands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft_core::config::Config;
use raft_core::membership::Membership;
use raft_core::memory::InProcessNetwork;
use raft_core::runtime::{Node, NodeOptions, Session};
use raft_core::status::Status;
use raft_core::types::{GroupId, Index, NodeId};
use raft_kv::{Command, KvOptions, KvStateMachine, KvStore, PutRequest, RangeRequest};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogStore};
use tokio::time::timeout;

use super::points::{PointedLog, PointedMachine, PointedSnapshots, Points};

const KEYS: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);
/// How many entries a node applies between two snapshots.
pub(crate) const SNAPSHOT_ENTRIES: u64 = 12;

pub(crate) struct Cluster {
    pub(crate) network: InProcessNetwork,
    pub(crate) nodes: Vec<Node>,
    stores: Vec<Arc<KvStore>>,
}

impl Cluster {
    /// Starts three nodes on what is in `directory`. R75: each is a node that boots, whatever the crash before it left.
    pub(crate) async fn start(directory: &Path, points: &Arc<Points>) -> Cluster {
        let mut cluster = Cluster {
            network: InProcessNetwork::new(),
            nodes: Vec::new(),
            stores: Vec::new(),
        };
        for id in 1..=3 {
            cluster.start_node(id, directory, points).await;
        }
        cluster
    }

    async fn start_node(&mut self, id: u64, directory: &Path, points: &Arc<Points>) {
        let own = directory.join(format!("n{id}"));
        let options = KvOptions {
            cache_bytes: 1 << 20,
            ..KvOptions::default()
        };
        let (machine, store) = KvStateMachine::open(&own.join("kv"), options).unwrap();
        let log = RocksLogStore::open_default(own.join("log")).unwrap();
        let snapshots = FileSnapshotStore::open(own.join("snapshots")).unwrap();
        let mut config = Config::new(GroupId(1), NodeId(id));
        config.election_timeout = Duration::from_millis(400);
        config.heartbeat_interval = Duration::from_millis(50);
        config.snapshot_entries = SNAPSHOT_ENTRIES;
        config.retained_entries = 0;
        let node = Node::start(NodeOptions {
            config,
            bootstrap: Some(Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]).unwrap()),
            log_store: Arc::new(PointedLog(log, points.clone())),
            snapshot_store: Arc::new(PointedSnapshots(snapshots, points.clone())),
            transport: self.network.transport(NodeId(id)),
            state_machine: Box::new(PointedMachine {
                inner: machine,
                points: points.clone(),
                restored: false,
                is_fresh: false,
            }),
        });
        let node = node
            .await
            .unwrap_or_else(|error| panic!("node {id} does not start: {error}"));
        self.nodes.push(node);
        self.stores.push(store);
    }

    /// Stops every node and closes what it had open.
    pub(crate) async fn stop(self) {
        for node in &self.nodes {
            node.shutdown().await;
        }
    }

    pub(crate) async fn session(&self) -> Session {
        let opened = self.nodes[0].open_session(Duration::from_secs(3_600));
        timeout(PATIENCE, opened).await.expect("a leader").unwrap()
    }

    /// A node that follows, by its place.
    pub(crate) async fn follower(&self) -> usize {
        let status = until(&self.nodes[0], "a leader is known", |status| {
            status.leader.is_some()
        })
        .await;
        let leader = status.leader.unwrap();
        if leader == NodeId(3) { 1 } else { 2 }
    }

    /// Waits until all nodes have applied everything. Returns the last index.
    pub(crate) async fn converge(&self) -> Index {
        let barrier = async {
            loop {
                if let Ok(index) = self.nodes[0].read_barrier().await {
                    return index;
                }
            }
        };
        let index = timeout(PATIENCE, barrier).await.expect("the group goes on");
        for node in &self.nodes {
            until(node, "a node catches up", |status| status.applied_index >= index).await;
        }
        index
    }

    /// Compares every node with the fold of the client's commands. Returns how many of them there are.
    pub(crate) async fn check(&self, acked: u64) -> u64 {
        self.converge().await;
        let hash = self.stores[0].hash(0).unwrap();
        let count = u64::try_from(self.stores[0].revision()).unwrap() - 1;
        assert!(
            count == acked || count == acked + 1,
            "{acked} commands were acknowledged, {count} were applied"
        );
        for store in &self.stores {
            assert_eq!(store.hash(0).unwrap(), hash, "the nodes have different states");
            store.audit().unwrap();
            let all = RangeRequest {
                key: "key-".into(),
                range_end: "key.".into(),
                ..RangeRequest::default()
            };
            let found = store.range(&all).unwrap().kvs;
            assert_eq!(found.len() as u64, count.min(KEYS));
            for kv in found {
                let number = u64::try_from(kv.mod_revision).unwrap() - 1;
                let (key, value) = content(number);
                assert!(number + KEYS > count, "{key} is not the last one");
                assert_eq!((&kv.key[..], &kv.value[..]), (key.as_bytes(), value.as_bytes()));
            }
        }
        count
    }
}

/// What the client's command with this number stores: with any other commands before it, revision `number + 1`.
fn content(number: u64) -> (String, String) {
    let value = format!("{number} {}", "x".repeat(4_000 + (number % 7) as usize));
    (format!("key-{:02}", number % KEYS), value)
}

/// Waits until command `number` is applied, exactly once.
pub(crate) async fn put(session: &Session, number: u64) {
    let (key, value) = content(number);
    let command = Command::Put(PutRequest {
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    });
    let applied = session.propose(command.encode());
    timeout(PATIENCE, applied)
        .await
        .expect("the group goes on")
        .unwrap();
}

pub(crate) async fn until(node: &Node, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut watch = node.watch_status();
    match timeout(PATIENCE, watch.wait_for(|status| wanted(status))).await {
        Ok(Ok(status)) => status.clone(),
        Ok(Err(_)) => panic!("the node ended before this: {what}; {:?}", node.stopped().await),
        Err(_) => panic!("this never happened: {what}; {:?}", node.status()),
    }
}
