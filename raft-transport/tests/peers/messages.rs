//! Messages between honest nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use raft_core::message::Message;
use raft_core::traits::{Transport, TransportError};
use raft_core::types::NodeId;
use raft_transport::{TransportLimits, TransportOptions};

use crate::carrier::Silent;
use crate::intruder::{Intruder, MuteServer};
use crate::support::{Certificates, DEADLINE, Recorder, TestNode, message, start_cluster, wait_until};

fn numbered(from: u64, to: u64, numbers: impl IntoIterator<Item = u64>) -> Vec<Message> {
    numbers
        .into_iter()
        .map(|number| message(from, to, number, Bytes::from_static(b"payload")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_of_three_nodes_talks_in_both_directions() {
    let (_certificates, nodes) = start_cluster(3, &TransportLimits::default()).await;
    for from in 1..=3u64 {
        for to in (1..=3).filter(|&to| to != from) {
            nodes[from as usize - 1].send(to, numbered(from, to, [from]));
        }
    }
    for (id, node) in (1u64..).zip(&nodes) {
        node.inbound.wait_count(2).await;
        let mut senders: Vec<_> = node.inbound.received().iter().map(|m| m.from.0).collect();
        senders.sort_unstable();
        let others: Vec<_> = (1..=3).filter(|&other| other != id).collect();
        assert_eq!(senders, others);
        wait_until("the way is measured", || {
            let peers = node.transport.peers();
            peers.iter().all(|peer| peer.connected && peer.rtt_us.is_some())
        })
        .await;
        assert!(
            node.transport
                .peers()
                .iter()
                .all(|peer| peer.dropped_messages == 0)
        );
    }
    for node in &nodes {
        node.transport.shutdown().await;
    }
}

/// R76: all groups share one connection, and what is sent arrives in order and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_order_and_once() {
    const COUNT: u64 = 10_000;
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    for (from, to) in [(1u64, 2u64), (2, 1)] {
        let mut next = 0;
        let mut size = 1;
        while next < COUNT {
            let end = (next + size).min(COUNT);
            nodes[from as usize - 1].send(to, numbered(from, to, next..end));
            next = end;
            size = size % 97 + 13;
            tokio::task::yield_now().await;
        }
    }
    for node in &nodes {
        node.inbound.wait_count(COUNT as usize).await;
        assert_eq!(node.inbound.numbers(), (0..COUNT).collect::<Vec<_>>());
    }
    // What waited together left together.
    assert!(nodes[1].inbound.frames() < COUNT as usize / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_batches_and_large_messages_arrive_whole() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    let kilobyte = Bytes::from(vec![1; 1 << 10]);
    let megabyte: Bytes = (0..1u32 << 20).map(|byte| (byte * 31) as u8).collect();
    let mut batch: Vec<_> = (0..5_000)
        .map(|number| message(1, 2, number, kilobyte.clone()))
        .collect();
    batch.extend((5_000..5_008).map(|number| message(1, 2, number, megabyte.clone())));
    nodes[0].send(2, batch.clone());
    nodes[1].inbound.wait_count(batch.len()).await;
    assert!(
        nodes[1].inbound.received() == batch,
        "what arrived is not what was sent"
    );
}

/// R76: without a connection the queue fills, the newest is dropped and counted, and `send` returns at once: nothing
/// else runs on this single thread while it is called.
#[tokio::test]
async fn a_full_queue_drops_without_blocking() {
    let limits = TransportLimits {
        queue_messages_max: 100,
        queue_age_max: DEADLINE,
        ..TransportLimits::default()
    };
    let certificates = Certificates::new();
    let silent = Silent::new();
    let node = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(2), silent.address().to_string())]),
        limits,
        ..certificates.options(1)
    });
    node.start().await;
    for number in 0..1_000 {
        node.send(2, numbered(1, 2, [number]));
    }
    let status = node.status(2);
    assert_eq!((status.queued_messages, status.dropped_messages), (100, 900));
    assert!(!status.connected);
    // Nobody is no peer, and nothing happens.
    node.send(9, numbered(1, 9, [1]));
}

/// R76: one peer is dead, another one is connected and never reads; the third one notices neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_and_a_hung_peer_delay_nobody() {
    let certificates = Certificates::new();
    let dead = Silent::new();
    let mute = MuteServer::start(&certificates, 3);
    let nodes = [1, 4].map(|id| TestNode::bind(certificates.options(id)));
    let address = |address: SocketAddr| address.to_string();
    let peers = BTreeMap::from([
        (NodeId(1), address(nodes[0].address())),
        (NodeId(2), address(dead.address())),
        (NodeId(3), address(mute.address())),
        (NodeId(4), address(nodes[1].address())),
    ]);
    for node in &nodes {
        node.transport.set_peers(&peers).unwrap();
        node.start().await;
    }
    nodes[0].wait_connected(3).await;
    nodes[0].wait_connected(4).await;

    let payload = Bytes::from(vec![0; 64 << 10]);
    for number in 0..2_000 {
        for to in [2, 3] {
            nodes[0].send(to, vec![message(1, to, number, payload.clone())]);
        }
    }
    assert!(
        nodes[0].status(3).dropped_messages > 0,
        "the hung peer's queue has a bound"
    );
    assert!(
        nodes[0].status(2).dropped_messages > 0,
        "the dead peer's queue has a bound"
    );
    for number in 0..100 {
        nodes[0].send(4, numbered(1, 4, [number]));
        nodes[1].inbound.wait_count(number as usize + 1).await;
    }
    assert_eq!(nodes[0].status(4).dropped_messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_peer_is_cut_off_and_a_returning_one_is_connected() {
    let (certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    let all = crate::support::addresses(&nodes);
    let without_1 = BTreeMap::from([(NodeId(2), nodes[1].address().to_string())]);
    nodes[1].transport.set_peers(&without_1).unwrap();
    wait_until("node 1 is cut off", || !nodes[0].status(1 + 1).connected).await;
    assert!(nodes[1].transport.peers().is_empty());

    // With its true certificate it is still nobody.
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    let vote = message(1, 2, 7, Bytes::new());
    let closed = intruder.attack(nodes[1].address(), 2, 1, &[vote]).await;
    assert!(closed.to_string().contains("not a peer"), "{closed}");
    assert!(nodes[1].inbound.is_untouched());

    nodes[1].transport.set_peers(&all).unwrap();
    nodes[1].wait_connected(1).await;
    nodes[1].send(1, numbered(2, 1, [1]));
    nodes[0].inbound.wait_count(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_without_a_restart() {
    let (certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    let old = std::fs::read_to_string(certificates.path("n1.pem")).unwrap();
    certificates.write("n1", &certificates.authority.issue_node(1));
    assert_ne!(old, std::fs::read_to_string(certificates.path("n1.pem")).unwrap());
    nodes[0].transport.reload_credentials().unwrap();
    assert!(nodes[0].status(2).connected, "the connection stands");
    nodes[0].send(2, numbered(1, 2, [1]));
    nodes[1].inbound.wait_count(1).await;

    // A wrong file is refused, and the former certificate stays in use.
    certificates.write("n1", &certificates.authority.issue_node(2));
    nodes[0].transport.reload_credentials().unwrap_err();
    let peers = crate::support::addresses(&nodes);
    nodes[0].transport.set_peers(&BTreeMap::new()).unwrap();
    nodes[0].transport.set_peers(&peers).unwrap();
    nodes[0].wait_connected(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_shutdown_nothing_is_left() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    nodes[0].transport.shutdown().await;
    assert!(nodes[0].transport.peers().iter().all(|peer| !peer.connected));
    let started = nodes[0].transport.start(nodes[0].inbound.clone()).await;
    assert!(matches!(started, Err(TransportError::Closed)));
    wait_until("the other side knows", || !nodes[1].status(1).connected).await;
    // Twice is as good as once.
    nodes[0].transport.shutdown().await;
}

#[tokio::test]
async fn a_transport_starts_once() {
    let certificates = Certificates::new();
    let node = TestNode::bind(certificates.options(1));
    node.start().await;
    let again = node
        .transport
        .start(std::sync::Arc::new(Recorder::default()))
        .await;
    assert!(matches!(again, Err(TransportError::Io(_))));
}
