//! Nodes that stop, crash and come back, in either role.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use raft_core::traits::Transport;
use raft_core::types::NodeId;
use raft_transport::{TransportLimits, TransportOptions};

use crate::carrier::Silent;
use crate::intruder::{FORMAT, Intruder, MuteServer, bare_server, close_code, hello, messages_frame, speak};
use crate::support::{
    CLUSTER, Certificates, TestNode, addresses, bind_again, message, start_cluster, wait_until,
};

/// Only a restarted peer's own effort helps in time: nobody finds a dead connection or dials again by himself.
fn patient() -> TransportLimits {
    TransportLimits {
        keep_alive_interval: Duration::from_secs(1_000),
        silence_max: Duration::from_secs(2_000),
        idle_timeout: Duration::from_secs(3_000),
        ..TransportLimits::default()
    }
}

fn options_like(
    certificates: &Certificates,
    nodes: &[TestNode],
    id: u64,
    limits: &TransportLimits,
) -> TransportOptions {
    TransportOptions {
        listen: nodes[id as usize - 1].address(),
        peers: addresses(nodes),
        limits: limits.clone(),
        ..certificates.options(id)
    }
}

/// Sends until something arrives, as Raft does.
async fn wait_heard(from: (u64, &TestNode), to: (u64, &TestNode)) {
    wait_until("a message arrives", || {
        from.1.send(to.0, vec![message(from.0, to.0, 1, Bytes::new())]);
        to.1.inbound.count() > 0
    })
    .await;
}

async fn restart_one(restarted: u64) {
    let limits = patient();
    let (certificates, mut nodes) = start_cluster(2, &limits).await;
    let options = options_like(&certificates, &nodes, restarted, &limits);
    let at = restarted as usize - 1;
    let stopped = nodes.remove(at);
    stopped.transport.shutdown().await;
    drop(stopped);
    let returned = bind_again(&options).await;
    returned.start().await;
    let other = 3 - restarted;
    wait_heard((restarted, &returned), (other, &nodes[0])).await;
    wait_heard((other, &nodes[0]), (restarted, &returned)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lower_id_restarts() {
    restart_one(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_higher_id_restarts() {
    restart_one(2).await;
}

/// A crash says no goodbye. The survivor believes in the old connection until the new one, or the knock, tells better.
async fn crash_one(crashed: u64) {
    let limits = patient();
    let certificates = Certificates::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let survivor_id = 3 - crashed;
    let survivor = TestNode::bind(TransportOptions {
        limits: limits.clone(),
        ..certificates.options(survivor_id)
    });
    let mut options = certificates.options(crashed);
    options.limits = limits;
    options.peers = BTreeMap::from([(NodeId(survivor_id), survivor.address().to_string())]);
    let victim = {
        let _inside = runtime.enter();
        TestNode::bind(options.clone())
    };
    options.listen = victim.address();
    let peers = BTreeMap::from([(NodeId(crashed), victim.address().to_string())]);
    survivor.transport.set_peers(&peers).unwrap();
    survivor.start().await;
    {
        let (transport, inbound) = (victim.transport.clone(), victim.inbound.clone());
        let started = runtime.spawn(async move { transport.start(inbound).await });
        started.await.unwrap().unwrap();
    }
    survivor.wait_connected(crashed).await;
    victim.wait_connected(survivor_id).await;

    // Without its runtime the victim cannot send anything any more; dropping it only frees the port.
    runtime.shutdown_background();
    drop(victim);
    let returned = bind_again(&options).await;
    returned.start().await;
    wait_heard((crashed, &returned), (survivor_id, &survivor)).await;
    wait_heard((survivor_id, &survivor), (crashed, &returned)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lower_id_crashes_and_returns() {
    crash_one(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_higher_id_crashes_and_returns() {
    crash_one(2).await;
}

/// The lower id pauses for an hour after its first failure, so that only the knock can bring the two together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_knock_ends_the_pause_of_the_lower_id() {
    let certificates = Certificates::new();
    let nobody = Silent::new();
    let address = nobody.address();
    let hour = Duration::from_secs(3_600);
    let lower = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(2), address.to_string())]),
        limits: TransportLimits {
            // Over before the first packet is repeated.
            handshake_timeout: Duration::from_millis(100),
            dial_backoff_min: hour,
            dial_backoff_max: hour,
            ..TransportLimits::default()
        },
        ..certificates.options(1)
    });
    lower.start().await;
    nobody.called().await;
    drop(nobody);

    let higher = bind_again(&TransportOptions {
        listen: address,
        peers: BTreeMap::from([(NodeId(1), lower.address().to_string())]),
        ..certificates.options(2)
    })
    .await;
    higher.start().await;
    wait_heard((1, &lower), (2, &higher)).await;
    wait_heard((2, &higher), (1, &lower)).await;
}

/// The peer may use the connection as soon as it has heard hello: a knock that comes between the two hellos must not end
/// it, or what the peer sent on it is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_knock_between_the_hellos_ends_nothing() {
    let certificates = Certificates::new();
    let server = bare_server(&certificates, certificates.authority.issue_node(2));
    let node = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(2), server.address().to_string())]),
        ..certificates.options(1)
    });
    node.start().await;
    let connection = server.accept().await.unwrap().unwrap();
    connection.hear_hello().await;

    let knocker = Intruder::new(&certificates, certificates.authority.issue_node(2));
    let heard = knocker
        .attack_with(node.address(), 1, &hello(FORMAT, 2, CLUSTER))
        .await;
    assert_eq!(close_code(&heard), Some(8), "{heard}");

    let mut spoken = hello(FORMAT, 2, CLUSTER);
    spoken.extend(messages_frame(&[message(2, 1, 1, Bytes::new())]));
    let _streams = speak(&connection, 2, &spoken).await.unwrap();
    node.inbound.wait_count(1).await;
    assert!(connection.is_open() && node.status(2).connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_found_dead_by_the_idle_time_out() {
    let limits = TransportLimits {
        keep_alive_interval: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(400),
        ..TransportLimits::default()
    };
    let certificates = Certificates::new();
    let mute = MuteServer::start(&certificates, 2);
    let node = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(2), mute.address().to_string())]),
        limits,
        ..certificates.options(1)
    });
    node.start().await;
    node.wait_connected(2).await;
    mute.die();
    wait_until("the dead peer is noticed", || !node.status(2).connected).await;
}

/// Whoever embeds a node stops and starts it in one process: the address is free when `shutdown` returns, while the old
/// transport still exists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_frees_the_address() {
    let limits = TransportLimits::default();
    let (certificates, nodes) = start_cluster(3, &limits).await;
    for id in 1..=3 {
        let options = options_like(&certificates, &nodes, id, &limits);
        nodes[id as usize - 1].transport.shutdown().await;
        TestNode::bind(options).transport.shutdown().await;
    }
}
