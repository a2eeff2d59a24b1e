//! The log store beside RocksDB itself, raft-engine itself, and the disk: everything synced, everything in one run.
//!
//! `cargo xtask bench store` runs all sections; `cargo bench -p benches --bench store -- callers opening` only those.
//! The variable `BENCH_DIR` names the directory to measure in. Lines `ratio <name> <value>` are for machines.
#![allow(clippy::print_stdout, reason = "printing tables is what this program is for")]

mod allocations;
mod callers;
mod groups;
mod opening;
mod tables;

use std::alloc::System;
use std::path::Path;

use benches::logs::PAYLOAD_BYTES;
use benches::place::Place;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

// A handful of relaxed additions for each allocation, on all sides: nothing beside a sync.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Turns of each log that count.
    pub(crate) turns: usize,
    /// One caller does so many batches in a turn.
    pub(crate) batches: u64,
    /// The length of the log that is opened.
    pub(crate) entries: u64,
}

impl Effort {
    const MEASURED: Effort = Effort {
        turns: 12,
        batches: 512,
        entries: 1_000_000,
    };
    /// Every section runs, quickly: `cargo test` sees to it that none rots.
    const TRIED: Effort = Effort {
        turns: 1,
        batches: 2,
        entries: 600,
    };
}

/// A section's name, and what it does.
type Section = (&'static str, fn(&Place, Effort));

const SECTIONS: [Section; 5] = [
    ("batches", callers::one),
    ("callers", callers::many),
    ("groups", groups::run),
    ("opening", opening::run),
    ("allocations", allocations::run),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let effort = match words.iter().any(|word| word == "--bench") {
        true => Effort::MEASURED,
        false => Effort::TRIED,
    };
    let chosen = |name: &str| words.iter().any(|word| word == name);
    let all = !SECTIONS.iter().any(|(name, _)| chosen(name));
    let place = Place::find(Path::new(env!("CARGO_TARGET_TMPDIR")));
    println!("payload {PAYLOAD_BYTES} B, not compressible; every batch synced before its caller goes on");
    println!("no network; directory {place}");
    for (name, run) in SECTIONS {
        if all || chosen(name) {
            run(&place, effort);
        }
    }
}
