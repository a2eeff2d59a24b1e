//! The streams of messages: one for each lane, each with its hello, and no other.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::message::{Body, Message, RequestVoteResponse};
use raft_core::types::NodeId;
use raft_transport::{TransportLimits, TransportOptions};

use crate::intruder::{FORMAT, Intruder, close_code, ended, hello_in, hello_of};
use crate::support::{CLUSTER, Certificates, TestNode, message, start_cluster};

const HELLO: u32 = 4;

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
        for (lane, hello) in [(1, &ordered), (0, &second)] {
            let Some(mut stream) = connection.open_lane(lane).await else {
                break;
            };
            // It may be closed before everything is written.
            let _ = stream.write_all(hello).await;
            streams.push(stream);
        }
        let closed = close_code(&ended(&connection).await);
        assert_eq!(closed, Some(HELLO), "{what}");
        assert!(target.inbound.is_untouched(), "{what}");
    }
    // In any order, two true hellos are a connection.
    let connection = intruder.connect(target.address(), 2).await.unwrap();
    let mut streams = Vec::new();
    for (lane, hello) in [(1, &ordered), (0, &hello_in(0, FORMAT, 1, CLUSTER))] {
        let mut stream = connection.open_lane(lane).await.unwrap();
        stream.write_all(hello).await.unwrap();
        streams.push(stream);
    }
    target.wait_connected(1).await;
}

/// What is urgent does not wait for megabytes of entries that were sent before it and fill every window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_message_overtakes_entries() {
    const LARGE: usize = 24;
    let limits = TransportLimits::default();
    let (_certificates, nodes) = start_cluster(2, &limits).await;
    let urgent = Message {
        body: Body::RequestVoteResponse(RequestVoteResponse {
            refusal: None,
            incarnation: 1,
        }),
        ..message(1, 2, 0, Bytes::new())
    };
    let large = |number| message(1, 2, number, Bytes::from(vec![7; 1 << 20]));
    // In one call, so that nothing is on its way before the last of them.
    let mut messages: Vec<Message> = (1..=LARGE as u64).map(large).collect();
    messages.push(urgent.clone());
    nodes[0].send(2, messages);
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
