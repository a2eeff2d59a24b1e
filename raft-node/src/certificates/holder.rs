//! Whom a certificate is for, and what follows from that: its names, its usages, and the names of its files.
//!
//! The three kinds cannot stand in for each other. Only a node has a name in `raft.internal`; a server certificate does not
//! authenticate a client, and a client certificate no server. The peers demand a node's name and both usages' handshakes, so
//! neither of the other two ever speaks as a node although one authority signs all three.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use raft_core::types::NodeId;

use crate::config::cluster_name::ClusterName;

/// The zone that belongs to the nodes alone.
const NODE_ZONE: &str = "raft.internal";

/// The longest common name that X.520 allows.
const COMMON_NAME_BYTES_MAX: usize = 64;

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A node towards its peers.
    Node(NodeId),
    /// A port for clients.
    Server(Server),
    /// A client.
    Client(ClientName),
}

impl Holder {
    /// The name of its files, without what distinguishes certificate and key.
    pub(super) fn stem(&self) -> String {
        match self {
            Holder::Node(node) => format!("n{node}"),
            Holder::Server(Server { label: None, .. }) => "server".to_owned(),
            Holder::Server(Server {
                label: Some(label), ..
            }) => format!("server-{label}"),
            Holder::Client(name) => format!("client-{name}"),
        }
    }

    /// What its certificate says in `cluster`.
    pub(super) fn claims(&self, cluster: &ClusterName) -> Claims {
        match self {
            Holder::Node(node) => {
                let name = node_name(cluster, *node);
                Claims {
                    common_name: name.clone(),
                    names: vec![name],
                    server: true,
                    client: true,
                }
            }
            Holder::Server(server) => Claims {
                common_name: format!("raft cluster {cluster} server"),
                names: server.hosts.iter().map(ToString::to_string).collect(),
                server: true,
                client: false,
            },
            Holder::Client(name) => Claims {
                common_name: name.to_string(),
                names: Vec::new(),
                server: false,
                client: true,
            },
        }
    }
}

/// What a certificate says, whoever it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// The only part of the subject.
    pub(super) common_name: String,
    /// The alternative names: addresses, or else names of DNS.
    pub(super) names: Vec<String>,
    /// Whether it authenticates a server.
    pub(super) server: bool,
    /// Whether it authenticates a client.
    pub(super) client: bool,
}

/// The name by which `node` of `cluster` is known to its peers.
#[must_use]
pub fn node_name(cluster: &ClusterName, node: NodeId) -> String {
    format!("n{node}.{cluster}.{NODE_ZONE}")
}

/// A port for clients: under which hosts they reach it. Written `HOST,…` or `LABEL=HOST,…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    label: Option<String>,
    hosts: Vec<Host>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Server, String> {
        let (label, hosts) = match text.split_once('=') {
            Some((label, hosts)) => (Some(label.to_owned()), hosts),
            None => (None, text),
        };
        if let Some(label) = &label {
            check_file_part(label)?;
        }
        let hosts = hosts.split(',').map(str::trim).map(str::parse);
        Ok(Server {
            label,
            hosts: hosts.collect::<Result<_, _>>()?,
        })
    }
}

/// An address or a DNS name, whose first label may be `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Host, String> {
        if let Ok(address) = text.parse() {
            return Ok(Host::Address(address));
        }
        let name = text.to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let labels = name.strip_prefix("*.").unwrap_or(&name);
        let is_name = name.len() <= 253 && labels.split('.').all(is_label);
        // What looks like an address and is none must not become a name that nothing ever matches.
        let is_number = labels.split('.').all(|label| label.parse::<u32>().is_ok());
        if !is_name || is_number {
            return Err(format!(
                "{text:?} is no host; give addresses and DNS names, without a scheme or a port"
            ));
        }
        refuse_node_zone(&name)?;
        Ok(Host::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

/// The name of a client: the common name of its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

impl FromStr for ClientName {
    type Err = String;

    fn from_str(text: &str) -> Result<ClientName, String> {
        check_file_part(text)?;
        refuse_node_zone(&text.to_ascii_lowercase())?;
        Ok(ClientName(text.to_owned()))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What becomes part of a file's name must not lead elsewhere.
fn check_file_part(text: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    let is_short = (1..=COMMON_NAME_BYTES_MAX).contains(&text.len());
    if is_short && text.bytes().all(is_plain) && !text.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no name; give 1 to {COMMON_NAME_BYTES_MAX} letters, digits, -, _, @ and dots, a letter or digit first"
    ))
}

fn refuse_node_zone(name: &str) -> Result<(), String> {
    if name == NODE_ZONE || name.ends_with(&format!(".{NODE_ZONE}")) {
        return Err(format!(
            "{name:?} is kept for nodes: whoever has such a name could speak as one"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_and_names() {
        let server: Server = "127.0.0.1, ::1,LocalHost,*.kv.example.com".parse().unwrap();
        let claims = Holder::Server(server.clone()).claims(&"demo".parse().unwrap());
        assert_eq!(
            claims.names,
            ["127.0.0.1", "::1", "localhost", "*.kv.example.com"]
        );
        assert_eq!((claims.server, claims.client), (true, false));
        assert_eq!(Holder::Server(server).stem(), "server");
        assert_eq!(Holder::Server("n1=a".parse().unwrap()).stem(), "server-n1");
        for bad in [
            "",
            "a,",
            "http://a",
            "a:2379",
            "10.0.0",
            "1.2.3.256",
            "a b",
            "-a",
            "*",
            "a.*.b",
            "../x=a",
            "=a",
        ] {
            assert!(bad.parse::<Server>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn only_nodes_have_names_of_nodes() {
        for bad in [
            "n1.demo.raft.internal",
            "*.demo.RAFT.internal",
            "raft.internal",
            "a,n1.demo.raft.internal",
        ] {
            let error = bad.parse::<Server>().unwrap_err();
            assert!(error.contains("kept for nodes"), "{error}");
        }
        let error = "n1.demo.raft.internal".parse::<ClientName>().unwrap_err();
        assert!(error.contains("kept for nodes"), "{error}");
    }

    #[test]
    fn a_clients_name_is_part_of_a_files_name() {
        for good in ["root", "a.b", "alice@example.com", &"x".repeat(64)] {
            good.parse::<ClientName>().unwrap();
        }
        for bad in ["", "..", ".a", "-a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<ClientName>().is_err(), "{bad} was accepted");
        }
    }
}
