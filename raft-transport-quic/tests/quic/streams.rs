//! What only QUIC could let slip: data before the handshake is over, and streams beyond those that are served.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use raft_core::types::NodeId;
use raft_transport_quic::TransportOptions;
use tokio::time::timeout;

use crate::carrier::Link;
use crate::intruder::{FORMAT, Intruder, hello, messages_frame, node_name, speak};
use crate::support::{CLUSTER, Certificates, TestNode, message};

/// Long enough for anything that is going to happen to happen.
const MOMENT: Duration = Duration::from_millis(300);

impl Intruder {
    pub(crate) fn connecting(&self, to: SocketAddr, id: u64) -> quinn::Connecting {
        self.client.connecting(&self.tls, to, &node_name(id))
    }
}

/// Node 2, and an intruder with the certificate of its peer, node 1.
async fn scene() -> (TestNode, Intruder) {
    let certificates = Certificates::new();
    let target = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]),
        ..certificates.options(2)
    });
    target.start().await;
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    (target, intruder)
}

/// A client that wants early data never gets a ticket to send any with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_early_data() {
    let (target, mut intruder) = scene().await;
    intruder.tls.enable_early_data = true;
    for number in 1..=3u64 {
        let connecting = intruder.connecting(target.address(), 2);
        let Err(connecting) = connecting.into_0rtt() else {
            panic!("early data was possible at attempt {number}");
        };
        let connection = Link(connecting.await.unwrap());
        let mut spoken = hello(FORMAT, 1, CLUSTER);
        spoken.extend(messages_frame(&[message(1, 2, number, Bytes::new())]));
        let _streams = speak(&connection, 1, &spoken).await.unwrap();
        // A ticket would have arrived before: it comes with the end of the handshake.
        target.inbound.wait_count(number as usize).await;
    }
}

/// Nobody can make a node keep more streams than it serves: a third one is never granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_third_stream_of_messages() {
    let (target, intruder) = scene().await;
    let (connection, _urgent, _ordered) = intruder.join(target.address(), 2, 1).await;
    target.wait_connected(1).await;
    assert!(timeout(MOMENT, connection.open_lane(1)).await.is_err());
    assert!(connection.is_open());
}
