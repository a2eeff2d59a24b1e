//! What groups share: writes, batches, threads and a budget; and that none takes more than its part.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use raft_core::request::RefusalReason;
use raft_core::runtime::{Host, HostOptions, Node, ProposeError};
use raft_core::types::{GroupId, NodeId};
use tokio::task::JoinSet;

use crate::node_world::{Counter, Gate, add, number, read, until};
use crate::world::{Hosts, NotingLogStore, NotingTransport, alone, create_alone};

/// One write, and so one sync, serves all groups that are ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_write_serves_many_groups() {
    const GROUPS: u64 = 40;
    let log = NotingLogStore::default();
    let host = alone(|options| {
        options.log_store = Arc::new(log.clone());
        options.workers = 3;
    })
    .await;
    let mut nodes = Vec::new();
    for group in 1..=GROUPS {
        nodes.push(create_alone(&host, group, Counter::default()).await);
    }
    log.closed.send_replace(true);
    log.writes.lock().unwrap().clear();
    let mut waiting = JoinSet::new();
    for node in &nodes {
        let (node, appended) = (node.clone(), node.status().appended_index);
        waiting.spawn({
            let node = node.clone();
            async move { node.propose(number(1)).await.map(drop) }
        });
        until(&node, "the command is appended", |status| {
            status.appended_index > appended
        })
        .await;
    }
    log.closed.send_replace(false);
    while let Some(outcome) = waiting.join_next().await {
        outcome.unwrap().unwrap();
    }
    let writes = log.writes.lock().unwrap().clone();
    // What was there when the first one began, and what came while it was under way.
    assert!(writes.len() <= 2, "{writes:?}");
    assert_eq!(writes.iter().map(Vec::len).sum::<usize>(), GROUPS as usize);
    for groups in &writes {
        let distinct: BTreeSet<&GroupId> = groups.iter().collect();
        assert_eq!(distinct.len(), groups.len(), "at most one write for each group");
    }
}

/// What the groups of a worker say in one round leaves as one batch for each peer.
#[tokio::test]
async fn one_batch_for_each_peer_carries_all_groups() {
    const GROUPS: u64 = 16;
    let mut hosts = Hosts::started(3).await;
    hosts.stop(1).await;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let options = hosts.options(1);
    let transport = NotingTransport {
        inner: options.transport.clone(),
        sent: sent.clone(),
        on_left: Arc::new(|_| {}),
    };
    let options = HostOptions {
        workers: 1,
        transport: Arc::new(transport),
        ..options
    };
    hosts.hosts[0] = Some(Host::start(options).await.unwrap());
    let mut leaders = Vec::new();
    for group in 1..=GROUPS {
        hosts.create(group).await;
        leaders.push(hosts.lead(1, group).await);
    }
    for leader in &leaders {
        add(leader, 1).await;
    }
    sent.lock().unwrap().clear();
    let mut waiting = JoinSet::new();
    for leader in leaders {
        waiting.spawn(async move { leader.propose(number(1)).await.map(drop) });
    }
    while let Some(outcome) = waiting.join_next().await {
        outcome.unwrap().unwrap();
    }
    let all: BTreeSet<GroupId> = (1..=GROUPS).map(GroupId).collect();
    let sent = sent.lock().unwrap();
    for peer in [NodeId(2), NodeId(3)] {
        let batches = sent
            .iter()
            .filter(|(to, groups)| *to == peer && !groups.is_empty());
        let batches: Vec<_> = batches.map(|(_, groups)| groups).collect();
        assert_eq!(batches, [&all], "node {peer}");
    }
}

/// R20: the clients of all groups together may wait for so many bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_is_one_for_all_groups() {
    let host = alone(|options| options.proposal_bytes_max = Some(16)).await;
    let gate = Gate::default();
    let mut nodes = Vec::new();
    for group in 1..=3 {
        let counter = Counter {
            gate: gate.clone(),
            ..Counter::default()
        };
        nodes.push(create_alone(&host, group, counter).await);
    }
    gate.close();
    let mut waiting = JoinSet::new();
    for node in &nodes[..2] {
        let (node, commit) = (node.clone(), node.status().commit_index);
        waiting.spawn({
            let node = node.clone();
            async move { node.propose(number(1)).await }
        });
        until(&node, "it is committed", |status| status.commit_index > commit).await;
    }
    let refused = nodes[2].propose(number(1)).await;
    assert_eq!(refused, Err(ProposeError::NotApplied(RefusalReason::Busy)));
    gate.open();
    while let Some(outcome) = waiting.join_next().await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(add(&nodes[2], 7).await.1, 7, "there is room again");
}

/// A group with much to do does not keep those waiting that share its worker.
#[tokio::test]
async fn a_busy_group_starves_nobody() {
    const FLOOD: usize = 20_000;
    let host = alone(|_| {}).await;
    let fast = || Counter {
        never_blocks: true,
        ..Counter::default()
    };
    let busy = create_alone(&host, 1, fast()).await;
    let quiet = create_alone(&host, 2, fast()).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let (busy, answered) = (busy.clone(), answered.clone());
        flood.spawn(async move {
            busy.propose(number(1)).await.unwrap();
            answered.fetch_add(1, Ordering::Relaxed);
        });
    }
    let one = tokio::spawn({
        let quiet: Node = quiet.clone();
        let answered = answered.clone();
        async move {
            quiet.propose(number(1)).await.unwrap();
            answered.load(Ordering::Relaxed)
        }
    });
    let before = one.await.unwrap();
    assert!(
        before <= FLOOD / 4,
        "{before} of the busy group's commands came first"
    );
    while let Some(outcome) = flood.join_next().await {
        outcome.unwrap();
    }
    assert_eq!(read(&busy).await, FLOOD as u64);
}

/// R76: a follower that cannot keep up in one group keeps up in the others, and its leader does not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_follower_is_slow_in_its_group_only() {
    let hosts = Hosts::started(3).await;
    let gate = Gate::default();
    for id in 1..=3 {
        for group in 1..=6 {
            let mut counter = Counter::default();
            if (id, group) == (3, 1) {
                counter.gate = gate.clone();
            }
            let options = hosts.group_options(id, group, counter);
            hosts.host(id).create_group(options).await.unwrap();
        }
    }
    for group in 1..=6 {
        hosts.lead(1, group).await;
    }
    gate.close();
    for group in 1..=6 {
        let leader = hosts.node(1, group);
        for _ in 0..20 {
            add(&leader, 1).await;
        }
    }
    for group in 2..=6 {
        assert_eq!(
            read(&hosts.node(3, group)).await,
            20,
            "group {group} at the slow host"
        );
    }
    assert!(hosts.node(3, 1).status().applied_index < hosts.node(1, 1).status().applied_index);
    gate.open();
    assert_eq!(read(&hosts.node(3, 1)).await, 20);
}
