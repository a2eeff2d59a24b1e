//! What every task of a transport shares.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use raft_core::message::Lane;
use raft_core::traits::Inbound;
use raft_core::types::NodeId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::carrier::{Carrier, Connection};
use crate::credentials::Credentials;
use crate::options::{TransportLimits, TransportOptions};
use crate::peer::Peer;
use crate::protocol::{FORMAT_VERSION, Hello};
use crate::roster::Roster;
use crate::warnings::Warnings;

/// What every task of a transport shares.
pub(crate) struct Shared<C: Carrier> {
    pub(crate) id: NodeId,
    pub(crate) cluster: String,
    pub(crate) limits: TransportLimits,
    /// Random, and new with every start: see [`Hello::incarnation`].
    pub(crate) incarnation: u64,
    /// Where messages are delivered; set by `start`.
    pub(crate) inbound: OnceLock<Arc<dyn Inbound>>,
    /// One permit for each snapshot that may be received now.
    pub(crate) snapshot_permits: Arc<Semaphore>,
    /// Ends when the transport stops.
    pub(crate) stop: CancellationToken,
    /// Every task of the transport.
    pub(crate) tasks: TaskTracker,
    pub(crate) warnings: Warnings,
    pub(crate) carrier: C,
    /// Whose certificates are accepted now.
    credentials: RwLock<Credentials>,
    peers: RwLock<Peers<C::Connection>>,
}

/// Who is connected or shall be.
struct Peers<N: Connection> {
    roster: Roster,
    /// Whom the roster wants, and the strangers that are connected.
    by_id: BTreeMap<NodeId, Arc<Peer<N>>>,
}

impl<C: Carrier> Shared<C> {
    pub(crate) fn new(options: &TransportOptions, carrier: C, credentials: Credentials) -> Shared<C> {
        let shared = Shared {
            id: options.id,
            cluster: options.cluster.clone(),
            limits: options.limits.clone(),
            incarnation: random_u64(),
            inbound: OnceLock::new(),
            snapshot_permits: Arc::new(Semaphore::new(options.limits.inbound_snapshots_max)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            warnings: Warnings::default(),
            carrier,
            credentials: RwLock::new(credentials),
            peers: RwLock::new(Peers {
                roster: Roster::new(
                    options.id,
                    options.contact_address.clone(),
                    options.limits.departed_grace,
                ),
                by_id: BTreeMap::new(),
            }),
        };
        shared.update_peers(|roster| roster.give(&options.peers));
        shared
    }

    /// From now on certificates are accepted by `credentials`.
    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// Whether who is at the other end of `connection` would be let in now, or why not.
    pub(crate) fn accepts(&self, connection: &C::Connection) -> Result<(), String> {
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner);
        credentials.accepts(&connection.certificates())
    }

    /// The peer `id`, if it is one.
    pub(crate) fn peer(&self, id: NodeId) -> Option<Arc<Peer<C::Connection>>> {
        self.read_peers().by_id.get(&id).cloned()
    }

    /// All peers, sorted by id.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer<C::Connection>>> {
        self.read_peers().by_id.values().cloned().collect()
    }

    /// Changes the roster, and the peers with it: those that stay keep their queues and connections, those that do not are
    /// cut off. Returns whom to keep connected from now on.
    pub(crate) fn update_peers(&self, change: impl FnOnce(&mut Roster)) -> Vec<Arc<Peer<C::Connection>>> {
        let mut added = Vec::new();
        let mut cut = Vec::new();
        {
            let mut peers = self.write_peers();
            let Peers { roster, by_id } = &mut *peers;
            change(roster);
            let wanted = roster.wanted(Instant::now());
            for (&id, &address) in &wanted {
                let peer = by_id.entry(id).or_insert_with(|| self.new_peer(id));
                if let Some(address) = address {
                    peer.set_address(address);
                }
                if peer.take_in() {
                    added.push(peer.clone());
                }
            }
            let stays: Vec<NodeId> = wanted.into_keys().collect();
            by_id.retain(|&id, peer| {
                let stays =
                    stays.binary_search(&id).is_ok() || (peer.is_stranger() && roster.may_have_joined(id));
                if !stays {
                    cut.push(peer.clone());
                }
                stays
            });
        }
        for peer in cut {
            peer.stop.cancel();
        }
        added
    }

    /// Whether `id` may be connected: it is a peer, or may be a member that this node has not heard of yet.
    pub(crate) fn is_welcome(&self, id: NodeId) -> bool {
        let peers = self.read_peers();
        peers.by_id.contains_key(&id) || self.has_room_for(&peers, id)
    }

    /// The peer `id`, which proved that it is that node; it is made a stranger if it was none. The second value tells
    /// whether it just was.
    pub(crate) fn admit(&self, id: NodeId) -> Option<(Arc<Peer<C::Connection>>, bool)> {
        let mut peers = self.write_peers();
        if let Some(peer) = peers.by_id.get(&id) {
            return Some((peer.clone(), false));
        }
        if !self.has_room_for(&peers, id) {
            return None;
        }
        let peer = self.new_peer(id);
        peers.by_id.insert(id, peer.clone());
        Some((peer, true))
    }

    /// A connection of `peer` ended: if it still is a stranger and has no newer one, nothing of it is kept.
    pub(crate) fn forget_stranger(&self, peer: &Arc<Peer<C::Connection>>) {
        let mut peers = self.write_peers();
        let is_current = peers
            .by_id
            .get(&peer.id)
            .is_some_and(|known| Arc::ptr_eq(known, peer));
        if is_current && peer.is_stranger() && peer.connection().is_none() {
            peers.by_id.remove(&peer.id);
            drop(peers);
            peer.stop.cancel();
        }
    }

    fn has_room_for(&self, peers: &Peers<C::Connection>, stranger: NodeId) -> bool {
        peers.roster.may_have_joined(stranger)
            && peers.by_id.values().filter(|peer| peer.is_stranger()).count() < self.limits.strangers_max
    }

    fn new_peer(&self, id: NodeId) -> Arc<Peer<C::Connection>> {
        Arc::new(Peer::new(id, &self.limits, self.stop.child_token()))
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn read_peers(&self) -> RwLockReadGuard<'_, Peers<C::Connection>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_peers(&self) -> RwLockWriteGuard<'_, Peers<C::Connection>> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node says first in `lane` of each connection.
    pub(crate) fn hello(&self, lane: Lane) -> Hello {
        Hello {
            version: FORMAT_VERSION,
            lane,
            id: self.id,
            incarnation: self.incarnation,
            port: self.carrier.local_addr().port(),
            cluster: self.cluster.clone(),
        }
    }
}

/// A random number from the seed that the operating system gave the process; good for jitter and for telling
/// incarnations apart, not for secrets.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
