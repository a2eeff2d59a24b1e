//! A network inside one process, with cuts that tests make and heal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;

use crate::message::{InstallSnapshot, Message};
use crate::traits::{Inbound, PeerStatus, SnapshotReader, Transport, TransportError};
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
    /// Who listens, and which of the transports made for its id that is.
    listeners: BTreeMap<NodeId, (u64, Arc<dyn Inbound>)>,
    /// Directed pairs between which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    transports_made: u64,
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

    fn listener(&self, from: NodeId, to: NodeId) -> Option<Arc<dyn Inbound>> {
        let links = self.read();
        if links.cut.contains(&(from, to)) {
            return None;
        }
        links.listeners.get(&to).map(|(_, inbound)| inbound.clone())
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
}

impl InProcessTransport {
    fn dropped(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, to: NodeId) -> Result<Arc<dyn Inbound>, TransportError> {
        self.network
            .listener(self.id, to)
            .ok_or_else(|| TransportError::Unreachable {
                to,
                cause: "it does not listen, or the link is cut".into(),
            })
    }
}

#[async_trait]
impl Transport for InProcessTransport {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        let mut links = self.network.write();
        links.listeners.insert(self.id, (self.serial, inbound));
        Ok(())
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        let listener = self.network.listener(self.id, to);
        let lost = if listener.is_some() {
            0
        } else {
            messages.len() as u64
        };
        *self.dropped().entry(to).or_default() += lost;
        if let Some(listener) = listener {
            listener.receive(self.id, messages);
        }
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        mut content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        const CHUNK_BYTES: usize = 64 << 10;
        let to = header.to;
        let failed = |error: crate::traits::SnapshotStoreError| TransportError::Io(error.into());
        let inbound = self.reach(to)?;
        let mut writer = inbound.begin_snapshot(&header, content.content()).await?;
        content.seek(writer.offset()).await.map_err(failed)?;
        loop {
            let chunk = content.read_chunk(CHUNK_BYTES).await.map_err(failed)?;
            self.reach(to)?;
            if chunk.is_empty() {
                return inbound.finish_snapshot(header, writer).await;
            }
            writer.write_chunk(chunk).await.map_err(failed)?;
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let describe = |(&id, &dropped_messages): (&NodeId, &u64)| PeerStatus {
            id,
            connected: self.network.listener(self.id, id).is_some(),
            dropped_messages,
            ..PeerStatus::default()
        };
        self.dropped().iter().map(describe).collect()
    }

    async fn shutdown(&self) {
        let mut links = self.network.write();
        // A later transport of the same id may listen already; it is not ours to remove.
        if links
            .listeners
            .get(&self.id)
            .is_some_and(|(serial, _)| *serial == self.serial)
        {
            links.listeners.remove(&self.id);
        }
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;

    /// R76: the network that other tests stand on keeps the invariants of every transport.
    #[tokio::test]
    async fn conforms() {
        crate::conformance::transport(async |ids: &[NodeId]| {
            let network = InProcessNetwork::new();
            ids.iter().map(|&id| network.transport(id)).collect()
        })
        .await;
    }
}
