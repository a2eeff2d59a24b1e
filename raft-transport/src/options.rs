//! What a user chooses, validated once. Every queue, window, time-out and number of tasks has its named limit here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raft_core::types::NodeId;

use crate::error::SetupError;
use crate::identity::{check_cluster_name, node_name};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Who this node is, where it listens, whom it talks to, and what proves it.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// This node; 1 or more.
    pub id: NodeId,
    /// The name of the cluster: 1 to 63 lower-case letters, digits and inner hyphens. It is part of every certificate.
    pub cluster: String,
    /// Where to listen for peers; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Every node's address as `host:port`, resolved anew at each attempt to connect. The own entry is ignored, so that
    /// the same map serves every node. As long as no replica has told the members of its group, whoever is not in it is
    /// refused, whatever certificate it shows; from then on it only says where members are that have no contact.
    pub peers: BTreeMap<NodeId, String>,
    /// How the contact of a member names its address.
    pub contact_address: ContactAddress,
    /// The file with this node's certificate and its intermediates, if any, in PEM.
    pub certificate: PathBuf,
    /// The file with the private key of the certificate, in PEM; on Unix its mode must be 0600 or stricter.
    pub key: PathBuf,
    /// The file with the certificates of the authorities that sign this cluster's certificates, in PEM.
    pub ca: PathBuf,
    /// The limits.
    pub limits: TransportLimits,
}

/// Turns a member's [`Contact`](raft_core::membership::Contact) into an address. The default takes the text itself for the
/// address.
#[derive(Clone)]
pub struct ContactAddress(Arc<AddressOf>);

type AddressOf = dyn Fn(&str) -> Option<String> + Send + Sync;

impl ContactAddress {
    /// Asks `address` for the `host:port` in the text of a contact; none if it has no such. It is called while the
    /// transport's table of peers is locked, so it must only look at the text.
    pub fn new(address: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> ContactAddress {
        ContactAddress(Arc::new(address))
    }

    /// The address in `text`, if it is one that can be dialled.
    pub(crate) fn of(&self, text: &str) -> Option<String> {
        (self.0)(text).filter(|address| has_port(address))
    }
}

impl Default for ContactAddress {
    fn default() -> ContactAddress {
        ContactAddress::new(|text| Some(text.to_owned()))
    }
}

impl fmt::Debug for ContactAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactAddress")
    }
}

/// Every limit of the transport. The defaults suit a local network; the table in the crate's documentation says what
/// happens at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// The largest body of a frame that is sent or accepted, checked before memory is allocated for it.
    /// Default: 4 MiB.
    pub frame_bytes_max: usize,
    /// Messages that wait together leave in frames of at most about this size; a larger message has a frame of its own.
    /// Default: 64 KiB, which allocators keep at hand; larger ones were measured to cost more.
    pub coalesce_bytes_max: usize,
    /// How many messages wait for one peer. Default: 16,384.
    pub queue_messages_max: usize,
    /// How many encoded bytes of messages wait for one peer. Default: 32 MiB.
    pub queue_bytes_max: usize,
    /// Messages that waited longer than this for a peer without a connection are dropped. Default: 1 s.
    pub queue_age_max: Duration,
    /// The pause after the first failed attempt to connect. It doubles with every failure, and a random half is taken
    /// off, so that nodes do not dial in step. Default: 50 ms.
    pub dial_backoff_min: Duration,
    /// The longest pause between two attempts to connect. A peer that restarts makes itself known at once, so this
    /// bounds the cost of a dead peer, not the time until a live one is reached. Default: 2 s.
    pub dial_backoff_max: Duration,
    /// How long a new connection may take until both sides have proved who they are. Default: 3 s.
    pub handshake_timeout: Duration,
    /// How long a frame may take from its first byte to its last, and a second more for each 64 KiB of it. Default: 5 s.
    pub frame_timeout: Duration,
    /// How often an idle connection is probed. Below `idle_timeout`. Default: 500 ms.
    pub keep_alive_interval: Duration,
    /// When nothing arrived on a connection for this long, the end that accepted it knocks: it may have another address, from
    /// which nothing it sends is taken. Above `keep_alive_interval`, and below the time in which a silent leader loses its
    /// followers. Default: 650 ms.
    pub silence_max: Duration,
    /// A connection on which nothing arrived for this long is dead. Default: 2.5 s.
    pub idle_timeout: Duration,
    /// How many incoming connections may be unproven at once; beyond, the oldest is given up. Default: 256.
    pub handshakes_max: usize,
    /// The same for the connections from one address. Default: 64.
    pub handshakes_per_address_max: usize,
    /// How many connections one address may begin in a second, after a burst of `handshakes_per_address_max`; more are refused
    /// before they cost anything. Default: 64.
    pub handshakes_per_address_per_second: u32,
    /// With this many unproven connections, newcomers must first show that they receive at the address they claim (QUIC
    /// Retry). Default: 32.
    pub retry_handshakes_min: usize,
    /// How many nodes may be connected at once that this node does not know and that may have become members without its
    /// knowledge; more are refused. Default: 16.
    pub strangers_max: usize,
    /// How long a member that left stays connected after that is committed, so that it learns of it: some heartbeats, and
    /// below the second within which it has to be off. Default: 500 ms.
    pub departed_grace: Duration,
    /// How many bytes of a snapshot travel in one frame. Default: 64 KiB.
    pub snapshot_chunk_bytes_max: usize,
    /// How many bytes of a snapshot may be sent and not yet written at the other end. It is less where the way holds less: what a
    /// gigabit link carries in one round trip, at least 128 KiB. Default: 8 MiB.
    pub snapshot_window_bytes_max: usize,
    /// A snapshot transfer that makes no progress for this long fails. Default: 10 s.
    pub snapshot_stall_timeout: Duration,
    /// How many snapshots may be received at once from all peers; more are refused. Default: 4.
    pub inbound_snapshots_max: usize,
}

impl Default for TransportLimits {
    fn default() -> TransportLimits {
        TransportLimits {
            frame_bytes_max: 4 * MIB,
            coalesce_bytes_max: 64 * KIB,
            queue_messages_max: 16_384,
            queue_bytes_max: 32 * MIB,
            queue_age_max: Duration::from_secs(1),
            dial_backoff_min: Duration::from_millis(50),
            dial_backoff_max: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(3),
            frame_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_millis(500),
            silence_max: Duration::from_millis(650),
            idle_timeout: Duration::from_millis(2_500),
            handshakes_max: 256,
            handshakes_per_address_max: 64,
            handshakes_per_address_per_second: 64,
            retry_handshakes_min: 32,
            strangers_max: 16,
            departed_grace: Duration::from_millis(500),
            snapshot_chunk_bytes_max: 64 * KIB,
            snapshot_window_bytes_max: 8 * MIB,
            snapshot_stall_timeout: Duration::from_secs(10),
            inbound_snapshots_max: 4,
        }
    }
}

impl TransportOptions {
    /// Checks every option against its range.
    pub(crate) fn validate(&self) -> Result<(), SetupError> {
        if self.id == NodeId(0) {
            return Err(refuse("id", &self.id.0, "node ids start at 1"));
        }
        check_cluster_name(&self.cluster)?;
        check_peers(&self.peers)?;
        debug_assert!(node_name(self.id, &self.cluster).len() <= 253);
        self.limits.validate()
    }
}

/// Node id 0 and empty addresses are mistakes worth a word at start.
pub(crate) fn check_peers(peers: &BTreeMap<NodeId, String>) -> Result<(), SetupError> {
    for (id, address) in peers {
        if *id == NodeId(0) {
            return Err(refuse(
                "peers",
                address,
                "it belongs to node 0, but node ids start at 1",
            ));
        }
        if !has_port(address) {
            return Err(refuse("peers", address, "give each peer as host:port"));
        }
    }
    Ok(())
}

fn has_port(address: &str) -> bool {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    matches!(port, Some(Ok(_)))
}

impl TransportLimits {
    fn validate(&self) -> Result<(), SetupError> {
        for (name, limit) in self.counts() {
            if limit == 0 {
                return Err(refuse(name, &limit, "give at least 1"));
            }
        }
        for (name, duration) in self.durations() {
            if duration < Duration::from_millis(1) {
                return Err(refuse(name, &format!("{duration:?}"), "give at least 1 ms"));
            }
        }
        self.validate_relations()
    }

    fn counts(&self) -> [(&'static str, usize); 12] {
        [
            ("frame_bytes_max", self.frame_bytes_max),
            ("coalesce_bytes_max", self.coalesce_bytes_max),
            ("queue_messages_max", self.queue_messages_max),
            ("queue_bytes_max", self.queue_bytes_max),
            ("handshakes_max", self.handshakes_max),
            ("handshakes_per_address_max", self.handshakes_per_address_max),
            (
                "handshakes_per_address_per_second",
                self.handshakes_per_address_per_second as usize,
            ),
            ("retry_handshakes_min", self.retry_handshakes_min),
            ("strangers_max", self.strangers_max),
            ("snapshot_chunk_bytes_max", self.snapshot_chunk_bytes_max),
            ("snapshot_window_bytes_max", self.snapshot_window_bytes_max),
            ("inbound_snapshots_max", self.inbound_snapshots_max),
        ]
    }

    fn durations(&self) -> [(&'static str, Duration); 10] {
        [
            ("queue_age_max", self.queue_age_max),
            ("dial_backoff_min", self.dial_backoff_min),
            ("dial_backoff_max", self.dial_backoff_max),
            ("handshake_timeout", self.handshake_timeout),
            ("frame_timeout", self.frame_timeout),
            ("keep_alive_interval", self.keep_alive_interval),
            ("silence_max", self.silence_max),
            ("idle_timeout", self.idle_timeout),
            ("departed_grace", self.departed_grace),
            ("snapshot_stall_timeout", self.snapshot_stall_timeout),
        ]
    }

    fn validate_relations(&self) -> Result<(), SetupError> {
        const FRAME_BYTES_MAX: usize = 1 << 30;
        if self.frame_bytes_max > FRAME_BYTES_MAX {
            return Err(refuse(
                "frame_bytes_max",
                &self.frame_bytes_max,
                "give at most 1 GiB",
            ));
        }
        if self.queue_bytes_max < self.frame_bytes_max {
            return Err(refuse(
                "queue_bytes_max",
                &self.queue_bytes_max,
                "give at least frame_bytes_max, or a large message never fits",
            ));
        }
        if self.snapshot_chunk_bytes_max > self.frame_bytes_max {
            return Err(refuse(
                "snapshot_chunk_bytes_max",
                &self.snapshot_chunk_bytes_max,
                "give at most frame_bytes_max, or the receiver refuses every chunk",
            ));
        }
        if self.inbound_snapshots_max > 1_000 {
            return Err(refuse(
                "inbound_snapshots_max",
                &self.inbound_snapshots_max,
                "give at most 1,000",
            ));
        }
        if self.keep_alive_interval >= self.idle_timeout {
            return Err(refuse(
                "keep_alive_interval",
                &format!("{:?}", self.keep_alive_interval),
                "give less than idle_timeout, or idle connections die",
            ));
        }
        if self.keep_alive_interval >= self.silence_max {
            return Err(refuse(
                "silence_max",
                &format!("{:?}", self.silence_max),
                "give more than keep_alive_interval, or idle connections are doubted",
            ));
        }
        if self.dial_backoff_min > self.dial_backoff_max {
            return Err(refuse(
                "dial_backoff_min",
                &format!("{:?}", self.dial_backoff_min),
                "give at most dial_backoff_max",
            ));
        }
        Ok(())
    }

    /// How many streams for snapshots a peer may open on one connection. One more than can be served, so that a surplus
    /// one is told why it is refused.
    #[must_use]
    pub fn snapshot_streams_max(&self) -> usize {
        self.inbound_snapshots_max + 1
    }
}

fn refuse(name: &'static str, value: &dyn std::fmt::Display, remedy: &'static str) -> SetupError {
    SetupError::Option {
        name,
        value: value.to_string(),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        TransportLimits::default().validate().unwrap();
    }

    #[test]
    fn a_zero_limit_is_named() {
        let limits = TransportLimits {
            queue_messages_max: 0,
            ..TransportLimits::default()
        };
        let message = limits.validate().unwrap_err().to_string();
        assert!(message.contains("queue_messages_max"), "{message}");
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let slow_keep_alive = TransportLimits {
            keep_alive_interval: Duration::from_secs(3),
            ..TransportLimits::default()
        };
        let narrow_queue = TransportLimits {
            queue_bytes_max: MIB,
            ..TransportLimits::default()
        };
        let large_chunks = TransportLimits {
            snapshot_chunk_bytes_max: 5 * MIB,
            ..TransportLimits::default()
        };
        for limits in [slow_keep_alive, narrow_queue, large_chunks] {
            limits.validate().unwrap_err();
        }
    }

    #[test]
    fn peers_need_a_port() {
        for address in ["localhost", "localhost:", "localhost:70000", ""] {
            let peers = BTreeMap::from([(NodeId(1), address.to_string())]);
            check_peers(&peers).unwrap_err();
        }
        check_peers(&BTreeMap::from([(NodeId(1), "[::1]:2380".to_string())])).unwrap();
    }
}
