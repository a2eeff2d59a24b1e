//! The text of `/metrics`: what the server counted, and what node, transport and system say at this moment.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use raft_core::effect::RoleKind;
use raft_core::explain::Explanation;
use raft_core::status::Status;
use raft_core::traits::PeerStatus;

use super::histogram::DurationCounts;
use super::process::ProcessUsage;
use super::{Metrics, Outcome, RequestCounters, archive, certificates};
use crate::archive::log_store::ArchiveFigures;
use crate::certificates::figures::CertificateFigures;
use crate::server::backend::Backend;

/// The media type of the page.
pub(in crate::server) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page. `cause` is what is wrong as the replica sees it.
pub(in crate::server) fn render<B: Backend>(
    metrics: &Metrics,
    backend: &B,
    cause: Option<&'static str>,
) -> Result<String, fmt::Error> {
    let sample = Sample {
        cause,
        status: backend.with_status(Status::clone),
        peers: backend.peers(),
        revision: backend.revision(),
        store_bytes: backend.store_bytes(),
        process: ProcessUsage::read(),
        proposals: RequestSample::of(&metrics.proposals),
        linearizable_reads: RequestSample::of(&metrics.linearizable_reads),
        serializable_reads: RequestSample::of(&metrics.serializable_reads),
        membership_changes: RequestSample::of(&metrics.membership_changes),
        leadership_transfers: RequestSample::of(&metrics.leadership_transfers),
        overloads: metrics.overloads.load(Ordering::Relaxed),
        requests_in_flight: metrics.requests_in_flight.load(Ordering::Relaxed),
        connections: metrics.connections.load(Ordering::Relaxed),
        certificates: metrics.certificates.clone(),
        archive: metrics.archive.clone(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sample));
    let mut page = String::with_capacity(8 * 1024);
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// Every figure at the moment of a scrape.
#[derive(Debug)]
struct Sample {
    /// What is wrong, in one word; none if the node stops.
    cause: Option<&'static str>,
    status: Status,
    peers: Vec<PeerStatus>,
    revision: i64,
    store_bytes: u64,
    process: ProcessUsage,
    proposals: RequestSample,
    linearizable_reads: RequestSample,
    serializable_reads: RequestSample,
    membership_changes: RequestSample,
    leadership_transfers: RequestSample,
    overloads: u64,
    requests_in_flight: u64,
    connections: u64,
    certificates: Arc<CertificateFigures>,
    archive: Option<Arc<ArchiveFigures>>,
}

/// What was counted of one kind of request.
#[derive(Debug)]
struct RequestSample {
    outcomes: Vec<(&'static str, u64)>,
    durations: DurationCounts,
}

impl RequestSample {
    fn of(counters: &RequestCounters) -> RequestSample {
        RequestSample {
            outcomes: Outcome::LABELS
                .iter()
                .map(|&(outcome, label)| (label, counters.count(outcome)))
                .collect(),
            durations: counters.durations.counts(),
        }
    }
}

impl Collector for Sample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut page = Page { encoder };
        self.replica(&mut page)?;
        self.transport(&mut page)?;
        certificates::encode(&self.certificates, &mut page)?;
        if let Some(figures) = &self.archive {
            archive::encode(figures, &mut page)?;
        }
        self.store(&mut page)?;
        self.requests(&mut page)?;
        self.process(&mut page)
    }
}

impl Sample {
    fn replica(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let status = &self.status;
        let roles = [
            RoleKind::Follower,
            RoleKind::PreCandidate,
            RoleKind::Candidate,
            RoleKind::Leader,
        ];
        page.gauges(
            "raft_role",
            "1 for the role of this replica, 0 for the others",
            "role",
            roles.map(|role| (role.to_string(), u64::from(role == status.role))),
        )?;
        page.gauges(
            "raft_trouble",
            "1 for what is wrong as this replica sees it, 0 for the others; none if nothing is",
            "cause",
            Explanation::LABELS.map(|cause| (cause, u64::from(Some(cause) == self.cause))),
        )?;
        let leader = status.leader.map_or(0, |leader| leader.0);
        page.each_gauge([
            ("raft_term", "The current term", status.term.0),
            (
                "raft_leader_id",
                "The leader that this replica knows, 0 for none",
                leader,
            ),
            (
                "raft_ready",
                "Whether the store is fit to be read",
                u64::from(status.ready),
            ),
            // The names that etcd's dashboards and alerts look for.
            (
                "etcd_server_has_leader",
                "Whether a leader is known",
                u64::from(leader != 0),
            ),
            (
                "etcd_server_is_leader",
                "Whether this replica leads",
                u64::from(status.role == RoleKind::Leader),
            ),
        ])?;
        self.log(page)?;
        self.members(page)
    }

    fn log(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let status = &self.status;
        page.each_gauge([
            (
                "raft_first_index",
                "The first index of the log",
                status.first_index.0,
            ),
            (
                "raft_appended_index",
                "The last index of the log",
                status.appended_index.0,
            ),
            (
                "raft_durable_index",
                "The last index that is synced to disk",
                status.durable_index.0,
            ),
            (
                "raft_commit_index",
                "The last index known to be committed",
                status.commit_index.0,
            ),
            (
                "raft_applied_index",
                "The last index applied to the store",
                status.applied_index.0,
            ),
            (
                "raft_snapshot_index",
                "The last index of the newest snapshot",
                status.snapshot.index.0,
            ),
        ])
    }

    fn members(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let membership = &self.status.membership;
        let learners = membership.learners().len() as u64;
        page.each_gauge([
            (
                "raft_voters",
                "The voters of the configuration in force, both halves if it is joint",
                membership.members().len() as u64 - learners,
            ),
            (
                "raft_learners",
                "The learners of the configuration in force",
                learners,
            ),
            (
                "raft_membership_joint",
                "Whether the configuration in force is joint: a change of the members is under way",
                u64::from(membership.is_joint()),
            ),
        ])
    }

    fn transport(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let peers = |figure: fn(&PeerStatus) -> u64| {
            self.peers
                .iter()
                .map(move |peer| (peer.id.to_string(), figure(peer)))
        };
        page.gauges(
            "raft_peer_connected",
            "Whether a connection to the peer stands",
            "peer",
            peers(|peer| u64::from(peer.connected)),
        )?;
        page.gauges(
            "raft_peer_queued_messages",
            "Messages that wait to be sent to the peer",
            "peer",
            peers(|peer| peer.queued_messages as u64),
        )?;
        page.counters(
            "raft_peer_dropped_messages",
            "Messages to the peer that were lost before they were sent",
            "peer",
            peers(|peer| peer.dropped_messages),
        )?;
        page.gauges(
            "raft_peer_queued_bytes",
            "Bytes of the messages that wait to be sent to the peer",
            "peer",
            peers(|peer| peer.queued_bytes as u64),
        )?;
        self.paths(page)
    }

    /// What the transport measured of the way to each peer; nothing where it does not measure.
    fn paths(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let measured = |figure: fn(&PeerStatus) -> Option<u64>| {
            self.peers
                .iter()
                .filter_map(move |peer| Some((peer.id.to_string(), figure(peer)?)))
        };
        let seconds = measured(|peer| peer.rtt_us).map(|(id, micros)| (id, micros as f64 / 1e6));
        page.gauges(
            "raft_peer_rtt_seconds",
            "The smoothed round-trip time to the peer",
            "peer",
            seconds,
        )?;
        page.gauges(
            "raft_peer_congestion_window_bytes",
            "How many bytes may be under way to the peer, unacknowledged",
            "peer",
            measured(|peer| peer.congestion_window_bytes),
        )?;
        page.counters(
            "raft_peer_sent_packets",
            "Packets sent to the peer over the connection that stands",
            "peer",
            measured(|peer| peer.sent_packets),
        )?;
        page.counters(
            "raft_peer_lost_packets",
            "How many of them were lost",
            "peer",
            measured(|peer| peer.lost_packets),
        )
    }

    fn store(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        page.gauge("kv_revision", "The newest revision of the store", self.revision)?;
        page.gauge(
            "kv_size_bytes",
            "How many bytes the store takes on disk",
            self.store_bytes,
        )
    }

    fn requests(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let kinds = [
            (
                "raft_node_proposals",
                "Commands by outcome",
                "raft_node_proposal_duration_seconds",
                "Time from the arrival of a command to the response of the store",
                &self.proposals,
            ),
            (
                "raft_node_linearizable_reads",
                "Linearizable reads by outcome",
                "raft_node_linearizable_read_duration_seconds",
                "Time from the arrival of a linearizable read to its result",
                &self.linearizable_reads,
            ),
            (
                "raft_node_serializable_reads",
                "Serializable reads by outcome",
                "raft_node_serializable_read_duration_seconds",
                "Time from the arrival of a serializable read to its result",
                &self.serializable_reads,
            ),
            (
                "raft_node_membership_changes",
                "Changes of the members that this node was asked for, by outcome",
                "raft_node_membership_change_duration_seconds",
                "Time from the arrival of a change of the members to its end",
                &self.membership_changes,
            ),
            (
                "raft_node_leadership_transfers",
                "Transfers of leadership that this node was asked for, by outcome",
                "raft_node_leadership_transfer_duration_seconds",
                "Time from the arrival of a transfer of leadership to its end",
                &self.leadership_transfers,
            ),
        ];
        for (name, help, duration_name, duration_help, sample) in kinds {
            page.counters(name, help, "result", sample.outcomes.iter().copied())?;
            page.histogram(duration_name, duration_help, &sample.durations)?;
        }
        page.counter(
            "raft_node_overloads",
            "Requests that were turned away because too many were in flight",
            self.overloads,
        )?;
        page.gauge(
            "raft_node_requests_in_flight",
            "Requests that are being served",
            self.requests_in_flight,
        )?;
        page.gauge(
            "raft_node_connections",
            "Connections of clients",
            self.connections,
        )
    }

    fn process(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = self.process.cpu_seconds {
            page.counter("process_cpu_seconds", "User and system CPU time", seconds)?;
        }
        if let Some(bytes) = self.process.resident_bytes {
            page.gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Some(files) = self.process.open_files {
            page.gauge("process_open_fds", "Open file descriptors", files)?;
        }
        Ok(())
    }
}

/// Writes one family of figures after another.
pub(super) struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    /// Gauges without labels: name, help, value.
    fn each_gauge<const N: usize>(&mut self, gauges: [(&str, &str, u64); N]) -> Result<(), fmt::Error> {
        gauges
            .into_iter()
            .try_for_each(|(name, help, value)| self.gauge(name, help, value))
    }

    pub(super) fn gauge<V>(&mut self, name: &str, help: &str, value: V) -> Result<(), fmt::Error>
    where
        ConstGauge<V>: EncodeMetric,
    {
        let metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    pub(super) fn counter<V>(&mut self, name: &str, help: &str, value: V) -> Result<(), fmt::Error>
    where
        ConstCounter<V>: EncodeMetric,
    {
        let metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    pub(super) fn gauges<L, V>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> Result<(), fmt::Error>
    where
        L: AsRef<str>,
        ConstGauge<V>: EncodeMetric,
    {
        let mut family = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (text, value) in values {
            let labels = [(label, text.as_ref())];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn counters<L, V>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> Result<(), fmt::Error>
    where
        L: AsRef<str>,
        ConstCounter<V>: EncodeMetric,
    {
        let mut family = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (text, value) in values {
            let labels = [(label, text.as_ref())];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, counts: &DurationCounts) -> Result<(), fmt::Error> {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(counts.sum_seconds, counts.count, &counts.buckets, None)
    }
}
