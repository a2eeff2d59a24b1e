//! Requests of this node's clients that another node, the leader, must serve.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Outcome;
use crate::config::Config;
use crate::message::ForwardRequest;
use crate::request::{ClientRequest, RefusalReason, TransferAbort, TransferResult};
use crate::types::{NodeId, Term, Ticket, Time};

/// A leadership: the leader and its term.
pub(super) type Leadership = (NodeId, Term);

/// Requests that are held until a leader is known, or were sent to it and are not answered yet.
///
/// Rules:
/// - a command is sent to one leadership only, unless that one answered that it did not take it: a second copy could be
///   applied twice. When another leadership begins, its fate is unknown. So it is with requests of sessions: their
///   clients ask again, and know then what to make of the answer;
/// - a read changes nothing, so it is sent again to a new leader, and to a leader that does not answer;
/// - everything ends by a deadline, and there is a limit to everything.
#[derive(Clone, Debug)]
pub(super) struct Forwards {
    /// By the ticket on the wire.
    requests: BTreeMap<u64, Forward>,
    /// Begins at a random place, so that an answer to an earlier incarnation of this node fits nothing.
    next_number: u64,
    proposals: usize,
    bytes: usize,
    next_scan: Time,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    proposals_max: usize,
    reads_max: usize,
    bytes_max: usize,
    /// How often deadlines are looked at.
    scan_interval: Duration,
    /// How long a request waits for a leader to be known.
    held_max: Duration,
    /// How long a request waits for an answer.
    unanswered_max: Duration,
    /// After how long a read is sent again.
    resend_after: Duration,
}

#[derive(Clone, Debug)]
struct Forward {
    ticket: Ticket,
    request: ClientRequest,
    since: Time,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Not sent yet.
    Held,
    /// Sent, no answer yet.
    Sent { to: Leadership, at: Time },
    /// This leadership refused it for not being one. It waits for another.
    TurnedDown { by: Leadership },
}

/// What to do about a request when a leader is known.
pub(super) enum Dispatch {
    /// Send it to the leader.
    Send(ForwardRequest),
    /// This node leads: it serves the request itself.
    Serve(Ticket, ClientRequest),
    /// Tell the client.
    Resolve(Ticket, Outcome),
}

impl Forwards {
    pub(super) fn new(config: &Config, first_number: u64) -> Forwards {
        let timeout = config.election_timeout_longest();
        Forwards {
            requests: BTreeMap::new(),
            next_number: first_number,
            proposals: 0,
            bytes: 0,
            next_scan: Time::ZERO,
            limits: Limits {
                proposals_max: config.proposals_max,
                reads_max: config.reads_max,
                bytes_max: config.uncommitted_bytes_max,
                scan_interval: config.heartbeat_interval,
                held_max: timeout * 2,
                unanswered_max: timeout * 5,
                resend_after: timeout,
            },
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many commands and changes, how many reads, and how many bytes of both are under way.
    pub(super) fn load(&self) -> (usize, usize, usize) {
        (self.proposals, self.requests.len() - self.proposals, self.bytes)
    }

    /// When [`Forwards::expire`] wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        (!self.is_empty()).then_some(self.next_scan)
    }

    /// Takes a request over, or refuses it because too many are under way.
    pub(super) fn add(
        &mut self,
        now: Time,
        ticket: Ticket,
        request: ClientRequest,
    ) -> Result<(), RefusalReason> {
        let (count, count_max) = if request.is_repeatable() {
            (self.requests.len() - self.proposals, self.limits.reads_max)
        } else {
            (self.proposals, self.limits.proposals_max)
        };
        let bytes = request.size_bytes();
        if count >= count_max || (self.bytes > 0 && self.bytes + bytes > self.limits.bytes_max) {
            return Err(RefusalReason::Busy);
        }
        if self.is_empty() {
            self.next_scan = now + self.limits.scan_interval;
        }
        self.proposals += usize::from(!request.is_repeatable());
        self.bytes += bytes;
        let forward = Forward {
            ticket,
            request,
            since: now,
            state: State::Held,
        };
        self.requests.insert(self.next_number, forward);
        self.next_number = self.next_number.wrapping_add(1);
        Ok(())
    }

    /// Sends what waits to the leadership that is known now, and ends what an earlier one has not answered.
    pub(super) fn dispatch(
        &mut self,
        now: Time,
        own_id: NodeId,
        leadership: Leadership,
        mut perform: impl FnMut(Dispatch),
    ) {
        self.renumber_turned_down(leadership);
        let mut ended = Vec::new();
        for (&number, forward) in &mut self.requests {
            match forward.state {
                State::Sent { to, .. } if to == leadership => continue,
                State::TurnedDown { by } if by == leadership => continue,
                State::Sent { .. } if !forward.request.is_repeatable() => {
                    perform(Dispatch::Resolve(forward.ticket, forward.outlived_by(leadership)));
                    ended.push(number);
                }
                _ if leadership.0 == own_id => {
                    perform(Dispatch::Serve(forward.ticket, forward.request.clone()));
                    ended.push(number);
                }
                _ => perform(Dispatch::Send(forward.send(number, leadership, now))),
            }
        }
        ended.into_iter().for_each(|number| drop(self.remove(number)));
    }

    /// Gives a new ticket to each command that is about to be sent a second time: a late copy of the first answer, which
    /// may come from the same node, says nothing about the second attempt.
    fn renumber_turned_down(&mut self, leadership: Leadership) {
        let again = |forward: &Forward| {
            !forward.request.is_repeatable()
                && matches!(forward.state, State::TurnedDown { by } if by != leadership)
        };
        let requests = self.requests.iter();
        let numbers = requests.filter(|(_, forward)| again(forward));
        let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(forward) = self.requests.remove(&number) {
                self.requests.insert(self.next_number, forward);
                self.next_number = self.next_number.wrapping_add(1);
            }
        }
    }

    /// Sends the request that was added last, which nobody has seen yet.
    pub(super) fn dispatch_last(&mut self, now: Time, leadership: Leadership) -> Option<ForwardRequest> {
        let number = self.next_number.wrapping_sub(1);
        let forward = self.requests.get_mut(&number)?;
        Some(forward.send(number, leadership, now))
    }

    /// The leader answered. Returns whom to tell what; nobody if the answer is late, or the request now waits for
    /// another leader.
    pub(super) fn answered(
        &mut self,
        from: NodeId,
        ticket: Ticket,
        outcome: Outcome,
    ) -> Option<(Ticket, Outcome)> {
        let forward = self.requests.get_mut(&ticket.0)?;
        let by = match forward.state {
            State::Sent { to, .. } if to.0 == from => to,
            _ => return None,
        };
        let fits = match (&outcome, &forward.request) {
            (Outcome::Applied { .. }, ClientRequest::Propose(_) | ClientRequest::Session(_))
            | (Outcome::ReadReady { .. }, ClientRequest::ReadIndex)
            | (Outcome::MembershipChanged { .. }, ClientRequest::ChangeMembership { dry_run: false, .. })
            | (Outcome::Previewed(_), ClientRequest::ChangeMembership { dry_run: true, .. })
            | (Outcome::Transferred(_), ClientRequest::TransferLeadership(_)) => true,
            (Outcome::Refused(RefusalReason::NotLeader { .. } | RefusalReason::Stopped), _) => {
                forward.state = State::TurnedDown { by };
                return None;
            }
            (Outcome::Refused(_) | Outcome::Unknown, _) => true,
            _ => false,
        };
        if !fits {
            return None;
        }
        self.remove(ticket.0).map(|forward| (forward.ticket, outcome))
    }

    /// Ends what waited too long, and sends reads again whose answer may be lost.
    pub(super) fn expire(
        &mut self,
        now: Time,
        leadership: Option<Leadership>,
        mut perform: impl FnMut(Dispatch),
    ) {
        if self.is_empty() || now < self.next_scan {
            return;
        }
        self.next_scan = now + self.limits.scan_interval;
        let limits = self.limits;
        let mut ended = Vec::new();
        for (&number, forward) in &mut self.requests {
            let waited = now.since(forward.since);
            let outcome = match forward.state {
                State::Held | State::TurnedDown { .. } if waited >= limits.held_max => {
                    let leader = leadership.map(|(leader, _)| leader);
                    Some(Outcome::Refused(RefusalReason::NotLeader { leader }))
                }
                State::Sent { .. } if waited >= limits.unanswered_max => Some(Outcome::Unknown),
                State::Sent { to, at }
                    if forward.request.is_repeatable() && now.since(at) >= limits.resend_after =>
                {
                    if leadership == Some(to) {
                        perform(Dispatch::Send(forward.send(number, to, now)));
                    }
                    None
                }
                _ => None,
            };
            if let Some(outcome) = outcome {
                perform(Dispatch::Resolve(forward.ticket, outcome));
                ended.push(number);
            }
        }
        ended.into_iter().for_each(|number| drop(self.remove(number)));
    }

    /// Ends everything: this node stops. What was never sent has certainly no effect.
    pub(super) fn stop(&mut self) -> Vec<(Ticket, Outcome)> {
        self.proposals = 0;
        self.bytes = 0;
        let end = |forward: Forward| match forward.state {
            State::Sent { .. } if !forward.request.is_repeatable() => (forward.ticket, Outcome::Unknown),
            _ => (forward.ticket, Outcome::Refused(RefusalReason::Stopped)),
        };
        std::mem::take(&mut self.requests)
            .into_values()
            .map(end)
            .collect()
    }

    fn remove(&mut self, number: u64) -> Option<Forward> {
        let forward = self.requests.remove(&number)?;
        self.proposals -= usize::from(!forward.request.is_repeatable());
        self.bytes -= forward.request.size_bytes();
        Some(forward)
    }
}

impl Forward {
    fn send(&mut self, number: u64, to: Leadership, at: Time) -> ForwardRequest {
        self.state = State::Sent { to, at };
        ForwardRequest {
            ticket: Ticket(number),
            request: self.request.clone(),
        }
    }

    /// How a request ends that was sent to one leadership, when another one begins before the answer came.
    fn outlived_by(&self, (leader, term): Leadership) -> Outcome {
        match self.request {
            // The very change of leadership is the answer.
            ClientRequest::TransferLeadership(to) if to == leader => {
                Outcome::Transferred(TransferResult::Done { leader, term })
            }
            ClientRequest::TransferLeadership(_) => {
                Outcome::Transferred(TransferResult::Aborted(TransferAbort::OtherLeader(leader)))
            }
            _ => Outcome::Unknown,
        }
    }
}
