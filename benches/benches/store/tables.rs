//! Tables for people, and ratios for machines.

use std::time::Duration;

use benches::logs::Log;
use benches::turns::Measured;

/// One table: a row for each log.
pub(crate) fn print(title: &str, logs: &[Box<dyn Log>], measured: &[Measured]) {
    println!("\n{title}");
    println!(
        "{:<20} {:>12} {:>10} {:>10} {:>14}",
        "", "entries/s", "p50 µs", "p99 µs", "CPU/entry µs"
    );
    for (log, measured) in logs.iter().zip(measured) {
        println!(
            "{:<20} {:>12.0} {:>10.0} {:>10.0} {:>14.2}",
            log.name(),
            measured.rate(),
            micros(measured.quantile(0.5)),
            micros(measured.quantile(0.99)),
            micros(measured.cpu_per_entry()),
        );
    }
}

/// A ratio of two rates of one run.
pub(crate) fn print_ratio(name: &str, ours: &Measured, theirs: &Measured) {
    println!("ratio {name} {:.3}", ours.ratio_to(theirs));
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
