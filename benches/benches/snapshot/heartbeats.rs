//! How long a heartbeat takes to one node and back, as the leader's transport sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use raft_core::membership::Membership;
use raft_core::message::{Body, InstallSnapshot, Message, SnapshotContent};
use raft_core::traits::{Inbound, PeerStatus, SnapshotReader, SnapshotWriter, Transport, TransportError};
use raft_core::types::{GroupId, NodeId, Round, Term};

/// How many unanswered heartbeats are remembered.
const UNANSWERED_MAX: usize = 10_000;

/// What was measured of the heartbeats to one node.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    to: NodeId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sent: BTreeMap<(Term, Round), Instant>,
    samples: Vec<Duration>,
    is_in_flight: bool,
    transfer: Option<Duration>,
}

/// How long heartbeats took, the shortest first.
#[derive(Debug)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `share` of them took at most; 0 ≤ `share` ≤ 1.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let place = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(place).copied().unwrap_or_default()
    }
}

impl Heartbeats {
    /// Of heartbeats to node `to`. Counted are those that leave while a snapshot is in flight to it, and those that leave after
    /// that; nothing before the first snapshot, and nothing between its last byte and its installation.
    pub(crate) fn new(to: NodeId) -> Heartbeats {
        Heartbeats {
            to,
            state: Mutex::default(),
        }
    }

    /// All samples since the last call.
    pub(crate) fn take(&self) -> Samples {
        let mut state = self.lock();
        let mut samples = std::mem::take(&mut state.samples);
        // What is under way belongs to what was.
        state.sent.clear();
        samples.sort_unstable();
        Samples(samples)
    }

    /// How long the snapshot took to arrive, when it has.
    pub(crate) fn transfer(&self) -> Option<Duration> {
        self.lock().transfer
    }

    fn note_sent(&self, messages: &[Message]) {
        let now = Instant::now();
        let mut state = self.lock();
        if !state.is_in_flight && state.transfer.is_none() {
            return;
        }
        for message in messages.iter().filter(|message| message.to == self.to) {
            if let Body::AppendEntries(request) = &message.body
                && request.entries.is_empty()
            {
                state.sent.entry((message.term, request.round)).or_insert(now);
            }
        }
        while state.sent.len() > UNANSWERED_MAX {
            state.sent.pop_first();
        }
    }

    fn note_received(&self, from: NodeId, messages: &[Message]) {
        if from != self.to {
            return;
        }
        let mut state = self.lock();
        for message in messages {
            if let Body::AppendEntriesResponse(response) = &message.body
                && let Some(sent) = state.sent.remove(&(message.term, response.round))
            {
                state.samples.push(sent.elapsed());
            }
        }
    }

    /// No code that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transport that is looked at.
pub(crate) struct Measured {
    inner: Arc<dyn Transport>,
    heartbeats: Arc<Heartbeats>,
}

impl Measured {
    pub(crate) fn new(inner: Arc<dyn Transport>, heartbeats: Arc<Heartbeats>) -> Measured {
        Measured { inner, heartbeats }
    }
}

#[async_trait]
impl Transport for Measured {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        let heartbeats = self.heartbeats.clone();
        self.inner
            .start(Arc::new(MeasuredInbound { inbound, heartbeats }))
            .await
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        self.heartbeats.note_sent(&messages);
        self.inner.send(to, messages);
    }

    fn membership_changed(&self, group: GroupId, membership: &Membership) {
        self.inner.membership_changed(group, membership);
    }

    fn membership_committed(&self, group: GroupId, membership: &Membership) {
        self.inner.membership_committed(group, membership);
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        let begin = Instant::now();
        self.heartbeats.lock().is_in_flight = true;
        let sent = self.inner.send_snapshot(header, content).await;
        let mut state = self.heartbeats.lock();
        state.is_in_flight = false;
        if sent.is_ok() {
            state.transfer = Some(begin.elapsed());
        }
        drop(state);
        sent
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.inner.peers()
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}

struct MeasuredInbound {
    inbound: Arc<dyn Inbound>,
    heartbeats: Arc<Heartbeats>,
}

#[async_trait]
impl Inbound for MeasuredInbound {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        self.heartbeats.note_received(from, &messages);
        self.inbound.receive(from, messages);
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        self.inbound.begin_snapshot(header, content).await
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        self.inbound.finish_snapshot(header, content).await
    }
}
