//! Datagrams that somebody recorded on the way, or sends from where he is not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use raft_core::types::NodeId;
use raft_transport_quic::{TransportLimits, TransportOptions};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::intruder::Intruder;
use crate::support::{Certificates, TestNode, message};

const DATAGRAM_BYTES_MAX: usize = 65_536;

async fn loopback() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// Carries datagrams between whoever sends to `front` and `to`, and keeps what it carried there.
async fn carry(front: Arc<UdpSocket>, back: Arc<UdpSocket>, to: SocketAddr, kept: Arc<Mutex<Vec<Vec<u8>>>>) {
    let (mut there, mut here) = (vec![0; DATAGRAM_BYTES_MAX], vec![0; DATAGRAM_BYTES_MAX]);
    let mut client = None;
    loop {
        tokio::select! {
            received = front.recv_from(&mut there) => {
                let (length, from) = received.unwrap();
                client = Some(from);
                kept.lock().unwrap().push(there[..length].to_vec());
                back.send_to(&there[..length], to).await.unwrap();
            }
            received = back.recv_from(&mut here) => {
                let (length, _) = received.unwrap();
                if let Some(client) = client {
                    front.send_to(&here[..length], client).await.unwrap();
                }
            }
        }
    }
}

/// 0-RTT and replay: whoever sends a whole recorded connection again, in the middle of it, delivers nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_datagrams_deliver_nothing_twice() {
    const MESSAGES: u64 = 50;
    let certificates = Certificates::new();
    let [one, two] = [1, 2].map(|id| TestNode::bind(certificates.options(id)));
    let (front, back) = (Arc::new(loopback().await), Arc::new(loopback().await));
    let recorded = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let way = front.local_addr().unwrap().to_string();
    let carrier = tokio::spawn(carry(front, back.clone(), two.address(), recorded.clone()));
    one.transport.set_peers(&[(NodeId(2), way)].into()).unwrap();
    // Only node 1 dials, so that the whole connection takes this way.
    two.transport
        .set_peers(&[(NodeId(1), "127.0.0.1:1".to_owned())].into())
        .unwrap();
    for node in [&one, &two] {
        node.start().await;
    }
    one.wait_connected(2).await;
    for number in 1..=MESSAGES {
        one.send(2, vec![message(1, 2, number, Bytes::from(vec![1; 100]))]);
        two.inbound.wait_count(number as usize).await;
        let datagrams = recorded.lock().unwrap().clone();
        if number % 10 == 0 {
            for datagram in &datagrams {
                back.send_to(datagram, two.address()).await.unwrap();
            }
        }
    }
    one.send(2, vec![message(1, 2, MESSAGES + 1, Bytes::new())]);
    two.inbound.wait_count(MESSAGES as usize + 1).await;
    assert_eq!(two.inbound.numbers(), (1..=MESSAGES + 1).collect::<Vec<_>>());
    assert!(two.status(1).connected);
    carrier.abort();
}

/// How much a node sends to an address from which it has heard one datagram and never hears again, and how large that was.
async fn answered(target: &TestNode, certificates: &Certificates) -> (usize, usize) {
    let (stolen_on_the_way, victim) = (loopback().await, loopback().await);
    let intruder = Intruder::new(certificates, certificates.authority.issue_node(1));
    let connecting = intruder.connecting(stolen_on_the_way.local_addr().unwrap(), 2);
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let (length, _) = stolen_on_the_way.recv_from(&mut datagram).await.unwrap();
    drop(connecting);
    victim
        .send_to(&datagram[..length], target.address())
        .await
        .unwrap();
    let mut heard = 0;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX];
    // Longer than the node keeps the handshake, with every repetition of its answer.
    while let Ok(received) = timeout(Duration::from_secs(1), victim.recv_from(&mut answer)).await {
        heard += received.unwrap().0;
    }
    (length, heard)
}

/// The goodbye to a handshake that took too long, which quinn does not count among what it may send.
const GOODBYE_BYTES_MAX: usize = 200;

/// Amplification: an address that has proved nothing is sent at most three times what came from it (RFC 9000, 8.1) and a
/// goodbye, and once handshakes are many no more than a Retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_flooded_in_anothers_name() {
    let certificates = Certificates::new();
    let target_with = |retry_handshakes_min| {
        TestNode::bind(TransportOptions {
            peers: BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]),
            limits: TransportLimits {
                retry_handshakes_min,
                handshake_timeout: Duration::from_millis(500),
                ..TransportLimits::default()
            },
            ..certificates.options(2)
        })
    };
    let calm = target_with(32);
    calm.start().await;
    let (sent, heard) = answered(&calm, &certificates).await;
    assert!(
        heard > 0 && heard <= 3 * sent + GOODBYE_BYTES_MAX,
        "{heard} bytes for {sent}"
    );

    let crowded = target_with(1);
    crowded.start().await;
    // One handshake that stalls makes it a crowd.
    let stalled = Intruder::new(&certificates, certificates.authority.issue_node(1));
    let _stalled = stalled.connect(crowded.address(), 2).await.unwrap();
    let (sent, heard) = answered(&crowded, &certificates).await;
    assert!(heard > 0 && heard <= sent, "{heard} bytes for {sent}");
}
