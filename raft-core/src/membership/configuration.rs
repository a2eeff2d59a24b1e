//! A configuration: the voters of one or two halves, and the learners.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::majority::{self, VoteResult};
use crate::types::{Index, NodeId};

/// The configuration of a group (thesis §4).
///
/// Invariants, checked on construction:
/// - each list is sorted and without duplicates;
/// - `voters` is not empty (I20), except in [`Membership::empty`], which a replica has before it joined a group;
/// - a learner is in neither half of the voters (R65);
/// - 0 is not a member.
///
/// Clones share their lists. That also keeps log entries small, which are copied far more often than configurations.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Membership {
    lists: Arc<Lists>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Lists {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("voters", &self.lists.voters)
            .field("outgoing", &self.lists.outgoing)
            .field("learners", &self.lists.learners)
            .finish()
    }
}

/// Why three lists of nodes are not a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// There is no voter.
    #[error("a configuration needs at least one voter")]
    NoVoters,
    /// A node stands in one list twice.
    #[error("node {0} is named twice; name it once")]
    Duplicate(NodeId),
    /// A node is both voter and learner.
    #[error("node {0} is named as voter and as learner; choose one")]
    VoterAndLearner(NodeId),
    /// Node id 0.
    #[error("0 is not a node id; ids start at 1")]
    ZeroId,
}

impl Membership {
    /// A configuration with one set of voters and no learners.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Result<Membership, MembershipError> {
        Membership::new(voters.into_iter().collect(), Vec::new(), Vec::new())
    }

    /// A configuration; joint if `outgoing` is not empty.
    pub fn new(
        voters: Vec<NodeId>,
        outgoing: Vec<NodeId>,
        learners: Vec<NodeId>,
    ) -> Result<Membership, MembershipError> {
        let (voters, outgoing, learners) = (sorted(voters)?, sorted(outgoing)?, sorted(learners)?);
        if voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        for &learner in &learners {
            if voters.binary_search(&learner).is_ok() || outgoing.binary_search(&learner).is_ok() {
                return Err(MembershipError::VoterAndLearner(learner));
            }
        }
        let lists = Arc::new(Lists {
            voters,
            outgoing,
            learners,
        });
        Ok(Membership { lists })
    }

    /// What a replica has before it belongs to a group.
    #[must_use]
    pub fn empty() -> Membership {
        Membership::default()
    }

    /// The voters, sorted; of the incoming half if the configuration is joint.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.lists.voters
    }

    /// The voters of the outgoing half, sorted; empty unless the configuration is joint.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.lists.outgoing
    }

    /// The learners, sorted: they receive the log and count for nothing.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.lists.learners
    }

    /// Whether `node` votes in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.lists.voters.binary_search(&node).is_ok() || self.lists.outgoing.binary_search(&node).is_ok()
    }

    /// Whether `node` is a voter or a learner.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.lists.learners.binary_search(&node).is_ok()
    }

    /// Every member once, sorted.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let mut members = [&self.lists.voters[..], &self.lists.outgoing, &self.lists.learners].concat();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// The state of a vote; a joint configuration is won only when both halves are.
    #[must_use]
    pub fn vote_result(&self, mut answer: impl FnMut(NodeId) -> Option<bool>) -> VoteResult {
        let incoming = majority::vote_result(&self.lists.voters, &mut answer);
        let outgoing = majority::vote_result(&self.lists.outgoing, &mut answer);
        match (incoming, outgoing) {
            (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            _ => VoteResult::Pending,
        }
    }

    /// The largest index that is durable on a majority of every half (R13).
    #[must_use]
    pub fn committed_index(&self, mut matched: impl FnMut(NodeId) -> Index) -> Index {
        majority::committed_index(&self.lists.voters, &mut matched)
            .min(majority::committed_index(&self.lists.outgoing, &mut matched))
    }

    /// The largest value that a majority of every half has reached (R43).
    #[must_use]
    pub fn reached_by_quorum(&self, mut reached: impl FnMut(NodeId) -> u64) -> u64 {
        majority::reached_by_majority(&self.lists.voters, &mut reached)
            .min(majority::reached_by_majority(&self.lists.outgoing, &mut reached))
    }
}

fn sorted(mut nodes: Vec<NodeId>) -> Result<Vec<NodeId>, MembershipError> {
    nodes.sort_unstable();
    if nodes.first() == Some(&NodeId(0)) {
        return Err(MembershipError::ZeroId);
    }
    match nodes.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(MembershipError::Duplicate(pair[0])),
        None => Ok(nodes),
    }
}
