//! What a client is told when the group does not change its members or its leader.
//!
//! Each reason has a gRPC code, and two texts: etcd's, which its clients compare as strings, where etcd has one; and
//! ours, which says what can be done. etcd's services answer with the first if there is one, ours always with the second.

use std::fmt;

use raft_core::membership::{ChangeError, MembershipError};
use raft_core::request::{RefusalReason, TransferAbort};
use raft_core::runtime::{ChangeMembershipError, TransferError};
use tonic::{Code, Status};

use super::error;

/// Why the members or the leader were not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    etcd: Option<String>,
    own: String,
}

impl Refusal {
    /// A reason for which etcd has no text.
    fn own(code: Code, text: impl fmt::Display) -> Refusal {
        Refusal {
            code,
            etcd: None,
            own: text.to_string(),
        }
    }

    /// A reason for which etcd has a text.
    fn etcd(code: Code, etcd: &str, own: impl fmt::Display) -> Refusal {
        Refusal {
            code,
            etcd: Some(etcd.to_owned()),
            own: own.to_string(),
        }
    }

    /// A URL of a member is none.
    pub(super) fn bad_url(reason: impl fmt::Display) -> Refusal {
        let etcd = "etcdserver: given member URLs are invalid";
        Refusal::etcd(Code::InvalidArgument, etcd, reason)
    }

    /// Another member has the URL already.
    pub(super) fn url_taken(reason: impl fmt::Display) -> Refusal {
        let etcd = "etcdserver: Peer URLs already exists";
        Refusal::etcd(Code::FailedPrecondition, etcd, reason)
    }

    /// The request is not what the service takes.
    pub(super) fn invalid(reason: impl fmt::Display) -> Refusal {
        Refusal::own(Code::InvalidArgument, reason)
    }

    /// No such member.
    pub(super) fn not_a_member(reason: impl fmt::Display) -> Refusal {
        Refusal::etcd(Code::NotFound, "etcdserver: member not found", reason)
    }

    /// Why `change`s of the members were refused; `adds_voter` if one of them adds a voter.
    ///
    /// etcd has two texts for a quorum that is missing: one for members that have not been started, which is what keeps
    /// a new voter from being counted, and one for members that are lost.
    #[deny(clippy::wildcard_enum_match_arm)]
    pub(super) fn of_change(error: ChangeMembershipError, adds_voter: bool) -> Refusal {
        match error {
            ChangeMembershipError::Refused(reason @ RefusalReason::QuorumUnreachable { .. })
                if adds_voter =>
            {
                Refusal::etcd(Code::FailedPrecondition, NOT_ENOUGH_STARTED, reason)
            }
            ChangeMembershipError::Refused(reason) => Refusal::of_reason(reason),
            ChangeMembershipError::Unknown => Refusal::of_status(&error::timed_out_leader_failure(), error),
            // The compiler demands it; clippy demands that it stays empty.
            _ => Refusal::own(Code::Unknown, error),
        }
    }

    /// Why leadership was not transferred.
    #[deny(clippy::wildcard_enum_match_arm)]
    pub(super) fn of_transfer(error: TransferError) -> Refusal {
        match error {
            TransferError::Refused(reason) => Refusal::of_reason(reason),
            TransferError::Aborted(reason) => Refusal::of_abort(reason),
            TransferError::Unknown => Refusal::etcd(Code::Unknown, TRANSFER_TOO_LONG, error),
            // The compiler demands it; clippy demands that it stays empty.
            _ => Refusal::own(Code::Unknown, error),
        }
    }

    fn of_abort(reason: TransferAbort) -> Refusal {
        match reason {
            // etcd gives this text without a code of its own, so its clients see "unknown".
            TransferAbort::TimedOut => Refusal::etcd(Code::Unknown, TRANSFER_TOO_LONG, reason),
            TransferAbort::OtherLeader(_) => Refusal::own(Code::Aborted, format!("{reason}; try again")),
            TransferAbort::TargetLeft => Refusal::etcd(Code::FailedPrecondition, BAD_TRANSFEREE, reason),
        }
    }

    #[deny(clippy::wildcard_enum_match_arm)]
    fn of_reason(reason: RefusalReason) -> Refusal {
        match reason {
            RefusalReason::NotLeader { leader } => match leader {
                None => Refusal::of_status(&error::no_leader(), reason),
                Some(_) => Refusal::etcd(Code::FailedPrecondition, "etcdserver: not leader", reason),
            },
            RefusalReason::Busy => Refusal::of_status(&error::too_many_requests(), reason),
            RefusalReason::TooLarge { .. } => Refusal::of_status(&error::request_too_large(), reason),
            // etcd's members stop when they are removed.
            RefusalReason::Stopped | RefusalReason::Removed => Refusal::of_status(&error::stopped(), reason),
            RefusalReason::Transferring { .. } | RefusalReason::MembershipChangePending => {
                Refusal::own(Code::Unavailable, reason)
            }
            RefusalReason::NotAVoter(_) => Refusal::etcd(Code::FailedPrecondition, BAD_TRANSFEREE, reason),
            // etcd tries all the same, and says this when it gives up.
            RefusalReason::TargetUnreachable(_) => Refusal::etcd(Code::Unknown, TRANSFER_TOO_LONG, reason),
            RefusalReason::Membership(error) => Refusal::of_change_error(error),
            RefusalReason::NotCaughtUp { .. } => Refusal::etcd(
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member which is in sync with leader",
                reason,
            ),
            RefusalReason::QuorumUnreachable { .. } => {
                Refusal::etcd(Code::Unavailable, "etcdserver: unhealthy cluster", reason)
            }
            // Of commands of sessions, which neither a change nor a transfer is.
            RefusalReason::SessionExpired(_)
            | RefusalReason::SequenceAcknowledged { .. }
            | RefusalReason::SessionWindowFull { .. } => Refusal::own(Code::Internal, reason),
            // The compiler demands it; clippy demands that it stays empty.
            _ => Refusal::own(Code::Unknown, reason),
        }
    }

    #[deny(clippy::wildcard_enum_match_arm)]
    fn of_change_error(error: ChangeError) -> Refusal {
        match error {
            ChangeError::AlreadyMember(_) | ChangeError::IdUsed { .. } => Refusal::etcd(
                Code::FailedPrecondition,
                "etcdserver: member ID already exist",
                error,
            ),
            ChangeError::NotAMember(_) => Refusal::not_a_member(error),
            ChangeError::NotALearner(_) => Refusal::etcd(
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member",
                error,
            ),
            ChangeError::Nothing | ChangeError::NotAVoter(_) => Refusal::own(Code::FailedPrecondition, error),
            ChangeError::IdTooHigh { .. } | ChangeError::TooManySteps { .. } => Refusal::invalid(error),
            ChangeError::Membership(error) => Refusal::of_membership_error(error),
            // The compiler demands it; clippy demands that it stays empty.
            _ => Refusal::own(Code::Unknown, error),
        }
    }

    #[deny(clippy::wildcard_enum_match_arm)]
    fn of_membership_error(error: MembershipError) -> Refusal {
        match error {
            MembershipError::NoVoters => Refusal::etcd(
                Code::FailedPrecondition,
                NOT_ENOUGH_STARTED,
                format!("{error}; add another one before you remove or demote the last"),
            ),
            MembershipError::TooMany { .. } => Refusal::own(Code::FailedPrecondition, error),
            MembershipError::ContactTooLong { .. } => Refusal::bad_url(error),
            MembershipError::Duplicate(_)
            | MembershipError::VoterAndLearner(_)
            | MembershipError::ZeroId
            | MembershipError::NotOutgoing(_)
            | MembershipError::ContactOfStranger(_) => Refusal::invalid(error),
            // The compiler demands it; clippy demands that it stays empty.
            _ => Refusal::own(Code::Unknown, error),
        }
    }

    /// A reason that other requests have, too; `status` is how they tell it.
    fn of_status(status: &Status, own: impl fmt::Display) -> Refusal {
        Refusal::etcd(status.code(), status.message(), own)
    }

    /// The time was over, and nobody knows what became of the request.
    pub(super) fn missed(status: &Status) -> Refusal {
        let own = "no answer in time; look at `raft-node status` and `raft-node member list` to see what became of it";
        Refusal::of_status(status, own)
    }

    /// The same for a transfer of leadership, for which etcd has another text if it was the server's time.
    pub(super) fn missed_transfer(status: &Status) -> Refusal {
        match status.code() {
            Code::DeadlineExceeded => Refusal::missed(status),
            _ => Refusal::of_transfer(TransferError::Unknown),
        }
    }

    /// As etcd says it.
    pub(super) fn into_etcd_status(self) -> Status {
        Status::new(self.code, self.etcd.unwrap_or(self.own))
    }

    /// As we say it.
    pub(super) fn into_own_status(self) -> Status {
        Status::new(self.code, self.own)
    }
}

const NOT_ENOUGH_STARTED: &str = "etcdserver: re-configuration failed due to not enough started members";
const TRANSFER_TOO_LONG: &str = "etcdserver: request timed out, leader transfer took too long";
const BAD_TRANSFEREE: &str = "etcdserver: bad leader transferee";
