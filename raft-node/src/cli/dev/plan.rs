//! Ports, certificates and the configuration file of a local cluster.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::slice;

use raft_core::types::NodeId;

use super::DevError;
use crate::certificates::authority::Authority;
use crate::certificates::holder::Holder;
use crate::certificates::leaf;
use crate::cli::error::CliError;
use crate::client::endpoints::EndpointUrl;
use crate::config::addresses::AddressMap;
use crate::config::cluster_name::ClusterName;
use crate::config::log_store::LogStoreKind;
use crate::config::settings::Settings;
use crate::config::transport::TransportKind;
use crate::durable_file;

/// How far the ports of two nodes are apart.
const PORT_STEP: u64 = 10;
/// How long the certificates are valid; a cluster to try things out does not live longer.
const CERTIFICATE_DAYS: u32 = 365;
/// Half the default: processes of one machine hear from each other at once.
const ELECTION_TIMEOUT_MS: u64 = 500;
/// A tenth of the election timeout, as by default.
const HEARTBEAT_INTERVAL_MS: u64 = 50;

/// The ports of every node, free a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    client: Vec<u16>,
    peer: Vec<u16>,
}

impl Ports {
    /// The ports of `nodes` nodes from the two first ones, of which 0 means any.
    pub(super) fn choose(nodes: u64, first_client: u16, first_peer: u16) -> Result<Ports, DevError> {
        // All sockets stay open until all ports are chosen, so that no port is chosen twice.
        let mut listeners = Vec::new();
        let mut sockets = Vec::new();
        for node in 1..=nodes {
            let port = port(first_client, node, nodes, "client-port")?;
            let failed = |flag| {
                move |source| DevError::Port {
                    node,
                    port,
                    flag,
                    source,
                }
            };
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed("client-port"))?);
        }
        for node in 1..=nodes {
            let port = port(first_peer, node, nodes, "peer-port")?;
            let failed = |flag| {
                move |source| DevError::Port {
                    node,
                    port,
                    flag,
                    source,
                }
            };
            sockets.push(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed("peer-port"))?);
        }
        let unknown = |flag, first| {
            move |source| DevError::Port {
                node: 1,
                port: first,
                flag,
                source,
            }
        };
        Ok(Ports {
            client: listeners
                .iter()
                .map(|listener| Ok(listener.local_addr()?.port()))
                .collect::<Result<_, _>>()
                .map_err(unknown("client-port", first_client))?,
            peer: sockets
                .iter()
                .map(|socket| Ok(socket.local_addr()?.port()))
                .collect::<Result<_, _>>()
                .map_err(unknown("peer-port", first_peer))?,
        })
    }
}

fn port(first: u16, node: u64, nodes: u64, flag: &'static str) -> Result<u16, DevError> {
    if first == 0 {
        return Ok(0);
    }
    u16::try_from(u64::from(first) + PORT_STEP * (node - 1)).map_err(|_| DevError::PortRange {
        flag,
        first,
        nodes,
    })
}

/// What the nodes of a local cluster are started from.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    directory: PathBuf,
    client_urls: BTreeMap<NodeId, String>,
}

impl Plan {
    /// Makes certificates, unless they are there, and the configuration file in `directory`.
    pub(super) fn make(
        directory: &Path,
        cluster: &ClusterName,
        ports: &Ports,
        log_store: LogStoreKind,
        transport: TransportKind,
        log_level: &str,
    ) -> Result<Plan, CliError> {
        let pki = directory.join("pki");
        let authority = Authority::open_or_make(&pki, cluster)?;
        let urls = |scheme: &str, ports: &[u16]| -> BTreeMap<NodeId, String> {
            let url = |(node, port): (u64, &u16)| (NodeId(node), format!("{scheme}://127.0.0.1:{port}"));
            (1..).zip(ports).map(url).collect()
        };
        let plan = Plan {
            directory: directory.to_owned(),
            client_urls: urls("http", &ports.client),
        };
        let missing: Vec<Holder> = plan
            .nodes()
            .map(|node| Holder::Node(NodeId(node)))
            .filter(|node| leaf::refuse_to_replace(&pki, slice::from_ref(node)).is_ok())
            .collect();
        leaf::make(&authority, &pki, &missing, CERTIFICATE_DAYS, false)?;
        let settings = Settings {
            cluster: Some(cluster.clone()),
            data_dir: Some(directory.join("data-n{id}")),
            initial_cluster: Some(AddressMap(urls(transport.scheme(), &ports.peer))),
            initial_client_urls: Some(AddressMap(plan.client_urls.clone())),
            log_store: Some(log_store),
            transport: Some(transport),
            cert: Some(pki.join("n{id}.pem")),
            key: Some(pki.join("n{id}.key")),
            ca: Some(pki.join("ca.pem")),
            election_timeout_ms: Some(ELECTION_TIMEOUT_MS),
            heartbeat_interval_ms: Some(HEARTBEAT_INTERVAL_MS),
            log_level: Some(log_level.to_owned()),
            ..Settings::default()
        };
        let text = toml::to_string(&settings).map_err(|_| DevError::PathNotText {
            path: directory.to_owned(),
        })?;
        let path = plan.config_file();
        durable_file::replace(&path, text.as_bytes(), 0o644).map_err(|source| DevError::Files {
            action: "write",
            path,
            source,
        })?;
        Ok(plan)
    }

    /// The numbers of the nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u64> + '_ {
        self.client_urls.keys().map(|node| node.0)
    }

    /// Where clients reach the nodes.
    pub(super) fn endpoints(&self) -> Vec<EndpointUrl> {
        self.client_urls.values().cloned().map(EndpointUrl).collect()
    }

    /// The file that every node is started from.
    pub(super) fn config_file(&self) -> PathBuf {
        self.directory.join("raft-node.toml")
    }

    /// Where everything is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use crate::config::node_config::NodeConfig;

    #[test]
    fn one_file_serves_every_node() {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports {
            client: vec![2379, 2389],
            peer: vec![2380, 2390],
        };
        let cluster = "dev".parse().unwrap();
        for _ in 0..2 {
            // The second time everything is there already.
            let plan = Plan::make(
                directory.path(),
                &cluster,
                &ports,
                LogStoreKind::RaftEngine,
                TransportKind::Tcp,
                "info",
            )
            .unwrap();
            assert_eq!(plan.endpoints()[1].0, "http://127.0.0.1:2389");
        }
        for id in 1..=2 {
            let settings = Settings {
                id: Some(id),
                ..Settings::default()
            };
            let from_file = file::read(&directory.path().join("raft-node.toml")).unwrap();
            let config = NodeConfig::resolve(settings.or(from_file)).unwrap();
            assert_eq!(config.log_store, LogStoreKind::RaftEngine);
            assert_eq!(config.transport, TransportKind::Tcp);
            assert!(config.cert.exists() && config.key.exists() && config.ca.exists());
            assert_eq!(config.listen_client, format!("127.0.0.1:{}", 2369 + 10 * id));
        }
    }

    #[test]
    fn ports_are_ten_apart_or_free_ones() {
        assert_eq!(port(2379, 3, 3, "client-port").unwrap(), 2399);
        assert!(matches!(
            port(65_530, 2, 2, "client-port"),
            Err(DevError::PortRange { .. })
        ));
        let free = Ports::choose(3, 0, 0).unwrap();
        let mut client = free.client.clone();
        client.sort_unstable();
        client.dedup();
        assert_eq!(client.len(), 3);
    }

    #[test]
    fn a_taken_port_is_named_with_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Ports::choose(1, port, 0).unwrap_err().to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--client-port"),
            "{error}"
        );
    }
}
