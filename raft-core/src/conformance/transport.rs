//! What every [`Transport`] must do.

mod cluster;
mod messages;
mod peers;
mod recorder;
mod shutdown;
mod snapshot_failures;
mod snapshots;
mod stall;
#[cfg(test)]
mod tests;
mod traffic;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cluster::World;

use crate::traits::Transport;
use crate::types::NodeId;

/// The bounds of the transports that [`transport`] checks, as its author configured them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportBounds {
    /// How many messages may wait for one peer, in all lanes together. 0 says that there is no queue: `send` hands messages
    /// to the receiver before it returns, and no receiver can be slow.
    pub queued_messages_max: usize,
    /// How many bytes they may have, as [`PeerStatus::queued_bytes`](crate::traits::PeerStatus::queued_bytes) counts them.
    pub queued_bytes_max: usize,
    /// After how long without progress a transfer of a snapshot fails. Some seconds: messages have to overtake one that
    /// stands still for so long.
    pub snapshot_stall_timeout: Duration,
}

/// Checks the invariants of [`Transport`] on small clusters, one after the other:
///
/// - messages arrive unaltered and under their sender's name; in each [lane](crate::message::Lane) they keep their order, and
///   none arrives twice; those of many groups that leave together arrive whole;
/// - a receiver that stalls, or is dead or unknown, costs a bounded queue and counted drops, and neither the other peers nor the
///   other lane (R76);
/// - a snapshot arrives whole, is resumed, and holds up no message; wherever it is refused, fails, stalls or is given
///   up, the sender learns of it in time, the receiver lets go of the writer, and the next attempt goes on (R49);
/// - nothing is left after `shutdown`: nobody holds the [`Inbound`](crate::traits::Inbound), and the same node can be opened
///   again at the same place, where the others find it without a restart of their own.
///
/// `connect` opens transports of the nodes it is given, in their order. Nodes 1 to 4 make up a cluster and can reach each other;
/// node 4 is never started and stands for a dead peer. When `connect` is called again for a node, each earlier transport of
/// that node was shut down and dropped, and the new one has to take its place: same address, same peers. It keeps no
/// clone of what it returns. Whatever is bounded should be bounded tightly, because the suite goes up to each bound.
///
/// A transport with a queue is checked in a runtime with several threads: the suite stalls a receiver by blocking in `receive`
/// ([`tokio::task::block_in_place`]).
///
/// ```
/// # use std::time::Duration;
/// use raft_core::conformance::{self, TransportBounds};
/// use raft_core::memory::InProcessNetwork;
/// use raft_core::types::NodeId;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let network = InProcessNetwork::new();
/// let bounds = TransportBounds {
///     queued_messages_max: 0,
///     queued_bytes_max: 0,
///     snapshot_stall_timeout: InProcessNetwork::SNAPSHOT_STALL_TIMEOUT,
/// };
/// conformance::transport(bounds, async |ids: &[NodeId]| {
///     ids.iter().map(|&id| network.transport(id)).collect()
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
/// Names the invariant that does not hold.
pub async fn transport<Connect>(bounds: TransportBounds, connect: Connect)
where
    Connect: AsyncFn(&[NodeId]) -> Vec<Arc<dyn Transport>>,
{
    let connect = &connect;
    let connect = move |ids: Vec<NodeId>| -> Pin<Box<dyn Future<Output = _> + '_>> {
        Box::pin(async move { connect(&ids).await })
    };
    let world = &World {
        bounds,
        connect: &connect,
    };
    messages::arrive_unaltered(world).await;
    messages::keep_the_order_of_their_lane(world).await;
    messages::of_many_groups_arrive_whole(world).await;
    peers::that_are_dead_cost_nothing(world).await;
    peers::come_and_go(world).await;
    if bounds.queued_messages_max > 0 {
        stall::costs_a_bounded_queue(world).await;
    } else {
        stall::cannot_be_without_a_queue(world).await;
    }
    snapshots::arrive_whole(world).await;
    snapshots::are_resumed(world).await;
    snapshots::of_another_sender_are_no_part(world).await;
    snapshot_failures::are_reported(world).await;
    snapshot_failures::of_a_stalled_receiver_hold_up_no_message(world).await;
    snapshot_failures::of_a_receiver_that_stops_are_reported(world).await;
    snapshot_failures::of_the_sender_free_the_receiver(world).await;
    shutdown::stops_everything(world).await;
    shutdown::leaves_room_for_a_restart(world).await;
}
