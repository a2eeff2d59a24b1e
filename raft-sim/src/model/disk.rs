//! What is durable on one replica: hard state and log.

use raft_core::effect::{LogChange, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::input::LogRead;
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, HardState, Index, Term};

/// The content of a log store without snapshots: the first entry has index 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    /// The configuration that the group began with, as far as this replica knows it.
    pub(super) founders: Membership,
    pub(super) entries: Vec<Entry>,
}

/// What makes a write impossible.
pub(super) type Breach = (u8, String);

impl Disk {
    /// Makes one write, whole.
    pub(super) fn apply(&mut self, hard_state: Option<HardState>, entries: &[Entry]) -> Result<(), Breach> {
        if let Some(new) = hard_state {
            let old = self.hard_state;
            if new.term < old.term {
                return Err((
                    3,
                    format!("the durable term falls from {} to {}", old.term, new.term),
                ));
            }
            if new.term == old.term && old.vote.is_some() && new.vote != old.vote {
                let text = format!("the vote of term {} is written twice: {old:?}, {new:?}", new.term);
                return Err((2, text));
            }
            self.hard_state = new;
        }
        if let Some(first) = entries.first() {
            let kept = position(first.index());
            if kept > self.entries.len() {
                return Err((12, format!("{} leaves a gap after {}", first.id, self.last())));
            }
            self.entries.truncate(kept);
            self.entries.extend_from_slice(entries);
        }
        if self.hard_state.commit > self.last().index {
            return Err((
                12,
                format!("commit {} is stored above the log", self.hard_state.commit),
            ));
        }
        Ok(())
    }

    pub(super) fn last(&self) -> EntryId {
        self.entries.last().map_or(EntryId::ZERO, |entry| entry.id)
    }

    pub(super) fn has(&self, id: EntryId) -> bool {
        id == EntryId::ZERO
            || self
                .entries
                .get(position(id.index))
                .is_some_and(|entry| entry.id == id)
    }

    /// The entries that are asked for; none if one of them is not stored.
    pub(super) fn read(&self, request: &LogRead) -> Vec<Entry> {
        let range = position(request.first)..position(request.last) + 1;
        self.entries.get(range).unwrap_or_default().to_vec()
    }

    /// What a replica that starts gets. `lost` says that the store noticed a loss.
    pub(super) fn recovered(&self, lost: bool) -> Recovered {
        let mut term_runs: Vec<(Index, Term)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|run| run.1 != entry.term()) {
                term_runs.push((entry.index(), entry.term()));
            }
            if let Payload::Membership(membership) = &entry.payload {
                memberships.push((entry.index(), membership.clone()));
            }
        }
        Recovered {
            hard_state: self.hard_state,
            snapshot: SnapshotMeta {
                last: EntryId::ZERO,
                membership: self.founders.clone(),
            },
            purged: EntryId::ZERO,
            term_runs,
            last_index: self.last().index,
            memberships,
            lost,
        }
    }
}

/// Where an entry stands in a list of all entries.
pub(super) fn position(index: Index) -> usize {
    usize::try_from(index.0.saturating_sub(1)).expect("a model's log is short")
}

/// A write that has not completed, with those after it that store nothing.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) seq: raft_core::types::WriteSeq,
    pub(super) hard_state: Option<HardState>,
    pub(super) entries: Vec<Entry>,
    pub(super) then: Vec<raft_core::message::Message>,
    /// Whether it is durable and its messages left, and only the replica does not know it yet.
    pub(super) is_done: bool,
}

impl Pending {
    pub(super) fn new(write: Write) -> Pending {
        let (LogChange::Append(entries) | LogChange::Reset(entries)) = write.log;
        Pending {
            seq: write.seq,
            hard_state: write.hard_state,
            entries,
            then: write.then,
            is_done: false,
        }
    }
}
