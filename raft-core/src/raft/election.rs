//! How an election goes: timers, PreVote (thesis §9.6), votes (paper §5.2).

use super::candidate::{Candidate, Phase};
use super::follower::Follower;
use super::leader::Leader;
use super::machine::Raft;
use super::role::Role;
use crate::effect::RoleChangeReason;
use crate::membership::VoteResult;
use crate::message::{RequestPreVoteResponse, RequestVoteResponse};
use crate::mutants::{self, Mutant};
use crate::types::NodeId;

impl Raft {
    pub(super) fn check_timers(&mut self) {
        if mutants::is(Mutant::RestartResumesLeadership) && self.common.has_just_started() {
            self.lead_again();
        }
        let now = self.common.now;
        match &mut self.role {
            Role::Follower(follower) if follower.nap.is_asleep() => {}
            Role::Leader(leader) if leader.is_asleep() => {}
            Role::Follower(Follower {
                election_deadline, ..
            })
            | Role::Candidate(Candidate {
                election_deadline, ..
            }) => {
                if now >= *election_deadline {
                    self.election_timed_out();
                }
            }
            Role::Leader(leader) => {
                if self.common.is_stalled(leader.elected_at) && leader.has_successor(&self.common) {
                    // It would go on being heard while nothing of its own becomes durable or applied (R35). Without a
                    // successor nothing would be gained.
                    leader.hand_over(&mut self.common);
                    self.become_follower(None, None, RoleChangeReason::Stalled);
                } else if !leader.tick(&mut self.common) {
                    self.become_follower(None, None, RoleChangeReason::QuorumLost);
                }
            }
        }
        self.common.expire_handed_over();
    }

    /// Nothing was heard from a leader for too long. Also who may not campaign gives up the one it knew: its clients must
    /// not be sent there any more.
    fn election_timed_out(&mut self) {
        self.common.timeouts_without_leader = self.common.timeouts_without_leader.saturating_add(1);
        let reason = RoleChangeReason::ElectionTimeout;
        self.campaign(reason);
        if matches!(&self.role, Role::Follower(Follower { leader: Some(_), .. })) {
            self.become_follower(None, None, reason);
        }
        self.wake_the_leader();
    }

    /// Whether this replica may ask for votes: only voters do (R26), nobody whose state is being replaced by a snapshot
    /// (R28), nobody who may have lost what it had promised (R68), and nobody whose disk or state machine stands still (R35).
    pub(super) fn may_campaign(&self) -> bool {
        self.common.may_be_needed_as_voter()
            && !self.common.is_suspect()
            && !self.common.is_restoring()
            && !self.common.disk_is_stalled()
    }

    /// Begins an election with a round of PreVote, if it [may](Raft::may_campaign). While leases are served nobody asks for
    /// votes who still hears a leader (R34).
    pub(super) fn campaign(&mut self, reason: RoleChangeReason) {
        if matches!(self.role, Role::Leader(_)) {
            return;
        }
        let is_leased = self.common.config.lease_drift_max.is_some() && self.common.hears_leader();
        if !self.may_campaign() || is_leased {
            self.restart_election_timer();
            return;
        }
        let deadline = self.common.random_election_deadline();
        self.transition(
            Role::Candidate(Candidate::new(Phase::PreVote, deadline)),
            None,
            reason,
        );
        self.common.request_votes(Phase::PreVote, false);
        let own_vote = RequestPreVoteResponse {
            candidate_term: self.term().next(),
            refusal: None,
            incarnation: self.common.config.incarnation,
        };
        self.pre_vote_response(self.id(), own_vote);
    }

    /// A pre-vote was answered. Answers to an earlier incarnation are worth nothing, as those to votes are: they are about a log
    /// that may be gone (R68).
    pub(super) fn pre_vote_response(&mut self, from: NodeId, response: RequestPreVoteResponse) {
        let Role::Candidate(candidate) = &mut self.role else {
            return;
        };
        let is_of_this_start = response.incarnation == self.common.config.incarnation;
        let is_of_this_term = response.candidate_term == self.common.term.next();
        if candidate.phase != Phase::PreVote || !is_of_this_start || !is_of_this_term {
            return;
        }
        let result = candidate.record(&self.common, from, response.is_granted());
        let result = if mutants::is(Mutant::NoPreVote) {
            VoteResult::Won
        } else {
            result
        };
        match result {
            VoteResult::Won => {
                let deadline = self.common.random_election_deadline();
                self.common.begin_own_term();
                let role = Role::Candidate(Candidate::new(Phase::Vote, deadline));
                self.transition(role, None, RoleChangeReason::PreVoteWon);
                self.common.request_votes(Phase::Vote, false);
            }
            VoteResult::Lost => self.become_follower(None, None, RoleChangeReason::VoteLost),
            VoteResult::Pending => {}
        }
    }

    /// A vote was answered. Answers to an earlier incarnation are worth nothing: who was wiped since may ask again in the
    /// same term, with another log (R68).
    pub(super) fn vote_response(&mut self, from: NodeId, response: RequestVoteResponse) {
        let Role::Candidate(candidate) = &mut self.role else {
            return;
        };
        if candidate.phase != Phase::Vote || response.incarnation != self.common.config.incarnation {
            return;
        }
        candidate.record(&self.common, from, response.is_granted());
        self.count_votes();
    }

    /// Ends an election that is decided. Votes may overtake the completion of the write that made the own candidacy
    /// durable, and a winner waits for that: only the own disk proves what is durable here, not what others say (I3).
    pub(super) fn count_votes(&mut self) {
        let Role::Candidate(candidate) = &self.role else {
            return;
        };
        if candidate.phase != Phase::Vote {
            return;
        }
        match candidate.result(&self.common) {
            VoteResult::Won if self.common.term_is_durable() => self.lead(),
            VoteResult::Lost => self.become_follower(None, None, RoleChangeReason::VoteLost),
            VoteResult::Won | VoteResult::Pending => {}
        }
    }

    fn lead(&mut self) {
        let leader = Leader::new(&mut self.common);
        let id = self.id();
        self.transition(
            Role::Leader(Box::new(leader)),
            Some(id),
            RoleChangeReason::ElectionWon,
        );
    }

    /// Leads the term in which this replica had voted for itself before it was started, as only a mutant does (R39).
    fn lead_again(&mut self) {
        let stored = self.common.stored_hard_state;
        if (stored.term, stored.vote) == (self.term(), Some(self.id())) {
            self.role = Role::Candidate(Candidate::new(Phase::Vote, self.common.now));
            self.lead();
        }
    }

    /// A candidate that learns from a vote request that the group has a past asks for no more votes, and gives itself none.
    pub(super) fn give_up_as_suspect(&mut self) {
        if self.common.is_suspect() && matches!(self.role, Role::Candidate(_)) {
            self.become_follower(None, None, RoleChangeReason::Suspected);
        }
    }

    pub(super) fn restart_election_timer(&mut self) {
        let deadline = self.common.random_election_deadline();
        match &mut self.role {
            Role::Follower(Follower {
                election_deadline, ..
            })
            | Role::Candidate(Candidate {
                election_deadline, ..
            }) => *election_deadline = deadline,
            // Never asked of a leader, which has no such timer.
            Role::Leader(_) => {}
        }
    }
}
