//! Two measurements in turns, and the ratio of their medians, for people and for machines.

// Printing the tables is what this module is for.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

/// One side of a comparison: does its work once and says how much that was.
pub type Side<'a> = &'a mut dyn FnMut() -> u64;

/// What was measured: work per second of each side, and the ratio of the first to the second.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The median rate of our side, in units of work per second.
    pub ours: f64,
    /// The median rate of the other side, in units of work per second.
    pub theirs: f64,
    /// The median of the ratios of neighbouring turns.
    pub ratio: f64,
}

/// Measures both sides in turns (A B, B A, …) for about `budget`, at least five turns each, after one turn that does
/// not count.
pub fn interleave(budget: Duration, ours: Side<'_>, theirs: Side<'_>) -> Comparison {
    const TURNS_MIN: usize = 5;
    rate(ours);
    rate(theirs);
    let begin = Instant::now();
    let mut turns: Vec<(f64, f64)> = Vec::new();
    while turns.len() < TURNS_MIN || begin.elapsed() < budget {
        let turn = if turns.len().is_multiple_of(2) {
            let first = rate(ours);
            (first, rate(theirs))
        } else {
            let first = rate(theirs);
            (rate(ours), first)
        };
        turns.push(turn);
    }
    Comparison {
        ours: median(turns.iter().map(|turn| turn.0)),
        theirs: median(turns.iter().map(|turn| turn.1)),
        ratio: median(turns.iter().map(|turn| turn.0 / turn.1)),
    }
}

/// The head of a table of comparisons.
pub fn print_head(unit: &str, ours: &str, theirs: &str) {
    println!(
        "\n{:<14} {:>18} {:>18} {:>8}   ({unit} per second)",
        "", ours, theirs, "ratio"
    );
}

/// One row of the table, and the line `ratio <name> <value>` for machines.
pub fn print_row(name: &str, comparison: &Comparison) {
    let Comparison { ours, theirs, ratio } = comparison;
    println!("{name:<14} {ours:>18.0} {theirs:>18.0} {ratio:>8.2}");
    println!("ratio {name} {ratio:.3}");
}

fn rate(side: Side<'_>) -> f64 {
    let begin = Instant::now();
    let work = side();
    work as f64 / begin.elapsed().as_secs_f64()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
