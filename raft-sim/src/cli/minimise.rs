//! `raft-sim minimise`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use time::OffsetDateTime;

use super::error::CliError;
use super::output::{self, Progress};
use super::runs::{self, Variant};
use super::seeds::{SizeArguments, parse_seed};
use super::summary;
use crate::ledger::Entry;
use crate::minimise::{Minimised, minimise};
use crate::plan::Plan;
use crate::violation::Violation;

/// Where files go if nothing else is said.
const DIRECTORY: &str = "target/raft-sim";

/// Make a run that found something smaller, and write it to a file
///
/// Leaves out faults, time, clients and disorder as long as the same invariant is violated. The file is what `replay` runs;
/// with a title of your own it is an entry for raft-sim/ledger.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").args(["seed", "file"]).required(true),
    after_help = "\
Examples:
  raft-sim minimise --seed 0x5eed
  raft-sim minimise target/raft-sim/0x5eed.json --runs 2000
  raft-sim minimise --seed 0x5eed --out raft-sim/ledger/vote-lost.json --title 'a vote is forgotten over a restart'"
)]
pub(super) struct MinimiseArguments {
    /// A file that `minimise` wrote before
    file: Option<PathBuf>,

    /// The seed of the run
    #[arg(long, value_name = "SEED", value_parser = parse_seed)]
    seed: Option<u64>,

    #[command(flatten)]
    size: SizeArguments,

    #[command(flatten)]
    variant: Variant,

    /// Give up after this many runs
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    runs: u64,

    /// The file to write; by default target/raft-sim/SEED.json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// What was wrong, in one sentence
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &MinimiseArguments) -> Result<ExitCode, CliError> {
    let plan = first_plan(arguments)?;
    let Err(failure) = runs::run(&plan, arguments.variant).result else {
        return Err(CliError::Nothing(
            "this run violates nothing: there is nothing to look for in a smaller one".to_owned(),
        ));
    };
    output::print(&format!(
        "{}\n{}",
        summary::of_plan(&plan),
        summary::of_failure(&failure)
    ))?;
    let small = search(&plan, &failure.violation, arguments);
    let file = arguments
        .out
        .clone()
        .unwrap_or_else(|| Path::new(DIRECTORY).join(format!("{:#x}.json", plan.seed)));
    let title = arguments.title.clone();
    let entry = Entry {
        title: title.unwrap_or_else(|| format!("{} does not hold", small.violation.invariant)),
        date: OffsetDateTime::now_utc().date().to_string(),
        found: small.violation.to_string(),
        plan: small.plan.clone(),
    };
    write(&entry, &file)?;
    output::print(&format!(
        "after {} runs:\n{}\n{}\n{}\n  again: cargo xtask sim replay {}{}",
        small.runs,
        summary::of_plan(&small.plan),
        summary::of_faults(&small.plan),
        small.violation,
        file.display(),
        arguments.variant.arguments(),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn first_plan(arguments: &MinimiseArguments) -> Result<Plan, CliError> {
    if let Some(file) = &arguments.file {
        return Ok(Entry::read(file)?.plan);
    }
    // The parser takes neither without the other.
    Ok(arguments.size.plan(arguments.seed.unwrap_or_default()))
}

fn search(plan: &Plan, violation: &Violation, arguments: &MinimiseArguments) -> Minimised {
    let mut progress = Progress::new();
    let mut count = 0;
    let mut run = |candidate: &Plan| {
        count += 1;
        progress.tick(|| {
            let faults = candidate.faults.len();
            format!("{count} runs of {}; tries {faults} faults", arguments.runs)
        });
        let ended = runs::run(candidate, arguments.variant).result;
        ended.map(|_| ()).map_err(|failure| failure.violation)
    };
    let small = minimise(plan, violation, arguments.runs, &mut run, &mut |_| {});
    progress.clear();
    small
}

fn write(entry: &Entry, file: &Path) -> Result<(), CliError> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(|cause| CliError::Write {
            path: directory.display().to_string(),
            cause,
        })?;
    }
    Ok(entry.write(file)?)
}
