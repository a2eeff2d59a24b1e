//! I5 Log Matching: if two logs have an entry with the same index and term, they are identical in all entries up through
//! it (paper §5.3, Figure 3).
//!
//! Every entry is hashed together with everything before it. So one comparison per entry compares whole prefixes.

use raft_core::effect::LogChange;
use raft_core::types::{EntryId, NodeId, Term};

use super::Invariant;
use crate::disk::LogImage;
use crate::history::{chained, predecessor};
use crate::observation::{Observation, View};

/// I5. The history keeps each entry as it was seen first.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// Room to encode an entry.
    scratch: Vec<u8>,
}

impl LogMatching {
    /// What is appended continues the log, with terms that do not fall, and is what everybody else has by that name.
    fn appended(
        &mut self,
        node: NodeId,
        prev: EntryId,
        change: &LogChange,
        view: &View<'_>,
    ) -> Result<(), String> {
        let mut prev = prev;
        for entry in change.entries() {
            if entry.index() != prev.index.next() || entry.term() < prev.term || entry.term() == Term::ZERO {
                return Err(format!("node {node} appends {} right after {prev}", entry.id));
            }
            let before = view.history.chain_of(prev);
            let Some((before, known)) = before.zip(view.history.entry(entry.id)) else {
                return Err(format!(
                    "node {node} appends {} after {prev}, which nobody ever appended",
                    entry.id
                ));
            };
            if known.prev != prev {
                return Err(format!(
                    "node {node} appends {} right after {prev}, elsewhere it follows {}",
                    entry.id, known.prev
                ));
            }
            if known.chain != chained(before, entry, &mut self.scratch) {
                return Err(format!(
                    "node {node} appends another {} than was appended elsewhere, after the same {prev}",
                    entry.id
                ));
            }
            prev = entry.id;
        }
        Ok(())
    }
}

/// A log that was recovered consists of entries that were appended, each after the one that it was appended after.
fn check_recovered(node: NodeId, log: &LogImage, view: &View<'_>) -> Result<(), String> {
    let mut prev = log.purged;
    for id in &log.ids {
        if view.history.entry(*id).is_none_or(|known| known.prev != prev) {
            return Err(format!(
                "node {node} recovered {id} right after {prev}, and no log ever was so"
            ));
        }
        prev = *id;
    }
    Ok(())
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "I5"
    }

    fn statement(&self) -> &'static str {
        "logs that have an entry with the same index and term are identical up to it, and have no gap"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::WriteBegun { node, log, write, .. } => {
                let Some(first) = write.log.entries().first() else {
                    return Ok(());
                };
                let begins_in_log = log.id_at(first.index().previous()).is_some();
                if matches!(write.log, LogChange::Append(_)) && !begins_in_log {
                    return Err(format!(
                        "R12: node {node} appends {}, and its log has no entry before that: it holds what is above {} \
                         up to {}",
                        first.id,
                        log.purged,
                        log.last()
                    ));
                }
                self.appended(*node, predecessor(log, write), &write.log, view)
            }
            Observation::Started { node, .. } => {
                check_recovered(*node, view.nodes.get(*node).durable(), view)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::effect::{RoleKind, Write};
    use raft_core::message::SnapshotMeta;
    use raft_core::traits::Recovered;

    use super::super::world_for_tests::{
        SmallWorld, assert_violated, command, entries, id, voters_up_to, write_of,
    };
    use super::*;

    fn append(world: &mut SmallWorld, node: u64, entries: &[raft_core::entry::Entry]) -> Result<(), String> {
        world.append(&mut LogMatching::default(), node, RoleKind::Follower, entries)
    }

    fn start(world: &mut SmallWorld, node: u64) -> Result<(), String> {
        let promised = &world.nodes.get(NodeId(node)).durable().clone();
        let seen = Observation::Started {
            node: NodeId(node),
            recovered: &Recovered::default(),
            applied: EntryId::ZERO,
            promised,
            is_suspicious: false,
        };
        world.show(&mut LogMatching::default(), &seen)
    }

    /// I5: the same entries after the same entries, in whatever pieces they arrive.
    #[test]
    fn equal_logs_match() {
        let mut world = SmallWorld::new(3);
        assert_eq!(append(&mut world, 1, &entries(1..=4, 1)), Ok(()));
        assert_eq!(append(&mut world, 2, &entries(1..=2, 1)), Ok(()));
        assert_eq!(append(&mut world, 2, &entries(3..=4, 1)), Ok(()));
        assert_eq!(append(&mut world, 3, &entries(1..=2, 1)), Ok(()));
        assert_eq!(append(&mut world, 3, &entries(3..=3, 2)), Ok(()));
        assert_eq!(append(&mut world, 2, &entries(3..=3, 2)), Ok(()));
    }

    /// I5: what follows a snapshot follows the entry that it ends with.
    #[test]
    fn entries_after_a_snapshot_match() {
        let mut world = SmallWorld::new(3);
        assert_eq!(append(&mut world, 1, &entries(1..=4, 1)), Ok(()));
        let write = Write {
            snapshot: Some(SnapshotMeta {
                last: id(3, 1),
                membership: voters_up_to(3),
            }),
            log: LogChange::Reset(entries(4..=4, 1)),
            ..write_of(&[])
        };
        let written = world.write(&mut LogMatching::default(), 2, RoleKind::Follower, &write);
        assert_eq!(written, Ok(()));
    }

    /// I5: one id, two contents.
    #[test]
    fn an_entry_with_another_content_is_found() {
        let mut world = SmallWorld::new(3);
        assert_eq!(append(&mut world, 1, &[command(1, 1, "a")]), Ok(()));
        assert_violated(
            append(&mut world, 2, &[command(1, 1, "b")]),
            "node 2 appends another 1@1 than was appended elsewhere",
        );
    }

    /// I5: the entry is the same, and what is before it is not.
    #[test]
    fn an_entry_after_another_one_is_found() {
        let mut world = SmallWorld::new(3);
        assert_eq!(append(&mut world, 1, &entries(1..=1, 1)), Ok(()));
        assert_eq!(append(&mut world, 1, &entries(2..=2, 3)), Ok(()));
        assert_eq!(append(&mut world, 2, &entries(1..=1, 2)), Ok(()));
        assert_violated(
            append(&mut world, 2, &entries(2..=2, 3)),
            "node 2 appends 2@3 right after 1@2, elsewhere it follows 1@1",
        );
    }

    /// R12: a gap, and terms that fall.
    #[test]
    fn a_gap_is_found() {
        let mut world = SmallWorld::new(3);
        assert_eq!(append(&mut world, 1, &entries(1..=3, 2)), Ok(()));
        assert_violated(
            append(&mut world, 2, &entries(3..=3, 2)),
            "R12: node 2 appends 3@2",
        );
        assert_violated(
            append(&mut world, 1, &entries(4..=4, 1)),
            "node 1 appends 4@1 right after 3@2",
        );
        let gap = [command(4, 2, "x"), command(6, 2, "x")];
        assert_violated(append(&mut world, 1, &gap), "node 1 appends 6@2 right after 4@2");
    }

    /// I5: a log that nobody wrote is recovered.
    #[test]
    fn a_recovered_log_that_never_was_is_found() {
        let mut world = SmallWorld::new(3);
        world.store(&[1], &entries(1..=3, 1));
        assert_eq!(start(&mut world, 1), Ok(()));
        world.replace_disks(1, &[command(1, 1, "x"), command(2, 2, "x")]);
        assert_violated(start(&mut world, 1), "node 1 recovered 2@2 right after 1@1");
    }
}
