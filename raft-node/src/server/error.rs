//! What a client is told when its request fails: gRPC code and text exactly as etcd v3 sends them.
//!
//! Clients compare these texts as strings, so they are part of the protocol. Texts about keys and revisions belong to
//! the store ([`KvError`]), those about members and leadership to [`refusal`](super::refusal); this module owns the
//! codes of the former and all other texts. It decides nothing else. A request whose
//! outcome is unknown is never answered as a success, nor with a text that promises that it was not applied.

use raft_kv::KvError;
use tonic::{Code, Status};

use super::backend::Failure;

/// The command is larger than a command may be.
pub(super) fn request_too_large() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: request is too large")
}

/// The message is so large that it was not even read.
pub(super) fn message_too_large() -> Status {
    Status::new(
        Code::ResourceExhausted,
        "grpc: received message larger than the server accepts",
    )
}

/// A queue is full; nothing was done.
pub(super) fn too_many_requests() -> Status {
    Status::new(Code::ResourceExhausted, "etcdserver: too many requests")
}

/// There is no leader; nothing was done.
pub(super) fn no_leader() -> Status {
    Status::new(Code::Unavailable, NO_LEADER)
}

/// The text of [`no_leader`], which etcd also shows among the errors of a member's status.
pub(super) const NO_LEADER: &str = "etcdserver: no leader";

/// The leader changed while a read was being confirmed.
fn leader_changed() -> Status {
    Status::new(Code::Unavailable, "etcdserver: leader changed")
}

/// The time is over; a write may still be applied.
pub(super) fn timed_out() -> Status {
    Status::new(Code::Unavailable, "etcdserver: request timed out")
}

/// The leader was lost with the write in flight; it may still be applied.
pub(super) fn timed_out_leader_failure() -> Status {
    Status::new(
        Code::Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure",
    )
}

/// The node is stopping; nothing was done.
pub(super) fn stopped() -> Status {
    Status::new(Code::Unavailable, "etcdserver: server stopped")
}

/// The time that the client gave is over.
pub(super) fn deadline_exceeded() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}

/// The node does not serve this method; `path` is `/package.Service/Method`.
pub(super) fn not_implemented(path: &str) -> Status {
    let method = path.trim_start_matches('/');
    Status::new(Code::Unimplemented, format!("{method} is not implemented"))
}

/// The status of a request that the store refused.
pub(super) fn refused(error: &KvError) -> Status {
    let code = match error {
        KvError::EmptyKey
        | KvError::KeyNotFound
        | KvError::ValueProvided
        | KvError::LeaseProvided
        | KvError::InvalidSortOption => Code::InvalidArgument,
        KvError::LeaseNotFound => Code::NotFound,
        KvError::Compacted { .. } | KvError::FutureRevision { .. } => Code::OutOfRange,
        // The store failed, or refuses for a reason that this program does not know yet.
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        match failure {
            Failure::NoLeader => no_leader(),
            Failure::LeaderLost => leader_changed(),
            Failure::Unknown => timed_out_leader_failure(),
            Failure::Busy => too_many_requests(),
            Failure::TooLarge => request_too_large(),
            Failure::Stopped => stopped(),
            Failure::Refused(error) => refused(&error),
            Failure::Internal(text) => Status::new(Code::Internal, text),
        }
    }
}
