//! Tries seeds.
#![allow(clippy::print_stdout, reason = "a program")]
use raft_sim::simulation::Simulation;
use raft_sim::tally::Tally;
use raft_sim::workload::{KeyValue, KeyValueWorkload};
fn main() {
    let args: Vec<u64> = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("number"))
        .collect();
    let (first, count) = (args[0], args[1]);
    let nodes = args.get(2).copied();
    std::panic::set_hook(Box::new(|_| {}));
    let begun = std::time::Instant::now();
    let mut tally = Tally::default();
    let mut failures = 0;
    for seed in first..first + count {
        let mut s = Simulation::new(seed);
        if let Some(n) = nodes {
            s = s.nodes(n);
        }
        match s.run(KeyValue::new, KeyValueWorkload::new) {
            Ok(report) => {
                tally += &report.tally;
                if count == 1 {
                    println!("{:x}", report.trace_hash)
                }
            }
            Err(failure) => {
                failures += 1;
                let t = failure.to_string();
                println!("{}", t.chars().take(400).collect::<String>())
            }
        }
    }
    println!("{tally:#?}");
    let t = begun.elapsed().as_secs_f64();
    println!(
        "{failures} failures; {:.1} s, simulated/real {:.0}, faults/h {:.0}",
        t,
        tally.simulated.as_secs_f64() / t,
        tally.faults_per_hour()
    );
}
