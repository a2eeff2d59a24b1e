//! Why there is no leader.

use super::super::candidate::Candidate;
use super::super::follower::Follower;
use super::super::machine::Raft;
use super::super::role::Role;
use crate::effect::RoleKind;
use crate::explain::{CampaignBar, Case, Cause, Need, VoteState};
use crate::membership::Membership;
use crate::types::{NodeId, Time};

impl Raft {
    /// What keeps an election from being won, as far as this replica can know.
    pub(super) fn why_no_leader(&self, now: Time) -> (Case, Vec<Cause>) {
        let common = &self.common;
        if let Some(leader) = self.leader() {
            if let Some(silent) = self.why_leader_is_silent(now, leader) {
                return silent;
            }
            let term = common.term;
            return (Case::Led { leader, term }, Vec::new());
        }
        let case = Case::NoLeader {
            role: self.role(),
            term: common.term,
            lasts: self.leaderless_for(now),
        };
        (case, self.what_elections_wait_for(now))
    }

    /// A leader that this replica follows and does not hear any more. A leader hears itself, and who sleeps hears nobody.
    pub(super) fn why_leader_is_silent(&self, now: Time, leader: NodeId) -> Option<(Case, Vec<Cause>)> {
        let contact = self.common.leader_contact;
        if leader == self.id() || self.is_asleep() || !self.is_too_long(now, contact) {
            return None;
        }
        let lasts = now.since(contact?);
        let due = self.campaign_due(now);
        Some((Case::LeaderSilent { leader, lasts }, due.into_iter().collect()))
    }

    fn what_elections_wait_for(&self, now: Time) -> Vec<Cause> {
        let states: Vec<(NodeId, VoteState)> = self
            .other_voters()
            .map(|voter| (voter, self.vote_state(now, voter)))
            .collect();
        let is_silent = |voter: NodeId| {
            let state = states.iter().find(|(id, _)| *id == voter);
            state.is_some_and(|(_, state)| matches!(state, VoteState::Silent { .. }))
        };
        let mut causes = self.missing_quorums(Need::Votes, |voter| !is_silent(voter));
        let bar = self.campaign_bar(now).map(Cause::NoCampaign);
        // Who does not stand for election asks nobody.
        let says_much = |state: &VoteState| bar.is_none() || *state != VoteState::NotAsked;
        let votes = states.into_iter().filter(|(_, state)| says_much(state));
        causes.extend(bar.clone());
        causes.extend(votes.map(|(voter, state)| Cause::Vote { voter, state }));
        if let Some(waits) = self.common.disk_waits_since()
            && self.is_too_long(now, Some(waits))
        {
            causes.push(Cause::OwnDisk(now.since(waits)));
        }
        match self.role() {
            role @ (RoleKind::PreCandidate | RoleKind::Candidate) => causes.push(Cause::Campaign(role)),
            RoleKind::Follower if bar_is_absent(&causes) => causes.extend(self.campaign_due(now)),
            RoleKind::Follower | RoleKind::Leader => {}
        }
        causes
    }

    /// When this replica stands for election unless it hears from a leader before.
    fn campaign_due(&self, now: Time) -> Option<Cause> {
        let (Role::Follower(Follower {
            election_deadline, ..
        })
        | Role::Candidate(Candidate {
            election_deadline, ..
        })) = &self.role
        else {
            return None;
        };
        self.may_campaign()
            .then(|| Cause::CampaignDue(election_deadline.since(now)))
    }

    fn campaign_bar(&self, now: Time) -> Option<CampaignBar> {
        let common = &self.common;
        let leased_for = common.leader_contact.map(|contact| now.since(contact));
        let disk_waits = common.disk_waits_since().map(|since| now.since(since));
        if *common.membership() == Membership::empty() {
            Some(CampaignBar::NoConfiguration)
        } else if !common.may_be_needed_as_voter() {
            Some(CampaignBar::NoVoter)
        } else if common.is_suspect() {
            Some(CampaignBar::Suspect)
        } else if common.is_restoring() {
            Some(CampaignBar::Restoring)
        } else if disk_waits.is_some_and(|waits| waits >= common.config.election_timeout) {
            Some(CampaignBar::Disk)
        } else if common.config.lease_drift_max.is_some() {
            let left = leased_for.and_then(|heard| common.config.election_timeout.checked_sub(heard));
            left.filter(|left| !left.is_zero()).map(CampaignBar::Lease)
        } else {
            None
        }
    }

    /// What is known of the vote of another voter. Who owes an answer for too long counts as silent.
    fn vote_state(&self, now: Time, voter: NodeId) -> VoteState {
        let Some(peer) = self.common.recollection.peer(voter) else {
            return VoteState::NotAsked;
        };
        if let Some(asked) = peer.unanswered_since {
            let owes = now.since(asked);
            return if owes >= self.patience() {
                let heard = peer.heard.map(|heard| now.since(heard));
                VoteState::Silent { owes, heard }
            } else {
                VoteState::Asked(owes)
            };
        }
        let Some(vote) = peer.vote else {
            return VoteState::NotAsked;
        };
        let ago = now.since(vote.at);
        match vote.refusal {
            None => VoteState::Granted { ago },
            Some(reason) => VoteState::Refused {
                reason,
                own_last: self.common.log.last(),
                ago,
            },
        }
    }
}

fn bar_is_absent(causes: &[Cause]) -> bool {
    !causes.iter().any(|cause| matches!(cause, Cause::NoCampaign(_)))
}
