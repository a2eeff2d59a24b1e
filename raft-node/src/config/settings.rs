//! The settings of `start`, once, for flags, environment and file alike.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser};
use serde::{Deserialize, Serialize};

use super::addresses::AddressMap;
use super::cluster_name::ClusterName;
use super::log_output::LogFormat;
use super::log_store::LogStoreKind;
use super::retention_time::RetentionTime;
use super::transport::TransportKind;

/// What every environment variable begins with.
pub const VARIABLE_PREFIX: &str = "RAFT_NODE_";

/// The settings of one node as one source gives them: each may be absent.
///
/// The fields' names are the flags (`--data-dir`), the keys of the file (`data-dir`) and, in capitals and after
/// [`VARIABLE_PREFIX`], the environment variables (`RAFT_NODE_DATA_DIR`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// The number of this node, from 1 on; never give it to another machine again
    ///
    /// The only setting that differs between the nodes of a cluster.
    #[arg(long, env = "RAFT_NODE_ID", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,

    /// The name of the cluster: lower-case letters, digits and hyphens
    #[arg(long, env = "RAFT_NODE_CLUSTER", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,

    /// Where the node keeps its log, its snapshots and its data; `{id}` stands for the node's number
    ///
    /// Made at the first start. It belongs to one node of one cluster for ever and is refused to any other.
    #[arg(long, env = "RAFT_NODE_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,

    /// In which store the node keeps its log; each node of a cluster may have another one [default: rocksdb]
    ///
    /// Chosen at the first start, and refused if it changes later. `memory` is for tests: it forgets everything when the node
    /// stops, so that node never starts again.
    #[arg(long, env = "RAFT_NODE_LOG_STORE", value_name = "STORE", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_store: Option<LogStoreKind>,

    /// What carries the messages between the nodes; the same on every node of a cluster [default: quic]
    ///
    /// QUIC runs over UDP: a lost packet of one stream delays no other, and a new address costs no election. TCP is for
    /// networks that do not carry UDP. The nodes' URLs begin with `quic://` or `tcp://` accordingly.
    #[arg(long, env = "RAFT_NODE_TRANSPORT", value_name = "TRANSPORT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportKind>,

    /// Every node's address for the other nodes, such as 1=quic://10.0.0.1:2380,2=quic://10.0.0.2:2380
    ///
    /// At the very first start these nodes become the voters. Later the members are read from the data directory
    /// and only the addresses are taken from here, of members that have not told theirs. With --join, nodes to join by.
    #[arg(long, env = "RAFT_NODE_INITIAL_CLUSTER", value_name = "ID=URL,…")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_cluster: Option<AddressMap>,

    /// Every node's address for clients, such as 1=http://10.0.0.1:2379,2=http://10.0.0.2:2379
    #[arg(long, env = "RAFT_NODE_INITIAL_CLIENT_URLS", value_name = "ID=URL,…")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_client_urls: Option<AddressMap>,

    /// Join a running cluster as a node that is not in --initial-cluster's first members
    ///
    /// Without data of its own the node waits until it is added with `raft-node member add`; with data it simply goes on.
    #[arg(
        long,
        env = "RAFT_NODE_JOIN",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<bool>,

    /// Where the other nodes reach this one: quic://host:port [default: this node's entry of --initial-cluster]
    #[arg(long, env = "RAFT_NODE_PEER_URL", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_url: Option<String>,

    /// Where clients reach this node: http://host:port [default: this node's entry of --initial-client-urls]
    #[arg(long, env = "RAFT_NODE_CLIENT_URL", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_url: Option<String>,

    /// This node's certificate chain (PEM); `{id}` stands for the node's number
    #[arg(long, env = "RAFT_NODE_CERT", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,

    /// The certificate's private key (PEM, mode 0600); `{id}` stands for the node's number
    #[arg(long, env = "RAFT_NODE_KEY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,

    /// The certificate of the cluster's own authority (PEM); two while one takes the place of the other
    ///
    /// These three files are read again within seconds when they change, and on SIGHUP.
    #[arg(long, env = "RAFT_NODE_CA", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,

    /// From how many days before a certificate expires the log says so, once a day; in the last three as an error [default: 30]
    #[arg(long, env = "RAFT_NODE_CERT_WARN_DAYS", value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_warn_days: Option<u32>,

    /// Where to listen for the other nodes [default: where --peer-url says]
    #[arg(long, env = "RAFT_NODE_LISTEN_PEER", value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_peer: Option<String>,

    /// Where to listen for clients [default: where --client-url says]
    #[arg(long, env = "RAFT_NODE_LISTEN_CLIENT", value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_client: Option<String>,

    /// How long a follower waits for its leader before it starts an election, in milliseconds [default: 1000]
    #[arg(long, env = "RAFT_NODE_ELECTION_TIMEOUT_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election_timeout_ms: Option<u64>,

    /// How often a leader contacts its followers, in milliseconds; at most a third of the former [default: 100]
    #[arg(long, env = "RAFT_NODE_HEARTBEAT_INTERVAL_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_ms: Option<u64>,

    /// How much this node should lead, from 0 to 4; each step below 4 makes it wait longer before it asks for votes [default: 4]
    ///
    /// It never makes a node leader that lacks what others have, and gives way while no leader is found.
    #[arg(long, env = "RAFT_NODE_PRIORITY", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,

    /// Let the election timeout grow with the measured round trip, up to this many milliseconds [default: it does not grow]
    ///
    /// A node then waits ten times the round trip to the nearest majority and to its leader, at least `election-timeout-ms` and
    /// at most this. For networks whose delay changes. Nodes may differ; leases rest on `election-timeout-ms` all the same.
    #[arg(long, env = "RAFT_NODE_ELECTION_TIMEOUT_MAX_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election_timeout_max_ms: Option<u64>,

    /// Serve reads by lease: by how many milliseconds two clocks may drift apart within an election timeout [default: no leases]
    ///
    /// Without it the leader asks a majority before it serves reads, which needs no clocks. If the clocks drift further
    /// than this, or stop, as those of a suspended machine do, reads may be stale. It may be turned on node by node, and
    /// takes effect when all voters have it; turn it off only with all of them stopped.
    #[arg(long, env = "RAFT_NODE_LEASE_DRIFT_MAX_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_drift_max_ms: Option<u64>,

    /// Take a snapshot after this many applied entries [default: 100000]
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_ENTRIES", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_entries: Option<u64>,

    /// To how many nodes a snapshot is sent at once [default: 2]
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_TRANSFERS_MAX", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_transfers_max: Option<usize>,

    /// How many bytes of snapshots are sent per second, to all nodes together; 0 sends them as fast as network and disks take
    /// them [default: 104857600]
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_BYTES_PER_SECOND", value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_bytes_per_second: Option<u64>,

    /// How many entries below a snapshot the log keeps, for nodes that are a little behind [default: 10000]
    #[arg(long, env = "RAFT_NODE_LOG_RETENTION_ENTRIES", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_retention_entries: Option<u64>,

    /// Keep what the log forgets in this directory, so that `raft-node restore` reaches further back; `{id}` stands for the node's
    /// number [default: no archive]
    #[arg(long, env = "RAFT_NODE_ARCHIVE", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,

    /// How many bytes the archive may have; beyond them it forgets its oldest part [default: 10737418240]
    #[arg(long, env = "RAFT_NODE_ARCHIVE_BYTES_MAX", value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_bytes_max: Option<u64>,

    /// How far back `raft-node restore` is to reach: 90s, 30m, 12h, 7d; what is older is forgotten. Needs `archive` [default: as far
    /// as `archive-bytes-max` allows]
    ///
    /// The archive keeps everything since the last snapshot that is so old, and takes a snapshot into itself four times in that time.
    /// `archive-bytes-max` is a limit all the same: if it cuts the time short, the node says so in its log.
    #[arg(long, env = "RAFT_NODE_LOG_RETENTION_TIME", value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_retention_time: Option<RetentionTime>,

    /// Stop if the disk does not complete a write of the log for so many milliseconds; 0 waits for ever [default: 20000]
    ///
    /// Before that, after an election timeout, a leader hands leadership over. What was acknowledged is not lost.
    #[arg(long, env = "RAFT_NODE_WRITE_STALL_MAX_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_stall_max_ms: Option<u64>,

    /// Record everything that the node is given in files of this directory, for `raft-node replay`; `{id}` stands for the node's number
    ///
    /// The node never waits for these files: if their disk is too slow the recording has gaps. They tell who the members are and what
    /// the node decided, but of commands only how long they are.
    #[arg(long, env = "RAFT_NODE_RECORD", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,

    /// How many bytes all files of --record may take; the oldest are removed [default: 268435456, which is 256 MiB]
    #[arg(long, env = "RAFT_NODE_RECORD_BYTES_MAX", value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_bytes_max: Option<u64>,

    /// How many bytes of the newest inputs are kept in memory, recorded or not; 0 keeps none [default: 4194304, which is 4 MiB]
    ///
    /// `GET /debug/recording` fetches them; if the node fails they are written to `last-failure.raftrec` in the data directory.
    #[arg(long, env = "RAFT_NODE_RECORD_MEMORY_BYTES", value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_memory_bytes: Option<usize>,

    /// Record commands with what clients wrote, which then is in the files, too
    #[arg(
        long,
        env = "RAFT_NODE_RECORD_PAYLOADS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_payloads: Option<bool>,

    /// What to log: off, error, warn, info, debug or trace, also per module: info,raft_core=debug [default: info]
    #[arg(long, env = "RAFT_NODE_LOG_LEVEL", value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,

    /// The form of the log lines on standard error [default: text]
    #[arg(long, env = "RAFT_NODE_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

impl Settings {
    /// What `self` says, and where it says nothing, what `weaker` says.
    #[must_use]
    pub fn or(self, weaker: Settings) -> Settings {
        Settings {
            id: self.id.or(weaker.id),
            cluster: self.cluster.or(weaker.cluster),
            data_dir: self.data_dir.or(weaker.data_dir),
            log_store: self.log_store.or(weaker.log_store),
            transport: self.transport.or(weaker.transport),
            initial_cluster: self.initial_cluster.or(weaker.initial_cluster),
            initial_client_urls: self.initial_client_urls.or(weaker.initial_client_urls),
            join: self.join.or(weaker.join),
            peer_url: self.peer_url.or(weaker.peer_url),
            client_url: self.client_url.or(weaker.client_url),
            cert: self.cert.or(weaker.cert),
            key: self.key.or(weaker.key),
            ca: self.ca.or(weaker.ca),
            cert_warn_days: self.cert_warn_days.or(weaker.cert_warn_days),
            listen_peer: self.listen_peer.or(weaker.listen_peer),
            listen_client: self.listen_client.or(weaker.listen_client),
            election_timeout_ms: self.election_timeout_ms.or(weaker.election_timeout_ms),
            heartbeat_interval_ms: self.heartbeat_interval_ms.or(weaker.heartbeat_interval_ms),
            priority: self.priority.or(weaker.priority),
            election_timeout_max_ms: self.election_timeout_max_ms.or(weaker.election_timeout_max_ms),
            lease_drift_max_ms: self.lease_drift_max_ms.or(weaker.lease_drift_max_ms),
            snapshot_entries: self.snapshot_entries.or(weaker.snapshot_entries),
            snapshot_transfers_max: self.snapshot_transfers_max.or(weaker.snapshot_transfers_max),
            snapshot_bytes_per_second: self
                .snapshot_bytes_per_second
                .or(weaker.snapshot_bytes_per_second),
            log_retention_entries: self.log_retention_entries.or(weaker.log_retention_entries),
            archive: self.archive.or(weaker.archive),
            archive_bytes_max: self.archive_bytes_max.or(weaker.archive_bytes_max),
            log_retention_time: self.log_retention_time.or(weaker.log_retention_time),
            write_stall_max_ms: self.write_stall_max_ms.or(weaker.write_stall_max_ms),
            record: self.record.or(weaker.record),
            record_bytes_max: self.record_bytes_max.or(weaker.record_bytes_max),
            record_memory_bytes: self.record_memory_bytes.or(weaker.record_memory_bytes),
            record_payloads: self.record_payloads.or(weaker.record_payloads),
            log_level: self.log_level.or(weaker.log_level),
            log_format: self.log_format.or(weaker.log_format),
        }
    }

    /// The names of all settings, in the order of the help text.
    #[must_use]
    pub fn names() -> Vec<String> {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            _settings: Settings,
        }
        Only::command()
            .get_arguments()
            .filter_map(|argument| argument.get_long())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    }

    /// The environment variable of the setting `name`.
    #[must_use]
    pub fn variable(name: &str) -> String {
        format!("{VARIABLE_PREFIX}{}", name.replace('-', "_").to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_variables_and_keys_have_the_same_names() {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            _settings: Settings,
        }
        let names = Settings::names();
        assert!(names.len() > 10);
        for name in &names {
            let command = Only::command();
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_long() == Some(name))
                .unwrap();
            let variable = argument.get_env().unwrap().to_str().unwrap();
            assert_eq!(variable, Settings::variable(name));
            // Every name is a key of the file: serde knows it, whatever it thinks of the value.
            let error = toml::from_str::<Settings>(&format!("{name} = {{ x = 1 }}")).unwrap_err();
            assert!(!error.message().contains("unknown field"), "{name}: {error}");
        }
    }
}
