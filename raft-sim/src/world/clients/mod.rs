//! Clients: each asks one thing at a time, again and elsewhere if it hears nothing, and notes how it ended.

mod answers;

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::entry::{SessionCommand, SessionRequest};
use raft_core::input::{Input, Proposal, Proposed};
use raft_core::types::{GroupId, NodeId, Sequence, SessionId, Ticket, Time};

use super::World;
use crate::clock::Instant;
use crate::node::{Presence, ReplicaId};
use crate::observation::{CallId, Ending, Observation};
use crate::plan::Plan;
use crate::queue::Event;
use crate::random::Random;
use crate::violation::Violation;
use crate::workload::{self, Exchange, Moment, Request};

/// Of a hundred commands of a session: how many are sent to two nodes at once.
const TWICE_PERCENT: u32 = 8;
/// How often a command outside of sessions is tried, while it is known to have had no effect.
const PLAIN_ATTEMPTS_MAX: u32 = 5;
/// More clients than these a group does not have.
const CLIENTS_OF_A_GROUP: u64 = 1_000;
/// How long a session lives after its last use, in milliseconds: some expire while their client waits.
const SESSION_TTL_MS: [u64; 3] = [3_000, 20_000, 600_000];

/// The clients of a group, and who waits for which ticket.
#[derive(Debug)]
pub(crate) struct Clients {
    /// The number of the first: no two groups have a client of the same number, so that nobody asks two for the same.
    first: u64,
    clients: Vec<Client>,
    waiting: BTreeMap<Ticket, Waiting>,
    tickets: u64,
    calls: u64,
    moments: u64,
    /// What ended so far.
    pub(crate) exchanges: Vec<Exchange>,
    /// Whether nobody begins anything new.
    pub(crate) is_closing: bool,
}

#[derive(Debug)]
struct Client {
    random: Random,
    uses_session: bool,
    session: Option<SessionId>,
    sequence: Sequence,
    /// Whom it asks.
    node: NodeId,
    call: Option<Call>,
    /// Counts what it did: a timer that was set before something happened is void.
    turn: u64,
}

/// What a client waits for.
#[derive(Debug)]
struct Call {
    id: CallId,
    request: Request,
    called: Moment,
    attempts: u32,
    /// Whether an attempt of a command may have had an effect, or may have one yet.
    may_be_applied: bool,
}

/// Who waits for a ticket.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    node: NodeId,
    since: Instant,
    who: Who,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Call { client: usize, call: CallId },
    Session { client: usize },
    Operator,
}

impl Clients {
    /// The clients of a group, who know its first members.
    pub(crate) fn new(plan: &Plan, group: GroupId, voters: &[NodeId]) -> Clients {
        let first = (group.0 - 1) * CLIENTS_OF_A_GROUP;
        let client = |number: u64| {
            let mut random = Random::fork(plan.seed ^ (first + number), "client");
            Client {
                uses_session: random.percent(plan.settings.session_percent),
                session: None,
                sequence: Sequence::FIRST,
                node: voters[random.position(voters.len())],
                call: None,
                turn: 0,
                random,
            }
        };
        Clients {
            first,
            clients: (0..plan.settings.clients).map(client).collect(),
            waiting: BTreeMap::new(),
            tickets: 0,
            calls: 0,
            moments: 0,
            exchanges: Vec::new(),
            is_closing: false,
        }
    }

    fn ticket(&mut self, node: NodeId, since: Instant, who: Who) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, Waiting { node, since, who });
        ticket
    }

    fn moment(&mut self, now: Instant) -> Moment {
        self.moments += 1;
        Moment::new(Time::from_nanos(now.0), self.moments)
    }

    /// A process ended: nobody there answers any more.
    pub(crate) fn node_ended(&mut self, node: NodeId) {
        self.waiting.retain(|_, waiting| waiting.node != node);
    }

    /// Whether somebody waits for an answer of a running node since before `since` (R45).
    pub(crate) fn forgotten(&self, since: Instant) -> Option<String> {
        let (ticket, waiting) = self.waiting.iter().find(|(_, waiting)| waiting.since < since)?;
        Some(format!(
            "node {} never answered ticket {ticket}, asked at {}: {:?}",
            waiting.node, waiting.since, waiting.who
        ))
    }

    /// Calls under way count as unknown when the run ends.
    pub(crate) fn close(&mut self) -> Vec<Exchange> {
        let first = self.first;
        let mut history = std::mem::take(&mut self.exchanges);
        for (number, client) in self.clients.iter_mut().enumerate() {
            history.extend(client.call.take().map(|call| Exchange {
                client: first + number as u64,
                request: call.request,
                called: call.called,
                outcome: workload::Outcome::Unknown,
            }));
        }
        history.sort_by_key(|exchange| exchange.called);
        history
    }
}

impl World<'_> {
    pub(super) fn begin_clients(&mut self, group: GroupId) {
        for client in 0..self.groups.get(group).clients.clients.len() {
            self.plan_turn(group, client, Duration::from_millis(200));
        }
    }

    /// A ticket of an operator.
    pub(super) fn operator_ticket(&mut self, asked: ReplicaId) -> Ticket {
        let clients = &mut self.groups.get_mut(asked.group).clients;
        clients.ticket(asked.node, self.now, Who::Operator)
    }

    /// A client acts next after about so long; whatever it planned before is void.
    fn plan_turn(&mut self, group: GroupId, client: usize, mean: Duration) {
        let one = self.client_mut(group, client);
        one.turn += 1;
        let micros = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX);
        let after = Duration::from_micros(1 + one.random.exponential(micros));
        let turn = one.turn;
        let at = self.after_rest(self.now + after);
        self.queue.push(at, Event::Client { group, client, turn });
    }

    fn client_mut(&mut self, group: GroupId, client: usize) -> &mut Client {
        &mut self.groups.get_mut(group).clients.clients[client]
    }

    /// Where groups sleep, clients rest now and then so that they may: nobody begins anything in every other `REST`.
    fn after_rest(&self, at: Instant) -> Instant {
        const REST: u64 = 4_000_000_000;
        let rests = self.is_faulty && self.plan.settings.quiesce_after_ms.is_some();
        if rests && at.0 / REST % 2 == 1 {
            Instant(at.0 + REST - at.0 % REST)
        } else {
            at
        }
    }

    /// A client begins something, or tries again what it began.
    pub(super) fn client_acts(&mut self, group: GroupId, client: usize, turn: u64) -> Result<(), Violation> {
        let machines = self.machines.len() as u64;
        let of = self.groups.get_mut(group);
        let (is_closing, is_gone) = (of.clients.is_closing, of.is_gone());
        let first = of.clients.first;
        let one = &mut of.clients.clients[client];
        if one.turn != turn {
            return Ok(());
        }
        if is_gone {
            // Whoever asks learns that there is no such group.
            let pending = one.call.as_ref().map(|call| call.id);
            return pending.map_or(Ok(()), |id| self.end_call(group, client, id, Ending::Unknown));
        }
        if let Some(call) = &one.call {
            let (id, attempts) = (call.id, call.attempts);
            let repeatable = call.request.is_read() || one.uses_session;
            if attempts > 0 {
                // Nobody answered, or nobody was there.
                one.node = NodeId(1 + one.random.below(machines));
                if !repeatable && (call.may_be_applied || attempts >= PLAIN_ATTEMPTS_MAX) {
                    let ending = if call.may_be_applied {
                        Ending::Unknown
                    } else {
                        Ending::Refused
                    };
                    return self.end_call(group, client, id, ending);
                }
            }
            return self.attempt(group, client);
        }
        if is_closing {
            return Ok(());
        }
        if one.uses_session && one.session.is_none() {
            return self.open_session(group, client);
        }
        let request = of.requests.next(first + client as u64, &mut one.random);
        of.clients.calls += 1;
        let id = CallId(of.clients.calls);
        let called = of.clients.moment(self.now);
        self.observe(
            group,
            &Observation::Called {
                call: id,
                request: &request,
            },
        )?;
        self.client_mut(group, client).call = Some(Call {
            id,
            request,
            called,
            attempts: 0,
            may_be_applied: false,
        });
        self.attempt(group, client)
    }

    fn open_session(&mut self, group: GroupId, client: usize) -> Result<(), Violation> {
        self.plan_turn(group, client, Duration::from_millis(2_000));
        let machines = self.machines.len() as u64;
        let one = self.client_mut(group, client);
        one.node = NodeId(1 + one.random.below(machines));
        let ttl_ms = *one.random.one_of(&SESSION_TTL_MS).unwrap_or(&SESSION_TTL_MS[0]);
        let at = ReplicaId {
            group,
            node: one.node,
        };
        if !self.is_reachable(at) {
            if self.plan.has_many_groups() && self.groups.node(at).presence != Presence::Here {
                // Most machines have no such group, and say so at once.
                self.plan_turn(group, client, Duration::from_millis(40));
            }
            return Ok(());
        }
        let clients = &mut self.groups.get_mut(group).clients;
        let ticket = clients.ticket(at.node, self.now, Who::Session { client });
        let command = Proposed::Session(SessionRequest::Open { ttl_ms });
        self.step(at, vec![Input::Propose(vec![Proposal { ticket, command }])])
    }

    fn is_reachable(&self, at: ReplicaId) -> bool {
        self.groups.node(at).process.is_some() && !self.machines.get(at.node).is_paused(self.now)
    }

    /// A client sends what it asks to the node of its choice; sometimes to another one as well.
    fn attempt(&mut self, group: GroupId, client: usize) -> Result<(), Violation> {
        let timeout = self.plan.settings.election_timeout() * 2;
        self.plan_turn(group, client, timeout);
        let machines = self.machines.len() as u64;
        let one = self.client_mut(group, client);
        let node = one.node;
        if !self.is_reachable(ReplicaId { group, node }) {
            // Nobody takes the connection: that is known at once.
            if let Some(call) = &mut self.client_mut(group, client).call {
                call.attempts += 1;
            }
            self.plan_turn(group, client, Duration::from_millis(40));
            return Ok(());
        }
        let of = self.groups.get_mut(group);
        let one = &mut of.clients.clients[client];
        let twice = one.uses_session && one.random.percent(TWICE_PERCENT);
        let other = NodeId(1 + one.random.below(machines));
        if let Some(call) = &mut one.call {
            call.attempts += 1;
            of.watch.tally.retries += u64::from(call.attempts > 1);
        }
        self.attempt_at(ReplicaId { group, node }, client)?;
        if twice && other != node && self.client_mut(group, client).call.is_some() {
            self.attempt_at(ReplicaId { group, node: other }, client)?;
        }
        Ok(())
    }

    fn attempt_at(&mut self, at: ReplicaId, client: usize) -> Result<(), Violation> {
        if !self.is_reachable(at) {
            return Ok(());
        }
        let ReplicaId { group, node } = at;
        let one = self.client_mut(group, client);
        let Some(call) = &one.call else { return Ok(()) };
        let (id, request) = (call.id, call.request.clone());
        let in_session = one
            .session
            .filter(|_| !request.is_read())
            .map(|session| (session, one.sequence));
        let seen = Observation::Attempted {
            call: id,
            node,
            in_session: in_session.map(|(session, sequence)| (session.0, sequence.0)),
        };
        self.observe(group, &seen)?;
        let now = self.now;
        let clients = &mut self.groups.get_mut(group).clients;
        let ticket = clients.ticket(node, now, Who::Call { client, call: id });
        let command = match (request, in_session) {
            (Request::Read(_), _) => return self.step(at, vec![Input::Read(vec![ticket])]),
            (Request::Write(command), None) => Proposed::Command(command),
            (Request::Write(command), Some((session, sequence))) => {
                Proposed::Session(SessionRequest::Command(SessionCommand {
                    session,
                    sequence,
                    acknowledged_below: sequence,
                    command,
                }))
            }
        };
        if let Some(call) = &mut self.client_mut(group, client).call {
            call.may_be_applied = true;
        }
        self.step(at, vec![Input::Propose(vec![Proposal { ticket, command }])])
    }
}
