//! Messages between two nodes in this process, over loopback: our transports beside the bare streams they are built on.
//!
//! `cargo xtask bench transport` prints, for messages of 256 bytes and of 64 KiB: how long one takes there and back, how many
//! arrive one way, and the CPU time of both ends together. A message of ours is an AppendEntries with one entry of that size;
//! that its header is longer than the length that raw streams carry counts against us, and so does making it.
//! A word after `--` keeps the links whose names contain it: `cargo bench -p benches --bench transport -- 'raw quinn'`.
//! Everything is measured in turns, in one run. Lines `ratio <name> <value>` are for machines: ours divided by what it is
//! compared with. A round trip's is of times, at most 1.15 is wanted; the others' are of throughputs, at least 0.9.
#![allow(clippy::print_stdout, reason = "printing tables is what this program is for")]

use std::time::{Duration, Instant};

use benches::certificates::Certificates;
use benches::links::{Link, Load, connect_all};
use benches::turns::{Measured, cpu_time, order, quantile};

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Turns of each link that count; one more before them does not.
    turns: usize,
    /// Of the messages of a [`Load`], one in so many is sent.
    divisor: u64,
}

const MEASURED: Effort = Effort {
    turns: 15,
    divisor: 1,
};
/// Everything runs, quickly: `cargo test` sees to it that nothing rots.
const TRIED: Effort = Effort {
    turns: 1,
    divisor: 64,
};

/// What is measured, and what it is called in the ratios.
const SIZES: [(&str, &str, Load); 2] = [
    (
        "256",
        "small",
        Load {
            payload_bytes: 256,
            round_trips: 1_024,
            messages: 256 * 1024,
            batch: 64,
            window: 8 * 1024,
        },
    ),
    (
        "64k",
        "bulk",
        Load {
            payload_bytes: 64 * 1024,
            round_trips: 512,
            messages: 4 * 1024,
            batch: 4,
            window: 128,
        },
    ),
];

/// Ours, what it is compared with, and what is added to the names of the ratios.
const COMPARISONS: [(&str, &str, &str); 2] = [
    ("ours on QUIC", "raw quinn", ""),
    ("ours on TCP", "raw TCP + TLS", "_tcp"),
];

fn main() {
    let effort = match std::env::args().any(|word| word == "--bench") {
        true => MEASURED,
        false => TRIED,
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads for the runtime");
    // On a thread of the runtime, where the callers of a transport are, too.
    let measuring = runtime.spawn(measure(effort));
    runtime.block_on(measuring).expect("no link fails");
}

async fn measure(effort: Effort) {
    let certificates = Certificates::new(2);
    let mut links = connect_all(&certificates).await;
    // A filter, as criterion has it, for whoever profiles one of them.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(wanted) = words.iter().find(|word| !word.starts_with('-')) {
        links.retain(|link| link.name().contains(wanted.as_str()));
    }
    println!(
        "both ends in this process, over loopback; {} turns of each",
        effort.turns
    );
    for (size, throughput, load) in SIZES {
        let load = Load {
            round_trips: (load.round_trips / effort.divisor).max(1),
            messages: (load.messages / effort.divisor).max(load.batch),
            ..load
        };
        let times = in_turns(&mut links, effort, load, Kind::RoundTrips).await;
        print_times(&links, &times, load);
        for (suffix, ours, theirs) in pairs(&links, &times) {
            println!("ratio net_rtt_{size}{suffix} {:.3}", theirs.ratio_to(ours));
        }
        let rates = in_turns(&mut links, effort, load, Kind::OneWay).await;
        print_rates(&links, &rates, load);
        for (suffix, ours, theirs) in pairs(&links, &rates) {
            println!("ratio net_{throughput}{suffix} {:.3}", ours.ratio_to(theirs));
        }
    }
    for link in links {
        link.shutdown().await;
    }
}

/// What is done in a turn.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The rate of a turn is that of its median: one trip that was disturbed does not decide.
    RoundTrips,
    OneWay,
}

async fn in_turns(links: &mut [Box<dyn Link>], effort: Effort, load: Load, kind: Kind) -> Vec<Measured> {
    let mut measured: Vec<Measured> = links.iter().map(|_| Measured::default()).collect();
    for link in links.iter_mut() {
        turn(link.as_mut(), load, kind, &mut Measured::default()).await;
    }
    for number in 0..effort.turns {
        for side in order(links.len(), number) {
            turn(links[side].as_mut(), load, kind, &mut measured[side]).await;
        }
    }
    measured
}

async fn turn(link: &mut dyn Link, load: Load, kind: Kind, measured: &mut Measured) {
    let cpu = cpu_time();
    match kind {
        Kind::RoundTrips => {
            let mut latencies = Vec::new();
            link.round_trips(load, &mut latencies).await;
            let median = quantile(&latencies, 0.5);
            measured.latencies.append(&mut latencies);
            measured.note(1.0 / median.as_secs_f64(), load.round_trips, cpu);
        }
        Kind::OneWay => {
            let begin = Instant::now();
            link.one_way(load).await;
            let rate = load.messages as f64 / begin.elapsed().as_secs_f64();
            measured.note(rate, load.messages, cpu);
        }
    }
}

/// Each comparison whose links are there: what is added to the name, ours, theirs.
fn pairs<'a>(
    links: &[Box<dyn Link>],
    measured: &'a [Measured],
) -> Vec<(&'static str, &'a Measured, &'a Measured)> {
    let find = |name| Some(&measured[links.iter().position(|link| link.name() == name)?]);
    let pair = |&(ours, theirs, suffix): &(_, _, _)| Some((suffix, find(ours)?, find(theirs)?));
    COMPARISONS.iter().filter_map(pair).collect()
}

fn print_times(links: &[Box<dyn Link>], measured: &[Measured], load: Load) {
    println!("\n{} bytes there and back, one at a time", load.payload_bytes);
    println!(
        "{:<16} {:>10} {:>10} {:>14}",
        "", "p50 µs", "p99 µs", "CPU/trip µs"
    );
    for (link, measured) in links.iter().zip(measured) {
        println!(
            "{:<16} {:>10.1} {:>10.1} {:>14.1}",
            link.name(),
            micros(measured.quantile(0.5)),
            micros(measured.quantile(0.99)),
            micros(measured.cpu_per_entry()),
        );
    }
}

fn print_rates(links: &[Box<dyn Link>], measured: &[Measured], load: Load) {
    println!("\n{} bytes one way, as many as fit", load.payload_bytes);
    println!(
        "{:<16} {:>12} {:>10} {:>16}",
        "", "messages/s", "MB/s", "CPU/message µs"
    );
    for (link, measured) in links.iter().zip(measured) {
        let rate = measured.rate();
        println!(
            "{:<16} {rate:>12.0} {:>10.0} {:>16.3}",
            link.name(),
            rate * load.payload_bytes as f64 / 1e6,
            measured.cpu.as_secs_f64() * 1e6 / measured.entries.max(1) as f64,
        );
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
