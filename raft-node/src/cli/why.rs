//! `raft-node why`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::{EndpointArguments, block_on, output, parse_id, parse_seconds};
use crate::client::why::{self, About};

/// Explain what is wrong, or why something is as it is
///
/// Asks the endpoints and every member that they name, and prints what matters most first: that there is no leader; else that
/// something is not committed; else that something is not applied; else who is behind; else that all is well. Every paragraph names
/// the causes, with the nodes, disks and links that they lie in, and what to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node why                 what is wrong now
  raft-node why --index 4711    why entry 4711 is not committed, or not applied
  raft-node why --member 3      why member 3 is behind
  raft-node why --leader        how the leader became who it is
  raft-node why --endpoints http://127.0.0.1:2379,http://127.0.0.1:2389 --json")]
pub(super) struct WhyArguments {
    #[command(flatten)]
    endpoints: EndpointArguments,

    /// Explain the state of the entry at this index of the log
    #[arg(long, value_name = "N", group = "about", value_parser = parse_index)]
    index: Option<u64>,

    /// Explain why the member with this id is behind
    #[arg(long, value_name = "ID", group = "about", value_parser = parse_id)]
    member: Option<u64>,

    /// Explain how the leader became who it is
    #[arg(long, group = "about")]
    leader: bool,

    /// Print a JSON list, one object per node
    #[arg(long)]
    json: bool,

    /// How long to wait for each node, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    timeout: Duration,
}

/// The index of an entry.
fn parse_index(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(index) if index > 0 => Ok(index),
        _ => {
            Err("an entry has a whole number from 1 on; `raft-node status` shows how far they go".to_owned())
        }
    }
}

impl WhyArguments {
    fn about(&self) -> About {
        match (self.index, self.member, self.leader) {
            (Some(index), _, _) => About::Index(index),
            (_, Some(member), _) => About::Member(member),
            (_, _, true) => About::Leader,
            (None, None, false) => About::Now,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: WhyArguments) -> Result<ExitCode, CliError> {
    let about = arguments.about();
    let answers =
        block_on(async { Ok(why::gather(&arguments.endpoints.endpoints, about, arguments.timeout).await?) })?;
    if arguments.json {
        output::print_json(&answers)?;
    } else {
        output::print(&output::for_people(&why::paragraphs(&answers)))?;
    }
    Ok(ExitCode::SUCCESS)
}
