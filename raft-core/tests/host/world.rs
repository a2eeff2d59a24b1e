//! Hosts in this process, their disks, and a log store and a transport that take notes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use raft_core::config::Config;
use raft_core::effect::RoleKind;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::memory::{InProcessNetwork, MemoryLogStore, MemorySnapshotStore};
use raft_core::message::{Body, InstallSnapshot, Message};
use raft_core::runtime::{GroupOptions, Host, HostOptions, Node};
use raft_core::traits::{
    GroupWrite, Inbound, LogStore, LogStoreError, PeerStatus, Recovered, SnapshotReader, Transport,
    TransportError,
};
use raft_core::types::{EntryId, GroupId, Index, NodeId};
use tokio::sync::watch;

use crate::node_world::{Counter, until};

/// Hosts that are nodes 1 to n, and the disks of each.
pub struct Hosts {
    pub network: InProcessNetwork,
    pub voters: Membership,
    pub change: fn(&mut Config),
    pub disks: Vec<(MemoryLogStore, MemorySnapshotStore)>,
    pub hosts: Vec<Option<Host>>,
}

impl Hosts {
    pub async fn started(count: u64) -> Hosts {
        let mut hosts = Hosts {
            network: InProcessNetwork::new(),
            voters: Membership::of_voters((1..=count).map(NodeId)).unwrap(),
            change: |_| {},
            disks: Vec::new(),
            hosts: Vec::new(),
        };
        for _ in 0..count {
            hosts.add().await;
        }
        hosts
    }

    /// One more host, which is a member of nothing yet.
    pub async fn add(&mut self) -> u64 {
        self.disks
            .push((MemoryLogStore::new(), MemorySnapshotStore::new()));
        self.hosts.push(None);
        let id = self.hosts.len() as u64;
        self.start(id).await;
        id
    }

    /// Starts a host, without groups, on what its disks hold.
    pub async fn start(&mut self, id: u64) {
        let options = self.options(id);
        self.hosts[id as usize - 1] = Some(Host::start(options).await.unwrap());
    }

    pub fn options(&self, id: u64) -> HostOptions {
        let (log, snapshots) = self.disks[id as usize - 1].clone();
        HostOptions {
            workers: 2,
            heartbeat_interval: Duration::from_millis(60),
            election_timeout: Duration::from_millis(600),
            ..HostOptions::new(
                NodeId(id),
                Arc::new(log),
                Arc::new(snapshots),
                self.network.transport(NodeId(id)),
            )
        }
    }

    pub fn host(&self, id: u64) -> &Host {
        self.hosts[id as usize - 1].as_ref().expect("the host runs")
    }

    pub async fn stop(&mut self, id: u64) {
        self.hosts[id as usize - 1]
            .take()
            .expect("the host runs")
            .stop()
            .await;
    }

    pub fn group_options(&self, id: u64, group: u64, counter: Counter) -> GroupOptions {
        let mut config = config(id, group);
        (self.change)(&mut config);
        GroupOptions {
            config,
            bootstrap: Some(self.voters.clone()),
            state_machine: Box::new(counter),
        }
    }

    /// Creates `group` on every host.
    pub async fn create(&self, group: u64) {
        for id in 1..=self.hosts.len() as u64 {
            let options = self.group_options(id, group, Counter::default());
            self.host(id).create_group(options).await.unwrap();
        }
    }

    pub fn node(&self, id: u64, group: u64) -> Node {
        self.host(id).group(GroupId(group)).expect("the group runs")
    }

    /// Lets host `id` lead `group`.
    pub async fn lead(&self, id: u64, group: u64) -> Node {
        let node = self.node(id, group);
        loop {
            node.campaign();
            let status = until(&node, "somebody leads", |status| status.leader.is_some()).await;
            if status.role == RoleKind::Leader {
                return node;
            }
            if node.transfer_leadership(NodeId(id)).await.is_ok() {
                return node;
            }
        }
    }
}

pub fn config(id: u64, group: u64) -> Config {
    let mut config = Config::new(GroupId(group), NodeId(id));
    config.election_timeout = Duration::from_millis(600);
    config.heartbeat_interval = Duration::from_millis(60);
    config
}

/// A host that is the only member of its groups, on one worker, so that everything it does is its own.
pub async fn alone(change: impl FnOnce(&mut HostOptions)) -> Host {
    let mut options = HostOptions::in_memory(NodeId(1), &InProcessNetwork::new());
    options.workers = 1;
    change(&mut options);
    Host::start(options).await.unwrap()
}

/// Creates a group of which the host is the only member, and lets it lead.
pub async fn create_alone(host: &Host, group: u64, counter: Counter) -> Node {
    let options = GroupOptions {
        config: config(host.id().0, group),
        bootstrap: Some(Membership::of_voters([host.id()]).unwrap()),
        state_machine: Box::new(counter),
    };
    let node = host.create_group(options).await.unwrap();
    node.campaign();
    until(&node, "the only member leads", |status| {
        status.role == RoleKind::Leader && status.applied_index == status.appended_index
    })
    .await;
    node
}

/// A log store that waits while its gate is closed, fails when it is told to, and counts.
#[derive(Clone, Default)]
pub struct NotingLogStore {
    pub inner: MemoryLogStore,
    /// The groups of every write.
    pub writes: Arc<Mutex<Vec<Vec<GroupId>>>>,
    pub closed: watch::Sender<bool>,
    /// Counts the destructions that were begun.
    pub destructions: watch::Sender<usize>,
    pub failing: Arc<AtomicBool>,
}

#[async_trait]
impl LogStore for NotingLogStore {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.inner.load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        let groups = batch.iter().map(|write| write.group).collect();
        self.writes.lock().unwrap().push(groups);
        let mut closed = self.closed.subscribe();
        closed.wait_for(|closed| !closed).await.unwrap();
        if self.failing.load(Ordering::SeqCst) {
            return Err(LogStoreError::Io("input/output error (EIO)".into()));
        }
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
        self.destructions.send_modify(|count| *count += 1);
        let mut closed = self.closed.subscribe();
        closed.wait_for(|closed| !closed).await.unwrap();
        self.inner.destroy(group).await
    }
}

/// The receiver of a batch, and the groups that it has entries of.
pub type Batch = (NodeId, BTreeSet<GroupId>);

/// A transport that notes of which groups each batch has entries, by its receiver.
pub struct NotingTransport {
    /// Told when a group has left.
    pub on_left: Arc<dyn Fn(GroupId) + Send + Sync>,
    pub inner: Arc<dyn Transport>,
    pub sent: Arc<Mutex<Vec<Batch>>>,
}

#[async_trait]
impl Transport for NotingTransport {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        self.inner.start(inbound).await
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        let has_entries = |message: &&Message| match &message.body {
            Body::AppendEntries(append) => !append.entries.is_empty(),
            _ => false,
        };
        let groups = messages.iter().filter(has_entries).map(|message| message.group);
        self.sent.lock().unwrap().push((to, groups.collect()));
        self.inner.send(to, messages);
    }

    fn group_left(&self, group: GroupId) {
        self.inner.group_left(group);
        (self.on_left)(group);
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        self.inner.send_snapshot(header, content).await
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.inner.peers()
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}
