//! Messages between replicas.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use super::Cause;
use super::snapshot_store::{SnapshotReader, SnapshotWriter};
use crate::membership::Membership;
use crate::message::{InstallSnapshot, Message, SnapshotContent};
use crate::types::{GroupId, NodeId};

/// Carries messages between the nodes of a cluster. It may lose, delay and reorder them; it never invents or alters
/// one, and it verifies that a message's `from` is the node at the other end.
///
/// Invariants that every implementation keeps:
/// - `send` never blocks and never fails: a full queue, an unknown or dead peer lose the messages (R76);
/// - a peer that hangs costs the others nothing (R76);
/// - every queue is bounded by count and bytes;
/// - within a connection no message arrives twice, and those of one [lane](crate::message::Lane) keep their order;
/// - urgent messages wait neither for ordered ones nor for a snapshot.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Begins to deliver what arrives to `inbound`. Called once, before the first `send`.
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError>;

    /// Queues messages for one peer, of any groups, to leave together.
    fn send(&self, to: NodeId, messages: Vec<Message>);

    /// The members of a group are others from now on; also called once before `start`. A transport that reaches
    /// members by the [contacts](crate::membership::Contact) in it learns of them here; others ignore it. Never blocks.
    fn membership_changed(&self, _group: GroupId, _membership: &Membership) {}

    /// The configuration that [`membership_changed`](Transport::membership_changed) told of last is committed: who is not in
    /// it has left for good, and whoever had been in an earlier one until now may be cut off. Before that a member that is
    /// to leave must stay reachable, because the change can still be taken back. Who has an id above
    /// [`highest_id`](Membership::highest_id) may be a member of a later configuration, which this node has not heard of yet
    /// and may have to hear of from just that member. Never blocks.
    fn membership_committed(&self, _group: GroupId, _membership: &Membership) {}

    /// There is no replica of `group` here any more: nobody is a member for its sake. Never blocks.
    fn group_left(&self, _group: GroupId) {}

    /// Streams a snapshot beside the messages. Returns when the receiver has stored and accepted it, or with the
    /// reason why not; never later than a time-out without progress (R49).
    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError>;

    /// What is known about each peer that was ever sent to, sorted by id.
    fn peers(&self) -> Vec<PeerStatus>;

    /// Closes every connection and stops every task; returns when all have ended. What is under way ends as
    /// [`Closed`](TransportError::Closed), and so does every later `send_snapshot`; later messages are lost. The node can be
    /// opened again at the same place at once.
    async fn shutdown(&self);
}

/// Where a transport delivers what arrives.
#[async_trait]
pub trait Inbound: Send + Sync + 'static {
    /// Messages from `from`, whose identity is verified; the transport has checked that every message names it.
    /// Never blocks: what does not fit into the queue is lost.
    fn receive(&self, from: NodeId, messages: Vec<Message>);

    /// A peer wants to stream the snapshot that `header` names, with this content. The writer's
    /// [`offset`](SnapshotWriter::offset) tells from which byte the peer shall go on; an error tells it to stop.
    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError>;

    /// Every byte of the snapshot was written to `content`. Returns once it is verified, durable and was offered to the
    /// replica.
    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError>;
}

/// What a transport knows about one peer.
///
/// What a transport does not measure is none: an in-process one has no path, and TCP does not tell what it lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// Whether a connection stands.
    pub connected: bool,
    /// The smoothed round-trip time of the connection in microseconds.
    pub rtt_us: Option<u64>,
    /// How many bytes the connection may have under way, unacknowledged.
    pub congestion_window_bytes: Option<u64>,
    /// Packets that the connection sent since it was made.
    pub sent_packets: Option<u64>,
    /// How many of them were lost.
    pub lost_packets: Option<u64>,
    /// Messages that wait to be sent.
    pub queued_messages: usize,
    /// Their encoded size in bytes, or a little more.
    pub queued_bytes: usize,
    /// Messages that were lost because a queue was full or the peer could not be reached, since the start.
    pub dropped_messages: u64,
}

/// Why a transport could not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No address is known for the peer.
    #[error("no address is known for node {0}")]
    UnknownPeer(NodeId),
    /// The peer could not be reached, or the connection broke.
    #[error("node {to} cannot be reached: {cause}")]
    Unreachable {
        /// The peer.
        to: NodeId,
        /// What happened.
        #[source]
        cause: Cause,
    },
    /// The peer answered and refused.
    #[error("node {to} refused: {reason}")]
    Refused {
        /// The peer.
        to: NodeId,
        /// What it said.
        reason: String,
    },
    /// The transport was shut down.
    #[error("the transport was shut down")]
    Closed,
    /// The transport could not start or the local side failed.
    #[error("the transport failed: {0}")]
    Io(#[source] Cause),
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
