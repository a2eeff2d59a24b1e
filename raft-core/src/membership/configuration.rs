//! A configuration: the voters of one or two halves, the learners, and how members are reached.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::majority::{self, VoteResult};
use crate::mutants::{self, Mutant};
use crate::types::{Index, NodeId};

/// The configuration of a group (thesis §4).
///
/// Invariants, checked on construction:
/// - each list is sorted and without duplicates;
/// - `voters` is not empty (I20), except in [`Membership::empty`], which a replica has before it joined a group;
/// - a learner is in neither half of the voters (R65);
/// - who becomes a learner when the joint configuration is left votes in its outgoing half only (R65);
/// - every member is at most `highest_id`, which never falls, so that no id is given out twice (R68);
/// - only members have a contact; 0 is not a member.
///
/// Clones share their lists. That also keeps log entries small, which are copied far more often than configurations.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    parts: Arc<MembershipParts>,
}

/// What a [`Membership`] is made of; checked by [`Membership::from_parts`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MembershipParts {
    /// The voters; of the incoming half if the configuration is joint.
    pub voters: Vec<NodeId>,
    /// The voters of the outgoing half; empty unless the configuration is joint.
    pub outgoing: Vec<NodeId>,
    /// The learners.
    pub learners: Vec<NodeId>,
    /// Voters of the outgoing half that become learners when the joint configuration is left.
    pub learners_next: Vec<NodeId>,
    /// How members are reached, by those who know it.
    pub contacts: BTreeMap<NodeId, Contact>,
    /// The highest id that was ever a member; raised to the highest member on construction.
    pub highest_id: NodeId,
}

/// How a member is reached: a text of the embedding program's choice, such as a URL, at most
/// [`CONTACT_BYTES_MAX`] bytes long. The core only carries it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Contact(Arc<str>);

/// How many members a configuration may have: with all their contacts it stays far below the size of a frame.
pub const MEMBERS_MAX: usize = 255;

/// The size limit of a [`Contact`] in bytes.
pub const CONTACT_BYTES_MAX: usize = 1_024;

impl Contact {
    /// A contact, unless the text is too long.
    pub fn new(text: &str) -> Result<Contact, MembershipError> {
        if text.len() > CONTACT_BYTES_MAX {
            return Err(MembershipError::ContactTooLong { bytes: text.len() });
        }
        Ok(Contact(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

/// `{1,2,3}`, `{1,2}+3` with a learner, `{1,2,4}&{1,2,3}` if joint; who becomes a learner stands after `>`.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MembershipParts {
            voters,
            outgoing,
            learners,
            learners_next,
            ..
        } = &*self.parts;
        write!(f, "{{{}}}", list(voters))?;
        if !outgoing.is_empty() {
            write!(f, "&{{{}}}", list(outgoing))?;
        }
        if !learners.is_empty() {
            write!(f, "+{}", list(learners))?;
        }
        if !learners_next.is_empty() {
            write!(f, ">{}", list(learners_next))?;
        }
        Ok(())
    }
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    names.join(",")
}

/// Why lists of nodes are not a configuration.
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
    /// A node is to become a learner and is no voter of the outgoing half only.
    #[error("node {0} cannot become a learner: it does not vote in the outgoing half only")]
    NotOutgoing(NodeId),
    /// There is a contact of somebody who is no member.
    #[error("node {0} has a contact and is not a member")]
    ContactOfStranger(NodeId),
    /// There are too many members.
    #[error("{members} members exceed the limit of {MEMBERS_MAX}; remove some first")]
    TooMany {
        /// How many there would be.
        members: usize,
    },
    /// A contact is too long.
    #[error("a contact of {bytes} bytes exceeds the limit of {CONTACT_BYTES_MAX}; shorten it")]
    ContactTooLong {
        /// Its size.
        bytes: usize,
    },
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
        Membership::from_parts(MembershipParts {
            voters,
            outgoing,
            learners,
            ..MembershipParts::default()
        })
    }

    /// A configuration of these parts, whose lists may be in any order.
    pub fn from_parts(mut parts: MembershipParts) -> Result<Membership, MembershipError> {
        for nodes in [
            &mut parts.voters,
            &mut parts.outgoing,
            &mut parts.learners,
            &mut parts.learners_next,
        ] {
            sort(nodes)?;
        }
        if parts.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        let votes =
            |node| parts.voters.binary_search(&node).is_ok() || parts.outgoing.binary_search(&node).is_ok();
        if let Some(&learner) = parts.learners.iter().find(|learner| votes(**learner)) {
            return Err(MembershipError::VoterAndLearner(learner));
        }
        let leaves =
            |node| parts.outgoing.binary_search(&node).is_ok() && parts.voters.binary_search(&node).is_err();
        if let Some(&node) = parts.learners_next.iter().find(|node| !leaves(**node)) {
            return Err(MembershipError::NotOutgoing(node));
        }
        let membership = Membership {
            parts: Arc::new(parts),
        };
        if let Some(&node) = membership
            .parts
            .contacts
            .keys()
            .find(|node| !membership.contains(**node))
        {
            return Err(MembershipError::ContactOfStranger(node));
        }
        let members = membership.members();
        if members.len() > MEMBERS_MAX {
            return Err(MembershipError::TooMany {
                members: members.len(),
            });
        }
        let highest = members.last().copied().unwrap_or_default();
        let mut parts = Arc::unwrap_or_clone(membership.parts);
        parts.highest_id = parts.highest_id.max(highest);
        Ok(Membership {
            parts: Arc::new(parts),
        })
    }

    /// The same members, reached by these contacts.
    pub fn with_contacts(
        &self,
        contacts: impl IntoIterator<Item = (NodeId, Contact)>,
    ) -> Result<Membership, MembershipError> {
        Membership::from_parts(MembershipParts {
            contacts: contacts.into_iter().collect(),
            ..self.to_parts()
        })
    }

    /// A copy of its parts, to make another configuration of them.
    #[must_use]
    pub fn to_parts(&self) -> MembershipParts {
        (*self.parts).clone()
    }

    /// What a replica has before it belongs to a group.
    #[must_use]
    pub fn empty() -> Membership {
        Membership::default()
    }

    /// The voters, sorted; of the incoming half if the configuration is joint.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.parts.voters
    }

    /// The voters of the outgoing half, sorted; empty unless the configuration is joint.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.parts.outgoing
    }

    /// The learners, sorted: they receive the log and count for nothing.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.parts.learners
    }

    /// Voters of the outgoing half that become learners when the joint configuration is left (R65), sorted.
    #[must_use]
    pub fn learners_next(&self) -> &[NodeId] {
        &self.parts.learners_next
    }

    /// How `node` is reached, if that is known.
    #[must_use]
    pub fn contact(&self, node: NodeId) -> Option<&Contact> {
        self.parts.contacts.get(&node)
    }

    /// Every known contact.
    #[must_use]
    pub fn contacts(&self) -> &BTreeMap<NodeId, Contact> {
        &self.parts.contacts
    }

    /// The highest id that was ever a member: a new member gets a higher one (R68).
    #[must_use]
    pub fn highest_id(&self) -> NodeId {
        self.parts.highest_id
    }

    /// Whether decisions need a majority of two halves.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.parts.outgoing.is_empty()
    }

    /// Whether `node` votes in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.parts.voters.binary_search(&node).is_ok() || self.parts.outgoing.binary_search(&node).is_ok()
    }

    /// Whether `node` is a voter or a learner.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.parts.learners.binary_search(&node).is_ok()
    }

    /// Whether `node` was a member before this configuration and can be in no later one: ids are given out in rising order
    /// and never twice (R68).
    #[must_use]
    pub fn is_former_member(&self, node: NodeId) -> bool {
        !self.contains(node) && node <= self.highest_id()
    }

    /// Every member once, sorted.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let mut members = [&self.parts.voters[..], &self.parts.outgoing, &self.parts.learners].concat();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let parts = &*self.parts;
        let nodes = [
            &parts.voters,
            &parts.outgoing,
            &parts.learners,
            &parts.learners_next,
        ];
        let contacts = parts.contacts.values().map(|contact| 12 + contact.as_str().len());
        nodes.into_iter().map(|nodes| 4 + 8 * nodes.len()).sum::<usize>() + contacts.sum::<usize>() + 12
    }

    /// The state of a vote; a joint configuration is won only when both halves are.
    #[must_use]
    pub fn vote_result(&self, mut answer: impl FnMut(NodeId) -> Option<bool>) -> VoteResult {
        let incoming = majority::vote_result(&self.parts.voters, &mut answer);
        let outgoing = majority::vote_result(self.deciding_outgoing(), &mut answer);
        match (incoming, outgoing) {
            (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            _ => VoteResult::Pending,
        }
    }

    /// The largest index that is durable on a majority of every half (R13).
    #[must_use]
    pub fn committed_index(&self, mut matched: impl FnMut(NodeId) -> Index) -> Index {
        if mutants::is(Mutant::LearnerCounted) {
            return self.index_of_any_members(matched);
        }
        majority::committed_index(&self.parts.voters, &mut matched)
            .min(majority::committed_index(self.deciding_outgoing(), &mut matched))
    }

    /// The largest value that a majority of every half has reached (R43).
    #[must_use]
    pub fn reached_by_quorum(&self, mut reached: impl FnMut(NodeId) -> u64) -> u64 {
        majority::reached_by_majority(&self.parts.voters, &mut reached).min(majority::reached_by_majority(
            self.deciding_outgoing(),
            &mut reached,
        ))
    }

    /// The outgoing half, without which nothing is decided.
    fn deciding_outgoing(&self) -> &[NodeId] {
        if mutants::is(Mutant::JointByOneHalf) {
            return &[];
        }
        &self.parts.outgoing
    }

    /// What as many members have as a majority of the voters are, whoever they are, as only a mutant counts.
    fn index_of_any_members(&self, matched: impl FnMut(NodeId) -> Index) -> Index {
        let mut matches: Vec<Index> = self.members().into_iter().map(matched).collect();
        matches.sort_unstable();
        let quorum = majority::quorum(self.parts.voters.len());
        matches.iter().rev().nth(quorum - 1).copied().unwrap_or_default()
    }
}

fn sort(nodes: &mut [NodeId]) -> Result<(), MembershipError> {
    nodes.sort_unstable();
    if nodes.first() == Some(&NodeId(0)) {
        return Err(MembershipError::ZeroId);
    }
    match nodes.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(MembershipError::Duplicate(pair[0])),
        None => Ok(()),
    }
}
