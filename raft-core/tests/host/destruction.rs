//! Groups that end: alone, for ever, or with everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_core::runtime::NodeError;
use raft_core::traits::{LogStore, LogStoreError};
use raft_core::types::GroupId;
use tokio::time::timeout;

use crate::node_world::{Counter, Fault, PATIENCE, add, number, read};
use crate::world::{Hosts, NotingLogStore, alone, create_alone};

/// R68: a group that was destroyed under load is gone for ever: neither its peers' messages nor a call bring it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_group_never_comes_back() {
    let mut hosts = Hosts::started(3).await;
    hosts.create(1).await;
    hosts.create(2).await;
    add(&hosts.lead(1, 1).await, 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let load = {
        let (node, done) = (hosts.node(1, 1), done.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                // Refused now and then, when a leader was lost with its host.
                drop(node.propose(number(1)).await);
            }
        })
    };
    let third = hosts.node(3, 1);
    let destroyed = hosts.host(3).destroy_group(GroupId(1));
    timeout(PATIENCE, destroyed)
        .await
        .expect("it ends under load")
        .unwrap();
    let end = third.stopped().await;
    assert!(
        matches!(end, Err(NodeError::GroupDestroyed(GroupId(1)))),
        "{end:?}"
    );
    assert!(hosts.host(3).group(GroupId(1)).is_none());
    let unknown = hosts.host(3).unknown_group_messages();
    // The two others go on, and go on sending to the third.
    let mut added = 0;
    while hosts.host(3).unknown_group_messages() < unknown + 10 {
        add(&hosts.node(2, 1), 1).await;
        added += 1;
    }
    assert!(added > 0);
    let (log, snapshots) = hosts.disks[2].clone();
    assert!(matches!(
        log.load(GroupId(1)).await,
        Err(LogStoreError::Destroyed(GroupId(1)))
    ));
    let listed = raft_core::traits::SnapshotStore::list(&snapshots, GroupId(1)).await;
    assert!(listed.unwrap().is_empty());
    stays_destroyed(&mut hosts).await;
    hosts.host(1).destroy_group(GroupId(1)).await.unwrap();
    done.store(true, Ordering::SeqCst);
    timeout(PATIENCE, load)
        .await
        .expect("nobody waits for ever")
        .unwrap();
    assert_eq!(
        add(&hosts.node(1, 2), 5).await.1,
        5,
        "its neighbour does not notice"
    );
}

/// Host 3 neither creates nor opens group 1, before and after a restart.
async fn stays_destroyed(hosts: &mut Hosts) {
    for restarted in [false, true] {
        if restarted {
            hosts.stop(3).await;
            hosts.start(3).await;
        }
        let options = || hosts.group_options(3, 1, Counter::default());
        let created = hosts.host(3).create_group(options()).await.unwrap_err();
        assert!(
            matches!(created, NodeError::GroupDestroyed(GroupId(1))),
            "{created}"
        );
        let opened = hosts.host(3).open_group(options()).await.unwrap_err();
        assert!(
            matches!(opened, NodeError::GroupDestroyed(GroupId(1))),
            "{opened}"
        );
        hosts
            .host(3)
            .destroy_group(GroupId(1))
            .await
            .expect("it does nothing");
    }
}

/// A state machine that fails, and one that panics, end their groups, with the cause, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_fails_alone() {
    let host = alone(|options| options.apply_threads = 1).await;
    let sound = create_alone(&host, 1, Counter::default()).await;
    for (group, fault) in [(2, Fault::Fails), (3, Fault::Panics)] {
        let counter = Counter {
            fault,
            ..Counter::default()
        };
        let node = create_alone(&host, group, counter).await;
        assert!(node.propose(number(1)).await.is_err());
        let end = timeout(PATIENCE, node.stopped())
            .await
            .expect("it ends")
            .unwrap_err();
        match fault {
            Fault::Fails => assert!(matches!(end, NodeError::StateMachine(_)), "{end}"),
            _ => assert!(matches!(end, NodeError::Panicked("state machine")), "{end}"),
        }
        assert!(host.group(GroupId(group)).is_none());
        assert_eq!(node.unresolved_requests(), 0);
    }
    assert_eq!(add(&sound, 4).await.1, 4);
    assert_eq!(read(&sound).await, 4);
    host.stop().await;
    host.stopped().await.expect("a stop is no failure");
}

/// R60: a log store that fails stops every group, and each says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_log_store_stops_all_groups() {
    let log = NotingLogStore::default();
    let host = alone(|options| options.log_store = Arc::new(log.clone())).await;
    let mut nodes = Vec::new();
    for group in 1..=3 {
        nodes.push(create_alone(&host, group, Counter::default()).await);
    }
    log.failing.store(true, Ordering::SeqCst);
    assert!(nodes[0].propose(number(1)).await.is_err());
    let stopped = timeout(PATIENCE, host.stopped()).await.expect("the host stops");
    assert!(matches!(stopped, Err(NodeError::LogStore(_))), "{stopped:?}");
    for node in &nodes {
        let end = node.stopped().await.unwrap_err();
        assert!(end.to_string().contains("EIO"), "{end}");
    }
}
