//! What the transport delivers: messages to the inbox, snapshots to the snapshot store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;

use super::shared::Shared;
use crate::input::Input;
use crate::message::{InstallSnapshot, Message, SnapshotContent};
use crate::traits::{Inbound, SnapshotStoreError, SnapshotWriter, TransportError};
use crate::types::NodeId;

/// The receiving side of one node. It does not keep the node alive.
pub(super) struct NodeInbound {
    shared: Weak<Shared>,
    /// One snapshot is received at a time: two writers would write the same file.
    receiving: Arc<AtomicBool>,
}

impl NodeInbound {
    pub(super) fn new(shared: &Arc<Shared>) -> NodeInbound {
        NodeInbound {
            shared: Arc::downgrade(shared),
            receiving: Arc::default(),
        }
    }

    fn node(&self) -> Result<Arc<Shared>, TransportError> {
        self.shared.upgrade().ok_or(TransportError::Closed)
    }
}

#[async_trait]
impl Inbound for NodeInbound {
    fn receive(&self, _from: NodeId, messages: Vec<Message>) {
        if let Ok(shared) = self.node() {
            shared.inbox.receive(messages);
        }
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        let shared = self.node()?;
        if let Some(reason) = refusal(&shared, header) {
            return Err(TransportError::Refused {
                to: header.to,
                reason,
            });
        }
        if self.receiving.swap(true, Ordering::AcqRel) {
            return Err(TransportError::Refused {
                to: header.to,
                reason: "another snapshot is being received; try again later".into(),
            });
        }
        let slot = Slot(self.receiving.clone());
        let store = &shared.snapshot_store;
        let begun = store.begin(header.group, &header.meta, Some(content)).await;
        let inner = begun.map_err(|error| TransportError::Io(error.into()))?;
        Ok(Box::new(Receiving { inner, _slot: slot }))
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        let shared = self.node()?;
        let finished = content.finish().await;
        finished.map_err(|error| TransportError::Io(error.into()))?;
        let (id, from, last) = (shared.config.id, header.from, header.meta.last);
        tracing::info!("node {id} received the snapshot at {last} from node {from}");
        shared.inbox.complete([Input::SnapshotReceived(header)]);
        Ok(())
    }
}

/// Why a snapshot is not worth the transfer. The replica decides again when it is complete.
fn refusal(shared: &Shared, header: &InstallSnapshot) -> Option<String> {
    let status = shared.status.borrow();
    if (header.group, header.to) != (status.group, status.id) {
        return Some(format!(
            "this is node {} of group {}, not node {} of group {}",
            status.id, status.group, header.to, header.group
        ));
    }
    if header.term < status.term {
        let term = status.term;
        return Some(format!("term {} is over; this is term {term}", header.term));
    }
    if header.meta.last.index <= status.commit_index {
        let commit = status.commit_index;
        return Some(format!("everything up to {commit} is committed here already"));
    }
    None
}

/// Frees the place of the snapshot that is being received.
struct Slot(Arc<AtomicBool>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A writer of the snapshot store that holds the one place.
struct Receiving {
    inner: Box<dyn SnapshotWriter>,
    _slot: Slot,
}

#[async_trait]
impl SnapshotWriter for Receiving {
    fn offset(&self) -> u64 {
        self.inner.offset()
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        self.inner.write_chunk(chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.inner.abort().await
    }
}
