//! `raft-sim --seeds N` and `raft-sim --seed S`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

use super::error::CliError;
use super::one;
use super::output::{self, Progress, grouped};
use super::runs::{self, Ended, Variant};
use super::summary::{self, Campaign};
use super::threads;
use super::trace::TraceArguments;
use crate::floors;
use crate::plan::Plan;
use crate::random::Random;
use crate::simulation::{Failure, Simulation};

/// So many violations are printed in full; the others are counted.
const FULL_TEXTS_MAX: usize = 20;

#[derive(Clone, Debug, Args)]
pub(super) struct SeedsArguments {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// The first of them, decimal or 0x…; by default one that nobody tried yet
    #[arg(long, value_name = "SEED", value_parser = parse_seed)]
    first: Option<u64>,

    /// Run this seed only, and tell more about it
    #[arg(long, value_name = "SEED", value_parser = parse_seed, conflicts_with_all = ["seeds", "first", "jobs"])]
    seed: Option<u64>,

    #[command(flatten)]
    size: SizeArguments,

    #[command(flatten)]
    variant: Variant,

    #[command(flatten)]
    trace: TraceArguments,

    /// How many threads run seeds; by default one for each core
    #[arg(long, value_name = "N", default_value_t = threads::cores())]
    jobs: NonZero<u64>,
}

/// How large a run is.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SizeArguments {
    /// How many voters every group begins with; by default every seed decides
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Option<u64>,

    /// How many groups share the machines at the beginning; with several, more come, some move, and some are destroyed. By
    /// default every seed decides, most for one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=8))]
    groups: Option<u64>,

    /// How long faults happen, in seconds of simulated time
    #[arg(long, value_name = "S", default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

/// The arguments that are not usual, each after a space.
impl fmt::Display for SizeArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(nodes) = self.nodes {
            write!(f, " --nodes {nodes}")?;
        }
        if let Some(groups) = self.groups {
            write!(f, " --groups {groups}")?;
        }
        if self.seconds != SECONDS {
            write!(f, " --seconds {}", self.seconds)?;
        }
        Ok(())
    }
}

const SECONDS: u64 = crate::simulation::DEFAULT_DURATION.as_secs();

impl SizeArguments {
    /// The run of a seed, as drawn.
    pub(super) fn plan(self, seed: u64) -> Plan {
        let mut simulation = Simulation::new(seed).seconds(self.seconds);
        if let Some(nodes) = self.nodes {
            simulation = simulation.nodes(nodes);
        }
        if let Some(groups) = self.groups {
            simulation = simulation.groups(groups);
        }
        simulation.plan()
    }

    /// What a person types to see the run of a seed again.
    pub(super) fn replay_command(self, seed: u64, variant: Variant) -> String {
        format!("cargo xtask sim --seed {seed:#x}{self}{}", variant.arguments())
    }

    /// Whether runs are what the floors of a campaign are meant for: more groups do more of everything.
    fn is_usual(self) -> bool {
        self.nodes.is_none() && self.groups != Some(1) && self.seconds >= SECONDS
    }
}

/// A seed, decimal or hexadecimal.
pub(super) fn parse_seed(text: &str) -> Result<u64, String> {
    let digits = text.replace('_', "");
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    parsed.map_err(|_| "not a number of 64 bits, such as 24301 or 0x5eed".to_owned())
}

/// A seed that was not tried before, in all likelihood.
pub(super) fn new_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos() as u64;
    // Ten digits are enough for everybody, and can be read out.
    Random::fork(nanos, "first seed").next_u64() >> 24
}

/// Runs the command.
pub(super) fn run(arguments: &SeedsArguments) -> Result<ExitCode, CliError> {
    match arguments.seed {
        Some(seed) => one::run(&arguments.size.plan(seed), arguments.variant, &arguments.trace),
        None if arguments.trace.is_wanted() => Err(CliError::Nothing(
            "--trace records one run: say which one with --seed".to_owned(),
        )),
        None => run_many(arguments),
    }
}

fn run_many(arguments: &SeedsArguments) -> Result<ExitCode, CliError> {
    let first = arguments.first.unwrap_or_else(new_seed);
    let (size, variant) = (arguments.size, arguments.variant);
    let replay_command = |seed| size.replay_command(seed, variant);
    output::print(&format!(
        "{} seeds from {first:#x}, {} s each, on {} threads; again: --seeds {} --first {first:#x}{size}{}",
        grouped(arguments.seeds),
        size.seconds,
        arguments.jobs,
        arguments.seeds,
        variant.arguments(),
    ))?;
    let begun = Instant::now();
    let mut found = Found::default();
    let mut progress = Progress::new();
    let mut printed = Ok(());
    threads::for_each(
        arguments.seeds,
        arguments.jobs,
        |number| runs::run(&size.plan(first.wrapping_add(number)), variant),
        |ended| {
            if let Some((number, ended)) = ended {
                let text = found.take(number, ended, replay_command);
                if let Some(text) = text {
                    progress.clear();
                    printed = output::print(&text);
                }
            }
            progress.tick(|| found.progress(arguments.seeds, begun));
            match printed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        },
    );
    progress.clear();
    printed?;
    found.campaign.elapsed = begun.elapsed();
    found.close(size, replay_command)
}

/// What a campaign found so far.
#[derive(Default)]
struct Found {
    campaign: Campaign,
    failures: BTreeMap<u64, Failure>,
}

impl Found {
    /// Takes the result of one run; returns what is to be said about it at once.
    fn take(&mut self, number: u64, ended: Ended, replay_command: impl Fn(u64) -> String) -> Option<String> {
        self.campaign.busy += ended.took;
        match ended.result {
            Ok(report) => {
                self.campaign.tally += &report.tally;
                None
            }
            Err(failure) => {
                let is_printed = self.failures.len() < FULL_TEXTS_MAX;
                let text = is_printed.then(|| {
                    let again = replay_command(failure.plan.seed);
                    format!("{}\n  again: {again}", summary::of_failure_shortly(&failure))
                });
                self.failures.insert(number, failure);
                text
            }
        }
    }

    fn progress(&self, seeds: u64, begun: Instant) -> String {
        let done = self.campaign.tally.runs + self.failures.len() as u64;
        let elapsed = begun.elapsed();
        let left =
            Duration::from_secs_f64(elapsed.as_secs_f64() * (seeds - done) as f64 / done.max(1) as f64);
        format!(
            "{} of {} seeds, {} simulated hours, {} faults, {} violations, {} s, about {} s left",
            grouped(done),
            grouped(seeds),
            self.campaign.tally.simulated.as_secs() / 3_600,
            grouped(self.campaign.tally.faults_total()),
            self.failures.len(),
            elapsed.as_secs(),
            left.as_secs(),
        )
    }

    /// Prints what all runs did together, and what is wrong with that.
    fn close(
        &mut self,
        size: SizeArguments,
        replay_command: impl Fn(u64) -> String,
    ) -> Result<ExitCode, CliError> {
        self.campaign.violations = self.failures.len() as u64;
        output::print(&self.campaign.table())?;
        let is_enough = self.campaign.tally.runs >= floors::CAMPAIGN_RUNS_MIN && size.is_usual();
        let missed = if is_enough {
            floors::of_campaign(&self.campaign.tally)
        } else {
            Vec::new()
        };
        for missed in &missed {
            output::print(&format!("too little happened, or too much: {missed}"))?;
        }
        if !self.failures.is_empty() {
            output::print(&summary::by_invariant(self.failures.values(), replay_command))?;
        }
        if missed.is_empty() && self.failures.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::FAILURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_in_both_bases() {
        assert_eq!(parse_seed("0x5eed"), Ok(0x5eed));
        assert_eq!(parse_seed("24_301"), Ok(24_301));
        assert_eq!(parse_seed("0xffff_ffff_ffff_ffff"), Ok(u64::MAX));
        for wrong in ["", "0x", "5eed", "-1", "18446744073709551616"] {
            assert!(parse_seed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replay_command_names_what_is_unusual() {
        let usual = SizeArguments {
            nodes: None,
            groups: None,
            seconds: SECONDS,
        };
        assert_eq!(
            usual.replay_command(0x5eed, Variant::default()),
            "cargo xtask sim --seed 0x5eed"
        );
        let short = SizeArguments {
            nodes: Some(5),
            groups: Some(8),
            seconds: 10,
        };
        assert_eq!(
            short.replay_command(1, Variant::default()),
            "cargo xtask sim --seed 0x1 --nodes 5 --groups 8 --seconds 10"
        );
    }
}
