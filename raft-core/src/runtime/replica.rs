//! One replica in the hands of its worker: the driver, and what waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::error::NodeError;
use super::group::{Alive, Group, Key};
use super::round::{Round, StepPorts};
use super::snapshots;
use super::waiters::Waiter;
use crate::driver::Driver;
use crate::effect::Rest;
use crate::input::{ChangeRequest, Input, Proposal, Proposed};
use crate::message::Message;
use crate::pulse::PulseInput;
use crate::request::ClientRequest;
use crate::types::{EntryId, NodeId, Ticket, Time};

/// How many messages, and how many requests of clients, a replica takes in one step while others share its worker: their
/// turn comes soon, however much one of them has to do.
pub(super) const STEP_INPUTS_MAX: usize = 1_024;

/// How many empty mails a worker keeps for whoever gets something next.
const SPARE_MAILS_MAX: usize = 64;

/// A replica that its worker owns outright: no lock guards it.
#[derive(Debug)]
pub(super) struct Replica {
    alive: Alive,
    driver: Driver,
    /// None while nothing waits: an idle replica needs no memory for it.
    mail: Option<Box<Mail>>,
    /// When the worker will look at the deadline of this replica, if nothing happens before.
    pub(super) alarm: Time,
    /// Its status changed since it was published.
    pub(super) is_unpublished: bool,
    /// The transport knows the latest configuration, and not yet that it is committed.
    pub(super) members_uncommitted: bool,
    /// Snapshots that are older were removed.
    oldest_snapshot: EntryId,
    /// When it wants to know the round trips; none where they make no difference.
    round_trips_due: Option<Time>,
}

/// What waits for the next step of one replica.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) completions: Vec<Input>,
    pub(super) messages: Vec<Message>,
    pub(super) proposals: Vec<(Proposed, Waiter)>,
    pub(super) reads: Vec<Waiter>,
    pub(super) requests: Vec<(ClientRequest, Waiter)>,
    pub(super) campaign: bool,
}

/// Empty ones, with the memory that they had.
pub(super) type SpareMails = Vec<Box<Mail>>;

impl Mail {
    fn is_empty(&self) -> bool {
        self.completions.is_empty()
            && self.messages.is_empty()
            && self.proposals.is_empty()
            && self.reads.is_empty()
            && self.requests.is_empty()
            && !self.campaign
    }

    /// The clients that wait.
    fn into_waiters(self) -> impl Iterator<Item = Waiter> {
        let proposals = self.proposals.into_iter().map(|(_, waiter)| waiter);
        let requests = self.requests.into_iter().map(|(_, waiter)| waiter);
        proposals.chain(requests).chain(self.reads)
    }
}

/// What a step left behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// Everything that waited was taken.
    Done,
    /// Something waits still.
    More,
    /// The step panicked. The replica must not step again.
    Panicked,
}

impl Replica {
    pub(super) fn new(alive: Alive, driver: Driver) -> Replica {
        Replica {
            round_trips_due: alive.config.election_timeout_max.map(|_| Time::ZERO),
            alive,
            driver,
            mail: None,
            alarm: super::timetable::NEVER,
            is_unpublished: false,
            members_uncommitted: true,
            oldest_snapshot: EntryId::ZERO,
        }
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        &self.alive
    }

    pub(super) fn key(&self) -> Key {
        self.alive.key
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(super) fn next_deadline(&self) -> Time {
        self.driver.next_deadline()
    }

    pub(super) fn publish(&mut self) {
        self.is_unpublished = false;
        if self.driver.raft().is_asleep() {
            self.driver.shrink();
        }
        self.alive.status.send_replace(self.driver.status());
    }

    /// Where what arrives for the replica is put; `spare` are empty ones. Whether it is the first that arrives.
    pub(super) fn mail(&mut self, spare: &mut SpareMails) -> (&mut Mail, bool) {
        let is_first = self.mail.is_none();
        let mail = self.mail.get_or_insert_with(|| spare.pop().unwrap_or_default());
        (mail, is_first)
    }

    /// How many messages wait.
    pub(super) fn waiting_messages(&self) -> usize {
        self.mail.as_ref().map_or(0, |mail| mail.messages.len())
    }

    /// One step for what waits, at most `inputs_max` messages and as many requests, and for the deadline if it has come.
    pub(super) fn step(&mut self, now: Time, inputs_max: usize, round: &mut Round) -> Stepped {
        let mut inputs = std::mem::take(&mut round.inputs);
        let mut more = false;
        if let Some(mut mail) = self.mail.take() {
            self.sort(&mut mail, inputs_max, &mut inputs);
            more = !mail.is_empty();
            if more {
                self.mail = Some(mail);
            } else if round.spare_mails.len() < SPARE_MAILS_MAX {
                round.spare_mails.push(mail);
            }
        }
        inputs.extend(self.round_trips(now, round));
        if now >= self.driver.next_deadline() {
            inputs.push(Input::Tick);
        }
        let stepped = self.drive(now, &mut inputs, round);
        round.inputs = inputs;
        match stepped {
            Stepped::Done if more => Stepped::More,
            stepped => stepped,
        }
    }

    /// A step for what the replica hears of its writes.
    pub(super) fn step_with(&mut self, now: Time, inputs: &mut Vec<Input>, round: &mut Round) -> Stepped {
        self.drive(now, inputs, round)
    }

    fn drive(&mut self, now: Time, inputs: &mut Vec<Input>, round: &mut Round) -> Stepped {
        let mut ports = StepPorts::new(&self.alive, round, &mut self.members_uncommitted);
        let driver = &mut self.driver;
        // Whatever is half done is never looked at again.
        let step = AssertUnwindSafe(|| driver.step_all(now, inputs.drain(..), &mut ports));
        if catch_unwind(step).is_err() {
            ports.forget();
            inputs.clear();
            return Stepped::Panicked;
        }
        ports.flush();
        self.tell_committed_members();
        self.remove_old_snapshots();
        Stepped::Done
    }

    /// Lets the transport cut off who left, as soon as that cannot be taken back.
    pub(super) fn tell_committed_members(&mut self) {
        if !self.members_uncommitted {
            return;
        }
        if let Some(membership) = self.driver.raft().committed_membership() {
            self.members_uncommitted = false;
            let group = self.alive.config.group;
            self.alive.host.transport.membership_committed(group, membership);
        }
    }

    /// Removes snapshots as soon as no start can need them any more.
    fn remove_old_snapshots(&mut self) {
        let needed = self.driver.raft().oldest_needed_snapshot();
        if needed > self.oldest_snapshot {
            self.oldest_snapshot = needed;
            snapshots::remove_older(&self.alive, needed);
        }
    }

    fn round_trips(&mut self, now: Time, round: &mut Round) -> Option<Input> {
        self.round_trips_due.filter(|due| now >= *due)?;
        let interval = self.alive.config.heartbeat_interval;
        self.round_trips_due = Some(now + interval);
        Some(Input::RoundTrips(round.round_trips(
            &self.alive.host,
            now,
            interval,
        )))
    }

    /// Turns mail into inputs: first what makes room, then what peers say, then what clients want.
    fn sort(&self, mail: &mut Mail, inputs_max: usize, inputs: &mut Vec<Input>) {
        inputs.append(&mut mail.completions);
        let messages = mail.messages.len().min(inputs_max);
        inputs.extend(mail.messages.drain(..messages).map(Input::Receive));
        if std::mem::take(&mut mail.campaign) {
            inputs.push(Input::Campaign);
        }
        let (waiters, mut taken_bytes) = (&self.alive.waiters, 0);
        let proposals = mail.proposals.len().min(inputs_max);
        if proposals > 0 {
            let mut commands = Vec::with_capacity(proposals);
            let mut tickets = Vec::with_capacity(proposals);
            let drained = mail.proposals.drain(..proposals).map(|(command, waiter)| {
                taken_bytes += command.bytes();
                commands.push(command);
                waiter
            });
            waiters.register(drained, |ticket| tickets.push(ticket));
            let pairs = tickets.into_iter().zip(commands);
            let proposals = pairs.map(|(ticket, command)| Proposal { ticket, command });
            inputs.push(Input::Propose(proposals.collect()));
        }
        let reads = mail.reads.len().min(inputs_max);
        if reads > 0 {
            let mut tickets = Vec::with_capacity(reads);
            waiters.register(mail.reads.drain(..reads), |ticket| tickets.push(ticket));
            inputs.push(Input::Read(tickets));
        }
        for (request, waiter) in mail.requests.drain(..) {
            taken_bytes += request.size_bytes();
            let mut request = Some(request);
            waiters.register([waiter], |ticket| {
                inputs.extend(request.take().map(|request| request_input(ticket, request)));
            });
        }
        if taken_bytes > 0 {
            self.alive.release_bytes(taken_bytes);
        }
    }

    /// Ends every request that the driver knows of, and lets go of the replica.
    pub(super) fn stop(mut self, round: &mut Round) {
        let mut ports = StepPorts::new(&self.alive, round, &mut self.members_uncommitted);
        self.driver.stop(&mut ports);
        ports.flush();
        self.publish();
    }

    /// The replica cannot go on: its driver is not to be trusted any more.
    pub(super) fn abandon(self) {
        self.alive.fail(NodeError::Panicked("replica"));
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mail) = self.mail.take() {
            self.alive.refuse_stopped(mail.into_waiters());
        }
        // Nobody sleeps under it any more, and it need not be woken.
        let (group, rest) = (self.alive.config.group, Rest::Awake);
        let rested = PulseInput::Rested { group, rest };
        self.alive.host.pulses.push_all(&mut vec![rested]);
        self.alive.replica_stopped();
    }
}

/// The peers that are connected, with the time that a message takes there and back.
pub(super) type RoundTrips = Vec<(NodeId, Duration)>;

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
