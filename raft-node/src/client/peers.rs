//! What a node knows about its way to each peer, as its page of figures tells it.

use std::collections::BTreeMap;

use serde::Serialize;

/// The way from one node to a peer. What its transport does not measure is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerPath {
    /// The peer.
    pub id: u64,
    /// Whether a connection stands.
    pub connected: bool,
    /// The smoothed round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// How many bytes may be under way, unacknowledged.
    pub congestion_window_bytes: Option<u64>,
    /// Packets that the connection sent.
    pub sent_packets: Option<u64>,
    /// How many of them were lost.
    pub lost_packets: Option<u64>,
    /// Messages that wait to be sent.
    pub queued_messages: u64,
    /// Their size in bytes.
    pub queued_bytes: u64,
    /// Messages that were lost before they were sent.
    pub dropped_messages: u64,
}

/// Every peer in a Prometheus page, sorted by id.
pub(super) fn of_page(page: &str) -> Vec<PeerPath> {
    let mut peers: BTreeMap<u64, PeerPath> = BTreeMap::new();
    for (name, id, value) in page.lines().filter_map(sample) {
        let peer = peers.entry(id).or_insert_with(|| PeerPath {
            id,
            ..PeerPath::default()
        });
        let count = value as u64;
        match name {
            "connected" => peer.connected = value == 1.0,
            "rtt_seconds" => peer.rtt_us = Some((value * 1e6).round() as u64),
            "congestion_window_bytes" => peer.congestion_window_bytes = Some(count),
            "sent_packets_total" => peer.sent_packets = Some(count),
            "lost_packets_total" => peer.lost_packets = Some(count),
            "queued_messages" => peer.queued_messages = count,
            "queued_bytes" => peer.queued_bytes = count,
            "dropped_messages_total" => peer.dropped_messages = count,
            _ => {}
        }
    }
    peers.into_values().collect()
}

/// The figure, the peer and the value of a line like `raft_peer_connected{peer="2"} 1`.
fn sample(line: &str) -> Option<(&str, u64, f64)> {
    let (name, rest) = line.strip_prefix("raft_peer_")?.split_once("{peer=\"")?;
    let (id, value) = rest.split_once("\"} ")?;
    Some((name, id.parse().ok()?, value.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP raft_peer_connected Whether a connection to the peer stands.
# TYPE raft_peer_connected gauge
raft_peer_connected{peer=\"3\"} 0
raft_peer_connected{peer=\"2\"} 1
raft_peer_queued_messages{peer=\"2\"} 3
raft_peer_dropped_messages_total{peer=\"2\"} 9
raft_peer_queued_bytes{peer=\"2\"} 768
raft_peer_rtt_seconds{peer=\"2\"} 0.00025
raft_peer_congestion_window_bytes{peer=\"2\"} 14720
raft_peer_sent_packets_total{peer=\"2\"} 200
raft_peer_lost_packets_total{peer=\"2\"} 4
raft_peer_of_a_later_version{peer=\"2\"} 5
raft_voters 3
";

    #[test]
    fn peers_are_found_in_a_page() {
        let known = PeerPath {
            id: 2,
            connected: true,
            rtt_us: Some(250),
            congestion_window_bytes: Some(14_720),
            sent_packets: Some(200),
            lost_packets: Some(4),
            queued_messages: 3,
            queued_bytes: 768,
            dropped_messages: 9,
        };
        let unmeasured = PeerPath {
            id: 3,
            ..PeerPath::default()
        };
        assert_eq!(of_page(PAGE), [known, unmeasured]);
        assert_eq!(of_page(""), []);
        assert_eq!(
            of_page("raft_peer_connected{peer=\"x\"} 1\nraft_peer_connected{peer=\"2\"}"),
            []
        );
    }
}
