//! The log as a process knows it: where on the disk each entry stands.

use std::collections::VecDeque;

use raft_core::message::SnapshotMeta;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, HardState, Index, Term};

use super::image::LogImage;
use super::record::{Change, EntryPlace, Link};

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) id: EntryId,
    pub(super) segment: u64,
    pub(super) begin: u32,
    pub(super) end: u32,
}

impl Located {
    /// An entry of a record that begins at `record` in its segment.
    pub(super) fn new(place: &EntryPlace, segment: u64, record: usize) -> Located {
        let record = u32::try_from(record).expect("a segment is smaller than 4 GiB");
        Located {
            id: place.id,
            segment,
            begin: record + place.begin,
            end: record + place.end,
        }
    }
}

/// The log, up to the last record.
///
/// Invariant: `entries` continues `purged` without a gap.
#[derive(Clone, Debug)]
pub(super) struct LogView {
    /// The last record.
    pub(super) link: Link,
    pub(super) hard_state: HardState,
    pub(super) snapshot: SnapshotMeta,
    pub(super) purged: EntryId,
    pub(super) entries: VecDeque<Located>,
}

impl LogView {
    /// A log of which nothing is written.
    pub(super) fn new(origin: Link) -> LogView {
        LogView {
            link: origin,
            hard_state: HardState::default(),
            snapshot: SnapshotMeta::default(),
            purged: EntryId::ZERO,
            entries: VecDeque::new(),
        }
    }

    pub(super) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.purged, |entry| entry.id)
    }

    /// The entry at an index above `purged`, if there is one.
    pub(super) fn located(&self, index: Index) -> Option<&Located> {
        let above = index.0.checked_sub(self.purged.index.0 + 1)?;
        self.entries.get(usize::try_from(above).ok()?)
    }

    /// Whether the log has this entry, or begins right after it.
    pub(super) fn has(&self, id: EntryId) -> bool {
        id == self.purged || self.located(id.index).is_some_and(|entry| entry.id == id)
    }

    /// Takes in the state of a change.
    pub(super) fn set_state(&mut self, hard_state: Option<HardState>, snapshot: Option<&SnapshotMeta>) {
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = snapshot {
            self.snapshot = snapshot.clone();
        }
    }

    /// Begins the log anew after this entry.
    pub(super) fn begin_after(&mut self, purged: EntryId) {
        self.purged = purged;
        self.entries.clear();
    }

    /// Drops every entry from this index on.
    pub(super) fn truncate_from(&mut self, index: Index) {
        let kept = index.previous().entries_since(self.purged.index);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    /// Drops every entry up to this one, which is in the log.
    pub(super) fn purge(&mut self, through: EntryId) {
        let gone = through.index.entries_since(self.purged.index);
        self.entries.drain(..usize::try_from(gone).unwrap_or(usize::MAX));
        self.purged = through;
    }

    /// Takes in a change that was read from the record at `record`. False if it does not continue this log.
    pub(super) fn replay(&mut self, change: &Change, segment: u64, record: usize) -> bool {
        self.set_state(change.hard_state, change.snapshot.as_ref());
        if change.is_reset {
            self.begin_after(self.snapshot.last);
        }
        let Some(first) = change.entries.first().map(|entry| entry.id.index) else {
            return true;
        };
        if first > self.last().index.next() || first == Index::ZERO {
            return false;
        }
        if first <= self.purged.index {
            // It replaces entries whose segments were thrown away: nothing is known of what is before.
            self.begin_after(EntryId::new(Term::ZERO, first.previous()));
        }
        self.truncate_from(first);
        let located = change
            .entries
            .iter()
            .map(|place| Located::new(place, segment, record));
        self.entries.extend(located);
        true
    }

    /// What a replica needs to start. The configurations are not known here.
    pub(super) fn recovered(&self) -> Recovered {
        let mut term_runs: Vec<(Index, Term)> = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|run| run.1 != entry.id.term) {
                term_runs.push((entry.id.index, entry.id.term));
            }
        }
        Recovered {
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            purged: self.purged,
            term_runs,
            last_index: self.last().index,
            memberships: Vec::new(),
            lost: false,
        }
    }

    /// The same without the places.
    pub(super) fn image(&self) -> LogImage {
        LogImage {
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            purged: self.purged,
            ids: self.entries.iter().map(|entry| entry.id).collect(),
            memberships: VecDeque::new(),
        }
    }
}
