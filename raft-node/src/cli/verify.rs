//! `raft-node verify`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::{EndpointArguments, block_on, output, parse_seconds};
use crate::client::{acked_file, verify};

/// Compare what `load` noted with what every node has
///
/// Reads the keys of the file once as any client would, and then from each endpoint's own copy, after it has applied
/// everything that was committed. Fails if a key is missing or different anywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node verify --acked acked.txt --endpoints http://127.0.0.1:2379,http://127.0.0.1:2389,http://127.0.0.1:2399")]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    endpoints: EndpointArguments,

    /// The file that `load --acked` wrote
    #[arg(long, value_name = "FILE")]
    acked: PathBuf,

    /// How long to wait for nodes that are behind, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: VerifyArguments) -> Result<ExitCode, CliError> {
    let acked = acked_file::read(&arguments.acked)?;
    let verified = block_on(async {
        Ok(verify::verify(&arguments.endpoints.endpoints, &acked, arguments.timeout).await?)
    })?;
    if arguments.json {
        output::print(
            &serde_json::to_string(&verified).map_err(|error| CliError::Format(error.to_string()))?,
        )?;
    } else {
        output::print(&verified.to_string())?;
    }
    Ok(if verified.is_same() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
