//! Why members and leaders are not changed: each reason's code, etcd's text, and ours. Without a network.

use std::time::Duration;

use raft_core::membership::{ChangeError, MembershipError};
use raft_core::request::{RefusalReason, TransferAbort};
use raft_core::runtime::{ChangeMembershipError, TransferError};
use raft_core::types::{NodeId, Sequence, SessionId};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{FakeNode, api};
use crate::proto::etcdserverpb::{
    MemberAddRequest, MemberPromoteRequest, MemberRemoveRequest, MoveLeaderRequest,
};
use crate::proto::raftnode::{Change, ChangeKind, ChangeRequest};
use crate::server::grpc::{Call, Terms};
use crate::server::{cluster, maintenance, membership};

const FOUR: NodeId = NodeId(4);

/// What the group says, and what a client of etcd's API is told: the code and etcd's text; `None` where etcd has none,
/// and ours stands in its place. A quorum that is missing is told by what was asked for, and has its own test.
#[expect(clippy::too_many_lines, reason = "a table, one row for each reason")]
fn reasons() -> Vec<(RefusalReason, Code, Option<&'static str>)> {
    let membership = |error| RefusalReason::Membership(error);
    vec![
        (
            RefusalReason::NotLeader { leader: None },
            Code::Unavailable,
            Some("etcdserver: no leader"),
        ),
        (
            RefusalReason::NotLeader { leader: Some(FOUR) },
            Code::FailedPrecondition,
            Some("etcdserver: not leader"),
        ),
        (
            RefusalReason::Busy,
            Code::ResourceExhausted,
            Some("etcdserver: too many requests"),
        ),
        (
            RefusalReason::TooLarge {
                bytes: 2,
                bytes_max: 1,
            },
            Code::InvalidArgument,
            Some("etcdserver: request is too large"),
        ),
        (
            RefusalReason::Stopped,
            Code::Unavailable,
            Some("etcdserver: server stopped"),
        ),
        (RefusalReason::Transferring { to: FOUR }, Code::Unavailable, None),
        (
            RefusalReason::NotAVoter(FOUR),
            Code::FailedPrecondition,
            Some("etcdserver: bad leader transferee"),
        ),
        (
            RefusalReason::TargetUnreachable(FOUR),
            Code::Unknown,
            Some("etcdserver: request timed out, leader transfer took too long"),
        ),
        (RefusalReason::MembershipChangePending, Code::Unavailable, None),
        (
            RefusalReason::NotCaughtUp {
                learner: FOUR,
                entries_behind: 7,
            },
            Code::FailedPrecondition,
            Some("etcdserver: can only promote a learner member which is in sync with leader"),
        ),
        (RefusalReason::SessionExpired(SessionId(4)), Code::Internal, None),
        (
            RefusalReason::SequenceAcknowledged {
                acknowledged_below: Sequence(4),
            },
            Code::Internal,
            None,
        ),
        (
            RefusalReason::SessionWindowFull { limit: Sequence(4) },
            Code::Internal,
            None,
        ),
        (membership(ChangeError::Nothing), Code::FailedPrecondition, None),
        (
            membership(ChangeError::AlreadyMember(FOUR)),
            Code::FailedPrecondition,
            Some("etcdserver: member ID already exist"),
        ),
        (
            membership(ChangeError::IdUsed {
                id: FOUR,
                highest_id: FOUR,
            }),
            Code::FailedPrecondition,
            Some("etcdserver: member ID already exist"),
        ),
        (
            membership(ChangeError::IdTooHigh {
                id: NodeId(1 << 40),
                highest_id: FOUR,
            }),
            Code::InvalidArgument,
            None,
        ),
        (
            membership(ChangeError::TooManySteps { steps: 300 }),
            Code::InvalidArgument,
            None,
        ),
        (
            membership(MembershipError::TooMany { members: 300 }.into()),
            Code::FailedPrecondition,
            None,
        ),
        (
            membership(ChangeError::NotAMember(FOUR)),
            Code::NotFound,
            Some("etcdserver: member not found"),
        ),
        (
            membership(ChangeError::NotALearner(FOUR)),
            Code::FailedPrecondition,
            Some("etcdserver: can only promote a learner member"),
        ),
        (
            membership(ChangeError::NotAVoter(FOUR)),
            Code::FailedPrecondition,
            None,
        ),
        (
            membership(MembershipError::NoVoters.into()),
            Code::FailedPrecondition,
            Some("etcdserver: re-configuration failed due to not enough started members"),
        ),
        (
            membership(MembershipError::ContactTooLong { bytes: 2_000 }.into()),
            Code::InvalidArgument,
            Some("etcdserver: given member URLs are invalid"),
        ),
        (
            membership(MembershipError::ZeroId.into()),
            Code::InvalidArgument,
            None,
        ),
        (
            membership(MembershipError::Duplicate(FOUR).into()),
            Code::InvalidArgument,
            None,
        ),
        (
            membership(MembershipError::VoterAndLearner(FOUR).into()),
            Code::InvalidArgument,
            None,
        ),
        (
            membership(MembershipError::NotOutgoing(FOUR).into()),
            Code::InvalidArgument,
            None,
        ),
        (
            membership(MembershipError::ContactOfStranger(FOUR).into()),
            Code::InvalidArgument,
            None,
        ),
    ]
}

fn call<M>(message: M) -> Call<M> {
    Call {
        message,
        terms: Terms::default(),
    }
}

/// What etcd's API answers when a promotion ends so.
async fn promotion(error: ChangeMembershipError) -> Status {
    let api = api(FakeNode::new().changing(move |_| Err(error)));
    cluster::member_promote(&api, call(MemberPromoteRequest { id: 4 }))
        .await
        .unwrap_err()
}

/// What our own API answers when the same promotion ends so.
async fn own_promotion(error: ChangeMembershipError) -> Status {
    let api = api(FakeNode::new().changing(move |_| Err(error)));
    let change = Change {
        kind: ChangeKind::Promote.into(),
        id: 4,
        contact: None,
    };
    let changes = vec![change];
    membership::change(&api, call(ChangeRequest { changes }))
        .await
        .unwrap_err()
}

async fn transfer(error: TransferError) -> Status {
    let api = api(FakeNode::new().transferring(move |_| Err(error)));
    maintenance::move_leader(&api, call(MoveLeaderRequest { target_id: 4 }))
        .await
        .unwrap_err()
}

fn assert_status(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

/// R20: reasons are told apart; R62: what is refused is an error.
#[tokio::test(start_paused = true)]
async fn every_reason_has_etcds_code_and_text_or_ours() {
    for (reason, code, etcd) in reasons() {
        let own = own_promotion(ChangeMembershipError::Refused(reason)).await;
        assert_eq!(own.code(), code, "{reason:?}");
        assert!(
            own.message().starts_with(&reason.to_string()),
            "{reason:?}: {own:?}"
        );
        let text = etcd.unwrap_or(own.message());
        assert_status(
            &promotion(ChangeMembershipError::Refused(reason)).await,
            code,
            text,
        );
        assert_status(&transfer(TransferError::Refused(reason)).await, code, text);
    }
}

/// A new voter counts before it is there: to etcd that is another mistake than a quorum that was lost. R62: both are errors.
#[tokio::test(start_paused = true)]
async fn a_voter_that_would_stop_the_group_is_not_started_enough() {
    let reason = RefusalReason::QuorumUnreachable {
        quorum: 2,
        reachable: 1,
    };
    let refused = ChangeMembershipError::Refused(reason);
    let addition = async |is_learner| {
        let api = api(FakeNode::new().changing(move |_| Err(refused)));
        let request = MemberAddRequest {
            peer_urls: vec!["quic://10.0.0.4:2380".to_owned()],
            is_learner,
        };
        cluster::member_add(&api, call(request)).await.unwrap_err()
    };
    let removal = async || {
        let api = api(FakeNode::new().changing(move |_| Err(refused)));
        let request = call(MemberRemoveRequest { id: 2 });
        cluster::member_remove(&api, request).await.unwrap_err()
    };
    let not_started = "etcdserver: re-configuration failed due to not enough started members";
    let unhealthy = "etcdserver: unhealthy cluster";
    for (answer, code, text) in [
        (addition(false).await, Code::FailedPrecondition, not_started),
        (promotion(refused).await, Code::FailedPrecondition, not_started),
        (addition(true).await, Code::Unavailable, unhealthy),
        (removal().await, Code::Unavailable, unhealthy),
    ] {
        assert_status(&answer, code, text);
    }
    let own = own_promotion(refused).await;
    assert_status(&own, Code::FailedPrecondition, &reason.to_string());
}

/// R45: what may have happened is never called refused.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_says_that_it_is_unknown() {
    let lost = "etcdserver: request timed out, possibly due to previous leader failure";
    assert_status(
        &promotion(ChangeMembershipError::Unknown).await,
        Code::Unavailable,
        lost,
    );
    let own = own_promotion(ChangeMembershipError::Unknown).await;
    assert!(
        own.message().contains("look at the members") && own.code() == Code::Unavailable,
        "{own:?}"
    );
    assert_status(
        &transfer(TransferError::Unknown).await,
        Code::Unknown,
        "etcdserver: request timed out, leader transfer took too long",
    );
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_came_to_nothing_says_why() {
    let aborted = |reason| transfer(TransferError::Aborted(reason));
    assert_status(
        &aborted(TransferAbort::TimedOut).await,
        Code::Unknown,
        "etcdserver: request timed out, leader transfer took too long",
    );
    assert_status(
        &aborted(TransferAbort::TargetLeft).await,
        Code::FailedPrecondition,
        "etcdserver: bad leader transferee",
    );
    assert_status(
        &aborted(TransferAbort::OtherLeader(FOUR)).await,
        Code::Aborted,
        "node 4 became leader instead; try again",
    );
}

/// R61: while a change is pending the next one waits for its turn, and is told only when its time is over.
#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_waited_for() {
    for reason in [
        RefusalReason::NotLeader { leader: None },
        RefusalReason::Transferring { to: FOUR },
        RefusalReason::MembershipChangePending,
    ] {
        let mut refusals = 0;
        let node = FakeNode::new().transferring(move |_| {
            refusals += 1;
            match refusals {
                1..=20 => Err(TransferError::Refused(reason)),
                _ => Ok(raft_core::types::Term(8)),
            }
        });
        let request = MoveLeaderRequest { target_id: 4 };
        maintenance::move_leader(&api(node), call(request)).await.unwrap();

        let started = Instant::now();
        promotion(ChangeMembershipError::Refused(reason)).await;
        assert_eq!(started.elapsed().as_secs(), 7, "{reason:?}");
    }
    let started = Instant::now();
    promotion(ChangeMembershipError::Refused(RefusalReason::Busy)).await;
    assert!(started.elapsed() < Duration::from_secs(1));
}
