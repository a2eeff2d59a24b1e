//! Many groups in one process: what those cost in which nothing happens, and what those do that have clients.
//!
//! `cargo xtask bench groups` prints, for three hosts in this process:
//! - 10,000 groups that sleep: CPU time of the whole process, as a share of one core, and memory per replica;
//! - 64 of them with clients, beside a cluster of 64 groups alone with the same clients, in turns;
//! - 1, 16, 256 and 4,096 groups with clients, logs on a disk: entries per second, and syncs per second of one host.
//!
//! The first two keep everything in memory, so that nothing hides what the host itself costs. Exits with 1 if a sleeping cluster
//! takes more than [`CPU_MAX`] of a core or [`REPLICA_BYTES_MAX`] per replica, or if the others slow the 64 down by more than a fifth.
//! Lines `ratio <name> <value>` and `figure <name> <value>` are for machines. The variable `BENCH_DIR` names the directory for logs.
#![allow(clippy::print_stdout, reason = "printing tables is what this program is for")]

mod cluster;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::place::Place;
use benches::turns::{self, Measured, cpu_time};
use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;

/// How much is done.
struct Effort {
    /// Groups that sleep.
    idle: u64,
    /// How long they are watched.
    watched: Duration,
    /// Of them, so many are given clients.
    active: u64,
    /// Turns of the comparison and of each point of the curve.
    turns: usize,
    /// How long one takes.
    turn: Duration,
    /// The points of the curve.
    curve: &'static [u64],
}

const MEASURED: Effort = Effort {
    idle: 10_000,
    watched: Duration::from_secs(10),
    active: 64,
    turns: 9,
    turn: Duration::from_secs(1),
    curve: &[1, 16, 256, 4_096],
};
/// Everything runs, quickly: `cargo test` sees to it that nothing rots.
const TRIED: Effort = Effort {
    idle: 64,
    watched: Duration::from_millis(500),
    active: 8,
    turns: 1,
    turn: Duration::from_millis(100),
    curve: &[1, 16],
};

/// Of one core, for all sleeping groups together.
const CPU_MAX: f64 = 0.05;
/// For each replica of a sleeping group.
const REPLICA_BYTES_MAX: u64 = 8 << 10;
/// What is left at least to groups with clients, of what they do alone.
const RATIO_MIN: f64 = 0.8;
/// So many commands of one group are under way at once.
const CLIENTS: usize = 8;
/// The bytes of a command.
const COMMAND_BYTES: usize = 256;

fn main() -> ExitCode {
    let is_measured = std::env::args().any(|word| word == "--bench");
    let effort = if is_measured { MEASURED } else { TRIED };
    let runtime = Runtime::new().expect("threads for the runtime");
    let place = Place::find(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let mut holds = runtime.block_on(many(&effort));
    runtime.block_on(curve(&effort, &place));
    // A quick run is over before it says anything.
    holds |= !is_measured;
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Groups that sleep, and some of them that work. Returns whether everything is within its limits.
async fn many(effort: &Effort) -> bool {
    let alone = Cluster::in_memory(effort.active).await;
    let before = resident_bytes();
    let begin = Instant::now();
    let cluster = Cluster::in_memory(effort.idle).await;
    cluster.sleep().await;
    let replicas = effort.idle * cluster::HOSTS;
    let each = resident_bytes().saturating_sub(before) / replicas;
    println!(
        "{} groups on {} hosts sleep {:.1} s after the first was created",
        effort.idle,
        cluster::HOSTS,
        begin.elapsed().as_secs_f64()
    );
    alone.sleep().await;
    let cpu = cpu_time();
    tokio::time::sleep(effort.watched).await;
    let cpu = (cpu_time() - cpu).as_secs_f64() / effort.watched.as_secs_f64();
    println!(
        "{:.2} % of one core, {each} bytes of memory for each replica",
        cpu * 100.0
    );
    println!("figure groups_idle_cpu {cpu:.4}");
    println!("figure groups_idle_replica_bytes {each}");

    let sides = [("alone", &alone), ("among all", &cluster)];
    let mut measured = [Measured::default(), Measured::default()];
    for number in 0..=effort.turns {
        for side in turns::order(sides.len(), number) {
            let turn = turn(sides[side].1, effort.active, effort.turn).await;
            if number > 0 {
                measured[side].note(turn.rate, turn.entries, turn.cpu_before);
            }
        }
    }
    println!(
        "\n{:<10} {:>8} {:>12} {:>16}",
        "", "groups", "entries/s", "CPU us/entry"
    );
    for ((name, _), measured) in sides.iter().zip(&measured) {
        let cpu = measured.cpu_per_entry().as_secs_f64() * 1e6;
        println!(
            "{name:<10} {:>8} {:>12.0} {cpu:>16.2}",
            effort.active,
            measured.rate()
        );
    }
    let ratio = measured[1].ratio_to(&measured[0]);
    println!("ratio groups_active_among_idle {ratio:.3}");
    alone.stop().await;
    cluster.stop().await;
    let holds = cpu <= CPU_MAX && each <= REPLICA_BYTES_MAX && ratio >= RATIO_MIN;
    if !holds {
        println!(
            "missed: at most {CPU_MAX} of a core, {REPLICA_BYTES_MAX} bytes, and a ratio of {RATIO_MIN} at least"
        );
    }
    holds
}

/// More and more groups with clients, on a disk.
async fn curve(effort: &Effort, place: &Place) {
    println!(
        "\nlogs in {place}\n{:>8} {:>12} {:>10} {:>16}",
        "groups", "entries/s", "syncs/s", "entries/sync"
    );
    for &groups in effort.curve {
        let cluster = Cluster::on_disk(groups, place).await;
        let mut measured = Measured::default();
        let mut syncs = 0.0;
        for number in 0..=effort.turns {
            let before = cluster.syncs();
            let turn = turn(&cluster, groups, effort.turn).await;
            if number > 0 {
                measured.note(turn.rate, turn.entries, turn.cpu_before);
                syncs += (cluster.syncs() - before) as f64 / turn.elapsed.as_secs_f64();
            }
        }
        let (rate, syncs) = (measured.rate(), syncs / effort.turns as f64);
        println!("{groups:>8} {rate:>12.0} {syncs:>10.0} {:>16.1}", rate / syncs);
        println!("figure groups_{groups}_entries_per_second {rate:.0}");
        println!("figure groups_{groups}_syncs_per_second {syncs:.0}");
        cluster.stop().await;
    }
}

/// What was done in a turn.
struct Turn {
    rate: f64,
    entries: u64,
    elapsed: Duration,
    cpu_before: Duration,
}

/// Clients of the first `groups` groups propose for so long.
async fn turn(cluster: &Cluster, groups: u64, length: Duration) -> Turn {
    let command = Bytes::from(vec![7; COMMAND_BYTES]);
    let (cpu_before, begin) = (cpu_time(), Instant::now());
    let entries = cluster.commit(groups, CLIENTS, &command, begin + length).await;
    let elapsed = begin.elapsed();
    Turn {
        rate: entries as f64 / elapsed.as_secs_f64(),
        entries,
        elapsed,
        cpu_before,
    }
}

/// The memory of this process that is in use.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * rustix::param::page_size() as u64
}
