//! What reaches the state machine, and when.
//!
//! Only entries that are both committed and durable here are handed out, so that a restart never finds a state machine
//! ahead of its log; and none while a snapshot is about to replace the state (R50).

use std::collections::VecDeque;

use super::common::Common;
use crate::codec::recorded;
use crate::effect::Effect;
use crate::entry::Entry;
use crate::fingerprint::Fingerprint;
use crate::input::{LogRead, LogReadResult, LogReader};
use crate::message::SnapshotMeta;
use crate::mutants::{self, Mutant};
use crate::progress::ColdRead;
use crate::types::{EntryId, Index, Time};

/// How far the state machine is, and what is on its way there.
#[derive(Clone, Debug)]
pub(super) struct ApplyState {
    pub(super) applied: Index,
    pub(super) handed_out: Index,
    /// (last index, payload bytes) of each batch handed out and not applied.
    pub(super) batches: VecDeque<(Index, usize)>,
    pub(super) bytes: usize,
    pub(super) cold_read: ColdRead,
    /// Entries read from the log store for the state machine.
    pub(super) cold_entries: Vec<Entry>,
    /// A snapshot that replaces the state; nothing is handed out until it is restored (R50).
    pub(super) restoring: Option<RestoreState>,
    pub(super) creating_snapshot: bool,
    /// After a snapshot could not be made, the next is asked for when this index was handed out.
    pub(super) snapshot_retry_at: Index,
    /// When the oldest batch that is not applied began to be; moves with every progress.
    working_since: Time,
    /// The commit index known before the start (R75).
    pub(super) ready_at: Index,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct RestoreState {
    pub(super) meta: SnapshotMeta,
    pub(super) asked: bool,
}

impl ApplyState {
    /// A state machine that has applied everything up to `applied`, in a replica that knew `ready_at` to be committed.
    pub(super) fn new(applied: Index, ready_at: Index, now: Time) -> ApplyState {
        ApplyState {
            applied,
            handed_out: applied,
            batches: VecDeque::new(),
            bytes: 0,
            cold_read: ColdRead::Idle,
            cold_entries: Vec::new(),
            restoring: None,
            creating_snapshot: false,
            snapshot_retry_at: Index::ZERO,
            working_since: now,
            ready_at,
        }
    }

    /// Whether everything up to `last` is applied, and neither the state machine nor a snapshot owes anything.
    pub(super) fn is_done(&self, last: Index) -> bool {
        self.applied == last
            && self.handed_out == last
            && self.batches.is_empty()
            && self.restoring.is_none()
            && !self.creating_snapshot
    }

    /// Since when the state machine owes an answer, if it does.
    pub(super) fn waiting_since(&self) -> Option<Time> {
        (!self.batches.is_empty()).then_some(self.working_since)
    }

    /// Which of two moments of work and of elections is earlier matters, so its own is told exactly.
    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let ApplyState {
            applied,
            handed_out,
            batches,
            bytes,
            cold_read,
            cold_entries,
            restoring,
            creating_snapshot,
            snapshot_retry_at,
            working_since: _,
            ready_at,
        } = self;
        fingerprint.feed(&(applied, handed_out, batches, bytes, ready_at));
        fingerprint.feed(&(cold_read, cold_entries));
        fingerprint.feed(&(restoring, creating_snapshot, snapshot_retry_at));
        fingerprint.feed_past_exactly(self.waiting_since());
    }
}

impl Common {
    /// The state machine has applied everything up to `index`.
    pub(super) fn applied_to(&mut self, index: Index) {
        if index > self.apply.applied {
            self.apply.applied = index;
            self.apply.working_since = self.now;
        }
        while self.apply.batches.front().is_some_and(|batch| batch.0 <= index) {
            let (_, bytes) = self.apply.batches.pop_front().expect("the loop saw it");
            self.apply.bytes -= bytes;
        }
    }

    /// The state machine's state is now the snapshot that ends at `last`.
    pub(super) fn snapshot_restored(&mut self, last: EntryId) {
        if self
            .apply
            .restoring
            .as_ref()
            .is_some_and(|restoring| restoring.meta.last == last)
        {
            self.apply.restoring = None;
            self.apply.applied = last.index;
            self.apply.handed_out = last.index;
            self.apply.batches.clear();
            self.apply.bytes = 0;
        }
    }

    /// Entries for the state machine arrived from the log store.
    pub(super) fn log_read_for_apply(&mut self, result: LogReadResult) {
        self.apply.cold_read = if result.entries.is_empty() {
            ColdRead::Failed
        } else {
            ColdRead::Idle
        };
        let expected = self.apply.handed_out.next();
        let fits = result
            .entries
            .first()
            .is_some_and(|first| first.index() == expected)
            && result.entries.iter().all(|entry| self.log.matches(entry.id));
        if fits && self.apply.restoring.is_none() {
            self.apply.cold_entries = result.entries;
        }
    }

    /// Time passed: a failed read may be tried again.
    pub(super) fn retry_cold_read(&mut self) {
        if self.apply.cold_read == ColdRead::Failed {
            self.apply.cold_read = ColdRead::Idle;
        }
    }

    /// Hands committed, durable entries to the state machine, within the bytes it may have outstanding.
    pub(super) fn flush_applies(&mut self) {
        if let Some(restoring) = &mut self.apply.restoring {
            if !restoring.asked && self.log.snapshot_durable() == restoring.meta.last {
                restoring.asked = true;
                self.effects.push(Effect::RestoreSnapshot(restoring.meta.clone()));
            }
            return;
        }
        let durable = self.log.durable();
        let through = if mutants::is(Mutant::ApplyBeforeDurable) {
            self.commit
        } else {
            self.commit.min(durable)
        };
        while self.apply.handed_out < through {
            let budget = self.config.apply_bytes_max.saturating_sub(self.apply.bytes);
            if budget == 0 && !self.apply.batches.is_empty() {
                return;
            }
            let first = self.apply.handed_out.next();
            let entries = if !self.apply.cold_entries.is_empty() {
                std::mem::take(&mut self.apply.cold_entries)
            } else if self.log.in_memory(first) {
                self.log.slice(first, through, budget)
            } else {
                self.read_for_apply(first, through.min(self.log.last_cold()), budget);
                return;
            };
            self.hand_out(entries);
        }
    }

    fn read_for_apply(&mut self, first: Index, last: Index, bytes_max: usize) {
        if self.apply.cold_read == ColdRead::Idle {
            self.apply.cold_read = ColdRead::Outstanding;
            self.effects.push(Effect::ReadLog(LogRead {
                reader: LogReader::Apply,
                first,
                last,
                bytes_max,
            }));
        }
    }

    fn hand_out(&mut self, entries: Vec<Entry>) {
        let bytes = entries.iter().map(Entry::payload_bytes).sum();
        let last = entries.last().expect("a batch holds an entry").index();
        if self.apply.batches.is_empty() {
            self.apply.working_since = self.now;
        }
        self.apply.batches.push_back((last, bytes));
        self.apply.bytes += bytes;
        self.apply.handed_out = last;
        self.effects.push(Effect::Apply(entries));
    }
}

recorded!(struct ApplyState {
    applied, handed_out, batches, bytes, cold_read, cold_entries, restoring, creating_snapshot, snapshot_retry_at,
    working_since, ready_at,
});
recorded!(struct RestoreState { meta, asked });
