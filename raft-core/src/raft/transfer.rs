//! Leadership is handed to another voter (thesis §3.10).
//!
//! A leader that was asked to takes nothing new, waits until the target has its whole log and all of it is committed, and
//! then sends TimeoutNow. So nobody's answer is lost on the way. It gives up after an election timeout.
//!
//! Rules: TimeoutNow is bound to term and last entry, and ends the lease of the leadership for good (R33); a target that
//! lost its vote ends the transfer (R67); who asked learns how it ended (R45).

use super::candidate::{Candidate, Phase};
use super::common::Common;
use super::leader::Leader;
use super::machine::Raft;
use super::role::Role;
use crate::codec::recorded;
use crate::effect::{Effect, RoleChangeReason};
use crate::fingerprint::Fingerprint;
use crate::log::TermAt;
use crate::message::{Body, TimeoutNow};
use crate::progress::{Progress, ProgressState};
use crate::request::{RefusalReason, TransferAbort, TransferResult};
use crate::types::{EntryId, NodeId, Ticket, Time};

/// A transfer of leadership that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) ticket: Ticket,
    pub(super) to: NodeId,
    /// When it is given up.
    pub(super) deadline: Time,
    /// The heartbeat with which TimeoutNow was sent last, and is sent again after: it may be lost.
    sent_at: Option<Time>,
}

impl Transfer {
    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let Transfer {
            ticket,
            to,
            deadline,
            sent_at,
        } = self;
        fingerprint.feed(&(ticket, to));
        fingerprint.feed_deadline(*deadline);
        fingerprint.feed_past(*sent_at);
    }
}

impl Leader {
    /// Somebody wants `to` to lead.
    pub(super) fn transfer_leadership(&mut self, common: &mut Common, ticket: Ticket, to: NodeId) {
        let refusal = if let Some(transfer) = &self.transfer {
            Some(RefusalReason::Transferring { to: transfer.to })
        } else if !common.membership().is_voter(to) {
            Some(RefusalReason::NotAVoter(to))
        } else if !self.is_reachable(common, to) {
            Some(RefusalReason::TargetUnreachable(to))
        } else {
            None
        };
        if let Some(reason) = refusal {
            common.effects.push(Effect::Refused { ticket, reason });
        } else if to == common.id() {
            let (leader, term) = (to, common.term);
            let result = TransferResult::Done { leader, term };
            common.effects.push(Effect::TransferEnded { ticket, result });
        } else {
            self.transfer = Some(Transfer {
                ticket,
                to,
                deadline: common.now + common.election_timeout,
                sent_at: None,
            });
        }
    }

    /// Sends TimeoutNow once the target has everything and nothing is undecided; again after each heartbeat interval, in
    /// case it was lost.
    pub(super) fn advance_transfer(&mut self, common: &mut Common) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        let last_log = common.log.last();
        let matched = self.progress.get(&transfer.to).map(Progress::match_index);
        let interval = common.config.heartbeat_interval;
        let is_due = transfer
            .sent_at
            .is_none_or(|sent_at| common.now.since(sent_at) >= interval);
        if !is_due || matched != Some(last_log.index) || common.commit < last_log.index {
            return;
        }
        transfer.sent_at = Some(common.now);
        let to = transfer.to;
        self.send_timeout_now(common, to, last_log);
    }

    fn send_timeout_now(&mut self, common: &mut Common, to: NodeId, last_log: EntryId) {
        self.lease.void();
        common.send_now(to, Body::TimeoutNow(TimeoutNow { last_log }));
    }

    /// Gives a transfer up that takes too long. New requests are taken again; the lease stays void (R33).
    pub(super) fn expire_transfer(&mut self, common: &mut Common) {
        if self
            .transfer
            .is_some_and(|transfer| common.now >= transfer.deadline)
        {
            self.abort_transfer(common, TransferAbort::TimedOut);
        }
    }

    /// The target of a transfer must be a voter still (R67).
    pub(super) fn abort_transfer_to_former_voter(&mut self, common: &mut Common) {
        if self
            .transfer
            .is_some_and(|transfer| !common.membership().is_voter(transfer.to))
        {
            self.abort_transfer(common, TransferAbort::TargetLeft);
        }
    }

    fn abort_transfer(&mut self, common: &mut Common, reason: TransferAbort) {
        if let Some(Transfer { ticket, .. }) = self.transfer.take() {
            let result = TransferResult::Aborted(reason);
            common.effects.push(Effect::TransferEnded { ticket, result });
        }
    }

    /// Whether another voter could lead in this one's place.
    pub(super) fn has_successor(&self, common: &Common) -> bool {
        let voters = self
            .progress
            .keys()
            .filter(|id| common.membership().is_voter(**id));
        voters.into_iter().any(|id| self.is_reachable(common, *id))
    }

    /// Asks the voter that has most of the log to take over at once, because this leader cannot go on; the one that
    /// leadership is being transferred to, if it can. TimeoutNow is bound to the last entry that it was sent: nothing
    /// follows it, so that is its last entry when the message arrives. If nobody is streamed to, the followers find a
    /// leader by their timeouts.
    pub(super) fn hand_over(&mut self, common: &mut Common) {
        let target = self.transfer.map(|transfer| transfer.to);
        let may_take_over = |id: NodeId, progress: &Progress| {
            common.membership().is_voter(id)
                && progress.state() == ProgressState::Replicate
                && self.is_reachable(common, id)
        };
        let candidates = self
            .progress
            .iter()
            .filter(|(id, progress)| may_take_over(**id, progress));
        let best = candidates.max_by_key(|(id, progress)| {
            (
                Some(**id) == target,
                progress.match_index(),
                progress.last_contact,
            )
        });
        let Some((&to, progress)) = best else { return };
        let last = progress.next_index().previous();
        if let TermAt::Known(term) = common.log.term(last) {
            self.send_timeout_now(common, to, EntryId::new(term, last));
        }
    }
}

impl Common {
    /// Leadership ended during a transfer: whoever asked still waits for the next leader.
    pub(super) fn outlive(&mut self, transfer: Transfer) {
        let deadline = self.now + self.election_timeout * 2;
        self.handed_over = Some(Transfer { deadline, ..transfer });
    }

    /// A leader is known again after a transfer.
    pub(super) fn leader_after_transfer(&mut self, leader: NodeId) {
        if let Some(Transfer { ticket, to, .. }) = self.handed_over.take() {
            let result = if leader == to {
                let term = self.term;
                TransferResult::Done { leader, term }
            } else {
                TransferResult::Aborted(TransferAbort::OtherLeader(leader))
            };
            self.effects.push(Effect::TransferEnded { ticket, result });
        }
    }

    /// Nobody became leader in time after a transfer.
    pub(super) fn expire_handed_over(&mut self) {
        if self
            .handed_over
            .is_some_and(|transfer| self.now >= transfer.deadline)
            && let Some(Transfer { ticket, .. }) = self.handed_over.take()
        {
            let result = TransferResult::Aborted(TransferAbort::TimedOut);
            self.effects.push(Effect::TransferEnded { ticket, result });
        }
    }
}

impl Raft {
    /// The leader asks this replica to take over. Both must have the same log: a late copy of the message finds another
    /// term or another last entry (R33). PreVote would be refused while the old leader is heard, so there is none.
    pub(super) fn timeout_now(&mut self, from: NodeId, request: TimeoutNow) {
        let Role::Follower(follower) = &self.role else {
            return;
        };
        if follower.leader != Some(from) || request.last_log != self.common.log.last() || !self.may_campaign()
        {
            return;
        }
        let deadline = self.common.random_election_deadline();
        self.common.begin_own_term();
        let role = Role::Candidate(Candidate::new(Phase::Vote, deadline));
        self.transition(role, None, RoleChangeReason::TransferReceived);
        self.common.request_votes(Phase::Vote, true);
    }
}

recorded!(struct Transfer { ticket, to, deadline, sent_at });
