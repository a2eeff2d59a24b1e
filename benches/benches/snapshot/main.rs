//! Heartbeats while a snapshot of 1 GiB is in flight between two nodes, beside the same heartbeats when nothing else is.
//!
//! Three nodes in this process, with logs and snapshots on a disk and QUIC between them. The third one starts when the log that it
//! needs is gone, so it is sent the snapshot; what the leader's heartbeats to it take is measured during the transfer, and again
//! when it is over. Exits with 1 if the p99 grew by more than [`RATIO_MAX`], or if anybody was elected meanwhile.
//!
//! `cargo xtask bench snapshot --mib 1024`. The variable `BENCH_DIR` names the directory for logs and snapshots, which needs room
//! for three of the latter. Lines `ratio <name> <value>` and `figure <name> <value>` are for machines.
#![allow(clippy::print_stdout, reason = "printing tables is what this program is for")]

mod heartbeats;
mod large_state;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::certificates::Certificates;
use benches::place::Place;
use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::runtime::{Node, NodeOptions};
use raft_core::traits::Transport;
use raft_core::types::{GroupId, Index, NodeId};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogOptions, RocksLogStore};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::heartbeats::{Heartbeats, Measured, Samples};
use crate::large_state::LargeState;

const MIB: u64 = 1 << 20;
/// The size that counts, and the one that shows that this program works: `cargo test` sees to it that it does not rot.
const MEASURED_MIB: u64 = 1024;
const TRIED_MIB: u64 = 8;
/// How long heartbeats are measured when nothing else happens.
const IDLE: Duration = Duration::from_secs(10);
const TRIED_IDLE: Duration = Duration::from_secs(1);
/// More often than by default, for more samples; the election timeout is the default.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(10);
/// How many entries are applied between two snapshots.
const SNAPSHOT_ENTRIES: u64 = 64;
/// How much slower heartbeats may be during the transfer.
const RATIO_MAX: f64 = 3.0;
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(600);
/// The node that is sent the snapshot.
const NEWCOMER: NodeId = NodeId(3);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_measured = words.iter().any(|word| word == "--bench");
    let given = words.iter().position(|word| word == "--mib");
    let mib = match given.map(|at| words.get(at + 1).and_then(|word| word.parse::<u64>().ok())) {
        None if is_measured => MEASURED_MIB,
        None => TRIED_MIB,
        Some(Some(mib @ 1..=65_536)) => mib,
        Some(_) => {
            println!("--mib: give the size of the snapshot in MiB, from 1 to 65536");
            return ExitCode::from(2);
        }
    };
    let idle = if is_measured { IDLE } else { TRIED_IDLE };
    let place = Place::find(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let runtime = tokio::runtime::Runtime::new().expect("threads for the runtime");
    let held = runtime.block_on(measure(&place, mib * MIB, idle));
    // A run of a few megabytes is over before it says anything.
    if held || !is_measured {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Three nodes, of which the last one does not run at first.
struct Scene {
    nodes: Vec<Node>,
    heartbeats: Arc<Heartbeats>,
    newcomer: Option<NodeOptions>,
    _certificates: Certificates,
    _dirs: Vec<TempDir>,
}

impl Scene {
    async fn start(place: &Place, snapshot_bytes: u64) -> Scene {
        let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let voters = Membership::of_voters(ids.iter().copied()).expect("three distinct ids");
        let certificates = Certificates::new(3);
        let heartbeats = Arc::new(Heartbeats::new(NEWCOMER));
        let mut scene = Scene {
            nodes: Vec::new(),
            heartbeats: heartbeats.clone(),
            newcomer: None,
            _dirs: ids.iter().map(|_| place.new_dir()).collect(),
            _certificates: certificates,
        };
        let transports = scene._certificates.quic_transports();
        for ((id, dir), transport) in ids.iter().zip(&scene._dirs).zip(transports) {
            let measured = Measured::new(transport, heartbeats.clone());
            let options = options(*id, &voters, dir, Arc::new(measured), snapshot_bytes);
            if *id == NEWCOMER {
                scene.newcomer = Some(options);
            } else {
                scene
                    .nodes
                    .push(Node::start(options).await.expect("the node starts"));
            }
        }
        scene
    }

    fn leader(&self) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| node.status().role == RoleKind::Leader)
    }

    /// Has commands applied until the leader has a snapshot, and no log before it.
    async fn make_snapshot(&self) {
        let is_done = || {
            let status = self.leader()?.status();
            (status.snapshot.index > Index(0) && status.first_index > Index(1)).then_some(())
        };
        while is_done().is_none() {
            match self.leader() {
                // Who is no leader any more is not asked again.
                Some(leader) => drop(leader.propose(Bytes::from_static(b"step")).await),
                None => sleep(HEARTBEAT_INTERVAL).await,
            }
        }
    }

    /// The highest term of all.
    fn term(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| node.status().term.0)
            .max()
            .unwrap_or_default()
    }

    /// Starts the newcomer and waits until it has applied what the leader had.
    async fn transfer(&mut self) {
        let target = self
            .leader()
            .map_or(Index(0), |leader| leader.status().commit_index);
        let options = self.newcomer.take().expect("it is started once");
        let node = Node::start(options).await.expect("the node starts");
        let mut status = node.watch_status();
        let caught_up = status.wait_for(|status| status.applied_index >= target);
        caught_up.await.expect("the newcomer runs");
        self.nodes.push(node);
    }
}

fn options(
    id: NodeId,
    voters: &Membership,
    dir: &TempDir,
    transport: Arc<dyn Transport>,
    snapshot_bytes: u64,
) -> NodeOptions {
    let log = RocksLogStore::open(dir.path().join("log"), RocksLogOptions::default());
    let snapshots = FileSnapshotStore::open(dir.path().join("snapshots"));
    let mut config = Config::new(GroupId(1), id);
    config.heartbeat_interval = HEARTBEAT_INTERVAL;
    config.snapshot_entries = SNAPSHOT_ENTRIES;
    config.retained_entries = 0;
    NodeOptions {
        config,
        bootstrap: Some(voters.clone()),
        log_store: Arc::new(log.expect("an empty directory opens")),
        snapshot_store: Arc::new(snapshots.expect("an empty directory opens")),
        transport,
        state_machine: Box::new(LargeState::new(snapshot_bytes)),
    }
}

/// True if everything is within its limits.
async fn measure(place: &Place, snapshot_bytes: u64, idle: Duration) -> bool {
    println!(
        "three nodes in one process, mutual TLS 1.3 over QUIC on loopback, logs and snapshots in {place}\n\
         election timeout 1000 ms, the default; a heartbeat every {} ms",
        HEARTBEAT_INTERVAL.as_millis()
    );
    let begin = Instant::now();
    let mut scene = Scene::start(place, snapshot_bytes).await;
    let made = timeout(PATIENCE, scene.make_snapshot()).await;
    made.expect("a snapshot is made");
    println!(
        "a snapshot of {} MiB is made, {:.1} s after the start",
        snapshot_bytes / MIB,
        begin.elapsed().as_secs_f64()
    );
    let term = scene.term();
    let moved = timeout(PATIENCE, scene.transfer()).await;
    moved.expect("the snapshot arrives");
    let transfer = scene.heartbeats.transfer().expect("a snapshot was sent");
    println!(
        "it is sent and installed, {:.1} s after the start",
        begin.elapsed().as_secs_f64()
    );
    let during = scene.heartbeats.take();
    sleep(idle).await;
    let after = scene.heartbeats.take();
    let elections = scene.term() - term;
    for node in &scene.nodes {
        node.shutdown().await;
    }
    print(snapshot_bytes, transfer, &during, &after, elections)
}

fn print(bytes: u64, transfer: Duration, during: &Samples, idle: &Samples, elections: u64) -> bool {
    println!(
        "\n{:<12} {:>10} {:>10} {:>10} {:>10}",
        "heartbeat", "count", "p50 us", "p99 us", "max us"
    );
    for (name, samples) in [("idle", idle), ("transfer", during)] {
        println!(
            "{name:<12} {:>10} {:>10} {:>10} {:>10}",
            samples.count(),
            samples.quantile(0.5).as_micros(),
            samples.quantile(0.99).as_micros(),
            samples.quantile(1.0).as_micros(),
        );
    }
    let p99 = |samples: &Samples| samples.quantile(0.99).as_secs_f64();
    let ratio = p99(during) / p99(idle);
    let rate = bytes as f64 / transfer.as_secs_f64() / 1e6;
    println!(
        "\ntransfer     {} MiB in {:.1} s, {rate:.0} MB/s",
        bytes / MIB,
        transfer.as_secs_f64()
    );
    println!("elections    {elections} since the transfer began");
    println!("ratio snapshot_heartbeat_p99 {ratio:.3}");
    println!("figure snapshot_mb_per_second {rate:.1}");
    println!("figure snapshot_elections {elections}");
    let holds = ratio <= RATIO_MAX && elections == 0 && during.count() > 0;
    if !holds {
        println!("missed: the ratio is to be at most {RATIO_MAX}, and nobody elected");
    }
    holds
}
