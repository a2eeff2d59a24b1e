//! What has happened so far in the whole world, and the invariants that must hold over it.
//!
//! The checks look at disks and logs, never at what a leader believes about them, and count quorums by their definition.

use std::collections::BTreeMap;

use raft_core::effect::{LogChange, RoleKind, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::{AppendResult, Body, Message, SnapshotMeta};
use raft_core::status::Status;
use raft_core::types::{EntryId, Index, NodeId, Term};

use super::disk::Disk;
use super::node::Node;
use super::random::ELECTION_TIMEOUT;

/// The memory of the invariants.
pub(crate) struct History {
    leaders: BTreeMap<Term, NodeId>,
    /// Every entry that any log ever held, with the entry before it.
    entries: BTreeMap<EntryId, (EntryId, Payload)>,
    /// The entry at index i stands at i - 1.
    committed: Vec<EntryId>,
    /// In which term each of them was committed.
    committed_in: Vec<Term>,
    /// The configurations among them.
    configurations: BTreeMap<Index, Membership>,
    step: Step,
}

/// What one step did that is judged at its end.
#[derive(Default)]
struct Step {
    /// The configurations that the replica counted with, in order.
    memberships: Vec<Membership>,
    /// New configurations with their index, and the ones before them in the same log.
    appended: Vec<(Index, Membership, Index, Membership)>,
    /// Changes that were called complete.
    complete: Vec<(Index, Membership)>,
}

impl History {
    pub(crate) fn new(first: Membership) -> History {
        History {
            leaders: BTreeMap::new(),
            entries: BTreeMap::new(),
            committed: Vec::new(),
            committed_in: Vec::new(),
            configurations: BTreeMap::from([(Index::ZERO, first)]),
            step: Step::default(),
        }
    }

    /// The configuration that the group began with.
    pub(crate) fn first_membership(&self) -> Membership {
        self.configurations[&Index::ZERO].clone()
    }

    pub(crate) fn committed_count(&self) -> u64 {
        self.committed.len() as u64
    }

    /// How many joint configurations were committed.
    pub(crate) fn joint_count(&self) -> u64 {
        self.configurations
            .values()
            .filter(|membership| membership.is_joint())
            .count() as u64
    }

    fn committed_at(&self, index: Index) -> Option<EntryId> {
        self.committed.get(index.0.checked_sub(1)? as usize).copied()
    }

    /// I1: at most one leader per term.
    pub(crate) fn elected(&mut self, term: Term, id: NodeId) {
        let known = *self.leaders.entry(term).or_insert(id);
        assert_eq!(known, id, "I1: at most one leader in term {term}");
    }

    /// A transfer was called done.
    pub(crate) fn led(&self, term: Term, leader: NodeId) {
        assert_eq!(
            self.leaders.get(&term),
            Some(&leader),
            "a transfer is done when the target leads"
        );
    }

    // ---- logs ----

    /// A replica asked for a write; `log` is what its log was before. Returns whether a configuration was rolled back.
    pub(crate) fn write_issued(&mut self, role: RoleKind, log: &Disk, write: &Write) -> bool {
        let LogChange::Append(entries) = &write.log else {
            return false;
        };
        let Some(first) = entries.first() else {
            return false;
        };
        assert!(
            role != RoleKind::Leader || first.index() == log.last().index.next(),
            "I4: a leader never overwrites its own log"
        );
        let prev = log.id_at(first.index().previous()).expect("R12: no gap");
        let mut before = log.memberships();
        let all = before.len();
        before.retain(|(index, _)| *index < first.index());
        let is_rollback = before.len() < all;
        let (mut known_at, mut known) = before.pop().unwrap_or_default();
        for entry in entries {
            if let Payload::Membership(membership) = &entry.payload {
                if !self.entries.contains_key(&entry.id) {
                    let change = (entry.index(), membership.clone(), known_at, known);
                    self.step.appended.push(change);
                }
                (known_at, known) = (entry.index(), membership.clone());
            }
        }
        self.appended(prev, entries);
        is_rollback
    }

    /// I5: entries with the same id hold the same and follow the same entry, so that whole prefixes are equal.
    fn appended(&mut self, mut prev: EntryId, entries: &[Entry]) {
        for entry in entries {
            let link = (prev, entry.payload.clone());
            let known = self.entries.entry(entry.id).or_insert_with(|| link.clone());
            assert_eq!(*known, link, "I5: two different entries are called {}", entry.id);
            prev = entry.id;
        }
    }

    /// A message leaves: I3 and I11, everything that it promises is on the disk.
    pub(crate) fn sent(&self, disk: &Disk, message: &Message) {
        assert!(
            message.term <= disk.hard_state.term,
            "I3: {message:?} carries a term that is not durable"
        );
        match &message.body {
            Body::AppendEntriesResponse(response) => {
                if let AppendResult::Accepted { match_index } = response.result {
                    assert!(
                        match_index <= disk.last().index,
                        "I11: {match_index} is not on the disk"
                    );
                }
            }
            Body::RequestVoteResponse(response) if response.is_granted() => {
                let stored = (disk.hard_state.term, disk.hard_state.vote);
                assert!(
                    stored == (message.term, Some(message.to)) || disk.hard_state.term > message.term,
                    "I11: a vote for {} leaves before it is on the disk",
                    message.to
                );
            }
            _ => {}
        }
    }

    // ---- steps ----

    pub(crate) fn begin_step(&mut self, before: &Status) {
        self.step = Step {
            memberships: vec![before.membership.clone()],
            ..Step::default()
        };
    }

    pub(crate) fn membership_changed(&mut self, membership: Membership) {
        self.step.memberships.push(membership);
    }

    pub(crate) fn change_is_complete(&mut self, index: Index, membership: Membership) {
        self.step.complete.push((index, membership));
    }

    /// Checks what must hold after a step of one replica. Returns how many entries it committed first.
    pub(crate) fn end_step(
        &mut self,
        nodes: &BTreeMap<NodeId, Node>,
        now: u64,
        before: &Status,
        after: &Status,
    ) -> u64 {
        let node = &nodes[&after.id];
        check_marks(node, before, after);
        let is_leader = after.role == RoleKind::Leader;
        if is_leader && before.role != RoleKind::Leader {
            self.check_completeness(node, after.term);
        }
        let commits = self.committed.len();
        if is_leader || before.role == RoleKind::Leader {
            self.check_new_commits(nodes, after);
        }
        self.check_commit(node, after);
        self.check_changes(after);
        if is_leader {
            check_leader(node, now, after);
        } else if after.role != RoleKind::Follower {
            check_candidate(node, after);
        }
        (self.committed.len() - commits) as u64
    }

    /// I6: a new leader holds every entry that was committed in an earlier term. It may be elected by late votes, and its term
    /// be over already.
    fn check_completeness(&self, node: &Node, term: Term) {
        let purged = node.issued.purged.index.0 as usize;
        for (id, committed_in) in self.committed.iter().zip(&self.committed_in).skip(purged) {
            assert!(
                *committed_in >= term || node.issued.has(*id),
                "I6: the new leader of term {term} lacks {id}"
            );
        }
    }

    /// I7: what a leader commits ends with an entry of its term, and is on a quorum of the disks of each half of a
    /// configuration that it counted with.
    fn check_new_commits(&mut self, nodes: &BTreeMap<NodeId, Node>, leader: &Status) {
        let commit = leader.commit_index;
        if commit.0 <= self.committed_count() {
            return;
        }
        let log = &nodes[&leader.id].issued;
        let last = log.id_at(commit).expect("a leader commits what it has");
        assert_eq!(
            last.term, leader.term,
            "R1: only an entry of the own term is committed"
        );
        for index in self.committed_count() + 1..=commit.0 {
            let id = log.id_at(Index(index)).expect("a leader commits what it has");
            // Who lost it since had it when it said so, and is part of no quorum before it has it again.
            let holds = |voter: NodeId| nodes[&voter].disk.has(id) || nodes[&voter].lost;
            let mut counted = self.step.memberships.iter();
            assert!(
                counted.any(|membership| is_quorum(membership, holds)),
                "I7: {id} is committed and not on a quorum of disks"
            );
            self.committed.push(id);
            self.committed_in.push(leader.term);
            if let Payload::Membership(membership) = &self.entries[&id].1 {
                self.configurations.insert(id.index, membership.clone());
            }
        }
    }

    /// I8: what a replica believes to be committed is.
    fn check_commit(&self, node: &Node, after: &Status) {
        let known = node.issued.id_at(after.commit_index);
        assert!(
            after.commit_index.0 <= self.committed_count(),
            "I8: nobody committed that"
        );
        assert!(
            known.is_none_or(|id| id == EntryId::ZERO || self.committed_at(id.index) == Some(id)),
            "I8: {known:?} is not what was committed there"
        );
    }

    /// I19: at most one configuration is uncommitted, its quorums intersect those of the one before, and it gives no id out
    /// twice. R61: the leader has committed an entry of its own term before.
    fn check_changes(&mut self, after: &Status) {
        for (index, new, before_at, before) in std::mem::take(&mut self.step.appended) {
            assert!(
                before_at <= after.commit_index,
                "I19: {before} at {before_at} is not committed, and {new} is appended at {index}"
            );
            let committed = self.committed_at(after.commit_index);
            assert!(
                committed.is_some_and(|id| id.term == after.term),
                "R61: {new} is appended before an entry of the term is committed"
            );
            assert!(
                quorums_intersect(&before, &new),
                "I19: {before} and {new} can decide apart"
            );
            let is_old = |id: &NodeId| before.contains(*id) || *id > before.highest_id();
            assert!(
                new.members().iter().all(is_old),
                "I19: {new} reuses an id of {before}"
            );
            assert!(
                new.highest_id() >= before.highest_id(),
                "R68: the highest id never falls"
            );
            assert!(
                !before.is_joint() || !new.is_joint(),
                "R63: a joint configuration is left"
            );
        }
        for (index, membership) in std::mem::take(&mut self.step.complete) {
            assert!(
                !membership.is_joint(),
                "R63: a change is complete when nothing is joint"
            );
            let committed = self.configurations.get(&index);
            assert_eq!(committed, Some(&membership), "a complete change is committed");
        }
    }

    // ---- state machines ----

    /// I9: entries are applied in steps of one, each of them committed and durable.
    pub(crate) fn applied(&self, node: &Node, entry: EntryId) {
        assert_eq!(
            entry.index.0,
            node.applied.len() as u64 + 1,
            "I9: applied in steps of one"
        );
        assert_eq!(
            self.committed_at(entry.index),
            Some(entry),
            "I8: only committed entries are applied"
        );
        assert!(node.disk.has(entry), "I11: applied entries are durable here");
    }

    /// I21: a snapshot carries the configuration that was in force at its last entry.
    pub(crate) fn snapshot(&self, meta: &SnapshotMeta) {
        let in_force = self.configurations.range(..=meta.last.index).next_back();
        let in_force = in_force.map(|(_, membership)| membership);
        assert_eq!(
            in_force,
            Some(&meta.membership),
            "I21: the configuration at {}",
            meta.last
        );
    }

    /// I21: what a snapshot restores is what was committed.
    pub(crate) fn restored(&self, state: &[EntryId]) {
        assert_eq!(*state, self.committed[..state.len()], "I21");
    }
}

/// What must hold of the marks of every replica.
fn check_marks(node: &Node, before: &Status, after: &Status) {
    assert!(
        after.commit_index >= before.commit_index,
        "I8: commit never falls"
    );
    assert!(after.applied_index <= after.commit_index, "I9");
    assert!(after.commit_index <= after.appended_index, "I12");
    assert!(
        after.durable_index <= node.disk.last().index.max(after.snapshot.index),
        "R56, R57"
    );
    for peer in &after.peers {
        assert!(peer.match_index < peer.next_index, "R9");
    }
}

/// R35: a leader's own disk has not stood still for an election timeout, if anybody could take over. I20: nor was it
/// removed by what it committed.
fn check_leader(node: &Node, now: u64, leader: &Status) {
    let clock = node.clock.at(now);
    let writing = clock.since(node.writing_since);
    let has_successor = leader.peers.iter().any(|peer| {
        let was_heard = peer.match_index > Index::ZERO && !peer.suspect;
        let is_voter = leader.membership.is_voter(peer.id);
        is_voter && was_heard && clock.since(peer.last_contact) < ELECTION_TIMEOUT
    });
    assert!(
        node.writes.is_empty() || writing < ELECTION_TIMEOUT || !has_successor,
        "R35: node {} leads, and its disk stands still for {writing:?}",
        leader.id
    );
    let (index, latest) = node.issued.memberships().pop().expect("one is always there");
    assert_eq!(
        latest, leader.membership,
        "the latest configuration of the log counts"
    );
    let is_over = index <= leader.commit_index && !latest.is_joint() && !latest.is_voter(leader.id);
    let has_own_commit = node
        .issued
        .id_at(leader.commit_index)
        .is_some_and(|id| id.term == leader.term);
    assert!(
        !is_over || !has_own_commit,
        "I20: a removed leader steps down after the commit"
    );
}

/// R26, R70: who campaigns is a voter of the last configuration that it knows to be committed, or of a later one.
fn check_candidate(node: &Node, candidate: &Status) {
    let memberships = node.issued.memberships();
    let known = memberships.partition_point(|(index, _)| *index <= candidate.commit_index);
    let mut in_force = memberships[known.saturating_sub(1)..].iter();
    assert!(
        in_force.any(|(_, membership)| membership.is_voter(candidate.id)),
        "R70: node {} campaigns and is no voter",
        candidate.id
    );
}

/// Whether `holds` is true of a majority of each half, by definition.
fn is_quorum(membership: &Membership, holds: impl Fn(NodeId) -> bool) -> bool {
    let halves = [membership.voters(), membership.outgoing()];
    halves.iter().all(|half| {
        let count = half.iter().filter(|voter| holds(**voter)).count();
        half.is_empty() || count * 2 > half.len()
    })
}

/// Whether no set of nodes decides in one configuration while all the others decide in the other.
fn quorums_intersect(one: &Membership, other: &Membership) -> bool {
    let mut nodes = [one.members(), other.members()].concat();
    nodes.sort_unstable();
    nodes.dedup();
    let bit = |node: NodeId| 1_u32 << nodes.binary_search(&node).expect("it is one of them");
    (0..1_u32 << nodes.len()).all(|set| {
        let decides = is_quorum(one, |voter| set & bit(voter) != 0);
        !(decides && is_quorum(other, |voter| set & bit(voter) == 0))
    })
}
