//! What has happened so far in the whole world, and the invariants that must hold over it.
//!
//! The checks look at disks and logs, never at what a leader believes about them.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::effect::{LogChange, RoleKind, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::message::{AppendResult, Body, Message};
use raft_core::status::Status;
use raft_core::types::{EntryId, Index, NodeId, Term, Ticket};

use super::disk::Disk;
use super::node::Node;

/// The memory of the invariants.
#[derive(Default)]
pub(crate) struct History {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Every entry that any log ever held, with the entry before it.
    entries: BTreeMap<EntryId, (EntryId, Payload)>,
    committed: BTreeMap<Index, EntryId>,
    /// Reads under way: where they were asked, and what was committed then.
    reads: BTreeMap<Ticket, (NodeId, Index)>,
    /// Members that are no replicas of this world: their disks are taken to hold whatever is needed.
    pub(crate) puppets: BTreeSet<NodeId>,
    /// Whether a message was written by hand, so that a follower may learn of a commit that no replica here made.
    pub(crate) injected: bool,
}

impl History {
    /// What an entry holds, if any log ever held it.
    pub(crate) fn payload(&self, id: EntryId) -> Option<Payload> {
        self.entries.get(&id).map(|known| known.1.clone())
    }

    /// A log as a scenario wrote it.
    pub(crate) fn booted(&mut self, log: &[Entry], commit: Index) {
        self.appended(EntryId::ZERO, log);
        for entry in log.iter().filter(|entry| entry.index() <= commit) {
            self.commit(entry.id);
        }
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

    /// I8: the committed prefix is the same everywhere, for ever.
    fn commit(&mut self, id: EntryId) {
        let known = *self.committed.entry(id.index).or_insert(id);
        assert_eq!(known, id, "I8: {known} is committed, and {id}, too");
    }

    /// The state after `last`, which a message says is committed: the entries of `log`; those that it leaves out and
    /// nobody here has seen are of the term of `last`.
    pub(crate) fn committed_up_to(&mut self, last: EntryId, log: &[Entry]) -> Vec<EntryId> {
        for entry in log {
            self.commit(entry.id);
        }
        for index in 1..=last.index.0 {
            let id = EntryId::new(last.term, Index(index));
            self.committed.entry(id.index).or_insert(id);
        }
        self.committed.range(..=last.index).map(|(_, id)| *id).collect()
    }

    /// The last index that any replica knows to be committed.
    fn last_committed(&self) -> Index {
        self.committed
            .last_key_value()
            .map_or(Index::ZERO, |(index, _)| *index)
    }

    /// A replica asked for a write; `log` is what its log was before.
    pub(crate) fn write_issued(&mut self, role: RoleKind, log: &Disk, write: &Write) {
        let LogChange::Append(entries) = &write.log else {
            return;
        };
        let Some(first) = entries.first() else { return };
        assert!(
            role != RoleKind::Leader || first.index() == log.last().index.next(),
            "I4: a leader overwrites its own log, which ends at {}, from {}",
            log.last(),
            first.id
        );
        if let Some(prev) = log.id_at(first.index().previous()) {
            self.appended(prev, entries);
        }
    }

    /// A write completed: I2, the vote of a term is written once.
    pub(crate) fn write_completed(&mut self, id: NodeId, write: &Write) {
        if let Some(state) = write.hard_state
            && let Some(vote) = state.vote
        {
            let known = *self.votes.entry((id, state.term)).or_insert(vote);
            assert_eq!(known, vote, "I2: node {id} votes twice in term {}", state.term);
        }
    }

    /// A message leaves a replica: I3 and I11, everything it promises is on the disk.
    pub(crate) fn sent(&self, disk: &Disk, message: &Message) {
        assert!(
            message.term <= disk.hard_state.term,
            "I3: a message of term {} leaves a disk of term {}",
            message.term,
            disk.hard_state.term
        );
        match &message.body {
            Body::AppendEntriesResponse(response) => {
                if let AppendResult::Accepted { match_index } = response.result {
                    assert!(
                        match_index <= disk.last().index,
                        "I11: {match_index} is acknowledged, but the disk ends at {}",
                        disk.last()
                    );
                }
            }
            Body::RequestVoteResponse(response) if response.is_granted() => {
                let stored = (disk.hard_state.term, disk.hard_state.vote);
                assert!(
                    stored == (message.term, Some(message.to)) || disk.hard_state.term > message.term,
                    "I11: a vote for {} leaves before it is on the disk, which holds {stored:?}",
                    message.to
                );
            }
            _ => {}
        }
    }

    /// I1 and I6: one leader per term, and it holds everything that is committed.
    pub(crate) fn elected(&mut self, term: Term, node: &Node) {
        let known = *self.leaders.entry(term).or_insert(node.id());
        assert_eq!(known, node.id(), "I1: term {term} has two leaders");
        for id in self.committed.values() {
            assert!(
                node.issued.covers(*id),
                "I6: the leader of term {term} lacks the committed {id}"
            );
        }
    }

    /// A step ended: commit, match and next.
    pub(crate) fn stepped(&mut self, nodes: &BTreeMap<NodeId, Node>, before: &Status, after: &Status) {
        assert!(after.commit_index >= before.commit_index, "I8: commit falls");
        assert!(
            after.applied_index <= after.commit_index,
            "I9: applied passes commit"
        );
        for peer in &after.peers {
            assert!(
                peer.match_index < peer.next_index,
                "R9: match reaches next for node {}",
                peer.id
            );
        }
        let node = &nodes[&after.id];
        for index in before.commit_index.0 + 1..=after.commit_index.0 {
            let Some(id) = node.issued.id_at(Index(index)) else {
                continue;
            };
            // A leader may commit its own removal and step down in one step.
            if after.role == RoleKind::Leader || before.role == RoleKind::Leader {
                self.committed_by_leader(nodes, after, id);
            } else {
                assert!(
                    self.injected || self.committed.contains_key(&id.index),
                    "I8: a follower commits {id}, which no leader has committed"
                );
            }
            self.commit(id);
        }
        assert!(
            after.role == RoleKind::Leader || self.reads.values().all(|read| read.0 != after.id),
            "R45: a replica that does not lead has unresolved reads"
        );
    }

    /// I7: what a leader commits is on a quorum of disks, and ends with an entry of its own term.
    fn committed_by_leader(&self, nodes: &BTreeMap<NodeId, Node>, leader: &Status, id: EntryId) {
        let last = nodes[&leader.id].issued.id_at(leader.commit_index);
        assert_eq!(
            last.map(|last| last.term),
            Some(leader.term),
            "R1: a leader of term {} commits up to an entry of another term",
            leader.term
        );
        let on_quorum = leader.membership.reached_by_quorum(|voter| {
            let holds = nodes
                .get(&voter)
                .map_or(self.puppets.contains(&voter), |node| node.disk.covers(id));
            u64::from(holds)
        });
        assert_eq!(
            on_quorum, 1,
            "I7: {id} is committed, but not on a quorum of disks"
        );
    }

    /// I9: entries are applied in steps of one, each of them committed.
    pub(crate) fn applied(&self, last: EntryId, entry: EntryId) {
        assert_eq!(
            entry.index,
            last.index.next(),
            "I9: {entry} is applied after {last}"
        );
        assert_eq!(
            self.committed.get(&entry.index),
            Some(&entry),
            "I8: {entry} is applied, but another entry is committed there"
        );
    }

    /// I21: a snapshot holds what is committed.
    pub(crate) fn restored(&self, state: &[EntryId]) {
        for id in state {
            assert_eq!(
                self.committed.get(&id.index),
                Some(id),
                "I21: a snapshot holds {id}"
            );
        }
    }

    /// A client asks to read.
    pub(crate) fn read_began(&mut self, ticket: Ticket, node: NodeId) {
        self.reads.insert(ticket, (node, self.last_committed()));
    }

    /// I16: a read sees at least what was committed when it began.
    pub(crate) fn read_confirmed(&mut self, ticket: Ticket, index: Index) {
        let (_, floor) = self.reads.remove(&ticket).expect("R45: a read is resolved once");
        assert!(
            index >= floor,
            "I16: a read at {index} began when {floor} was committed"
        );
    }

    /// A request was refused.
    pub(crate) fn refused(&mut self, ticket: Ticket) {
        self.reads.remove(&ticket);
    }

    /// A node stopped: nobody waits for its answers any more.
    pub(crate) fn stopped(&mut self, node: NodeId) {
        self.reads.retain(|_, read| read.0 != node);
    }
}
