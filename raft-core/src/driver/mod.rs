//! Turns effects into calls and completions into inputs: everything between the protocol and the threads around it.
//!
//! A [`Driver`] owns a [`Raft`] and knows who waits for what:
//! - a client's command, from the moment it is appended until its entry is handed to the state machine;
//! - a client's read, from its confirmation until the state machine has applied what it must see;
//! - requests on the way to the leader, and requests of other replicas that this node serves as the leader.
//!
//! Every request ends exactly once (R45). It is synchronous: no clock, no thread, no I/O, so that a simulator drives the
//! same code as the runtime. It must never decide anything about the protocol.

mod batches;
mod forward;
mod guests;
mod load;
mod ports;
mod replay;
mod requests;
mod waiting_reads;

use std::collections::VecDeque;

pub use load::Load;
pub use ports::{ApplyBatch, Outcome, Ports, Settled};

use crate::effect::{Effect, RoleChange, RoleKind};
use crate::entry::Entry;
use crate::input::{ChangeRequest, Input, Proposal, Proposed};
use crate::message::{Body, ForwardResult, InstallSnapshot};
use crate::mutants::{self, Mutant};
use crate::raft::Raft;
use crate::record::StepObserver;
use crate::request::{ClientRequest, RefusalReason};
use crate::status::Status;
use crate::types::{EntryId, Index, Ticket, Time};
use batches::{Outbox, WriteBacklog};
use forward::{Forwards, Leadership};
use guests::Guests;
use ports::{Claim, Origin, ReplyHeader};
use waiting_reads::WaitingReads;

/// One replica with its clients.
///
/// Tickets of clients are chosen by the caller, below 2^63 and unique among those that are not resolved.
#[derive(Debug)]
pub struct Driver {
    raft: Raft,
    /// The time of the current step.
    now: Time,
    effects: Vec<Effect>,
    /// What the next step of the protocol takes.
    inputs: Vec<Input>,
    proposals: Vec<Proposal>,
    reads: Vec<Ticket>,
    /// Commands appended by this node as the leader and not yet handed to the state machine, in log order.
    pending: VecDeque<(EntryId, Ticket)>,
    waiting_reads: WaitingReads,
    forwards: Forwards,
    guests: Guests,
    outbox: Outbox,
    writes: WriteBacklog,
    observer: Option<Box<dyn StepObserver>>,
}

impl Driver {
    /// A driver for `raft`.
    ///
    /// `incarnation` must differ from one start of the node to the next, and between nodes; its lower 24 bits are used.
    /// It tells answers to this incarnation's requests from answers to earlier ones.
    #[must_use]
    pub fn new(raft: Raft, incarnation: u64) -> Driver {
        const INCARNATION_SHIFT: u32 = 40;
        Driver {
            now: Time::ZERO,
            effects: Vec::new(),
            inputs: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
            pending: VecDeque::new(),
            waiting_reads: WaitingReads::new(raft.config()),
            forwards: Forwards::new(raft.config(), incarnation << INCARNATION_SHIFT),
            guests: Guests::default(),
            outbox: Outbox::default(),
            writes: WriteBacklog::default(),
            observer: None,
            raft,
        }
    }

    /// From now on `observer` sees every step of the protocol before it is taken.
    pub fn observe(&mut self, observer: Box<dyn StepObserver>) {
        self.observer = Some(observer);
    }

    /// The state of the replica.
    #[must_use]
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// Gives back the memory that only a busy replica needs: this one has nothing to do for a while.
    pub fn shrink(&mut self) {
        self.effects.shrink_to_fit();
        self.inputs.shrink_to_fit();
        self.proposals.shrink_to_fit();
        self.reads.shrink_to_fit();
        self.pending.shrink_to_fit();
        self.outbox.shrink();
        self.writes.shrink();
        self.raft.shrink();
    }

    /// The replica itself, to look at.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// When [`Input::Tick`] is due if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let own = [self.forwards.next_deadline(), self.waiting_reads.next_deadline()];
        own.into_iter()
            .flatten()
            .fold(self.raft.next_deadline(), Time::min)
    }

    /// Takes everything that happened since the last step, and asks `ports` for everything that follows.
    ///
    /// The inputs are one step: what follows from them leaves together, one batch per peer.
    pub fn step_all<P: Ports + ?Sized>(
        &mut self,
        now: Time,
        inputs: impl IntoIterator<Item = Input>,
        ports: &mut P,
    ) {
        self.now = now;
        for input in inputs {
            self.sort(now, input, ports);
        }
        self.expire_forwards(now, ports);
        self.step_raft(now, ports);
        // A role change may have turned held requests into requests to serve.
        while !(self.inputs.is_empty() && self.proposals.is_empty() && self.reads.is_empty()) {
            self.step_raft(now, ports);
        }
        self.release_reads(ports);
        self.outbox.flush(ports);
    }

    /// Resolves every request that this driver knows of: the replica stops. Nothing may be stepped afterwards.
    ///
    /// Reads that the leader has not confirmed yet are known to the protocol only; the caller resolves what is left.
    pub fn stop<P: Ports + ?Sized>(&mut self, ports: &mut P) {
        self.lose_pending(ports);
        for (ticket, outcome) in self.forwards.stop() {
            ports.resolve(ticket, outcome);
        }
        for ticket in self.waiting_reads.take_all() {
            ports.resolve(ticket, Outcome::Refused(RefusalReason::Stopped));
        }
        let replies = self.replies();
        for (guest, result) in self.guests.stop() {
            self.outbox
                .push(replies.response(guest.from, guest.ticket, result));
        }
        self.outbox.flush(ports);
        if let Some(observer) = &mut self.observer {
            observer.finish(&self.raft);
        }
    }

    // ---- inputs ----

    /// Takes what concerns clients out of the stream of inputs; the rest is for the protocol.
    fn sort<P: Ports + ?Sized>(&mut self, now: Time, input: Input, ports: &mut P) {
        match input {
            Input::Propose(proposals) => {
                for Proposal { ticket, command } in proposals {
                    let request = match command {
                        Proposed::Command(command) => ClientRequest::Propose(command),
                        Proposed::Session(request) => ClientRequest::Session(request),
                    };
                    self.client_request(now, ticket, request, ports);
                }
            }
            Input::Read(tickets) => {
                for ticket in tickets {
                    self.client_request(now, ticket, ClientRequest::ReadIndex, ports);
                }
            }
            Input::ChangeMembership(ChangeRequest {
                ticket,
                changes,
                dry_run,
            }) => {
                let request = ClientRequest::ChangeMembership { changes, dry_run };
                self.client_request(now, ticket, request, ports);
            }
            Input::TransferLeadership { ticket, to } => {
                self.client_request(now, ticket, ClientRequest::TransferLeadership(to), ports);
            }
            Input::Receive(message) => match message.body {
                Body::ForwardRequest(_) | Body::ForwardResponse(_)
                    if (message.to, message.group) != (self.raft.id(), self.raft.group()) => {}
                Body::ForwardRequest(_) => self.serve_guest(message),
                Body::ForwardResponse(response) => {
                    let outcome = Outcome::from(response.result);
                    if let Some(ended) = self.forwards.answered(message.from, response.ticket, outcome) {
                        self.end_forward(ended.0, ended.1, ports);
                    }
                }
                _ => self.inputs.push(Input::Receive(message)),
            },
            Input::Persisted(seq) => {
                self.writes.persisted(seq);
                self.inputs.push(Input::Persisted(seq));
            }
            other => self.inputs.push(other),
        }
    }

    // ---- effects ----

    fn step_raft<P: Ports + ?Sized>(&mut self, now: Time, ports: &mut P) {
        let mut inputs = std::mem::take(&mut self.inputs);
        if !self.proposals.is_empty() {
            inputs.push(Input::Propose(std::mem::take(&mut self.proposals)));
        }
        if !self.reads.is_empty() {
            inputs.push(Input::Read(std::mem::take(&mut self.reads)));
        }
        let mut effects = std::mem::take(&mut self.effects);
        if let Some(observer) = &mut self.observer {
            observer.step(&self.raft, now, &inputs);
        }
        self.raft.step_all(now, inputs.drain(..), &mut effects);
        self.inputs = inputs;
        for effect in effects.drain(..) {
            self.perform(now, effect, ports);
        }
        self.effects = effects;
    }

    fn perform<P: Ports + ?Sized>(&mut self, now: Time, effect: Effect, ports: &mut P) {
        match effect {
            Effect::Send(message) => self.outbox.push(message),
            Effect::Persist(write) => {
                self.writes.begun(write.seq, write.log.entries());
                ports.persist(write);
            }
            Effect::ReadLog(request) => ports.read_log(request),
            Effect::Apply(entries) => {
                let batch = self.claim(entries, ports);
                ports.apply(batch);
            }
            Effect::CreateSnapshot(meta) => ports.create_snapshot(meta),
            Effect::RestoreSnapshot(meta) => ports.restore_snapshot(meta),
            Effect::SendSnapshot { to, term, meta } => ports.send_snapshot(InstallSnapshot {
                group: self.raft.group(),
                from: self.raft.id(),
                to,
                term,
                meta,
            }),
            Effect::Compact(through) => ports.compact(through),
            Effect::Proposed { ticket, id } => self.pending.push_back((id, ticket)),
            Effect::Refused { ticket, reason } => self.refuse(ticket, reason, ports),
            Effect::ReadConfirmed { ticket, index } => self.read_confirmed(ticket, index),
            Effect::MembershipChanged(membership) => ports.membership_changed(&membership),
            Effect::ChangeCommitted {
                ticket,
                index,
                membership,
            } => self.end(ticket, Outcome::MembershipChanged { index, membership }, ports),
            Effect::Previewed { ticket, preview } => {
                self.end(ticket, Outcome::Previewed(Box::new(preview)), ports);
            }
            Effect::TransferEnded { ticket, result } => {
                self.end(ticket, Outcome::Transferred(result), ports);
            }
            Effect::Unresolved { ticket } => self.end(ticket, Outcome::Unknown, ports),
            Effect::Suspected(reason) => ports.suspected(reason),
            Effect::TrustRestored => ports.trust_restored(),
            Effect::Rested(rest) => ports.rested(rest),
            Effect::RoleChanged(change) => self.role_changed(now, change, ports),
            Effect::Fatal(reason) => ports.fatal(reason),
        }
    }

    /// Finds out who waits for these entries, which are about to be applied.
    fn claim<P: Ports + ?Sized>(&mut self, entries: Vec<Entry>, ports: &mut P) -> ApplyBatch {
        let mut claims = Vec::new();
        let first = entries.first().map_or(Index::ZERO, Entry::index);
        let last = entries.last().map_or(Index::ZERO, Entry::index);
        while let Some(&(id, ticket)) = self.pending.front()
            && id.index <= last
        {
            self.pending.pop_front();
            let position = usize::try_from(id.index.entries_since(first)).unwrap_or(usize::MAX);
            if entries.get(position).is_none_or(|entry| entry.id != id) {
                // Another leader's entry took the place: the command is not in the log, and never will be.
                let leader = self.raft.leader();
                self.refuse(ticket, RefusalReason::NotLeader { leader }, ports);
                continue;
            }
            let origin = match self.guests.remove(ticket) {
                Some(guest) => Origin::Replica {
                    from: guest.from,
                    ticket: guest.ticket,
                },
                None => Origin::Client(ticket),
            };
            claims.push(Claim { position, origin });
        }
        ApplyBatch {
            entries,
            claims,
            replies: self.replies(),
        }
    }

    fn refuse<P: Ports + ?Sized>(&mut self, ticket: Ticket, reason: RefusalReason, ports: &mut P) {
        self.end(ticket, Outcome::Refused(reason), ports);
    }

    /// Ends a request that this node served, for another replica or for a client of its own.
    fn end<P: Ports + ?Sized>(&mut self, ticket: Ticket, outcome: Outcome, ports: &mut P) {
        match self.guests.remove(ticket) {
            Some(guest) => {
                let response = self.replies().response(guest.from, guest.ticket, outcome.into());
                self.outbox.push(response);
            }
            None => ports.resolve(ticket, outcome),
        }
    }

    fn read_confirmed(&mut self, ticket: Ticket, index: Index) {
        match self.guests.remove(ticket) {
            // The replica that asked waits for its own state machine.
            Some(guest) => {
                let result = ForwardResult::ReadIndex { index };
                self.outbox
                    .push(self.replies().response(guest.from, guest.ticket, result));
            }
            None => self.waiting_reads.add(self.now, index, ticket),
        }
    }

    fn role_changed<P: Ports + ?Sized>(&mut self, now: Time, change: RoleChange, ports: &mut P) {
        if change.from == RoleKind::Leader {
            self.lose_pending(ports);
        }
        if change.to == RoleKind::Leader {
            self.guests.begin_leadership(change.term);
        }
        ports.role_changed(&change);
        // A step can change roles more than once; only what holds at its end is worth acting on.
        let leadership = change.leader.map(|leader| (leader, change.term));
        if let Some(leadership) = leadership
            && self.leadership() == Some(leadership)
        {
            let mut dispatches = Vec::new();
            self.forwards
                .dispatch(now, self.raft.id(), leadership, |dispatch| {
                    dispatches.push(dispatch);
                });
            self.perform_dispatches(dispatches, ports);
        }
    }

    /// Leadership is lost with commands in flight: the next leader may have them or not (R45).
    fn lose_pending<P: Ports + ?Sized>(&mut self, ports: &mut P) {
        for (_, ticket) in std::mem::take(&mut self.pending) {
            if mutants::is(Mutant::LossToldAsRefusal) {
                self.refuse(ticket, RefusalReason::NotLeader { leader: None }, ports);
            } else {
                self.end(ticket, Outcome::Unknown, ports);
            }
        }
    }

    fn release_reads<P: Ports + ?Sized>(&mut self, ports: &mut P) {
        let applied = if mutants::is(Mutant::ReadBeforeApply) {
            self.raft.commit_index()
        } else {
            self.raft.applied_index()
        };
        while let Some((index, tickets)) = self.waiting_reads.take_ready(applied) {
            for ticket in tickets {
                ports.resolve(ticket, Outcome::ReadReady { index });
            }
        }
        for ticket in self.waiting_reads.take_overdue(self.now) {
            ports.resolve(ticket, Outcome::Unknown);
        }
    }

    fn leadership(&self) -> Option<Leadership> {
        self.raft.leader().map(|leader| (leader, self.raft.term()))
    }

    fn replies(&self) -> ReplyHeader {
        ReplyHeader {
            group: self.raft.group(),
            id: self.raft.id(),
            term: self.raft.term(),
        }
    }
}

#[cfg(test)]
mod tests;
