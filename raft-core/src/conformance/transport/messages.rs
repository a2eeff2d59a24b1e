//! Messages arrive as they were sent.

use super::cluster::{Cluster, LIVE, World};
use super::traffic::{GROUPS, large_message, message, number_of};
use crate::message::{Lane, Message};
use crate::types::NodeId;

/// How many batches the check of the order sends on each way.
const BATCHES: u64 = 200;
/// From time to time everything is waited for, so that a queue that is not large is not overrun for long.
const BATCHES_AT_ONCE: u64 = 20;
const BATCH_MESSAGES_MAX: u64 = 40;
/// How many messages, each of another group, leave together.
const BATCH_GROUPS: u64 = GROUPS;
/// A message may be lost, but not out of each of so many batches.
const ATTEMPTS: usize = 20;

/// In both directions, of each lane, and of several sizes.
pub(super) async fn arrive_unaltered(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    for bytes in [0, 1, 1_000, 100_000] {
        let number = cluster.next_number();
        let sent = large_message(NodeId(1), NodeId(2), number, bytes);
        cluster.transport(1).send(NodeId(2), vec![sent]);
        cluster.exchange(1, 2, Lane::Ordered).await;
    }
    cluster.transport(1).send(NodeId(2), Vec::new());
    cluster.exchange(1, 2, Lane::Ordered).await;
    for id in LIVE {
        cluster.traffic(id);
    }
    cluster.end().await;
}

/// R10: what two senders say to one receiver, and one sender to two receivers, at the same time, in batches of every size.
pub(super) async fn keep_the_order_of_their_lane(world: &World<'_>) {
    const WAYS: [(u64, u64); 4] = [(1, 2), (2, 1), (1, 3), (2, 3)];
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    for round in 0..BATCHES {
        for (from, to) in WAYS {
            let count = 1 + (round * 7 + from) % BATCH_MESSAGES_MAX;
            let batch = batch(&cluster, from, to, count);
            cluster.transport(from).send(NodeId(to), batch);
        }
        if round % BATCHES_AT_ONCE == 0 {
            for (from, to) in WAYS {
                cluster.exchange_in_both_lanes(from, to).await;
            }
        }
    }
    cluster.exchange_all().await;
    for id in LIVE {
        cluster.traffic(id);
    }
    cluster.end().await;
}

/// Some messages of each lane, mixed.
fn batch(cluster: &Cluster<'_, '_>, from: u64, to: u64, count: u64) -> Vec<Message> {
    let lane_of = |number: u64| {
        if number % 3 == 1 {
            Lane::Urgent
        } else {
            Lane::Ordered
        }
    };
    let numbers = (0..count).map(|_| cluster.next_number());
    let messages = numbers.map(|number| message(NodeId(from), NodeId(to), lane_of(number), number));
    messages.collect()
}

/// R75: what the groups of one node have to say to another leaves together, and no group is left out.
pub(super) async fn of_many_groups_arrive_whole(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_in_both_lanes(1, 2).await;
    for _ in 0..ATTEMPTS {
        let batch = batch(&cluster, 1, 2, BATCH_GROUPS);
        let numbers: Vec<u64> = batch.iter().map(number_of).collect();
        cluster.transport(1).send(NodeId(2), batch);
        cluster.exchange_in_both_lanes(1, 2).await;
        if cluster.traffic(2).has_all(NodeId(1), &numbers) {
            return cluster.end().await;
        }
    }
    panic!(
        "messages of several groups that leave together arrive whole; in {ATTEMPTS} batches some always lacked"
    );
}
