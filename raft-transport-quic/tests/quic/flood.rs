//! A cluster that commits while strangers flood one of its nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::runtime::Node;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::intruder::Intruder;
use crate::nodes::start;
use crate::support::{Authority, Certificates};

/// Adds how long each of `count` commits took, one after the other.
async fn commit(leader: &Node, count: usize, times: &mut Vec<Duration>) {
    for _ in 0..count {
        let began = Instant::now();
        leader.propose(Bytes::from_static(b"x")).await.unwrap();
        times.push(began.elapsed());
    }
}

fn p99(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64()
}

/// The first datagrams of `count` connections to node `id`, none of which was ever answered.
async fn first_datagrams(certificates: &Certificates, id: u64, count: usize) -> Vec<Vec<u8>> {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = Intruder::new(certificates, Authority::new().issue_node(1));
    let mut datagrams = Vec::new();
    while datagrams.len() < count {
        let connecting = stranger.connecting(nobody.local_addr().unwrap(), id);
        let mut datagram = vec![0; 65_536];
        let (length, _) = nobody.recv_from(&mut datagram).await.unwrap();
        datagram.truncate(length);
        // Not the goodbye of the one before.
        if length >= 1_200 {
            datagrams.push(datagram);
        }
        drop(connecting);
    }
    datagrams
}

/// What a flood cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Datagrams.
    sent: usize,
    /// Of the beginnings.
    sent_bytes: usize,
    /// What the node sent back.
    answered_bytes: usize,
}

/// Sends beginnings of handshakes that go nowhere, and garbage, five hundred of each in a second, until `stop`, from a thread of
/// its own. It costs the sender next to nothing.
fn flood(beginnings: Arc<Vec<Vec<u8>>>, to: SocketAddr, stop: CancellationToken) -> JoinHandle<Cost> {
    std::thread::spawn(move || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let began = Instant::now();
        let (mut sent, mut cost, mut answer) = (0, Cost::default(), vec![0; 65_536]);
        while !stop.is_cancelled() {
            while sent / 2 < usize::try_from(began.elapsed().as_millis() / 2).unwrap() {
                let beginning = &beginnings[sent / 2 % beginnings.len()];
                let garbage = vec![sent as u8; 20 + sent % 1_200];
                // The system may have no room for it, like any flood.
                let _ = socket.send_to(beginning, to);
                let _ = socket.send_to(&garbage, to);
                sent += 2;
                cost.sent_bytes += beginning.len();
            }
            std::thread::sleep(Duration::from_millis(1));
            while let Ok(length) = socket.recv(&mut answer) {
                cost.answered_bytes += length;
            }
        }
        cost.sent = sent;
        cost
    })
}

/// Pages of this process in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// Floods cost bounded memory and few handshakes, each of which is answered with more than what began it; and commits go on: their 99th percentile stays within twice the calm one. The turns are short, so
/// that whatever else the machine does meets both alike, and the best of a few rounds counts: a flood that costs more costs more
/// in every round.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_under_a_flood_commits() {
    const COMMITS: usize = 60;
    const TURNS: usize = 20;
    const ROUNDS: usize = 6;
    const BEGINNINGS: usize = 2_000;
    const MEMORY_BYTES_MAX: u64 = 64 << 20;
    let certificates = Certificates::new();
    let (nodes, transports, at) = start(&certificates).await;
    let leader = &nodes[at];
    let term = leader.status().term;
    let beginnings = Arc::new(first_datagrams(&certificates, at as u64 + 1, BEGINNINGS).await);
    commit(leader, COMMITS, &mut Vec::new()).await;
    let before = resident_bytes();
    let mut flooded = Cost::default();
    let mut rounds = Vec::new();
    while rounds.len() < ROUNDS && !rounds.iter().any(|(calm, loud)| *loud <= 2.0 * calm) {
        let (mut calm, mut loud) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            commit(leader, COMMITS, &mut calm).await;
            let stop = CancellationToken::new();
            let flooding = flood(beginnings.clone(), transports[at].local_addr(), stop.clone());
            commit(leader, COMMITS, &mut loud).await;
            stop.cancel();
            let cost = flooding.join().unwrap();
            flooded.sent += cost.sent;
            flooded.sent_bytes += cost.sent_bytes;
            flooded.answered_bytes += cost.answered_bytes;
        }
        rounds.push((p99(&mut calm), p99(&mut loud)));
    }
    let grown = resident_bytes().saturating_sub(before);
    eprintln!("{flooded:?}, {grown} bytes of memory, {rounds:?}");
    assert!(flooded.sent > 500, "{flooded:?} is no flood");
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes for {flooded:?}");
    assert!(flooded.answered_bytes < flooded.sent_bytes / 2, "{flooded:?}");
    let within = rounds.iter().any(|(calm, loud)| *loud <= 2.0 * calm);
    assert!(within, "seconds when it is calm, and in the flood: {rounds:?}");
    assert_eq!(leader.status().term, term, "nobody had to be elected");
    for node in &nodes {
        node.shutdown().await;
    }
}
