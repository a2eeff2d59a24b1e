//! `raft-sim model`.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::error::CliError;
use super::output::{self, Progress, grouped};
use super::summary;
use crate::model::{self, Ended, Outcome, Scope, leases, replication, suspects};

/// Take small groups through every order of events there is
///
/// Each scope says how much there is of everything: replicas, terms, commands, crashes, changes. Within it every order of
/// messages, writes and crashes is tried, and every invariant is checked in every state.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-sim model
  raft-sim model --list
  raft-sim model replication/crash replication/change
  raft-sim model --states 100000000")]
pub(super) struct ModelArguments {
    /// Which scopes: names, or how they begin; by default all
    #[arg(value_name = "SCOPE")]
    scopes: Vec<String>,

    /// Only say which scopes there are
    #[arg(long)]
    list: bool,

    /// Look at no more than so many states of each scope
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    states: u64,

    /// Switch this bug of the core on
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    mutant: Option<raft_core::mutants::Mutant>,
}

/// Runs the command.
pub(super) fn run(arguments: &ModelArguments) -> Result<ExitCode, CliError> {
    let scopes = chosen(arguments)?;
    if arguments.list {
        let names: Vec<&str> = scopes.iter().map(|scope| scope.name).collect();
        output::print(&names.join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut outcomes = Vec::new();
    let begun = Instant::now();
    for scope in scopes {
        let outcome = explore(scope, arguments);
        output::print(&outcome.to_string())?;
        outcomes.push(outcome);
    }
    output::print(&table(&outcomes))?;
    let states: usize = outcomes.iter().map(|outcome| outcome.states).sum();
    let seconds = begun.elapsed().as_secs_f64();
    output::print(&format!("{} states in {seconds:.1} s", grouped(states as u64)))?;
    Ok(if outcomes.iter().all(is_sound) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(arguments: &ModelArguments) -> Result<Vec<Scope>, CliError> {
    let mut scopes = all();
    let names = &arguments.scopes;
    if !names.is_empty() {
        scopes.retain(|scope| names.iter().any(|name| scope.name.starts_with(name)));
    }
    if scopes.is_empty() {
        let names = names.join(" or ");
        return Err(CliError::Nothing(format!(
            "no scope begins with {names}; --list names them"
        )));
    }
    Ok(scopes)
}

/// The scopes of every model.
fn all() -> Vec<Scope> {
    let models = [replication::scopes(), suspects::scopes(), leases::scopes()];
    models.concat()
}

fn explore(scope: Scope, arguments: &ModelArguments) -> Outcome {
    let mut progress = Progress::new();
    let name = scope.name;
    let scope = Scope {
        states_max: usize::try_from(arguments.states).unwrap_or(usize::MAX),
        #[cfg(feature = "mutants")]
        mutant: arguments.mutant,
        ..scope
    };
    let outcome = model::check(scope, &mut |so_far| {
        progress.tick(|| {
            format!(
                "{name}: {} states looked at, {} generated",
                grouped(so_far.expanded as u64),
                grouped(so_far.generated as u64)
            )
        });
    });
    progress.clear();
    outcome
}

/// Whether every invariant holds, and everything that should happen does, if everything was looked at.
fn is_sound(outcome: &Outcome) -> bool {
    let is_complete = outcome.ended == Ended::Exhausted;
    let mut failures = outcome.failures();
    !failures.any(|verdict| verdict.is_invariant || is_complete)
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = summary::table(["scope", "states", "generated", "steps deep", "it ended"]);
    for outcome in outcomes {
        table.add_row([
            outcome.scope.to_owned(),
            grouped(outcome.states as u64),
            grouped(outcome.generated as u64),
            grouped(outcome.depth as u64),
            outcome.ended.to_string(),
        ]);
    }
    summary::right(&mut table, 1..4);
    table.to_string()
}
