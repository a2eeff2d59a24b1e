//! Snapshots on their way: to the own disk, and to other nodes.

use std::time::Duration;

use bytes::Bytes;
use raft_core::input::Input;
use raft_core::message::{InstallSnapshot, SnapshotMeta};
use raft_core::types::NodeId;

use super::World;
use crate::history::hash_bytes;
use crate::observation::Observation;
use crate::queue::{Event, SnapshotTransfer};
use crate::violation::Violation;

/// How many bytes of a snapshot pass in a microsecond.
const BYTES_PER_MICROSECOND: u64 = 10;
/// How many of a hundred streams break off while faults happen.
const BREAK_PERCENT: u32 = 10;

impl World<'_> {
    /// A snapshot of the own state is written.
    pub(super) fn snapshot_written(
        &mut self,
        id: NodeId,
        life: u64,
        meta: SnapshotMeta,
        content: Bytes,
    ) -> Result<(), Violation> {
        let now = self.now;
        let node = self.nodes.get_mut(id);
        if node.life != life || node.process.is_none() {
            return Ok(());
        }
        let later = node.disk_stalled_until.max(node.paused_until);
        if later > now {
            let again = Event::SnapshotWritten {
                node: id,
                life,
                meta,
                content,
            };
            self.queue.push(self.again(later), again);
            return Ok(());
        }
        let content_hash = hash_bytes(&content);
        if node.storage.save_snapshot(&meta, content).is_err() {
            return self.step(id, vec![Input::SnapshotFailed]);
        }
        self.observe(&Observation::SnapshotCreated {
            node: id,
            meta: &meta,
            content_hash,
        })?;
        self.step(id, vec![Input::SnapshotCreated(meta)])
    }

    /// A leader begins to stream a snapshot.
    pub(super) fn send_snapshot(&mut self, id: NodeId, header: InstallSnapshot) -> Result<(), Violation> {
        self.observe(&Observation::SnapshotSent { header: &header })?;
        let node = self.nodes.get(id);
        let life = node.life;
        let content = node
            .storage
            .snapshot(header.meta.last)
            .ok()
            .map(|(_, content)| content);
        let bytes = content.as_ref().map_or(0, |content| content.len() as u64);
        let duration = self.network.delay() + Duration::from_micros(bytes / BYTES_PER_MICROSECOND);
        let transfer = SnapshotTransfer {
            header,
            content,
            life,
        };
        self.queue
            .push(self.now + duration, Event::SnapshotArrives(Box::new(transfer)));
        Ok(())
    }

    /// The stream of a snapshot ends, well or not; the sender hears of it (R49).
    pub(super) fn snapshot_arrives(&mut self, transfer: SnapshotTransfer) -> Result<(), Violation> {
        let SnapshotTransfer {
            header,
            content,
            life,
        } = transfer;
        let (from, to, last) = (header.from, header.to, header.meta.last);
        let mut delivered = false;
        if self.nodes.contains(to) && self.snapshot_passes(from, to)? {
            let node = self.nodes.get_mut(to);
            if let Some(content) = content {
                delivered = node.storage.save_snapshot(&header.meta, content).is_ok();
            }
        }
        if delivered {
            self.step(to, vec![Input::SnapshotReceived(header)])?;
        }
        // The receiver may have it and the sender not know.
        let is_known = !(self.is_faulty && self.random.percent(BREAK_PERCENT / 2));
        let sender = self.nodes.get(from);
        if sender.life == life && sender.process.is_some() {
            let sent = Input::SnapshotSent {
                to,
                last,
                delivered: delivered && is_known,
            };
            return self.step(from, vec![sent]);
        }
        Ok(())
    }

    fn snapshot_passes(&mut self, from: NodeId, to: NodeId) -> Result<bool, Violation> {
        let breaks = self.is_faulty && self.random.percent(BREAK_PERCENT);
        let receiver = self.nodes.get(to);
        let is_up = receiver.process.is_some() && !receiver.is_paused(self.now);
        let sender_is_up = self.nodes.get(from).process.is_some();
        Ok(!breaks && is_up && sender_is_up && !self.network.is_cut(from, to))
    }
}
