//! `raft-node member list`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::text;
use crate::cli::error::CliError;
use crate::cli::progress::with_progress;
use crate::cli::{ConsistencyArguments, EndpointArguments, block_on, output, parse_seconds};
use crate::client::{endpoints, membership};

/// Show who belongs to the cluster
///
/// With --consistency serializable a node answers for itself, also without a majority, and may be behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member list
  raft-node member list --json --endpoints http://127.0.0.1:2389
  raft-node member list --consistency s                     when there is no leader")]
pub(super) struct ListArguments {
    #[command(flatten)]
    consistency: ConsistencyArguments,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    endpoints: EndpointArguments,

    /// How long to wait for each endpoint, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    timeout: Duration,
}

/// Runs the command.
pub(super) fn run(arguments: &ListArguments) -> Result<ExitCode, CliError> {
    let linearizable = !arguments.consistency.is_serializable();
    let members = block_on(async {
        let nodes = endpoints::open(&arguments.endpoints.endpoints)?;
        let work = membership::describe(&nodes, linearizable, arguments.timeout);
        Ok(with_progress("asking for the members", work).await?)
    })?;
    if arguments.json {
        output::print_json(&members)?;
    } else {
        output::print(&text::members(&members.members, members.leader))?;
        output::print(&members.configuration.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
