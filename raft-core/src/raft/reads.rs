//! Linearizable reads without log entries: ReadIndex (thesis §6.4).
//!
//! A leader that wants to answer reads notes its commit index, then makes sure that it still leads by a round of
//! heartbeats that a quorum answers. Reads that arrive while a round is under way share the next one.
//!
//! Rules: nothing is confirmed before an entry of the own term is committed (R40); rounds are numbered by the leader
//! (R41); only voters count, in both halves (R43); every read is resolved (R45).

use std::collections::VecDeque;

use crate::codec::recorded;
use crate::mutants::{self, Mutant};
use crate::types::{Index, Round, Ticket};

/// The reads of one leadership.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reads {
    /// The newest round that was begun.
    round: Round,
    /// Reads that no round covers yet.
    waiting: Vec<Ticket>,
    /// Rounds that are not confirmed, ascending, with the index that their reads must wait for.
    rounds: VecDeque<PendingRound>,
    pending: usize,
}

#[derive(Clone, Debug, Hash)]
struct PendingRound {
    round: Round,
    index: Index,
    tickets: Vec<Ticket>,
}

impl Reads {
    /// The newest round that was begun; every AppendEntries carries it.
    pub(super) fn round(&self) -> Round {
        self.round
    }

    /// How many reads are unresolved.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// A client wants to read.
    pub(super) fn add(&mut self, ticket: Ticket) {
        self.waiting.push(ticket);
        self.pending += 1;
    }

    /// Begins a round for the waiting reads, if there are any and no round is under way. Returns whether it did.
    pub(super) fn begin_round(&mut self, commit: Index) -> bool {
        if self.waiting.is_empty() || !self.rounds.is_empty() {
            return false;
        }
        if !mutants::is(Mutant::ReadRoundReused) {
            self.round = self.round.next();
        }
        let tickets = std::mem::take(&mut self.waiting);
        self.rounds.push_back(PendingRound {
            round: self.round,
            index: commit,
            tickets,
        });
        true
    }

    /// Begins a round for nobody's read.
    pub(super) fn begin_bare_round(&mut self) {
        self.round = self.round.next();
    }

    /// A quorum answered `confirmed` or a later round: gives the reads away that it confirms.
    pub(super) fn confirm(&mut self, confirmed: Round, mut resolve: impl FnMut(Ticket, Index)) {
        while self
            .rounds
            .front()
            .is_some_and(|pending| pending.round <= confirmed)
        {
            let pending = self.rounds.pop_front().expect("the loop saw it");
            self.pending -= pending.tickets.len();
            for ticket in pending.tickets {
                resolve(ticket, pending.index);
            }
        }
    }

    /// Leadership ended: gives every unresolved read away.
    pub(super) fn into_unresolved(self) -> impl Iterator<Item = Ticket> {
        self.rounds
            .into_iter()
            .flat_map(|pending| pending.tickets)
            .chain(self.waiting)
    }
}

recorded!(struct Reads { round, waiting, rounds, pending });
recorded!(struct PendingRound { round, index, tickets });
