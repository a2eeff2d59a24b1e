//! `raft-node cert rotate-ca`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::certificates::rotation;
use crate::cli::error::CliError;
use crate::cli::output;

/// Replace a cluster's authority while the cluster runs
///
/// Three steps, with work for you after each. No step interrupts the cluster, and each is refused before its time:
///
/// 1. `add` makes a new authority and puts it into ca.pem beside the former. Copy ca.pem to every node and client; the nodes
///    read it within seconds, and write a line about it.
///
/// 2. `switch` lets the new authority sign; the key of the former is destroyed. Run `raft-node cert renew` on every
///    certificate, and copy certificates and keys to where they are used.
///
/// 3. `drop` takes the former authority out of ca.pem. Copy ca.pem to every node and client: from there on whatever the former
///    authority signed is refused, and connections that were made by it are closed.
///
/// A new authority is needed before the former expires, and at once if somebody may have got its key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node cert rotate-ca add pki
  raft-node cert rotate-ca switch pki && raft-node cert renew pki
  raft-node cert rotate-ca drop pki
  raft-node cert show pki                        which authorities there are")]
pub(super) struct RotateArguments {
    /// Which step to take
    #[arg(value_enum)]
    step: RotationStep,

    /// Where ca.pem and ca.key are
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RotationStep {
    /// Make a new authority and trust both
    Add,
    /// Sign with the new one
    Switch,
    /// Trust the new one alone
    Drop,
}

/// Runs the command.
pub(super) fn run(arguments: RotateArguments) -> Result<ExitCode, CliError> {
    let directory = &arguments.directory;
    let (authority, done, next) = match arguments.step {
        RotationStep::Add => (
            rotation::add(directory)?,
            "has the former and a new authority, and the former signs",
            "copy it to every node and client, then: raft-node cert rotate-ca switch",
        ),
        RotationStep::Switch => (
            rotation::switch(directory)?,
            "has both authorities, and the new one signs",
            "renew every certificate and copy them to where they are used, then: raft-node cert rotate-ca drop",
        ),
        RotationStep::Drop => (
            rotation::drop_former(directory)?,
            "has the new authority alone",
            "copy it to every node and client",
        ),
    };
    output::print(&format!("{} {done}", authority.certificate().display()))?;
    output::print(&format!("next: {next}"))?;
    Ok(ExitCode::SUCCESS)
}
