//! I22 Recovery: what a replica starts from is at least what was durable, or it starts as a suspect (paper Figure 2,
//! "persistent state"; R11, R32, R39, R68, R77).
//!
//! A first member whose disk is blank is the exception that docs/decisions/0006 explains: as long as it knows of nothing it
//! may yet found the group, and finds out by the first message of a group that has a past. Nor does a start resume a role:
//! it begins as a follower that knows no leader, in the term of its disk (R39).

use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::status::Status;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, NodeId, Term, Trust};

use super::Invariant;
use crate::disk::LogImage;
use crate::observation::{Observation, View};

/// I22.
#[derive(Debug, Default)]
pub(super) struct Recovery;

impl Invariant for Recovery {
    fn name(&self) -> &'static str {
        "I22"
    }

    fn statement(&self) -> &'static str {
        "what is recovered is at least what was last durable, or the replica is a suspect"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        let Observation::Started {
            node,
            recovered,
            promised,
            is_suspicious,
            ..
        } = *seen
        else {
            return Ok(());
        };
        let found = LogImage::of(recovered);
        let has_all = found.covers(promised) || was_overwritten(promised, &found);
        if !has_all && !is_suspicious {
            return Err(format!(
                "node {node} lost something that was durable and its store did not notice: {}",
                difference(promised, &found)
            ));
        }
        match view.nodes.get(node).status() {
            Some(status) => check_start(node, recovered, promised, has_all, status),
            None => Ok(()),
        }
    }
}

fn check_start(
    node: NodeId,
    recovered: &Recovered,
    promised: &LogImage,
    has_all: bool,
    status: &Status,
) -> Result<(), String> {
    let stored = recovered.hard_state;
    if status.role != RoleKind::Follower || status.leader.is_some() || status.term != stored.term {
        return Err(format!(
            "node {node} starts as a {} of term {} that follows {:?}; it has stored term {}",
            status.role, status.term, status.leader, stored.term
        ));
    }
    if status.suspect {
        return Ok(());
    }
    let must_be = if recovered.lost {
        Some("its store noticed a loss")
    } else if stored.trust == Trust::Suspect {
        Some("it was one when it stopped")
    } else if !has_all && !is_blank_founder(recovered) {
        Some("it lost something that was durable")
    } else {
        None
    };
    match must_be {
        Some(why) => Err(format!(
            "node {node} starts in term {} and is no suspect, though {why}: {}",
            stored.term,
            difference(promised, &LogImage::of(recovered))
        )),
        None => Ok(()),
    }
}

/// Whether the entries that are missing were overwritten by a later leader: such a write may reach the disk although nobody
/// was told that it did. Where the logs part, the later one has the higher term.
fn was_overwritten(promised: &LogImage, found: &LogImage) -> bool {
    let missing = promised.ids.iter().find(|id| !found.has(**id));
    let Some(first) = missing else {
        return false;
    };
    let later = found.id_at(first.index).filter(|later| later.term > first.term);
    let mut kept = promised.clone();
    kept.ids.retain(|id| id.index < first.index);
    later.is_some() && found.covers(&kept)
}

/// Whether the group may be as new as this replica thinks.
fn is_blank_founder(recovered: &Recovered) -> bool {
    recovered.hard_state.term == Term::ZERO
        && recovered.last_index == EntryId::ZERO.index
        && recovered.snapshot.membership != Membership::empty()
}

fn difference(promised: &LogImage, found: &LogImage) -> String {
    let describe = |image: &LogImage| {
        let hard_state = &image.hard_state;
        let vote = hard_state
            .vote
            .map_or("nobody".to_owned(), |vote| format!("node {vote}"));
        format!(
            "term {} with a vote for {vote}, entries above {} up to {}, a snapshot up to {}",
            hard_state.term,
            image.purged,
            image.last(),
            image.snapshot.last
        )
    };
    format!(
        "durable was {}; recovered is {}",
        describe(promised),
        describe(found)
    )
}

#[cfg(test)]
mod tests {
    use raft_core::types::Index;

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries, voters_up_to};
    use super::*;
    use crate::disk::Opened;

    fn recover(world: &mut SmallWorld, node: u64) -> Recovered {
        match world.nodes.get_mut(NodeId(node)).storage.open() {
            Opened::Sound(recovered) => recovered,
            other => panic!("the disk is sound: {other:?}"),
        }
    }

    fn start(
        world: &mut SmallWorld,
        recovered: &Recovered,
        promised: &LogImage,
        is_suspicious: bool,
    ) -> Result<(), String> {
        let started = Observation::Started {
            node: NodeId(1),
            recovered,
            applied: EntryId::ZERO,
            promised,
            is_suspicious,
        };
        world.show(&mut Recovery, &started)
    }

    /// I22: who starts with everything that was durable is no suspect.
    #[test]
    fn a_loss_that_nobody_notices_is_found() {
        let mut world = SmallWorld::new(3);
        world.store(&[1], &entries(1..=3, 1));
        world.set_hard_state(1, 2, Some(2));
        let recovered = recover(&mut world, 1);
        world.start(1);
        let mut promised = LogImage::of(&recovered);
        assert_eq!(start(&mut world, &recovered, &promised, false), Ok(()));
        promised.ids.push_back(EntryId::new(Term(1), Index(4)));
        assert_violated(
            start(&mut world, &recovered, &promised, false),
            "its store did not notice: durable was term 2 with a vote for node 2, entries above 0@0 up to 4@1",
        );
        assert_violated(
            start(&mut world, &recovered, &promised, true),
            "is no suspect, though it lost something that was durable",
        );
    }

    /// I22: a write that overwrites entries may be on the disk though nobody was told; one that drops them is not enough.
    #[test]
    fn entries_that_were_overwritten_are_not_lost() {
        let mut world = SmallWorld::new(3);
        world.store(&[1], &entries(1..=3, 1));
        world.set_hard_state(1, 2, None);
        let promised = world.nodes.get(NodeId(1)).durable().clone();
        world.store(&[1], &entries(2..=2, 2));
        let recovered = recover(&mut world, 1);
        world.start(1);
        assert_eq!(start(&mut world, &recovered, &promised, false), Ok(()));
        let mut dropped = recovered;
        (dropped.last_index, dropped.term_runs) = (Index(1), vec![(Index(1), Term(1))]);
        assert_violated(start(&mut world, &dropped, &promised, false), "did not notice");
    }

    /// I22: a vote is a promise, too, and who was a suspect still is one.
    #[test]
    fn a_vote_that_is_lost_is_found() {
        let mut world = SmallWorld::new(3);
        world.store(&[1], &entries(1..=3, 1));
        world.set_hard_state(1, 2, None);
        let mut recovered = recover(&mut world, 1);
        world.start(1);
        let mut promised = LogImage::of(&recovered);
        promised.hard_state.vote = Some(NodeId(3));
        assert_violated(start(&mut world, &recovered, &promised, false), "did not notice");
        promised.hard_state.vote = None;
        recovered.hard_state.trust = Trust::Suspect;
        assert_violated(
            start(&mut world, &recovered, &promised, true),
            "it was one when it stopped",
        );
    }

    /// I22, R39: nobody starts as a leader, nor in another term than it stored.
    #[test]
    fn a_start_in_another_term_is_found() {
        let mut world = SmallWorld::new(3);
        world.store(&[1], &entries(1..=3, 1));
        world.set_hard_state(1, 2, None);
        let recovered = recover(&mut world, 1);
        world.start(1);
        world.set_hard_state(1, 3, None);
        let newer = recover(&mut world, 1);
        let promised = LogImage::of(&recovered);
        assert_violated(
            start(&mut world, &newer, &promised, false),
            "it has stored term 3",
        );
    }

    /// I22: a first member with a blank disk may found the group, as far as it knows.
    #[test]
    fn a_blank_founder_is_no_suspect_yet() {
        let mut world = SmallWorld::new(3);
        let recovered = recover(&mut world, 1);
        world.start(1);
        let mut promised = LogImage::of(&recovered);
        promised.hard_state.term = Term(5);
        assert_eq!(recovered.snapshot.membership, voters_up_to(3));
        assert_eq!(start(&mut world, &recovered, &promised, true), Ok(()));
        assert_violated(start(&mut world, &recovered, &promised, false), "did not notice");
    }
}
