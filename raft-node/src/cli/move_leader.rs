//! `raft-node move-leader`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::progress::with_progress;
use super::{EndpointArguments, block_on, output, parse_id, parse_seconds};
use crate::client::{endpoints, membership};

/// Let another node lead
///
/// The leader brings the node up to date and lets it take over; writes wait meanwhile, for about as long as one election.
/// Nothing is lost, and if the node does not take over in time, the leader goes on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node move-leader 2
  raft-node move-leader 2 --endpoints http://127.0.0.1:2389    through any node")]
pub(super) struct MoveLeaderArguments {
    /// The id of the voter that shall lead
    #[arg(value_parser = parse_id)]
    id: u64,

    #[command(flatten)]
    endpoints: EndpointArguments,

    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
}

/// Runs the command.
pub(super) fn run(arguments: MoveLeaderArguments) -> Result<ExitCode, CliError> {
    let (id, timeout) = (arguments.id, arguments.timeout);
    let (before, term) = block_on(async {
        let nodes = endpoints::open(&arguments.endpoints.endpoints)?;
        let work = async {
            let (endpoint, members) = membership::choose(&nodes, timeout).await?;
            let term = membership::move_leader(&endpoint, id, timeout).await?;
            Ok((members.leader, term))
        };
        with_progress("moving the leader", work).await
    })?;
    let verb = if before == id {
        "leads already"
    } else {
        "leads now"
    };
    output::print(&format!("node {id} {verb}, in term {term}"))?;
    Ok(ExitCode::SUCCESS)
}
