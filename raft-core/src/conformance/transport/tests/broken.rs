//! The network in one process, with one defect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::memory::InProcessNetwork;
use crate::message::{InstallSnapshot, Message, SnapshotContent};
use crate::traits::{
    Inbound, PeerStatus, SnapshotReader, SnapshotStoreError, SnapshotWriter, Transport, TransportError,
};
use crate::types::NodeId;

/// One defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    ReordersALane,
    DeliversTwice,
    LosesTheTail,
    Alters,
    TakesTheDeadForConnected,
    SwallowsSnapshotFailures,
    WaitsForEver,
    HoldsMessagesBehindSnapshots,
    NeverResumes,
    KeepsTheWriter,
    LeaksTheInbound,
    SendsAfterShutdown,
    TransfersAfterShutdown,
    NeverReconnects,
}

#[derive(Clone)]
pub(super) struct Network {
    bug: Bug,
    network: InProcessNetwork,
    /// How often each node was started.
    starts: Arc<Mutex<BTreeMap<NodeId, u64>>>,
}

impl Network {
    pub(super) fn new(bug: Bug) -> Network {
        Network {
            bug,
            network: InProcessNetwork::new(),
            starts: Arc::default(),
        }
    }

    pub(super) fn transport(&self, id: NodeId) -> Arc<dyn Transport> {
        Arc::new(Broken {
            id,
            inner: self.network.transport(id),
            network: self.clone(),
            sends: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            transfers: AtomicU64::new(0),
            held: Mutex::default(),
            found: Mutex::default(),
        })
    }
}

struct Broken {
    id: NodeId,
    inner: Arc<dyn Transport>,
    network: Network,
    sends: AtomicU64,
    stopped: AtomicBool,
    transfers: AtomicU64,
    held: Mutex<Vec<(NodeId, Vec<Message>)>>,
    /// As what each peer was met first.
    found: Mutex<BTreeMap<NodeId, u64>>,
}

impl Broken {
    fn has_met_another(&self, to: NodeId) -> bool {
        let now = lock(&self.network.starts).get(&to).copied().unwrap_or(0);
        *lock(&self.found).entry(to).or_insert(now) != now
    }
}

#[async_trait]
impl Transport for Broken {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        *lock(&self.network.starts).entry(self.id).or_default() += 1;
        match self.network.bug {
            Bug::LeaksTheInbound => std::mem::forget(inbound.clone()),
            bug @ (Bug::NeverResumes | Bug::KeepsTheWriter) => {
                return self.inner.start(Arc::new(Careless { bug, inbound })).await;
            }
            _ => {}
        }
        self.inner.start(inbound).await
    }

    fn send(&self, to: NodeId, mut messages: Vec<Message>) {
        let sends = self.sends.fetch_add(1, Ordering::Relaxed);
        match self.network.bug {
            Bug::ReordersALane => messages.reverse(),
            Bug::DeliversTwice if sends % 10 == 3 => self.inner.send(to, messages.clone()),
            Bug::LosesTheTail if messages.len() > 1 => messages.truncate(messages.len() - 1),
            Bug::Alters if sends % 10 == 3 => messages.iter_mut().for_each(|message| message.group.0 += 1),
            Bug::HoldsMessagesBehindSnapshots if self.transfers.load(Ordering::Relaxed) > 0 => {
                return lock(&self.held).push((to, messages));
            }
            Bug::NeverReconnects if self.has_met_another(to) => return,
            Bug::SendsAfterShutdown if self.stopped.load(Ordering::Relaxed) => {
                return self.network.network.transport(self.id).send(to, messages);
            }
            _ => {}
        }
        self.inner.send(to, messages);
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        if self.network.bug == Bug::TransfersAfterShutdown && self.stopped.load(Ordering::Relaxed) {
            let another = self.network.network.transport(self.id);
            return another.send_snapshot(header, content).await;
        }
        let began = Instant::now();
        self.transfers.fetch_add(1, Ordering::Relaxed);
        let result = self.inner.send_snapshot(header, content).await;
        self.transfers.fetch_sub(1, Ordering::Relaxed);
        for (to, messages) in std::mem::take(&mut *lock(&self.held)) {
            self.inner.send(to, messages);
        }
        match self.network.bug {
            Bug::SwallowsSnapshotFailures => Ok(()),
            Bug::WaitsForEver if began.elapsed() >= InProcessNetwork::SNAPSHOT_STALL_TIMEOUT => {
                std::future::pending().await
            }
            _ => result,
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let mut peers = self.inner.peers();
        if self.network.bug == Bug::TakesTheDeadForConnected {
            peers.iter_mut().for_each(|peer| peer.connected = true);
        }
        peers
    }

    async fn shutdown(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.inner.shutdown().await;
    }
}

/// What lies between a careless transport and the inbound.
struct Careless {
    bug: Bug,
    inbound: Arc<dyn Inbound>,
}

#[async_trait]
impl Inbound for Careless {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        self.inbound.receive(from, messages);
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        let mut writer = self.inbound.begin_snapshot(header, content).await?;
        if self.bug == Bug::NeverResumes && writer.offset() > 0 {
            let aborted = writer.abort().await;
            aborted.map_err(|error| TransportError::Io(error.into()))?;
            writer = self.inbound.begin_snapshot(header, content).await?;
        }
        if self.bug == Bug::KeepsTheWriter {
            return Ok(Box::new(Kept(Some(writer))));
        }
        Ok(writer)
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        self.inbound.finish_snapshot(header, content).await
    }
}

/// A writer that is never let go of, unless it is finished.
struct Kept(Option<Box<dyn SnapshotWriter>>);

impl Kept {
    fn missing() -> SnapshotStoreError {
        SnapshotStoreError::Io("it was finished before".into())
    }
}

#[async_trait]
impl SnapshotWriter for Kept {
    fn offset(&self) -> u64 {
        self.0.as_ref().map_or(0, |writer| writer.offset())
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        let writer = self.0.as_mut().ok_or_else(Kept::missing)?;
        writer.write_chunk(chunk).await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.0.take().ok_or_else(Kept::missing)?.finish().await
    }

    async fn abort(mut self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.0.take().ok_or_else(Kept::missing)?.abort().await
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
