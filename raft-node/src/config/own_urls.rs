//! Where nodes are reached: the maps of all nodes, and this node's own URLs with the addresses to listen on.

use std::collections::BTreeMap;

use raft_core::types::NodeId;

use super::addresses::{AddressMap, host_and_port};
use super::error::ConfigError;
use super::transport::TransportKind;

/// Who is to reach a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The other nodes, over this transport.
    Peer(TransportKind),
    /// Clients.
    Client,
}

/// Where this node is reached.
#[derive(Debug)]
pub(super) struct OwnUrl {
    /// What others are told.
    pub(super) url: String,
    /// Where to listen, as `host:port`.
    pub(super) listen: String,
}

/// The settings that say it.
struct Names {
    url: &'static str,
    listen: &'static str,
    map: &'static str,
    schemes: &'static [&'static str],
    example: &'static str,
}

impl Kind {
    fn names(self) -> Names {
        match self {
            Kind::Peer(transport) => Names {
                url: "peer-url",
                listen: "listen-peer",
                map: "initial-cluster",
                schemes: match transport {
                    TransportKind::Quic => &["quic"],
                    TransportKind::Tcp => &["tcp"],
                },
                example: match transport {
                    TransportKind::Quic => "quic://10.0.0.4:2380",
                    TransportKind::Tcp => "tcp://10.0.0.4:2380",
                },
            },
            Kind::Client => Names {
                url: "client-url",
                listen: "listen-client",
                map: "initial-client-urls",
                schemes: &["http", "https"],
                example: "http://10.0.0.4:2379",
            },
        }
    }

    /// The URL of node `id` is `url`, or else its entry of `map`, which it must have unless it joins; it listens on `listen`,
    /// or else where the URL says.
    pub(super) fn resolve(
        self,
        id: NodeId,
        joins: bool,
        url: Option<String>,
        listen: Option<String>,
        map: &AddressMap,
    ) -> Result<OwnUrl, ConfigError> {
        let names = self.names();
        let listed = map.0.get(&id);
        if listed.is_none() && !joins {
            return Err(ConfigError::NotListed {
                setting: names.map,
                id,
                present: list(map.0.keys()),
            });
        }
        let setting = if url.is_some() { names.url } else { names.map };
        let Some(url) = url.or_else(|| listed.cloned()) else {
            return Err(ConfigError::NoUrl {
                setting: names.url,
                id,
                example: names.example,
            });
        };
        let address =
            host_and_port(&url, names.schemes).map_err(|source| ConfigError::Url { setting, id, source })?;
        let listen = match listen {
            Some(given) => checked_listen(names.listen, given)?,
            // TLS towards clients ends in front of the node, so the node itself cannot listen where https clients go.
            None if url.starts_with("https://") => {
                return Err(ConfigError::Invalid {
                    setting,
                    value: format!("{url:?}"),
                    reason: "this version serves http; use http://, or put a TLS proxy there and say where it finds \
                             this node with --listen-client"
                        .to_owned(),
                });
            }
            None => address.to_owned(),
        };
        Ok(OwnUrl {
            url: url.trim_end_matches('/').to_owned(),
            listen,
        })
    }
}

fn checked_listen(setting: &'static str, given: String) -> Result<String, ConfigError> {
    let parts = given.rsplit_once(':');
    match parts.map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(_))) if !host.is_empty() => Ok(given),
        _ => Err(ConfigError::Invalid {
            setting,
            value: format!("{given:?}"),
            reason: "write host:port, such as 0.0.0.0:2379".to_owned(),
        }),
    }
}

/// The `host:port` of every URL in `map`.
pub(super) fn authorities(
    setting: &'static str,
    map: &AddressMap,
    schemes: &[&str],
) -> Result<BTreeMap<NodeId, String>, ConfigError> {
    let mut seen: BTreeMap<&str, NodeId> = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for (&id, url) in &map.0 {
        let address =
            host_and_port(url, schemes).map_err(|source| ConfigError::Url { setting, id, source })?;
        if let Some(first) = seen.insert(address, id) {
            return Err(ConfigError::SameUrl {
                setting,
                first,
                second: id,
                url: url.clone(),
            });
        }
        addresses.insert(id, address.to_owned());
    }
    Ok(addresses)
}

/// `node 1, 2, 3`.
pub(super) fn list<'a>(ids: impl Iterator<Item = &'a NodeId>) -> String {
    let ids: Vec<String> = ids.map(ToString::to_string).collect();
    if ids.is_empty() {
        "no node".to_owned()
    } else {
        format!("node {}", ids.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;
    use crate::config::node_config::NodeConfig;
    use crate::config::settings::Settings;

    /// What every node of the cluster has in its file.
    fn shared() -> Settings {
        toml::from_str(
            r#"
            cluster = "demo"
            data-dir = "/data/n{id}"
            initial-cluster = "1=quic://a:2380,2=quic://b:2380"
            initial-client-urls = "1=http://a:2379,2=http://b:2379"
            cert = "/pki/n{id}.pem"
            key = "/pki/n{id}.key"
            ca = "/pki/ca.pem"
            "#,
        )
        .unwrap()
    }

    fn joining() -> Settings {
        Settings {
            id: Some(4),
            join: Some(true),
            peer_url: Some("quic://d:2380".to_owned()),
            client_url: Some("http://d:2379/".to_owned()),
            ..shared()
        }
    }

    #[test]
    fn a_node_joins_with_the_file_of_the_others() {
        let config = NodeConfig::resolve(joining()).unwrap();
        assert!(config.join && config.peers.len() == 2);
        assert_eq!(
            (config.listen_peer.as_str(), config.listen_client.as_str()),
            ("d:2380", "d:2379")
        );
        assert_eq!(config.client_url, "http://d:2379");
        let text = toml::to_string(&config.settings()).unwrap();
        let again = file::parse(&text, Path::new("printed")).unwrap();
        assert_eq!(NodeConfig::resolve(again).unwrap(), config);
    }

    #[test]
    fn a_node_joins_with_a_list_of_its_own() {
        let config = NodeConfig::resolve(Settings {
            initial_cluster: Some("2=quic://b:2380,4=quic://d:1".parse().unwrap()),
            initial_client_urls: None,
            peer_url: None,
            listen_client: Some("0.0.0.0:2379".to_owned()),
            ..joining()
        })
        .unwrap();
        assert_eq!(config.peer_url, "quic://d:1");
        assert_eq!(config.listen_client, "0.0.0.0:2379");
    }

    #[test]
    fn an_own_url_wins_over_the_list() {
        let config = NodeConfig::resolve(Settings {
            id: Some(2),
            peer_url: Some("quic://moved:2380".to_owned()),
            ..shared()
        })
        .unwrap();
        assert_eq!(
            (config.peer_url.as_str(), config.join),
            ("quic://moved:2380", false)
        );
        assert_eq!(config.listen_peer, "moved:2380");
        assert_eq!(config.client_url, "http://b:2379");
    }

    #[test]
    fn what_a_joining_node_lacks_is_named() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = joining();
            change(&mut settings);
            NodeConfig::resolve(settings).unwrap_err()
        };
        let no_url = refused(|settings| settings.client_url = None);
        assert!(
            matches!(
                no_url,
                ConfigError::NoUrl {
                    setting: "client-url",
                    ..
                }
            ),
            "{no_url}"
        );
        let bad_url = refused(|settings| settings.peer_url = Some("d:2380".to_owned())).to_string();
        assert!(
            bad_url.contains("`peer-url`, node 4") && bad_url.contains("quic://"),
            "{bad_url}"
        );
        let alone = refused(|settings| {
            settings.initial_cluster = Some("4=quic://d:2380".parse().unwrap());
        });
        assert!(alone.to_string().contains("at least one other node"), "{alone}");
        let tls = refused(|settings| settings.client_url = Some("https://d:2379".to_owned())).to_string();
        assert!(
            tls.contains("`client-url`") && tls.contains("--listen-client"),
            "{tls}"
        );
    }
}
