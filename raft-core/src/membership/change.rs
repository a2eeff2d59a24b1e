//! What is asked to change in a configuration, and what would follow from it.
//!
//! A change of several members is one change: it becomes effective as a whole or not at all. If it touches the votes of
//! one node at most, old and new majorities intersect and one entry is enough (thesis §4.1); otherwise it goes through a
//! joint configuration (thesis §4.3), which the replicas leave by themselves (R63).

use thiserror::Error;

use super::configuration::{Contact, MEMBERS_MAX, Membership, MembershipError, MembershipParts};
use super::majority;
use crate::types::NodeId;

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A new node votes from now on. Prefer a learner that is promoted once it caught up: until then the new voter
    /// counts in every majority and can confirm nothing.
    AddVoter {
        /// The node; its id must be higher than any that was ever a member (R68).
        id: NodeId,
        /// How it is reached.
        contact: Option<Contact>,
    },
    /// A new node receives the log and does not vote.
    AddLearner {
        /// The node; its id must be higher than any that was ever a member (R68).
        id: NodeId,
        /// How it is reached.
        contact: Option<Contact>,
    },
    /// A learner votes from now on; refused unless it has caught up (R71).
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A node is no member any more.
    Remove(NodeId),
    /// A member is reached in another way.
    SetContact {
        /// The member.
        id: NodeId,
        /// How it is reached from now on.
        contact: Contact,
    },
}

impl MemberChange {
    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let contact = match self {
            MemberChange::AddVoter { contact, .. } | MemberChange::AddLearner { contact, .. } => {
                contact.as_ref()
            }
            MemberChange::SetContact { contact, .. } => Some(contact),
            MemberChange::Promote(_) | MemberChange::Demote(_) | MemberChange::Remove(_) => None,
        };
        16 + contact.map_or(0, |contact| contact.as_str().len())
    }
}

/// How far the id of a new member may be above all that were ever used.
pub const ID_STEP_MAX: u64 = 65_536;

/// Why a change does not fit the configuration that it is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Nothing would change.
    #[error("the change changes nothing")]
    Nothing,
    /// A node is a member already.
    #[error("node {0} is a member already")]
    AlreadyMember(NodeId),
    /// A node is not a member.
    #[error("node {0} is not a member")]
    NotAMember(NodeId),
    /// Only a learner can be promoted.
    #[error("node {0} is not a learner; only a learner can be promoted")]
    NotALearner(NodeId),
    /// Only a voter can be demoted.
    #[error("node {0} is not a voter; only a voter can be demoted")]
    NotAVoter(NodeId),
    /// The id may have been a member's before (R68).
    #[error("id {id} may have been used before; ids are never used twice, give one above {highest_id}")]
    IdUsed {
        /// The refused id.
        id: NodeId,
        /// The highest id that was ever a member.
        highest_id: NodeId,
    },
    /// An id is so far above all others that it looks like a mistake; taking it would leave no ids for later members.
    #[error(
        "id {id} is far above the highest so far; give one between {highest_id} and {highest_id} + {ID_STEP_MAX}"
    )]
    IdTooHigh {
        /// The refused id.
        id: NodeId,
        /// The highest id that was ever a member.
        highest_id: NodeId,
    },
    /// There are more steps than members can be.
    #[error("{steps} steps exceed the limit of {MEMBERS_MAX} for one change; make several changes of it")]
    TooManySteps {
        /// How many there are.
        steps: usize,
    },
    /// What would result is not a configuration.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

/// What a change does to a configuration, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipPlan {
    /// The configuration that is changed.
    pub current: Membership,
    /// The joint configuration on the way, if one is needed.
    pub joint: Option<Membership>,
    /// The configuration at the end.
    pub target: Membership,
}

impl MembershipPlan {
    /// Works out what `changes` do to `current`, which must not be joint. Whether they may be proposed now is the
    /// leader's to say.
    pub fn new(current: &Membership, changes: &[MemberChange]) -> Result<MembershipPlan, ChangeError> {
        debug_assert!(!current.is_joint(), "one change at a time (R61)");
        if changes.len() > MEMBERS_MAX {
            return Err(ChangeError::TooManySteps { steps: changes.len() });
        }
        let mut parts = current.to_parts();
        for change in changes {
            match change {
                // Who is added by the same change cannot have caught up.
                MemberChange::Promote(id) if !current.learners().contains(id) => {
                    return Err(not_in(&parts, *id, ChangeError::NotALearner));
                }
                change => apply(&mut parts, change)?,
            }
        }
        let target = Membership::from_parts(parts)?;
        if target == *current {
            return Err(ChangeError::Nothing);
        }
        let joint = (votes_changed(current, &target) > 1)
            .then(|| joint(current, &target))
            .transpose()?;
        Ok(MembershipPlan {
            current: current.clone(),
            joint,
            target,
        })
    }

    /// The configuration to append first.
    #[must_use]
    pub fn next(&self) -> &Membership {
        self.joint.as_ref().unwrap_or(&self.target)
    }

    /// How many voters of the target must agree.
    #[must_use]
    pub fn quorum(&self) -> usize {
        majority::quorum(self.target.voters().len())
    }

    /// How many voters of the target may fail at once without stopping the group.
    #[must_use]
    pub fn failures_survived(&self) -> usize {
        self.target.voters().len() - self.quorum()
    }

    /// Whether every configuration on the way could decide now, counting only the voters that `is_reachable` names.
    #[must_use]
    pub fn quorum_is_reachable(&self, is_reachable: impl FnMut(NodeId) -> bool) -> bool {
        self.short_of(is_reachable).is_none()
    }

    /// The first set of voters on the way that could not decide now: how many of it must agree, and how many of those that
    /// `is_reachable` names there are.
    #[must_use]
    pub fn short_of(&self, mut is_reachable: impl FnMut(NodeId) -> bool) -> Option<(usize, usize)> {
        let sets = [self.target.voters(), self.next().outgoing()];
        let counted = sets.map(|voters| {
            let reachable = voters.iter().filter(|voter| is_reachable(**voter)).count();
            (voters.len(), majority::quorum(voters.len()), reachable)
        });
        let short = counted
            .iter()
            .find(|(voters, quorum, reachable)| *voters > 0 && reachable < quorum);
        short.map(|(_, quorum, reachable)| (*quorum, *reachable))
    }
}

/// The configuration after leaving a joint one; the same one if it is not joint.
pub(crate) fn leave_joint(membership: &Membership) -> Membership {
    let mut parts = membership.to_parts();
    parts.outgoing.clear();
    parts.learners.append(&mut parts.learners_next);
    let stays = |id: &NodeId| parts.voters.contains(id) || parts.learners.contains(id);
    parts.contacts.retain(|id, _| stays(id));
    Membership::from_parts(parts).expect("leaving a valid joint configuration gives a valid one")
}

/// How many nodes gain or lose their vote.
fn votes_changed(current: &Membership, target: &Membership) -> usize {
    let lost = current
        .voters()
        .iter()
        .filter(|id| !target.is_voter(**id))
        .count();
    let gained = target
        .voters()
        .iter()
        .filter(|id| !current.is_voter(**id))
        .count();
    lost + gained
}

/// Both halves vote until the change is complete. Who is demoted stays a voter so long, and becomes a learner then (R65).
fn joint(current: &Membership, target: &Membership) -> Result<Membership, MembershipError> {
    let votes_now = |id: &NodeId| current.is_voter(*id);
    let (learners_next, learners) = target.learners().iter().partition(|id| votes_now(id));
    let mut contacts = target.contacts().clone();
    for voter in current.voters() {
        if let Some(contact) = current.contact(*voter) {
            contacts.entry(*voter).or_insert_with(|| contact.clone());
        }
    }
    Membership::from_parts(MembershipParts {
        voters: target.voters().to_vec(),
        outgoing: current.voters().to_vec(),
        learners,
        learners_next,
        contacts,
        highest_id: target.highest_id(),
    })
}

fn apply(parts: &mut MembershipParts, change: &MemberChange) -> Result<(), ChangeError> {
    match change {
        MemberChange::AddVoter { id, contact } => {
            add(parts, *id, contact.as_ref())?;
            parts.voters.push(*id);
        }
        MemberChange::AddLearner { id, contact } => {
            add(parts, *id, contact.as_ref())?;
            parts.learners.push(*id);
        }
        MemberChange::Promote(id) => {
            take(&mut parts.learners, *id).ok_or(not_in(parts, *id, ChangeError::NotALearner))?;
            parts.voters.push(*id);
        }
        MemberChange::Demote(id) => {
            take(&mut parts.voters, *id).ok_or(not_in(parts, *id, ChangeError::NotAVoter))?;
            parts.learners.push(*id);
        }
        MemberChange::Remove(id) => {
            take(&mut parts.voters, *id)
                .or_else(|| take(&mut parts.learners, *id))
                .ok_or(ChangeError::NotAMember(*id))?;
            parts.contacts.remove(id);
        }
        MemberChange::SetContact { id, contact } => {
            if !is_member(parts, *id) {
                return Err(ChangeError::NotAMember(*id));
            }
            parts.contacts.insert(*id, contact.clone());
        }
    }
    Ok(())
}

fn add(parts: &mut MembershipParts, id: NodeId, contact: Option<&Contact>) -> Result<(), ChangeError> {
    if id == NodeId(0) {
        return Err(MembershipError::ZeroId.into());
    }
    if is_member(parts, id) {
        return Err(ChangeError::AlreadyMember(id));
    }
    let highest_id = parts.highest_id;
    if id <= highest_id {
        return Err(ChangeError::IdUsed { id, highest_id });
    }
    if id.0 - highest_id.0 > ID_STEP_MAX {
        return Err(ChangeError::IdTooHigh { id, highest_id });
    }
    parts.highest_id = id;
    parts
        .contacts
        .extend(contact.map(|contact| (id, contact.clone())));
    Ok(())
}

fn is_member(parts: &MembershipParts, id: NodeId) -> bool {
    parts.voters.contains(&id) || parts.learners.contains(&id)
}

fn take(nodes: &mut Vec<NodeId>, id: NodeId) -> Option<NodeId> {
    let position = nodes.iter().position(|node| *node == id)?;
    Some(nodes.remove(position))
}

fn not_in(parts: &MembershipParts, id: NodeId, wrong_kind: fn(NodeId) -> ChangeError) -> ChangeError {
    if is_member(parts, id) {
        wrong_kind(id)
    } else {
        ChangeError::NotAMember(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn voters(ids: &[u64]) -> Membership {
        Membership::of_voters(nodes(ids)).unwrap()
    }

    fn new_voter(id: u64) -> MemberChange {
        MemberChange::AddVoter {
            id: NodeId(id),
            contact: None,
        }
    }

    fn new_learner(id: u64) -> MemberChange {
        MemberChange::AddLearner {
            id: NodeId(id),
            contact: None,
        }
    }

    #[test]
    fn one_vote_needs_no_joint_configuration() {
        let plan = MembershipPlan::new(&voters(&[1, 2, 3]), &[new_voter(4)]).unwrap();
        assert_eq!(plan.joint, None);
        assert_eq!(plan.target, voters(&[1, 2, 3, 4]));
        assert_eq!((plan.quorum(), plan.failures_survived()), (3, 1));
    }

    /// R65: who is demoted votes until the joint configuration is left, and is a learner then.
    #[test]
    fn a_demoted_voter_votes_until_the_end() {
        let changes = [new_voter(4), MemberChange::Demote(NodeId(1))];
        let plan = MembershipPlan::new(&voters(&[1, 2, 3]), &changes).unwrap();
        let joint = plan.joint.unwrap();
        assert_eq!(joint.to_string(), "{2,3,4}&{1,2,3}>1");
        assert!(joint.is_voter(NodeId(1)) && joint.learners().is_empty());
        assert_eq!(leave_joint(&joint), plan.target);
        assert_eq!(plan.target.to_string(), "{2,3,4}+1");
    }

    /// R68: an id that may have been a member's before is refused, also after its owner was removed.
    #[test]
    fn ids_are_never_used_twice() {
        let three = voters(&[1, 2, 3]);
        let two = MembershipPlan::new(&three, &[MemberChange::Remove(NodeId(3))])
            .unwrap()
            .target;
        assert_eq!(two.highest_id(), NodeId(3));
        let refused = MembershipPlan::new(&two, &[new_voter(3)]);
        let (id, highest_id) = (NodeId(3), NodeId(3));
        assert_eq!(refused, Err(ChangeError::IdUsed { id, highest_id }));
        assert!(MembershipPlan::new(&two, &[new_voter(4)]).is_ok());
    }

    /// R62: what does not fit the configuration is refused by name.
    #[test]
    fn what_does_not_fit_is_refused() {
        let current = Membership::new(nodes(&[1]), vec![], nodes(&[2])).unwrap();
        let refused = |change| MembershipPlan::new(&current, &[change]).unwrap_err();
        let (one, two, nine) = (NodeId(1), NodeId(2), NodeId(9));
        assert_eq!(refused(MemberChange::Promote(one)), ChangeError::NotALearner(one));
        assert_eq!(
            refused(MemberChange::Promote(nine)),
            ChangeError::NotAMember(nine)
        );
        assert_eq!(refused(MemberChange::Demote(two)), ChangeError::NotAVoter(two));
        assert_eq!(refused(MemberChange::Remove(nine)), ChangeError::NotAMember(nine));
        assert_eq!(refused(new_voter(2)), ChangeError::AlreadyMember(two));
        assert_eq!(
            refused(MemberChange::Remove(one)),
            MembershipError::NoVoters.into()
        );
        assert_eq!(refused(new_voter(0)), MembershipError::ZeroId.into());
        let (id, highest_id) = (NodeId(u64::MAX), NodeId(2));
        assert_eq!(
            refused(new_voter(u64::MAX)),
            ChangeError::IdTooHigh { id, highest_id }
        );
        let at_once = [new_learner(3), MemberChange::Promote(NodeId(3))];
        let refused_at_once = MembershipPlan::new(&current, &at_once);
        assert_eq!(refused_at_once, Err(ChangeError::NotALearner(NodeId(3))), "R71");
        let steps = vec![new_learner(3); 300];
        assert_eq!(
            MembershipPlan::new(&current, &steps),
            Err(ChangeError::TooManySteps { steps: 300 })
        );
        assert_eq!(MembershipPlan::new(&current, &[]), Err(ChangeError::Nothing));
    }
}
