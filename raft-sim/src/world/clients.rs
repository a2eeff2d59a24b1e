//! Clients: each asks one thing at a time, again and elsewhere if it hears nothing, and notes how it ended.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use raft_core::driver::Outcome;
use raft_core::entry::{SessionCommand, SessionRequest};
use raft_core::input::{Input, Proposal, Proposed};
use raft_core::request::{RefusalReason, TransferResult};
use raft_core::sessions::Reply;
use raft_core::types::{NodeId, Sequence, SessionId, Ticket, Time};

use super::World;
use crate::clock::Instant;
use crate::node::Job;
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
/// How long a session lives after its last use, in milliseconds: some expire while their client waits.
const SESSION_TTL_MS: [u64; 3] = [3_000, 20_000, 600_000];

/// All clients, and who waits for which ticket.
#[derive(Debug)]
pub(crate) struct Clients {
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
    pub(crate) fn new(plan: &Plan) -> Clients {
        let client = |number: u64| {
            let mut random = Random::fork(plan.seed ^ number, "client");
            Client {
                uses_session: random.percent(plan.settings.session_percent),
                session: None,
                sequence: Sequence::FIRST,
                node: NodeId(1 + random.below(plan.voters)),
                call: None,
                turn: 0,
                random,
            }
        };
        Clients {
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
        let mut history = std::mem::take(&mut self.exchanges);
        for (number, client) in self.clients.iter_mut().enumerate() {
            history.extend(client.call.take().map(|call| Exchange {
                client: number as u64,
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
    pub(super) fn begin_clients(&mut self) {
        for client in 0..self.clients.clients.len() {
            self.plan_turn(client, Duration::from_millis(200));
        }
    }

    /// A ticket of an operator.
    pub(super) fn operator_ticket(&mut self, node: NodeId) -> Ticket {
        self.clients.ticket(node, self.now, Who::Operator)
    }

    /// A client acts next after about so long; whatever it planned before is void.
    fn plan_turn(&mut self, client: usize, mean: Duration) {
        let one = &mut self.clients.clients[client];
        one.turn += 1;
        let micros = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX);
        let after = Duration::from_micros(1 + one.random.exponential(micros));
        let turn = one.turn;
        let at = self.after_rest(self.now + after);
        self.queue.push(at, Event::Client { client, turn });
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
    pub(super) fn client_acts(&mut self, client: usize, turn: u64) -> Result<(), Violation> {
        let is_closing = self.clients.is_closing;
        let one = &mut self.clients.clients[client];
        if one.turn != turn {
            return Ok(());
        }
        if let Some(call) = &one.call {
            let (id, attempts) = (call.id, call.attempts);
            let repeatable = call.request.is_read() || one.uses_session;
            if attempts > 0 {
                // Nobody answered, or nobody was there.
                one.node = NodeId(1 + one.random.below(self.nodes.len() as u64));
                if !repeatable && (call.may_be_applied || attempts >= PLAIN_ATTEMPTS_MAX) {
                    let ending = if call.may_be_applied {
                        Ending::Unknown
                    } else {
                        Ending::Refused
                    };
                    return self.end_call(client, id, ending);
                }
            }
            return self.attempt(client);
        }
        if is_closing {
            return Ok(());
        }
        if one.uses_session && one.session.is_none() {
            return self.open_session(client);
        }
        let request = self.requests.next(client as u64, &mut one.random);
        self.clients.calls += 1;
        let id = CallId(self.clients.calls);
        let called = self.clients.moment(self.now);
        self.observe(&Observation::Called {
            call: id,
            request: &request,
        })?;
        self.clients.clients[client].call = Some(Call {
            id,
            request,
            called,
            attempts: 0,
            may_be_applied: false,
        });
        self.attempt(client)
    }

    fn open_session(&mut self, client: usize) -> Result<(), Violation> {
        self.plan_turn(client, Duration::from_millis(2_000));
        let one = &mut self.clients.clients[client];
        one.node = NodeId(1 + one.random.below(self.nodes.len() as u64));
        let ttl_ms = *one.random.one_of(&SESSION_TTL_MS).unwrap_or(&SESSION_TTL_MS[0]);
        let node = one.node;
        if !self.is_reachable(node) {
            return Ok(());
        }
        let ticket = self.clients.ticket(node, self.now, Who::Session { client });
        let command = Proposed::Session(SessionRequest::Open { ttl_ms });
        self.step(node, vec![Input::Propose(vec![Proposal { ticket, command }])])
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        let node = self.nodes.get(node);
        node.process.is_some() && !node.is_paused(self.now)
    }

    /// A client sends what it asks to the node of its choice; sometimes to another one as well.
    fn attempt(&mut self, client: usize) -> Result<(), Violation> {
        let timeout = self.plan.settings.election_timeout() * 2;
        self.plan_turn(client, timeout);
        let nodes = self.nodes.len() as u64;
        let one = &mut self.clients.clients[client];
        let node = one.node;
        if !self.is_reachable(node) {
            // Nobody takes the connection: that is known at once.
            if let Some(call) = &mut self.clients.clients[client].call {
                call.attempts += 1;
            }
            self.plan_turn(client, Duration::from_millis(40));
            return Ok(());
        }
        let one = &mut self.clients.clients[client];
        let twice = one.uses_session && one.random.percent(TWICE_PERCENT);
        let other = NodeId(1 + one.random.below(nodes));
        if let Some(call) = &mut one.call {
            call.attempts += 1;
            self.watch.tally.retries += u64::from(call.attempts > 1);
        }
        self.attempt_at(client, node)?;
        if twice && other != node && self.clients.clients[client].call.is_some() {
            self.attempt_at(client, other)?;
        }
        Ok(())
    }

    fn attempt_at(&mut self, client: usize, node: NodeId) -> Result<(), Violation> {
        if !self.is_reachable(node) {
            return Ok(());
        }
        let one = &self.clients.clients[client];
        let Some(call) = &one.call else { return Ok(()) };
        let (id, request) = (call.id, call.request.clone());
        let in_session = one
            .session
            .filter(|_| !request.is_read())
            .map(|session| (session, one.sequence));
        self.observe(&Observation::Attempted {
            call: id,
            node,
            in_session: in_session.map(|(session, sequence)| (session.0, sequence.0)),
        })?;
        let ticket = self
            .clients
            .ticket(node, self.now, Who::Call { client, call: id });
        let command = match (request, in_session) {
            (Request::Read(_), _) => return self.step(node, vec![Input::Read(vec![ticket])]),
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
        if let Some(call) = &mut self.clients.clients[client].call {
            call.may_be_applied = true;
        }
        self.step(node, vec![Input::Propose(vec![Proposal { ticket, command }])])
    }

    // ---- answers ----

    /// A node answers a request.
    pub(super) fn resolved(
        &mut self,
        node: NodeId,
        ticket: Ticket,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let Some(waiting) = self.clients.waiting.remove(&ticket) else {
            return Err(self.broken(
                "R45",
                &format!("node {node} answered ticket {ticket} once more: {outcome:?}"),
            ));
        };
        match waiting.who {
            Who::Call { client, call } => self.call_resolved(node, ticket, client, call, outcome),
            Who::Session { client } => {
                if let Outcome::Applied { index, .. } = outcome {
                    let one = &mut self.clients.clients[client];
                    if one.session.is_none() {
                        (one.session, one.sequence) = (Some(SessionId(index.0)), Sequence::FIRST);
                        self.plan_turn(client, Duration::from_millis(1));
                    }
                }
                Ok(())
            }
            Who::Operator => self.operator_resolved(node, outcome),
        }
    }

    fn operator_resolved(&mut self, node: NodeId, outcome: Outcome) -> Result<(), Violation> {
        match outcome {
            Outcome::MembershipChanged { index, membership } => self.observe(&Observation::ChangeCompleted {
                node,
                index,
                membership: &membership,
            }),
            Outcome::Transferred(TransferResult::Done { leader, term }) => {
                self.observe(&Observation::TransferDone { leader, term })
            }
            _ => Ok(()),
        }
    }

    fn call_resolved(
        &mut self,
        node: NodeId,
        ticket: Ticket,
        client: usize,
        id: CallId,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let one = &mut self.clients.clients[client];
        let uses_session = one.uses_session;
        let Some(call) = one.call.as_mut().filter(|call| call.id == id) else {
            // The call is over.
            return Ok(());
        };
        match outcome {
            Outcome::Applied { index, response } => {
                self.end_call(client, id, Ending::Applied(Reply { index, response }))
            }
            Outcome::ReadReady { index } => {
                let Request::Read(question) = &call.request else {
                    return Err(
                        self.broken("R45", &format!("{id:?} is a command, and was answered as a read"))
                    );
                };
                let question = question.clone();
                self.observe(&Observation::ReadServed {
                    call: id,
                    node,
                    index,
                })?;
                let waiting = Waiting {
                    node,
                    since: self.now,
                    who: Who::Call { client, call: id },
                };
                self.clients.waiting.insert(ticket, waiting);
                self.add_job(node, Job::Ask { ticket, question });
                Ok(())
            }
            Outcome::Refused(
                RefusalReason::SessionExpired(_)
                | RefusalReason::SequenceAcknowledged { .. }
                | RefusalReason::SessionWindowFull { .. },
            ) => {
                one.session = None;
                self.end_call(client, id, Ending::Unknown)
            }
            Outcome::Refused(reason) => {
                if let RefusalReason::NotLeader { leader: Some(leader) } = reason
                    && self.nodes.contains(leader)
                {
                    one.node = leader;
                }
                // Another attempt may be under way; only one attempt ever is outside of sessions.
                call.may_be_applied = uses_session;
                self.plan_turn(client, Duration::from_millis(60));
                Ok(())
            }
            Outcome::Unknown if uses_session || call.request.is_read() => {
                self.plan_turn(client, Duration::from_millis(30));
                Ok(())
            }
            Outcome::Unknown => self.end_call(client, id, Ending::Unknown),
            other => Err(self.broken("R45", &format!("{other:?} is no answer to {id:?}"))),
        }
    }

    /// A state machine answered a question.
    pub(super) fn answered(
        &mut self,
        node: NodeId,
        ticket: Ticket,
        answer: Option<Bytes>,
    ) -> Result<(), Violation> {
        let waiting = self.clients.waiting.remove(&ticket);
        let Some(Waiting {
            who: Who::Call { client, call },
            ..
        }) = waiting
        else {
            return Err(self.broken(
                "R45",
                &format!("node {node} answered question {ticket} once more"),
            ));
        };
        let is_current = self.clients.clients[client]
            .call
            .as_ref()
            .is_some_and(|one| one.id == call);
        match answer {
            Some(answer) if is_current => self.end_call(client, call, Ending::Answered(answer)),
            _ => Ok(()),
        }
    }

    fn end_call(&mut self, client: usize, id: CallId, ending: Ending) -> Result<(), Violation> {
        self.observe(&Observation::Returned {
            call: id,
            ending: &ending,
        })?;
        let returned = self.clients.moment(self.now);
        let one = &mut self.clients.clients[client];
        let Some(call) = one.call.take() else {
            return Ok(());
        };
        if !call.request.is_read() {
            one.sequence = one.sequence.next();
        }
        let outcome = match ending {
            Ending::Applied(Reply { response, .. }) | Ending::Answered(response) => {
                workload::Outcome::Answered { returned, response }
            }
            Ending::Refused => workload::Outcome::Refused,
            Ending::Unknown => workload::Outcome::Unknown,
        };
        let exchange = Exchange {
            client: client as u64,
            request: call.request,
            called: call.called,
            outcome,
        };
        self.requests.ended(&exchange);
        self.clients.exchanges.push(exchange);
        self.plan_turn(client, Duration::from_millis(self.plan.settings.think_ms));
        Ok(())
    }
}
