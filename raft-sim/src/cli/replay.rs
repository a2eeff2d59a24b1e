//! `raft-sim replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::runs::Variant;
use super::trace::TraceArguments;
use super::{one, output};
use crate::ledger::Entry;

/// Run the plan that a file holds
///
/// The file is one that `minimise` wrote, or an entry of the ledger.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-sim replay target/raft-sim/0x5eed.json")]
pub(super) struct ReplayArguments {
    /// A file of JSON
    file: PathBuf,

    #[command(flatten)]
    variant: Variant,

    #[command(flatten)]
    trace: TraceArguments,
}

/// Runs the command.
pub(super) fn run(arguments: &ReplayArguments) -> Result<ExitCode, CliError> {
    let entry = Entry::read(&arguments.file)?;
    output::print(&format!(
        "{} ({})\nfound then: {}",
        entry.title, entry.date, entry.found
    ))?;
    one::run(&entry.plan, arguments.variant, &arguments.trace)
}
