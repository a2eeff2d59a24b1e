//! `raft-node load`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::error::CliError;
use super::signals::StopSignals;
use super::{EndpointArguments, block_on, output, parse_seconds};
use crate::client::load::{self, LoadOptions, Until};

/// Write many keys and measure; with --acked, note what was acknowledged
///
/// Every key is unique and goes through the endpoints in turn; when one does not answer, the key is written through
/// the next. Prints how many writes were acknowledged, their rate and latency, and the longest time without any
/// acknowledgement. Ctrl-C ends it with the summary. Fails only if nothing was acknowledged.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("until").args(["keys", "duration"]).required(true),
    after_help = "\
Examples:
  raft-node load --keys 1000
  raft-node load --duration 10 --clients 256 --json
  raft-node load --duration 60 --clients 16 --acked acked.txt && raft-node verify --acked acked.txt"
)]
pub(super) struct LoadArguments {
    #[command(flatten)]
    endpoints: EndpointArguments,

    /// Stop after this many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,

    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    duration: Option<Duration>,

    /// How many clients write at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    clients: u32,

    /// How long every value is, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=1_048_576))]
    value_bytes: u32,

    /// Append key, tab and value of every acknowledged write to this file
    #[arg(long, value_name = "FILE")]
    acked: Option<PathBuf>,

    /// How long to wait for one answer before the next endpoint is tried, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    attempt_timeout: Duration,

    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: LoadArguments) -> Result<ExitCode, CliError> {
    let options = LoadOptions {
        endpoints: arguments.endpoints.endpoints,
        until: match (arguments.keys, arguments.duration) {
            (Some(keys), _) => Until::Keys(keys),
            (None, duration) => Until::Elapsed(duration.unwrap_or_default()),
        },
        clients: arguments.clients as usize,
        value_bytes: arguments.value_bytes as usize,
        attempt_timeout: arguments.attempt_timeout,
        acked: arguments.acked,
    };
    let is_interactive = output::stderr_is_interactive();
    let report = block_on(async {
        let mut signals = StopSignals::listen().map_err(CliError::Runtime)?;
        let interrupted = async move {
            signals.next().await;
        };
        let progress = |acknowledged: u64, rate: u64| {
            if is_interactive {
                output::complain(&format!("{acknowledged} acknowledged, {rate} per second"));
            }
        };
        Ok(load::run(options, interrupted, progress).await?)
    })?;
    if arguments.json {
        output::print(&serde_json::to_string(&report).map_err(|error| CliError::Format(error.to_string()))?)?;
    } else {
        output::print(&report.to_string())?;
    }
    Ok(if report.acknowledged > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
