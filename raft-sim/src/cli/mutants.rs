//! `raft-sim mutants`: whether the simulator finds the bugs that it should.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use raft_core::mutants::Mutant;

use super::error::CliError;
use super::output::{self, Progress, grouped};
use super::runs::{self, Variant};
use super::seeds::{SizeArguments, new_seed, parse_seed};
use super::summary;
use super::threads;
use crate::random::Random;
use crate::simulation::Failure;

/// Whether the simulator finds bugs: each mutant of the core must violate an invariant
///
/// Runs new seeds of each mutant until one violates an invariant, which the same seed without the mutant does not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-sim mutants
  raft-sim mutants quorum-minus-one vote-twice --first 1
  raft-sim mutants --sample 5
  raft-sim mutants leader-sleeps-alone --groups 8
  raft-sim mutants --write docs/mutants.md
  raft-sim --seed 0x5eed --mutant vote-twice")]
pub(super) struct MutantsArguments {
    /// Which ones; by default all
    #[arg(value_name = "NAME")]
    names: Vec<Mutant>,

    /// Only so many of them, which the first seed chooses
    #[arg(long, value_name = "N", conflicts_with = "names")]
    sample: Option<usize>,

    /// With how many seeds each must be killed
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// The first of them, decimal or 0x…; by default one that nobody tried yet
    #[arg(long, value_name = "SEED", value_parser = parse_seed)]
    first: Option<u64>,

    #[command(flatten)]
    size: SizeArguments,

    /// How many threads run seeds; by default one for each core
    #[arg(long, value_name = "N", default_value_t = threads::cores())]
    jobs: NonZero<u64>,

    /// Write the table to this file, as a document
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What became of one mutant.
struct Trial {
    mutant: Mutant,
    kill: Option<Kill>,
    /// How many seeds were run, up to the one that killed it.
    seeds: u64,
    took: Duration,
}

/// How a mutant was killed.
struct Kill {
    failure: Failure,
    /// Whether the run violates something without the mutant, too.
    is_real: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &MutantsArguments) -> Result<ExitCode, CliError> {
    let first = arguments.first.unwrap_or_else(new_seed);
    let mutants = chosen(arguments, first);
    output::print(&format!(
        "{} mutants, up to {} seeds each from {first:#x}",
        mutants.len(),
        grouped(arguments.seeds)
    ))?;
    let mut progress = Progress::new();
    let mut trials = Vec::new();
    for mutant in mutants {
        let trial = try_one(mutant, first, arguments, &mut progress);
        progress.clear();
        output::print(&trial.line(arguments.size))?;
        trials.push(trial);
    }
    output::print(&table(&trials))?;
    if let Some(file) = &arguments.write {
        let text = document(&trials, first, arguments);
        fs::write(file, text).map_err(|cause| CliError::Write {
            path: file.display().to_string(),
            cause,
        })?;
    }
    close(&trials)
}

fn chosen(arguments: &MutantsArguments, first: u64) -> Vec<Mutant> {
    if !arguments.names.is_empty() {
        return arguments.names.clone();
    }
    let mut all = Mutant::ALL.to_vec();
    if let Some(sample) = arguments.sample {
        Random::fork(first, "sample of mutants").shuffle(&mut all);
        all.truncate(sample);
    }
    all
}

fn try_one(mutant: Mutant, first: u64, arguments: &MutantsArguments, progress: &mut Progress) -> Trial {
    let begun = Instant::now();
    let mut done = 0;
    let mut failures: BTreeMap<u64, Failure> = BTreeMap::new();
    let work = |number: u64| {
        let plan = arguments.size.plan(first.wrapping_add(number));
        runs::run(&plan, Variant::of(mutant)).result
    };
    threads::for_each(arguments.seeds, arguments.jobs, work, |ended| {
        if let Some((number, result)) = ended {
            done += 1;
            failures.extend(result.err().map(|failure| (number, failure)));
        }
        progress.tick(|| {
            let seconds = begun.elapsed().as_secs();
            format!("{}: {} seeds, {seconds} s", mutant.name(), grouped(done))
        });
        match failures.is_empty() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    // Later ones were under way when it was found.
    let killed = failures.pop_first();
    let seeds = killed.as_ref().map_or(arguments.seeds, |(number, _)| number + 1);
    let kill = killed.map(|(_, failure)| Kill {
        is_real: runs::run(&failure.plan, Variant::default()).result.is_ok(),
        failure,
    });
    Trial {
        mutant,
        kill,
        seeds,
        took: begun.elapsed(),
    }
}

impl Trial {
    fn is_killed(&self) -> bool {
        self.kill.as_ref().is_some_and(|kill| kill.is_real)
    }

    /// What caught it.
    fn invariant(&self) -> String {
        match &self.kill {
            None => "SURVIVES".to_owned(),
            Some(kill) if !kill.is_real => {
                format!("{}, without it as well", kill.failure.violation.invariant)
            }
            Some(kill) => kill.failure.violation.invariant.clone(),
        }
    }

    fn line(&self, size: SizeArguments) -> String {
        let again = self.kill.as_ref().map_or(String::new(), |kill| {
            let again = size.replay_command(kill.failure.plan.seed, Variant::of(self.mutant));
            format!("\n  {}\n  again: {again}", kill.failure.violation)
        });
        let (name, seeds) = (self.mutant.name(), grouped(self.seeds));
        format!("{name}: {} after {seeds} seeds{again}", self.invariant())
    }
}

fn table(trials: &[Trial]) -> String {
    let mut table = summary::table(["mutant", "seeds until killed", "caught by", "seconds"]);
    for trial in trials {
        table.add_row([
            trial.mutant.name().to_owned(),
            grouped(trial.seeds),
            trial.invariant(),
            format!("{:.1}", trial.took.as_secs_f64()),
        ]);
    }
    summary::right(&mut table, 1..2);
    summary::right(&mut table, 3..4);
    table.to_string()
}

/// The table as a document of its own.
fn document(trials: &[Trial], first: u64, arguments: &MutantsArguments) -> String {
    let (seeds, size) = (arguments.seeds, arguments.size);
    let mut text = format!(
        "# Mutants\n\n\
         Each mutant is a bug in `raft-core` that one feature compiles in and one switch turns on; `raft-core/src/mutants.rs`\n\
         says what each is. The simulator must find every one within 2,000 seeds of 60 simulated seconds. Written by\n\
         `cargo xtask sim mutants --write docs/mutants.md --first {first:#x} --seeds {seeds}{size}`; other seeds give other numbers, and\n\
         may catch a mutant by another invariant.\n\n\
         | mutant | seeds until killed | caught by | what was seen |\n|---|---:|---|---|\n"
    );
    for trial in trials {
        let seen = trial
            .kill
            .as_ref()
            .map_or("", |kill| &kill.failure.violation.seen);
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            trial.mutant.name(),
            grouped(trial.seeds),
            trial.invariant(),
            cell(seen)
        ));
    }
    text
}

/// A text that fits into a cell of a table: its first line, without what would end the cell, and not all of a long one.
fn cell(text: &str) -> String {
    const LETTERS_MAX: usize = 160;
    let line = text.lines().next().unwrap_or_default().replace('|', "/");
    if line.chars().count() <= LETTERS_MAX {
        return line;
    }
    let short: String = line.chars().take(LETTERS_MAX).collect();
    format!("{short}…")
}

fn close(trials: &[Trial]) -> Result<ExitCode, CliError> {
    let alive = trials.iter().filter(|trial| !trial.is_killed());
    let names: Vec<&str> = alive.map(|trial| trial.mutant.name()).collect();
    if names.is_empty() {
        output::print(&format!("all {} are killed", trials.len()))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&format!("{} not killed: {}", names.len(), names.join(", ")))?;
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_short_line() {
        assert_eq!(cell("a | b\nc"), "a / b");
        assert_eq!(cell(&"x".repeat(200)).chars().count(), 161);
        assert_eq!(cell(""), "");
    }
}
