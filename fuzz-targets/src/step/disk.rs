//! What a replica wrote, as a log store keeps it, and the rules for its writes.

use raft_core::effect::{LogChange, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::input::LogRead;
use raft_core::message::SnapshotMeta;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, HardState, Index, Term};

/// The content of a log store.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) snapshot: SnapshotMeta,
    /// The entry right before the first one.
    pub(super) purged: EntryId,
    entries: Vec<Entry>,
}

impl Disk {
    /// The disk of a replica that is there from the beginning.
    pub(super) fn founded(snapshot: SnapshotMeta) -> Disk {
        Disk {
            snapshot,
            ..Disk::default()
        }
    }

    /// Makes one write, whole.
    pub(super) fn apply(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            let known = self.hard_state;
            assert!(
                hard_state.term >= known.term,
                "I3: the term falls from {} to {}",
                known.term,
                hard_state.term
            );
            if hard_state.term == known.term && known.vote.is_some() {
                assert_eq!(
                    hard_state.vote, known.vote,
                    "I2: the vote of a term is written once"
                );
            }
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &write.snapshot {
            assert!(
                snapshot.last.index >= self.snapshot.last.index,
                "R51: snapshots only advance"
            );
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
            let kept = first.index().previous().entries_since(self.purged.index);
            self.entries
                .truncate(usize::try_from(kept).expect("the log is short"));
            self.entries.extend_from_slice(write.log.entries());
        }
        assert!(
            self.hard_state.commit <= self.last().index,
            "R59: commit {} is stored above the last index {}",
            self.hard_state.commit,
            self.last()
        );
        assert!(
            self.purged.index <= self.snapshot.last.index,
            "I12: purged beyond the snapshot"
        );
    }

    /// Forgets the entries up to and including `through`.
    pub(super) fn compact(&mut self, through: EntryId) {
        assert!(
            through.index <= self.snapshot.last.index,
            "I12: purged beyond the snapshot"
        );
        if through.index > self.purged.index {
            assert_eq!(
                self.id_at(through.index),
                Some(through),
                "I12: what is purged is in the log"
            );
            self.entries.retain(|entry| entry.index() > through.index);
            self.purged = through;
        }
    }

    /// The last entry.
    pub(super) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    /// The id at `index`, if it is stored.
    pub(super) fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.purged.index {
            return Some(self.purged);
        }
        let above = index.0.checked_sub(self.purged.index.0 + 1)?;
        self.entries
            .get(usize::try_from(above).ok()?)
            .map(|entry| entry.id)
    }

    /// What a replica that starts gets.
    pub(super) fn recovered(&self) -> Recovered {
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
    pub(super) fn read(&self, request: &LogRead) -> Vec<Entry> {
        if request.first <= self.purged.index || request.last > self.last().index {
            return Vec::new();
        }
        let mut bytes = 0;
        let wanted = self
            .entries
            .iter()
            .filter(|entry| (request.first..=request.last).contains(&entry.index()));
        let fitting = wanted.enumerate().take_while(|(position, entry)| {
            bytes += entry.payload_bytes();
            *position == 0 || bytes <= request.bytes_max
        });
        fitting.map(|(_, entry)| entry.clone()).collect()
    }
}
