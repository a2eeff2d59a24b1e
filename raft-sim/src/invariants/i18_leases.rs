//! I18 Leases: at no true instant would two replicas answer a read at once, nor one with less than is committed, as long as
//! clocks drift by no more than the replicas were told (thesis §6.4.1; R33, R34, R42).
//!
//! It matters only while two replicas lead. Then each of them is copied, and the copy is asked: what it would answer now
//! counts, whether anybody asks or not. A lease begins with a step of its leader and newer entries are committed by one,
//! so it is enough to look when a leader has stepped.

use std::collections::BTreeSet;

use raft_core::effect::{Effect, RoleKind};
use raft_core::input::Input;
use raft_core::types::{Index, NodeId, Ticket};

use super::Invariant;
use crate::node::Node;
use crate::observation::{Observation, View};

/// I18.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leaders: BTreeSet<NodeId>,
}

impl Invariant for Leases {
    fn name(&self) -> &'static str {
        "I18"
    }

    fn statement(&self) -> &'static str {
        "at most one lease is valid at any true instant while clocks keep their bound"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::RoleChanged { node, change } if change.to == RoleKind::Leader => {
                self.leaders.insert(node);
            }
            Observation::RoleChanged { node, .. } | Observation::Stopped { node } => {
                self.leaders.remove(&node);
            }
            Observation::Stepped { after, .. }
                if after.role == RoleKind::Leader && self.leaders.len() > 1 && view.clocks_in_bounds =>
            {
                return self.ask_all(view);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Leases {
    fn ask_all(&self, view: &View<'_>) -> Result<(), String> {
        let committed = view.history.commit();
        let mut first: Option<NodeId> = None;
        for id in &self.leaders {
            let node = view.nodes.get(*id);
            let Some(index) = would_answer(node, view) else {
                continue;
            };
            let term = node.status().map_or(0, |status| status.term.0);
            if index < committed {
                return Err(format!(
                    "node {id} leads term {term} and would answer a read at once at index {index}; {committed} is \
                     committed"
                ));
            }
            if let Some(first) = first {
                return Err(format!(
                    "nodes {first} and {id} lead, and both would answer a read at once, the latter in term {term}"
                ));
            }
            first = Some(*id);
        }
        Ok(())
    }
}

/// The index at which a replica would answer a read at this very moment; none if it would ask others first.
pub(super) fn would_answer(node: &Node, view: &View<'_>) -> Option<Index> {
    let mut copy = node.process.as_ref()?.driver.raft().clone();
    let mut effects = Vec::new();
    let ticket = Ticket(u64::MAX);
    copy.step(
        view.machines.get(node.id()).clock.at(view.now),
        Input::Read(vec![ticket]),
        &mut effects,
    );
    effects.into_iter().find_map(|effect| match effect {
        Effect::ReadConfirmed {
            ticket: answered,
            index,
        } if answered == ticket => Some(index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use raft_core::membership::Membership;

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries};
    use super::*;

    /// Two nodes each of which was told that it founds a group of its own: both lead, and ask nobody.
    fn two_leaders() -> (SmallWorld, Leases) {
        let (mut world, mut leases) = (SmallWorld::new(2), Leases::default());
        for node in [1, 2] {
            let alone = Membership::of_voters([NodeId(node)]).expect("it is one");
            world.found(node, alone);
            world.start(node);
            world.drive(node, vec![Input::Campaign]);
            assert_eq!(world.change_role(&mut leases, node, RoleKind::Leader, 1), Ok(()));
        }
        (world, leases)
    }

    fn look(world: &mut SmallWorld, leases: &mut Leases) -> Result<(), String> {
        let status = world.nodes.get(NodeId(1)).status().expect("it runs").clone();
        assert_eq!(status.role, RoleKind::Leader);
        world.step(leases, &status, &status)
    }

    /// I18: two nodes that would answer at once are found, as long as clocks are as good as promised.
    #[test]
    fn two_that_would_answer_at_once_are_found() {
        let (mut world, mut leases) = two_leaders();
        assert_violated(
            look(&mut world, &mut leases),
            "nodes 1 and 2 lead, and both would answer",
        );
        world.clocks_in_bounds = false;
        assert_eq!(look(&mut world, &mut leases), Ok(()));
    }

    /// I18: one that would answer with less than is committed is found, and one alone may.
    #[test]
    fn an_old_answer_is_found() {
        let (mut world, mut leases) = two_leaders();
        let stepped_down = world.change_role(&mut leases, 2, RoleKind::Follower, 1);
        assert_eq!(stepped_down, Ok(()));
        assert_eq!(look(&mut world, &mut leases), Ok(()), "only one leads");
        let (mut world, mut leases) = two_leaders();
        world.store(&[2], &entries(1..=5, 1));
        assert_eq!(
            world.commit(&mut super::super::world_for_tests::Nothing, 2, 1, 5),
            Ok(())
        );
        assert_violated(look(&mut world, &mut leases), "at index 1; 5 is committed");
    }
}
