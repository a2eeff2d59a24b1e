//! I9 Entries are applied in log order, each once, when they are committed (paper §5.3, Figure 2: "if commitIndex >
//! lastApplied: increment lastApplied, apply log[lastApplied]").

use std::collections::BTreeMap;

use raft_core::status::Status;
use raft_core::types::{EntryId, NodeId};

use super::Invariant;
use crate::observation::{Observation, View};

/// I9.
#[derive(Debug, Default)]
pub(super) struct ApplyInOrder {
    /// What each state machine really applied last.
    applied: BTreeMap<NodeId, EntryId>,
}

impl ApplyInOrder {
    fn last(&self, node: NodeId) -> EntryId {
        self.applied.get(&node).copied().unwrap_or_default()
    }

    /// What a replica says that it applied, it did.
    fn stepped(&self, after: &Status) -> Result<(), String> {
        let node = after.id;
        let last = self.last(node);
        if after.applied_index > after.commit_index {
            return Err(format!(
                "node {node} applied {}, and knows what is committed up to {} only",
                after.applied_index, after.commit_index
            ));
        }
        if after.applied_index > last.index {
            return Err(format!(
                "node {node} says that it applied {}, and its state machine is at {last}",
                after.applied_index
            ));
        }
        Ok(())
    }
}

impl Invariant for ApplyInOrder {
    fn name(&self) -> &'static str {
        "I9"
    }

    fn statement(&self) -> &'static str {
        "entries are applied in steps of one, each once per incarnation, and none that is not committed"
    }

    fn observe(&mut self, seen: &Observation<'_>, _view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Applied { node, entry, .. } => {
                let last = self.last(*node);
                if entry.index() != last.index.next() || entry.term() < last.term {
                    return Err(format!("node {node} applies {} right after {last}", entry.id));
                }
                self.applied.insert(*node, entry.id);
                Ok(())
            }
            Observation::StateReached { node, last, .. } => {
                let applied = self.last(*node);
                if last.index <= applied.index && last.term <= applied.term {
                    return Ok(());
                }
                Err(format!(
                    "the state machine of node {node} says that it is at {last}, and it was given what is up to {applied}"
                ))
            }
            Observation::Started { node, applied, .. } => {
                self.applied.insert(*node, *applied);
                Ok(())
            }
            Observation::SnapshotRestored { node, meta, .. } => {
                self.applied.insert(*node, meta.last);
                Ok(())
            }
            Observation::Stepped { after, .. } => self.stepped(after),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::message::SnapshotMeta;
    use raft_core::sessions::Reply;
    use raft_core::types::Index;

    use super::super::world_for_tests::{SmallWorld, assert_violated, command, id, voters_up_to};
    use super::*;

    fn apply(world: &mut SmallWorld, invariant: &mut ApplyInOrder, index: u64) -> Result<(), String> {
        let (node, entry, reply) = (NodeId(1), &command(index, 1, "x"), &Ok(Reply::default()));
        world.show(invariant, &Observation::Applied { node, entry, reply })
    }

    fn reach(world: &mut SmallWorld, invariant: &mut ApplyInOrder, index: u64) -> Result<(), String> {
        let seen = Observation::StateReached {
            node: NodeId(1),
            last: id(index, 1),
            responses: &[],
            state_hash: None,
        };
        world.show(invariant, &seen)
    }

    fn step(
        world: &mut SmallWorld,
        applied: u64,
        commit: u64,
        invariant: &mut ApplyInOrder,
    ) -> Result<(), String> {
        let mut after = world.status(1);
        (after.applied_index, after.commit_index) = (Index(applied), Index(commit));
        world.step(invariant, &after, &after)
    }

    /// I9: one after the other, or all at once by a snapshot.
    #[test]
    fn applying_in_order_is_fine() {
        let (mut world, mut invariant) = (SmallWorld::new(3), ApplyInOrder::default());
        assert_eq!(apply(&mut world, &mut invariant, 1), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, 2), Ok(()));
        assert_eq!(reach(&mut world, &mut invariant, 2), Ok(()));
        assert_eq!(step(&mut world, 2, 2, &mut invariant), Ok(()));
        let meta = &SnapshotMeta {
            last: id(7, 1),
            membership: voters_up_to(3),
        };
        let restored = Observation::SnapshotRestored {
            node: NodeId(1),
            meta,
            content_hash: 0,
        };
        assert_eq!(world.show(&mut invariant, &restored), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, 8), Ok(()));
    }

    /// I9: an entry is left out, or applied twice.
    #[test]
    fn another_order_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), ApplyInOrder::default());
        assert_eq!(apply(&mut world, &mut invariant, 1), Ok(()));
        let again = apply(&mut world, &mut invariant, 1);
        assert_violated(again, "node 1 applies 1@1 right after 1@1");
        let skipped = apply(&mut world, &mut invariant, 3);
        assert_violated(skipped, "node 1 applies 3@1 right after 1@1");
        let elsewhere = reach(&mut world, &mut invariant, 2);
        assert_violated(
            elsewhere,
            "says that it is at 2@1, and it was given what is up to 1@1",
        );
    }

    /// I9: a replica believes that more was applied than was, or than is committed.
    #[test]
    fn a_wrong_belief_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), ApplyInOrder::default());
        assert_eq!(apply(&mut world, &mut invariant, 1), Ok(()));
        let ahead = step(&mut world, 2, 2, &mut invariant);
        assert_violated(ahead, "says that it applied 2, and its state machine is at 1@1");
        let uncommitted = step(&mut world, 1, 0, &mut invariant);
        assert_violated(
            uncommitted,
            "node 1 applied 1, and knows what is committed up to 0 only",
        );
    }
}
