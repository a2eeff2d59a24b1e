//! Why an entry is not committed, or not applied.

use super::super::leader::Leader;
use super::super::machine::Raft;
use super::super::role::Role;
use crate::explain::{Case, Cause, Need};
use crate::progress::{ColdRead, Progress};
use crate::types::{Index, NodeId, Time};

impl Raft {
    /// Whose acknowledgement is missing.
    pub(super) fn why_not_committed(&self, now: Time, index: Index) -> (Case, Vec<Cause>) {
        let common = &self.common;
        let (last, commit) = (common.log.last().index, common.commit);
        if index <= commit {
            return (Case::Committed { index, commit }, Vec::new());
        }
        let stands = common.recollection.commit_stands_since();
        let case = if index > last {
            Case::NotInLog { index, last }
        } else {
            Case::NotCommitted {
                index,
                commit,
                lasts: stands.map(|since| now.since(since)),
            }
        };
        let causes = match &self.role {
            Role::Leader(_) if index > last => Vec::new(),
            Role::Leader(leader) => self.whose_acknowledgement_is_missing(now, leader, index),
            Role::Follower(_) | Role::Candidate(_) => self.whom_to_ask(now),
        };
        (case, causes)
    }

    fn whose_acknowledgement_is_missing(&self, now: Time, leader: &Leader, index: Index) -> Vec<Cause> {
        let common = &self.common;
        let mut causes = Vec::new();
        // What is of an earlier term is not counted; it comes along with the first entry of the own term.
        let target = index.max(leader.term_start);
        let has_it = |voter: NodeId| self.has_acknowledged(leader, voter, target);
        causes.extend(self.missing_quorums(Need::Entry, has_it));
        if target > index {
            causes.push(Cause::EarlierTerm {
                term: common.term,
                needs: target,
            });
        }
        if common.membership().is_voter(self.id()) && !has_it(self.id()) {
            causes.push(self.own_write(now));
        }
        let missing = self.other_voters().filter(|voter| !has_it(*voter));
        causes.extend(missing.filter_map(|voter| self.lag_of(now, leader, voter).map(Cause::Behind)));
        causes
    }

    /// The oldest write that is not durable here.
    fn own_write(&self, now: Time) -> Cause {
        let since = self.common.disk_waits_since();
        let waits = since.map(|since| now.since(since)).unwrap_or_default();
        if self.is_too_long(now, since) {
            Cause::OwnDisk(waits)
        } else {
            Cause::OwnWrite(waits)
        }
    }

    /// Whether the acknowledgement of a voter counts and reaches so far: as the commit rule counts (R58).
    fn has_acknowledged(&self, leader: &Leader, voter: NodeId, index: Index) -> bool {
        if voter == self.id() {
            return self.common.log.durable() >= index;
        }
        let progress = leader.progress.get(&voter);
        progress.is_some_and(|progress| Progress::counted_match_index(progress) >= index)
    }

    /// What the state machine of this replica waits for.
    pub(super) fn why_not_applied(&self, now: Time, index: Index) -> (Case, Vec<Cause>) {
        let common = &self.common;
        let (applied, commit) = (common.applied(), common.commit);
        if index <= applied {
            return (Case::Applied { index, applied }, Vec::new());
        }
        if index > commit {
            return self.why_not_committed(now, index);
        }
        let case = Case::NotApplied {
            index,
            applied,
            commit,
        };
        let mut causes = Vec::new();
        if let Some(restoring) = &common.apply.restoring {
            causes.push(Cause::OwnRestore(restoring.meta.last));
        } else if let Some(since) = common.apply.waiting_since() {
            causes.push(Cause::OwnStateMachine {
                lasts: now.since(since),
                entries: common.apply.handed_out.entries_since(applied),
            });
        } else if common.log.durable() < index {
            // Only what is durable here is handed out.
            causes.push(self.own_write(now));
        } else if common.apply.cold_read != ColdRead::Idle {
            causes.push(Cause::OwnLogRead {
                failed: common.apply.cold_read == ColdRead::Failed,
            });
        }
        (case, causes)
    }
}
