//! What the invariants look at: one replica, as far as others are concerned.

use raft_core::effect::RoleKind;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::types::{EntryId, Index, NodeId, Term};

use super::digest::Digest;
use super::disk::position;
use super::replica::Replica;

/// An entry, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) id: EntryId,
    pub(super) payload: u128,
    pub(super) is_command: bool,
    pub(super) membership: Option<Membership>,
}

impl Slot {
    fn new(entry: &Entry) -> Slot {
        Slot {
            id: entry.id,
            payload: Digest::of_debug(&entry.payload),
            is_command: matches!(entry.payload, Payload::Command(_)),
            membership: match &entry.payload {
                Payload::Membership(membership) => Some(membership.clone()),
                _ => None,
            },
        }
    }
}

/// One replica, to be looked at.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) id: NodeId,
    pub(super) role: RoleKind,
    pub(super) term: Term,
    pub(super) commit: Index,
    /// The log as the replica sees it.
    pub(super) log: Vec<Slot>,
    /// The log on its disk.
    pub(super) durable: Vec<EntryId>,
    /// What it had stored when its disk lost something.
    pub(super) lost: Vec<EntryId>,
    pub(super) durable_term: Term,
    pub(super) membership: Membership,
    pub(super) first_membership: Membership,
    pub(super) is_suspect: bool,
    /// Whether it remembers everything that it ever promised, and that is something.
    pub(super) is_sound: bool,
    /// The index that a read by lease would be given.
    pub(super) lease: Option<Index>,
    /// Whether there is a write that is not durable, and one that is and the replica does not know it.
    pub(super) writes: (bool, bool),
    /// Whether time alone changes something now.
    pub(super) is_due: bool,
}

impl View {
    pub(super) fn new(replica: &Replica) -> View {
        let status = replica.raft.status();
        let disk = &replica.disk;
        let is_sound = !status.suspect && replica.lost.is_empty() && !disk.entries.is_empty();
        View {
            id: status.id,
            role: status.role,
            term: status.term,
            commit: status.commit_index,
            log: replica.issued().entries.iter().map(Slot::new).collect(),
            durable: disk.entries.iter().map(|entry| entry.id).collect(),
            lost: replica.lost.clone(),
            durable_term: disk.hard_state.term,
            membership: status.membership,
            first_membership: disk.founders.clone(),
            is_suspect: status.suspect,
            is_sound,
            lease: replica.lease(),
            writes: (
                replica.writes.iter().any(|write| !write.is_done),
                replica.writes.iter().any(|write| write.is_done),
            ),
            is_due: replica.raft.next_deadline() <= replica.clock,
        }
    }

    pub(super) fn leads(&self) -> bool {
        self.role == RoleKind::Leader
    }

    /// The entry at `index` in the log as the replica sees it.
    pub(super) fn at(&self, index: Index) -> Option<&Slot> {
        (index > Index::ZERO).then(|| self.log.get(position(index)))?
    }

    pub(super) fn has(&self, id: EntryId) -> bool {
        self.at(id.index).is_some_and(|slot| slot.id == id)
    }

    /// Whether its disk holds an entry, by its right to be counted: a suspect has none, but what it acknowledged before
    /// it lost it was acknowledged.
    pub(super) fn counts_for(&self, id: EntryId) -> bool {
        let holds = |log: &[EntryId]| log.get(position(id.index)) == Some(&id);
        (holds(&self.durable) && !self.is_suspect) || holds(&self.lost)
    }

    /// The configurations of its log up to `through`, with their indexes; the first one has index 0.
    pub(super) fn memberships(&self, through: Index) -> impl Iterator<Item = (Index, &Membership)> {
        let in_log = self.log.iter().filter(move |slot| slot.id.index <= through);
        let in_log = in_log.filter_map(|slot| slot.membership.as_ref().map(|m| (slot.id.index, m)));
        std::iter::once((Index::ZERO, &self.first_membership)).chain(in_log)
    }
}
