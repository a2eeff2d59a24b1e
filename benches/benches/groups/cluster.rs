//! Three hosts in this process with the same groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use benches::counter::Counter;
use benches::place::Place;
use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::RoleKind;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::memory::{InProcessNetwork, MemorySnapshotStore};
use raft_core::runtime::{GroupOptions, Host, HostOptions, Node};
use raft_core::status::Status;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, Index, NodeId};
use raft_storage_rocksdb::{RocksLogOptions, RocksLogStore};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How many hosts share every group.
pub(crate) const HOSTS: u64 = 3;
/// After so long without anything to do a group sleeps.
const QUIESCE_AFTER: Duration = Duration::from_millis(500);
/// So many groups are created at once: their first writes share syncs.
const CREATED_AT_ONCE: usize = 256;

/// Three hosts; group g is led by host g modulo three.
pub(crate) struct Cluster {
    hosts: Vec<Host>,
    groups: u64,
    syncs: Arc<AtomicU64>,
    _dirs: Vec<TempDir>,
}

impl Cluster {
    /// Everything in memory.
    pub(crate) async fn in_memory(groups: u64) -> Cluster {
        let network = InProcessNetwork::new();
        let options = (1..=HOSTS)
            .map(|id| HostOptions::in_memory(NodeId(id), &network))
            .collect();
        Cluster::start(options, groups, Arc::default(), Vec::new()).await
    }

    /// Logs on RocksDB; the syncs of the first host are counted.
    pub(crate) async fn on_disk(groups: u64, place: &Place) -> Cluster {
        let network = InProcessNetwork::new();
        let syncs = Arc::new(AtomicU64::new(0));
        let (mut options, mut dirs) = (Vec::new(), Vec::new());
        for id in 1..=HOSTS {
            let dir = place.new_dir();
            let log = RocksLogStore::open(dir.path(), RocksLogOptions::default())
                .expect("an empty directory opens");
            let counted = Counted {
                inner: log,
                writes: if id == 1 { syncs.clone() } else { Arc::default() },
            };
            options.push(HostOptions::new(
                NodeId(id),
                Arc::new(counted),
                Arc::new(MemorySnapshotStore::new()),
                network.transport(NodeId(id)),
            ));
            dirs.push(dir);
        }
        Cluster::start(options, groups, syncs, dirs).await
    }

    async fn start(
        options: Vec<HostOptions>,
        groups: u64,
        syncs: Arc<AtomicU64>,
        dirs: Vec<TempDir>,
    ) -> Cluster {
        let mut hosts = Vec::new();
        for options in options {
            hosts.push(Host::start(options).await.expect("the host starts"));
        }
        let cluster = Cluster {
            hosts,
            groups,
            syncs,
            _dirs: dirs,
        };
        let mut creating = JoinSet::new();
        for group in 1..=groups {
            if creating.len() >= CREATED_AT_ONCE {
                creating
                    .join_next()
                    .await
                    .expect("there are some")
                    .expect("a group is created");
            }
            creating.spawn(create(cluster.hosts.clone(), GroupId(group)));
        }
        while let Some(created) = creating.join_next().await {
            created.expect("a group is created");
        }
        cluster
    }

    /// Waits until nobody has anything to do.
    pub(crate) async fn sleep(&self) {
        for group in 1..=self.groups {
            for host in &self.hosts {
                let node = host.group(GroupId(group)).expect("it was created");
                until(&node, |status| status.asleep).await;
            }
        }
    }

    /// How often the first host's log was written.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Clients of the first `groups` groups propose until `end`. Returns how many commands were applied.
    pub(crate) async fn commit(&self, groups: u64, clients: usize, command: &Bytes, end: Instant) -> u64 {
        let mut running = JoinSet::new();
        for group in 1..=groups {
            let node = self.leader(GroupId(group));
            for _ in 0..clients {
                let (node, command) = (node.clone(), command.clone());
                running.spawn(async move {
                    let mut count = 0;
                    while Instant::now() < end {
                        node.propose(command.clone()).await.expect("the leader leads");
                        count += 1;
                    }
                    count
                });
            }
        }
        let mut count = 0;
        while let Some(done) = running.join_next().await {
            count += done.expect("a client does not panic");
        }
        count
    }

    fn leader(&self, group: GroupId) -> Node {
        let nodes = self.hosts.iter().filter_map(|host| host.group(group));
        let mut leaders = nodes.filter(|node| node.status().role == RoleKind::Leader);
        leaders.next().expect("nothing disturbs the leaders")
    }

    /// Stops every host.
    pub(crate) async fn stop(self) {
        for host in &self.hosts {
            host.stop().await;
        }
    }
}

/// Creates a group on all hosts, and waits until it has a leader.
async fn create(hosts: Vec<Host>, group: GroupId) {
    let voters = Membership::of_voters((1..=HOSTS).map(NodeId)).expect("distinct ids");
    for host in &hosts {
        let config = Config {
            quiesce_after: Some(QUIESCE_AFTER),
            ..Config::new(group, host.id())
        };
        let options = GroupOptions {
            config,
            bootstrap: Some(voters.clone()),
            state_machine: Box::new(Counter::default()),
        };
        host.create_group(options).await.expect("a new group");
    }
    let first = usize::try_from(group.0 % HOSTS).unwrap_or_default();
    let node = hosts[first].group(group).expect("it was created");
    node.campaign();
    until(&node, |status| {
        status.leader.is_some() && status.commit_index > Index(0)
    })
    .await;
}

async fn until(node: &Node, condition: impl Fn(&Status) -> bool) {
    let mut status = node.watch_status();
    status
        .wait_for(|status| condition(status))
        .await
        .expect("the node runs");
}

/// A log store whose writes are counted: each is one sync.
struct Counted {
    inner: RocksLogStore,
    writes: Arc<AtomicU64>,
}

#[async_trait]
impl LogStore for Counted {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.inner.load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.write(batch).await
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        self.inner.read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        self.inner.compact(group, through).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.inner.destroy(group).await
    }
}
