//! The command line of `raft-sim`: runs many seeds, replays one, and keeps what was found.
//!
//! Results go to standard output, everything else to standard error. The exit code is 0 if nothing was found and enough
//! was done to find something, 1 if an invariant was violated or too little was done, and 2 if the command was given wrongly.
//! Only this module knows threads and the clock of the machine; what a run does depends on neither.

mod error;
mod output;
mod runs;
mod seeds;
mod summary;
mod threads;

use std::process::ExitCode;

use clap::Parser;

use self::error::CliError;

/// Breaks Raft on purpose: simulated groups, with faults from a seed and every invariant checked after every step
#[derive(Debug, Parser)]
#[command(name = "raft-sim", version, after_help = AFTER_HELP)]
struct CommandLine {
    #[command(flatten)]
    seeds: seeds::SeedsArguments,
}

const AFTER_HELP: &str = "\
Examples, with `cargo xtask sim` for `raft-sim`:
  raft-sim --seeds 2000               new seeds on every core; the first one is printed
  raft-sim --seeds 500 --first 0x100  these seeds, as before
  raft-sim --seed 0x5eed              one seed once more";

/// Runs the command that the arguments of this process ask for.
#[must_use]
pub fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

fn run(command_line: CommandLine) -> Result<ExitCode, CliError> {
    runs::note_panics();
    seeds::run(&command_line.seeds)
}
