//! I20 Removed leaders: a leader that is no voter of the committed configuration steps down as soon as it has committed
//! that, or anything after it, and no configuration is ever empty (thesis §4.2.2; R64, R70). Nor does anybody campaign who is
//! no voter: it may only if it is one in the last configuration that it knows to be committed, or in a later one (R26).
//!
//! Also here, as the other way to end a leadership on purpose: a transfer that is reported as done ended with that leader in
//! that term (thesis §3.10).

use raft_core::effect::RoleKind;
use raft_core::entry::Payload;
use raft_core::status::Status;

use super::Invariant;
use crate::node::Node;
use crate::observation::{Observation, View};

/// I20.
#[derive(Debug, Default)]
pub(super) struct RemovedLeaders;

impl Invariant for RemovedLeaders {
    fn name(&self) -> &'static str {
        "I20"
    }

    fn statement(&self) -> &'static str {
        "a removed leader steps down after the commit, only voters campaign, and no configuration is empty"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::Stepped { after, .. } => {
                let node = view.nodes.get(after.id);
                match after.role {
                    RoleKind::Leader => check_leader(node, after),
                    RoleKind::PreCandidate | RoleKind::Candidate => check_candidate(node, after),
                    RoleKind::Follower => Ok(()),
                }
            }
            Observation::WriteBegun { node, write, .. } => {
                let is_empty = |payload: &Payload| matches!(payload, Payload::Membership(membership) if membership.voters().is_empty());
                let empty = write.log.entries().iter().find(|entry| is_empty(&entry.payload));
                match empty {
                    Some(entry) => Err(format!("node {node} appends {} without a voter", entry.id)),
                    None => Ok(()),
                }
            }
            Observation::TransferDone { leader, term } => {
                let led = view.history.leader_of(term);
                if led == Some(leader) {
                    return Ok(());
                }
                Err(format!(
                    "leadership was reported to be node {leader}'s in term {term}; who led that term is {led:?}"
                ))
            }
            _ => Ok(()),
        }
    }
}

fn check_leader(node: &Node, leader: &Status) -> Result<(), String> {
    let latest = &leader.membership;
    let is_over = leader.membership_index <= leader.commit_index && !latest.is_joint();
    // Before it has committed something of its own term it decides nothing, not even that it is over.
    let committed = node.issued.id_at(leader.commit_index);
    let has_own_commit = committed.is_some_and(|id| id.term == leader.term);
    if !is_over || latest.is_voter(leader.id) || !has_own_commit {
        return Ok(());
    }
    Err(format!(
        "node {} goes on leading term {}: {latest} at index {} has no vote for it, and everything up to index {} is \
         committed",
        leader.id, leader.term, leader.membership_index, leader.commit_index
    ))
}

fn check_candidate(node: &Node, candidate: &Status) -> Result<(), String> {
    // Ascending; the last one at or below the commit index is known to be committed.
    let later = node.issued.memberships().rev();
    for (index, membership) in later {
        if membership.is_voter(candidate.id) {
            return Ok(());
        }
        if index <= candidate.commit_index {
            break;
        }
    }
    Err(format!(
        "node {} campaigns in term {} as a {}, and is no voter: neither of the configuration that is committed at index {} \
         nor of a later one up to {}",
        candidate.id, candidate.term, candidate.role, candidate.commit_index, candidate.membership
    ))
}

#[cfg(test)]
mod tests {
    use raft_core::membership::Membership;
    use raft_core::types::{Index, NodeId, Term};

    use super::super::world_for_tests::{
        SmallWorld, assert_violated, configuration, entries, voters_up_to, write_of,
    };
    use super::*;

    /// Node 1 of three has a log whose second entry removes it, and is in `role`.
    fn removed(role: RoleKind, commit: u64) -> (SmallWorld, Status) {
        let mut world = SmallWorld::new(3);
        let others = Membership::of_voters([NodeId(2), NodeId(3)]).expect("it is one");
        world.store(&[1], &entries(1..=1, 1));
        world.store(&[1], &[configuration(2, 1, others.clone())]);
        let mut status = world.status(1);
        (status.role, status.term) = (role, Term(1));
        (status.membership, status.membership_index) = (others, Index(2));
        status.commit_index = Index(commit);
        (world, status)
    }

    /// I20, R64: a leader goes on until its removal is committed, and not for one step longer.
    #[test]
    fn a_removed_leader_that_goes_on_is_found() {
        let (mut world, status) = removed(RoleKind::Leader, 1);
        assert_eq!(world.step(&mut RemovedLeaders, &status, &status), Ok(()));
        let (mut world, status) = removed(RoleKind::Leader, 2);
        assert_violated(
            world.step(&mut RemovedLeaders, &status, &status),
            "node 1 goes on leading term 1: {2,3} at index 2",
        );
    }

    /// I20, R26, R70: who is removed campaigns as long as it cannot know that this is committed.
    #[test]
    fn a_removed_candidate_is_found() {
        let (mut world, status) = removed(RoleKind::Candidate, 1);
        assert_eq!(world.step(&mut RemovedLeaders, &status, &status), Ok(()));
        let (mut world, status) = removed(RoleKind::PreCandidate, 2);
        assert_violated(
            world.step(&mut RemovedLeaders, &status, &status),
            "node 1 campaigns in term 1 as a pre-candidate, and is no voter",
        );
    }

    /// I20: nobody appends a configuration without voters.
    #[test]
    fn an_empty_configuration_is_found() {
        let mut world = SmallWorld::new(3);
        let write = |membership| write_of(&[configuration(1, 1, membership)]);
        let fine = world.write(&mut RemovedLeaders, 1, RoleKind::Leader, &write(voters_up_to(2)));
        assert_eq!(fine, Ok(()));
        let empty = world.write(
            &mut RemovedLeaders,
            1,
            RoleKind::Leader,
            &write(Membership::empty()),
        );
        assert_violated(empty, "node 1 appends 1@1 without a voter");
    }

    /// I20: a transfer that is reported as done made somebody else the leader.
    #[test]
    fn a_transfer_that_did_not_happen_is_found() {
        let mut world = SmallWorld::new(3);
        let done = Observation::TransferDone {
            leader: NodeId(2),
            term: Term(3),
        };
        assert_violated(
            world.show(&mut RemovedLeaders, &done),
            "who led that term is None",
        );
        let elected = world.change_role(&mut RemovedLeaders, 2, RoleKind::Leader, 3);
        assert_eq!(elected, Ok(()));
        assert_eq!(world.show(&mut RemovedLeaders, &done), Ok(()));
    }
}
