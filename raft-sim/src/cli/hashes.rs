//! `raft-sim hashes`.

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::output;
use super::runs::{self, Variant};
use super::seeds::{SizeArguments, parse_seed};
use crate::simulation::{Failure, Report};

/// Print what happened in runs, each as one number
///
/// The same seed gives the same number in every build of one state of the sources, on every machine and every time (I28).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-sim hashes --seeds 10 --first 0x100 > optimised.txt
  cargo run -p raft-sim --features cli -- hashes --seeds 10 --first 0x100 | diff - optimised.txt")]
pub(super) struct HashesArguments {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// The first of them, decimal or 0x…
    #[arg(long, value_name = "SEED", default_value = "1", value_parser = parse_seed)]
    first: u64,

    #[command(flatten)]
    size: SizeArguments,
}

/// Runs the command. What a run found is part of what happened, and no failure of this command.
pub(super) fn run(arguments: &HashesArguments) -> Result<ExitCode, CliError> {
    for number in 0..arguments.seeds {
        let seed = arguments.first.wrapping_add(number);
        let ended = runs::run(&arguments.size.plan(seed), Variant::default());
        output::print(&format!("{seed:#x} {}", line(&ended.result)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(result: &Result<Report, Failure>) -> String {
    match result {
        Ok(report) => format!("{:#018x}", report.trace_hash),
        Err(failure) => format!(
            "{} at {}",
            failure.violation.invariant, failure.violation.at_nanos
        ),
    }
}
