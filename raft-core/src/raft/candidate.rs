//! Elections: PreVote (thesis §9.6), RequestVote (paper §5.2) and the election restriction (paper §5.4.1).

use std::collections::BTreeMap;

use super::common::Common;
use crate::codec::recorded;
use crate::fingerprint::Fingerprint;
use crate::membership::VoteResult;
use crate::message::{
    Body, RequestPreVote, RequestPreVoteResponse, RequestVote, RequestVoteResponse, VoteRefusal,
};
use crate::mutants::{self, Mutant};
use crate::types::{EntryId, Index, NodeId, Term, Time, Trust};

/// Which question a candidate asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// "Would you vote for me?" No term is raised by it.
    PreVote,
    /// "Vote for me."
    Vote,
}

/// What only a candidate has. It begins empty: neither an old leader nor old answers survive (R23).
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) phase: Phase,
    pub(super) election_deadline: Time,
    /// One answer per voter; the first counts (R30).
    answers: BTreeMap<NodeId, bool>,
}

impl Candidate {
    pub(super) fn new(phase: Phase, election_deadline: Time) -> Candidate {
        Candidate {
            phase,
            election_deadline,
            answers: BTreeMap::new(),
        }
    }

    /// Counts an answer; those of nodes that do not vote are ignored (R30).
    pub(super) fn record(&mut self, common: &Common, from: NodeId, granted: bool) -> VoteResult {
        if common.membership().is_voter(from) {
            self.answers.entry(from).or_insert(granted);
        }
        self.result(common)
    }

    /// How the answers decide, so far.
    pub(super) fn result(&self, common: &Common) -> VoteResult {
        common
            .membership()
            .vote_result(|voter| self.answers.get(&voter).copied())
    }

    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let Candidate {
            phase,
            election_deadline: _,
            answers,
        } = self;
        fingerprint.feed(&(phase, answers));
    }
}

impl Common {
    /// Asks every other voter the question of `phase`.
    /// `leadership_transfer` says that the leader itself wants it.
    pub(super) fn request_votes(&mut self, phase: Phase, leadership_transfer: bool) {
        let last_log = self.log.last();
        let own_id = self.id();
        for voter in self.membership().members() {
            if voter == own_id || !self.membership().is_voter(voter) {
                continue;
            }
            self.recollect_question(voter);
            match phase {
                Phase::PreVote => {
                    let request = RequestPreVote {
                        candidate_term: self.term.next(),
                        last_log,
                        incarnation: self.config.incarnation,
                    };
                    self.send_now_or_when_durable(voter, Body::RequestPreVote(request));
                }
                // A vote request waits for the candidate's own term and vote to be durable, so that no restart can
                // lead the same term twice (R39, I3).
                Phase::Vote => {
                    let request = RequestVote {
                        last_log,
                        leadership_transfer,
                        incarnation: self.config.incarnation,
                    };
                    self.send_when_durable(voter, Body::RequestVote(request));
                }
            }
        }
        if phase == Phase::Vote {
            let own_vote = RequestVoteResponse {
                refusal: None,
                incarnation: self.config.incarnation,
            };
            self.send_when_durable(own_id, Body::RequestVoteResponse(own_vote));
        }
    }

    /// Sends at once if the term is durable, and after the pending write if not.
    pub(super) fn send_now_or_when_durable(&mut self, to: NodeId, body: Body) {
        if self.term_is_durable() {
            self.send_now(to, body);
        } else {
            self.send_when_durable(to, body);
        }
    }

    /// The election restriction: a candidate's log must be at least as up to date as the voter's (R37).
    fn is_up_to_date(&self, last_log: EntryId) -> bool {
        last_log >= self.log.last() || mutants::is(Mutant::VoteForShorterLog)
    }

    /// Why this replica votes for nobody whose log ends at `last_log`, if so.
    fn refusal(&self, last_log: EntryId) -> Option<VoteRefusal> {
        if !self.is_up_to_date(last_log) {
            return Some(VoteRefusal::LogBehind(self.log.last()));
        }
        let because = match self.trust {
            Trust::Suspect => VoteRefusal::Suspect,
            Trust::Trusted | Trust::Founder => VoteRefusal::Founder,
        };
        (!self.may_vote_for(last_log)).then_some(because)
    }

    /// Answers RequestPreVote. Changes nothing (R22); refuses explicitly, so that no mixed cluster deadlocks (R25).
    /// Whoever is asked answers by the log rule: it may not know yet that it is a voter (R26).
    pub(super) fn answer_pre_vote(&mut self, from: NodeId, request: RequestPreVote, has_leader: bool) {
        let refusal = if request.candidate_term <= self.term {
            Some(VoteRefusal::LaterTerm)
        } else if has_leader {
            Some(VoteRefusal::HearsLeader(self.recollection.last_leader()))
        } else {
            self.refusal(request.last_log)
        };
        let response = RequestPreVoteResponse {
            candidate_term: request.candidate_term,
            refusal,
            incarnation: request.incarnation,
        };
        self.send_when_durable(from, Body::RequestPreVoteResponse(response));
    }

    /// Answers RequestVote of the current term. Returns whether the vote was granted.
    pub(super) fn answer_vote(&mut self, from: NodeId, request: RequestVote) -> bool {
        self.meet_the_past(request.last_log, Index::ZERO);
        // The leader of an earlier term may still read by its lease, whatever has raised the term here since (R42).
        let is_leased =
            self.config.lease_drift_max.is_some() && self.hears_leader() && !request.leadership_transfer;
        let refusal = match self.vote {
            Some(own) if own == from => None,
            Some(other) if !mutants::is(Mutant::VoteTwice) => Some(VoteRefusal::VotedFor(other)),
            _ if is_leased => Some(VoteRefusal::HearsLeader(self.recollection.last_leader())),
            _ => None,
        };
        let refusal = refusal.or_else(|| self.refusal(request.last_log));
        let granted = refusal.is_none();
        if granted {
            self.vote = Some(from);
            self.take_part_in_founding();
        }
        let response = RequestVoteResponse {
            refusal,
            incarnation: request.incarnation,
        };
        self.send_when_durable(from, Body::RequestVoteResponse(response));
        granted
    }

    /// A time between one and two election timeouts from now, so that split votes resolve themselves (paper §5.2); later
    /// for a replica of a lower priority.
    pub(super) fn random_election_deadline(&mut self) -> Time {
        let timeout = self.election_timeout;
        self.now + timeout + self.random.duration_below(timeout) + self.priority_delay()
    }

    /// Raises the term and votes for itself: one record, written before any request leaves (R32).
    pub(super) fn begin_own_term(&mut self) {
        self.term = self.term.next();
        self.vote = Some(self.config.id);
        self.take_part_in_founding();
    }

    /// Adopts a higher term, in which nothing was voted yet.
    pub(super) fn adopt_term(&mut self, term: Term) {
        debug_assert!(term > self.term);
        self.term = term;
        self.vote = None;
    }
}

recorded!(enum Phase { 0 => PreVote, 1 => Vote });
recorded!(struct Candidate { phase, election_deadline, answers });
