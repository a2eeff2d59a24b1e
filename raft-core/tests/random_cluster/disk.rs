//! What is durable on one node, or will be once its writes completed.

use raft_core::effect::{LogChange, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, HardState, Index, Term};

/// The content of a log store.
#[derive(Clone, Default)]
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
                "I3: the durable term never falls"
            );
            if hard_state.term == self.hard_state.term && self.hard_state.vote.is_some() {
                assert_eq!(
                    hard_state.vote, self.hard_state.vote,
                    "I2: the vote of a term is written once"
                );
            }
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
            let kept = self
                .position(first.index())
                .expect("R12: a write is above the log's begin");
            assert!(kept <= self.entries.len(), "R12: a write never leaves a gap");
            self.entries.truncate(kept);
            self.entries.extend_from_slice(write.log.entries());
        }
        assert!(
            self.hard_state.commit <= self.last().index,
            "R59: commit is not stored above the last index"
        );
    }

    /// Where in `entries` an index stands, or would.
    fn position(&self, index: Index) -> Option<usize> {
        let above = index.0.checked_sub(self.purged.index.0 + 1)?;
        usize::try_from(above).ok()
    }

    /// Forgets the entries up to and including `through`.
    pub(crate) fn compact(&mut self, through: EntryId) {
        if through.index > self.purged.index {
            let gone = (through.index.0 - self.purged.index.0) as usize;
            assert_eq!(
                self.entries[gone - 1].id,
                through,
                "I12: what is purged is in the log"
            );
            self.entries.drain(..gone);
            self.purged = through;
        }
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    /// The id at `index`; none if it is purged or beyond the end.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.purged.index {
            return Some(self.purged);
        }
        let position = self.position(index)?;
        self.entries.get(position).map(|entry| entry.id)
    }

    /// Whether the entry is stored, or covered by the purged part, which only ever holds committed entries.
    pub(crate) fn has(&self, id: EntryId) -> bool {
        id.index < self.purged.index || self.id_at(id.index) == Some(id)
    }

    /// The configurations with their indexes: the snapshot's, and those of the log above it.
    pub(crate) fn memberships(&self) -> Vec<(Index, Membership)> {
        let mut memberships = vec![(self.snapshot.last.index, self.snapshot.membership.clone())];
        for entry in &self.entries {
            if let Payload::Membership(membership) = &entry.payload
                && entry.index() > self.snapshot.last.index
            {
                memberships.push((entry.index(), membership.clone()));
            }
        }
        memberships
    }

    /// What a replica that starts gets.
    pub(crate) fn recovered(&self) -> Recovered {
        let mut term_runs: Vec<(Index, Term)> = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|run| run.1 != entry.term()) {
                term_runs.push((entry.index(), entry.term()));
            }
        }
        Recovered {
            lost: false,
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            purged: self.purged,
            term_runs,
            last_index: self.last().index,
            memberships: self.memberships().split_off(1),
        }
    }
}
