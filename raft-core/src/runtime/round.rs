//! What one round of a worker asks for, over all of its replicas: collected, and handed over at its end.

use std::sync::Arc;
use std::time::Duration;

use super::apply::Job;
use super::group::{Alive, Answer};
use super::replica::{RoundTrips, SpareMails};
use super::shared::HostShared;
use super::snapshots;
use super::writer::PendingWrite;
use crate::driver::{ApplyBatch, Outcome, Ports};
use crate::effect::{FatalReason, Rest, RoleChange, RoleKind, SuspicionReason, Write};
use crate::input::{Input, LogRead, LogReadResult};
use crate::membership::Membership;
use crate::message::{InstallSnapshot, Message, SnapshotMeta};
use crate::pulse::PulseInput;
use crate::traits::PeerStatus;
use crate::types::{EntryId, NodeId, Ticket, Time};

/// What the replicas of a worker ask for in one round, and buffers that they share.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Messages by receiver, in the order in which they arose.
    outbox: Vec<(NodeId, Vec<Message>)>,
    pub(super) writes: Vec<PendingWrite>,
    jobs: Vec<(Alive, Vec<Job>)>,
    /// For the watch over other nodes.
    pub(super) rests: Vec<PulseInput>,
    /// Of the step that is under way; empty between two steps.
    step_writes: Vec<Write>,
    step_outcomes: Vec<(Ticket, Outcome)>,
    step_jobs: Vec<Job>,
    pub(super) inputs: Vec<Input>,
    pub(super) spare_mails: SpareMails,
    /// What the transport said last, and when.
    round_trips: Option<(Time, RoundTrips)>,
}

impl Round {
    /// Sends what the replicas said so far, one batch per peer.
    pub(super) fn send(&mut self, host: &HostShared) {
        for (to, messages) in &mut self.outbox {
            if !messages.is_empty() {
                host.transport.send(*to, std::mem::take(messages));
            }
        }
    }

    /// Hands everything over that is left.
    pub(super) fn flush(&mut self, host: &HostShared) {
        self.send(host);
        host.writes.push_all(&mut self.writes);
        host.pulses.push_all(&mut self.rests);
        for (group, mut jobs) in self.jobs.drain(..) {
            group.applying.push(&group, &mut jobs);
        }
    }

    /// The round trips, asked for at most once in `interval`.
    pub(super) fn round_trips(&mut self, host: &HostShared, now: Time, interval: Duration) -> RoundTrips {
        if let Some((measured, round_trips)) = &self.round_trips
            && now.since(*measured) < interval
        {
            return round_trips.clone();
        }
        let round_trip = |peer: PeerStatus| {
            let rtt = peer.rtt_us.filter(|_| peer.connected);
            rtt.map(|rtt| (peer.id, Duration::from_micros(rtt)))
        };
        let peers = host.transport.peers().into_iter();
        let round_trips: RoundTrips = peers.filter_map(round_trip).collect();
        self.round_trips = Some((now, round_trips.clone()));
        round_trips
    }

    fn queue(&mut self, to: NodeId, mut messages: Vec<Message>) {
        match self.outbox.iter_mut().find(|(peer, _)| *peer == to) {
            Some((_, queued)) if queued.is_empty() => *queued = messages,
            Some((_, queued)) => queued.append(&mut messages),
            None => self.outbox.push((to, messages)),
        }
    }
}

/// The surroundings of a replica during one step.
pub(super) struct StepPorts<'a> {
    group: &'a Alive,
    round: &'a mut Round,
    members_uncommitted: &'a mut bool,
}

impl<'a> StepPorts<'a> {
    pub(super) fn new(
        group: &'a Alive,
        round: &'a mut Round,
        members_uncommitted: &'a mut bool,
    ) -> StepPorts<'a> {
        StepPorts {
            group,
            round,
            members_uncommitted,
        }
    }

    /// The step is over: answers clients, and adds the rest to the round.
    pub(super) fn flush(self) {
        let (group, round) = (self.group, self.round);
        let writes = round.step_writes.drain(..).map(|write| PendingWrite {
            group: group.clone(),
            write,
        });
        round.writes.extend(writes);
        let questions = group.waiters.resolve(&mut round.step_outcomes);
        if !questions.is_empty() {
            round.step_jobs.push(Job::Ask(questions));
        }
        if round.step_jobs.is_empty() {
            return;
        }
        match round.jobs.last_mut() {
            Some((last, jobs)) if last.key == group.key => jobs.append(&mut round.step_jobs),
            _ => round
                .jobs
                .push((group.clone(), std::mem::take(&mut round.step_jobs))),
        }
    }

    /// The step panicked: nothing of it happens.
    pub(super) fn forget(self) {
        self.round.step_writes.clear();
        self.round.step_outcomes.clear();
        self.round.step_jobs.clear();
    }
}

impl Ports for StepPorts<'_> {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        self.round.queue(to, messages);
    }

    fn persist(&mut self, write: Write) {
        self.round.step_writes.push(write);
    }

    fn read_log(&mut self, request: LogRead) {
        let failed = LogReadResult {
            request,
            entries: Vec::new(),
        };
        let answer = Answer::new(self.group, Input::LogRead(failed));
        let group = Arc::clone(self.group);
        self.group.spawn(async move {
            let LogRead {
                first,
                last,
                bytes_max,
                ..
            } = request;
            let store = &group.host.log_store;
            match store.read(group.config.group, first, last, bytes_max).await {
                Ok(entries) => answer.succeed(Input::LogRead(LogReadResult { request, entries })),
                // Entries can be compacted while they are being asked for; whoever needs them gets a snapshot.
                Err(error) => tracing::warn!("{group} cannot read its log: {error}"),
            }
        });
    }

    fn apply(&mut self, batch: ApplyBatch) {
        self.round.step_jobs.push(Job::Apply(batch));
    }

    fn create_snapshot(&mut self, meta: SnapshotMeta) {
        self.round.step_jobs.push(Job::CreateSnapshot(meta));
    }

    fn restore_snapshot(&mut self, meta: SnapshotMeta) {
        self.round.step_jobs.push(Job::RestoreSnapshot(meta));
    }

    fn send_snapshot(&mut self, header: InstallSnapshot) {
        snapshots::send(self.group, header);
    }

    fn compact(&mut self, through: EntryId) {
        let group = Arc::clone(self.group);
        self.group.spawn(async move {
            if let Err(error) = group.host.log_store.compact(group.config.group, through).await {
                tracing::warn!(
                    "{group} cannot purge its log up to {through}, which keeps its space: {error}"
                );
            }
        });
    }

    fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        self.round.step_outcomes.push((ticket, outcome));
    }

    fn membership_changed(&mut self, membership: &Membership) {
        let group = self.group;
        tracing::info!("{} counts with the members {membership}", **group);
        group
            .host
            .transport
            .membership_changed(group.config.group, membership);
        *self.members_uncommitted = true;
    }

    fn suspected(&mut self, reason: SuspicionReason) {
        tracing::warn!(
            "{} neither votes nor counts until it has caught up with the group: {reason}",
            **self.group
        );
    }

    fn trust_restored(&mut self) {
        tracing::info!(
            "{} has caught up with the group, votes and counts again",
            **self.group
        );
    }

    fn role_changed(&mut self, change: &RoleChange) {
        tracing::info!("{}", describe(&self.group.to_string(), change));
    }

    fn rested(&mut self, rest: Rest) {
        let group = self.group.config.group;
        self.round.rests.push(PulseInput::Rested { group, rest });
    }

    fn fatal(&mut self, reason: FatalReason) {
        self.group.fail(super::NodeError::Fatal(reason));
    }
}

/// A role change of the replica with this name as a sentence.
fn describe(name: &str, change: &RoleChange) -> String {
    let RoleChange { term, reason, .. } = change;
    match (change.to, change.leader) {
        (RoleKind::Leader, _) => format!("{name} became leader of term {term}: {reason}"),
        (RoleKind::Follower, Some(leader)) => {
            format!("{name} follows node {leader} in term {term}: {reason}")
        }
        (RoleKind::Follower, None) => {
            format!("{name} is a follower without a leader in term {term}: {reason}")
        }
        (role @ (RoleKind::PreCandidate | RoleKind::Candidate), _) => {
            format!("{name} became {role} in term {term}: {reason}")
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::RoleChangeReason;
    use crate::types::Term;

    #[test]
    fn role_changes_read_as_sentences() {
        let change = |to, leader, reason| {
            let from = RoleKind::Candidate;
            let term = Term(3);
            describe(
                "node 2",
                &RoleChange {
                    from,
                    to,
                    term,
                    leader,
                    reason,
                },
            )
        };
        assert_eq!(
            change(RoleKind::Leader, Some(NodeId(2)), RoleChangeReason::ElectionWon),
            "node 2 became leader of term 3: a quorum voted for it"
        );
        assert_eq!(
            change(RoleKind::Follower, Some(NodeId(1)), RoleChangeReason::LeaderFound),
            "node 2 follows node 1 in term 3: the leader of this term made itself known"
        );
        let from = NodeId(3);
        assert_eq!(
            change(RoleKind::Follower, None, RoleChangeReason::HigherTerm { from }),
            "node 2 is a follower without a leader in term 3: node 3 has a higher term"
        );
        assert_eq!(
            change(RoleKind::PreCandidate, None, RoleChangeReason::ElectionTimeout),
            "node 2 became pre-candidate in term 3: heard from no leader for an election timeout"
        );
    }
}
