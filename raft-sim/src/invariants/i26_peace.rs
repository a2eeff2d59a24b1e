//! I26 Peace: an isolated node cannot raise a healthy majority's term, and a leader without a quorum steps down within one
//! election timeout (thesis §6.2, §9.6; R22, R24, R34–R36).
//!
//! What makes the first part true is checked as it happens: whoever hears a leader grants no pre-vote and adopts no term from
//! a vote request that the leader did not ask for; and nobody campaigns but by the pre-votes of a quorum, or because the
//! leader asked. The peace of a healed group as a whole is watched by the last phase of a run.
//!
//! For the second part contact is counted anew: a leader hears a voter when a response of its term arrives that is no
//! suspect's. A step looks at the time before it ends, so a leader is never too old at the end of one, and it must want to
//! be woken up before it is. Its own disk or state machine may not stand still for that long either, if anybody could take
//! over (R35). All of it by the leader's own clock: a process that does nothing for a while cannot step down, and says
//! nothing either.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::effect::{RoleChange, RoleChangeReason, RoleKind};
use raft_core::membership::Membership;
use raft_core::message::{Body, Message};
use raft_core::status::Status;
use raft_core::types::{Index, NodeId, Term, Time};

use super::Invariant;
use super::decisions::Decisions;
use super::quorums::{is_quorum, reached_by_quorum};
use crate::node::{Job, Node, Process};
use crate::observation::{Observation, View};

/// I26.
#[derive(Debug, Default)]
pub(super) struct Peace {
    decisions: Decisions,
    followers: BTreeMap<NodeId, Follower>,
    leaders: BTreeMap<NodeId, Leadership>,
    /// Which voters would vote for whom, and in which term.
    pre_votes: BTreeMap<NodeId, (Term, BTreeSet<NodeId>)>,
}

/// What a node knows of leaders, by its own clock.
#[derive(Debug, Default)]
struct Follower {
    /// When a leader was heard from last.
    contact: Option<Time>,
    /// Whether it followed one, or led, after its last step.
    has_leader: bool,
    leads: bool,
    /// Since when its state machine owes something, and what that had applied when its replica stepped last.
    applying_since: Option<Time>,
    applied: Index,
    /// What arrived since its last step: the sender, the term, and whether only a vote was asked for, without the leader.
    arrived: Vec<(NodeId, Term, bool)>,
}

/// One leadership, by the clock of its leader.
#[derive(Debug)]
struct Leadership {
    term: Term,
    /// When it began, or its configuration changed last: new members count as heard from then (R31).
    since: Time,
    elected_at: Time,
    membership: Membership,
    heard: BTreeMap<NodeId, Time>,
}

impl Invariant for Peace {
    fn name(&self) -> &'static str {
        "I26"
    }

    fn statement(&self) -> &'static str {
        "an isolated node cannot raise a healthy majority's term, and a leader without a quorum steps down in time"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        for message in self.decisions.of(seen) {
            self.decided(message, view)?;
        }
        match *seen {
            Observation::Started { node, recovered, .. } => {
                // Where leases are kept, a voter that starts waits as if it had just heard a leader (R42).
                let machine = view.nodes.get(node);
                let is_bound =
                    machine.config.lease_drift_max.is_some() && recovered.hard_state.term > Term::ZERO;
                let follower = Follower {
                    contact: is_bound.then(|| view.machines.get(node).clock.at(view.now)),
                    ..Follower::default()
                };
                self.followers.insert(node, follower);
                Ok(())
            }
            Observation::Stopped { node } => {
                self.leaders.remove(&node);
                self.followers.remove(&node);
                Ok(())
            }
            Observation::Received { message } => {
                self.received(message, view);
                Ok(())
            }
            Observation::RoleChanged { node, change } => self.role_changed(node, change, view),
            Observation::MembershipChanged { node, membership } => {
                if let Some(leadership) = self.leaders.get_mut(&node) {
                    leadership.membership = membership.clone();
                    leadership.since = view.machines.get(node).clock.at(view.now);
                }
                Ok(())
            }
            Observation::Stepped { before, after } => self.stepped(before, after, view),
            _ => Ok(()),
        }
    }
}

impl Peace {
    // ---- an isolated node ----

    fn received(&mut self, message: &Message, view: &View<'_>) {
        let node = view.nodes.get(message.to);
        let now = view.machines.get(node.id()).clock.at(view.now);
        let follower = self.followers.entry(message.to).or_default();
        let is_unwanted = matches!(&message.body, Body::RequestVote(request) if !request.leadership_transfer);
        follower.arrived.push((message.from, message.term, is_unwanted));
        match &message.body {
            Body::AppendEntries(_) => {
                let term = node.status().map_or(Term::ZERO, |status| status.term);
                if message.term >= term && message.group == node.config.group {
                    follower.contact = Some(now);
                }
            }
            Body::AppendEntriesResponse(response) => {
                if let Some(leadership) = self.leaders.get_mut(&message.to)
                    && leadership.term == message.term
                    && !response.suspect
                {
                    leadership.heard.insert(message.from, now);
                }
            }
            Body::RequestPreVoteResponse(response) => {
                let (term, voters) = self.pre_votes.entry(message.to).or_default();
                if response.candidate_term > *term {
                    (*term, *voters) = (response.candidate_term, BTreeSet::new());
                }
                if response.candidate_term == *term && response.is_granted() {
                    voters.insert(message.from);
                }
            }
            _ => {}
        }
    }

    /// Whether a node heard a leader lately and must not help another one to be elected, as of its last step.
    fn is_bound(&self, id: NodeId, view: &View<'_>) -> Option<String> {
        let follower = self.followers.get(&id)?;
        let node = view.nodes.get(id);
        if follower.leads {
            return Some("it leads".to_owned());
        }
        // Without leases, who left its leader may help somebody else (R23).
        let contact = follower
            .contact
            .filter(|_| follower.has_leader || node.config.lease_drift_max.is_some())?;
        let age = view.machines.get(node.id()).clock.at(view.now).since(contact);
        let timeout = node.config.election_timeout;
        (age < timeout)
            .then(|| format!("it heard a leader {age:?} ago, and its election timeout is {timeout:?}"))
    }

    /// A replica decided to answer something.
    fn decided(&self, message: &Message, view: &View<'_>) -> Result<(), String> {
        let Body::RequestPreVoteResponse(response) = &message.body else {
            return Ok(());
        };
        match self
            .is_bound(message.from, view)
            .filter(|_| response.is_granted())
        {
            Some(why) => Err(format!(
                "node {} would vote for node {} in term {}, though {why}",
                message.from, message.to, response.candidate_term
            )),
            None => Ok(()),
        }
    }

    fn role_changed(&mut self, id: NodeId, change: &RoleChange, view: &View<'_>) -> Result<(), String> {
        self.leaders.remove(&id);
        match change.reason {
            RoleChangeReason::HigherTerm { from } => {
                self.adopted(id, from, change.term, view)?;
                // For what follows in this step it has left its leader.
                let follower = self.followers.entry(id).or_default();
                (follower.has_leader, follower.leads) = (change.leader.is_some(), false);
            }
            RoleChangeReason::PreVoteWon => self.pre_elected(id, change.term, view)?,
            _ => {}
        }
        if change.to == RoleKind::Leader {
            let now = view.machines.get(id).clock.at(view.now);
            let membership = view.history.step_memberships().last();
            let leadership = Leadership {
                term: change.term,
                since: now,
                elected_at: now,
                membership: membership.cloned().unwrap_or_default(),
                heard: BTreeMap::new(),
            };
            self.leaders.insert(id, leadership);
        }
        Ok(())
    }

    /// A replica adopted a term; not because of a vote request alone, if it hears a leader.
    fn adopted(&self, id: NodeId, from: NodeId, term: Term, view: &View<'_>) -> Result<(), String> {
        let arrived = self
            .followers
            .get(&id)
            .map_or(&[][..], |follower| &follower.arrived);
        let mut causes = arrived
            .iter()
            .filter(|(sender, its_term, _)| (*sender, *its_term) == (from, term));
        let is_unwanted = causes.clone().next().is_some() && causes.all(|(_, _, is_unwanted)| *is_unwanted);
        match self.is_bound(id, view).filter(|_| is_unwanted) {
            Some(why) => Err(format!(
                "node {id} adopted term {term} because node {from} asked for its vote, though {why}"
            )),
            None => Ok(()),
        }
    }

    /// A replica raises its term because a quorum would vote for it.
    fn pre_elected(&self, id: NodeId, term: Term, view: &View<'_>) -> Result<(), String> {
        let votes = self.pre_votes.get(&id).filter(|votes| votes.0 == term);
        let granted = |voter: NodeId| voter == id || votes.is_some_and(|(_, voters)| voters.contains(&voter));
        let memberships = view.history.step_memberships();
        if memberships
            .iter()
            .any(|membership| is_quorum(membership, granted))
        {
            return Ok(());
        }
        Err(format!(
            "node {id} campaigns in term {term} in {}; only {:?} would vote for it",
            memberships.last().cloned().unwrap_or_default(),
            votes.map(|votes| votes.1.iter().map(|voter| voter.0).collect::<Vec<_>>())
        ))
    }

    // ---- a leader ----

    fn stepped(&mut self, before: &Status, after: &Status, view: &View<'_>) -> Result<(), String> {
        let node = view.nodes.get(after.id);
        let follower = self.followers.entry(after.id).or_default();
        follower.arrived.clear();
        follower.has_leader = after.leader.is_some();
        follower.leads = after.role == RoleKind::Leader;
        let now = view.machines.get(node.id()).clock.at(view.now);
        let owes = |process: &Process| process.jobs.iter().any(|job| matches!(job, Job::Apply(_)));
        follower.applying_since = match follower.applying_since {
            _ if !node.process.as_ref().is_some_and(owes) => None,
            Some(since) if after.applied_index == follower.applied => Some(since),
            _ => Some(now),
        };
        follower.applied = after.applied_index;
        let applying_since = follower.applying_since;
        if follower.leads && before.role == RoleKind::Leader && before.term != after.term {
            return Err(format!(
                "node {} led term {} and leads term {} after one step, without an election",
                after.id, before.term, after.term
            ));
        }
        let Some(leadership) = self.leaders.get_mut(&after.id) else {
            return Ok(());
        };
        if before.asleep || after.asleep {
            // Who wakes counts everybody as heard from, once; I29 sees to it that it slept by the leave of all.
            leadership.since = now;
        }
        if after.asleep {
            return Ok(());
        }
        leadership.check_contact(node, now)?;
        match &node.process {
            Some(process) => leadership.check_progress(process, applying_since, after, now),
            None => Ok(()),
        }
    }
}

impl Leadership {
    /// R36: a quorum was heard from within an election timeout, or everybody is new.
    fn check_contact(&self, node: &Node, now: Time) -> Result<(), String> {
        let contact = Time::from_nanos(reached_by_quorum(&self.membership, |voter| {
            if voter == node.id() {
                return now.as_nanos();
            }
            let heard = self.heard.get(&voter).copied();
            heard.unwrap_or_default().max(self.since).as_nanos()
        }));
        let patience = node
            .process
            .as_ref()
            .map(|process| process.driver.raft().election_timeout());
        let timeout = patience.unwrap_or(node.config.election_timeout);
        let silence = now.since(contact);
        if silence >= timeout {
            return Err(format!(
                "node {} goes on leading term {}, and heard no quorum of {} for {silence:?}; its election timeout is \
                 {timeout:?}",
                node.id(),
                self.term,
                self.membership
            ));
        }
        let deadline = node
            .process
            .as_ref()
            .map(|process| process.driver.next_deadline());
        match deadline.filter(|deadline| *deadline > contact + timeout) {
            Some(deadline) => Err(format!(
                "node {} leads term {}, heard a quorum last at {contact:?}, and wants to look again at {deadline:?} only: \
                 that is later than an election timeout",
                node.id(),
                self.term
            )),
            None => Ok(()),
        }
    }

    /// R35: neither the own disk nor the own state machine stands still while somebody could take over. What a state
    /// machine was slow with before the election made the last leader give up, and would the next one.
    fn check_progress(
        &self,
        process: &Process,
        applying_since: Option<Time>,
        after: &Status,
        now: Time,
    ) -> Result<(), String> {
        let is_writing = process.writing.is_some() || !process.writes.is_empty();
        let writing = is_writing.then_some(process.writing_since);
        let applying = applying_since.filter(|since| *since >= self.elected_at);
        let timeout = process.driver.raft().config().election_timeout;
        let has_successor = after.peers.iter().any(|peer| {
            let is_voter = after.membership.is_voter(peer.id);
            let was_heard = peer.match_index > Index::ZERO && !peer.suspect;
            is_voter && was_heard && now.since(peer.last_contact) < timeout
        });
        for (what, since) in [("disk", writing), ("state machine", applying)] {
            let stalled = since.map(|since| now.since(since)).filter(|age| *age >= timeout);
            if let Some(age) = stalled.filter(|_| has_successor) {
                return Err(format!(
                    "node {} goes on leading term {}, its {what} stands still for {age:?}, and others could take over",
                    after.id, self.term
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
