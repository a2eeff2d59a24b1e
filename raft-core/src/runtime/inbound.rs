//! What the transport delivers: messages to the inboxes, snapshots to the snapshot store.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;

use super::group::{Alive, Group};
use super::pulses;
use super::shared::HostShared;
use crate::input::Input;
use crate::message::{InstallSnapshot, Message, SnapshotContent};
use crate::traits::{Cause, Inbound, SnapshotStoreError, SnapshotWriter, TransportError};
use crate::types::NodeId;

/// The receiving side of one host. It does not keep the host alive.
pub(super) struct HostInbound {
    host: Weak<HostShared>,
}

impl HostInbound {
    pub(super) fn new(host: &Arc<HostShared>) -> HostInbound {
        HostInbound {
            host: Arc::downgrade(host),
        }
    }

    fn host(&self) -> Result<Arc<HostShared>, TransportError> {
        self.host.upgrade().ok_or(TransportError::Closed)
    }

    /// The group that a snapshot is for.
    fn group(&self, header: &InstallSnapshot) -> Result<Arc<Group>, TransportError> {
        let host = self.host()?;
        host.directory.group(header.group).ok_or_else(|| {
            host.count_unknown_group();
            TransportError::Refused {
                to: header.to,
                reason: format!("group {} does not run on node {}", header.group, host.id),
            }
        })
    }
}

#[async_trait]
impl Inbound for HostInbound {
    fn receive(&self, _from: NodeId, mut messages: Vec<Message>) {
        let Ok(host) = self.host() else {
            return;
        };
        pulses::take(&host, &mut messages);
        if host.inboxes.len() == 1 {
            return host.inboxes[0].receive(messages);
        }
        // A stable sort keeps the order of each group's messages.
        messages.sort_by_key(|message| host.worker_of(message.group));
        let mut rest = messages.into_iter().peekable();
        while let Some(first) = rest.next() {
            let worker = host.worker_of(first.group);
            let mut own = vec![first];
            while let Some(next) = rest.next_if(|next| host.worker_of(next.group) == worker) {
                own.push(next);
            }
            host.inboxes[worker].receive(own);
        }
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        let group = self.group(header)?;
        if let Some(reason) = refusal(&group, header) {
            return Err(TransportError::Refused {
                to: header.to,
                reason,
            });
        }
        if group.receiving.swap(true, Ordering::AcqRel) {
            return Err(TransportError::Refused {
                to: header.to,
                reason: "another snapshot is being received; try again later".into(),
            });
        }
        let slot = Slot(group);
        let _alive = slot.alive().map_err(|error| TransportError::Io(error.into()))?;
        let store = &slot.0.host.snapshot_store;
        let begun = store.begin(header.group, &header.meta, Some(content)).await;
        let inner = begun.map_err(|error| TransportError::Io(error.into()))?;
        Ok(Box::new(Receiving { inner, slot }))
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        let group = self.group(&header)?;
        let finished = content.finish().await;
        finished.map_err(|error| TransportError::Io(error.into()))?;
        let (from, last) = (header.from, header.meta.last);
        tracing::info!("{group} received the snapshot at {last} from node {from}");
        group.complete([Input::SnapshotReceived(header)]);
        Ok(())
    }
}

/// Why a snapshot is not worth the transfer. The replica decides again when it is complete.
fn refusal(group: &Group, header: &InstallSnapshot) -> Option<String> {
    let status = group.status.borrow();
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

/// The place of the one snapshot that a group receives: two writers would write the same file. Freed when it is dropped.
struct Slot(Arc<Group>);

impl Slot {
    /// Keeps the group from ending during one call, so that nothing of a destroyed group is written.
    fn alive(&self) -> Result<Alive, SnapshotStoreError> {
        self.0.alive().ok_or_else(|| {
            let cause: Cause = format!("{} was stopped", self.0).into();
            SnapshotStoreError::Io(cause)
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.receiving.store(false, Ordering::Release);
    }
}

/// A writer of the snapshot store that holds the one place.
struct Receiving {
    inner: Box<dyn SnapshotWriter>,
    slot: Slot,
}

#[async_trait]
impl SnapshotWriter for Receiving {
    fn offset(&self) -> u64 {
        self.inner.offset()
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        let _alive = self.slot.alive()?;
        self.inner.write_chunk(chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        let _alive = self.slot.alive()?;
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        let _alive = self.slot.alive()?;
        self.inner.abort().await
    }
}
