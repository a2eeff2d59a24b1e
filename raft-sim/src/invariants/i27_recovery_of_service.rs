//! I27 Service returns: after healing there is a leader within ten election timeouts, unless nobody may expect it (paper
//! §5.1, §5.6, "the broadcast time is much shorter than the election timeout").
//!
//! What may not be expected is proven from disks and memberships: [`availability`](crate::availability). That everybody
//! converges within thirty seconds is demanded by the phases of a run.
//!
//! The ten timeouts are those of the slowest clock, and a replica of low priority waits for others first (R38); a run with
//! priorities has them added.

use raft_core::config::PRIORITY_MAX;
use raft_core::effect::RoleKind;
use raft_core::message::Body;
use raft_core::status::Status;
use raft_core::types::NodeId;

use super::Invariant;
use crate::availability::{Availability, judge};
use crate::clock::Instant;
use crate::node::Node;
use crate::observation::{Observation, Phase, View};

/// Within so many election timeouts there is a leader.
const TIMEOUTS: u32 = 10;

/// I27.
#[derive(Debug, Default)]
pub(super) struct ServiceReturns {
    /// When there must be a leader, if there was none since the phase began.
    deadline: Option<Instant>,
}

impl Invariant for ServiceReturns {
    fn name(&self) -> &'static str {
        "I27"
    }

    fn statement(&self) -> &'static str {
        "after healing there is a leader within ten election timeouts, or a proof that there need not be"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::PhaseBegun { phase } => {
                self.deadline = (phase != Phase::Safety).then(|| deadline(view));
                Ok(())
            }
            // It was under way before, and keeps its receiver from voting for anybody else (R34).
            Observation::Received { message }
                if self.deadline.is_some()
                    && matches!(message.body, Body::AppendEntries(_))
                    && view.nodes.get(message.from).process.is_none() =>
            {
                self.deadline = Some(deadline(view));
                Ok(())
            }
            Observation::Stepped { after, .. } => self.stepped(after, view),
            _ => Ok(()),
        }
    }
}

impl ServiceReturns {
    /// Only at the end of a step: within one, a leader that slept is awake already, and nobody has seen yet that it leads.
    fn stepped(&mut self, after: &Status, view: &View<'_>) -> Result<(), String> {
        let Some(deadline) = self.deadline else {
            return Ok(());
        };
        if after.role == RoleKind::Leader && leads(view, after) {
            self.deadline = None;
            return Ok(());
        }
        if view.now <= deadline {
            return Ok(());
        }
        self.deadline = None;
        if somebody_sleeps_leading(view) {
            return Ok(());
        }
        overdue(view)
    }
}

/// Whether a leader can go on: a quorum is up and knows of no later term. How long it takes to commit depends on how far the
/// others are behind; the phases of a run give it thirty seconds.
fn leads(view: &View<'_>, leader: &Status) -> bool {
    let follows = |node: NodeId| {
        let status = view.nodes.get(node).status();
        node == leader.id || status.is_some_and(|status| status.term <= leader.term)
    };
    let membership = &leader.membership;
    [membership.voters(), membership.outgoing()]
        .iter()
        .all(|half| half.is_empty() || half.iter().filter(|voter| follows(**voter)).count() * 2 > half.len())
}

/// When a leader is due: ten election timeouts by the slowest clock.
fn deadline(view: &View<'_>) -> Instant {
    let due = |node: &Node| {
        let timeout = node.config.election_timeout_longest();
        let steps = u32::from(PRIORITY_MAX.saturating_sub(node.config.priority));
        // It waits for others half as long each time, so twice as long altogether.
        let wait = timeout * (TIMEOUTS + 2 * steps);
        view.machines
            .get(node.id())
            .clock
            .when(view.machines.get(node.id()).clock.at(view.now) + wait)
    };
    view.nodes.iter().filter_map(due).max().unwrap_or(view.now)
}

/// A leader that sleeps takes no step for others to see; I29 sees to it that its followers are watched over.
fn somebody_sleeps_leading(view: &View<'_>) -> bool {
    let sleeps = |status: &Status| status.asleep && status.role == RoleKind::Leader && leads(view, status);
    view.nodes.iter().filter_map(Node::status).any(sleeps)
}

fn overdue(view: &View<'_>) -> Result<(), String> {
    let is_up = |node: &&Node| node.process.is_some();
    let up: Vec<NodeId> = view.nodes.iter().filter(is_up).map(Node::id).collect();
    match judge(view.nodes, &up) {
        Availability::Unavailable { .. } => Ok(()),
        available => Err(format!(
            "nobody leads after {TIMEOUTS} election timeouts, though {available}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::message::AppendEntries;
    use raft_core::types::{EntryId, Index, Round};

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries, message};
    use super::*;

    fn begin(world: &mut SmallWorld, invariant: &mut ServiceReturns) {
        let phase = Phase::QuorumHealed;
        assert_eq!(world.show(invariant, &Observation::PhaseBegun { phase }), Ok(()));
    }

    fn tick(world: &mut SmallWorld, invariant: &mut ServiceReturns, seconds: u64) -> Result<(), String> {
        world.now = Instant::from_millis(seconds * 1_000);
        let status = world.status(1);
        world.step(invariant, &status, &status)
    }

    /// I27: a group that can go on and has no leader for too long is found.
    #[test]
    fn a_group_that_can_go_on_and_does_not_is_found() {
        let mut world = SmallWorld::new(3);
        let mut invariant = ServiceReturns::default();
        world.store(&[1, 2], &entries(1..=2, 1));
        world.set_hard_state(1, 1, None);
        world.set_hard_state(2, 1, None);
        world.start(1);
        world.start(2);
        begin(&mut world, &mut invariant);
        assert_eq!(tick(&mut world, &mut invariant, 10), Ok(()));
        assert_violated(
            tick(&mut world, &mut invariant, 11),
            "node 1, whose log ends at 2@1",
        );
    }

    /// I27: nobody demands a leader of a minority, nor another one of a group that has one.
    #[test]
    fn what_cannot_be_is_not_demanded() {
        let mut world = SmallWorld::new(3);
        let mut invariant = ServiceReturns::default();
        world.start(1);
        begin(&mut world, &mut invariant);
        assert_eq!(tick(&mut world, &mut invariant, 11), Ok(()));

        let mut world = SmallWorld::new(3);
        world.store(&[1, 2], &entries(1..=2, 1));
        world.start(1);
        world.start(2);
        begin(&mut world, &mut invariant);
        assert_eq!(world.commit(&mut invariant, 1, 1, 2), Ok(()));
        assert_eq!(tick(&mut world, &mut invariant, 30), Ok(()));
    }

    /// I27: the step in which a leader wakes up shows that there is one, whatever it does before it ends.
    #[test]
    fn a_leader_that_wakes_up_late_leads() {
        let mut world = SmallWorld::new(1);
        let mut invariant = ServiceReturns::default();
        world.store(&[1], &entries(1..=2, 1));
        world.start(1);
        begin(&mut world, &mut invariant);
        world.now = Instant::from_millis(11_000);
        let written = world.append(&mut invariant, 1, RoleKind::Leader, &entries(3..=3, 1));
        assert_eq!(written, Ok(()));
        assert_eq!(world.commit(&mut invariant, 1, 1, 3), Ok(()));
        assert_eq!(tick(&mut world, &mut invariant, 12), Ok(()));
    }

    /// I27, R34: who hears a leader that is gone, by a message of before, waits anew.
    #[test]
    fn a_late_word_of_a_leader_that_is_gone_counts() {
        for from in [1, 3] {
            let mut world = SmallWorld::new(3);
            let mut invariant = ServiceReturns::default();
            world.store(&[1, 2], &entries(1..=2, 1));
            world.start(1);
            world.start(2);
            begin(&mut world, &mut invariant);
            world.now = Instant::from_millis(5_000);
            let request = AppendEntries {
                prev: EntryId::ZERO,
                prev_acknowledged: true,
                entries: Vec::new(),
                leader_commit: Index::ZERO,
                round: Round(1),
                sleep: false,
            };
            let late = message(from, 2, 1, Body::AppendEntries(request));
            let heard = world.show(&mut invariant, &Observation::Received { message: &late });
            assert_eq!(heard, Ok(()));
            let looked = tick(&mut world, &mut invariant, 11);
            match from {
                1 => assert_violated(looked, "nobody leads after 10 election timeouts"),
                _ => assert_eq!(looked, Ok(())),
            }
            assert!(from == 1 || tick(&mut world, &mut invariant, 16).is_err());
        }
    }
}
