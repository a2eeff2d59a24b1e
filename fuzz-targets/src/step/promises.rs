//! What a replica may say: nothing that its disk does not hold.

use std::collections::BTreeMap;

use raft_core::message::{AppendEntries, AppendResult, Body, Message};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Term};

use super::disk::Disk;

/// What the replica said and heard, over all its incarnations.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    /// For whom it voted.
    votes: BTreeMap<Term, NodeId>,
    /// The entries that a node named as leader of a term.
    named: BTreeMap<(NodeId, Term), Vec<EntryId>>,
}

impl Promises {
    /// A node said, as the leader of its term, what its log holds.
    pub(super) fn heard(&mut self, from: NodeId, term: Term, request: &AppendEntries) {
        let named = self.named.entry((from, term)).or_default();
        named.push(request.prev);
        named.extend(request.entries.iter().map(|entry| entry.id));
    }

    /// A node sent a snapshot as the leader of its term.
    pub(super) fn heard_snapshot(&mut self, from: NodeId, term: Term, last: EntryId) {
        self.named.entry((from, term)).or_default().push(last);
    }

    /// Checks a message that leaves a replica whose disk is in this state, and which knows `commit`.
    pub(super) fn check(
        &mut self,
        group: GroupId,
        own_id: NodeId,
        disk: &Disk,
        commit: Index,
        message: &Message,
    ) {
        assert_eq!(
            (message.group, message.from),
            (group, own_id),
            "a replica speaks for itself"
        );
        let durable = disk.hard_state;
        assert!(
            message.term <= durable.term,
            "I3: {message:?} leaves while the disk holds term {}",
            durable.term
        );
        match &message.body {
            Body::RequestVoteResponse(response) if response.is_granted() => {
                let vote = *self.votes.entry(message.term).or_insert(message.to);
                assert_eq!(vote, message.to, "I2: a second vote in term {}", message.term);
                if message.term == durable.term {
                    assert_eq!(durable.vote, Some(vote), "I11: a vote that is not on the disk");
                }
            }
            Body::RequestVote(_) if message.term == durable.term => {
                assert_eq!(
                    durable.vote,
                    Some(own_id),
                    "I11: a candidacy that is not on the disk"
                );
            }
            Body::AppendEntriesResponse(response) => {
                if let AppendResult::Accepted { match_index } = response.result {
                    self.check_acknowledgement(message, disk, commit, match_index);
                }
            }
            _ => {}
        }
    }

    /// What is acknowledged is on the disk, and is what the leader named.
    fn check_acknowledgement(&self, message: &Message, disk: &Disk, commit: Index, match_index: Index) {
        assert!(
            match_index <= disk.last().index,
            "I11: {match_index} is acknowledged, and the disk ends at {}",
            disk.last()
        );
        if match_index <= commit || match_index < disk.purged.index {
            return;
        }
        let named = self.named.get(&(message.to, message.term));
        let named = || named.into_iter().flatten();
        assert!(
            named().any(|id| id.index >= match_index),
            "I11: {match_index} is acknowledged, and the leader never spoke of it"
        );
        if named().any(|id| id.index == match_index) {
            let stored = disk.id_at(match_index);
            assert!(
                named().any(|id| Some(*id) == stored),
                "I11: {match_index} is acknowledged, and is {stored:?} here, not what the leader named"
            );
        }
    }
}
