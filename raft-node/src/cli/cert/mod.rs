//! `raft-node cert`.

mod renew;
mod rotate;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};
use raft_core::types::NodeId;

use super::error::CliError;
use super::output;
use crate::certificates::authority::Authority;
use crate::certificates::holder::{ClientName, Holder, Server};
use crate::certificates::leaf;
use crate::config::cluster_name::ClusterName;

/// How many certificates one command makes at most.
const NODES_MAX: u64 = 1000;

/// Make, show and renew a cluster's certificates
///
/// Makes an authority for the cluster (ca.pem, ca.key) unless the directory has one, and a certificate for each node
/// (n1.pem, n1.key, …), for the ports that clients connect to (server.pem), and for clients (client-NAME.pem). Only a node's
/// certificate is taken by other nodes. Keep ca.key where no node can read it: whoever has it can make a node.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    group = ArgGroup::new("which").args(["nodes", "node", "server", "client"]).required(true).multiple(true),
    after_help = AFTER_HELP
)]
pub(super) struct CertArguments {
    #[command(subcommand)]
    command: Option<CertCommand>,

    /// The name of the cluster
    #[arg(long, value_name = "NAME", required = true)]
    cluster: Option<ClusterName>,

    /// For which nodes: 3 means 1 to 3, and 4..5 means 4 and 5
    #[arg(long, value_name = "N|A..B")]
    nodes: Option<NodeRange>,

    /// For one node; may be given several times
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    node: Vec<u64>,

    /// For the nodes' ports for clients: the hosts by which clients reach them. With LABEL= the files are server-LABEL.pem and
    /// server-LABEL.key; may be given several times
    #[arg(long, value_name = "[LABEL=]HOST,…")]
    server: Vec<Server>,

    /// For a client, by the name that the nodes know it by; may be given several times
    #[arg(long, value_name = "NAME")]
    client: Vec<ClientName>,

    /// The directory of the files; made if there is none
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,

    /// How many days the certificates are valid; the authority is for ten years
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u32,

    /// Replace the certificates if they are there; never the authority
    #[arg(long)]
    force: bool,
}

const AFTER_HELP: &str = "\
Examples:
  raft-node cert --cluster demo --nodes 3 --out pki      an authority and nodes 1, 2 and 3
  raft-node cert --cluster demo --node 4 --out pki       one more, signed by the same authority
  raft-node cert --cluster demo --nodes 3 --out pki --force --days 90
  raft-node cert --cluster demo --out pki --server 10.0.0.1,10.0.0.2,10.0.0.3,kv.example.com
  raft-node cert --cluster demo --out pki --server n1=10.0.0.1 --server n2=10.0.0.2
  raft-node cert --cluster demo --out pki --client root
  raft-node cert show pki                                until when each is valid
  raft-node cert renew pki --within 30                   what has no more than 30 days left
  raft-node cert rotate-ca --help                        a new authority while the cluster runs";

// What a command is for stands on its arguments: a doc comment on a variant would replace all of it by one line.
#[derive(Debug, Subcommand)]
enum CertCommand {
    Show(show::ShowArguments),
    Renew(renew::RenewArguments),
    RotateCa(rotate::RotateArguments),
}

/// `3` or `4..5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeRange {
    first: u64,
    last: u64,
}

impl FromStr for NodeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeRange, String> {
        let number = |text: &str| text.trim().parse::<u64>().ok().filter(|number| *number > 0);
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first), number(last.trim_start_matches('='))),
            None => (Some(1), number(text)),
        };
        match (first, last) {
            (Some(first), Some(last)) if first <= last && last - first < NODES_MAX => {
                Ok(NodeRange { first, last })
            }
            _ => Err(format!(
                "write a count such as 3, or a range such as 4..5; at most {NODES_MAX} nodes"
            )),
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: CertArguments) -> Result<ExitCode, CliError> {
    match arguments.command {
        Some(CertCommand::Show(arguments)) => show::run(arguments),
        Some(CertCommand::Renew(arguments)) => renew::run(arguments),
        Some(CertCommand::RotateCa(arguments)) => rotate::run(arguments),
        None => make(arguments),
    }
}

fn make(arguments: CertArguments) -> Result<ExitCode, CliError> {
    let (Some(cluster), Some(directory)) = (arguments.cluster, arguments.out) else {
        return Err(CliError::Format("clap requires --cluster and --out".to_owned()));
    };
    let holders = holders(
        arguments.node,
        arguments.nodes,
        arguments.server,
        arguments.client,
    );
    // Before the authority is made, so that a refusal leaves the directory as it was.
    leaf::check(&directory, &holders, arguments.days, arguments.force)?;
    let authority = Authority::open_or_make(&directory, &cluster)?;
    let made = leaf::make(&authority, &directory, &holders, arguments.days, arguments.force)?;
    let verb = if authority.is_new() { "made" } else { "used" };
    output::print(&format!(
        "{verb} {}  authority of cluster {cluster}, valid until {}",
        authority.certificate().display(),
        authority.not_after().date()
    ))?;
    for certificate in made {
        output::print(&format!(
            "made {}  {}, valid until {}",
            certificate.certificate.display(),
            certificate.name,
            certificate.not_after.date()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Everybody who gets a certificate, once each.
fn holders(
    mut node: Vec<u64>,
    nodes: Option<NodeRange>,
    servers: Vec<Server>,
    clients: Vec<ClientName>,
) -> Vec<Holder> {
    node.extend(nodes.into_iter().flat_map(|range| range.first..=range.last));
    node.sort_unstable();
    node.dedup();
    let nodes = node.into_iter().map(|id| Holder::Node(NodeId(id)));
    let servers = servers.into_iter().map(Holder::Server);
    nodes
        .chain(servers)
        .chain(clients.into_iter().map(Holder::Client))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_a_count_or_a_range() {
        let range = |first, last| Ok(NodeRange { first, last });
        assert_eq!("3".parse(), range(1, 3));
        assert_eq!("4..5".parse(), range(4, 5));
        assert_eq!("4..=4".parse(), range(4, 4));
        for bad in ["0", "", "5..4", "0..3", "a..b", "1..1001", "x"] {
            assert!(bad.parse::<NodeRange>().is_err(), "{bad} was accepted");
        }
    }
}
