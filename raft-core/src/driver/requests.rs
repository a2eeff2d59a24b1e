//! Where a client's request goes: into this node's own step if it leads, to the leader if not; and what other replicas
//! forward here.

use super::Driver;
use super::forward::{Dispatch, Leadership};
use super::guests::{self, Recollection};
use super::ports::{Outcome, Ports};
use crate::effect::RoleKind;
use crate::input::{ChangeRequest, Input, Proposal, Proposed};
use crate::message::{Body, ForwardRequest, ForwardResult, Message};
use crate::request::{ClientRequest, RefusalReason};
use crate::types::{NodeId, Term, Ticket, Time};

impl Driver {
    /// A client of this node wants something.
    pub(super) fn client_request<P: Ports + ?Sized>(
        &mut self,
        now: Time,
        ticket: Ticket,
        request: ClientRequest,
        ports: &mut P,
    ) {
        debug_assert!(!guests::is_guest(ticket), "tickets of clients are below 2^63");
        let result = match self.leadership() {
            _ if self.raft.has_left(self.raft.id()) => Err(RefusalReason::Removed),
            Some((leader, _)) if leader == self.raft.id() => self.serve(ticket, request),
            leadership => self.forward(now, ticket, request, leadership),
        };
        if let Err(reason) = result {
            ports.resolve(ticket, Outcome::Refused(reason));
        }
    }

    /// Queues a request for this node's own step as the leader.
    fn serve(&mut self, ticket: Ticket, request: ClientRequest) -> Result<(), RefusalReason> {
        match request {
            ClientRequest::Propose(command) => return self.propose(ticket, command.into()),
            ClientRequest::Session(request) => return self.propose(ticket, Proposed::Session(request)),
            // The protocol limits the reads that wait for their confirmation itself.
            ClientRequest::ReadIndex => self.reads.push(ticket),
            // One change and one transfer are under way at a time; the protocol refuses the others.
            ClientRequest::ChangeMembership { changes, dry_run } => {
                self.inputs.push(Input::ChangeMembership(ChangeRequest {
                    ticket,
                    changes,
                    dry_run,
                }));
            }
            ClientRequest::TransferLeadership(to) => {
                self.inputs.push(Input::TransferLeadership { ticket, to });
            }
        }
        Ok(())
    }

    fn propose(&mut self, ticket: Ticket, command: Proposed) -> Result<(), RefusalReason> {
        let config = self.raft.config();
        if self.pending.len() + self.proposals.len() >= config.proposals_max
            || self.writes.bytes > config.uncommitted_bytes_max
        {
            return Err(RefusalReason::Busy);
        }
        self.proposals.push(Proposal { ticket, command });
        Ok(())
    }

    /// Sends a request to the leader, or holds it until there is one.
    fn forward(
        &mut self,
        now: Time,
        ticket: Ticket,
        request: ClientRequest,
        leadership: Option<Leadership>,
    ) -> Result<(), RefusalReason> {
        let bytes = request.size_bytes();
        let bytes_max = self.raft.config().entry_bytes_max;
        if bytes > bytes_max {
            return Err(RefusalReason::TooLarge { bytes, bytes_max });
        }
        self.forwards.add(now, ticket, request)?;
        if let Some(leadership) = leadership
            && let Some(request) = self.forwards.dispatch_last(now, leadership)
        {
            let body = Body::ForwardRequest(request);
            self.outbox.push(self.replies().message(leadership.0, body));
        }
        Ok(())
    }

    /// Another replica asks on behalf of its client.
    pub(super) fn serve_guest(&mut self, message: Message) {
        let Message { from, term, body, .. } = message;
        let Body::ForwardRequest(request) = body else {
            return;
        };
        let ForwardRequest { ticket, request } = request;
        // The term makes sure that the request is meant for this very leadership: a late copy of a request that was
        // served in an earlier one must not be served again.
        let once = !request.is_repeatable();
        let is_meant = self.raft.role() == RoleKind::Leader && term == self.raft.term();
        let result = if is_meant && self.raft.has_left(from) {
            self.dismiss_guest(from, ticket, once)
        } else if is_meant {
            self.admit_guest(from, ticket, request)
        } else if self.raft.has_left(from) {
            self.turn_guest_down(from, ticket, term, once, RefusalReason::Removed)
        } else {
            let leader = self.raft.leader();
            self.turn_guest_down(from, ticket, term, once, RefusalReason::NotLeader { leader })
        };
        if let Err(result) = result {
            self.outbox.push(self.replies().response(from, ticket, result));
        }
    }

    fn admit_guest(
        &mut self,
        from: NodeId,
        ticket: Ticket,
        request: ClientRequest,
    ) -> Result<(), ForwardResult> {
        let limits = (self.raft.config().proposals_max, self.raft.config().reads_max);
        let once = !request.is_repeatable();
        let admitted = self.guests.admit(from, ticket, once, limits);
        // None: a copy of a request that is being served.
        let Some(own_ticket) = admitted.map_err(ForwardResult::Refused)? else {
            return Ok(());
        };
        self.serve(own_ticket, request).map_err(|reason| {
            self.guests.remove(own_ticket);
            ForwardResult::Refused(reason)
        })
    }

    /// The request comes from a node that is a member no more. It is refused only if no copy of it was taken before; and
    /// then no copy is taken while the next change is under way, when nobody knows for certain who has left.
    fn dismiss_guest(&mut self, from: NodeId, ticket: Ticket, once: bool) -> Result<(), ForwardResult> {
        if once && !self.guests.dismiss(from, ticket) {
            return Ok(());
        }
        Err(ForwardResult::Refused(RefusalReason::Removed))
    }

    /// The request is meant for a leadership that is over, or comes from a node that is a member no more. It is refused
    /// only if no copy of it was taken before.
    fn turn_guest_down(
        &self,
        from: NodeId,
        ticket: Ticket,
        term: Term,
        once: bool,
        reason: RefusalReason,
    ) -> Result<(), ForwardResult> {
        let refused = ForwardResult::Refused(reason);
        match self.guests.recall(from, ticket, term) {
            _ if !once => Err(refused),
            Recollection::NeverTaken => Err(refused),
            Recollection::Taken => Ok(()),
            Recollection::Unknown => Err(ForwardResult::Unknown),
        }
    }

    pub(super) fn expire_forwards<P: Ports + ?Sized>(&mut self, now: Time, ports: &mut P) {
        let mut dispatches = Vec::new();
        let leadership = self.leadership();
        self.forwards
            .expire(now, leadership, |dispatch| dispatches.push(dispatch));
        self.perform_dispatches(dispatches, ports);
    }

    pub(super) fn perform_dispatches<P: Ports + ?Sized>(&mut self, dispatches: Vec<Dispatch>, ports: &mut P) {
        for dispatch in dispatches {
            match dispatch {
                Dispatch::Send(request) => {
                    if let Some((leader, _)) = self.leadership() {
                        let body = Body::ForwardRequest(request);
                        self.outbox.push(self.replies().message(leader, body));
                    }
                }
                Dispatch::Serve(ticket, request) => {
                    if let Err(reason) = self.serve(ticket, request) {
                        ports.resolve(ticket, Outcome::Refused(reason));
                    }
                }
                Dispatch::Resolve(ticket, outcome) => ports.resolve(ticket, outcome),
            }
        }
    }

    /// The leader ended a forwarded request; a read still waits for this node's state machine.
    pub(super) fn end_forward<P: Ports + ?Sized>(&mut self, ticket: Ticket, outcome: Outcome, ports: &mut P) {
        match outcome {
            Outcome::ReadReady { index } => self.waiting_reads.add(self.now, index, ticket),
            outcome => ports.resolve(ticket, outcome),
        }
    }
}
