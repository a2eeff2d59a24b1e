//! Snapshots are made, and leave a node, no faster than its settings say; and nothing else waits for them.

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

/// A snapshot is saved at the pace, too: nothing but the pace takes any time here.
#[tokio::test(start_paused = true)]
async fn a_node_saves_its_own_snapshot_at_the_pace() {
    let mut world = World::new(1, slowly);
    world.never_blocks = true;
    world.start(1).await;
    world.leader().await;
    let began = Instant::now();
    for _ in 0..10 {
        add(world.node(1), 1).await;
    }
    let applied = began.elapsed();
    assert!(applied < Duration::from_millis(100), "{applied:?}");
    let saved = async |index| {
        until(world.node(1), "a snapshot is saved", |status| {
            status.snapshot.index.0 >= index
        })
        .await
    };
    saved(10).await;
    assert!(
        began.elapsed() >= Duration::from_millis(3_500),
        "{:?}",
        began.elapsed()
    );
}

/// R53: while a snapshot leaves byte by byte, entries are committed and applied as if there were none, and nobody stands for
/// election.
#[tokio::test(start_paused = true)]
async fn a_slow_snapshot_delays_neither_appends_nor_elections() {
    let world = a_follower_needs_a_snapshot().await;
    let leader = world.leader_among(&[1, 2]).await;
    let node = world.node(leader);
    let is_sending = |peer: &PeerProgress| matches!(peer.state, ProgressState::Snapshot { .. });
    let before = until(node, "a snapshot is on its way", |status| {
        status.peers.iter().any(is_sending)
    })
    .await;
    let began = Instant::now();
    for _ in 0..100 {
        let sent = Instant::now();
        add(node, 1).await;
        assert!(sent.elapsed() < Duration::from_millis(10), "{:?}", sent.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        began.elapsed() < Duration::from_millis(3_000),
        "{:?}",
        began.elapsed()
    );
    let during = node.status();
    assert!(during.peers.iter().any(is_sending), "it is still on its way");
    applied(world.node(3), during.commit_index.0).await;
    let after = node.status();
    assert_eq!((after.term, after.leader), (before.term, before.leader));
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
