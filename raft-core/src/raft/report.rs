//! What a replica shows of itself.

use super::machine::Raft;
use super::role::Role;
use crate::log::TermAt;
use crate::membership::Membership;
use crate::status::{PeerProgress, Status};
use crate::types::{EntryId, Index, NodeId};

impl Raft {
    /// How many reads wait for their confirmation here; only a leader has any.
    pub(crate) fn unconfirmed_reads(&self) -> usize {
        match &self.role {
            Role::Leader(leader) => leader.reads.pending(),
            Role::Follower(_) | Role::Candidate(_) => 0,
        }
    }

    /// How many payload bytes this leader appended and has not committed.
    pub(crate) fn uncommitted_bytes(&self) -> usize {
        match &self.role {
            Role::Leader(leader) => leader.uncommitted_bytes(),
            Role::Follower(_) | Role::Candidate(_) => 0,
        }
    }

    /// How many payload bytes were handed to the state machine and are not applied.
    pub(crate) fn applying_bytes(&self) -> usize {
        self.common.apply.bytes
    }

    /// The first entry that is in memory, and the payload bytes from there on.
    pub(crate) fn tail(&self) -> (Index, usize) {
        let log = &self.common.log;
        (log.last_cold().next(), log.tail_bytes())
    }

    /// Whether `node` was a member and is none any more, for good.
    pub(crate) fn has_left(&self, node: NodeId) -> bool {
        self.committed_membership()
            .is_some_and(|members| members.is_former_member(node))
    }

    /// The latest configuration in the log, once it is committed.
    #[must_use]
    pub fn committed_membership(&self) -> Option<&Membership> {
        let common = &self.common;
        (common.membership_index() <= common.commit).then(|| common.membership())
    }

    /// The term at an index of the log.
    #[must_use]
    pub fn term_at(&self, index: Index) -> TermAt {
        self.common.log.term(index)
    }

    /// The oldest snapshot that is needed still: the one in force, once that is durable, because a start after a crash goes on
    /// from it. While a received one is restored, older ones may be waited for.
    #[must_use]
    pub fn oldest_needed_snapshot(&self) -> EntryId {
        if self.common.is_restoring() {
            return EntryId::ZERO;
        }
        self.common.log.snapshot_durable()
    }

    /// Everything there is to see.
    #[must_use]
    pub fn status(&self) -> Status {
        let common = &self.common;
        let peers = match &self.role {
            Role::Leader(leader) => leader
                .progress
                .iter()
                .map(|(&id, progress)| PeerProgress {
                    id,
                    match_index: progress.match_index(),
                    next_index: progress.next_index(),
                    state: progress.state(),
                    inflight_messages: progress.inflights().messages(),
                    inflight_bytes: progress.inflights().bytes(),
                    last_contact: progress.last_contact,
                    suspect: progress.is_suspect,
                })
                .collect(),
            Role::Follower(_) | Role::Candidate(_) => Vec::new(),
        };
        Status {
            group: self.group(),
            id: self.id(),
            role: self.role(),
            term: common.term,
            leader: self.leader(),
            vote: common.vote,
            membership: common.membership().clone(),
            membership_index: common.membership_index(),
            first_index: common.log.first_index(),
            appended_index: common.log.last().index,
            durable_index: common.log.durable(),
            commit_index: common.commit,
            applied_index: common.applied(),
            snapshot: common.log.snapshot().last,
            ready: common.is_ready(),
            suspect: common.is_suspect(),
            asleep: self.is_asleep(),
            peers,
        }
    }
}
