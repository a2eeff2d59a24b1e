//! One peer: its address, what waits for it, and the one connection that stands.

use std::sync::{Mutex, PoisonError};

use quinn::Connection;
use raft_core::traits::PeerStatus;
use raft_core::types::NodeId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::options::QuicLimits;
use crate::protocol::CloseCode;
use crate::queue::SendQueue;

/// One peer.
///
/// Invariant: at most one connection is installed; installing a newer one closes the older.
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    pub(crate) queue: SendQueue,
    /// Ends when the peer is removed or the transport stops.
    pub(crate) stop: CancellationToken,
    /// Asks the task that dials to do it now.
    pub(crate) redial: Notify,
    address: Mutex<String>,
    link: watch::Sender<Option<Link>>,
}

/// An installed connection: both ends have proved who they are.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    /// The incarnation in the peer's hello.
    pub(crate) incarnation: u64,
}

impl Peer {
    pub(crate) fn new(id: NodeId, address: String, limits: &QuicLimits, stop: CancellationToken) -> Peer {
        Peer {
            id,
            queue: SendQueue::new(limits),
            stop,
            redial: Notify::new(),
            address: Mutex::new(address),
            link: watch::Sender::new(None),
        }
    }

    /// Where to reach the peer, as `host:port`.
    pub(crate) fn address(&self) -> String {
        self.lock_address().clone()
    }

    /// Changes the address; a connection that stands is kept.
    pub(crate) fn set_address(&self, address: &str) {
        let mut current = self.lock_address();
        if *current == address {
            return;
        }
        address.clone_into(&mut current);
        drop(current);
        self.redial.notify_one();
    }

    /// The connection that stands.
    pub(crate) fn connection(&self) -> Option<Connection> {
        self.link.borrow().as_ref().map(|link| link.connection.clone())
    }

    /// Makes `link` the connection of the peer and closes the one it replaces.
    pub(crate) fn install(&self, link: Link) {
        let mut replaced = None;
        self.link.send_modify(|installed| {
            replaced = installed.replace(link);
            // Together with the link, or the end of the older connection could be the last word.
            self.queue.set_connected(true);
        });
        if let Some(replaced) = replaced {
            close(&replaced.connection, CloseCode::Replaced);
        }
    }

    /// Forgets `connection` if it is still the one installed.
    pub(crate) fn uninstall(&self, connection: &Connection) {
        self.link.send_if_modified(|link| {
            let installed = link
                .as_ref()
                .is_some_and(|link| link.connection.stable_id() == connection.stable_id());
            if installed {
                *link = None;
                self.queue.set_connected(false);
            }
            installed
        });
    }

    /// The peer has a higher id and asks to be dialled. If it restarted since the connection was made, that connection is
    /// dead, and there is no use in waiting until it is found silent.
    pub(crate) fn hear_knock(&self, incarnation: u64) {
        let link = self.link.borrow().clone();
        match link {
            Some(link) if link.incarnation == incarnation => {}
            Some(link) => {
                close(&link.connection, CloseCode::Replaced);
                self.redial.notify_one();
            }
            None => self.redial.notify_one(),
        }
    }

    /// Waits until a connection stands (`true`) or none does (`false`).
    pub(crate) async fn wait_connected(&self, connected: bool) {
        let mut receiver = self.link.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|link| link.is_some() == connected).await;
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let (queued_messages, dropped_messages) = self.queue.depth_and_dropped();
        let rtt = self.connection().map(|connection| connection.rtt());
        PeerStatus {
            id: self.id,
            connected: rtt.is_some(),
            rtt_us: rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            queued_messages,
            dropped_messages,
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn lock_address(&self) -> std::sync::MutexGuard<'_, String> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes `connection` with a code that the other end can log.
pub(crate) fn close(connection: &Connection, code: CloseCode) {
    connection.close(code.code(), code.reason());
}
