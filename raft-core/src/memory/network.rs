//! A network inside one process, with cuts that tests make and heal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::message::{InstallSnapshot, Message};
use crate::traits::{Inbound, PeerStatus, SnapshotReader, SnapshotStoreError, Transport, TransportError};
use crate::types::NodeId;

/// Connects the nodes of one process. Clones share one network.
///
/// A message is handed to the receiver's [`Inbound`] within `send`: nothing is queued here, so nothing can fill up.
#[derive(Clone, Debug, Default)]
pub struct InProcessNetwork {
    links: Arc<RwLock<Links>>,
}

#[derive(Default)]
struct Links {
    listeners: BTreeMap<NodeId, Listener>,
    /// Directed pairs between which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    transports_made: u64,
}

/// Who listens at a node.
#[derive(Clone)]
struct Listener {
    /// Which of the transports made for the node it is.
    serial: u64,
    inbound: Arc<dyn Inbound>,
    /// Its transport's [`closed`](InProcessTransport::closed).
    closed: Arc<watch::Sender<bool>>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links")
            .field("listeners", &self.listeners.keys())
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

impl InProcessNetwork {
    /// A transfer of a snapshot that makes no progress for this long fails.
    pub const SNAPSHOT_STALL_TIMEOUT: Duration = Duration::from_secs(10);

    /// A network without nodes and without cuts.
    #[must_use]
    pub fn new() -> InProcessNetwork {
        InProcessNetwork::default()
    }

    /// The end of the network at node `id`. After it was shut down, make a new one to restart the node.
    #[must_use]
    pub fn transport(&self, id: NodeId) -> Arc<dyn Transport> {
        let mut links = self.write();
        links.transports_made += 1;
        Arc::new(InProcessTransport {
            id,
            serial: links.transports_made,
            network: self.clone(),
            dropped: Mutex::default(),
            closed: Arc::new(watch::Sender::new(false)),
        })
    }

    /// Cuts every link between a node of `side` and a node of `other_side`, in both directions.
    pub fn partition(&self, side: &[NodeId], other_side: &[NodeId]) {
        let mut links = self.write();
        for &a in side {
            for &b in other_side {
                links.cut.insert((a, b));
                links.cut.insert((b, a));
            }
        }
    }

    /// Cuts the link from `from` to `to`, in this direction only.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.write().cut.insert((from, to));
    }

    /// Cuts `node` off from every node that listens now.
    pub fn isolate(&self, node: NodeId) {
        let others: Vec<NodeId> = self.read().listeners.keys().copied().collect();
        let others: Vec<NodeId> = others.into_iter().filter(|other| *other != node).collect();
        self.partition(&[node], &others);
    }

    /// Removes every cut.
    pub fn heal(&self) {
        self.write().cut.clear();
    }

    fn listener(&self, from: NodeId, to: NodeId) -> Option<Listener> {
        let links = self.read();
        if links.cut.contains(&(from, to)) {
            return None;
        }
        links.listeners.get(&to).cloned()
    }

    // No change to the links can stop halfway, so a poisoned lock is a whole value.

    fn read(&self) -> RwLockReadGuard<'_, Links> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Links> {
        self.links.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's end of an [`InProcessNetwork`].
struct InProcessTransport {
    id: NodeId,
    serial: u64,
    network: InProcessNetwork,
    /// Per peer that was sent to: how many messages were lost.
    dropped: Mutex<BTreeMap<NodeId, u64>>,
    /// Whether it was shut down. Every transfer from and to this node subscribes to it, and ends with it.
    closed: Arc<watch::Sender<bool>>,
}

impl InProcessTransport {
    fn dropped(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listener(&self, to: NodeId) -> Option<Listener> {
        let closed = *self.closed.borrow();
        let listener = self.network.listener(self.id, to);
        listener.filter(|_| !closed)
    }

    fn reach(&self, to: NodeId) -> Result<Listener, TransportError> {
        self.listener(to).ok_or_else(|| TransportError::Unreachable {
            to,
            cause: "it does not listen, or the link is cut".into(),
        })
    }

    async fn transfer(
        &self,
        inbound: Arc<dyn Inbound>,
        header: InstallSnapshot,
        mut content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        const CHUNK_BYTES: usize = 64 << 10;
        let to = header.to;
        let failed = |error: SnapshotStoreError| TransportError::Io(error.into());
        let mut writer = within(to, inbound.begin_snapshot(&header, content.content())).await?;
        content.seek(writer.offset()).await.map_err(failed)?;
        loop {
            let read = async { content.read_chunk(CHUNK_BYTES).await.map_err(failed) };
            let chunk = within(to, read).await?;
            self.reach(to)?;
            if chunk.is_empty() {
                return within(to, inbound.finish_snapshot(header, writer)).await;
            }
            let written = async { writer.write_chunk(chunk).await.map_err(failed) };
            within(to, written).await?;
        }
    }
}

/// One step of a transfer to `to`, as long as it may take.
async fn within<T>(
    to: NodeId,
    step: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let limit = InProcessNetwork::SNAPSHOT_STALL_TIMEOUT;
    let stalled = TransportError::Unreachable {
        to,
        cause: format!("the snapshot transfer made no progress for {limit:?}").into(),
    };
    timeout(limit, step).await.unwrap_or(Err(stalled))
}

#[async_trait]
impl Transport for InProcessTransport {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        let mut links = self.network.write();
        let listener = Listener {
            serial: self.serial,
            inbound,
            closed: self.closed.clone(),
        };
        links.listeners.insert(self.id, listener);
        Ok(())
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        let listener = self.listener(to);
        let lost = if listener.is_some() {
            0
        } else {
            messages.len() as u64
        };
        *self.dropped().entry(to).or_default() += lost;
        if let Some(listener) = listener {
            listener.inbound.receive(self.id, messages);
        }
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        let to = header.to;
        let mut closed = self.closed.subscribe();
        if *closed.borrow() {
            return Err(TransportError::Closed);
        }
        // Each transport waits for those who subscribed, so these outlive what they hold of the receiver.
        let Listener {
            inbound,
            closed: receiver,
            ..
        } = self.reach(to)?;
        let mut receiver_closed = receiver.subscribe();
        drop(receiver);
        let gone = TransportError::Unreachable {
            to,
            cause: "it was shut down".into(),
        };
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(TransportError::Closed),
            _ = receiver_closed.wait_for(|closed| *closed) => Err(gone),
            sent = self.transfer(inbound, header, content) => sent,
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let describe = |(&id, &dropped_messages): (&NodeId, &u64)| PeerStatus {
            id,
            connected: self.listener(id).is_some(),
            dropped_messages,
            ..PeerStatus::default()
        };
        self.dropped().iter().map(describe).collect()
    }

    async fn shutdown(&self) {
        self.closed.send_replace(true);
        {
            let mut links = self.network.write();
            // A later transport of the same id may listen already; it is not ours to remove.
            let listener = links.listeners.get(&self.id);
            if listener.is_some_and(|listener| listener.serial == self.serial) {
                links.listeners.remove(&self.id);
            }
        }
        // Until every transfer has ended. One that nobody polls any more cannot; it holds what it holds.
        let _ = timeout(InProcessNetwork::SNAPSHOT_STALL_TIMEOUT, self.closed.closed()).await;
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;

    use crate::conformance::{self, TransportBounds};

    /// R76: the network that other tests stand on keeps the invariants of every transport.
    #[tokio::test(start_paused = true)]
    async fn conforms() {
        let network = InProcessNetwork::new();
        let bounds = TransportBounds {
            queued_messages_max: 0,
            queued_bytes_max: 0,
            snapshot_stall_timeout: InProcessNetwork::SNAPSHOT_STALL_TIMEOUT,
        };
        conformance::transport(bounds, async |ids: &[NodeId]| {
            ids.iter().map(|&id| network.transport(id)).collect()
        })
        .await;
    }
}
