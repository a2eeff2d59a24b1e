//! `raft-node start`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::signals::{Hangups, StopSignals};
use super::stores::{Closer, OnLoss};
use super::{logging, node, output};
use crate::config::file;
use crate::config::node_config::NodeConfig;
use crate::config::settings::{Settings, VARIABLE_PREFIX};

/// How long work that cannot be interrupted, such as writing a snapshot, is waited for at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// The environment variables that are no settings of a node.
const OTHER_VARIABLES: [&str; 2] = ["RAFT_NODE_CONFIG", "RAFT_NODE_ENDPOINTS"];

/// Run one node of a cluster
///
/// Every setting may be a flag, an environment variable or a key of the file; the first of them that is there wins.
/// All nodes of a cluster take the same settings but for --id: {id} in a path stands for the node's number. At the
/// first start --initial-cluster makes the cluster; later the data directory knows the members.
///
/// A node that is added later starts with --join, and waits until it is a member. One that was removed stops by itself.
///
/// SIGHUP makes the node read its certificates again, which it also does within seconds when the files change.
///
/// SIGTERM or Ctrl-C stops the node cleanly; a second one stops it at once. The exit code is 0 after a clean stop, 1
/// after a failure, 2 if the settings are wrong, and 3 if the node was removed from the cluster, at once and at every later
/// start.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StartArguments {
    /// A TOML file with settings; its keys are the names of the flags below
    #[arg(long, env = "RAFT_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the settings in force, defaults included, as TOML, and exit
    #[arg(long)]
    print_config: bool,

    /// Start although the log lost entries or a vote that it had acknowledged. The node neither votes nor counts until it
    /// has caught up with a majority without it; find out first what happened to the disk. If its state has what the log
    /// lost, that is set aside, under a name of its own in the data directory, and made again
    #[arg(long)]
    suspect: bool,

    /// Stop when standard input is closed: a parent that dies takes the node with it
    #[arg(long, hide = true)]
    stop_with_stdin: bool,

    #[command(flatten)]
    settings: Settings,
}

const AFTER_HELP: &str = r#"Examples:
  raft-node start --id 1 --cluster demo --data-dir data/n{id} \
    --initial-cluster 1=quic://10.0.0.1:2380,2=quic://10.0.0.2:2380,3=quic://10.0.0.3:2380 \
    --initial-client-urls 1=http://10.0.0.1:2379,2=http://10.0.0.2:2379,3=http://10.0.0.3:2379 \
    --cert pki/n{id}.pem --key pki/n{id}.key --ca pki/ca.pem
  raft-node start --config demo.toml --id 1
  raft-node start --config demo.toml --id 1 --log-store raft-engine    the log in TiKV's raft-engine, for ever
  raft-node start --config demo.toml --id 1 --archive backup/n{id} --log-retention-time 7d
  raft-node start --config demo.toml --id 4 --join --peer-url quic://10.0.0.4:2380 --client-url http://10.0.0.4:2379
  RAFT_NODE_ID=1 RAFT_NODE_CONFIG=demo.toml raft-node start --print-config

demo.toml, the same file on every node:
  cluster = "demo"
  data-dir = "/var/lib/raft-node/n{id}"
  initial-cluster = { 1 = "quic://10.0.0.1:2380", 2 = "quic://10.0.0.2:2380", 3 = "quic://10.0.0.3:2380" }
  initial-client-urls = { 1 = "http://10.0.0.1:2379", 2 = "http://10.0.0.2:2379", 3 = "http://10.0.0.3:2379" }
  cert = "/etc/raft-node/n{id}.pem"
  key = "/etc/raft-node/n{id}.key"
  ca = "/etc/raft-node/ca.pem""#;

/// Runs the command.
pub(super) fn run(arguments: StartArguments) -> Result<ExitCode, CliError> {
    let from_file = arguments.config.as_deref().map(file::read).transpose()?;
    let config = NodeConfig::resolve(arguments.settings.or(from_file.unwrap_or_default()))?;
    if arguments.print_config {
        let text =
            toml::to_string(&config.settings()).map_err(|error| CliError::Format(error.to_string()))?;
        output::print(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&config.log_level, config.log_format);
    warn_of_unknown_variables();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let mut closer = Closer::default();
    let result = runtime.block_on(async {
        let signals = StopSignals::listen().map_err(CliError::Runtime)?;
        let hangups = Hangups::listen().map_err(CliError::Runtime)?;
        let on_loss = if arguments.suspect {
            OnLoss::Suspect
        } else {
            OnLoss::Refuse
        };
        let run = node::run(
            config,
            (signals, hangups),
            on_loss,
            arguments.stop_with_stdin,
            &mut closer,
        );
        Box::pin(run).await?;
        Ok(ExitCode::SUCCESS)
    });
    // First the tasks go, then what they used.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    closer.close();
    result
}

/// A misspelt variable must not go unnoticed. It does not stop the node, because other programs set variables, too:
/// Kubernetes makes RAFT_NODE_PORT for a service of that name.
fn warn_of_unknown_variables() {
    let names = Settings::names();
    for (variable, _) in std::env::vars_os() {
        let variable = variable.to_string_lossy();
        let is_known = names.iter().any(|name| *Settings::variable(name) == *variable)
            || OTHER_VARIABLES.contains(&variable.as_ref());
        if variable.starts_with(VARIABLE_PREFIX) && !is_known {
            tracing::warn!("the environment variable {variable} is no setting of raft-node and is ignored");
        }
    }
}
