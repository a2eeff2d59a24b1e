//! I21 Snapshots: a snapshot that ends at an index is the fold of the log up to there, and installing one never moves commit
//! or applied back (paper §7, Figure 13; R46, R47, R54).
//!
//! Every snapshot with the same last entry has the same content, whoever made it of its own log; what is restored is one of
//! these; it carries the configuration that was in force there; and it replaces a log only if that log lacks its last entry.
//! A state machine must therefore write equal states as equal bytes.

use std::collections::HashMap;

use raft_core::effect::{LogChange, Write};
use raft_core::message::SnapshotMeta;
use raft_core::status::Status;
use raft_core::types::{EntryId, NodeId};

use super::Invariant;
use crate::disk::LogImage;
use crate::observation::{Observation, View};

/// I21.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The content of each snapshot, and who made it first.
    created: HashMap<EntryId, (u64, NodeId)>,
}

impl Invariant for Snapshots {
    fn name(&self) -> &'static str {
        "I21"
    }

    fn statement(&self) -> &'static str {
        "a snapshot is the fold of the log to its last entry, and installing it never moves commit or applied back"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::SnapshotCreated {
                node,
                meta,
                content_hash,
            } => self.created(node, meta, content_hash, view),
            Observation::SnapshotRestored {
                node,
                meta,
                content_hash,
            } => self.restored(node, meta, content_hash, view),
            Observation::WriteBegun { node, log, write, .. } => check_install(node, log, write),
            Observation::Stepped { before, after } => check_marks(before, after),
            _ => Ok(()),
        }
    }
}

impl Snapshots {
    fn created(
        &mut self,
        node: NodeId,
        meta: &SnapshotMeta,
        content: u64,
        view: &View<'_>,
    ) -> Result<(), String> {
        check_meta("made", node, meta, view)?;
        let (known, first) = *self.created.entry(meta.last).or_insert((content, node));
        if known == content || !view.snapshots_are_equal {
            return Ok(());
        }
        Err(format!(
            "nodes {first} and {node} made different snapshots of the same log up to {}",
            meta.last
        ))
    }

    fn restored(
        &self,
        node: NodeId,
        meta: &SnapshotMeta,
        content: u64,
        view: &View<'_>,
    ) -> Result<(), String> {
        check_meta("restored", node, meta, view)?;
        match self.created.get(&meta.last) {
            Some((known, _)) if *known == content || !view.snapshots_are_equal => {}
            Some((_, first)) => {
                return Err(format!(
                    "node {node} restored a snapshot up to {} that is not the one which node {first} made",
                    meta.last
                ));
            }
            None => {
                return Err(format!(
                    "node {node} restored a snapshot up to {} that nobody made",
                    meta.last
                ));
            }
        }
        let applied = view.nodes.get(node).status().map(|status| status.applied_index);
        match applied.filter(|applied| *applied > meta.last.index) {
            Some(applied) => Err(format!(
                "node {node} had applied index {applied} and restored a snapshot that ends at {}",
                meta.last
            )),
            None => Ok(()),
        }
    }
}

/// The last entry of a snapshot is committed, and it carries the configuration in force there.
fn check_meta(what: &str, node: NodeId, meta: &SnapshotMeta, view: &View<'_>) -> Result<(), String> {
    let last = meta.last;
    let committed = view.history.committed_at(last.index);
    if committed != Some(last) {
        return Err(format!(
            "node {node} {what} a snapshot up to {last}; committed at that index is {committed:?}"
        ));
    }
    let in_force = view.history.configuration_at(last.index);
    if *in_force == meta.membership {
        return Ok(());
    }
    Err(format!(
        "node {node} {what} a snapshot up to {last} with the configuration {}; in force there is {in_force}",
        meta.membership
    ))
}

/// A snapshot replaces a log only if it is ahead of what is committed there, and the log has no such entry.
fn check_install(node: NodeId, log: &LogImage, write: &Write) -> Result<(), String> {
    let (LogChange::Reset(_), Some(meta)) = (&write.log, &write.snapshot) else {
        return Ok(());
    };
    let last = meta.last;
    let commit = log
        .hard_state
        .commit
        .max(log.purged.index)
        .max(log.snapshot.last.index);
    if last.index <= commit {
        return Err(format!(
            "node {node} replaces its log by a snapshot up to {last}; it knew index {commit} to be committed"
        ));
    }
    if log.id_at(last.index) == Some(last) {
        return Err(format!(
            "node {node} replaces its log, which goes on to {}, by a snapshot up to {last}, which it has",
            log.last()
        ));
    }
    if meta.membership.is_former_member(node) {
        return Err(format!(
            "node {node} installs a snapshot up to {last} of a group that has gone on without it: {}",
            meta.membership
        ));
    }
    Ok(())
}

fn check_marks(before: &Status, after: &Status) -> Result<(), String> {
    let marks = [
        ("commit index", before.commit_index, after.commit_index),
        ("applied index", before.applied_index, after.applied_index),
        ("snapshot", before.snapshot.index, after.snapshot.index),
    ];
    match marks.into_iter().find(|(_, before, after)| after < before) {
        Some((mark, before, now)) => Err(format!(
            "the {mark} of node {} fell from {before} to {now} in term {}",
            after.id, after.term
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::effect::RoleKind;
    use raft_core::types::Index;

    use super::super::world_for_tests::{
        Nothing, SmallWorld, assert_violated, entries, id, voters_up_to, write_of,
    };
    use super::*;

    /// Three nodes have five entries, which are committed.
    fn committed() -> (SmallWorld, Snapshots) {
        let mut world = SmallWorld::new(3);
        world.store(&[1, 2], &entries(1..=5, 1));
        assert_eq!(world.commit(&mut Nothing, 1, 1, 5), Ok(()));
        (world, Snapshots::default())
    }

    fn meta(index: u64, voters: u64) -> SnapshotMeta {
        SnapshotMeta {
            last: id(index, 1),
            membership: voters_up_to(voters),
        }
    }

    fn create(
        world: &mut SmallWorld,
        snapshots: &mut Snapshots,
        node: u64,
        meta: &SnapshotMeta,
        content_hash: u64,
    ) -> Result<(), String> {
        let node = NodeId(node);
        world.show(
            snapshots,
            &Observation::SnapshotCreated {
                node,
                meta,
                content_hash,
            },
        )
    }

    fn restore(
        world: &mut SmallWorld,
        snapshots: &mut Snapshots,
        meta: &SnapshotMeta,
        content_hash: u64,
    ) -> Result<(), String> {
        let node = NodeId(3);
        world.show(
            snapshots,
            &Observation::SnapshotRestored {
                node,
                meta,
                content_hash,
            },
        )
    }

    /// I21: snapshots of the same log are equal, and what is restored is one of them.
    #[test]
    fn different_snapshots_of_one_log_are_found() {
        let (mut world, mut snapshots) = committed();
        assert_eq!(create(&mut world, &mut snapshots, 1, &meta(3, 3), 7), Ok(()));
        assert_eq!(create(&mut world, &mut snapshots, 2, &meta(3, 3), 7), Ok(()));
        assert_eq!(restore(&mut world, &mut snapshots, &meta(3, 3), 7), Ok(()));
        assert_violated(
            create(&mut world, &mut snapshots, 2, &meta(3, 3), 8),
            "nodes 1 and 2 made different snapshots of the same log up to 3@1",
        );
        assert_violated(
            restore(&mut world, &mut snapshots, &meta(3, 3), 8),
            "not the one which node 1 made",
        );
        assert_violated(
            restore(&mut world, &mut snapshots, &meta(4, 3), 7),
            "that nobody made",
        );
    }

    /// I21: a snapshot ends with a committed entry, and carries the configuration in force there.
    #[test]
    fn a_snapshot_of_what_is_not_committed_is_found() {
        let (mut world, mut snapshots) = committed();
        assert_violated(
            create(&mut world, &mut snapshots, 1, &meta(6, 3), 7),
            "committed at that index is None",
        );
        assert_violated(
            create(&mut world, &mut snapshots, 1, &meta(5, 2), 7),
            "with the configuration {1,2}; in force there is {1,2,3}",
        );
    }

    /// I21, R46: a log that has the last entry of a snapshot is kept.
    #[test]
    fn a_snapshot_over_a_newer_log_is_found() {
        let (mut world, mut snapshots) = committed();
        let install = |index| Write {
            snapshot: Some(meta(index, 3)),
            log: LogChange::Reset(Vec::new()),
            ..write_of(&[])
        };
        let fine = world.write(&mut snapshots, 3, RoleKind::Follower, &install(4));
        assert_eq!(fine, Ok(()));
        let again = world.write(&mut snapshots, 3, RoleKind::Follower, &install(4));
        assert_violated(again, "it knew index 4 to be committed");
        let newer = world.write(&mut snapshots, 2, RoleKind::Follower, &install(4));
        assert_violated(newer, "goes on to 5@1, by a snapshot up to 4@1, which it has");
    }

    /// I21: no mark goes back.
    #[test]
    fn a_mark_that_falls_is_found() {
        let (mut world, mut snapshots) = committed();
        let mut before = world.status(1);
        (before.commit_index, before.applied_index) = (Index(5), Index(4));
        assert_eq!(world.step(&mut snapshots, &before, &before), Ok(()));
        let mut after = before.clone();
        after.applied_index = Index(3);
        assert_violated(
            world.step(&mut snapshots, &before, &after),
            "the applied index of node 1 fell from 4 to 3",
        );
    }
}
