//! `raft-node log`: what its subcommands take. `describe` says what is printed as JSON, `text` puts it into words, `export`
//! writes entries.

mod describe;
mod error;
mod export;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use raft_core::types::GroupId;
use raft_storage_rocksdb::inspect::{Finding, Inspection, LogInspector, Place, Severity};
use tempfile::TempDir;

use self::describe::Described;
pub(super) use self::error::LogError;
use super::error::{CliError, DAMAGED};
use super::output;
use super::progress::ScanReporter;
use crate::config::log_store::LogStoreKind;
use crate::data_directory::error::DataDirectoryError;
use crate::data_directory::stopped::StoppedDirectory;

/// Look into the log of a stopped node: inspect, verify, export
///
/// Reads the node's data directory and changes nothing in it. The node must not run, and cannot start meanwhile. Temporary
/// files, about as large as DIR/log/journal, go where TMPDIR says.
///
/// The exit code is 0 if everything is whole, 1 if the directory cannot be read, 2 if the command was given wrongly, and 4 if
/// something is damaged.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node log inspect --data /var/lib/raft-node/n1                what is in the log, and where it begins and ends
  raft-node log verify --data /var/lib/raft-node/n1                 whether everything is whole
  raft-node log export --data /var/lib/raft-node/n1 --from 1000     entries as JSON lines")]
pub(super) struct LogArguments {
    #[command(subcommand)]
    command: LogCommand,
}

// What a command is for stands on its arguments.
#[derive(Debug, Subcommand)]
enum LogCommand {
    Inspect(InspectArguments),
    Verify(VerifyArguments),
    Export(export::ExportArguments),
}

/// Which node.
#[derive(Debug, Args)]
struct DataArguments {
    /// The data directory of the node, as it is started with
    #[arg(long = "data", alias = "data-dir", value_name = "DIR")]
    path: PathBuf,
}

/// Show what the log holds
///
/// Of each group: first and last entry, terms, term and vote, the snapshot in force, the members, and what the watermark
/// promises; then the snapshot files, the sizes on disk, and every finding.
///
/// --json prints one object: directory, node, cluster, removed; groups, snapshots, disk (files and bytes of journal, tables,
/// database, watermarks and snapshots), journal_records, entries_read, bytes_read; findings, each with severity (damage or
/// notice), place, problem and remedy; and damaged. docs/operations/looking-into-a-log.md names every field.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node log inspect --data /var/lib/raft-node/n1
  raft-node log inspect --data /var/lib/raft-node/n1 --group 1 --json")]
struct InspectArguments {
    #[command(flatten)]
    data: DataArguments,

    /// Only this group
    #[arg(long, value_name = "N")]
    group: Option<u64>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Read and check everything
///
/// Checksums, places, chain and terms of all entries; the records of the state; the journal; the watermarks, and whether the
/// log keeps what they promise; every byte of finished snapshots. Every finding is listed with its remedy. What takes longer
/// than two seconds says how far it is on standard error.
///
/// --json prints the same object as `raft-node log inspect`. The exit code is 0 if everything is whole, and 4 if not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node log verify --data /var/lib/raft-node/n1
  raft-node log verify --data /var/lib/raft-node/n1 --json")]
struct VerifyArguments {
    #[command(flatten)]
    data: DataArguments,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: LogArguments) -> Result<ExitCode, CliError> {
    match arguments.command {
        LogCommand::Inspect(arguments) => inspect(&arguments),
        LogCommand::Verify(arguments) => verify(&arguments),
        LogCommand::Export(arguments) => export::run(&arguments),
    }
}

fn inspect(arguments: &InspectArguments) -> Result<ExitCode, CliError> {
    let mut node = StoppedNode::open(&arguments.data.path)?;
    let mut reporter = ScanReporter::start();
    let group = arguments.group.map(GroupId);
    let inspected = node
        .inspector
        .inspect(group, &mut |progress| reporter.report(progress));
    let inspection = node.with_own_findings(inspected.map_err(LogError::from)?);
    let described = Described::new(&node.directory, &inspection);
    if arguments.json {
        output::print_json(&described)?;
    } else {
        output::print(&text::inspection(&described))?;
    }
    Ok(exit_code(&inspection.findings))
}

fn verify(arguments: &VerifyArguments) -> Result<ExitCode, CliError> {
    let mut node = StoppedNode::open(&arguments.data.path)?;
    let mut reporter = ScanReporter::start();
    let verified = node.inspector.verify(&mut |progress| reporter.report(progress));
    let inspection = node.with_own_findings(verified.map_err(LogError::from)?);
    let described = Described::new(&node.directory, &inspection);
    if arguments.json {
        output::print_json(&described)?;
    } else {
        output::print(&text::verification(&described))?;
    }
    Ok(exit_code(&inspection.findings))
}

fn exit_code(findings: &[Finding]) -> ExitCode {
    let is_damage = |finding: &Finding| finding.severity == Severity::Damage;
    if findings.iter().any(is_damage) {
        ExitCode::from(DAMAGED)
    } else {
        ExitCode::SUCCESS
    }
}

/// A stopped node that is looked at.
struct StoppedNode {
    inspector: LogInspector,
    directory: StoppedDirectory,
    _scratch: TempDir,
}

impl StoppedNode {
    fn open(path: &Path) -> Result<StoppedNode, LogError> {
        let directory = StoppedDirectory::open(path)?;
        if let Ok(Some(identity)) = directory.identity()
            && identity.log_store != LogStoreKind::Rocksdb
        {
            return Err(LogError::OtherStore {
                path: directory.log(),
                kind: identity.log_store,
            });
        }
        let scratch = tempfile::Builder::new()
            .prefix("raft-node-log-")
            .tempdir()
            .map_err(LogError::Scratch)?;
        Ok(StoppedNode {
            inspector: LogInspector::open(&directory.log(), &directory.snapshots(), scratch.path())?,
            directory,
            _scratch: scratch,
        })
    }

    /// What is wrong with the directory itself comes first.
    fn with_own_findings(&self, mut inspection: Inspection) -> Inspection {
        inspection.findings.splice(0..0, self.own_findings());
        inspection
    }

    fn own_findings(&self) -> Option<Finding> {
        let damage = |problem: String, remedy: &str| Finding {
            severity: Severity::Damage,
            place: Place::File(self.directory.path().join("IDENTITY")),
            problem,
            remedy: remedy.to_owned(),
        };
        match self.directory.identity() {
            Ok(Some(_)) => None,
            Ok(None) => Some(damage(
                "it is missing, so nobody can tell whose data this is".to_owned(),
                "restore it from a backup",
            )),
            Err(DataDirectoryError::DamagedIdentity { reason, .. }) => Some(damage(
                format!("it is damaged: {reason}"),
                "restore it from a backup",
            )),
            Err(error) => Some(damage(
                error.to_string(),
                "read it as the user that the node runs as",
            )),
        }
    }
}
