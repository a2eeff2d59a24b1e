//! What it costs to record a cluster: commits of three nodes in this process, without a recording, with one in memory, and with one in
//! memory and in files. All three sides in turns, in one run; with logs on disks, and with nothing but memory, where it costs most.
#![allow(clippy::print_stdout, reason = "printing tables is what this program is for")]

use std::path::Path;
use std::time::Instant;

use benches::clusters::{self, Cluster};
use benches::place::Place;
use benches::turns::{self, Measured, cpu_time};
use bytes::Bytes;
use raft_core::config::Config;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What a node of `raft-node` keeps in memory unless it is told otherwise.
const MEMORY_BYTES: usize = 4 << 20;
/// And in files.
const FILES_BYTES_MAX: u64 = 256 << 20;

/// How many clients commit commands of how many bytes.
const LOADS: [(u64, usize); 3] = [(64, 256), (1_024, 256), (64, 16 << 10)];

/// What the nodes are made of.
#[derive(Clone, Copy)]
enum Backends {
    Memory,
    RocksdbQuic,
}

/// One way to be recorded, and three nodes that are.
struct Side {
    name: &'static str,
    cluster: Cluster,
    _files: Option<TempDir>,
}

fn main() {
    let is_measured = std::env::args().any(|word| word == "--bench");
    let runtime = Runtime::new().expect("threads for the runtime");
    let place = Place::find(Path::new(env!("CARGO_TARGET_TMPDIR")));
    println!("three nodes in this process; recordings in {place}");
    for backends in [Backends::RocksdbQuic, Backends::Memory] {
        let sides = runtime.block_on(sides(backends, &place));
        for (clients, bytes) in LOADS {
            compare(&runtime, backends, &sides, (clients, bytes), is_measured);
        }
        for side in sides {
            runtime.block_on(side.cluster.shutdown());
        }
    }
}

impl Backends {
    fn name(self) -> &'static str {
        match self {
            Backends::Memory => "memory",
            Backends::RocksdbQuic => "rocksdb-quic",
        }
    }

    async fn start(self, change: impl Fn(&mut Config)) -> Cluster {
        match self {
            Backends::Memory => clusters::in_memory(change).await,
            Backends::RocksdbQuic => clusters::rocksdb_quic(change).await,
        }
    }

    /// How many bytes are committed in a turn, with what stands around each command.
    fn turn_bytes(self) -> u64 {
        match self {
            Backends::Memory => 64 << 20,
            Backends::RocksdbQuic => 4 << 20,
        }
    }
}

async fn sides(backends: Backends, place: &Place) -> Vec<Side> {
    let recorded = |config: &mut Config| config.recording_bytes = MEMORY_BYTES;
    let files = place.new_dir();
    let in_files = backends.start(recorded).await;
    in_files.record_to(files.path(), FILES_BYTES_MAX);
    vec![
        Side {
            name: "off",
            cluster: backends.start(|_| {}).await,
            _files: None,
        },
        Side {
            name: "memory",
            cluster: backends.start(recorded).await,
            _files: None,
        },
        Side {
            name: "files",
            cluster: in_files,
            _files: Some(files),
        },
    ]
}

fn compare(runtime: &Runtime, backends: Backends, sides: &[Side], load: (u64, usize), is_measured: bool) {
    let (clients, bytes) = load;
    let command = Bytes::from(vec![7; bytes]);
    let (turns, count) = match is_measured {
        true => (40, (backends.turn_bytes() / (bytes as u64 + 1_024)).max(clients)),
        false => (1, clients),
    };
    let mut measured: Vec<Measured> = sides.iter().map(|_| Measured::default()).collect();
    for number in 0..=turns {
        for side in turns::order(sides.len(), number) {
            let (cpu, begin) = (cpu_time(), Instant::now());
            runtime.block_on(sides[side].cluster.commit(&command, count, clients));
            let rate = count as f64 / begin.elapsed().as_secs_f64();
            // The first turn does not count, unless nothing is measured.
            if number > 0 || !is_measured {
                measured[side].note(rate, count, cpu);
            }
        }
    }
    print_table(backends, sides, &measured, load);
}

fn print_table(backends: Backends, sides: &[Side], measured: &[Measured], (clients, bytes): (u64, usize)) {
    let name = backends.name();
    println!(
        "\n{name}, {clients} clients, commands of {bytes} bytes\n{:<10} {:>12} {:>14} {:>8}",
        "recorded", "commits/s", "CPU µs/commit", "ratio"
    );
    for (side, of_side) in sides.iter().zip(measured) {
        println!(
            "{:<10} {:>12.0} {:>14.2} {:>8.3}",
            side.name,
            of_side.rate(),
            of_side.cpu_per_entry().as_secs_f64() * 1e6,
            of_side.ratio_to(&measured[0]),
        );
    }
    for (side, of_side) in sides.iter().zip(measured).skip(1) {
        let ratio = of_side.ratio_to(&measured[0]);
        println!("ratio record-{name}-{}-{clients}-{bytes} {ratio:.3}", side.name);
    }
}
