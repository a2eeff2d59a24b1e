//! What a log store holds, without the commands: enough to say which promises it keeps.

use std::collections::VecDeque;

use raft_core::effect::LogChange;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::{EntryId, HardState, Index};

/// The content of a log store: its hard state, and which entries it has.
///
/// Invariants:
/// - `ids` continues `purged` without a gap;
/// - `memberships` are those of the entries above the snapshot, ascending.
///
/// A write costs as much as it changes, whatever the log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogImage {
    /// Term, vote and commit.
    pub hard_state: HardState,
    /// The snapshot in force.
    pub snapshot: SnapshotMeta,
    /// The entry right before the first one.
    pub purged: EntryId,
    /// The entries, in order.
    pub ids: VecDeque<EntryId>,
    /// The configurations of the log above the snapshot, with their indexes.
    pub memberships: VecDeque<(Index, Membership)>,
}

impl LogImage {
    /// What a store that recovered this holds.
    #[must_use]
    pub fn of(recovered: &Recovered) -> LogImage {
        let mut ids = VecDeque::new();
        for (position, &(first, term)) in recovered.term_runs.iter().enumerate() {
            let next = recovered.term_runs.get(position + 1);
            let end = next.map_or(recovered.last_index, |run| run.0.previous());
            ids.extend((first.0..=end.0).map(|index| EntryId::new(term, Index(index))));
        }
        LogImage {
            hard_state: recovered.hard_state,
            snapshot: recovered.snapshot.clone(),
            purged: recovered.purged,
            ids,
            memberships: recovered.memberships.iter().cloned().collect(),
        }
    }

    /// The last entry; `purged` if there is none.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.ids.back().copied().unwrap_or(self.purged)
    }

    /// The entry at an index; none if it is purged or beyond the end. The one that the log begins after is known.
    #[must_use]
    pub fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.purged.index {
            return Some(self.purged);
        }
        let above = index.0.checked_sub(self.purged.index.0 + 1)?;
        self.ids.get(usize::try_from(above).ok()?).copied()
    }

    /// Whether the entry is there, or covered by the purged part, which only ever holds committed entries.
    #[must_use]
    pub fn has(&self, id: EntryId) -> bool {
        id.index < self.purged.index || self.id_at(id.index) == Some(id)
    }

    /// The configurations with their indexes, ascending: the snapshot's, then those of the log above it. The last one
    /// is in effect.
    pub fn memberships(&self) -> impl DoubleEndedIterator<Item = (Index, &Membership)> {
        let first = (self.snapshot.last.index, &self.snapshot.membership);
        let log = self
            .memberships
            .iter()
            .map(|(index, membership)| (*index, membership));
        std::iter::once(first).chain(log)
    }

    /// The configuration in effect: the latest, committed or not (thesis §4.1).
    #[must_use]
    pub fn membership(&self) -> &Membership {
        let latest = self.memberships.back().map(|(_, membership)| membership);
        latest.unwrap_or(&self.snapshot.membership)
    }

    /// Whether the entries of a write continue this log or overwrite its end, without a gap (R12).
    #[must_use]
    pub fn fits(&self, change: &GroupWrite) -> bool {
        fits(self.purged.index, self.last(), self.snapshot.last, change)
    }

    /// Makes a write, whole. One that does not [fit](LogImage::fits) leaves the entries as they are.
    pub fn apply(&mut self, change: &GroupWrite) {
        let fits = self.fits(change);
        if let Some(hard_state) = change.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &change.snapshot {
            self.snapshot = snapshot.clone();
            let covered = self
                .memberships
                .partition_point(|(index, _)| *index <= snapshot.last.index);
            self.memberships.drain(..covered);
        }
        if !fits {
            return;
        }
        if let LogChange::Reset(_) = change.log {
            self.purged = self.snapshot.last;
            self.ids.clear();
            self.memberships.clear();
        }
        let entries = uncovered(change, self.snapshot.last.index);
        let Some(first) = entries.first().map(Entry::index) else {
            return;
        };
        let kept = first.previous().entries_since(self.purged.index);
        self.ids.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        while self.memberships.back().is_some_and(|(index, _)| *index >= first) {
            self.memberships.pop_back();
        }
        self.ids.extend(entries.iter().map(|entry| entry.id));
        for entry in entries {
            if let Payload::Membership(membership) = &entry.payload
                && entry.index() > self.snapshot.last.index
            {
                self.memberships.push_back((entry.index(), membership.clone()));
            }
        }
    }

    /// Takes back whatever `synced` has not: entries at the end, a snapshot, the hard state.
    pub(crate) fn forget_unsynced(&mut self, synced: &LogImage) {
        while self.ids.back().is_some_and(|id| !synced.has(*id)) {
            self.ids.pop_back();
        }
        let last = self.last().index;
        while self.memberships.back().is_some_and(|(index, _)| *index > last) {
            self.memberships.pop_back();
        }
        if self.snapshot.last > synced.snapshot.last {
            self.snapshot = synced.snapshot.clone();
        }
        self.hard_state = synced.hard_state;
    }

    /// Forgets the entries up to and including `through`; does nothing if the log has no such entry.
    pub fn compact(&mut self, through: EntryId) {
        if through.index > self.purged.index && self.id_at(through.index) == Some(through) {
            let gone = through.index.entries_since(self.purged.index);
            self.ids.drain(..usize::try_from(gone).unwrap_or(usize::MAX));
            self.purged = through;
        }
    }

    /// Whether whoever recovers this keeps every promise of whoever had `other`: no vote, no term and no entry of it is
    /// missing (I22). The commit index may be lower: it is no promise (R59). A later write may have overwritten entries
    /// of `other` that were not committed; then it is not covered, although nothing was lost.
    #[must_use]
    pub fn covers(&self, other: &LogImage) -> bool {
        let (mine, theirs) = (&self.hard_state, &other.hard_state);
        let keeps_vote = mine.term > theirs.term
            || (mine.term == theirs.term && (theirs.vote.is_none() || mine.vote == theirs.vote));
        let last = other.last();
        keeps_vote
            && self.snapshot.last >= other.snapshot.last
            && self.has(other.purged)
            && self.has(last)
            && other.ids.iter().all(|id| self.has(*id))
    }
}

/// The entries of a write. A snapshot that was merged into a reset later covers the first of them.
pub(super) fn uncovered(change: &GroupWrite, snapshot: Index) -> &[Entry] {
    match &change.log {
        LogChange::Append(entries) => entries,
        LogChange::Reset(entries) => {
            let covered = entries.partition_point(|entry| entry.index() <= snapshot);
            &entries[covered..]
        }
    }
}

/// Whether a write leaves no gap in a log that begins after `purged` and ends with `last`.
pub(super) fn fits(purged: Index, last: EntryId, snapshot: EntryId, change: &GroupWrite) -> bool {
    let snapshot = change.snapshot.as_ref().map_or(snapshot, |meta| meta.last).index;
    let entries = uncovered(change, snapshot);
    let Some(first) = entries.first().map(Entry::index) else {
        return true;
    };
    let begins = match change.log {
        LogChange::Append(_) => first > purged && first <= last.index.next(),
        LogChange::Reset(_) => first == snapshot.next(),
    };
    begins
        && entries
            .windows(2)
            .all(|pair| pair[1].index() == pair[0].index().next())
}
