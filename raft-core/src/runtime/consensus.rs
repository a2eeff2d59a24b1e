//! The consensus task: everything that arrived becomes one step of the driver.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::apply::Job;
use super::inbox::{Arrivals, Taken};
use super::shared::{Answer, Shared};
use super::snapshots;
use super::writer;
use crate::driver::{ApplyBatch, Driver, Outcome, Ports};
use crate::effect::{FatalReason, RoleChange, RoleKind, SuspicionReason, Write};
use crate::input::{ChangeRequest, Input, LogRead, LogReadResult, Proposal, Proposed};
use crate::membership::Membership;
use crate::message::{InstallSnapshot, Message, SnapshotMeta};
use crate::raft::Raft;
use crate::request::{ClientRequest, RefusalReason};
use crate::traits::PeerStatus;
use crate::types::{EntryId, NodeId, Ticket, Time};

/// How old the published status may be while the task never rests.
const STATUS_AGE_MAX: Duration = Duration::from_millis(1);

/// The monotonic clock of a node, as the core sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock {
            origin: Instant::now(),
        }
    }

    pub(super) fn now(self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn instant(self, time: Time) -> Instant {
        self.origin + time.since(Time::ZERO)
    }
}

/// Runs until the node is to stop; then every request that the driver knows of is resolved.
pub(super) async fn run(shared: Arc<Shared>, mut driver: Driver, clock: Clock) {
    let mut ports = NodePorts::new(shared.clone());
    let mut arrivals = Arrivals::default();
    let mut inputs = Vec::new();
    let mut timer = Timer::new(clock);
    let mut published = clock.now();
    let mut round_trips = RoundTrips::new(&shared);
    ports.tell_committed_members(driver.raft());
    loop {
        let taken = shared.inbox.take(&mut arrivals);
        if taken == Taken::Stop {
            break;
        }
        let mut now = clock.now();
        if taken == Taken::Nothing {
            shared.status.send_replace(driver.status());
            published = now;
            timer.wait(&shared, driver.next_deadline()).await;
            now = clock.now();
            if now < driver.next_deadline() {
                continue;
            }
        }
        sort(&shared, &mut arrivals, &mut inputs);
        inputs.extend(round_trips.measure(&shared, now));
        if now >= driver.next_deadline() {
            inputs.push(Input::Tick);
        }
        driver.step_all(now, inputs.drain(..), &mut ports);
        while ports.write_here(&mut inputs).await {
            driver.step_all(now, inputs.drain(..), &mut ports);
        }
        for (question, reply) in arrivals.questions.drain(..) {
            // Whoever asked may have gone.
            drop(reply.send(driver.raft().explain(now, question)));
        }
        ports.tell_committed_members(driver.raft());
        ports.remove_old_snapshots(driver.raft());
        ports.flush();
        if now.since(published) >= STATUS_AGE_MAX {
            shared.status.send_replace(driver.status());
            published = now;
        }
        if shared.inbox.has_more() {
            // Whoever shares the thread may have something to say as well; that makes the next batch larger.
            tokio::task::yield_now().await;
        }
    }
    let left = shared.inbox.close();
    shared.waiters.refuse(left.into_waiters(), RefusalReason::Stopped);
    driver.stop(&mut ports);
    ports.flush();
    shared.status.send_replace(driver.status());
}

/// Turns what arrived into inputs: first what makes room, then what peers say, then what clients want.
fn sort(shared: &Shared, arrivals: &mut Arrivals, inputs: &mut Vec<Input>) {
    inputs.append(&mut arrivals.completions);
    inputs.extend(arrivals.messages.drain(..).map(Input::Receive));
    if std::mem::take(&mut arrivals.campaign) {
        inputs.push(Input::Campaign);
    }
    if !arrivals.proposals.is_empty() {
        let mut proposals = Vec::with_capacity(arrivals.proposals.len());
        let mut commands = Vec::with_capacity(arrivals.proposals.len());
        let waiters = arrivals.proposals.drain(..).map(|(command, waiter)| {
            commands.push(command);
            waiter
        });
        let mut tickets = Vec::with_capacity(waiters.len());
        shared.waiters.register(waiters, |ticket| tickets.push(ticket));
        let pairs = tickets.into_iter().zip(commands);
        proposals.extend(pairs.map(|(ticket, command)| Proposal { ticket, command }));
        inputs.push(Input::Propose(proposals));
    }
    if !arrivals.reads.is_empty() {
        let mut tickets = Vec::with_capacity(arrivals.reads.len());
        shared
            .waiters
            .register(arrivals.reads.drain(..), |ticket| tickets.push(ticket));
        inputs.push(Input::Read(tickets));
    }
    for (request, waiter) in arrivals.requests.drain(..) {
        let mut request = Some(request);
        shared.waiters.register([waiter], |ticket| {
            inputs.extend(request.take().map(|request| request_input(ticket, request)));
        });
    }
}

/// A request other than a proposal or a read, as the input that it is.
fn request_input(ticket: Ticket, request: ClientRequest) -> Input {
    match request {
        ClientRequest::Propose(command) => Input::Propose(vec![Proposal {
            ticket,
            command: command.into(),
        }]),
        ClientRequest::Session(request) => Input::Propose(vec![Proposal {
            ticket,
            command: Proposed::Session(request),
        }]),
        ClientRequest::ReadIndex => Input::Read(vec![ticket]),
        ClientRequest::ChangeMembership { changes, dry_run } => Input::ChangeMembership(ChangeRequest {
            ticket,
            changes,
            dry_run,
        }),
        ClientRequest::TransferLeadership(to) => Input::TransferLeadership { ticket, to },
    }
}

/// Asks the transport how far the peers are, at most once in a heartbeat interval: whoever hears a leader wakes up as often.
struct RoundTrips {
    interval: Duration,
    /// None where it makes no difference.
    due: Option<Time>,
}

impl RoundTrips {
    fn new(shared: &Shared) -> RoundTrips {
        RoundTrips {
            interval: shared.config.heartbeat_interval,
            due: shared.config.election_timeout_max.map(|_| Time::ZERO),
        }
    }

    fn measure(&mut self, shared: &Shared, now: Time) -> Option<Input> {
        self.due.filter(|due| now >= *due)?;
        self.due = Some(now + self.interval);
        let round_trip = |peer: PeerStatus| {
            let rtt = peer.rtt_us.filter(|_| peer.connected);
            rtt.map(|rtt| (peer.id, Duration::from_micros(rtt)))
        };
        let peers = shared.transport.peers().into_iter();
        Some(Input::RoundTrips(peers.filter_map(round_trip).collect()))
    }
}

/// One timer for all deadlines. They mostly move away, so it is set again only when it has fired too early, or a
/// deadline has come nearer.
struct Timer {
    clock: Clock,
    set_for: Time,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    fn new(clock: Clock) -> Timer {
        Timer {
            clock,
            set_for: Time::ZERO,
            sleep: Box::pin(sleep_until(clock.origin)),
        }
    }

    /// Waits until something arrives, or at most until `deadline`.
    async fn wait(&mut self, shared: &Shared, deadline: Time) {
        if deadline < self.set_for || self.sleep.is_elapsed() {
            let instant = self.clock.instant(deadline);
            self.set_for = deadline;
            self.sleep.as_mut().reset(instant);
        }
        tokio::select! {
            () = shared.inbox.wait() => {}
            () = self.sleep.as_mut() => {}
        }
    }
}

/// Collects what a step asks for and hands it over at its end, one lock per queue.
struct NodePorts {
    shared: Arc<Shared>,
    writes: Vec<Write>,
    jobs: Vec<Job>,
    outcomes: Vec<(Ticket, Outcome)>,
    /// The transport knows the latest configuration, and not yet that it is committed.
    members_uncommitted: bool,
    /// The log store never waits: there is nothing to overlap a write with.
    writes_here: bool,
    /// Snapshots that are older were removed.
    oldest_snapshot: EntryId,
}

impl NodePorts {
    fn new(shared: Arc<Shared>) -> NodePorts {
        NodePorts {
            writes_here: !shared.log_store.may_block(),
            shared,
            writes: Vec::new(),
            jobs: Vec::new(),
            outcomes: Vec::new(),
            members_uncommitted: true,
            oldest_snapshot: EntryId::ZERO,
        }
    }

    /// Writes in this task if the log store never waits. Returns whether the replica has something to hear of it.
    async fn write_here(&mut self, inputs: &mut Vec<Input>) -> bool {
        self.writes_here
            && !self.writes.is_empty()
            && writer::write(&self.shared, &mut self.writes, inputs)
                .await
                .is_ok()
    }

    /// Lets the transport cut off who left, as soon as that cannot be taken back.
    fn tell_committed_members(&mut self, raft: &Raft) {
        if !self.members_uncommitted {
            return;
        }
        if let Some(membership) = raft.committed_membership() {
            self.members_uncommitted = false;
            let group = self.shared.config.group;
            self.shared.transport.membership_committed(group, membership);
        }
    }

    /// Removes snapshots as soon as no start can need them any more.
    fn remove_old_snapshots(&mut self, raft: &Raft) {
        let needed = raft.oldest_needed_snapshot();
        if needed > self.oldest_snapshot {
            self.oldest_snapshot = needed;
            snapshots::remove_older(&self.shared, needed);
        }
    }

    fn flush(&mut self) {
        self.shared.writes.push_all(&mut self.writes);
        let questions = self.shared.waiters.resolve(&mut self.outcomes);
        if !questions.is_empty() {
            self.jobs.push(Job::Ask(questions));
        }
        self.shared.jobs.push_all(&mut self.jobs);
    }
}

impl Ports for NodePorts {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        self.shared.transport.send(to, messages);
    }

    fn persist(&mut self, write: Write) {
        self.writes.push(write);
    }

    fn read_log(&mut self, request: LogRead) {
        let failed = LogReadResult {
            request,
            entries: Vec::new(),
        };
        let answer = Answer::new(&self.shared, Input::LogRead(failed));
        let shared = self.shared.clone();
        self.shared.spawn(async move {
            let LogRead {
                first,
                last,
                bytes_max,
                ..
            } = request;
            match shared
                .log_store
                .read(shared.config.group, first, last, bytes_max)
                .await
            {
                Ok(entries) => answer.succeed(Input::LogRead(LogReadResult { request, entries })),
                // Entries can be compacted while they are being asked for; whoever needs them gets a snapshot.
                Err(error) => tracing::warn!("node {} cannot read its log: {error}", shared.config.id),
            }
        });
    }

    fn apply(&mut self, batch: ApplyBatch) {
        self.jobs.push(Job::Apply(batch));
    }

    fn create_snapshot(&mut self, meta: SnapshotMeta) {
        self.jobs.push(Job::CreateSnapshot(meta));
    }

    fn restore_snapshot(&mut self, meta: SnapshotMeta) {
        self.jobs.push(Job::RestoreSnapshot(meta));
    }

    fn send_snapshot(&mut self, header: InstallSnapshot) {
        snapshots::send(&self.shared, header);
    }

    fn compact(&mut self, through: EntryId) {
        let shared = self.shared.clone();
        self.shared.spawn(async move {
            if let Err(error) = shared.log_store.compact(shared.config.group, through).await {
                let id = shared.config.id;
                tracing::warn!(
                    "node {id} cannot purge its log up to {through}, which keeps its space: {error}"
                );
            }
        });
    }

    fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        self.outcomes.push((ticket, outcome));
    }

    fn membership_changed(&mut self, membership: &Membership) {
        tracing::info!(
            "node {} counts with the members {membership}",
            self.shared.config.id
        );
        let group = self.shared.config.group;
        self.shared.transport.membership_changed(group, membership);
        self.members_uncommitted = true;
    }

    fn suspected(&mut self, reason: SuspicionReason) {
        let id = self.shared.config.id;
        tracing::warn!("node {id} neither votes nor counts until it has caught up with the group: {reason}");
    }

    fn trust_restored(&mut self) {
        let id = self.shared.config.id;
        tracing::info!("node {id} has caught up with the group, votes and counts again");
    }

    fn role_changed(&mut self, change: &RoleChange) {
        tracing::info!("{}", describe(self.shared.config.id, change));
    }

    fn fatal(&mut self, reason: FatalReason) {
        self.shared.fail(super::NodeError::Fatal(reason));
    }
}

/// A role change as a sentence.
fn describe(id: NodeId, change: &RoleChange) -> String {
    let RoleChange { term, reason, .. } = change;
    match (change.to, change.leader) {
        (RoleKind::Leader, _) => format!("node {id} became leader of term {term}: {reason}"),
        (RoleKind::Follower, Some(leader)) => {
            format!("node {id} follows node {leader} in term {term}: {reason}")
        }
        (RoleKind::Follower, None) => {
            format!("node {id} is a follower without a leader in term {term}: {reason}")
        }
        (role @ (RoleKind::PreCandidate | RoleKind::Candidate), _) => {
            format!("node {id} became {role} in term {term}: {reason}")
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
                NodeId(2),
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
