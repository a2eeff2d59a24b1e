//! A log store and a transport that know which groups were destroyed, and tell when one of those is heard of again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::memory::MemoryLogStore;
use raft_core::message::{InstallSnapshot, Message};
use raft_core::traits::{
    GroupWrite, Inbound, LogStore, LogStoreError, PeerStatus, Recovered, SnapshotReader, Transport,
    TransportError,
};
use raft_core::types::{EntryId, GroupId, Index, NodeId};
use tokio::sync::watch;

/// How many messages are kept to be delivered again.
const OLD_MAX: usize = 4_096;

/// What all nodes of one course share.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Seen>>);

#[derive(Default)]
pub struct Seen {
    /// Whose destruction has returned.
    pub destroyed: BTreeSet<(NodeId, GroupId)>,
    /// What a destroyed replica did all the same.
    pub violations: Vec<String>,
    /// Messages that were sent, to be delivered once more at any later time.
    pub old: Vec<Message>,
    sent: usize,
}

impl Notes {
    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }
}

impl Seen {
    fn acts(&mut self, node: NodeId, group: GroupId, what: &str) {
        if self.destroyed.contains(&(node, group)) {
            self.violations
                .push(format!("node {node} {what} in the destroyed group {group}"));
        }
    }
}

/// Where a destruction stops for ever, as it does when the process ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    Before,
    After,
}

/// The log store of one node over all its lives.
#[derive(Clone)]
pub struct WatchedStore {
    pub node: NodeId,
    pub inner: MemoryLogStore,
    pub notes: Notes,
    pub stuck: Arc<Mutex<Option<Stuck>>>,
    /// Whether the process is about to end: what is stuck ends with it.
    pub ends: watch::Sender<bool>,
    /// A defect: what was destroyed looks like what never was.
    pub forgets: bool,
    /// What is used in place of a group that was destroyed and forgotten.
    pub afresh: MemoryLogStore,
}

impl WatchedStore {
    fn of(&self, group: GroupId) -> &MemoryLogStore {
        let is_forgotten = self.forgets && self.notes.lock().destroyed.contains(&(self.node, group));
        if is_forgotten { &self.afresh } else { &self.inner }
    }
}

#[async_trait]
impl LogStore for WatchedStore {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.of(group).load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        for write in &batch {
            self.notes.lock().acts(self.node, write.group, "writes");
        }
        for write in batch {
            self.of(write.group).write(vec![write]).await?;
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        false
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        self.of(group).read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        self.of(group).compact(group, through).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        let stuck = *self.stuck.lock().unwrap();
        if stuck != Some(Stuck::Before) {
            self.inner.destroy(group).await?;
        }
        if stuck.is_some() {
            let mut ends = self.ends.subscribe();
            ends.wait_for(|ends| *ends).await.expect("the store lives");
            return Err(LogStoreError::Io("the process ends".into()));
        }
        Ok(())
    }
}

/// The transport of one life of a node.
pub struct WatchedTransport {
    pub node: NodeId,
    pub inner: Arc<dyn Transport>,
    pub notes: Notes,
    /// Where old messages are delivered.
    pub inbound: Arc<Mutex<Option<Arc<dyn Inbound>>>>,
}

#[async_trait]
impl Transport for WatchedTransport {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        *self.inbound.lock().unwrap() = Some(inbound.clone());
        self.inner.start(inbound).await
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        let mut seen = self.notes.lock();
        for message in &messages {
            seen.acts(self.node, message.group, "sends");
            let place = seen.sent % OLD_MAX;
            seen.sent += 1;
            match seen.old.get_mut(place) {
                Some(old) => *old = message.clone(),
                None => seen.old.push(message.clone()),
            }
        }
        drop(seen);
        self.inner.send(to, messages);
    }

    fn membership_changed(&self, group: GroupId, membership: &Membership) {
        self.inner.membership_changed(group, membership);
    }

    fn membership_committed(&self, group: GroupId, membership: &Membership) {
        self.inner.membership_committed(group, membership);
    }

    fn group_left(&self, group: GroupId) {
        self.inner.group_left(group);
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
