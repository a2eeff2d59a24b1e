//! Changes of the members and of the leader: how such a request reaches the group, and how long it is tried.
//!
//! A refusal whose reason passes by itself, such as an election, is tried again as long as the request's time allows:
//! nothing was done. A request whose outcome is unknown is never tried again.

use std::future::Future;
use std::time::Instant;

use raft_core::membership::{MemberChange, Membership};
use raft_core::request::{ChangePreview, RefusalReason};
use raft_core::runtime::{ChangeMembershipError, MembershipChanged, TransferError};
use raft_core::types::{NodeId, Term};
use tonic::Status;

use super::api::Api;
use super::backend::Backend;
use super::grpc::Terms;
use super::metrics::{Outcome, RequestCounters};
use super::refusal::Refusal;

/// Why a request came to nothing, as far as that is known.
#[derive(Debug)]
pub(super) enum NotDone<E> {
    /// The group said why.
    Said(E),
    /// The request's time was over before the group said anything.
    Missed(Status),
}

impl NotDone<ChangeMembershipError> {
    /// What to tell the client; `adds_voter` if the change adds one.
    pub(super) fn refusal(self, adds_voter: bool) -> Refusal {
        match self {
            NotDone::Said(error) => Refusal::of_change(error, adds_voter),
            NotDone::Missed(status) => Refusal::missed(&status),
        }
    }
}

impl NotDone<TransferError> {
    /// What to tell the client.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            NotDone::Said(error) => Refusal::of_transfer(error),
            NotDone::Missed(status) => Refusal::missed_transfer(&status),
        }
    }
}

/// Whether one of `changes` adds a voter: a new member, or a learner that is promoted.
pub(super) fn adds_voter(changes: &[MemberChange]) -> bool {
    changes
        .iter()
        .any(|change| matches!(change, MemberChange::AddVoter { .. } | MemberChange::Promote(_)))
}

impl<B: Backend> Api<B> {
    /// The newest configuration, confirmed with the cluster.
    pub(super) async fn confirmed_membership(&self, terms: &Terms) -> Result<Membership, Status> {
        self.barrier(terms).await?;
        Ok(self.membership())
    }

    /// The latest configuration in this node's log.
    pub(super) fn membership(&self) -> Membership {
        self.backend.with_status(|status| status.membership.clone())
    }

    /// Changes the members.
    pub(super) async fn change_membership(
        &self,
        changes: &[MemberChange],
        terms: &Terms,
    ) -> Result<MembershipChanged, NotDone<ChangeMembershipError>> {
        let started = Instant::now();
        let attempt = || self.backend.change_membership(changes.to_vec());
        let result = self.attempt(terms, attempt, change_may_be_taken_later).await;
        let is_unknown = |error: &_| matches!(error, ChangeMembershipError::Unknown);
        record(&self.metrics.membership_changes, started, &result, is_unknown);
        result
    }

    /// Says what such a change would do.
    pub(super) async fn preview_membership(
        &self,
        changes: &[MemberChange],
        terms: &Terms,
    ) -> Result<ChangePreview, NotDone<ChangeMembershipError>> {
        let attempt = || self.backend.preview_membership(changes.to_vec());
        self.attempt(terms, attempt, change_may_be_taken_later).await
    }

    /// Lets `to` lead.
    pub(super) async fn transfer_leadership(
        &self,
        to: NodeId,
        terms: &Terms,
    ) -> Result<Term, NotDone<TransferError>> {
        let started = Instant::now();
        let attempt = || self.backend.transfer_leadership(to);
        let may_be_taken_later =
            |error: &_| matches!(error, TransferError::Refused(reason) if passes_by_itself(reason));
        let result = self.attempt(terms, attempt, may_be_taken_later).await;
        let is_unknown = |error: &_| matches!(error, TransferError::Unknown);
        record(&self.metrics.leadership_transfers, started, &result, is_unknown);
        result
    }

    async fn attempt<T, E, Fut>(
        &self,
        terms: &Terms,
        mut attempt: impl FnMut() -> Fut,
        may_be_taken_later: impl Fn(&E) -> bool,
    ) -> Result<T, NotDone<E>>
    where
        Fut: Future<Output = Result<T, E>>,
    {
        // Why the last attempt was refused; nothing while one is under way.
        let mut refused = None;
        let attempts = async {
            loop {
                match attempt().await {
                    Err(error) if may_be_taken_later(&error) => refused = Some(error),
                    result => break result,
                }
                self.wait_for_change().await;
                refused = None;
            }
        };
        match self.within_time(terms, attempts).await {
            Ok(result) => result.map_err(NotDone::Said),
            Err(missed) => Err(match refused {
                Some(error) => NotDone::Said(error),
                None => NotDone::Missed(missed.into_status()),
            }),
        }
    }
}

fn change_may_be_taken_later(error: &ChangeMembershipError) -> bool {
    matches!(error, ChangeMembershipError::Refused(reason) if passes_by_itself(reason))
}

/// Whether the group may take tomorrow what it refused for `reason`, without anybody doing anything about it.
fn passes_by_itself(reason: &RefusalReason) -> bool {
    matches!(
        reason,
        RefusalReason::NotLeader { .. }
            | RefusalReason::Transferring { .. }
            | RefusalReason::MembershipChangePending
    )
}

fn record<T, E>(
    counters: &RequestCounters,
    started: Instant,
    result: &Result<T, NotDone<E>>,
    is_unknown: impl Fn(&E) -> bool,
) {
    let outcome = match result {
        Ok(_) => Outcome::Ok,
        Err(NotDone::Said(error)) if !is_unknown(error) => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    };
    counters.record(outcome, started.elapsed());
}
