//! The phases of a run: first nothing bad may happen, then something good must.

use std::time::Duration;

use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::types::{GroupId, Index, NodeId};

use super::World;
use crate::availability::{Availability, judge};
use crate::clock::Instant;
use crate::node::Node;
use crate::observation::{Observation, Phase};
use crate::violation::Violation;
use crate::workload::Judgement;

/// Within so long everything converges after it is healed (I27).
const CONVERGENCE: Duration = Duration::from_secs(30);
/// How many more entries everybody must apply then.
const PROGRESS_ENTRIES: u64 = 5;
/// How often it is looked whether a demand is met.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// For how long a healed group must be left in peace by those that are no members.
const PEACE: Duration = Duration::from_secs(5);
/// Within so many election timeouts every request has ended: two until there is a leader to send it to, five until that
/// answers, ten until what it names is applied, and some more by the slowest clock.
const PATIENCE_TIMEOUTS: u32 = 24;

impl World<'_> {
    /// All phases of a run.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        self.run_until(Instant::from_millis(self.plan.duration_ms))?;
        self.quorum_phase()?;
        let converged = self.convergence_phase()?;
        if !converged.is_empty() {
            self.peace_phase(&converged)?;
        }
        self.finish()
    }

    fn begin_phase(&mut self, phase: Phase) -> Result<(), Violation> {
        self.observe_everywhere(&Observation::PhaseBegun { phase })
    }

    /// A random quorum of one group is healed, and every other machine is down: that group makes progress, and so does every
    /// other that has a quorum there.
    fn quorum_phase(&mut self) -> Result<(), Violation> {
        self.end_all_faults()?;
        let living = self.groups.living();
        let in_turn = (self.plan.seed as usize).checked_rem(living.len());
        let Some(chosen) = in_turn.map(|place| living[place]) else {
            return Ok(());
        };
        let quorum = self.random_quorum(chosen);
        for id in self.machines.ids() {
            if quorum.contains(&id) {
                self.ensure_started(id);
            } else {
                self.crash(id)?;
                // A start that was planned before is void.
                self.machines.get_mut(id).life += 1;
            }
        }
        self.begin_phase(Phase::QuorumHealed)?;
        let is_meant = |group: &GroupId| *group == chosen || self.has_quorum(*group, &quorum);
        let groups: Vec<GroupId> = living.into_iter().filter(is_meant).collect();
        let stuck = self.converge(&groups, &quorum)?;
        for group in &stuck {
            self.excuse(*group, &quorum)?;
        }
        self.tally.unavailable += u64::from(stuck.contains(&chosen));
        Ok(())
    }

    /// Everybody is up: all members converge. Returns the groups that did; others need not if nobody can be elected.
    fn convergence_phase(&mut self) -> Result<Vec<GroupId>, Violation> {
        let ids = self.machines.ids();
        for id in &ids {
            self.ensure_started(*id);
        }
        self.begin_phase(Phase::AllHealed)?;
        let mut living = self.groups.living();
        let stuck = self.converge(&living, &ids)?;
        for group in &stuck {
            self.excuse(*group, &ids)?;
            self.groups.get_mut(*group).watch.tally.lost += 1;
        }
        self.tally.unavailable += u64::from(!stuck.is_empty());
        living.retain(|group| !stuck.contains(group));
        Ok(living)
    }

    /// These nodes did not converge: there is a proof that they need not, or something is wrong.
    fn excuse(&mut self, group: GroupId, nodes: &[NodeId]) -> Result<(), Violation> {
        let members = &self.groups.get(group).nodes;
        let availability = judge(members, nodes);
        if matches!(availability, Availability::Unavailable { .. }) {
            return Ok(());
        }
        let seen = members.iter().map(describe).collect::<Vec<_>>().join("; ");
        Err(self.broken(
            group,
            "I27",
            &format!("not everybody converges after healing, though {availability}: {seen}"),
        ))
    }

    /// A group that is well keeps its leader, whatever those do that are no members (R70), and everybody who asked has an
    /// answer (R45).
    fn peace_phase(&mut self, groups: &[GroupId]) -> Result<(), Violation> {
        // Late messages and transfers from before are over first.
        self.run_until(self.now + PEACE)?;
        let before: Vec<_> = groups.iter().map(|group| self.only_leader(*group)).collect();
        self.run_until(self.now + PEACE)?;
        let patience = self.plan.settings.election_timeout_longest() * PATIENCE_TIMEOUTS;
        let long_ago = Instant(self.now.0.saturating_sub(patience.as_nanos() as u64));
        for (group, before) in groups.iter().zip(before) {
            let after = self.only_leader(*group);
            if before.is_none() || before != after {
                let seen = format!("the leader was {before:?} and is {after:?}, and nothing had gone wrong");
                return Err(self.broken(*group, "I26", &seen));
            }
            if let Some(seen) = self.groups.get(*group).clients.forgotten(long_ago) {
                return Err(self.broken(*group, "R45", &seen));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Violation> {
        self.tally.runs = 1;
        self.tally.groups = self.groups.len() as u64;
        self.tally.simulated = self.now.since(Instant::ZERO);
        for group in self.groups.iter_mut() {
            group.watch.finish(self.now, &self.machines, &group.nodes)?;
            let history = group.clients.close();
            match group.requests.check(&history) {
                Ok(Judgement::Undecided { .. }) => group.watch.tally.undecided += 1,
                Ok(_) => {}
                Err(seen) => {
                    return Err(Violation {
                        invariant: "I16".to_owned(),
                        statement: "the history is linearizable".to_owned(),
                        seen: seen.to_string(),
                        group: group.id.0,
                        at_nanos: self.now.0,
                    });
                }
            }
        }
        Ok(())
    }

    // ---- demands ----

    /// Runs until in each of these groups everybody of these nodes who is a member applied more than anybody had before, or
    /// for as long as that may take. Returns the groups in which it did not come to that.
    fn converge(&mut self, groups: &[GroupId], nodes: &[NodeId]) -> Result<Vec<GroupId>, Violation> {
        let goal = |group: &GroupId| {
            let commit = self.groups.get(*group).watch.history.commit();
            (*group, Index(commit.0 + PROGRESS_ENTRIES))
        };
        let mut waiting: Vec<(GroupId, Index)> = groups.iter().map(goal).collect();
        let end = self.now + CONVERGENCE;
        while self.now < end && !waiting.is_empty() {
            self.run_until(self.now + LOOK_EVERY)?;
            waiting.retain(|(group, goal)| !self.has_converged(*group, nodes, *goal));
        }
        Ok(waiting.into_iter().map(|(group, _)| group).collect())
    }

    fn has_converged(&self, group: GroupId, nodes: &[NodeId], goal: Index) -> bool {
        let all = &self.groups.get(group).nodes;
        let Some(leader) = self.leader(group).map(|leader| all.get(leader)) else {
            return false;
        };
        let Some(membership) = leader.status().map(|status| &status.membership) else {
            return false;
        };
        let is_well = |id: &NodeId| {
            let status = all.get(*id).status();
            !membership.contains(*id)
                || status.is_some_and(|status| status.applied_index >= goal && !status.suspect)
        };
        !membership.is_joint() && nodes.iter().all(is_well)
    }

    /// Who leads in which term, if nobody else believes to.
    fn only_leader(&self, group: GroupId) -> Option<(NodeId, u64)> {
        let statuses = self.groups.get(group).nodes.iter().filter_map(Node::status);
        let mut leaders = statuses.filter(|status| status.role == RoleKind::Leader);
        let first = leaders.next()?;
        leaders.next().is_none().then_some((first.id, first.term.0))
    }

    fn ensure_started(&mut self, id: NodeId) {
        if !self.machines.get(id).is_up {
            let soon = self.random.below(100);
            self.machines.get_mut(id).life += 1;
            self.start_after(id, soon);
        }
    }

    /// The latest configuration of whoever has the newest log of a group.
    fn newest_membership(&self, group: GroupId) -> Membership {
        let nodes = self.groups.get(group).nodes.iter();
        let newest = nodes.max_by_key(|node| node.durable().last());
        newest.map_or_else(Membership::empty, |node| node.durable().membership().clone())
    }

    /// Whether a majority of each half of the latest configuration is among these.
    fn has_quorum(&self, group: GroupId, nodes: &[NodeId]) -> bool {
        let membership = self.newest_membership(group);
        let is_majority = |half: &[NodeId]| {
            let count = half.iter().filter(|voter| nodes.contains(voter)).count();
            half.is_empty() || count * 2 > half.len()
        };
        is_majority(membership.voters()) && is_majority(membership.outgoing())
    }

    /// Enough nodes to decide, chosen at random: a majority of each half of the latest configuration, of voters that
    /// remember everything if there are enough of those.
    fn random_quorum(&mut self, group: GroupId) -> Vec<NodeId> {
        let membership = self.newest_membership(group);
        let nodes = &self.groups.get(group).nodes;
        let mut quorum = Vec::new();
        for half in [membership.voters(), membership.outgoing()] {
            let mut voters: Vec<NodeId> = half.to_vec();
            self.random.shuffle(&mut voters);
            voters.sort_by_key(|voter| !nodes.contains(*voter) || !nodes.get(*voter).is_sound());
            quorum.extend(voters.into_iter().take(half.len() / 2 + 1));
        }
        quorum.sort_unstable();
        quorum.dedup();
        quorum.retain(|id| nodes.contains(*id));
        quorum
    }
}

/// The state of a node in one line.
fn describe(node: &Node) -> String {
    let id = node.id();
    match node.status() {
        None => format!("node {id} is down"),
        Some(status) => format!(
            "node {id} is {}{} in term {}, log to {}, committed {}, applied {}, members {} of {}",
            if status.suspect { "a suspected " } else { "a " },
            status.role,
            status.term,
            status.appended_index,
            status.commit_index,
            status.applied_index,
            status.membership,
            status.membership_index,
        ),
    }
}
