//! Nodes whose address changes while they are connected.

use std::time::Duration;

use bad_network::UdpNetwork;
use bytes::Bytes;
use raft_core::types::NodeId;
use raft_transport_quic::{TransportLimits, TransportOptions};

use crate::support::{Certificates, TestNode, message, wait_until};

/// Silence is noticed soon, but no connection is ever found dead.
fn doubtful() -> TransportLimits {
    TransportLimits {
        keep_alive_interval: Duration::from_millis(50),
        silence_max: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(600),
        ..TransportLimits::default()
    }
}

fn bind_doubtful(certificates: &Certificates, id: u64) -> TestNode {
    TestNode::bind(TransportOptions {
        limits: doubtful(),
        ..certificates.options(id)
    })
}

/// Both hear each other, however often that is tried.
async fn wait_both_heard(number: u64, one: &TestNode, two: &TestNode) {
    wait_until("both hear each other", || {
        one.send(2, vec![message(1, 2, number, Bytes::new())]);
        two.send(1, vec![message(2, 1, number, Bytes::new())]);
        one.inbound.numbers().contains(&number) && two.inbound.numbers().contains(&number)
    })
    .await;
}

/// The end that dialled is seen at another address: the connection goes on there, and nobody connects anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_that_moves_keeps_its_connection() {
    let certificates = Certificates::new();
    let network = UdpNetwork::start(1).unwrap();
    let nodes = [1, 2].map(|id| bind_doubtful(&certificates, id));
    let hosts = [0, 1].map(|at| network.add_host(nodes[at].address()).unwrap());
    let addresses = [0, 1].map(|at| (NodeId(at as u64 + 1), network.address(hosts[at]).to_string()));
    for node in &nodes {
        node.transport.set_peers(&addresses.clone().into()).unwrap();
        node.start().await;
    }
    let [one, two] = &nodes;
    one.wait_connected(2).await;
    two.wait_connected(1).await;
    let sent_before = one.status(2).sent_packets.unwrap();
    for number in 1..=3 {
        network.rebind(hosts[0], [127, 0, 0, 1].into()).unwrap();
        one.send(2, vec![message(1, 2, number, Bytes::new())]);
        two.inbound.wait_count(number as usize).await;
        two.send(1, vec![message(2, 1, number, Bytes::new())]);
        one.inbound.wait_count(number as usize).await;
    }
    // A new connection would begin to count anew, and would have lost what it did not carry.
    assert!(one.status(2).sent_packets.unwrap() > sent_before);
    assert_eq!(two.inbound.numbers(), [1, 2, 3]);
}

/// The end that accepted is no longer where it was dialled, and from elsewhere the other end takes nothing: it knocks from where
/// it is, and is dialled there, long before the connection is found dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acceptor_that_moves_is_found() {
    let certificates = Certificates::new();
    let network = UdpNetwork::start(1).unwrap();
    let [one, two] = [1, 2].map(|id| bind_doubtful(&certificates, id));
    let host_one = network.add_host(one.address()).unwrap();
    let host_two = network.add_host(two.address()).unwrap();
    let was_at = network.address(host_two).to_string();
    one.transport.set_peers(&[(NodeId(2), was_at)].into()).unwrap();
    let way_back = network.address(host_one).to_string();
    two.transport.set_peers(&[(NodeId(1), way_back)].into()).unwrap();
    two.start().await;
    one.start().await;
    wait_both_heard(1, &one, &two).await;
    network.set_parted(host_one, host_two, true);
    let straight = one.address().to_string();
    two.transport.set_peers(&[(NodeId(1), straight)].into()).unwrap();
    wait_both_heard(2, &one, &two).await;
}
