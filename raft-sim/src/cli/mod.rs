//! The command line of `raft-sim`: runs many seeds, replays one, and keeps what was found.
//!
//! Results go to standard output, everything else to standard error. The exit code is 0 if nothing was found and enough
//! was done to find something, 1 if an invariant was violated or too little was done, and 2 if the command was given wrongly.
//! Only this module knows threads and the clock of the machine; what a run does depends on neither.

mod error;
mod hashes;
mod ledger;
mod minimise;
#[cfg(feature = "model")]
mod model;
#[cfg(feature = "mutants")]
mod mutants;
mod one;
mod output;
mod replay;
mod runs;
mod seeds;
mod summary;
mod threads;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::error::CliError;

/// Breaks Raft on purpose: simulated groups, with faults from a seed and every invariant checked after every step
#[derive(Debug, Parser)]
#[command(name = "raft-sim", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    seeds: seeds::SeedsArguments,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the plan that a file holds
    Replay(replay::ReplayArguments),
    /// Make a run that found something smaller, and write it to a file
    Minimise(minimise::MinimiseArguments),
    /// Print what happened in runs, each as one number
    Hashes(hashes::HashesArguments),
    /// Run everything that once found something
    Ledger(ledger::LedgerArguments),
    /// Whether the simulator finds bugs: each mutant of the core must violate an invariant
    #[cfg(feature = "mutants")]
    Mutants(mutants::MutantsArguments),
    /// Take small groups through every order of events there is
    #[cfg(feature = "model")]
    Model(model::ModelArguments),
}

const AFTER_HELP: &str = "\
Examples, with `cargo xtask sim` for `raft-sim`:
  raft-sim --seeds 2000               new seeds on every core; the first one is printed
  raft-sim --seeds 500 --first 0x100  these seeds, as before
  raft-sim --seed 0x5eed              one seed once more
  raft-sim --seed 0x5eed --trace      the same, written to a page on which one can see what happened
  raft-sim minimise --seed 0x5eed     what is left of it without whatever it does not need
  raft-sim ledger                     what was found before must not come back
  raft-sim mutants                    bugs of the core that must be found (built with the feature `mutants`)
  raft-sim model                      every order of events in small groups (built with the feature `model`)";

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
    match command_line.command {
        None => seeds::run(&command_line.seeds),
        Some(Command::Replay(arguments)) => replay::run(&arguments),
        Some(Command::Minimise(arguments)) => minimise::run(&arguments),
        Some(Command::Hashes(arguments)) => hashes::run(&arguments),
        Some(Command::Ledger(arguments)) => ledger::run(&arguments),
        #[cfg(feature = "mutants")]
        Some(Command::Mutants(arguments)) => mutants::run(&arguments),
        #[cfg(feature = "model")]
        Some(Command::Model(arguments)) => model::run(&arguments),
    }
}
