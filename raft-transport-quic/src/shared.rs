//! What every task of a transport shares.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use quinn::{ClientConfig, Endpoint};
use raft_core::traits::Inbound;
use raft_core::types::NodeId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::{QuicLimits, QuicOptions};
use crate::peer::Peer;
use crate::protocol::{FORMAT_VERSION, Hello};
use crate::warnings::Warnings;

/// What every task of a transport shares.
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) cluster: String,
    pub(crate) limits: QuicLimits,
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
    /// None once the transport was shut down: the socket closes with the last handle.
    endpoint: RwLock<Option<Endpoint>>,
    client: RwLock<ClientConfig>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
}

/// How the peers differ from before.
pub(crate) struct PeerChange {
    pub(crate) added: Vec<Arc<Peer>>,
    pub(crate) removed: Vec<Arc<Peer>>,
}

impl Shared {
    pub(crate) fn new(options: &QuicOptions, endpoint: Endpoint, client: ClientConfig) -> Shared {
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
            endpoint: RwLock::new(Some(endpoint)),
            client: RwLock::new(client),
            peers: RwLock::default(),
        };
        shared.change_peers(&options.peers);
        shared
    }

    /// The socket with QUIC on it, until the transport is shut down.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes the endpoint away from everybody.
    pub(crate) fn take_endpoint(&self) -> Option<Endpoint> {
        self.endpoint
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The peer `id`, if it is one.
    pub(crate) fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// All peers, sorted by id.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().cloned().collect()
    }

    /// Makes `addresses` the peers. Those that stay keep their queues and connections.
    pub(crate) fn change_peers(&self, addresses: &BTreeMap<NodeId, String>) -> PeerChange {
        let mut change = PeerChange {
            added: Vec::new(),
            removed: Vec::new(),
        };
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        for (&id, address) in addresses {
            if id == self.id {
                continue;
            }
            if let Some(peer) = peers.get(&id) {
                peer.set_address(address);
                continue;
            }
            let peer = Peer::new(id, address.clone(), &self.limits, self.stop.child_token());
            let peer = Arc::new(peer);
            peers.insert(id, peer.clone());
            change.added.push(peer);
        }
        peers.retain(|id, peer| {
            let stays = addresses.contains_key(id);
            if !stays {
                change.removed.push(peer.clone());
            }
            stays
        });
        change
    }

    /// How to dial; a new copy at each attempt, because certificates may have been replaced.
    pub(crate) fn client_config(&self) -> ClientConfig {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_client_config(&self, config: ClientConfig) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// What this node says first on each connection.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            version: FORMAT_VERSION,
            id: self.id,
            incarnation: self.incarnation,
            cluster: self.cluster.clone(),
        }
    }
}

/// A random number from the seed that the operating system gave the process; good for jitter and for telling
/// incarnations apart, not for secrets.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
