//! What the API needs of the node below it, and nothing more.
//!
//! The seam exists so that every failure a client can meet is tested without a cluster that fails on cue; the one real
//! implementation is [`NodeBackend`](super::node_backend::NodeBackend). It is generic, not boxed: the path of a write
//! allocates nothing for it.

use std::future::Future;

use bytes::Bytes;
use raft_core::explain::{Explanation, Question};
use raft_core::membership::MemberChange;
use raft_core::request::ChangePreview;
use raft_core::runtime::{ChangeMembershipError, MembershipChanged, TransferError};
use raft_core::status::Status;
use raft_core::traits::PeerStatus;
use raft_core::types::{NodeId, Term};
use raft_kv::{KvError, RangeRequest, RangeResponse};

/// The node as the API sees it.
pub(super) trait Backend: Send + Sync + 'static {
    /// Replicates and applies a command; the result is the state machine's response to it.
    fn propose(&self, command: Bytes) -> impl Future<Output = Result<Bytes, Failure>> + Send;

    /// When it returns, the local store holds every write that was acknowledged before the call.
    fn read_barrier(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Reads from the local store.
    fn range(&self, request: RangeRequest) -> impl Future<Output = Result<RangeResponse, Failure>> + Send;

    /// Changes the members, all of `changes` as one change; returns when that is complete.
    fn change_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> impl Future<Output = Result<MembershipChanged, ChangeMembershipError>> + Send;

    /// What such a change would do.
    fn preview_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> impl Future<Output = Result<ChangePreview, ChangeMembershipError>> + Send;

    /// Lets `to` lead; returns its term when it does.
    fn transfer_leadership(&self, to: NodeId) -> impl Future<Output = Result<Term, TransferError>> + Send;

    /// The newest revision of the local store.
    fn revision(&self) -> i64;

    /// How many bytes the local store takes on disk.
    fn store_bytes(&self) -> u64;

    /// Looks at the state of the replica without copying it. `look` must be short: it holds up whoever updates it.
    fn with_status<T>(&self, look: impl FnOnce(&Status) -> T) -> T;

    /// Why something is as it is; none if the node stops.
    fn explain(&self, question: Question) -> impl Future<Output = Option<Explanation>> + Send;

    /// Resolves when the state of the replica has changed since the call.
    fn status_changed(&self) -> impl Future<Output = ()> + Send;

    /// The newest of everything that the replica was given; none if that is not kept.
    fn recording(&self) -> Option<Vec<u8>>;

    /// What the transport knows about each peer.
    fn peers(&self) -> Vec<PeerStatus>;
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody leads, or the node that was asked does not. Nothing was done; try again.
    NoLeader,
    /// A read could not be confirmed because the leader changed. Try again.
    LeaderLost,
    /// A write may or may not be applied.
    Unknown,
    /// A queue is full. Nothing was done.
    Busy,
    /// The command exceeds the limit. Nothing was done.
    TooLarge,
    /// The node stopped. Nothing was done.
    Stopped,
    /// The store refused the request.
    Refused(KvError),
    /// The node is at fault; the text says how.
    Internal(String),
}
