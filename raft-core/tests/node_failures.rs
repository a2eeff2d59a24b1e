//! Nodes that fail or are stopped: with the cause, without leaving anybody waiting.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use node_world::{Counter, Fault, PATIENCE, World, add, number, read, until};
use raft_core::config::Config;
use raft_core::effect::RoleKind;
use raft_core::entry::Entry;
use raft_core::memory::MemoryLogStore;
use raft_core::request::RefusalReason;
use raft_core::runtime::{Node, NodeError, ProposeError, ReadError};
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, Index, NodeId};
use tokio::time::{Instant, timeout};

/// Of simulated time.
const LONG: Duration = Duration::from_secs(600);

/// A log store whose disk fails on demand, or stands still on demand.
#[derive(Default)]
struct FailingLogStore {
    inner: MemoryLogStore,
    failing: Arc<AtomicBool>,
    stuck: Arc<AtomicBool>,
}

#[async_trait]
impl LogStore for FailingLogStore {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.inner.load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(LogStoreError::Io("input/output error (EIO)".into()));
        }
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.write(batch).await
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        self.inner.read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        self.inner.compact(group, through).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.inner.destroy(group).await
    }
}

async fn stopped(node: &Node) -> NodeError {
    let stopped = timeout(PATIENCE, node.stopped()).await.expect("the node stops");
    stopped.expect_err("it stops because of a failure")
}

/// R60: a failed write of the log stops the node, with the cause; the others go on, and it can come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_log_store_stops_its_node() {
    let mut world = World::started(3, |_| {}).await;
    world.leader().await;
    world.stop(1).await;
    let failing = Arc::new(AtomicBool::new(false));
    let mut options = world.options(1, Counter::default());
    options.log_store = Arc::new(FailingLogStore {
        inner: world.logs[0].clone(),
        failing: failing.clone(),
        ..FailingLogStore::default()
    });
    let node = Node::start(options).await.unwrap();
    world.nodes[0] = Some(node.clone());
    world.leader().await;
    add(&node, 1).await;
    failing.store(true, Ordering::SeqCst);
    let outcome = timeout(PATIENCE, node.propose(number(1)))
        .await
        .expect("nobody waits for ever");
    let error = stopped(&node).await;
    assert!(matches!(error, NodeError::LogStore(_)), "{error}");
    assert!(
        error.to_string().contains("EIO"),
        "the cause must be named: {error}"
    );
    world.nodes[0] = None;
    let sum = read(world.node(2)).await;
    match outcome {
        Ok(_) => assert_eq!(sum, 2),
        Err(ProposeError::NotApplied(_)) => assert_eq!(sum, 1),
        Err(_) => assert!(sum == 1 || sum == 2),
    }
    assert_eq!(add(world.node(3), 10).await.1, sum + 10);
    world.start(1).await;
    assert_eq!(read(world.node(1)).await, sum + 10);
}

/// The only node of a group, whose log store stands still as soon as the flag is set.
async fn on_a_stuck_disk(counter: Counter, waited: Option<Duration>) -> (Node, Arc<AtomicBool>) {
    let stuck = Arc::new(AtomicBool::new(false));
    let mut options = World::new(1, |_| {}).options(1, counter);
    options.config.write_stall_max = waited;
    options.log_store = Arc::new(FailingLogStore {
        stuck: stuck.clone(),
        ..FailingLogStore::default()
    });
    (Node::start(options).await.unwrap(), stuck)
}

/// R35, R60: a disk that never completes a write stops the node after 20 s, with the cause, and nobody waits longer.
#[tokio::test(start_paused = true)]
async fn a_disk_that_stands_still_stops_its_node() {
    let counter = Counter {
        never_blocks: true,
        ..Counter::default()
    };
    let default = Config::new(GroupId(1), NodeId(1)).write_stall_max;
    let (node, stuck) = on_a_stuck_disk(counter, default).await;
    add(&node, 1).await;
    stuck.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let (outcome, stopped) = tokio::join!(node.propose(number(1)), timeout(LONG, node.stopped()));
    assert_eq!(
        outcome,
        Err(ProposeError::Unknown),
        "the write may be there after all"
    );
    assert_eq!(began.elapsed().as_secs(), 20);
    let error = stopped.expect("the node stops").expect_err("a failure");
    assert!(
        matches!(error, NodeError::LogStalled { waited } if waited.as_secs() == 20),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("20s") && text.contains("check the disk"), "{text}");
}

/// R35: a state machine that hangs on the same disk does not keep the node from ending.
#[tokio::test(start_paused = true)]
async fn what_hangs_on_the_stuck_disk_is_not_waited_for() {
    let counter = Counter::default();
    let gate = counter.gate.clone();
    let (node, stuck) = on_a_stuck_disk(counter, Some(Duration::from_secs(5))).await;
    until(&node, "it leads", |status| status.role == RoleKind::Leader).await;
    gate.close();
    stuck.store(true, Ordering::SeqCst);
    let outcome = node.propose(number(1)).await;
    assert!(outcome.is_err());
    let stopped = timeout(LONG, node.stopped()).await.expect("the node stops");
    assert!(matches!(stopped, Err(NodeError::LogStalled { .. })));
    gate.open();
}

/// R35: without a limit a node waits for its disk as long as it takes.
#[tokio::test(start_paused = true)]
async fn a_stuck_disk_is_waited_for_without_a_limit() {
    let counter = Counter {
        never_blocks: true,
        ..Counter::default()
    };
    let (node, stuck) = on_a_stuck_disk(counter, None).await;
    add(&node, 1).await;
    stuck.store(true, Ordering::SeqCst);
    let proposal = timeout(LONG, node.propose(number(1))).await;
    assert!(proposal.is_err(), "it waits");
    timeout(PATIENCE, node.shutdown())
        .await
        .expect_err("the write is waited for");
}

async fn with_fault(fault: Fault) -> (Node, Result<(), ProposeError>) {
    let world = World::new(1, |_| {});
    let counter = Counter {
        fault,
        ..Counter::default()
    };
    let node = world.try_start(1, counter).await.unwrap();
    let outcome = timeout(PATIENCE, node.propose(number(1)))
        .await
        .expect("the command ends");
    (node, outcome.map(drop))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_state_machine_stops_its_node() {
    let (node, outcome) = with_fault(Fault::Fails).await;
    assert_eq!(
        outcome,
        Err(ProposeError::Unknown),
        "the command is in the log for ever"
    );
    let error = stopped(&node).await;
    assert!(matches!(error, NodeError::StateMachine(_)), "{error}");
    assert!(
        error.to_string().contains("the disk of the counter is full"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_state_machine_stops_its_node() {
    let (node, outcome) = with_fault(Fault::Panics).await;
    assert_eq!(outcome, Err(ProposeError::Unknown));
    let error = stopped(&node).await;
    assert!(matches!(error, NodeError::Panicked("state machine")), "{error}");
}

/// R72: a state machine that would apply entries twice after a restart is found out before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_machine_that_miscounts_is_found_out() {
    // The first entry of a leader is its no-op.
    let counter = Counter {
        fault: Fault::SkipsNoops,
        ..Counter::default()
    };
    let node = World::new(1, |_| {}).try_start(1, counter).await.unwrap();
    let error = stopped(&node).await.to_string();
    assert!(
        error.contains("last_applied") && error.contains("every entry counts"),
        "{error}"
    );
    let (node, _) = with_fault(Fault::ExtraResponse).await;
    let error = stopped(&node).await.to_string();
    assert!(error.contains("give one for each"), "{error}");
}

/// R45: a shutdown resolves everything that waits, on the leader and elsewhere, and tells later callers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_resolves_everything() {
    // The leader keeps leading while it is cut off, so that its requests stay unresolved until the shutdown.
    let world = World::started(3, |config| {
        config.election_timeout = std::time::Duration::from_secs(3);
    })
    .await;
    let leader = world.leader().await;
    let follower = world.follower().await;
    for id in [leader, follower] {
        world.network.isolate(NodeId(id));
    }
    let mut proposals = tokio::task::JoinSet::new();
    let mut reads = tokio::task::JoinSet::new();
    for id in [leader, follower] {
        for _ in 0..10 {
            let node = world.node(id).clone();
            proposals.spawn(async move { node.propose(number(1)).await });
            let node = world.node(id).clone();
            reads.spawn(async move { node.read(Bytes::new()).await });
        }
    }
    until(
        world.node(leader),
        "the commands are in the leader's log",
        |status| status.appended_index.0 >= 11 || status.role != RoleKind::Leader,
    )
    .await;
    for id in [leader, follower] {
        timeout(PATIENCE, world.node(id).shutdown())
            .await
            .expect("shutdown returns");
        world.node(id).stopped().await.expect("a shutdown is no failure");
    }
    let all = async {
        while let Some(outcome) = proposals.join_next().await {
            assert!(outcome.unwrap().is_err(), "nothing can have been committed");
        }
        while let Some(outcome) = reads.join_next().await {
            assert!(outcome.unwrap().is_err(), "no read can have been confirmed");
        }
    };
    timeout(PATIENCE, all).await.expect("everything is resolved");
    // Before, one that was only just beginning to ask could be counted for a moment.
    for id in [leader, follower] {
        assert_eq!(world.node(id).unresolved_requests(), 0);
    }
    let late = world.node(leader).propose(number(1)).await;
    assert_eq!(late, Err(ProposeError::NotApplied(RefusalReason::Stopped)));
    let late = world.node(leader).read_barrier().await;
    assert!(matches!(late, Err(ReadError::Refused(RefusalReason::Stopped))));
}

/// A node whose tokio runtime goes away leaves no thread behind.
#[test]
fn a_node_ends_with_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(async {
        let world = World::new(1, |_| {});
        let node = world.try_start(1, Counter::default()).await.unwrap();
        add(&node, 1).await;
        node
    });
    drop(runtime);
    let after = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let late = after.block_on(async { timeout(PATIENCE, node.propose(number(1))).await });
    assert!(late.expect("nobody waits for ever").is_err());
    after
        .block_on(async { timeout(PATIENCE, node.stopped()).await })
        .expect("the node knows that it ended")
        .expect("its end is no failure");
}
