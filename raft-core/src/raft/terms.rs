//! The rules about terms (paper §5.1): who is heard, who is answered, and whose term is adopted.

use super::follower::Follower;
use super::machine::Raft;
use super::role::Role;
use crate::effect::{FatalReason, RoleChangeReason};
use crate::message::{AppendResult, Body, InstallSnapshot, Message, RequestVoteResponse, VoteRefusal};
use crate::mutants::{self, Mutant};
use crate::types::{NodeId, Term};

/// Whether no entry that the message names is of a later term than its sender knew. One that does is damaged or forged:
/// a log that took such an entry would win every election, and could not go on in its own term.
fn names_terms_up_to_its_own(message: &Message) -> bool {
    let newest = match &message.body {
        Body::AppendEntries(request) => request.entries.last().map_or(request.prev, |entry| entry.id).term,
        Body::AppendEntriesResponse(response) => match response.result {
            AppendResult::Rejected { hint, .. } => hint.term,
            AppendResult::Accepted { .. } => Term::ZERO,
        },
        Body::RequestVote(request) => request.last_log.term,
        Body::RequestPreVote(request) => request.last_log.term,
        Body::TimeoutNow(request) => request.last_log.term,
        _ => Term::ZERO,
    };
    newest <= message.term
}

impl Raft {
    /// Compares terms first (paper §5.1): a lower one is answered or ignored, a higher one adopted, an equal one handled
    /// by the role.
    pub(super) fn receive(&mut self, message: Message) {
        let is_foreign = message.group != self.group() && !mutants::is(Mutant::ForeignMessageHeard);
        if message.to != self.id() || is_foreign {
            return;
        }
        if !names_terms_up_to_its_own(&message) {
            return;
        }
        if self.is_roused_by(&message) {
            self.wake();
        }
        self.common.recollect(&message);
        if let Body::RequestPreVote(request) = message.body {
            let has_leader = self.has_live_leader();
            self.common.answer_pre_vote(message.from, request, has_leader);
            return;
        }
        if message.term > self.term() && !self.adopt_term_of(&message) {
            return;
        }
        if message.term < self.term() {
            self.receive_from_lower_term(message);
        } else {
            self.receive_from_same_term(message);
        }
    }

    /// Moves to a higher term, unless a vote request is not wanted: while a leader is alive nobody is helped by an
    /// election, and the request changes neither term nor timer (R22). If the leader itself asked for the election, it
    /// serves no lease any more (R34).
    pub(super) fn adopt_term_of(&mut self, message: &Message) -> bool {
        if let Body::RequestVote(request) = &message.body
            && !request.leadership_transfer
            && self.has_live_leader()
        {
            return false;
        }
        if matches!(message.body, Body::AppendEntriesResponse(_)) && !self.knows(message.from) {
            // Who was removed may wait for a leader in a term of its own (R70).
            return false;
        }
        self.become_follower(
            Some(message.term),
            None,
            RoleChangeReason::HigherTerm { from: message.from },
        );
        true
    }

    /// Whether this replica leads, or heard from a leader lately, or sleeps under one. Where leases are served only time counts: a leader of an
    /// earlier term may still hold one (R42). Elsewhere, who left its leader wants another one (R23).
    pub(super) fn has_live_leader(&self) -> bool {
        let follows = match &self.role {
            Role::Leader(_) => return true,
            Role::Follower(follower) if follower.nap.is_asleep() => return true,
            Role::Follower(follower) => follower.leader.is_some(),
            Role::Candidate(_) => false,
        };
        (follows || self.common.config.lease_drift_max.is_some()) && self.common.hears_leader()
    }

    /// Requests are answered at the own term, so that their sender learns it (R24, R25). A pre-vote may be granted by a
    /// voter of a lower term; every other old answer is worth nothing.
    pub(super) fn receive_from_lower_term(&mut self, message: Message) {
        match message.body {
            Body::AppendEntries(request) => {
                self.common.reject_old_leader(message.from, request.prev);
            }
            Body::RequestVote(request) => {
                let response = RequestVoteResponse {
                    refusal: Some(VoteRefusal::LaterTerm),
                    incarnation: request.incarnation,
                };
                self.common
                    .send_when_durable(message.from, Body::RequestVoteResponse(response));
            }
            Body::RequestPreVoteResponse(response) => {
                self.pre_vote_response(message.from, response);
            }
            _ => {}
        }
    }

    pub(super) fn receive_from_same_term(&mut self, message: Message) {
        let from = message.from;
        match message.body {
            Body::AppendEntries(request) => {
                if self.follow(from) {
                    let sleeps = self.agrees_to_sleep(&request);
                    self.common.append_entries(from, request, sleeps);
                }
            }
            Body::AppendEntriesResponse(response) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.append_entries_response(&mut self.common, from, response);
                }
            }
            Body::RequestVote(request) => {
                if self.common.answer_vote(from, request) {
                    self.restart_election_timer();
                }
                self.give_up_as_suspect();
            }
            Body::RequestVoteResponse(response) => self.vote_response(from, response),
            Body::RequestPreVoteResponse(response) => {
                self.pre_vote_response(from, response);
            }
            Body::TimeoutNow(request) => self.timeout_now(from, request),
            Body::TrustRestored(restored) => {
                if self.leader() == Some(from) {
                    self.common.trust_restored(from, restored);
                }
            }
            Body::EntriesLost(lost) => {
                if self.leader() == Some(from) {
                    self.common.entries_lost(lost);
                }
            }
            // The driver and the node handle these; PreVote requests are answered before terms are compared.
            Body::RequestPreVote(_) | Body::ForwardRequest(_) | Body::ForwardResponse(_) | Body::Pulse(_) => {
            }
        }
    }

    /// Recognises `leader` as the leader of the current term. Returns false if that cannot be.
    pub(super) fn follow(&mut self, leader: NodeId) -> bool {
        let term = self.term();
        match &mut self.role {
            Role::Follower(Follower {
                leader: Some(known), ..
            }) if *known != leader => {
                let reason = FatalReason::TwoLeaders {
                    term,
                    known: *known,
                    other: leader,
                };
                self.common.fail(reason);
                return false;
            }
            Role::Follower(Follower { leader: Some(_), .. }) => {}
            Role::Leader(_) => {
                let known = self.common.id();
                self.common.fail(FatalReason::TwoLeaders {
                    term,
                    known,
                    other: leader,
                });
                return false;
            }
            Role::Follower(_) | Role::Candidate(_) => {
                self.become_follower(None, Some(leader), RoleChangeReason::LeaderFound);
            }
        }
        self.common.timeouts_without_leader = 0;
        self.restart_election_timer();
        self.common.leader_contact = Some(self.common.now);
        true
    }

    pub(super) fn snapshot_received(&mut self, header: InstallSnapshot) {
        if header.to != self.id() || header.group != self.group() || header.term < self.term() {
            return;
        }
        if header.meta.last.term > header.term {
            return;
        }
        if header.term > self.term() {
            let reason = RoleChangeReason::HigherTerm { from: header.from };
            self.become_follower(Some(header.term), None, reason);
        }
        if self.follow(header.from) {
            self.common.receive_snapshot(header);
        }
    }
}
