//! The streams of messages: one for each lane, each with its hello, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quinn::VarInt;
use raft_core::message::{Body, Message, TimeoutNow};
use raft_core::types::{EntryId, NodeId};
use raft_transport_quic::{TransportLimits, TransportOptions};
use tokio::time::timeout;

use crate::intruder::{FORMAT, Intruder, close_code, ended, hello_in, hello_of};
use crate::support::{CLUSTER, Certificates, TestNode, message, start_cluster};

const HELLO: u32 = 4;
/// Long enough for anything that is going to happen to happen.
const MOMENT: Duration = Duration::from_millis(300);

/// Node 2, and an intruder with the certificate of its peer, node 1.
async fn scene() -> (Certificates, TestNode, Intruder) {
    let certificates = Certificates::new();
    let target = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]),
        ..certificates.options(2)
    });
    target.start().await;
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    (certificates, target, intruder)
}

/// A speaks as B: the two hellos of a connection contradict each other, or one is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hellos_that_do_not_fit_together() {
    let (_certificates, target, intruder) = scene().await;
    let ordered = hello_in(1, FORMAT, 1, CLUSTER);
    let wrong = [
        ("the same lane", ordered.clone()),
        ("no lane", hello_in(2, FORMAT, 1, CLUSTER)),
        ("another node", hello_in(0, FORMAT, 3, CLUSTER)),
        ("another cluster", hello_in(0, FORMAT, 1, "beta")),
        ("another version", hello_in(0, FORMAT + 1, 1, CLUSTER)),
        ("another incarnation", hello_of(78, 0, FORMAT, 1, CLUSTER)),
    ];
    for (what, second) in wrong {
        let connection = intruder.connect(target.address(), 2).await.unwrap();
        let mut streams = Vec::new();
        for hello in [&ordered, &second] {
            let mut stream = connection.open_uni().await.unwrap();
            // It may be closed before everything is written.
            let _ = stream.write_all(hello).await;
            streams.push(stream);
        }
        let closed = close_code(&ended(&connection).await);
        assert_eq!(closed, Some(VarInt::from_u32(HELLO)), "{what}");
        assert!(target.inbound.is_untouched(), "{what}");
    }
    // In any order, two true hellos are a connection.
    let connection = intruder.connect(target.address(), 2).await.unwrap();
    let mut streams = Vec::new();
    for hello in [&ordered, &hello_in(0, FORMAT, 1, CLUSTER)] {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(hello).await.unwrap();
        streams.push(stream);
    }
    target.wait_connected(1).await;
}

/// Nobody can make a node keep more streams than it serves: a third one is never granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_third_stream_of_messages() {
    let (_certificates, target, intruder) = scene().await;
    let (connection, _urgent, _ordered) = intruder.join(target.address(), 2, 1).await;
    target.wait_connected(1).await;
    assert!(timeout(MOMENT, connection.open_uni()).await.is_err());
    assert!(connection.close_reason().is_none());
}

/// What is urgent does not wait for megabytes of entries that were sent before it and fill every window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_message_overtakes_entries() {
    const LARGE: usize = 24;
    let limits = TransportLimits::default();
    let (_certificates, nodes) = start_cluster(2, &limits).await;
    let urgent = Message {
        body: Body::TimeoutNow(TimeoutNow {
            last_log: EntryId::ZERO,
        }),
        ..message(1, 2, 0, Bytes::new())
    };
    for number in 1..=LARGE as u64 {
        nodes[0].send(2, vec![message(1, 2, number, Bytes::from(vec![7; 1 << 20]))]);
    }
    nodes[0].send(2, vec![urgent.clone()]);
    nodes[1].inbound.wait_count(LARGE + 1).await;
    let arrived = nodes[1].inbound.received();
    let place = arrived.iter().position(|message| *message == urgent).unwrap();
    assert!(place < LARGE / 2, "it came at place {place} of {LARGE}");
    // Among themselves the others kept their order.
    let numbers: Vec<u64> = arrived
        .iter()
        .filter(|message| **message != urgent)
        .map(crate::support::number_of)
        .collect();
    assert_eq!(numbers, (1..=LARGE as u64).collect::<Vec<_>>());
}
