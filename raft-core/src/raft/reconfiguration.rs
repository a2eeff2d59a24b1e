//! Changes of the members (thesis chapter 4): what a leader takes, and what it does until a change is complete.
//!
//! Rules: one change at a time, and none before something of the own term is committed (R61); what does not fit is an
//! error (R62); the replica itself leaves a joint configuration, whoever leads by then (R63); a leader that is no voter
//! any more leads until that is committed, and steps down (R64); every switch of the configuration is followed by
//! everything that depends on it (R67).

use super::common::Common;
use super::leader::Leader;
use super::machine::Raft;
use super::role::Role;
use crate::effect::{Effect, RoleChangeReason};
use crate::entry::{Entry, Payload};
use crate::input::ChangeRequest;
use crate::membership::{Membership, MembershipPlan, leave_joint};
use crate::mutants::{self, Mutant};
use crate::progress::{Progress, ProgressState};
use crate::request::{ChangePreview, RefusalReason};
use crate::types::{EntryId, NodeId, Time};

impl Leader {
    /// Somebody wants to change the members, or to know what that would do.
    pub(super) fn change_membership(&mut self, common: &mut Common, request: ChangeRequest) {
        let ChangeRequest {
            ticket,
            changes,
            dry_run,
        } = request;
        let refuse = |common: &mut Common, reason| common.effects.push(Effect::Refused { ticket, reason });
        if self.change_is_pending(common) {
            return refuse(common, RefusalReason::MembershipChangePending);
        }
        let plan = match MembershipPlan::new(common.membership(), &changes) {
            Ok(plan) => plan,
            Err(error) => return refuse(common, RefusalReason::Membership(error)),
        };
        let refusal = self.refusal(common, &plan);
        if dry_run {
            let preview = ChangePreview {
                reachable: self.reachable_members(common, &plan),
                plan,
                refusal,
            };
            common.effects.push(Effect::Previewed { ticket, preview });
        } else if let Some(reason) = refusal {
            refuse(common, reason);
        } else {
            self.change = Some(ticket);
            self.append_membership(common, plan.next().clone());
        }
    }

    /// Whether no change can be taken, whatever it is (R61): the tail may hold one, or one has not been left yet.
    pub(super) fn change_is_pending(&self, common: &Common) -> bool {
        (common.commit < self.term_start && !mutants::is(Mutant::ChangeBeforeOwnTermCommit))
            || (common.membership_index() > common.commit && !mutants::is(Mutant::ChangeWhilePending))
            || common.membership().is_joint()
    }

    fn refusal(&self, common: &Common, plan: &MembershipPlan) -> Option<RefusalReason> {
        if let Some(transfer) = &self.transfer {
            return Some(RefusalReason::Transferring { to: transfer.to });
        }
        if plan.current.voters() == plan.target.voters() {
            return None;
        }
        let promoted = |id: &&NodeId| plan.current.learners().contains(id);
        for &learner in plan.target.voters().iter().filter(promoted) {
            if !self.has_caught_up(common, learner) {
                let matched = self.progress.get(&learner).map(Progress::match_index);
                let entries_behind = common.log.last().index.entries_since(matched.unwrap_or_default());
                return Some(RefusalReason::NotCaughtUp {
                    learner,
                    entries_behind,
                });
            }
        }
        let short_of = plan.short_of(|voter| self.is_reachable(common, voter));
        short_of.map(|(quorum, reachable)| RefusalReason::QuorumUnreachable { quorum, reachable })
    }

    fn has_caught_up(&self, common: &Common, learner: NodeId) -> bool {
        self.is_reachable(common, learner)
            && self.progress.get(&learner).is_some_and(|progress| {
                progress.state() == ProgressState::Replicate
                    && progress
                        .catch_up
                        .is_caught_up(common.now, common.election_timeout)
            })
    }

    /// Whether a member was really heard from within an election timeout.
    pub(super) fn is_reachable(&self, common: &Common, member: NodeId) -> bool {
        member == common.id()
            || self.progress.get(&member).is_some_and(|progress| {
                progress.was_heard
                    && !progress.is_suspect
                    && common.now.since(progress.last_contact) < common.election_timeout
            })
    }

    fn reachable_members(&self, common: &Common, plan: &MembershipPlan) -> Vec<NodeId> {
        let mut members = [plan.current.members(), plan.target.members()].concat();
        members.sort_unstable();
        members.dedup();
        members.retain(|member| self.is_reachable(common, *member));
        members
    }

    /// Appends a configuration, which counts from now on (thesis §4.1), and does what follows from it (R67).
    fn append_membership(&mut self, common: &mut Common, membership: Membership) {
        let id = EntryId::new(common.term, common.log.last().index.next());
        let payload = Payload::Membership(membership);
        common.append(Entry { id, payload });
        self.sync_members(common);
        self.abort_transfer_to_former_voter(common);
        // A smaller quorum may have been reached long ago (R44).
        self.advance_commit(common);
        self.confirm_reads(common);
    }

    /// Makes the followers those of the latest configuration; new ones count as heard from (R31) and are probed at once.
    /// Who left is still told so for a while, so that it need not find out by asking for votes (R70).
    pub(super) fn sync_members(&mut self, common: &Common) {
        let members = common.membership().members();
        for id in self.progress.keys() {
            if members.binary_search(id).is_err() {
                self.departing.entry(*id).or_insert(None);
            }
        }
        self.departing.retain(|id, _| members.binary_search(id).is_err());
        for member in members.into_iter().filter(|member| *member != common.id()) {
            self.add_follower(common, member);
        }
    }

    fn add_follower(&mut self, common: &Common, id: NodeId) {
        let last = common.log.last().index;
        self.progress
            .entry(id)
            .or_insert_with(|| Progress::new(&common.config, self.term_start, last, common.now));
    }

    /// A new leader tells those who left with the newest change, too: the old one may have stepped down with that very
    /// change before they heard of it (R70).
    pub(super) fn remember_former_members(&mut self, common: &Common) {
        for member in common.former_members() {
            self.departing.insert(member, None);
            self.add_follower(common, member);
        }
    }

    /// Lets go of members that left, an election timeout after that was committed.
    pub(super) fn forget_departed(&mut self, common: &Common) {
        if common.membership_index() > common.commit {
            return;
        }
        let timeout = common.election_timeout;
        let progress = &mut self.progress;
        self.departing.retain(|id, until| {
            let until: Time = *until.get_or_insert(common.now + timeout);
            let stays = common.now < until;
            if !stays {
                progress.remove(id);
            }
            stays
        });
    }

    /// The latest configuration is committed: leaves it if it is joint (R63), and tells who asked for it if not.
    pub(super) fn advance_membership(&mut self, common: &mut Common) {
        if common.commit < self.term_start || common.membership_index() > common.commit {
            return;
        }
        if common.membership().is_joint() {
            let next = leave_joint(common.membership());
            self.append_membership(common, next);
        }
        let (index, membership) = (common.membership_index(), common.membership().clone());
        if index <= common.commit
            && let Some(ticket) = self.change.take()
        {
            common.effects.push(Effect::ChangeCommitted {
                ticket,
                index,
                membership,
            });
        }
    }

    /// Whether this leader lost its vote, and that is committed (R64).
    fn is_removed(&self, common: &Common) -> bool {
        !self.change_is_pending(common) && !common.membership().is_voter(common.id())
    }
}

impl Raft {
    /// A leader that is no voter any more hands over and steps down, once its followers were told of the commit.
    pub(super) fn leave_if_removed(&mut self) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if leader.is_removed(&self.common) && !mutants::is(Mutant::RemovedLeaderStays) {
            leader.hand_over(&mut self.common);
            self.become_follower(None, None, RoleChangeReason::Removed);
        }
    }
}
