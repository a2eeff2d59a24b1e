//! Groups that end: alone, for ever, or with everything.

use std::io::Read;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::memory::InProcessNetwork;
use raft_core::message::SnapshotMeta;
use raft_core::runtime::{GroupOptions, Host, HostOptions, NodeError};
use raft_core::traits::{LogStore, LogStoreError, StateMachine, StateMachineError};
use raft_core::types::{EntryId, GroupId, NodeId};
use tokio::time::timeout;

use crate::node_world::{Counter, Fault, PATIENCE, add, number, read};
use crate::world::{Hosts, NotingLogStore, NotingTransport, alone, config, create_alone};

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

/// R68: whoever gives up waiting for a destruction finds the place taken until it is done, and the host goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destruction_goes_on_when_nobody_waits() {
    let log = NotingLogStore::default();
    let host = alone(|options| options.log_store = Arc::new(log.clone())).await;
    create_alone(&host, 1, Counter::default()).await;
    log.closed.send_replace(true);
    let mut begun = log.destructions.subscribe();
    tokio::select! {
        ended = host.destroy_group(GroupId(1)) => panic!("the disk stands still: {ended:?}"),
        begun = timeout(PATIENCE, begun.wait_for(|count| *count == 1)) => drop(begun.expect("it begins")),
    }
    let options = || GroupOptions {
        config: config(1, 1),
        bootstrap: None,
        state_machine: Box::new(Counter::default()),
    };
    let opened = host.open_group(options()).await.unwrap_err();
    assert!(matches!(opened, NodeError::GroupBusy(GroupId(1))), "{opened}");
    log.closed.send_replace(false);
    let destroyed = async {
        loop {
            match host.open_group(options()).await.unwrap_err() {
                NodeError::GroupBusy(_) => tokio::task::yield_now().await,
                error => return error,
            }
        }
    };
    let destroyed = timeout(PATIENCE, destroyed).await.expect("it ends");
    assert!(
        matches!(destroyed, NodeError::GroupDestroyed(GroupId(1))),
        "{destroyed}"
    );
    let other = create_alone(&host, 2, Counter::default()).await;
    assert_eq!(add(&other, 3).await.1, 3);
    host.stop().await;
    let late = host.destroy_group(GroupId(2)).await.unwrap_err();
    assert!(matches!(late, NodeError::HostStopped), "{late}");
    let late = host
        .create_group(first_member(3, Counter::default()))
        .await
        .unwrap_err();
    assert!(matches!(late, NodeError::HostStopped), "{late}");
    assert!(
        log.inner.load(GroupId(3)).await.unwrap().is_empty(),
        "nothing is left behind"
    );
}

fn first_member(group: u64, state_machine: impl StateMachine) -> GroupOptions {
    GroupOptions {
        config: config(1, group),
        bootstrap: Some(Membership::of_voters([NodeId(1)]).unwrap()),
        state_machine: Box::new(state_machine),
    }
}

/// A counter that panics when it is cleared away.
struct Grenade(Counter);

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("the counter cannot be closed");
    }
}

impl StateMachine for Grenade {
    fn last_applied(&self) -> EntryId {
        self.0.last_applied()
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.0.apply(entries)
    }

    fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> {
        self.0.query(question)
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        self.0.snapshot()
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.0.restore(meta, content)
    }
}

/// A state machine that panics when its group ends takes nobody away who serves the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_at_the_end_of_a_group_is_its_own() {
    let host = alone(|options| options.apply_threads = 1).await;
    let sound = create_alone(&host, 1, Counter::default()).await;
    let last = host
        .create_group(first_member(2, Grenade(Counter::default())))
        .await
        .unwrap();
    add(&last, 1).await;
    host.destroy_group(GroupId(2)).await.unwrap();
    assert_eq!(add(&sound, 4).await.1, 4);
    host.stop().await;
    host.stopped().await.expect("a stop is no failure");
}

/// The transport hears that a group has left before anybody can open it again: else it forgot the members of the new replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_has_left_before_its_place_is_free() {
    let (host, taken) = (
        Arc::new(OnceLock::<Host>::new()),
        Arc::new(Mutex::new(Vec::new())),
    );
    let on_left = {
        let (host, taken) = (host.clone(), taken.clone());
        move |group| {
            let is_taken = host.get().is_some_and(|host| host.group(group).is_some());
            taken.lock().unwrap().push(is_taken);
        }
    };
    let started = alone(|options| {
        options.transport = Arc::new(NotingTransport {
            inner: options.transport.clone(),
            sent: Arc::default(),
            on_left: Arc::new(on_left),
        });
    })
    .await;
    host.set(started.clone()).unwrap();
    let counter = Counter {
        fault: Fault::Fails,
        ..Counter::default()
    };
    let node = create_alone(&started, 1, counter).await;
    assert!(node.propose(number(1)).await.is_err());
    let ended = timeout(PATIENCE, node.stopped()).await.expect("it ends");
    assert!(matches!(ended, Err(NodeError::StateMachine(_))), "{ended:?}");
    assert_eq!(*taken.lock().unwrap(), [true]);
    assert!(started.group(GroupId(1)).is_none());
    started.stop().await;
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

/// Who gives up waiting for a group to begin finds its place taken until it has begun, and the host does not end before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_begins_when_nobody_waits() {
    let log = NotingLogStore::default();
    let host = alone(|options| options.log_store = Arc::new(log.clone())).await;
    for group in [1, 2] {
        log.closed.send_replace(true);
        let is_written = || log.writes.lock().unwrap().contains(&vec![GroupId(group)]);
        let begun = async {
            while !is_written() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            created = host.create_group(first_member(group, Counter::default())) => panic!("the disk stands still: {created:?}"),
            begun = timeout(PATIENCE, begun) => begun.expect("it begins"),
        }
        let again = host
            .create_group(first_member(group, Counter::default()))
            .await
            .unwrap_err();
        assert!(matches!(again, NodeError::GroupBusy(_)), "{again}");
        if group == 2 {
            break;
        }
        log.closed.send_replace(false);
        let found = async {
            while host.group(GroupId(group)).is_none() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, found).await.expect("the group runs");
    }
    let mut stop = pin!(host.stop());
    let early = timeout(Duration::from_millis(100), stop.as_mut()).await;
    assert!(early.is_err(), "group 2 is being created");
    log.closed.send_replace(false);
    timeout(PATIENCE, stop).await.expect("nothing holds it up");
    assert!(
        !log.inner.load(GroupId(2)).await.unwrap().is_empty(),
        "it was created"
    );
}

/// R60: the first write of a group is a write like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_store_that_fails_when_a_group_begins_stops_all_groups() {
    let log = NotingLogStore::default();
    let host = alone(|options| options.log_store = Arc::new(log.clone())).await;
    let node = create_alone(&host, 1, Counter::default()).await;
    log.failing.store(true, Ordering::SeqCst);
    let refused = host.create_group(first_member(2, Counter::default())).await;
    assert!(matches!(refused, Err(NodeError::LogStore(_))), "{refused:?}");
    let stopped = timeout(PATIENCE, host.stopped()).await.expect("the host stops");
    assert!(stopped.unwrap_err().to_string().contains("EIO"));
    node.stopped().await.unwrap_err();
}

/// The intervals of pulses are held against each other as those of a group are.
#[tokio::test]
async fn a_host_that_would_pulse_without_end_is_refused() {
    let heartbeats = [Duration::ZERO, Duration::from_millis(400)];
    let words = [
        "heartbeat_interval is zero",
        "more than a third of election_timeout",
    ];
    for (heartbeat_interval, words) in heartbeats.into_iter().zip(words) {
        let options = HostOptions {
            heartbeat_interval,
            ..HostOptions::in_memory(NodeId(1), &InProcessNetwork::new())
        };
        let refused = Host::start(options).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}
