//! I8 State Machine Safety, as far as logs go: what is committed at an index is committed there for ever, for everybody
//! (paper §5.4.3, Figure 3), and no replica's commit index falls.

use std::collections::BTreeMap;

use raft_core::effect::{LogChange, Write};
use raft_core::status::Status;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, Index, NodeId};

use super::Invariant;
use crate::disk::LogImage;
use crate::history::History;
use crate::observation::{Observation, View};

/// I8. The history keeps the one committed log.
#[derive(Debug, Default)]
pub(super) struct CommitImmutable {
    /// What each running replica knew to be committed after its last step.
    known: BTreeMap<NodeId, Index>,
}

impl CommitImmutable {
    fn stepped(&mut self, before: &Status, after: &Status, view: &View<'_>) -> Result<(), String> {
        let (node, history) = (after.id, view.history);
        if after.commit_index < before.commit_index {
            return Err(format!(
                "the commit index of node {node} falls from {} to {}",
                before.commit_index, after.commit_index
            ));
        }
        if after.commit_index == before.commit_index {
            return Ok(());
        }
        self.known.insert(node, after.commit_index);
        if after.commit_index > history.commit() {
            return Err(format!(
                "node {node} takes {} for committed, its log ends with {}, and nobody committed more than {}",
                after.commit_index,
                view.nodes.get(node).issued.last(),
                history.commit()
            ));
        }
        let log = &view.nodes.get(node).issued;
        // What is purged was committed when it was purged, or is covered by a snapshot (below).
        let first = before.commit_index.next().max(log.purged.index);
        for index in first.0..=after.commit_index.0 {
            let (own, committed) = (log.id_at(Index(index)), history.committed_at(Index(index)));
            if own != committed {
                return Err(format!(
                    "node {node} takes {} for committed, and {} was committed there",
                    name(own),
                    name(committed)
                ));
            }
        }
        Ok(())
    }

    /// What a replica knows to be committed it never writes again, and what it begins anew with is committed.
    fn written(&self, node: NodeId, write: &Write, history: &History) -> Result<(), String> {
        if let Some(snapshot) = &write.snapshot {
            check_committed(node, "snapshot", snapshot.last, history)?;
        }
        let known = self.known.get(&node).copied().unwrap_or_default();
        match (&write.log, write.log.entries().first()) {
            (LogChange::Append(_), Some(first)) if first.index() <= known => Err(format!(
                "node {node} writes {}, and knows everything up to {known} to be committed",
                first.id
            )),
            _ => Ok(()),
        }
    }

    /// A replica starts: what its disks say to be committed is.
    fn started(&mut self, node: NodeId, recovered: &Recovered, view: &View<'_>) -> Result<(), String> {
        let (log, history) = (view.nodes.get(node).durable(), view.history);
        self.known.insert(node, Index::ZERO);
        check_committed(node, "snapshot", recovered.snapshot.last, history)?;
        check_committed(node, "purged", recovered.purged, history)?;
        check_stored_commit(node, log, recovered.hard_state.commit, history)
    }
}

fn check_committed(node: NodeId, what: &str, id: EntryId, history: &History) -> Result<(), String> {
    let committed = history.committed_at(id.index);
    if id == EntryId::ZERO || committed == Some(id) {
        return Ok(());
    }
    Err(format!(
        "the log of node {node} has its {what} end with {id}, and {} was committed there",
        name(committed)
    ))
}

fn check_stored_commit(node: NodeId, log: &LogImage, commit: Index, history: &History) -> Result<(), String> {
    let Some(own) = log.id_at(commit) else {
        // Below what is purged; R59 speaks of what is above the end.
        return Ok(());
    };
    check_committed(node, "stored commit index", own, history)
}

fn name(id: Option<EntryId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
}

impl Invariant for CommitImmutable {
    fn name(&self) -> &'static str {
        "I8"
    }

    fn statement(&self) -> &'static str {
        "commit never falls, and the committed prefix is the same for everybody, for ever"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Stepped { before, after } => self.stepped(before, after, view),
            Observation::WriteBegun { node, write, .. } => self.written(*node, write, view.history),
            Observation::Started { node, recovered, .. } => self.started(*node, recovered, view),
            Observation::Applied { node, entry, .. } => {
                let committed = view.history.committed_at(entry.index());
                if committed == Some(entry.id) {
                    return Ok(());
                }
                Err(format!(
                    "node {node} applies {}, and {} was committed there",
                    entry.id,
                    name(committed)
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::effect::RoleKind;
    use raft_core::entry::Entry;
    use raft_core::message::SnapshotMeta;
    use raft_core::sessions::Reply;

    use super::super::world_for_tests::{
        SmallWorld, assert_violated, command, entries, id, voters_up_to, write_of,
    };
    use super::*;

    /// Everybody has three entries, and node 1 committed two of them.
    fn world(invariant: &mut CommitImmutable) -> SmallWorld {
        let mut world = SmallWorld::new(3);
        world.store(&[1, 2, 3], &entries(1..=3, 1));
        assert_eq!(world.commit(invariant, 1, 1, 2), Ok(()));
        world
    }

    fn know(
        world: &mut SmallWorld,
        invariant: &mut CommitImmutable,
        node: u64,
        commit: u64,
    ) -> Result<(), String> {
        let (before, mut after) = (world.status(node), world.status(node));
        after.commit_index = Index(commit);
        world.step(invariant, &before, &after)
    }

    fn apply(world: &mut SmallWorld, invariant: &mut CommitImmutable, entry: &Entry) -> Result<(), String> {
        let reply = &Ok(Reply::default());
        let node = NodeId(2);
        world.show(invariant, &Observation::Applied { node, entry, reply })
    }

    /// I8: others learn of it, and apply it.
    #[test]
    fn what_is_committed_is_committed_everywhere() {
        let mut invariant = CommitImmutable::default();
        let mut world = world(&mut invariant);
        assert_eq!(know(&mut world, &mut invariant, 2, 1), Ok(()));
        assert_eq!(know(&mut world, &mut invariant, 2, 2), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, &command(2, 1, "x")), Ok(()));
    }

    /// I8: a replica believes more than was committed, or takes something else for committed.
    #[test]
    fn a_wrong_belief_is_found() {
        let mut invariant = CommitImmutable::default();
        let mut world = world(&mut invariant);
        assert_violated(
            know(&mut world, &mut invariant, 2, 4),
            "node 2 takes 4 for committed, its log ends with 3@1, and nobody committed more than 3",
        );
        world.store(&[3], &entries(2..=2, 2));
        assert_violated(
            know(&mut world, &mut invariant, 3, 2),
            "node 3 takes 2@2 for committed, and 2@1 was committed there",
        );
    }

    /// I8: the commit index falls.
    #[test]
    fn a_commit_index_that_falls_is_found() {
        let mut invariant = CommitImmutable::default();
        let mut world = world(&mut invariant);
        let (before, after) = world.commit_statuses(1, 1, 2);
        assert_violated(
            world.step(&mut invariant, &after, &before),
            "the commit index of node 1 falls from 2 to 0",
        );
    }

    /// R5: what is known to be committed is overwritten.
    #[test]
    fn a_committed_entry_that_is_overwritten_is_found() {
        let mut invariant = CommitImmutable::default();
        let mut world = world(&mut invariant);
        assert_eq!(know(&mut world, &mut invariant, 2, 2), Ok(()));
        let follower = RoleKind::Follower;
        assert_eq!(
            world.append(&mut invariant, 2, follower, &entries(3..=3, 2)),
            Ok(())
        );
        assert_violated(
            world.append(&mut invariant, 2, follower, &entries(2..=2, 2)),
            "node 2 writes 2@2, and knows everything up to 2 to be committed",
        );
    }

    /// I8: what was not committed is applied, or stands for everything before it.
    #[test]
    fn what_was_not_committed_has_no_effect() {
        let mut invariant = CommitImmutable::default();
        let mut world = world(&mut invariant);
        assert_violated(
            apply(&mut world, &mut invariant, &command(3, 1, "x")),
            "node 2 applies 3@1, and nothing was committed there",
        );
        let write = Write {
            snapshot: Some(SnapshotMeta {
                last: id(3, 1),
                membership: voters_up_to(3),
            }),
            log: LogChange::Reset(Vec::new()),
            ..write_of(&[])
        };
        assert_violated(
            world.write(&mut invariant, 3, RoleKind::Follower, &write),
            "the log of node 3 has its snapshot end with 3@1",
        );
    }
}
