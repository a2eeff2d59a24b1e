//! Requests of other replicas' clients that this node serves as the leader.

use std::collections::BTreeMap;

use super::replay::ReplayGuard;
use crate::message::ForwardResult;
use crate::request::RefusalReason;
use crate::types::{NodeId, Term, Ticket};

/// Tickets with this bit are guests' tickets; those of the node's own clients are without.
const GUEST_BIT: u64 = 1 << 63;

/// Whether the ticket was made by [`Guests`].
pub(super) fn is_guest(ticket: Ticket) -> bool {
    ticket.0 & GUEST_BIT != 0
}

/// Who waits on another node, by the ticket that the request has here.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests {
    waiting: BTreeMap<Ticket, Guest>,
    proposals: usize,
    next_ticket: u64,
    replays: ReplayGuard,
    /// The leadership that `replays` is about; none before the first of this incarnation.
    led: Option<Term>,
}

/// What became of a command that another replica forwarded to a leadership of this node that is over.
pub(super) enum Recollection {
    /// It never arrived while that leadership lasted, and has no effect.
    NeverTaken,
    /// It was taken, and answered when it ended. This is a copy of the request.
    Taken,
    /// This node does not remember.
    Unknown,
}

/// A request of another replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest {
    /// The replica.
    pub(super) from: NodeId,
    /// The ticket that it chose.
    pub(super) ticket: Ticket,
    proposes: bool,
}

impl Guests {
    /// How many commands and changes, and how many reads of other replicas are being served.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.proposals, self.waiting.len() - self.proposals)
    }

    /// A new leadership begins: requests of earlier ones name another term.
    pub(super) fn begin_leadership(&mut self, term: Term) {
        self.replays.clear();
        self.led = Some(term);
    }

    /// What became of a command that was meant for the leadership of `term`. The network may deliver a request twice:
    /// the late copy must not be refused when the first one was taken.
    pub(super) fn recall(&self, from: NodeId, ticket: Ticket, term: Term) -> Recollection {
        let known = self.replays.knows(from, ticket);
        match known.filter(|_| self.led == Some(term)) {
            Some(false) => Recollection::NeverTaken,
            Some(true) => Recollection::Taken,
            None => Recollection::Unknown,
        }
    }

    /// Registers a request and gives it a ticket; none if it was delivered before. `limits` are those of proposals and
    /// of reads.
    pub(super) fn admit(
        &mut self,
        from: NodeId,
        ticket: Ticket,
        proposes: bool,
        limits: (usize, usize),
    ) -> Result<Option<Ticket>, RefusalReason> {
        // A read may be sent twice on purpose, and changes nothing.
        if proposes && !self.replays.admit(from, ticket) {
            return Ok(None);
        }
        let reads = self.waiting.len() - self.proposals;
        if (proposes && self.proposals >= limits.0) || (!proposes && reads >= limits.1) {
            return Err(RefusalReason::Busy);
        }
        let own = Ticket(GUEST_BIT | self.next_ticket);
        self.next_ticket = (self.next_ticket + 1) & !GUEST_BIT;
        let guest = Guest {
            from,
            ticket,
            proposes,
        };
        self.waiting.insert(own, guest);
        self.proposals += usize::from(proposes);
        Ok(Some(own))
    }

    /// Notes that a command is not taken, nor any copy of it. Returns whether none came before.
    pub(super) fn dismiss(&mut self, from: NodeId, ticket: Ticket) -> bool {
        self.replays.admit(from, ticket)
    }

    /// The guest with this ticket, which waits no longer; none if the ticket is a client's.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Guest> {
        if !is_guest(ticket) {
            return None;
        }
        let guest = self.waiting.remove(&ticket)?;
        self.proposals -= usize::from(guest.proposes);
        Some(guest)
    }

    /// Ends everything: this node stops.
    pub(super) fn stop(&mut self) -> Vec<(Guest, ForwardResult)> {
        self.proposals = 0;
        let end = |guest: Guest| {
            let result = if guest.proposes {
                ForwardResult::Unknown
            } else {
                ForwardResult::Refused(RefusalReason::Stopped)
            };
            (guest, result)
        };
        std::mem::take(&mut self.waiting).into_values().map(end).collect()
    }
}
