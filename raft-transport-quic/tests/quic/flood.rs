//! A cluster that commits while strangers flood one of its nodes.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::effect::RoleKind;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::memory::InProcessNetwork;
use raft_core::message::SnapshotMeta;
use raft_core::runtime::{Node, NodeOptions};
use raft_core::traits::{StateMachine, StateMachineError};
use raft_core::types::{EntryId, NodeId};
use raft_transport_quic::{QuicLimits, QuicTransport};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::intruder::Intruder;
use crate::support::{Authority, Certificates, wait_until};

/// Remembers only where it is.
#[derive(Default)]
struct Nothing(EntryId);

impl StateMachine for Nothing {
    fn last_applied(&self) -> EntryId {
        self.0
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.0 = entries.last().map_or(self.0, |entry| entry.id);
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(Bytes::new())
    }

    fn may_block(&self) -> bool {
        false
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(Cursor::new([])))
    }

    fn restore(&mut self, meta: &SnapshotMeta, _content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.0 = meta.last;
        Ok(())
    }
}

/// Three nodes over QUIC, with their logs in memory, and the leader among them.
async fn start(certificates: &Certificates) -> (Vec<Node>, Vec<Arc<QuicTransport>>, usize) {
    let ids = [1, 2, 3].map(NodeId);
    let voters = Membership::of_voters(ids).unwrap();
    let transports: Vec<_> = ids
        .iter()
        .map(|id| {
            let options = certificates.options(id.0);
            Arc::new(QuicTransport::bind(options, QuicLimits::default()).unwrap())
        })
        .collect();
    let addresses = ids
        .iter()
        .zip(&transports)
        .map(|(id, transport)| (*id, transport.local_addr().to_string()));
    let addresses: BTreeMap<NodeId, String> = addresses.collect();
    let mut nodes = Vec::new();
    for (id, transport) in ids.iter().zip(&transports) {
        transport.set_peers(&addresses).unwrap();
        let unused = InProcessNetwork::new();
        let options = NodeOptions {
            transport: transport.clone(),
            ..NodeOptions::in_memory(*id, &voters, &unused, Nothing::default())
        };
        nodes.push(Node::start(options).await.unwrap());
    }
    let leads = |node: &Node| node.status().role == RoleKind::Leader;
    wait_until("there is a leader", || nodes.iter().any(leads)).await;
    let leader = nodes.iter().position(leads).unwrap();
    (nodes, transports, leader)
}

/// The 99th percentile of the time of a commit, of `count` commits one after the other.
async fn commit_p99(leader: &Node, count: usize) -> Duration {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        leader.propose(Bytes::from_static(b"x")).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[count * 99 / 100]
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

/// Sends beginnings of handshakes that go nowhere, and garbage, five hundred of each in a second, until `stop`, from a thread of
/// its own. It costs the sender next to nothing. Returns how many datagrams it sent.
fn flood(beginnings: Arc<Vec<Vec<u8>>>, to: SocketAddr, stop: CancellationToken) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let began = Instant::now();
        let mut sent = 0;
        while !stop.is_cancelled() {
            while sent / 2 < usize::try_from(began.elapsed().as_millis() / 2).unwrap() {
                let beginning = &beginnings[sent / 2 % beginnings.len()];
                let garbage = vec![sent as u8; 20 + sent % 1_200];
                // The system may have no room for it, like any flood.
                let _ = socket.send_to(beginning, to);
                let _ = socket.send_to(&garbage, to);
                sent += 2;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        sent
    })
}

/// Pages of this process in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// Floods cost bounded memory, and commits go on: their 99th percentile stays within twice the calm one, measured in turns.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_under_a_flood_commits() {
    const COMMITS: usize = 400;
    const TURNS: usize = 7;
    const BEGINNINGS: usize = 2_000;
    const MEMORY_BYTES_MAX: u64 = 64 << 20;
    let certificates = Certificates::new();
    let (nodes, transports, at) = start(&certificates).await;
    let leader = &nodes[at];
    let term = leader.status().term;
    let beginnings = Arc::new(first_datagrams(&certificates, at as u64 + 1, BEGINNINGS).await);
    commit_p99(leader, COMMITS).await;
    let before = resident_bytes();
    let mut ratios = Vec::new();
    let mut sent = 0;
    for _ in 0..TURNS {
        let calm = commit_p99(leader, COMMITS).await;
        let stop = CancellationToken::new();
        let flooding = flood(beginnings.clone(), transports[at].local_addr(), stop.clone());
        let loud = commit_p99(leader, COMMITS).await;
        stop.cancel();
        sent += flooding.join().unwrap();
        ratios.push(loud.as_secs_f64() / calm.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let grown = resident_bytes().saturating_sub(before);
    assert!(sent > 500, "{sent} datagrams are no flood");
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes for {sent} datagrams");
    assert!(
        ratios[TURNS / 2] <= 2.0,
        "times as long as when it is calm: {ratios:?}"
    );
    assert_eq!(leader.status().term, term, "nobody had to be elected");
    for node in &nodes {
        node.shutdown().await;
    }
}
