//! A receiver that does not take what it is sent.

use std::ops::RangeInclusive;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::cluster::{Cluster, PATIENCE, World};
use super::traffic::large_message;
use crate::message::Lane;
use crate::types::NodeId;

const PAYLOAD_BYTES: usize = 16 << 10;
/// So many messages are lost to a stalled receiver before the check is content.
const DROPS: u64 = 1_000;
/// What a transport may take in for a stalled receiver, besides its queue: windows, and buffers of the system.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;

/// R76: node 2 does not take ordered messages of node 1 any more. That costs a bounded queue and counted drops, and
/// nothing else.
pub(super) async fn costs_a_bounded_queue(world: &World<'_>) {
    assert_eq!(
        Handle::current().runtime_flavor(),
        RuntimeFlavor::MultiThread,
        "a transport with a queue is checked in a runtime with several threads"
    );
    let mut cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    let dropped_before = cluster.status(1, 3).dropped_messages;
    let stall = cluster.inbound(2).stall(NodeId(1));
    let (sent, dropped) = fill(&cluster).await;
    costs_nobody_else(&cluster).await;
    assert_eq!(
        cluster.status(1, 3).dropped_messages,
        dropped_before,
        "what is lost to a stalled receiver is not counted against another peer"
    );

    drop(stall);
    cluster.exchange(1, 2, Lane::Ordered).await;
    let arrived = cluster.traffic(2).in_lane(NodeId(1), Lane::Ordered);
    let arrived = arrived.range(sent.clone()).count() as u64;
    let count = sent.end() + 1 - sent.start();
    assert!(
        arrived + dropped <= count,
        "what is counted as dropped does not arrive: of {count} messages, {arrived} arrived and {dropped} were dropped"
    );

    // The sender can stop whatever its receivers do.
    let stall = cluster.inbound(2).stall(NodeId(1));
    fill(&cluster).await;
    cluster.stop(1).await;
    drop(stall);
    cluster.end().await;
}

/// Sends to the stalled node until enough was dropped. Returns the numbers of what was sent, and how much of it was dropped.
async fn fill(cluster: &Cluster<'_, '_>) -> (RangeInclusive<u64>, u64) {
    let first = cluster.next_number();
    let dropped_before = cluster.status(1, 2).dropped_messages;
    let bounds = cluster.bounds();
    let sent_bytes_max = bounds.queued_bytes_max.saturating_add(UNDER_WAY_BYTES_MAX);
    let mut sent_bytes = 0;
    loop {
        let number = cluster.next_number();
        let message = large_message(NodeId(1), NodeId(2), number, PAYLOAD_BYTES);
        cluster.transport(1).send(NodeId(2), vec![message]);
        sent_bytes += PAYLOAD_BYTES;
        let dropped = cluster.status(1, 2).dropped_messages - dropped_before;
        if dropped >= DROPS {
            return (first..=number, dropped);
        }
        let kept_bytes = sent_bytes.saturating_sub(PAYLOAD_BYTES * dropped as usize);
        assert!(
            kept_bytes <= sent_bytes_max,
            "messages to a stalled receiver are dropped and counted: {kept_bytes} bytes were sent, and {dropped} \
             messages are counted as dropped"
        );
        tokio::task::yield_now().await;
    }
}

async fn costs_nobody_else(cluster: &Cluster<'_, '_>) {
    let others = async {
        cluster.exchange_in_both_lanes(1, 3).await;
        cluster.exchange_in_both_lanes(2, 1).await;
        cluster.exchange_in_both_lanes(3, 2).await;
    };
    let done = tokio::time::timeout(PATIENCE / 2, others).await;
    assert!(
        done.is_ok(),
        "a stalled receiver does not delay the messages of other peers"
    );
    let urgent = cluster.exchange(1, 2, Lane::Urgent);
    let done = tokio::time::timeout(PATIENCE / 2, urgent).await;
    assert!(
        done.is_ok(),
        "urgent messages overtake ordered ones that the receiver does not take"
    );
}

/// Whoever says that nothing waits hands everything over at once.
pub(super) async fn cannot_be_without_a_queue(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    for lane in [Lane::Urgent, Lane::Ordered] {
        let number = cluster.send(1, 2, lane);
        assert_eq!(
            cluster.inbound(2).last_number(NodeId(1), lane),
            number,
            "without a queue, messages have arrived when send returns"
        );
    }
    cluster.status(1, 2);
    cluster.end().await;
}
