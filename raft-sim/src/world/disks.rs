//! The log writer of each process: everything that waits, of all groups, becomes durable with one sync.

use std::time::Duration;

use raft_core::effect::Write;
use raft_core::input::{Input, LogRead, LogReadResult};
use raft_core::message::Message;
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, NodeId};

use super::{LOOK_AGAIN, World};
use crate::disk::DiskError;
use crate::node::{Node, ReplicaId, Writing};
use crate::observation::Observation;
use crate::queue::Event;
use crate::violation::Violation;

/// How many of a million cold reads fail while faults happen.
const READ_FAILURES_PPM: u32 = 20_000;

impl World<'_> {
    /// A replica wants something written.
    pub(super) fn persist(&mut self, at: ReplicaId, write: Write) -> Result<(), Violation> {
        let group = self.groups.get_mut(at.group);
        let node = group.nodes.get(at.node);
        let Some(process) = &node.process else {
            return Ok(());
        };
        let seen = Observation::WriteBegun {
            node: at.node,
            role: process.status.role,
            log: &node.issued,
            write: &write,
        };
        group
            .watch
            .observe(self.now, &self.machines, &group.nodes, &seen)?;
        let local_now = self.machines.get(at.node).clock.at(self.now);
        let node = group.nodes.get_mut(at.node);
        node.issued.apply(&GroupWrite::new(at.group, &write));
        if let Some(process) = &mut node.process {
            if process.writing.is_none() && process.writes.is_empty() {
                process.writing_since = local_now;
            }
            process.writes.push_back(write);
        }
        Ok(())
    }

    /// If the disk rests, everything that waits is written, that of all groups, and synced at once.
    pub(super) fn begin_write(&mut self, id: NodeId) -> Result<(), Violation> {
        let (now, sync_us) = (self.now, self.sync_us());
        let machine = self.machines.get_mut(id);
        if !machine.is_up || machine.is_syncing {
            return Ok(());
        }
        let nodes = self.groups.iter_mut().map(|group| group.nodes.get_mut(id));
        let begun: Result<Vec<bool>, DiskError> = nodes.filter_map(Node::begin_write).collect();
        let Ok(begun) = begun else {
            return self.fail(id);
        };
        if begun.is_empty() {
            return Ok(());
        }
        let has_changed = begun.contains(&true);
        machine.is_syncing = true;
        let duration = if has_changed {
            20 + machine.random.exponential(sync_us)
        } else {
            1
        };
        let at =
            (now + Duration::from_micros(duration)).max(machine.disk_stalled_until.min(now + LOOK_AGAIN));
        let life = machine.life;
        self.queue.push(at, Event::Synced { node: id, life });
        Ok(())
    }

    /// A disk completed what was written.
    pub(super) fn synced(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let machine = self.machines.get(id);
        if machine.life != life {
            return Ok(());
        }
        if machine.disk_stalled_until > self.now {
            let later = machine.disk_stalled_until;
            self.queue
                .push(self.again(later), Event::Synced { node: id, life });
            return Ok(());
        }
        for group in self.groups.ids() {
            let group = self.groups.get_mut(group);
            let node = group.nodes.get_mut(id);
            let writing = node.process.as_mut().and_then(|process| process.writing.as_mut());
            let Some(Writing { change, before, .. }) = writing else {
                continue;
            };
            let Some((change, mark)) = change.take() else {
                continue;
            };
            let before = *before;
            if node.storage.end_sync(mark).is_err() {
                return self.fail(id);
            }
            let seen = Observation::WriteDurable {
                node: id,
                before,
                change: &change,
            };
            group
                .watch
                .observe(self.now, &self.machines, &group.nodes, &seen)?;
        }
        self.written(id, life)
    }

    /// The process learns that what was written is durable: what waited for it leaves.
    pub(super) fn written(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let now = self.now;
        let machine = self.machines.get_mut(id);
        if machine.life != life {
            return Ok(());
        }
        if machine.is_paused(now) {
            let later = machine.paused_until;
            self.queue
                .push(self.again(later), Event::Written { node: id, life });
            return Ok(());
        }
        machine.is_syncing = false;
        let local_now = machine.clock.at(now);
        let mut written = Vec::new();
        for group in self.groups.iter_mut() {
            if let Some(process) = &mut group.nodes.get_mut(id).process
                && let Some(writing) = process.writing.take()
            {
                process.writing_since = local_now;
                written.push((group.id, writing));
            }
        }
        for (group, writing) in written {
            if self.machines.get(id).life != life {
                // What one of them did next made the process stop.
                return Ok(());
            }
            let is_own = |message: &Message| message.to == id;
            let (own, others): (Vec<_>, Vec<_>) = writing.then.into_iter().partition(is_own);
            self.send_all(group, others)?;
            let mut inputs = vec![Input::Persisted(writing.last)];
            inputs.extend(own.into_iter().map(Input::Receive));
            self.step(ReplicaId { group, node: id }, inputs)?;
        }
        Ok(())
    }

    // ---- cold reads ----

    pub(super) fn read_log(&mut self, at: ReplicaId, request: LogRead) {
        let sync_us = self.sync_us();
        let machine = self.machines.get_mut(at.node);
        let life = machine.life;
        let when = self.now + Duration::from_micros(10 + machine.random.exponential(sync_us));
        self.queue.push(when, Event::LogRead { at, life, request });
    }

    pub(super) fn log_read(&mut self, at: ReplicaId, life: u64, request: LogRead) -> Result<(), Violation> {
        let now = self.now;
        let machine = self.machines.get_mut(at.node);
        let node = self.groups.node_mut(at);
        if machine.life != life || node.process.is_none() {
            return Ok(());
        }
        if machine.is_paused(now) {
            let later = machine.paused_until;
            let later = self.again(later);
            self.queue.push(later, Event::LogRead { at, life, request });
            return Ok(());
        }
        let fails = self.is_faulty && machine.random.per_million(READ_FAILURES_PPM);
        let read = node.storage.read(request.first, request.last, request.bytes_max);
        let entries = read.ok().filter(|_| !fails).unwrap_or_default();
        self.step(at, vec![Input::LogRead(LogReadResult { request, entries })])
    }

    /// The log is purged.
    pub(super) fn compact(&mut self, at: ReplicaId, through: EntryId) -> Result<(), Violation> {
        let node = at.node;
        self.observe(at.group, &Observation::Compacted { node, through })?;
        let node = self.groups.node_mut(at);
        node.storage.compact(through);
        node.issued.compact(through);
        Ok(())
    }
}
