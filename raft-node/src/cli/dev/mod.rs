//! `raft-node dev`: a whole cluster in one terminal, as child processes of this one.
//!
//! The nodes are the real thing, started by `raft-node start` from one configuration file that serves all of them; only
//! the terminal is shared. A node that dies stays dead, and the others go on, as they would anywhere.

mod child;
mod plan;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use self::child::{Child, ChildEvent};
use self::plan::{Plan, Ports};
use super::error::{CliError, REMOVED};
use super::output;
use super::signals::StopSignals;
use super::status::table;
use crate::client::endpoints::EndpointUrl;
use crate::client::status::{self, NodeStatus};
use crate::config::cluster_name::ClusterName;
use crate::config::log_output::check_directives;
use crate::config::log_store::LogStoreKind;
use crate::config::transport::TransportKind;

/// How long a leader is waited for before the state of things is shown anyway.
const LEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often is looked for a leader.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long one node may take to tell its state.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the nodes may take to stop before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Run a whole cluster in this terminal, to try things out
///
/// Makes certificates and a configuration file, starts the nodes as processes of their own, and shows what they log.
/// Node K listens for clients on --client-port plus 10*(K-1), and likewise for the other nodes. Ctrl-C stops them all;
/// to see the cluster survive, kill one of them from another terminal.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node dev                                three nodes in a temporary directory
  raft-node dev --nodes 5 --dir demo           five nodes whose data stays in demo/
  raft-node dev --log-store raft-engine        with their logs in TiKV's raft-engine
  raft-node dev --transport tcp                over TCP in the place of QUIC
  raft-node dev --client-port 0 --peer-port 0  on free ports")]
pub(super) struct DevArguments {
    /// How many nodes to start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,

    /// Where to keep everything; made if there is none [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The name of the cluster
    #[arg(long, value_name = "NAME", default_value = "dev")]
    cluster: ClusterName,

    /// The first node's port for clients; 0 lets the system choose all of them
    #[arg(long, value_name = "PORT", default_value_t = 2379)]
    client_port: u16,

    /// The first node's port for the other nodes; 0 lets the system choose all of them
    #[arg(long, value_name = "PORT", default_value_t = 2380)]
    peer_port: u16,

    /// In which store the nodes keep their logs
    #[arg(long, value_name = "STORE", value_enum, default_value_t)]
    log_store: LogStoreKind,

    /// What carries the messages between the nodes
    #[arg(long, value_name = "TRANSPORT", value_enum, default_value_t)]
    transport: TransportKind,

    /// What the nodes log
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_directives)]
    log_level: String,
}

/// Why a local cluster does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum DevError {
    /// A port is taken.
    #[error(
        "node {node} cannot have port {port} of 127.0.0.1: {source}; give another --{flag}, or 0 for free ports"
    )]
    Port {
        /// Whose port it would be.
        node: u64,
        /// The port.
        port: u16,
        /// The flag that gives the first port.
        flag: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The ports of so many nodes go beyond 65535.
    #[error("--{flag} {first} is too high for {nodes} nodes, whose ports are 10 apart")]
    PortRange {
        /// The flag that gives the first port.
        flag: &'static str,
        /// The first port.
        first: u16,
        /// How many nodes there are.
        nodes: u64,
    },
    /// A file or directory cannot be made.
    #[error("cannot {action} {path}: {source}; check --dir", path = .path.display())]
    Files {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A path cannot be written into the configuration file.
    #[error("{path} is not UTF-8; give another --dir", path = .path.display())]
    PathNotText {
        /// The path.
        path: PathBuf,
    },
    /// A process cannot be started.
    #[error("cannot start node {node}: {source}")]
    Spawn {
        /// The node.
        node: u64,
        /// Why.
        source: io::Error,
    },
    /// No node is left.
    #[error("every node has ended; what they logged above says why")]
    AllEnded,
}

/// Runs the command.
pub(super) fn run(arguments: DevArguments) -> Result<ExitCode, CliError> {
    let ports = Ports::choose(arguments.nodes, arguments.client_port, arguments.peer_port)?;
    let (directory, _temporary) = directory(arguments.dir.as_deref())?;
    let plan = Plan::make(
        &directory,
        &arguments.cluster,
        &ports,
        arguments.log_store,
        arguments.transport,
        &arguments.log_level,
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    runtime.block_on(supervise(&plan))?;
    Ok(ExitCode::SUCCESS)
}

fn parse_directives(text: &str) -> Result<String, String> {
    check_directives(text).map(|()| text.to_owned())
}

/// The given directory, or a temporary one that goes away with the second value.
fn directory(given: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), DevError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| DevError::Files { action, path, source }
    };
    let Some(given) = given else {
        let temporary = tempfile::Builder::new()
            .prefix("raft-node-dev-")
            .tempdir()
            .map_err(failed("make a directory in", &std::env::temp_dir()))?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    std::fs::create_dir_all(given).map_err(failed("make the directory", given))?;
    let absolute = given.canonicalize().map_err(failed("find", given))?;
    Ok((absolute, None))
}

async fn supervise(plan: &Plan) -> Result<(), CliError> {
    let mut signals = StopSignals::listen().map_err(CliError::Runtime)?;
    let (events, mut happened) = mpsc::channel(1024);
    let mut children = Vec::new();
    for node in plan.nodes() {
        children.push(Child::start(plan, node, events.clone())?);
    }
    drop(events);
    let show = show_when_ready(plan);
    tokio::pin!(show);
    let mut shown = false;
    let mut living = children.len();
    let end = loop {
        tokio::select! {
            // Lines first: what a node said before it ended is printed before its end.
            biased;
            Some(event) = happened.recv() => match event {
                ChildEvent::Line { node, line } => child::print_line(node, &line)?,
                ChildEvent::Ended { node, how } => {
                    living -= 1;
                    child::print_line(node, &ended(plan, node, &how))?;
                    if living == 0 {
                        break Err(DevError::AllEnded.into());
                    }
                }
            },
            signal = signals.next() => {
                output::print(&format!("{signal}: stopping every node"))?;
                break Ok(());
            }
            result = &mut show, if !shown => {
                result?;
                shown = true;
            }
        }
    };
    stop(&mut children, &mut happened, living).await?;
    end
}

fn ended(plan: &Plan, node: u64, how: &str) -> String {
    if how == child::exit_code(REMOVED.into()) {
        return format!("ended ({how}): it was removed from the cluster; the other nodes go on");
    }
    format!(
        "ended ({how}); the other nodes go on. Start it again with: raft-node start --config {} --id {node}",
        plan.config_file().display()
    )
}

/// Asks every node to stop, shows what they still say, and kills what does not stop in time.
async fn stop(
    children: &mut [Child],
    happened: &mut mpsc::Receiver<ChildEvent>,
    mut living: usize,
) -> Result<(), CliError> {
    for child in children.iter() {
        child.ask_to_stop();
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    while living > 0 {
        match tokio::time::timeout_at(deadline, happened.recv()).await {
            Ok(Some(ChildEvent::Line { node, line })) => child::print_line(node, &line)?,
            Ok(Some(ChildEvent::Ended { .. })) => living -= 1,
            Ok(None) => break,
            Err(_) => {
                output::complain("some nodes did not stop within 5 s and are killed");
                break;
            }
        }
    }
    // From here on nobody reads; whoever still wants to tell something must not wait for that.
    happened.close();
    for child in children {
        child.kill().await;
    }
    Ok(())
}

/// Waits for a leader that every node knows, then shows the cluster and how to use it.
async fn show_when_ready(plan: &Plan) -> Result<(), CliError> {
    let endpoints = plan.endpoints();
    let deadline = Instant::now() + LEADER_TIMEOUT;
    loop {
        let nodes = status::gather(&endpoints, STATUS_TIMEOUT)
            .await
            .unwrap_or_default();
        let is_ready = is_ready(&nodes, endpoints.len());
        if is_ready || Instant::now() >= deadline {
            if !is_ready {
                output::complain("not every node knows a leader after 30 s; what they log may say why");
            }
            if !nodes.is_empty() {
                output::print(&table(&nodes))?;
            }
            return output::print(&invitation(plan, &endpoints));
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn is_ready(nodes: &[NodeStatus], count: usize) -> bool {
    let leaders: Vec<u64> = nodes
        .iter()
        .filter_map(|node| node.answer.as_ref().map(|answer| answer.leader))
        .collect();
    leaders.len() == count && leaders.iter().all(|leader| *leader != 0 && *leader == leaders[0])
}

fn invitation(plan: &Plan, endpoints: &[EndpointUrl]) -> String {
    let urls: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.0.as_str()).collect();
    let hosts: Vec<&str> = urls.iter().map(|url| url.trim_start_matches("http://")).collect();
    format!(
        "\nEverything the cluster writes is in {directory}. Try, in another terminal:\n\n  \
         ETCDCTL_API=3 etcdctl --endpoints={hosts} put greeting hello\n  \
         raft-node put --endpoints {urls} greeting hello\n  \
         raft-node get --endpoints {urls} greeting\n\nCtrl-C stops it.\n",
        directory = plan.directory().display(),
        hosts = hosts.join(","),
        urls = urls.join(","),
    )
}
