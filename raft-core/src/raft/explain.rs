//! Why there is no leader, or something is not committed, and other questions, answered from the state alone.
//!
//! What is asked and answered stands in [`explain`](crate::explain). Nothing here changes anything.

mod elections;
mod entries;
mod members;

use std::time::Duration;

use super::leader::Leader;
use super::machine::Raft;
use super::role::Role;
use crate::explain::{Case, Cause, Explanation, Half, LeaderChange, Need, Question, Quorum};
use crate::membership::majority::quorum;
use crate::request::RefusalReason;
use crate::types::{Index, NodeId, Time};

impl Raft {
    /// Answers `question` with what this replica knows at `now`. Changes nothing.
    #[must_use]
    pub fn explain(&self, now: Time, question: Question) -> Explanation {
        let now = now.max(self.common.now);
        let (case, mut causes) = match question {
            Question::WhatIsWrong if self.common.stopped => (Case::Stopped { term: self.term() }, Vec::new()),
            Question::WhatIsWrong => self.what_is_wrong(now),
            Question::NoLeader => self.why_no_leader(now),
            Question::NotCommitted(index) => self.why_not_committed(now, index),
            Question::NotApplied(index) => self.why_not_applied(now, index),
            Question::LeaderChange => self.why_leader_changed(now),
            Question::Refused(reason) => self.why_refused(now, reason),
            Question::Lagging(member) => self.why_lagging(now, member),
        };
        if self.common.stopped {
            causes.insert(0, Cause::Stopped);
        }
        Explanation {
            by: self.id(),
            case,
            causes,
        }
    }

    /// How long something may take before it is called trouble.
    fn patience(&self) -> Duration {
        self.common.election_timeout / 2
    }

    /// Whether something that began at `since` has lasted too long.
    fn is_too_long(&self, now: Time, since: Option<Time>) -> bool {
        since.is_some_and(|since| now.since(since) >= self.patience())
    }

    /// The first of these that is the case: no leader, nothing committed, nothing applied, a member behind, all well.
    fn what_is_wrong(&self, now: Time) -> (Case, Vec<Cause>) {
        let Some(leader) = self.leader() else {
            return self.why_no_leader(now);
        };
        if let Some(silent) = self.why_leader_is_silent(now, leader) {
            return silent;
        }
        let common = &self.common;
        if self.is_asleep() {
            let term = common.term;
            return (Case::Asleep { leader, term }, Vec::new());
        }
        let leads = matches!(self.role, Role::Leader(_));
        if leads && self.is_too_long(now, common.recollection.commit_stands_since()) {
            return self.why_not_committed(now, common.commit.next());
        }
        if common.is_restoring() || self.is_too_long(now, common.apply.waiting_since()) {
            return self.why_not_applied(now, common.applied().next());
        }
        if let Some(lagging) = self.who_lags(now) {
            return lagging;
        }
        let well = Case::Well {
            leader,
            term: common.term,
            commit: common.commit,
            applied: common.applied(),
        };
        (well, Vec::new())
    }

    /// The changes of the leader that are remembered, the newest first.
    fn why_leader_changed(&self, now: Time) -> (Case, Vec<Cause>) {
        let changes = self.common.recollection.leader_changes().map(|past| {
            Cause::LeaderChange(LeaderChange {
                ago: now.since(past.at),
                before: past.before,
                after: past.change.leader,
                term: past.change.term,
                reason: past.change.reason,
            })
        });
        let mut causes: Vec<Cause> = changes.collect();
        causes.reverse();
        let case = Case::LeaderChanged {
            leader: self.leader(),
            term: self.term(),
        };
        (case, causes)
    }

    /// What in the state of this replica goes with a refusal that it gave.
    fn why_refused(&self, now: Time, reason: RefusalReason) -> (Case, Vec<Cause>) {
        let causes = match (reason, &self.role) {
            (RefusalReason::NotLeader { .. } | RefusalReason::Removed, _) => match self.leader() {
                Some(leader) if leader == self.id() => Vec::new(),
                _ => self.whom_to_ask(now),
            },
            (RefusalReason::Busy, Role::Leader(leader)) => self.what_is_full(now, leader),
            (RefusalReason::MembershipChangePending, Role::Leader(_)) => {
                let index = self.common.membership_index();
                let pending = Cause::ChangePending {
                    index,
                    is_joint: self.common.membership().is_joint(),
                };
                let mut causes = vec![pending];
                if index > self.common.commit {
                    causes.extend(self.why_not_committed(now, index).1);
                }
                causes
            }
            (RefusalReason::Transferring { .. }, Role::Leader(leader)) => {
                leader.transfer.iter().map(|transfer| Cause::Transfer {
                    to: transfer.to,
                    left: transfer.deadline.since(now),
                    lacks: leader.lacks(transfer.to, self.common.log.last().index),
                })
            }
            .collect(),
            (RefusalReason::NotCaughtUp { learner: member, .. }, Role::Leader(leader))
            | (RefusalReason::TargetUnreachable(member), Role::Leader(leader)) => self
                .lag_of(now, leader, member)
                .map(Cause::Behind)
                .into_iter()
                .collect(),
            (RefusalReason::QuorumUnreachable { .. }, Role::Leader(leader)) => {
                let silent = leader
                    .progress
                    .keys()
                    .filter(|member| !leader.is_reachable(&self.common, **member));
                silent
                    .filter_map(|member| self.lag_of(now, leader, *member))
                    .map(Cause::Behind)
                    .collect()
            }
            _ => Vec::new(),
        };
        (Case::Refused(reason), causes)
    }

    /// Which queue of a leader that is busy is full, and who keeps it from becoming empty.
    fn what_is_full(&self, now: Time, leader: &Leader) -> Vec<Cause> {
        let config = &self.common.config;
        let mut causes = Vec::new();
        if leader.reads.pending() >= config.reads_max {
            causes.push(Cause::ReadsFull {
                reads: leader.reads.pending(),
                reads_max: config.reads_max,
            });
            causes.extend(self.who_lags(now).map(|(_, causes)| causes).unwrap_or_default());
        }
        if leader.uncommitted_bytes() > 0 {
            causes.push(Cause::UncommittedFull {
                bytes: leader.uncommitted_bytes(),
                bytes_max: config.uncommitted_bytes_max,
            });
            causes.extend(self.why_not_committed(now, self.common.commit.next()).1);
        }
        causes
    }

    /// For a replica that does not lead: the leader knows more, unless that is not heard, or there is none.
    fn whom_to_ask(&self, now: Time) -> Vec<Cause> {
        let Some(leader) = self.leader() else {
            let (_, waits_for) = self.why_no_leader(now);
            return [Cause::NoLeader(self.leaderless_for(now))]
                .into_iter()
                .chain(waits_for)
                .collect();
        };
        match self.why_leader_is_silent(now, leader) {
            Some((Case::LeaderSilent { leader, lasts }, due)) => {
                let silent = Cause::LeaderSilent { leader, lasts };
                [silent].into_iter().chain(due).collect()
            }
            _ => vec![Cause::AskLeader(leader)],
        }
    }

    /// For how long no leader has been known.
    fn leaderless_for(&self, now: Time) -> Duration {
        let since = self.common.recollection.leaderless_since();
        since.map(|since| now.since(since)).unwrap_or_default()
    }

    /// The majorities that lack someone: all those of which fewer `have` something than are needed.
    fn missing_quorums(&self, need: Need, have: impl Fn(NodeId) -> bool) -> Vec<Cause> {
        let membership = self.common.membership();
        let halves = if membership.is_joint() {
            vec![
                (Half::Incoming, membership.voters()),
                (Half::Outgoing, membership.outgoing()),
            ]
        } else {
            vec![(Half::Only, membership.voters())]
        };
        let halves = halves.into_iter().map(|(half, voters)| Quorum {
            need,
            half,
            voters: voters.to_vec(),
            have: voters.iter().copied().filter(|voter| have(*voter)).collect(),
            needed: quorum(voters.len()),
        });
        halves
            .filter(|half| !half.voters.is_empty() && half.have.len() < half.needed)
            .map(Cause::NoQuorum)
            .collect()
    }

    /// Every voter once but this replica.
    fn other_voters(&self) -> impl Iterator<Item = NodeId> {
        let membership = self.common.membership();
        let members = membership.members().into_iter();
        members.filter(|member| *member != self.id() && membership.is_voter(*member))
    }
}

impl Leader {
    /// How many entries up to `last` a member has not acknowledged.
    fn lacks(&self, member: NodeId, last: Index) -> u64 {
        let progress = self.progress.get(&member);
        last.entries_since(
            progress
                .map(|progress| progress.match_index())
                .unwrap_or_default(),
        )
    }
}
