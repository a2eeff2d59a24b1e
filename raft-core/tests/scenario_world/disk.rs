//! What one replica has written: hard state, snapshot record and log, as a log store keeps them.

use raft_core::effect::{LogChange, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::input::LogRead;
use raft_core::message::SnapshotMeta;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, HardState, Index, Term};

/// The content of a log store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotMeta,
    /// The entry right before the first one.
    pub(crate) purged: EntryId,
    pub(crate) entries: Vec<Entry>,
}

impl Disk {
    /// Makes one write, whole.
    pub(crate) fn apply(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            assert!(
                hard_state.term >= self.hard_state.term,
                "I3: the term on the disk falls from {} to {}",
                self.hard_state.term,
                hard_state.term
            );
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &write.snapshot {
            self.snapshot = snapshot.clone();
        }
        if let LogChange::Reset(_) = write.log {
            self.purged = self.snapshot.last;
            self.entries.clear();
        }
        if let Some(first) = write.log.entries().first() {
            assert!(
                first.index() > self.purged.index && first.index() <= self.last().index.next(),
                "R12: entry {} does not continue a log that holds {} to {}",
                first.id,
                self.purged.index.next(),
                self.last()
            );
            self.truncate_from(first.index());
            self.entries.extend_from_slice(write.log.entries());
        }
        assert!(
            self.hard_state.commit <= self.last().index,
            "R59: commit {} is stored above the last index {}",
            self.hard_state.commit,
            self.last()
        );
    }

    fn truncate_from(&mut self, index: Index) {
        let kept = index.previous().entries_since(self.purged.index);
        self.entries
            .truncate(usize::try_from(kept).expect("a test's log is short"));
    }

    /// Forgets the entries up to and including `through`.
    pub(crate) fn compact(&mut self, through: EntryId) {
        if through.index > self.purged.index {
            self.entries.retain(|entry| entry.index() > through.index);
            self.purged = through;
        }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    /// The entry at `index`, if it is stored.
    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.index() == index)
    }

    /// The id at `index`, if it is known.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.purged.index {
            return Some(self.purged);
        }
        self.entry(index).map(|entry| entry.id)
    }

    /// Whether the entry is stored, or covered by the purged part, which only ever holds committed entries.
    pub(crate) fn covers(&self, id: EntryId) -> bool {
        id.index < self.purged.index || self.id_at(id.index) == Some(id)
    }

    /// What a replica that starts gets.
    pub(crate) fn recovered(&self) -> Recovered {
        let mut term_runs: Vec<(Index, Term)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|run| run.1 != entry.term()) {
                term_runs.push((entry.index(), entry.term()));
            }
            if let Payload::Membership(membership) = &entry.payload
                && entry.index() > self.snapshot.last.index
            {
                memberships.push((entry.index(), membership.clone()));
            }
        }
        Recovered {
            lost: false,
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            purged: self.purged,
            term_runs,
            last_index: self.last().index,
            memberships,
        }
    }

    /// The entries that are asked for; none if one of them is not stored: a store never answers short.
    pub(crate) fn read(&self, request: &LogRead) -> Vec<Entry> {
        if request.first <= self.purged.index || request.last > self.last().index {
            return Vec::new();
        }
        let mut bytes = 0;
        self.entries
            .iter()
            .filter(|entry| (request.first..=request.last).contains(&entry.index()))
            .enumerate()
            .take_while(|(position, entry)| {
                bytes += entry.payload_bytes();
                *position == 0 || bytes <= request.bytes_max
            })
            .map(|(_, entry)| entry.clone())
            .collect()
    }
}
