//! Whole nodes in one process: clients, leaders that go, nodes that come back, snapshots.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::time::Duration;

use node_world::{Counter, Gate, PATIENCE, World, add, number, read, until};
use raft_core::effect::RoleKind;
use raft_core::request::RefusalReason;
use raft_core::runtime::{NodeError, ProposeError};
use raft_core::traits::SnapshotStore;
use raft_core::types::{GroupId, NodeId};
use tokio::time::timeout;

/// Mission row S6: any node accepts a request; a read on any node sees every write acknowledged before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_accepts_writes_and_reads() {
    let world = World::started(3, |_| {}).await;
    let mut sum = 0;
    for round in 0..30 {
        let writer = world.node(1 + round % 3);
        sum += round;
        assert_eq!(add(writer, round).await.1, sum);
        assert_eq!(
            read(world.node(1 + (round + 1) % 3)).await,
            sum,
            "a read misses a write"
        );
    }
    let index = world.node(2).read_barrier().await.unwrap();
    // The status may be some milliseconds old.
    let mut status = world.node(2).watch_status();
    let committed = status.wait_for(|status| status.commit_index >= index);
    timeout(Duration::from_secs(10), committed)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_are_served_at_once() {
    let world = World::started(3, |_| {}).await;
    world.leader().await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..200 {
        let node = world.node(1 + client % 3).clone();
        clients.spawn(async move {
            for _ in 0..20 {
                add(&node, 1).await;
            }
            read(&node).await
        });
    }
    while let Some(seen) = clients.join_next().await {
        assert!(seen.unwrap() >= 20);
    }
    assert_eq!(read(world.node(1)).await, 4_000);
    for node in world.running() {
        assert_eq!(node.unresolved_requests(), 0);
    }
}

/// Mission row S1: acknowledged writes survive the leader; R39: when it comes back, it follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_leader_is_replaced_and_comes_back() {
    let mut world = World::started(3, |_| {}).await;
    let first = world.leader().await;
    add(world.node(first), 5).await;
    let term = world.node(first).status().term;
    world.stop(first).await;
    let second = world.leader().await;
    assert_ne!(first, second);
    let (_, sum) = add(world.node(second), 7).await;
    assert_eq!(sum, 12, "an acknowledged write is gone");
    world.start(first).await;
    // R75: what it knew before is applied again before it calls itself ready.
    until(world.node(first), "the node is ready", |status| {
        status.ready && status.leader.is_some()
    })
    .await;
    assert!(world.node(first).status().term > term);
    assert_eq!(read(world.node(first)).await, 12);
}

/// R36: a leader without a quorum steps down; R45: what it had in flight is resolved; the majority goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_gives_up_and_the_majority_goes_on() {
    let world = World::started(3, |_| {}).await;
    let old = world.leader().await;
    add(world.node(old), 1).await;
    world.network.isolate(NodeId(old));
    let stuck = tokio::spawn({
        let node = world.node(old).clone();
        async move { node.propose(number(100)).await }
    });
    until(world.node(old), "the old leader steps down", |status| {
        status.role != RoleKind::Leader
    })
    .await;
    let outcome = timeout(PATIENCE, stuck)
        .await
        .expect("the command is resolved")
        .unwrap();
    assert!(outcome.is_err(), "acknowledged without a quorum: {outcome:?}");
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let new = world.leader_among(&others).await;
    add(world.node(new), 10).await;
    assert_eq!(read(world.node(others[0])).await, 11);
    world.network.heal();
    assert_eq!(
        read(world.node(old)).await,
        11,
        "the cut-off command must be gone"
    );
    let leader = world.leader().await;
    assert!(world.node(leader).status().term >= world.node(new).status().term);
}

/// A follower that was away while the log was compacted gets a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lags_too_far_gets_a_snapshot() {
    a_follower_lags(false).await;
}

/// The same, without a thread for the state machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_machine_that_never_blocks_needs_no_thread() {
    a_follower_lags(true).await;
}

async fn a_follower_lags(never_blocks: bool) {
    let mut world = World::new(3, |config| {
        config.snapshot_entries = 50;
        config.retained_entries = 10;
        config.tail_bytes_max = 1;
    });
    world.never_blocks = never_blocks;
    for id in 1..=3 {
        world.start(id).await;
    }
    let away = world.follower().await;
    world.network.isolate(NodeId(away));
    let others: Vec<u64> = (1..=3).filter(|id| *id != away).collect();
    let leader = world.leader_among(&others).await;
    for _ in 0..300 {
        add(world.node(leader), 1).await;
    }
    let compacted = until(world.node(leader), "the leader compacts its log", |status| {
        status.first_index > status.commit_index.previous().previous() || status.first_index.0 > 100
    })
    .await;
    assert!(world.node(away).status().appended_index < compacted.first_index);
    world.network.heal();
    let caught_up = until(world.node(away), "the follower catches up", |status| {
        status.applied_index >= compacted.commit_index
    })
    .await;
    assert!(
        caught_up.snapshot.index >= compacted.first_index.previous(),
        "it has a snapshot from the leader: {caught_up:?}"
    );
    assert_eq!(read(world.node(away)).await, 300);
    add(world.node(away), 1).await;
    assert_eq!(read(world.node(away)).await, 301);
}

/// R75: a state machine that lost everything is rebuilt from the snapshot and the log before it serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_cluster_remembers() {
    let mut world = World::started(3, |config| {
        config.snapshot_entries = 20;
        config.retained_entries = 5;
    })
    .await;
    for _ in 0..100 {
        add(world.node(1), 1).await;
    }
    for id in 1..=3 {
        until(world.node(id), "every node compacts its log", |status| {
            status.first_index.0 > 20
        })
        .await;
    }
    for id in 1..=3 {
        world.stop(id).await;
    }
    for id in 1..=3 {
        world.start(id).await;
    }
    assert_eq!(read(world.node(3)).await, 100);
    assert_eq!(add(world.node(2), 1).await.1, 101);
    let kept = world.snapshots[0].list(GroupId(1)).await.unwrap();
    assert!(
        (1..=2).contains(&kept.len()),
        "old snapshots are removed: {kept:?}"
    );
}

/// R22, R34: a node campaigns when its owner asks, and disturbs no leader whom the others hear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_can_be_asked_for() {
    // By itself nobody campaigns for an hour.
    let world = World::started(3, |config| config.election_timeout = Duration::from_secs(3_600)).await;
    world.node(2).campaign();
    assert_eq!(world.leader().await, 2);
    let term = world.node(2).status().term;
    for id in 1..=3 {
        world.node(id).campaign();
        // The node takes the request after the wish to campaign, so the election has begun.
        add(world.node(id), 1).await;
    }
    assert_eq!(world.leader().await, 2);
    assert_eq!(world.node(2).status().term, term);
}

/// R58: a group of one commits after its own write.
#[tokio::test]
async fn a_single_node_is_a_cluster() {
    let mut world = World::started(1, |_| {}).await;
    assert_eq!(add(world.node(1), 3).await.1, 3);
    assert_eq!(read(world.node(1)).await, 3);
    world.stop(1).await;
    world.start(1).await;
    assert_eq!(read(world.node(1)).await, 3);
}

/// R20: a full node says so; nothing is queued without limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_is_busy() {
    let world = World::new(1, |config| config.proposals_max = 4);
    let gate = Gate::default();
    let counter = Counter {
        gate: gate.clone(),
        ..Counter::default()
    };
    let node = world.try_start(1, counter).await.unwrap();
    until(&node, "the node leads", |status| status.role == RoleKind::Leader).await;
    gate.close();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let node = node.clone();
        waiting.spawn(async move { node.propose(number(1)).await });
    }
    until(&node, "four commands are committed", |status| {
        status.commit_index.0 >= 5
    })
    .await;
    let refused = node.propose(number(1)).await;
    assert_eq!(refused, Err(ProposeError::NotApplied(RefusalReason::Busy)));
    gate.open();
    while let Some(applied) = waiting.join_next().await {
        applied.unwrap().unwrap();
    }
    assert_eq!(add(&node, 1).await.1, 5, "there is room again");
    let too_large = node.propose(vec![0; (1 << 20) + 1].into()).await;
    assert!(matches!(
        too_large,
        Err(ProposeError::NotApplied(RefusalReason::TooLarge { .. }))
    ));
}

/// A client that gives up leaves nothing behind; its command may be applied all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_give_up_leave_nothing_behind() {
    let world = World::started(3, |_| {}).await;
    let nodes = [
        world.node(world.leader().await),
        world.node(world.follower().await),
    ];
    for node in nodes {
        for round in 0..50 {
            let mut propose = Box::pin(node.propose(number(1)));
            let mut read = Box::pin(node.read(number(0)));
            if round % 2 == 0 {
                // Polled once, so that the requests are on their way.
                assert!(
                    futures_poll(&mut propose).await.is_none() || futures_poll(&mut read).await.is_none()
                );
            }
        }
        read(node).await;
    }
    for node in nodes {
        let all_resolved = async {
            while node.unresolved_requests() > 0 {
                read(node).await;
            }
        };
        timeout(PATIENCE, all_resolved)
            .await
            .expect("every ticket is resolved");
    }
}

/// Polls a future once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_handle_stops_the_node() {
    let world = World::new(1, |_| {});
    let node = world.try_start(1, Counter::default()).await.unwrap();
    add(&node, 1).await;
    let mut watch = node.watch_status();
    let clone = node.clone();
    drop(node);
    assert_eq!(add(&clone, 1).await.1, 2, "another handle keeps it running");
    drop(clone);
    let ended = async { while watch.changed().await.is_ok() {} };
    timeout(PATIENCE, ended)
        .await
        .expect("the node ends with its last handle");
    // Everything that it used is free again.
    let again = world.try_start(1, Counter::default()).await.unwrap();
    assert_eq!(read(&again).await, 2);
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_concerns_only_who_asked() {
    let world = World::new(1, |_| {});
    let fault = node_world::Fault::Mute;
    let counter = Counter {
        fault,
        ..Counter::default()
    };
    let node = world.try_start(1, counter).await.unwrap();
    add(&node, 1).await;
    let error = node.read(number(0)).await.unwrap_err();
    assert!(error.to_string().contains("no such question"), "{error}");
    assert_eq!(add(&node, 1).await.1, 2);
}

/// A node that cannot start says why.
#[tokio::test]
async fn a_bad_start_is_explained() {
    let world = World::new(1, |config| {
        config.heartbeat_interval = config.election_timeout;
    });
    let error = world.try_start(1, Counter::default()).await.unwrap_err();
    assert!(matches!(error, NodeError::Config(_)), "{error}");
    // A log that begins after a snapshot which is gone.
    let mut world = World::new(1, |config| {
        config.snapshot_entries = 10;
        config.retained_entries = 1;
    });
    world.start(1).await;
    for _ in 0..30 {
        add(world.node(1), 1).await;
    }
    until(world.node(1), "the log is compacted", |status| {
        status.first_index.0 > 5
    })
    .await;
    world.stop(1).await;
    world.snapshots[0] = raft_core::memory::MemorySnapshotStore::new();
    let error = world.try_start(1, Counter::default()).await.unwrap_err();
    assert!(matches!(error, NodeError::SnapshotStore(_)), "{error}");
    // A state machine's own copy of the state is no help without the sessions that belong to it.
    let counter = Counter {
        sum: 30,
        last: raft_core::types::EntryId::new(raft_core::types::Term(1), raft_core::types::Index(31)),
        ..Counter::default()
    };
    let error = world.try_start(1, counter).await.unwrap_err();
    assert!(matches!(error, NodeError::StateMachine(_)), "{error}");
    assert!(error.to_string().contains("return it from `sessions`"), "{error}");
}
