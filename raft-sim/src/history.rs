//! What was decided so far, as nobody in the group can know it: the facts that several invariants compare with.

use std::collections::{BTreeMap, HashMap};

use raft_core::effect::{LogChange, RoleKind, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::status::Status;
use raft_core::types::{EntryId, Index, NodeId, Term};
use raft_core::wire;

use crate::disk::LogImage;
use crate::node::Nodes;
use crate::observation::Observation;

/// What an entry is, besides its id: equal chains mean equal logs up to there (I5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryFact {
    /// The entry before.
    pub(crate) prev: EntryId,
    /// A hash of the entry and of everything before it.
    pub(crate) chain: u64,
    /// The configuration, if it is one.
    pub(crate) membership: Option<Membership>,
}

/// Everything that was decided.
#[derive(Debug)]
pub(crate) struct History {
    /// Who leads or led in which term.
    leaders: BTreeMap<Term, NodeId>,
    /// Every entry that was ever appended anywhere, as it was seen first.
    entries: HashMap<EntryId, EntryFact>,
    /// What is committed, from index 1.
    committed: Vec<EntryId>,
    /// In which term each was committed.
    committed_in: Vec<Term>,
    /// The committed configurations, by their index; the first one stands at 0.
    configurations: BTreeMap<Index, Membership>,
    /// How much was committed before the current step.
    committed_before_step: usize,
    /// Every configuration that the current replica counted with within its current step, oldest first.
    step_memberships: Vec<Membership>,
    /// The term that the stepping replica leads, or led until within this step.
    leadership: Option<Term>,
    scratch: Vec<u8>,
}

impl History {
    /// Nothing happened yet in a group that begins with these members.
    pub(crate) fn new(first: Membership) -> History {
        History {
            leaders: BTreeMap::new(),
            entries: HashMap::new(),
            committed: Vec::new(),
            committed_in: Vec::new(),
            configurations: BTreeMap::from([(Index::ZERO, first)]),
            committed_before_step: 0,
            step_memberships: Vec::new(),
            leadership: None,
            scratch: Vec::new(),
        }
    }

    // ---- what can be asked ----

    /// Who led first in a term.
    pub(crate) fn leader_of(&self, term: Term) -> Option<NodeId> {
        self.leaders.get(&term).copied()
    }

    /// How many terms had a leader.
    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// The last committed index.
    pub(crate) fn commit(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// The entry that is committed at an index; none at 0 and above the last.
    pub(crate) fn committed_at(&self, index: Index) -> Option<EntryId> {
        self.committed.get(index.0.checked_sub(1)? as usize).copied()
    }

    /// The term of the leader that committed what stands at an index.
    pub(crate) fn committed_in(&self, index: Index) -> Option<Term> {
        self.committed_in.get(index.0.checked_sub(1)? as usize).copied()
    }

    /// The committed entries above `index`, in order, each with the term in which it was committed.
    pub(crate) fn committed_above(&self, index: Index) -> impl Iterator<Item = (EntryId, Term)> + '_ {
        let from = (index.0 as usize).min(self.committed.len());
        let terms = self.committed_in[from..].iter().copied();
        self.committed[from..].iter().copied().zip(terms)
    }

    /// What the current step committed first: no replica knew before that it was committed.
    pub(crate) fn newly_committed(&self) -> &[EntryId] {
        &self.committed[self.committed_before_step..]
    }

    /// Every configuration that the stepping replica counted with within its step, oldest first.
    pub(crate) fn step_memberships(&self) -> &[Membership] {
        &self.step_memberships
    }

    /// The term that the replica leads that just stepped, or led until within that step; none if it led in no part of it.
    pub(crate) fn leadership_of_step(&self) -> Option<Term> {
        self.leadership
    }

    /// What is known of an entry.
    pub(crate) fn entry(&self, id: EntryId) -> Option<&EntryFact> {
        self.entries.get(&id)
    }

    /// The committed configurations by their index; the first one stands at 0.
    pub(crate) fn configurations(&self) -> &BTreeMap<Index, Membership> {
        &self.configurations
    }

    /// The configuration in force at a committed index.
    pub(crate) fn configuration_at(&self, index: Index) -> &Membership {
        let in_force = self.configurations.range(..=index).next_back();
        in_force.expect("the first one stands at index 0").1
    }

    /// The hash of everything up to and including an entry; none if nobody ever appended it.
    pub(crate) fn chain_of(&self, id: EntryId) -> Option<u64> {
        if id == EntryId::ZERO {
            return Some(0);
        }
        self.entries.get(&id).map(|fact| fact.chain)
    }

    // ---- what happens ----

    /// Takes note, before the invariants look.
    pub(crate) fn observe(&mut self, seen: &Observation<'_>, nodes: &Nodes) {
        match seen {
            Observation::RoleChanged { node, change } if change.to == RoleKind::Leader => {
                self.leaders.entry(change.term).or_insert(*node);
                self.leadership = Some(change.term);
            }
            Observation::WriteBegun { log, write, .. } => self.appended(predecessor(log, write), &write.log),
            Observation::MembershipChanged { membership, .. } => {
                self.step_memberships.push((*membership).clone());
            }
            Observation::Stepped { before, after } => {
                if before.role == RoleKind::Leader {
                    self.leadership = Some(before.term);
                }
                self.committed_before_step = self.committed.len();
                if after.commit_index > self.commit() {
                    self.extend(nodes, after);
                }
            }
            _ => {}
        }
    }

    /// A step begins: it counts with this configuration.
    pub(crate) fn begin_step(&mut self, membership: &Membership) {
        self.step_memberships.clear();
        self.step_memberships.push(membership.clone());
        self.leadership = None;
    }

    fn appended(&mut self, prev: EntryId, change: &LogChange) {
        let mut prev = prev;
        for entry in change.entries() {
            if !self.entries.contains_key(&entry.id)
                && let Some(before) = self.chain_of(prev)
            {
                let chain = chained(before, entry, &mut self.scratch);
                let membership = match &entry.payload {
                    Payload::Membership(membership) => Some(membership.clone()),
                    _ => None,
                };
                let fact = EntryFact {
                    prev,
                    chain,
                    membership,
                };
                self.entries.insert(entry.id, fact);
            }
            prev = entry.id;
        }
    }

    /// A replica committed more than anybody before. Whether it may is for the invariants to say.
    fn extend(&mut self, nodes: &Nodes, after: &Status) {
        let log = &nodes.get(after.id).issued;
        // Who steps down within the step may be in a later term by now.
        let term = self.leadership.unwrap_or(after.term);
        for index in self.commit().0 + 1..=after.commit_index.0 {
            let Some(id) = log.id_at(Index(index)) else {
                // Purged already, or not there: I8 and I12 speak of it.
                return;
            };
            self.committed.push(id);
            self.committed_in.push(term);
            if let Some(membership) = self.entries.get(&id).and_then(|fact| fact.membership.clone()) {
                self.configurations.insert(id.index, membership);
            }
        }
    }
}

/// The hash of an entry and of everything before it, which has the hash `before`.
pub(crate) fn chained(before: u64, entry: &Entry, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    wire::encode_payload(&entry.payload, scratch);
    let kind = u64::from(wire::payload_kind(&entry.payload));
    let mut hash = hash_bytes(scratch);
    for part in [before, entry.term().0, entry.index().0, kind] {
        hash = mix(hash ^ part);
    }
    hash
}

/// The entry right before the first one that a write appends.
pub(crate) fn predecessor(log: &LogImage, write: &Write) -> EntryId {
    match (&write.log, &write.snapshot) {
        (LogChange::Reset(_), Some(snapshot)) => snapshot.last,
        (change, _) => {
            let first = change.entries().first().map(Entry::index);
            first
                .and_then(|first| log.id_at(first.previous()))
                .unwrap_or(EntryId::ZERO)
        }
    }
}

/// A hash of bytes: the content of commands, states and snapshots.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// Spreads every bit over the whole word.
pub(crate) fn mix(word: u64) -> u64 {
    let mut mixed = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
