//! The configuration of one node after every source was heard: complete and checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_core::config::{Config, PRIORITY_MAX};
use raft_core::types::{GroupId, NodeId};

use super::addresses::AddressMap;
use super::cluster_name::ClusterName;
use super::error::ConfigError;
use super::log_output::{LogFormat, check_directives};
use super::log_store::LogStoreKind;
use super::own_urls::{Kind, authorities, list};
use super::recording::RecordingConfig;
use super::retention_time::RetentionTime;
use super::settings::Settings;
use super::transport::TransportKind;
use crate::server::REQUEST_BYTES_MAX;

/// The one group that this server replicates.
pub const GROUP: GroupId = GroupId(1);

/// From how many days before a certificate expires that is logged, if nothing else is set.
const CERT_WARN_DAYS: u32 = 30;

/// How many bytes an archive may have.
const ARCHIVE_BYTES_MAX: u64 = 10 << 30;

/// What stands for the node's number in paths.
const ID_PLACEHOLDER: &str = "{id}";

/// The complete configuration of one node.
///
/// Invariants: both maps name `id` and the same nodes, unless the node joins, and then `peers` names another one; no URL
/// occurs twice in a map; the timing passes [`Config::validate`]; no path contains `{id}` any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// This node.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// In which store its log is.
    pub log_store: LogStoreKind,
    /// What carries its messages to the others.
    pub transport: TransportKind,
    /// The `host:port` for other nodes of every node in `initial-cluster`: the first members, or nodes to join by.
    pub peers: BTreeMap<NodeId, String>,
    /// The URLs for clients of the same nodes; of any nodes if this one joins.
    pub client_urls: BTreeMap<NodeId, String>,
    /// Whether the node joins a cluster that runs.
    pub join: bool,
    /// Where the other nodes reach this one: `quic://host:port`, or `tcp://host:port`.
    pub peer_url: String,
    /// Where clients reach this one: `http://host:port`.
    pub client_url: String,
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificate of the cluster's authority.
    pub ca: PathBuf,
    /// From how many days before a certificate expires that is logged.
    pub cert_warn_days: u32,
    /// Where to listen for the other nodes, as `host:port`.
    pub listen_peer: String,
    /// Where to listen for clients, as `host:port`.
    pub listen_client: String,
    /// See [`Config::election_timeout`].
    pub election_timeout: Duration,
    /// See [`Config::heartbeat_interval`].
    pub heartbeat_interval: Duration,
    /// See [`Config::priority`].
    pub priority: u8,
    /// See [`Config::election_timeout_max`].
    pub election_timeout_max: Option<Duration>,
    /// See [`Config::lease_drift_max`].
    pub lease_drift_max: Option<Duration>,
    /// See [`Config::snapshot_entries`].
    pub snapshot_entries: u64,
    /// See [`Config::snapshot_transfers_max`].
    pub snapshot_transfers_max: usize,
    /// See [`Config::snapshot_bytes_per_second`].
    pub snapshot_bytes_per_second: Option<u64>,
    /// See [`Config::retained_entries`].
    pub log_retention_entries: u64,
    /// Where to keep what the log forgets.
    pub archive: Option<PathBuf>,
    /// How many bytes of that are kept.
    pub archive_bytes_max: u64,
    /// How far back the archive is to reach; as far as it has room if nothing is said.
    pub log_retention_time: Option<RetentionTime>,
    /// See [`Config::write_stall_max`].
    pub write_stall_max: Option<Duration>,
    /// How it is recorded.
    pub recording: RecordingConfig,
    /// What to log.
    pub log_level: String,
    /// In which form.
    pub log_format: LogFormat,
}

impl NodeConfig {
    /// Completes `settings` with the defaults and checks everything.
    pub fn resolve(settings: Settings) -> Result<NodeConfig, ConfigError> {
        let id = NodeId(required(settings.id, "id")?);
        let recording = RecordingConfig::of(&settings, |path| with_id(path, id));
        let cluster = required(settings.cluster, "cluster")?;
        let data_dir = with_id(&required(settings.data_dir, "data-dir")?, id);
        let initial_cluster = required(settings.initial_cluster, "initial-cluster")?;
        let join = settings.join.unwrap_or_default();
        let initial_client_urls = match settings.initial_client_urls {
            // It asks no client port of the nodes that it joins by.
            None if join => AddressMap::default(),
            urls => required(urls, "initial-client-urls")?,
        };
        let transport = settings.transport.unwrap_or_default();
        let peers = authorities("initial-cluster", &initial_cluster, &[transport.scheme()])?;
        authorities("initial-client-urls", &initial_client_urls, &["http", "https"])?;
        let own = |kind: Kind, url, listen, map| kind.resolve(id, join, url, listen, map);
        let peer = own(
            Kind::Peer(transport),
            settings.peer_url,
            settings.listen_peer,
            &initial_cluster,
        )?;
        let client = own(
            Kind::Client,
            settings.client_url,
            settings.listen_client,
            &initial_client_urls,
        )?;
        let defaults = Config::new(GROUP, id);
        let config = NodeConfig {
            id,
            cluster,
            data_dir,
            log_store: settings.log_store.unwrap_or_default(),
            transport,
            join,
            peer_url: peer.url,
            listen_peer: peer.listen,
            client_url: client.url,
            listen_client: client.listen,
            peers,
            client_urls: initial_client_urls.0,
            cert: with_id(&required(settings.cert, "cert")?, id),
            key: with_id(&required(settings.key, "key")?, id),
            ca: with_id(&required(settings.ca, "ca")?, id),
            cert_warn_days: settings.cert_warn_days.unwrap_or(CERT_WARN_DAYS),
            election_timeout: millis(settings.election_timeout_ms, defaults.election_timeout),
            heartbeat_interval: millis(settings.heartbeat_interval_ms, defaults.heartbeat_interval),
            priority: settings.priority.unwrap_or(defaults.priority),
            election_timeout_max: settings.election_timeout_max_ms.map(Duration::from_millis),
            lease_drift_max: settings.lease_drift_max_ms.map(Duration::from_millis),
            snapshot_entries: settings.snapshot_entries.unwrap_or(defaults.snapshot_entries),
            snapshot_transfers_max: or(settings.snapshot_transfers_max, defaults.snapshot_transfers_max),
            log_retention_entries: or(settings.log_retention_entries, defaults.retained_entries),
            archive: settings.archive.map(|archive| with_id(&archive, id)),
            archive_bytes_max: settings.archive_bytes_max.unwrap_or(ARCHIVE_BYTES_MAX),
            log_retention_time: settings.log_retention_time,
            snapshot_bytes_per_second: limit(
                settings.snapshot_bytes_per_second,
                defaults.snapshot_bytes_per_second,
            ),
            write_stall_max: match settings.write_stall_max_ms {
                Some(0) => None,
                Some(given) => Some(Duration::from_millis(given)),
                None => defaults.write_stall_max,
            },
            recording,
            log_level: settings.log_level.unwrap_or_else(|| "info".to_owned()),
            log_format: settings.log_format.unwrap_or_default(),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_directives(&self.log_level).map_err(|reason| ConfigError::Invalid {
            setting: "log-level",
            value: format!("{:?}", self.log_level),
            reason,
        })?;
        if self.join && self.peers.keys().all(|id| *id == self.id) {
            return Err(ConfigError::Invalid {
                setting: "initial-cluster",
                value: format!("a map of {}", list(self.peers.keys())),
                reason: "a node that joins needs the address of at least one other node; add one, or leave `join` \
                         out to begin a new cluster"
                    .to_owned(),
            });
        }
        if !self.join && !self.peers.keys().eq(self.client_urls.keys()) {
            return Err(ConfigError::Invalid {
                setting: "initial-client-urls",
                value: format!("a map of {}", list(self.client_urls.keys())),
                reason: format!(
                    "`initial-cluster` names {}; both must name the same nodes",
                    list(self.peers.keys())
                ),
            });
        }
        if let (Some(time), None) = (self.log_retention_time, &self.archive) {
            return Err(ConfigError::Invalid {
                setting: "log-retention-time",
                value: time.to_string(),
                reason: "it is the archive that keeps the past; give `archive`, a directory, too, or leave this out".to_owned(),
            });
        }
        self.check_limits()?;
        self.recording.check()?;
        self.core().validate()?;
        Ok(())
    }

    /// Checks what the core would refuse under other names.
    fn check_limits(&self) -> Result<(), ConfigError> {
        let election = in_millis(self.election_timeout);
        let longest = self.election_timeout_max.map(in_millis);
        let drift = self.lease_drift_max.map(in_millis);
        let rules = [
            (
                "election-timeout-max-ms",
                longest.unwrap_or_default(),
                longest.is_none_or(|longest| longest >= election),
                format!(
                    "the timeout grows from `election-timeout-ms`, which is {election}; give as much or more, or leave it \
                     out, and it does not grow"
                ),
            ),
            (
                "priority",
                u64::from(self.priority),
                self.priority <= PRIORITY_MAX,
                format!("give 0 to {PRIORITY_MAX}; the highest leads before the others"),
            ),
            (
                "lease-drift-max-ms",
                drift.unwrap_or_default(),
                drift.is_none_or(|drift| (1..election).contains(&drift)),
                format!(
                    "clocks do drift, and a lease ends before an election may; give 1 to {}, which is less than \
                     `election-timeout-ms`, or leave it out to read without leases",
                    election.saturating_sub(1)
                ),
            ),
            (
                "archive-bytes-max",
                self.archive_bytes_max,
                self.archive_bytes_max > 0,
                "an archive keeps something; give 1 or more, or leave `archive` out for no archive"
                    .to_owned(),
            ),
            (
                "snapshot-transfers-max",
                self.snapshot_transfers_max as u64,
                self.snapshot_transfers_max > 0,
                "a node that lacks the log could never catch up; give 1 or more".to_owned(),
            ),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            None => Ok(()),
            Some((setting, value, _, reason)) => Err(ConfigError::Invalid {
                setting,
                value: value.to_string(),
                reason,
            }),
        }
    }

    /// The settings of the protocol core.
    #[must_use]
    pub fn core(&self) -> Config {
        let mut config = Config::new(GROUP, self.id);
        config.election_timeout = self.election_timeout;
        config.heartbeat_interval = self.heartbeat_interval;
        config.priority = self.priority;
        config.election_timeout_max = self.election_timeout_max;
        config.lease_drift_max = self.lease_drift_max;
        config.snapshot_entries = self.snapshot_entries;
        config.snapshot_transfers_max = self.snapshot_transfers_max;
        config.snapshot_bytes_per_second = self.snapshot_bytes_per_second;
        config.retained_entries = self.log_retention_entries;
        config.write_stall_max = self.write_stall_max;
        config.recording_bytes = self.recording.memory_bytes;
        config.recording_payloads = self.recording.payloads;
        // What the client API takes, the log must take.
        config.entry_bytes_max = REQUEST_BYTES_MAX;
        config
    }

    /// The configuration as settings: resolving them again gives the same configuration.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let urls = self
            .peers
            .iter()
            .map(|(id, address)| (*id, format!("{}://{address}", self.transport)));
        let settings = Settings {
            id: Some(self.id.0),
            cluster: Some(self.cluster.clone()),
            data_dir: Some(self.data_dir.clone()),
            log_store: Some(self.log_store),
            transport: Some(self.transport),
            initial_cluster: Some(AddressMap(urls.collect())),
            initial_client_urls: Some(AddressMap(self.client_urls.clone())),
            join: self.join.then_some(true),
            peer_url: Some(self.peer_url.clone()),
            client_url: Some(self.client_url.clone()),
            cert: Some(self.cert.clone()),
            key: Some(self.key.clone()),
            ca: Some(self.ca.clone()),
            cert_warn_days: Some(self.cert_warn_days),
            listen_peer: Some(self.listen_peer.clone()),
            listen_client: Some(self.listen_client.clone()),
            election_timeout_ms: Some(in_millis(self.election_timeout)),
            heartbeat_interval_ms: Some(in_millis(self.heartbeat_interval)),
            priority: Some(self.priority),
            election_timeout_max_ms: self.election_timeout_max.map(in_millis),
            lease_drift_max_ms: self.lease_drift_max.map(in_millis),
            snapshot_entries: Some(self.snapshot_entries),
            snapshot_transfers_max: Some(self.snapshot_transfers_max),
            snapshot_bytes_per_second: Some(self.snapshot_bytes_per_second.unwrap_or(0)),
            log_retention_entries: Some(self.log_retention_entries),
            archive: self.archive.clone(),
            archive_bytes_max: Some(self.archive_bytes_max),
            log_retention_time: self.log_retention_time,
            write_stall_max_ms: Some(self.write_stall_max.map_or(0, in_millis)),
            log_level: Some(self.log_level.clone()),
            log_format: Some(self.log_format),
            ..Settings::default()
        };
        self.recording.complete(settings)
    }
}

/// Where the node that `settings` describe keeps its data; the other settings may be absent.
pub fn data_dir(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let path = required(settings.data_dir.clone(), "data-dir")?;
    let is_for_all = path.to_str().is_some_and(|text| text.contains(ID_PLACEHOLDER));
    if !is_for_all {
        return Ok(path);
    }
    Ok(with_id(&path, NodeId(required(settings.id, "id")?)))
}

fn required<T>(value: Option<T>, setting: &'static str) -> Result<T, ConfigError> {
    value.ok_or_else(|| ConfigError::Missing {
        setting,
        variable: Settings::variable(setting),
    })
}

fn with_id(path: &Path, id: NodeId) -> PathBuf {
    match path.to_str() {
        Some(text) => PathBuf::from(text.replace(ID_PLACEHOLDER, &id.to_string())),
        // A path that is not UTF-8 is taken as it is: no placeholder can be told apart in it.
        None => path.to_owned(),
    }
}

fn or<T>(given: Option<T>, default: T) -> T {
    given.unwrap_or(default)
}

/// A limit, which is none if 0 is given.
fn limit(given: Option<u64>, default: Option<u64>) -> Option<u64> {
    given.or(default).filter(|limit| *limit > 0)
}

fn millis(value: Option<u64>, default: Duration) -> Duration {
    value.map_or(default, Duration::from_millis)
}

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        toml::from_str(
            r#"
            id = 2
            cluster = "demo"
            data-dir = "/data/n{id}"
            initial-cluster = "1=quic://127.0.0.1:2380,2=quic://127.0.0.1:2390"
            initial-client-urls = "1=http://127.0.0.1:2379,2=http://127.0.0.1:2389/"
            cert = "/pki/n{id}.pem"
            key = "/pki/n{id}.key"
            ca = "/pki/ca.pem"
            "#,
        )
        .unwrap()
    }

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = settings();
        change(&mut settings);
        NodeConfig::resolve(settings).unwrap_err().to_string()
    }

    #[test]
    fn defaults_complete_the_settings() {
        let config = NodeConfig::resolve(settings()).unwrap();
        assert_eq!(config.data_dir, Path::new("/data/n2"));
        assert_eq!(config.cert, Path::new("/pki/n2.pem"));
        assert_eq!(config.key, Path::new("/pki/n2.key"));
        assert_eq!(config.listen_peer, "127.0.0.1:2390");
        assert_eq!(config.listen_client, "127.0.0.1:2389");
        assert_eq!(config.election_timeout, Duration::from_secs(1));
        assert_eq!(config.log_level, "info");
    }

    #[test]
    fn only_an_archive_keeps_a_past() {
        let time = Some("7d".parse().unwrap());
        let refused = refused(|settings| settings.log_retention_time = time);
        assert!(
            refused.contains("`log-retention-time` is 7d") && refused.contains("give `archive`"),
            "{refused}"
        );
        let text = "log-retention-time = \"soon\"";
        let refused = super::super::file::parse(text, Path::new("n1.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("n1.toml, line 1") && refused.contains("such as 90s, 30m, 12h or 7d"),
            "{refused}"
        );
    }

    #[test]
    fn the_effective_configuration_reaches_the_core_and_can_be_read_back() {
        let config = NodeConfig::resolve(Settings {
            priority: Some(2),
            election_timeout_max_ms: Some(4_000),
            lease_drift_max_ms: Some(50),
            snapshot_transfers_max: Some(1),
            snapshot_bytes_per_second: Some(1 << 20),
            archive: Some("/archive/n{id}".into()),
            log_retention_time: Some("36h".parse().unwrap()),
            record: Some("/recording/n{id}".into()),
            record_memory_bytes: Some(0),
            ..settings()
        });
        let config = config.unwrap();
        let core = config.core();
        assert_eq!((core.priority, core.snapshot_transfers_max), (2, 1));
        assert_eq!(core.election_timeout_max, Some(Duration::from_secs(4)));
        assert_eq!(core.lease_drift_max, Some(Duration::from_millis(50)));
        assert_eq!(core.snapshot_bytes_per_second, Some(1 << 20));
        let unlimited = NodeConfig::resolve(Settings {
            snapshot_bytes_per_second: Some(0),
            ..settings()
        });
        assert_eq!(unlimited.unwrap().core().snapshot_bytes_per_second, None);
        assert_eq!(
            config.recording.directory.as_deref(),
            Some(Path::new("/recording/n2"))
        );
        assert_eq!((core.recording_bytes, core.recording_payloads), (0, false));
        let text = toml::to_string(&config.settings()).unwrap();
        let again = super::super::file::parse(&text, Path::new("printed")).unwrap();
        assert_eq!(NodeConfig::resolve(again).unwrap(), config);
    }

    #[test]
    fn the_data_are_found_without_the_other_settings() {
        let mut settings = Settings {
            data_dir: Some("/data/n{id}".into()),
            ..Settings::default()
        };
        let missing = data_dir(&settings).unwrap_err().to_string();
        assert!(missing.contains("`id` is not set"), "{missing}");
        settings.id = Some(3);
        assert_eq!(data_dir(&settings).unwrap(), Path::new("/data/n3"));
        settings.id = None;
        settings.data_dir = Some("/data".into());
        assert_eq!(data_dir(&settings).unwrap(), Path::new("/data"));
    }

    #[test]
    fn a_stronger_source_wins() {
        let stronger = Settings {
            id: Some(1),
            election_timeout_ms: Some(500),
            ..Settings::default()
        };
        let weaker = Settings {
            election_timeout_ms: Some(700),
            heartbeat_interval_ms: Some(50),
            ..settings()
        };
        let config = NodeConfig::resolve(stronger.or(weaker)).unwrap();
        assert_eq!(config.id, NodeId(1));
        assert_eq!(config.election_timeout, Duration::from_millis(500));
        assert_eq!(config.heartbeat_interval, Duration::from_millis(50));
    }

    #[test]
    fn an_election_timeout_grows_and_never_shrinks() {
        let below = refused(|settings| settings.election_timeout_max_ms = Some(999));
        assert!(
            below.contains("`election-timeout-max-ms` is 999")
                && below.contains("`election-timeout-ms`, which is 1000"),
            "{below}"
        );
        let equal = NodeConfig::resolve(Settings {
            election_timeout_max_ms: Some(1_000),
            ..settings()
        });
        assert_eq!(
            equal.unwrap().core().election_timeout_longest(),
            Duration::from_secs(1)
        );
    }

    #[test]
    fn urls_say_what_the_nodes_speak() {
        let other_transport = refused(|settings| settings.transport = Some(TransportKind::Tcp));
        assert!(
            other_transport.contains("`initial-cluster`, node 1") && other_transport.contains("tcp://"),
            "{other_transport}"
        );
    }

    #[test]
    fn every_refusal_names_the_setting_and_the_remedy() {
        let missing = refused(|settings| settings.cluster = None);
        assert!(
            missing.contains("`cluster` is not set") && missing.contains("RAFT_NODE_CLUSTER"),
            "{missing}"
        );
        let stranger = refused(|settings| settings.id = Some(3));
        assert!(
            stranger.contains("node 3 is not in `initial-cluster`, which names node 1, 2")
                && stranger.contains("start it with --join"),
            "{stranger}"
        );
        let zero = refused(|settings| settings.id = Some(0));
        assert!(zero.contains("node 0 is not in"), "{zero}");
        let slow = refused(|settings| settings.heartbeat_interval_ms = Some(400));
        assert!(slow.contains("heartbeat_interval 400ms"), "{slow}");
        let same = refused(|settings| {
            settings.initial_cluster = Some("1=quic://a:1,2=quic://a:1".parse().unwrap());
        });
        assert!(same.contains("nodes 1 and 2 both have quic://a:1"), "{same}");
        let scheme = refused(|settings| {
            settings.initial_cluster = Some("1=http://a:1,2=quic://b:1".parse().unwrap());
        });
        assert!(
            scheme.contains("`initial-cluster`, node 1") && scheme.contains("quic://"),
            "{scheme}"
        );
        let nodes = refused(|settings| {
            settings.initial_client_urls = Some("2=http://a:1".parse().unwrap());
        });
        assert!(nodes.contains("both must name the same nodes"), "{nodes}");
        let level = refused(|settings| settings.log_level = Some("loud".to_owned()));
        assert!(
            level.contains("`log-level`") && level.contains("debug"),
            "{level}"
        );
        let listen = refused(|settings| settings.listen_client = Some("2379".to_owned()));
        assert!(
            listen.contains("`listen-client`") && listen.contains("host:port"),
            "{listen}"
        );
        let priority = refused(|settings| settings.priority = Some(5));
        assert!(
            priority.contains("`priority` is 5") && priority.contains("0 to 4"),
            "{priority}"
        );
        for drift in [0, 1000] {
            let lease = refused(|settings| settings.lease_drift_max_ms = Some(drift));
            assert!(
                lease.contains("`lease-drift-max-ms` is") && lease.contains("leave it out"),
                "{lease}"
            );
        }
        let transfers = refused(|settings| settings.snapshot_transfers_max = Some(0));
        assert!(
            transfers.contains("`snapshot-transfers-max` is 0") && transfers.contains("1 or more"),
            "{transfers}"
        );
        let tls = refused(|settings| {
            settings.initial_client_urls = Some("1=https://a:1,2=https://b:1".parse().unwrap());
        });
        assert!(tls.contains("--listen-client"), "{tls}");
    }
}
