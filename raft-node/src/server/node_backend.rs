//! The node and its store, as the API sees them.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::explain::{Explanation, Question};
use raft_core::membership::MemberChange;
use raft_core::request::{ChangePreview, RefusalReason};
use raft_core::runtime::{
    ChangeMembershipError, MembershipChanged, Node, ProposeError, ReadError, TransferError,
};
use raft_core::status::Status;
use raft_core::traits::{PeerStatus, Transport};
use raft_core::types::{NodeId, Term};
use raft_kv::{KvStore, RangeRequest, RangeResponse};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::backend::{Backend, Failure};

/// A running node, the store that its state machine fills, and its transport.
pub(super) struct NodeBackend {
    node: Node,
    store: Arc<KvStore>,
    transport: Arc<dyn Transport>,
    status: watch::Receiver<Status>,
}

impl NodeBackend {
    /// Serves `node`.
    pub(super) fn new(node: Node, store: Arc<KvStore>, transport: Arc<dyn Transport>) -> NodeBackend {
        let status = node.watch_status();
        NodeBackend {
            node,
            store,
            transport,
            status,
        }
    }
}

impl Backend for NodeBackend {
    async fn propose(&self, command: Bytes) -> Result<Bytes, Failure> {
        match self.node.propose(command).await {
            Ok(applied) => Ok(applied.response),
            Err(ProposeError::NotApplied(reason)) => Err(refusal(reason)),
            Err(_unknown) => Err(Failure::Unknown),
        }
    }

    async fn read_barrier(&self) -> Result<(), Failure> {
        match self.node.read_barrier().await {
            Ok(_index) => Ok(()),
            Err(ReadError::Refused(reason)) => Err(refusal(reason)),
            Err(_lost) => Err(Failure::LeaderLost),
        }
    }

    async fn change_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> Result<MembershipChanged, ChangeMembershipError> {
        self.node.change_membership(changes).await
    }

    async fn preview_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> Result<ChangePreview, ChangeMembershipError> {
        self.node.preview_membership(changes).await
    }

    async fn transfer_leadership(&self, to: NodeId) -> Result<Term, TransferError> {
        self.node.transfer_leadership(to).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        // One key is a matter of microseconds; a long range would hold up the other requests of this thread.
        if request.range_end.is_empty() {
            return self.store.range(&request).map_err(Failure::Refused);
        }
        let store = Arc::clone(&self.store);
        match spawn_blocking(move || store.range(&request)).await {
            Ok(answer) => answer.map_err(Failure::Refused),
            Err(error) => Err(Failure::Internal(format!("the read did not end: {error}"))),
        }
    }

    fn revision(&self) -> i64 {
        self.store.revision()
    }

    fn store_bytes(&self) -> u64 {
        match self.store.db_size_bytes() {
            Ok(bytes) => bytes,
            Err(error) => {
                warn!(%error, "the size of the store cannot be read");
                0
            }
        }
    }

    fn with_status<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        look(&self.status.borrow())
    }

    async fn explain(&self, question: Question) -> Option<Explanation> {
        self.node.explain(question).await
    }

    async fn status_changed(&self) {
        let mut status = self.status.clone();
        status.mark_unchanged();
        if status.changed().await.is_err() {
            // The node has stopped: there will be no change, and the next attempt is told so.
        }
    }

    fn recording(&self) -> Option<Vec<u8>> {
        self.node.recording()
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.transport.peers()
    }
}

/// Why a command or a read was refused.
#[deny(clippy::wildcard_enum_match_arm)]
fn refusal(reason: RefusalReason) -> Failure {
    match reason {
        // A transfer ends in an election timeout. Until then there is as good as no leader, and waiting for one helps.
        RefusalReason::NotLeader { .. } | RefusalReason::Transferring { .. } => Failure::NoLeader,
        RefusalReason::Busy => Failure::Busy,
        RefusalReason::TooLarge { .. } => Failure::TooLarge,
        // A node that was removed is about to stop.
        RefusalReason::Stopped | RefusalReason::Removed => Failure::Stopped,
        RefusalReason::NotAVoter(_)
        | RefusalReason::TargetUnreachable(_)
        | RefusalReason::MembershipChangePending
        | RefusalReason::Membership(_)
        | RefusalReason::NotCaughtUp { .. }
        | RefusalReason::QuorumUnreachable { .. }
        | RefusalReason::SessionExpired(_)
        | RefusalReason::SequenceAcknowledged { .. }
        | RefusalReason::SessionWindowFull { .. } => Failure::Internal(reason.to_string()),
        // The compiler demands it; clippy demands that it stays empty.
        _ => Failure::Internal(reason.to_string()),
    }
}
