//! `raft-sim ledger`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::output;
use super::runs::{self, Variant};
use super::summary;
use crate::ledger::{Entry, read_all};

/// Run everything that once found something
///
/// Every entry is run with the seed it was found with and with a few more.
#[derive(Debug, Args)]
pub(super) struct LedgerArguments {
    /// Where the entries are
    #[arg(long, value_name = "PATH", default_value = "raft-sim/ledger")]
    directory: PathBuf,
}

/// Runs the command.
pub(super) fn run(arguments: &LedgerArguments) -> Result<ExitCode, CliError> {
    let entries = read_all(&arguments.directory)?;
    if entries.is_empty() {
        let directory = arguments.directory.display();
        return Err(CliError::Nothing(format!("there is no entry in {directory}")));
    }
    let mut is_sound = true;
    for (path, entry) in &entries {
        output::print(&format!("{}: {}", path.display(), entry.title))?;
        is_sound &= holds(entry)?;
    }
    output::print(&format!("{} entries", entries.len()))?;
    Ok(if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn holds(entry: &Entry) -> Result<bool, CliError> {
    for plan in entry.plans() {
        if let Err(failure) = runs::run(&plan, Variant::default()).result {
            output::print(&summary::of_failure(&failure))?;
            return Ok(false);
        }
    }
    Ok(true)
}
