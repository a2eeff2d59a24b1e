//! The phases of a run: first nothing bad may happen, then something good must.

use std::time::Duration;

use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::types::{Index, NodeId};

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
        if self.convergence_phase()? {
            self.peace_phase()?;
        }
        self.finish()
    }

    fn begin(&mut self, phase: Phase) -> Result<(), Violation> {
        self.observe(&Observation::PhaseBegun { phase })
    }

    /// A random quorum is healed, and everybody else is down: the group makes progress.
    fn quorum_phase(&mut self) -> Result<(), Violation> {
        self.end_all_faults()?;
        let quorum = self.random_quorum();
        let ids: Vec<NodeId> = self.nodes.iter().map(Node::id).collect();
        for id in ids {
            if quorum.contains(&id) {
                self.ensure_started(id);
            } else {
                self.crash(id)?;
                // A start that was planned before is void.
                self.nodes.get_mut(id).life += 1;
            }
        }
        self.begin(Phase::QuorumHealed)?;
        if !self.converges(&quorum)? {
            self.excuse(&quorum)?;
        }
        Ok(())
    }

    /// Everybody is up: all members converge. Returns whether they did, which they need not if nobody can be elected.
    fn convergence_phase(&mut self) -> Result<bool, Violation> {
        let ids: Vec<NodeId> = self.nodes.iter().map(Node::id).collect();
        for id in &ids {
            self.ensure_started(*id);
        }
        self.begin(Phase::AllHealed)?;
        if self.converges(&ids)? {
            return Ok(true);
        }
        self.excuse(&ids)?;
        self.watch.tally.lost += 1;
        Ok(false)
    }

    /// These nodes did not converge: there is a proof that they need not, or something is wrong.
    fn excuse(&mut self, nodes: &[NodeId]) -> Result<(), Violation> {
        let availability = judge(&self.nodes, nodes);
        if matches!(availability, Availability::Unavailable { .. }) {
            self.watch.tally.unavailable += 1;
            return Ok(());
        }
        let seen = self.nodes.iter().map(describe).collect::<Vec<_>>().join("; ");
        Err(self.broken(
            "I27",
            &format!("not everybody converges after healing, though {availability}: {seen}"),
        ))
    }

    /// A group that is well keeps its leader, whatever those do that are no members (R70), and everybody who asked has an
    /// answer (R45).
    fn peace_phase(&mut self) -> Result<(), Violation> {
        // Late messages and transfers from before are over first.
        self.run_until(self.now + PEACE)?;
        let before = self.only_leader();
        self.run_until(self.now + PEACE)?;
        let after = self.only_leader();
        if before.is_none() || before != after {
            let seen = format!("the leader was {before:?} and is {after:?}, and nothing had gone wrong");
            return Err(self.broken("I26", &seen));
        }
        let patience = self.plan.settings.election_timeout_longest() * PATIENCE_TIMEOUTS;
        let long_ago = Instant(self.now.0.saturating_sub(patience.as_nanos() as u64));
        match self.clients.forgotten(long_ago) {
            Some(seen) => Err(self.broken("R45", &seen)),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Violation> {
        self.watch.tally.runs = 1;
        self.watch.tally.simulated = self.now.since(Instant::ZERO);
        self.watch.finish(self.now, &self.nodes)?;
        let history = self.clients.close();
        match self.requests.check(&history) {
            Ok(Judgement::Undecided { .. }) => {
                self.watch.tally.undecided += 1;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(seen) => Err(Violation {
                invariant: "I16".to_owned(),
                statement: "the history is linearizable".to_owned(),
                seen: seen.to_string(),
                at_nanos: self.now.0,
            }),
        }
    }

    // ---- demands ----

    /// Runs until everybody of these who is a member applied more than anybody had before, or for as long as that may
    /// take. Returns whether it came to that.
    fn converges(&mut self, nodes: &[NodeId]) -> Result<bool, Violation> {
        let goal = Index(self.watch.history.commit().0 + PROGRESS_ENTRIES);
        let end = self.now + CONVERGENCE;
        while self.now < end {
            self.run_until(self.now + LOOK_EVERY)?;
            if self.has_converged(nodes, goal) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_converged(&self, nodes: &[NodeId], goal: Index) -> bool {
        let Some(leader) = self.leader().map(|leader| self.nodes.get(leader)) else {
            return false;
        };
        let Some(membership) = leader.status().map(|status| &status.membership) else {
            return false;
        };
        let is_well = |id: &NodeId| {
            let status = self.nodes.get(*id).status();
            !membership.contains(*id)
                || status.is_some_and(|status| status.applied_index >= goal && !status.suspect)
        };
        !membership.is_joint() && nodes.iter().all(is_well)
    }

    /// Who leads in which term, if nobody else believes to.
    fn only_leader(&self) -> Option<(NodeId, u64)> {
        let statuses = self.nodes.iter().filter_map(Node::status);
        let mut leaders = statuses.filter(|status| status.role == RoleKind::Leader);
        let first = leaders.next()?;
        leaders.next().is_none().then_some((first.id, first.term.0))
    }

    fn ensure_started(&mut self, id: NodeId) {
        if self.nodes.get(id).process.is_none() {
            let soon = self.random.below(100);
            self.nodes.get_mut(id).life += 1;
            self.start_after(id, soon);
        }
    }

    /// Enough nodes to decide, chosen at random: a majority of each half of the latest configuration of whoever has the
    /// newest log, of voters that remember everything if there are enough of those.
    fn random_quorum(&mut self) -> Vec<NodeId> {
        let newest = self.nodes.iter().max_by_key(|node| node.durable().last());
        let membership = newest.map_or_else(Membership::empty, |node| node.durable().membership().clone());
        let mut quorum = Vec::new();
        for half in [membership.voters(), membership.outgoing()] {
            let mut voters: Vec<NodeId> = half.to_vec();
            self.random.shuffle(&mut voters);
            voters.sort_by_key(|voter| !self.nodes.contains(*voter) || !self.nodes.get(*voter).is_sound());
            quorum.extend(voters.into_iter().take(half.len() / 2 + 1));
        }
        quorum.sort_unstable();
        quorum.dedup();
        quorum.retain(|id| self.nodes.contains(*id));
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
