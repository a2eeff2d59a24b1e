//! The log writer of each process: everything that waits becomes one durable write.

use std::time::Duration;

use raft_core::effect::Write;
use raft_core::input::{Input, LogRead, LogReadResult};
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, NodeId, WriteSeq};

use super::{GROUP, LOOK_AGAIN, World};
use crate::node::Writing;
use crate::observation::Observation;
use crate::queue::Event;
use crate::violation::Violation;

/// How many of a million cold reads fail while faults happen.
const READ_FAILURES_PPM: u32 = 20_000;

impl World<'_> {
    /// A replica wants something written.
    pub(super) fn persist(&mut self, id: NodeId, write: Write) -> Result<(), Violation> {
        let node = self.nodes.get(id);
        let Some(process) = &node.process else {
            return Ok(());
        };
        let seen = Observation::WriteBegun {
            node: id,
            role: process.status.role,
            log: &node.issued,
            write: &write,
        };
        self.watch.observe(self.now, &self.nodes, &seen)?;
        let node = self.nodes.get_mut(id);
        let local_now = node.clock.at(self.now);
        node.issued.apply(&GroupWrite::new(GROUP, &write));
        if let Some(process) = &mut node.process {
            if process.writing.is_none() && process.writes.is_empty() {
                process.writing_since = local_now;
            }
            process.writes.push_back(write);
        }
        Ok(())
    }

    /// If the disk rests, everything that waits is written and synced at once.
    pub(super) fn begin_write(&mut self, id: NodeId) -> Result<(), Violation> {
        let (now, sync_us) = (self.now, self.sync_us());
        let node = self.nodes.get_mut(id);
        let life = node.life;
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        if process.writing.is_some() || process.writes.is_empty() {
            return Ok(());
        }
        let (mut change, mut then, mut last): (Option<GroupWrite>, _, _) =
            (None, Vec::new(), WriteSeq::default());
        for write in process.writes.drain(..) {
            last = write.seq;
            let is_empty = write.is_empty();
            then.extend(write.then);
            if is_empty {
                continue;
            }
            let next = GroupWrite {
                group: GROUP,
                hard_state: write.hard_state,
                snapshot: write.snapshot,
                log: write.log,
            };
            match &mut change {
                Some(change) => change.merge(next),
                None => change = Some(next),
            }
        }
        let before = node.storage.durable().hard_state;
        let is_empty = change.is_none();
        let change = match change.map(|change| node.storage.write(&change).map(|_| change)) {
            None => None,
            Some(Ok(change)) => Some((change, node.storage.begin_sync())),
            Some(Err(_)) => return self.fail(id),
        };
        process.writing = Some(Writing {
            change,
            before,
            last,
            then,
        });
        let duration = if is_empty {
            1
        } else {
            20 + node.random.exponential(sync_us)
        };
        let at = (now + Duration::from_micros(duration)).max(node.disk_stalled_until.min(now + LOOK_AGAIN));
        self.queue.push(at, Event::Synced { node: id, life });
        Ok(())
    }

    /// A disk completed what was written.
    pub(super) fn synced(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(id);
        if node.life != life {
            return Ok(());
        }
        if node.disk_stalled_until > self.now {
            let later = node.disk_stalled_until;
            self.queue
                .push(self.again(later), Event::Synced { node: id, life });
            return Ok(());
        }
        let Some(writing) = node.process.as_mut().and_then(|process| process.writing.as_mut()) else {
            return Ok(());
        };
        if let Some((change, mark)) = writing.change.take() {
            let before = writing.before;
            if node.storage.end_sync(mark).is_err() {
                return self.fail(id);
            }
            let seen = Observation::WriteDurable {
                node: id,
                before,
                change: &change,
            };
            self.watch.observe(self.now, &self.nodes, &seen)?;
        }
        self.written(id, life)
    }

    /// The process learns that a write is durable: what waited for it leaves.
    pub(super) fn written(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(id);
        if node.life != life {
            return Ok(());
        }
        if node.is_paused(self.now) {
            let later = node.paused_until;
            self.queue
                .push(self.again(later), Event::Written { node: id, life });
            return Ok(());
        }
        let local_now = node.clock.at(self.now);
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        let Some(writing) = process.writing.take() else {
            return Ok(());
        };
        process.writing_since = local_now;
        let (own, others): (Vec<_>, Vec<_>) = writing.then.into_iter().partition(|message| message.to == id);
        self.send_all(others)?;
        let mut inputs = vec![Input::Persisted(writing.last)];
        inputs.extend(own.into_iter().map(Input::Receive));
        self.step(id, inputs)
    }

    // ---- cold reads ----

    pub(super) fn read_log(&mut self, id: NodeId, request: LogRead) {
        let sync_us = self.sync_us();
        let node = self.nodes.get_mut(id);
        let life = node.life;
        let at = self.now + Duration::from_micros(10 + node.random.exponential(sync_us));
        self.queue.push(
            at,
            Event::LogRead {
                node: id,
                life,
                request,
            },
        );
    }

    pub(super) fn log_read(&mut self, id: NodeId, life: u64, request: LogRead) -> Result<(), Violation> {
        let now = self.now;
        let node = self.nodes.get_mut(id);
        if node.life != life || node.process.is_none() {
            return Ok(());
        }
        if node.is_paused(now) {
            let later = node.paused_until;
            let later = self.again(later);
            self.queue.push(
                later,
                Event::LogRead {
                    node: id,
                    life,
                    request,
                },
            );
            return Ok(());
        }
        let fails = self.is_faulty && node.random.per_million(READ_FAILURES_PPM);
        let read = node.storage.read(request.first, request.last, request.bytes_max);
        let entries = read.ok().filter(|_| !fails).unwrap_or_default();
        self.step(id, vec![Input::LogRead(LogReadResult { request, entries })])
    }

    /// The log is purged.
    pub(super) fn compact(&mut self, id: NodeId, through: EntryId) -> Result<(), Violation> {
        self.observe(&Observation::Compacted { node: id, through })?;
        let node = self.nodes.get_mut(id);
        node.storage.compact(through);
        node.issued.compact(through);
        Ok(())
    }
}
