//! The cluster of one check.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::TransportBounds;
use super::recorder::Recorder;
use super::traffic::{Traffic, message};
use crate::message::Lane;
use crate::traits::{PeerStatus, Transport};
use crate::types::NodeId;

/// Far more than any step takes; only a defect waits this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 10 } else { 30 });
/// How long to wait for a message before another one is sent.
const RESEND_AFTER: Duration = Duration::from_millis(100);

/// The nodes that are started.
pub(super) const LIVE: [u64; 3] = [1, 2, 3];
/// The node that never is.
pub(super) const DEAD: u64 = 4;
/// A node that no transport was told of.
pub(super) const UNKNOWN: u64 = 77;

pub(super) type Connected<'a> = Pin<Box<dyn Future<Output = Vec<Arc<dyn Transport>>> + 'a>>;

/// What the author of the transport gave.
pub(super) struct World<'a> {
    pub(super) bounds: TransportBounds,
    pub(super) connect: &'a dyn Fn(Vec<NodeId>) -> Connected<'a>,
}

impl World<'_> {
    async fn connect(&self, ids: &[u64]) -> Vec<Arc<dyn Transport>> {
        let transports = (self.connect)(ids.iter().copied().map(NodeId).collect()).await;
        assert_eq!(
            transports.len(),
            ids.len(),
            "connect gives one transport per node"
        );
        transports
    }
}

/// Transports and what they delivered.
pub(super) struct Cluster<'a, 'w> {
    world: &'a World<'w>,
    transports: BTreeMap<u64, Arc<dyn Transport>>,
    inbounds: BTreeMap<u64, Arc<Recorder>>,
    numbers: AtomicU64,
}

impl<'a, 'w> Cluster<'a, 'w> {
    /// Starts the live nodes; the dead one is only connected.
    pub(super) async fn start(world: &'a World<'w>) -> Cluster<'a, 'w> {
        let transports = world.connect(&[1, 2, 3, DEAD]).await;
        let cluster = Cluster {
            world,
            transports: (1..).zip(transports).collect(),
            inbounds: LIVE.map(|id| (id, Arc::new(Recorder::new(NodeId(id))))).into(),
            numbers: AtomicU64::new(0),
        };
        for id in LIVE {
            cluster.start_node(id).await;
        }
        cluster
    }

    async fn start_node(&self, id: u64) {
        let started = self.transport(id).start(self.inbound(id).clone()).await;
        started.unwrap_or_else(|error| panic!("start node {id}: {error}"));
    }

    pub(super) fn transport(&self, id: u64) -> &Arc<dyn Transport> {
        &self.transports[&id]
    }

    pub(super) fn inbound(&self, id: u64) -> &Arc<Recorder> {
        &self.inbounds[&id]
    }

    pub(super) fn bounds(&self) -> TransportBounds {
        self.world.bounds
    }

    /// How long a transfer that makes no progress may take, on a machine that is busy.
    pub(super) fn stall_limit(&self) -> Duration {
        2 * self.bounds().snapshot_stall_timeout + Duration::from_secs(5)
    }

    /// A number that no message has yet.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends one new message; returns its number.
    pub(super) fn send(&self, from: u64, to: u64, lane: Lane) -> u64 {
        let number = self.next_number();
        let sent = message(NodeId(from), NodeId(to), lane, number);
        self.transport(from).send(NodeId(to), vec![sent]);
        number
    }

    /// Sends new messages in one lane until one of them arrives. All that left before in this lane has arrived then, or never
    /// will.
    pub(super) async fn exchange(&self, from: u64, to: u64, lane: Lane) {
        let receiver = self.inbound(to);
        let first = self.next_number();
        let has_arrived = || receiver.last_number(NodeId(from), lane) > first;
        let work = async {
            loop {
                self.send(from, to, lane);
                if timeout(RESEND_AFTER, receiver.changed(has_arrived)).await.is_ok() {
                    return;
                }
            }
        };
        // Longer than a transfer that may hold them up, which is another defect.
        let done = timeout(PATIENCE.max(self.stall_limit()), work).await;
        assert!(
            done.is_ok(),
            "messages in the lane {lane:?}, sent again and again from node {from} to node {to}, arrive"
        );
    }

    pub(super) async fn exchange_in_both_lanes(&self, from: u64, to: u64) {
        self.exchange(from, to, Lane::Urgent).await;
        self.exchange(from, to, Lane::Ordered).await;
    }

    /// Lets every pair of live nodes hear each other.
    pub(super) async fn exchange_all(&self) {
        for from in self.live() {
            for to in self.live().filter(|to| *to != from) {
                self.exchange_in_both_lanes(from, to).await;
            }
        }
    }

    fn live(&self) -> impl Iterator<Item = u64> {
        LIVE.into_iter().filter(|id| self.transports.contains_key(id))
    }

    /// What arrived at `to`, checked: unaltered, in order, and once.
    pub(super) fn traffic(&self, to: u64) -> Traffic {
        Traffic::checked(NodeId(to), &self.inbound(to).received())
    }

    /// What node `id` knows about its peer.
    pub(super) fn status(&self, id: u64, peer: u64) -> PeerStatus {
        let peers = self.transport(id).peers();
        let found = peers.iter().find(|status| status.id == NodeId(peer));
        let found =
            found.unwrap_or_else(|| panic!("a peer that was ever sent to has a status: {peer} in {peers:?}"));
        let bounds = self.bounds();
        assert!(
            found.queued_messages <= bounds.queued_messages_max
                && found.queued_bytes <= bounds.queued_bytes_max,
            "the queue to a peer is bounded by count and bytes: {found:?}, bounds {bounds:?}"
        );
        found.clone()
    }

    /// Shuts a node down and drops its transport. Nothing of it may be left then.
    pub(super) async fn stop(&mut self, id: u64) {
        let transport = self.transports.remove(&id).expect("the node runs");
        let done = timeout(PATIENCE, transport.shutdown()).await;
        assert!(done.is_ok(), "shutdown returns");
        drop(transport);
        let Some(inbound) = self.inbounds.get(&id) else {
            return;
        };
        let others = Arc::strong_count(inbound) - 1;
        assert_eq!(
            others, 0,
            "nobody holds the inbound after shutdown and drop; node {id} is still held"
        );
        let writers = inbound.open_writers();
        assert_eq!(
            writers, 0,
            "no snapshot is being written after shutdown; node {id} has open writers"
        );
    }

    /// Opens a stopped node anew, with what it had stored.
    pub(super) async fn reopen(&mut self, id: u64) {
        let mut transports = self.world.connect(&[id]).await;
        self.transports
            .insert(id, transports.pop().expect("one transport was asked for"));
        self.start_node(id).await;
    }

    /// Shuts everything down.
    pub(super) async fn end(mut self) {
        let running: Vec<u64> = self.transports.keys().copied().collect();
        for id in running {
            self.stop(id).await;
        }
    }
}
