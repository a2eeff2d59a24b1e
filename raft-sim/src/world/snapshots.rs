//! Snapshots on their way: to the own disk, and to other nodes.

use std::time::Duration;

use bytes::Bytes;
use raft_core::input::Input;
use raft_core::message::{InstallSnapshot, SnapshotMeta};
use raft_core::types::{GroupId, NodeId};

use super::World;
use crate::history::hash_bytes;
use crate::node::ReplicaId;
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
        at: ReplicaId,
        life: u64,
        meta: SnapshotMeta,
        content: Bytes,
    ) -> Result<(), Violation> {
        let now = self.now;
        let machine = self.machines.get(at.node);
        let node = self.groups.node_mut(at);
        if machine.life != life || node.process.is_none() {
            return Ok(());
        }
        let later = machine.disk_stalled_until.max(machine.paused_until);
        if later > now {
            let again = Event::SnapshotWritten {
                at,
                life,
                meta,
                content,
            };
            self.queue.push(self.again(later), again);
            return Ok(());
        }
        let content_hash = hash_bytes(&content);
        if node.storage.save_snapshot(&meta, content).is_err() {
            return self.step(at, vec![Input::SnapshotFailed]);
        }
        let seen = Observation::SnapshotCreated {
            node: at.node,
            meta: &meta,
            content_hash,
        };
        self.observe(at.group, &seen)?;
        self.step(at, vec![Input::SnapshotCreated(meta)])
    }

    /// A leader begins to stream a snapshot.
    pub(super) fn send_snapshot(&mut self, at: ReplicaId, header: InstallSnapshot) -> Result<(), Violation> {
        self.observe(at.group, &Observation::SnapshotSent { header: &header })?;
        let life = self.machines.get(at.node).life;
        let content = self.groups.node(at).storage.snapshot(header.meta.last);
        let content = content.ok().map(|(_, content)| content);
        let bytes = content.as_ref().map_or(0, |content| content.len() as u64);
        let duration = self.network.delay() + Duration::from_micros(bytes / BYTES_PER_MICROSECOND);
        let transfer = SnapshotTransfer {
            header,
            group: at.group,
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
            group,
            content,
            life,
        } = transfer;
        let last = header.meta.last;
        let (from, to) = (header.from, header.to);
        let receiver = ReplicaId { group, node: to };
        let mut delivered = false;
        if self.machines.contains(to)
            && self.snapshot_passes(group, from, to)
            && let Some(content) = content
        {
            let storage = &mut self.groups.node_mut(receiver).storage;
            delivered = storage.save_snapshot(&header.meta, content).is_ok();
        }
        if delivered {
            self.step(receiver, vec![Input::SnapshotReceived(header)])?;
        }
        // The receiver may have it and the sender not know.
        let is_known = !(self.is_faulty && self.random.percent(BREAK_PERCENT / 2));
        let sender = self.machines.get(from);
        if sender.life == life && sender.is_up {
            let sent = Input::SnapshotSent {
                to,
                last,
                delivered: delivered && is_known,
            };
            return self.step(ReplicaId { group, node: from }, vec![sent]);
        }
        Ok(())
    }

    fn snapshot_passes(&mut self, group: GroupId, from: NodeId, to: NodeId) -> bool {
        let breaks = self.is_faulty && self.random.percent(BREAK_PERCENT);
        let nodes = &self.groups.get(group).nodes;
        let is_up = nodes.get(to).process.is_some() && !self.machines.get(to).is_paused(self.now);
        let sender_is_up = nodes.get(from).process.is_some();
        !breaks && is_up && sender_is_up && !self.network.is_cut(from, to)
    }
}
