//! I12 The marks of a replica are in order: purged ≤ durable snapshot ≤ applied ≤ commit ≤ last (paper §7: a snapshot covers
//! committed entries only, and the log is discarded up to it; Figure 2: commitIndex and lastApplied).
//!
//! One exception: a received snapshot replaces the log before it replaces the state (paper §7, Figure 13). Until then the
//! log begins above what is applied.

use std::collections::BTreeMap;

use raft_core::effect::LogChange;
use raft_core::status::Status;
use raft_core::types::{EntryId, Index, NodeId};

use super::Invariant;
use crate::disk::LogImage;
use crate::observation::{Observation, View};

/// I12.
#[derive(Debug, Default)]
pub(super) struct MarksInOrder {
    /// What each state machine really applied last.
    reached: BTreeMap<NodeId, Index>,
    /// Received snapshots that are not the state yet.
    restoring: BTreeMap<NodeId, EntryId>,
}

impl MarksInOrder {
    fn reached(&self, node: NodeId) -> Index {
        self.reached.get(&node).copied().unwrap_or_default()
    }

    fn stepped(&self, after: &Status) -> Result<(), String> {
        let node = after.id;
        let purged = after.first_index.previous();
        in_order(
            node,
            ("it purged", purged),
            ("its snapshot ends at", after.snapshot.index),
        )?;
        in_order(
            node,
            ("its snapshot ends at", after.snapshot.index),
            ("it committed", after.commit_index),
        )?;
        in_order(
            node,
            ("it committed", after.commit_index),
            ("its log ends at", after.appended_index),
        )?;
        if self.restoring.contains_key(&node) {
            return Ok(());
        }
        in_order(node, ("it purged", purged), ("it applied", after.applied_index))
    }

    fn compacted(&self, node: NodeId, through: EntryId, view: &View<'_>) -> Result<(), String> {
        let machine = view.nodes.get(node);
        let snapshot = machine.durable().snapshot.last;
        in_order(
            node,
            ("it purges", through.index),
            ("its durable snapshot ends at", snapshot.index),
        )?;
        in_order(
            node,
            ("it purges", through.index),
            ("its state machine applied", self.reached(node)),
        )?;
        let own = machine.issued.id_at(through.index);
        if own != Some(through) || view.history.committed_at(through.index) != own {
            return Err(format!(
                "node {node} purges its log up to {through}, its log has {own:?} there, and {:?} was committed",
                view.history.committed_at(through.index)
            ));
        }
        Ok(())
    }
}

fn in_order(node: NodeId, lower: (&str, Index), upper: (&str, Index)) -> Result<(), String> {
    if lower.1 <= upper.1 {
        return Ok(());
    }
    Err(format!(
        "node {node}: {} {}, and {} {}",
        lower.0, lower.1, upper.0, upper.1
    ))
}

/// What is on a disk is in order as well. R59: the commit index is not stored above the last entry.
fn check_disk(node: NodeId, disk: &LogImage) -> Result<(), String> {
    let (snapshot, last) = (disk.snapshot.last.index, disk.last().index);
    let ends = ("the snapshot on its disk ends at", snapshot);
    in_order(node, ("its disk is purged up to", disk.purged.index), ends)?;
    in_order(node, ends, ("the log on its disk at", last))?;
    let commit = ("R59: the commit index on its disk is", disk.hard_state.commit);
    in_order(node, commit, ("the log there ends at", last))
}

impl Invariant for MarksInOrder {
    fn name(&self) -> &'static str {
        "I12"
    }

    fn statement(&self) -> &'static str {
        "purged ≤ durable snapshot ≤ applied ≤ commit ≤ last"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Stepped { after, .. } => self.stepped(after),
            Observation::WriteBegun { node, write, .. } => {
                if let (LogChange::Reset(_), Some(snapshot)) = (&write.log, &write.snapshot) {
                    self.restoring.insert(*node, snapshot.last);
                }
                Ok(())
            }
            Observation::WriteDurable { node, .. } => check_disk(*node, view.nodes.get(*node).durable()),
            Observation::Compacted { node, through } => self.compacted(*node, *through, view),
            Observation::SnapshotCreated { node, meta, .. } => in_order(
                *node,
                ("it made a snapshot that ends at", meta.last.index),
                ("its state machine applied", self.reached(*node)),
            ),
            Observation::StateReached { node, last, .. } => {
                self.reached.insert(*node, last.index);
                Ok(())
            }
            Observation::SnapshotRestored { node, meta, .. } => {
                self.reached.insert(*node, meta.last.index);
                if self.restoring.get(node) == Some(&meta.last) {
                    self.restoring.remove(node);
                }
                Ok(())
            }
            Observation::Started { node, applied, .. } => {
                self.restoring.remove(node);
                self.reached.insert(*node, applied.index);
                let disk = view.nodes.get(*node).durable();
                check_disk(*node, disk)?;
                let purged = ("its disk is purged up to", disk.purged.index);
                in_order(*node, purged, ("its state machine starts at", applied.index))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::effect::{RoleKind, Write};
    use raft_core::message::SnapshotMeta;
    use raft_core::traits::GroupWrite;
    use raft_core::types::{GroupId, HardState};

    use super::super::world_for_tests::{
        Nothing, SmallWorld, assert_violated, entries, id, voters_up_to, write_of,
    };
    use super::*;

    fn snapshot(last: EntryId) -> SnapshotMeta {
        SnapshotMeta {
            last,
            membership: voters_up_to(3),
        }
    }

    fn reach(world: &mut SmallWorld, invariant: &mut MarksInOrder, index: u64) {
        let seen = Observation::StateReached {
            node: NodeId(1),
            last: id(index, 1),
            responses: &[],
            state_hash: None,
        };
        assert_eq!(world.show(invariant, &seen), Ok(()));
    }

    /// Node 1 has five entries, three of which are committed and applied.
    fn world(invariant: &mut MarksInOrder) -> SmallWorld {
        let mut world = SmallWorld::new(3);
        world.store(&[1, 2], &entries(1..=5, 1));
        assert_eq!(world.commit(&mut Nothing, 1, 1, 3), Ok(()));
        reach(&mut world, invariant, 3);
        world
    }

    fn keep_snapshot(world: &mut SmallWorld, last: EntryId) {
        let storage = &mut world.nodes.get_mut(NodeId(1)).storage;
        assert_eq!(storage.save_snapshot(&snapshot(last), Bytes::new()), Ok(()));
        let write = Write {
            snapshot: Some(snapshot(last)),
            ..write_of(&[])
        };
        assert_eq!(world.write(&mut Nothing, 1, RoleKind::Follower, &write), Ok(()));
        world.sync(1);
    }

    fn compact(world: &mut SmallWorld, invariant: &mut MarksInOrder, through: EntryId) -> Result<(), String> {
        let node = NodeId(1);
        world.show(invariant, &Observation::Compacted { node, through })
    }

    fn status(world: &SmallWorld) -> Status {
        let mut status = world.status(1);
        (status.applied_index, status.commit_index) = (Index(3), Index(3));
        status
    }

    /// I12: a snapshot is taken, made durable, and then the log is purged.
    #[test]
    fn marks_in_order_are_fine() {
        let mut invariant = MarksInOrder::default();
        let mut world = world(&mut invariant);
        let created = Observation::SnapshotCreated {
            node: NodeId(1),
            meta: &snapshot(id(3, 1)),
            content_hash: 0,
        };
        assert_eq!(world.show(&mut invariant, &created), Ok(()));
        keep_snapshot(&mut world, id(3, 1));
        assert_eq!(compact(&mut world, &mut invariant, id(2, 1)), Ok(()));
        world.compact(1, id(2, 1));
        let status = status(&world);
        assert_eq!(world.step(&mut invariant, &status, &status), Ok(()));
    }

    /// I12: more is purged than a durable snapshot covers, or than was committed there.
    #[test]
    fn purging_too_much_is_found() {
        let mut invariant = MarksInOrder::default();
        let mut world = world(&mut invariant);
        assert_violated(
            compact(&mut world, &mut invariant, id(2, 1)),
            "node 1: it purges 2, and its durable snapshot ends at 0",
        );
        keep_snapshot(&mut world, id(3, 1));
        assert_violated(
            compact(&mut world, &mut invariant, id(2, 9)),
            "node 1 purges its log up to 2@9",
        );
        keep_snapshot(&mut world, id(5, 1));
        assert_violated(
            compact(&mut world, &mut invariant, id(4, 1)),
            "node 1: it purges 4, and its state machine applied 3",
        );
    }

    /// I12: a snapshot of more than was applied; a state machine that starts below its log.
    #[test]
    fn a_state_that_is_behind_is_found() {
        let mut invariant = MarksInOrder::default();
        let mut world = world(&mut invariant);
        let created = Observation::SnapshotCreated {
            node: NodeId(1),
            meta: &snapshot(id(4, 1)),
            content_hash: 0,
        };
        assert_violated(
            world.show(&mut invariant, &created),
            "node 1: it made a snapshot that ends at 4, and its state machine applied 3",
        );
        keep_snapshot(&mut world, id(3, 1));
        world.compact(1, id(3, 1));
        let started = Observation::Started {
            node: NodeId(1),
            recovered: &raft_core::traits::Recovered::default(),
            applied: id(2, 1),
            promised: &LogImage::default(),
            is_suspicious: false,
        };
        assert_violated(
            world.show(&mut invariant, &started),
            "node 1: its disk is purged up to 3, and its state machine starts at 2",
        );
    }

    /// I12: each pair of marks out of order.
    #[test]
    fn marks_out_of_order_are_found() {
        let mut invariant = MarksInOrder::default();
        let mut world = world(&mut invariant);
        let good = status(&world);
        let mut purged = good.clone();
        purged.first_index = Index(2);
        assert_violated(
            world.step(&mut invariant, &good, &purged),
            "it purged 1, and its snapshot ends at 0",
        );
        let mut snapshot = good.clone();
        snapshot.snapshot = id(4, 1);
        assert_violated(
            world.step(&mut invariant, &good, &snapshot),
            "its snapshot ends at 4, and it committed 3",
        );
        let mut commit = good.clone();
        commit.commit_index = Index(6);
        assert_violated(
            world.step(&mut invariant, &good, &commit),
            "it committed 6, and its log ends at 5",
        );
    }

    /// Paper §7: a received snapshot replaces the log first, then the state.
    #[test]
    fn a_received_snapshot_is_ahead_of_the_state_until_it_is_restored() {
        let mut invariant = MarksInOrder::default();
        let mut world = world(&mut invariant);
        let mut status = status(&world);
        (status.snapshot, status.first_index) = (id(9, 1), Index(10));
        (status.commit_index, status.appended_index) = (Index(9), Index(9));
        assert_violated(
            world.step(&mut invariant, &status, &status),
            "it purged 9, and it applied 3",
        );
        let reset = Write {
            snapshot: Some(snapshot(id(9, 1))),
            log: LogChange::Reset(Vec::new()),
            ..write_of(&[])
        };
        assert_eq!(world.write(&mut invariant, 1, RoleKind::Follower, &reset), Ok(()));
        assert_eq!(world.step(&mut invariant, &status, &status), Ok(()));
        let restored = Observation::SnapshotRestored {
            node: NodeId(1),
            meta: &snapshot(id(9, 1)),
            content_hash: 0,
        };
        assert_eq!(world.show(&mut invariant, &restored), Ok(()));
        assert_violated(
            world.step(&mut invariant, &status, &status),
            "it purged 9, and it applied 3",
        );
    }

    /// R59: the disk says that more is committed than it has.
    #[test]
    fn a_stored_commit_index_above_the_log_is_found() {
        let mut invariant = MarksInOrder::default();
        let mut world = world(&mut invariant);
        let write = Write {
            hard_state: Some(HardState {
                commit: Index(6),
                ..HardState::default()
            }),
            ..write_of(&[])
        };
        assert_eq!(world.write(&mut Nothing, 1, RoleKind::Follower, &write), Ok(()));
        world.sync(1);
        let durable = Observation::WriteDurable {
            node: NodeId(1),
            before: HardState::default(),
            change: &GroupWrite::new(GroupId(1), &write),
        };
        assert_violated(
            world.show(&mut invariant, &durable),
            "R59: the commit index on its disk is 6, and the log there ends at 5",
        );
    }
}
