//! `raft-node put` and `raft-node get`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::{ConsistencyArguments, EndpointArguments, block_on, output, parse_seconds};
use crate::client::{endpoints, key_value};

/// Write one key
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node put greeting hello
  raft-node put --endpoints http://127.0.0.1:2389 greeting hello    through another node")]
pub(super) struct PutArguments {
    /// The key
    key: String,

    /// The value
    value: String,

    #[command(flatten)]
    endpoints: EndpointArguments,

    /// How long to wait for each endpoint, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    timeout: Duration,
}

/// Read one key, or all that begin alike
///
/// Prints the key on one line and its value on the next, as etcdctl does. What is read is never older than the last
/// acknowledged write, unless --consistency allows it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node get greeting
  raft-node get greet --prefix
  raft-node get \"\" --prefix                 every key
  raft-node get greeting --consistency s     what this node has, even without a leader")]
pub(super) struct GetArguments {
    /// The key
    key: String,

    /// Read every key that begins with KEY
    #[arg(long)]
    prefix: bool,

    #[command(flatten)]
    consistency: ConsistencyArguments,

    #[command(flatten)]
    endpoints: EndpointArguments,

    /// How long to wait for each endpoint, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    timeout: Duration,
}

/// Runs `put`.
pub(super) fn put(arguments: PutArguments) -> Result<ExitCode, CliError> {
    let revision = block_on(async {
        let nodes = endpoints::open(&arguments.endpoints.endpoints)?;
        let (key, value) = (arguments.key.into_bytes(), arguments.value.into_bytes());
        Ok(key_value::put(&nodes, key, value, arguments.timeout).await?)
    })?;
    output::print(&format!("OK (revision {revision})"))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `get`.
pub(super) fn get(arguments: GetArguments) -> Result<ExitCode, CliError> {
    let wanted = arguments.key.clone();
    let found = block_on(async {
        let nodes = endpoints::open(&arguments.endpoints.endpoints)?;
        let wanted = key_value::Wanted {
            key: arguments.key.into_bytes(),
            prefix: arguments.prefix,
            serializable: arguments.consistency.is_serializable(),
        };
        Ok(key_value::get(&nodes, wanted, arguments.timeout).await?)
    })?;
    if found.is_empty() && !arguments.prefix {
        output::complain(&format!("there is no key {wanted:?}"));
        return Ok(ExitCode::FAILURE);
    }
    for pair in found {
        output::print_bytes(&[&pair.key[..], b"\n", &pair.value[..], b"\n"].concat())?;
    }
    Ok(ExitCode::SUCCESS)
}
