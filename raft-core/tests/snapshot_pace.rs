//! Snapshots leave a node no faster than its settings say.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::time::Duration;

use node_world::{World, add, until};
use raft_core::config::Config;
use raft_core::progress::ProgressState;
use raft_core::runtime::Node;
use raft_core::status::PeerProgress;
use tokio::time::Instant;

/// The counter's snapshot has eight bytes; they leave one by one, every half a second.
fn slowly(config: &mut Config) {
    config.snapshot_entries = 10;
    config.retained_entries = 0;
    config.snapshot_bytes_per_second = Some(2);
}

/// Three nodes; node 3 is away and needs a snapshot when it comes back.
async fn a_follower_needs_a_snapshot() -> World {
    let mut world = World::new(3, slowly);
    world.never_blocks = true;
    world.start(1).await;
    world.start(2).await;
    world.leader().await;
    for _ in 0..30 {
        add(world.node(1), 1).await;
    }
    for id in [1, 2] {
        until(world.node(id), "the log is compacted", |status| {
            status.first_index.0 > 10
        })
        .await;
    }
    world.start(3).await;
    world
}

async fn applied(node: &Node, index: u64) {
    until(node, "the snapshot is applied", |status| {
        status.applied_index.0 >= index
    })
    .await;
}

/// The clock is the test's: it moves when everything waits, and only then.
#[tokio::test(start_paused = true)]
async fn a_follower_gets_its_snapshot_at_the_pace() {
    let world = a_follower_needs_a_snapshot().await;
    let began = Instant::now();
    applied(world.node(3), 30).await;
    // Eight bytes; the first need not wait.
    assert!(
        began.elapsed() >= Duration::from_millis(3_500),
        "{:?}",
        began.elapsed()
    );
}

/// A transfer that waits for its turn does not hold up the end of its node.
#[tokio::test(start_paused = true)]
async fn a_paced_transfer_ends_with_its_node() {
    let mut world = a_follower_needs_a_snapshot().await;
    let leader = world.leader().await;
    until(world.node(leader), "a snapshot is on its way", |status| {
        let is_sending = |peer: &PeerProgress| matches!(peer.state, ProgressState::Snapshot { .. });
        status.peers.iter().any(is_sending)
    })
    .await;
    let began = Instant::now();
    world.stop(leader).await;
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}
