//! I7 The commit rule: a leader commits an entry of its own term once that is stored on a majority (paper §5.3, §5.4.2,
//! Figure 8), of each half of a joint configuration (thesis §4.3), and whatever is before it with it.
//!
//! It counts disks. What a leader believes about them is no evidence.

use std::collections::BTreeMap;

use raft_core::membership::Membership;
use raft_core::types::{EntryId, NodeId};

use super::Invariant;
use super::quorums::is_quorum;
use crate::disk::LogImage;
use crate::observation::{Observation, View};

/// I7. The history keeps what each step committed first, and the configurations that the replica counted with in it.
#[derive(Debug, Default)]
pub(super) struct CommitQuorum {
    /// What disks held before they were damaged, each time: an answer of long ago may count for what was lost first.
    promised: BTreeMap<NodeId, Vec<LogImage>>,
}

impl CommitQuorum {
    /// Whether the entry is durable on a node. Who lost it since had it when it said so, and is part of no quorum before
    /// it has it again (I23).
    fn has(&self, view: &View<'_>, node: NodeId, id: EntryId) -> bool {
        if !view.nodes.contains(node) {
            return false;
        }
        let node = view.nodes.get(node);
        let had = || {
            let promised = self.promised.get(&node.id());
            promised.is_none_or(|logs| logs.iter().any(|log| log.has(id)))
        };
        node.durable().has(id) || (node.lost && had())
    }

    fn holders(&self, view: &View<'_>, id: EntryId) -> String {
        let holders = view.nodes.iter().filter(|node| self.has(view, node.id(), id));
        let names: Vec<String> = holders.map(|node| node.id().to_string()).collect();
        names.join(",")
    }

    fn stepped(&self, node: NodeId, view: &View<'_>) -> Result<(), String> {
        let committed = view.history.newly_committed();
        let Some(last) = committed.last() else {
            return Ok(());
        };
        let Some(term) = view.history.leadership_of_step() else {
            return Err(format!(
                "node {node} takes {last} for committed, which no leader has committed, and is no leader"
            ));
        };
        if last.term != term {
            return Err(format!(
                "R1: node {node} leads term {term}, and commits {last}: only an entry of the own term counts"
            ));
        }
        let memberships = view.history.step_memberships();
        for id in committed {
            let counted = |membership| is_quorum(membership, |voter| self.has(view, voter, *id));
            if !memberships.iter().any(counted) {
                return Err(format!(
                    "node {node} commits {id} in term {term}, which is on the disks of {{{}}}; the members are {}",
                    self.holders(view, *id),
                    names(memberships)
                ));
            }
        }
        Ok(())
    }
}

fn names(memberships: &[Membership]) -> String {
    let names: Vec<String> = memberships.iter().map(Membership::to_string).collect();
    names.join(", then ")
}

impl Invariant for CommitQuorum {
    fn name(&self) -> &'static str {
        "I7"
    }

    fn statement(&self) -> &'static str {
        "only a leader commits, up to an entry of its term that is durable on a quorum of disks of every active configuration"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Stepped { after, .. } => self.stepped(after.id, view),
            Observation::Damaged { node, .. } => {
                let promised = view.nodes.get(*node).promised.clone();
                self.promised.entry(*node).or_default().push(promised);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::effect::RoleKind;

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries, voters_up_to};
    use super::*;

    /// I7: a majority has the entry on its disks; that the leader's own is among them is not needed (R58).
    #[test]
    fn a_quorum_of_disks_commits() {
        let (mut world, mut invariant) = (SmallWorld::new(3), CommitQuorum::default());
        world.store(&[1, 2], &entries(1..=2, 1));
        assert_eq!(world.commit(&mut invariant, 1, 1, 2), Ok(()));
        world.store(&[3], &entries(1..=2, 1));
        world.store(&[2, 3], &entries(3..=3, 2));
        let append = world.append(&mut invariant, 1, RoleKind::Leader, &entries(3..=3, 2));
        assert_eq!(append, Ok(()));
        assert_eq!(world.commit(&mut invariant, 1, 2, 3), Ok(()));
    }

    /// I7: what is in a log need not be on the disk.
    #[test]
    fn a_quorum_of_beliefs_commits_nothing() {
        let (mut world, mut invariant) = (SmallWorld::new(3), CommitQuorum::default());
        world.store(&[1], &entries(1..=1, 1));
        let follower = RoleKind::Follower;
        assert_eq!(
            world.append(&mut invariant, 2, follower, &entries(1..=1, 1)),
            Ok(())
        );
        assert_violated(
            world.commit(&mut invariant, 1, 1, 1),
            "node 1 commits 1@1 in term 1, which is on the disks of {1}; the members are {1,2,3}",
        );
    }

    /// R1: an entry of an earlier term is on a majority (Figure 8).
    #[test]
    fn an_entry_of_an_earlier_term_is_not_committed_by_counting() {
        let (mut world, mut invariant) = (SmallWorld::new(3), CommitQuorum::default());
        world.store(&[1, 2, 3], &entries(1..=1, 1));
        assert_violated(
            world.commit(&mut invariant, 1, 2, 1),
            "R1: node 1 leads term 2, and commits 1@1",
        );
    }

    /// I7: a follower is the first to believe it.
    #[test]
    fn a_follower_commits_nothing() {
        let (mut world, mut invariant) = (SmallWorld::new(3), CommitQuorum::default());
        world.store(&[1, 2, 3], &entries(1..=1, 1));
        let (before, mut after) = (world.status(2), world.status(2));
        after.commit_index.0 = 1;
        assert_violated(
            world.step(&mut invariant, &before, &after),
            "node 2 takes 1@1 for committed",
        );
    }

    /// I7: a joint configuration needs a majority of both halves.
    #[test]
    fn half_of_a_joint_quorum_commits_nothing() {
        let (mut world, mut invariant) = (SmallWorld::new(5), CommitQuorum::default());
        let outgoing = voters_up_to(3).voters().to_vec();
        let incoming = vec![NodeId(3), NodeId(4), NodeId(5)];
        let joint = Membership::new(incoming, outgoing, Vec::new()).unwrap();
        world.store(&[1, 2, 3], &entries(1..=1, 1));
        let (mut before, mut after) = world.commit_statuses(1, 1, 1);
        before.membership = joint.clone();
        after.membership = joint;
        assert_violated(
            world.step(&mut invariant, &before, &after),
            "on the disks of {1,2,3}; the members are {3,4,5}&{1,2,3}",
        );
    }

    /// R68: who lost an entry had it; who never had it is not counted for having lost something else.
    #[test]
    fn a_lost_entry_was_there() {
        let (mut world, mut invariant) = (SmallWorld::new(3), CommitQuorum::default());
        world.store(&[1, 2], &entries(1..=2, 1));
        let node = world.nodes.get_mut(NodeId(2));
        node.promised = node.durable().clone();
        node.lost = true;
        world.replace_disks(2, &[]);
        let damaged = Observation::Damaged {
            node: NodeId(2),
            what: "everything",
        };
        assert_eq!(world.show(&mut invariant, &damaged), Ok(()));
        assert_eq!(world.commit(&mut invariant, 1, 1, 2), Ok(()));
        world.store(&[1], &entries(3..=3, 1));
        assert_violated(world.commit(&mut invariant, 1, 1, 3), "on the disks of {1}");
    }
}
