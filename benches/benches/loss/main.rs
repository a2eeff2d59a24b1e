//! Three real nodes whose every packet is under way for 50 ms and one in twenty is lost: what is committed, and whether anybody is
//! elected who need not be.
//!
//! `cargo xtask bench loss --minutes 10`. The nodes are processes of this program, which is `raft-node` when [`AS_NODE`] is set.
//! Peers reach each other through [`bad_network`]; clients reach the nodes on perfect ways. Exits with 1 if there was an election
//! beyond the first. The variable `BENCH_DIR` names the directory of the nodes' data. Lines `figure <name> <value>` are for
//! machines.
#![allow(clippy::print_stdout, reason = "printing tables is what this program is for")]

mod nodes;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bad_network::LinkSettings;
use benches::place::Place;
use raft_node::client::load::{self, LoadOptions, Until, report::LoadReport};
use tokio::sync::Notify;

use crate::nodes::{AS_NODE, Nodes};
use crate::watch::{Seen, Watch};

/// What every link between two nodes does, in each direction.
const LOSS: f64 = 0.05;
const ONE_WAY: Duration = Duration::from_millis(50);
const CLIENTS: usize = 64;
const VALUE_BYTES: usize = 256;
/// How often there is a line that says how it goes.
const PROGRESS_SECONDS: u64 = 10;
const DEFAULT_MINUTES: f64 = 10.0;
/// A run that only shows that this program works: `cargo test` sees to it that it does not rot.
const TRIED: Duration = Duration::from_secs(3);
/// The fate of every packet follows from it.
const SEED: u64 = 6;

fn main() -> ExitCode {
    if std::env::var_os(AS_NODE).is_some() {
        return raft_node::cli::main();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let duration = match duration(&words) {
        Ok(duration) => duration,
        Err(usage) => {
            println!("{usage}");
            return ExitCode::from(2);
        }
    };
    let place = Place::find(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(measure(&place, duration))
}

/// How long to measure, from the words on the command line.
fn duration(words: &[String]) -> Result<Duration, String> {
    let minutes = match words.iter().position(|word| word == "--minutes") {
        Some(at) => {
            let given = words.get(at + 1).and_then(|word| word.parse::<f64>().ok());
            let minutes = given.filter(|minutes| (0.05..=10_000.0).contains(minutes));
            minutes.ok_or("--minutes: give a number of minutes, such as 10 or 0.5")?
        }
        None if words.iter().any(|word| word == "--bench") => DEFAULT_MINUTES,
        None => return Ok(TRIED),
    };
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

async fn measure(place: &Place, duration: Duration) -> ExitCode {
    let link = LinkSettings {
        delay: ONE_WAY,
        loss: LOSS,
        ..LinkSettings::default()
    };
    println!(
        "three processes of raft-node on this machine, their log on RocksDB in {place}; mutual TLS 1.3 over QUIC\n\
         every packet between two nodes: {} ms one way ({} ms there and back), {} % lost in each direction\n\
         election timeout 1000 ms, heartbeat interval 100 ms: the defaults\n\
         {CLIENTS} clients put values of {VALUE_BYTES} B through every node in turn, for {:.1} min",
        ONE_WAY.as_millis(),
        2 * ONE_WAY.as_millis(),
        LOSS * 100.0,
        duration.as_secs_f64() / 60.0,
    );
    let nodes = Nodes::start(place, SEED, link);
    let watch = Arc::new(Watch::new(nodes.endpoints()));
    let first = watch.first_leader().await;
    let network_before = nodes.network.total();
    println!("node {} leads in term {}", first.leader, first.term);
    let report = put(&nodes, &watch, duration).await;
    let seen = watch.end().await;
    let network = nodes.network.total();
    let packets = network.packets - network_before.packets;
    let lost = network.lost - network_before.lost;
    let overflowed = network.overflowed - network_before.overflowed;
    print(&report, first, seen, [packets, lost, overflowed]);
    if seen.term > first.term {
        nodes.print_elections();
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Has the clients write for so long, with a line of progress now and then.
async fn put(nodes: &Nodes, watch: &Arc<Watch>, duration: Duration) -> LoadReport {
    let options = LoadOptions {
        endpoints: nodes.endpoints(),
        until: Until::Elapsed(duration),
        clients: CLIENTS,
        value_bytes: VALUE_BYTES,
        attempt_timeout: Duration::from_secs(10),
        acked: None,
    };
    let ended = Arc::new(Notify::new());
    let watching = tokio::spawn(watch.clone().run(ended.clone()));
    let mut second = 0;
    let mut acknowledged_before = 0;
    let report = load::run(options, std::future::pending(), |acknowledged, _| {
        second += 1;
        if second % PROGRESS_SECONDS == 0 {
            let rate = (acknowledged - acknowledged_before) / PROGRESS_SECONDS;
            acknowledged_before = acknowledged;
            let Seen { term, leader, .. } = watch.seen();
            println!(
                "{second:>5} s: {acknowledged} acknowledged, {rate} per second; node {leader} leads in term {term}"
            );
        }
    });
    let report = report.await.expect("the nodes answer");
    ended.notify_one();
    watching.await.expect("watching does not panic");
    report
}

fn print(report: &LoadReport, first: Seen, last: Seen, [packets, lost, overflowed]: [u64; 3]) {
    let megabytes = report.acknowledged as f64 * VALUE_BYTES as f64 / report.seconds / 1e6;
    let rate = report.acknowledged as f64 / report.seconds;
    let (p50, p99) = (report.p50_us as f64 / 1e3, report.p99_us as f64 / 1e3);
    let elections = last.term - first.term;
    println!(
        "\ncommitted    {} entries in {:.1} s",
        report.acknowledged, report.seconds
    );
    println!("throughput   {rate:.0} entries/s, {megabytes:.3} MB/s of values");
    println!(
        "latency      p50 {p50:.1} ms, p99 {p99:.1} ms; longest gap {} ms",
        report.longest_gap_ms
    );
    println!(
        "not written  {} failed, {} unknown",
        report.failed, report.unknown
    );
    println!(
        "elections    {elections} beyond the first; term {} before, {} after",
        first.term, last.term
    );
    println!("leaders      seen to change {} times", last.changes);
    println!(
        "packets      {packets} sent, {lost} lost ({:.2} %), {overflowed} more because too many waited",
        lost as f64 * 100.0 / packets.max(1) as f64
    );
    for (name, value) in [
        ("loss_entries_per_second", rate),
        ("loss_mb_per_second", megabytes),
        ("loss_p50_ms", p50),
        ("loss_p99_ms", p99),
        ("loss_elections", elections as f64),
        ("loss_lost_packets", lost as f64),
    ] {
        println!("figure {name} {value:.3}");
    }
}
