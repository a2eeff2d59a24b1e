//! One peer: where it is, what waits for it, and the one connection that stands.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft_core::traits::PeerStatus;
use raft_core::types::NodeId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::carrier::Connection;
use crate::close_code::CloseCode;
use crate::lanes::{Lanes, Turns};
use crate::options::TransportLimits;

/// One peer.
///
/// Invariant: at most one connection is installed, and the lanes are its own; installing a newer one closes the older.
pub(crate) struct Peer<N: Connection> {
    pub(crate) id: NodeId,
    pub(crate) lanes: Lanes<N::Sender>,
    /// Ends when the peer is removed or the transport stops.
    pub(crate) stop: CancellationToken,
    /// Asks the task that dials to do it now.
    pub(crate) redial: Notify,
    /// It is connected although this node does not know it as a member.
    is_stranger: AtomicBool,
    /// Its last word was that this node is none of its peers.
    refuses: AtomicBool,
    /// Nothing arrived on its connection for a while.
    is_silent: AtomicBool,
    whereabouts: Mutex<Whereabouts>,
    link: watch::Sender<Option<Link<N>>>,
}

/// Where a peer is, as far as that is known.
#[derive(Default)]
struct Whereabouts {
    /// `host:port`, from the members' contacts or the options.
    address: Option<String>,
    /// Where its last knock came from. It proved that it is there, so it is dialled there once before the address is
    /// tried: a node that moved is found although nobody knows its new address.
    knocked_from: Option<SocketAddr>,
    /// The last attempt was made where a knock came from. That may be where nobody is let in, and knocks may come faster than it
    /// fails, so the next one is made at the address.
    knock_was_tried: bool,
}

impl Whereabouts {
    fn take_destination(&mut self) -> Option<Destination> {
        let address = self.address.clone().map(Destination::Address);
        if self.knock_was_tried && address.is_some() {
            self.knock_was_tried = false;
            return address;
        }
        let knock = self.knocked_from.take().map(Destination::Knock);
        self.knock_was_tried = knock.is_some();
        knock.or(address)
    }
}

/// Where to dial a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A text to be resolved.
    Address(String),
    /// Where it knocked from.
    Knock(SocketAddr),
}

/// An installed connection: both ends have proved who they are.
#[derive(Clone, Debug)]
pub(crate) struct Link<N> {
    pub(crate) connection: N,
    /// The incarnation in the peer's hello.
    pub(crate) incarnation: u64,
}

impl<N: Connection> Peer<N> {
    /// A stranger, until it is [taken in](Peer::take_in).
    pub(crate) fn new(id: NodeId, limits: &TransportLimits, stop: CancellationToken) -> Peer<N> {
        Peer {
            id,
            lanes: Lanes::new(limits),
            stop,
            redial: Notify::new(),
            is_stranger: AtomicBool::new(true),
            refuses: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            whereabouts: Mutex::default(),
            link: watch::Sender::new(None),
        }
    }

    /// Whether the peer is connected without being known as a member.
    pub(crate) fn is_stranger(&self) -> bool {
        self.is_stranger.load(Ordering::Acquire)
    }

    /// The peer is to be kept connected from now on. Returns whether it was a stranger.
    pub(crate) fn take_in(&self) -> bool {
        self.is_stranger.swap(false, Ordering::AcqRel)
    }

    /// Whether the peer said last that this node is none of its peers.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// The peer said that this node is none of its peers.
    pub(crate) fn hear_refusal(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Whether nothing arrived on its connection for a while.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Where the peer should be, for people.
    pub(crate) fn address(&self) -> String {
        let whereabouts = self.lock_whereabouts();
        let address = whereabouts.address.clone();
        address.unwrap_or_else(|| "an unknown address".to_owned())
    }

    /// Where to dial the peer now; nothing if nobody knows.
    pub(crate) fn take_destination(&self) -> Option<Destination> {
        self.lock_whereabouts().take_destination()
    }

    /// Waits until it is known where the peer is.
    pub(crate) async fn wait_destination(&self) {
        let is_known = || {
            let whereabouts = self.lock_whereabouts();
            whereabouts.address.is_some() || whereabouts.knocked_from.is_some()
        };
        while !is_known() {
            self.redial.notified().await;
        }
    }

    /// Changes the address; a connection that stands is kept.
    pub(crate) fn set_address(&self, address: &str) {
        let mut whereabouts = self.lock_whereabouts();
        if whereabouts.address.as_deref() == Some(address) {
            return;
        }
        whereabouts.address = Some(address.to_owned());
        drop(whereabouts);
        self.redial.notify_one();
    }

    /// The connection that stands.
    pub(crate) fn connection(&self) -> Option<N> {
        self.link.borrow().as_ref().map(|link| link.connection.clone())
    }

    /// Makes `link` the connection of the peer and closes the one it replaces. Returns its turns at the lanes.
    pub(crate) fn install(&self, link: Link<N>) -> Turns {
        self.refuses.store(false, Ordering::Relaxed);
        self.set_silent(false);
        self.lock_whereabouts().knock_was_tried = false;
        let (mut replaced, mut turns) = (None, Turns::default());
        self.link.send_modify(|installed| {
            replaced = installed.replace(link);
            // Together with the link: of two connections that are made at once, the one that stays must have the lanes, and the
            // end of the other one must not be the last word.
            turns = self.lanes.take_over();
        });
        if let Some(replaced) = replaced {
            replaced.connection.close(CloseCode::Replaced);
        }
        turns
    }

    /// Forgets `connection` if it is still the one installed.
    pub(crate) fn uninstall(&self, connection: &N) {
        self.link.send_if_modified(|link| {
            let installed = link
                .as_ref()
                .is_some_and(|link| link.connection.stable_id() == connection.stable_id());
            if installed {
                *link = None;
                self.lanes.disconnect();
            }
            installed
        });
    }

    /// The peer has a higher id and asks to be dialled. If it restarted since the connection was made, or is at another
    /// address now, that connection is dead, and there is no use in waiting until it is found silent.
    pub(crate) fn hear_knock(&self, incarnation: u64, from: SocketAddr) {
        let link = self.link.borrow().clone();
        if let Some(link) = link {
            // A knock may be late, and a host may have several addresses: while the connection speaks, it is good.
            let moved = link.connection.remote_address() != from && self.is_silent.load(Ordering::Relaxed);
            if link.incarnation == incarnation && !moved {
                return;
            }
            link.connection.close(CloseCode::Replaced);
        }
        self.lock_whereabouts().knocked_from = Some(from);
        self.redial.notify_one();
    }

    /// Waits until a connection stands (`true`) or none does (`false`).
    pub(crate) async fn wait_connected(&self, connected: bool) {
        let mut receiver = self.link.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|link| link.is_some() == connected).await;
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let queue = self.lanes.depth();
        let connection = self.connection();
        let connected = connection.is_some();
        let path = connection.map(|connection| connection.path()).unwrap_or_default();
        let rtt = path.rtt.map(|rtt| rtt.as_micros());
        PeerStatus {
            id: self.id,
            connected,
            rtt_us: rtt.map(|rtt| u64::try_from(rtt).unwrap_or(u64::MAX)),
            congestion_window_bytes: path.congestion_window_bytes,
            sent_packets: path.sent_packets,
            lost_packets: path.lost_packets,
            queued_messages: queue.messages,
            queued_bytes: queue.bytes,
            dropped_messages: queue.dropped,
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn lock_whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A knock may come from where nobody can be reached, again and again.
    #[test]
    fn after_a_knock_the_address_has_its_turn() {
        let from = SocketAddr::from(([10, 0, 0, 1], 2380));
        let mut whereabouts = Whereabouts::default();
        assert_eq!(whereabouts.take_destination(), None);
        for _ in 0..2 {
            whereabouts.knocked_from = Some(from);
            assert_eq!(whereabouts.take_destination(), Some(Destination::Knock(from)));
        }
        whereabouts.address = Some("n1:2380".to_owned());
        let address = Some(Destination::Address("n1:2380".to_owned()));
        for _ in 0..2 {
            whereabouts.knocked_from = Some(from);
            assert_eq!(whereabouts.take_destination(), address);
            assert_eq!(whereabouts.take_destination(), Some(Destination::Knock(from)));
        }
        assert_eq!(whereabouts.take_destination(), address);
        assert_eq!(whereabouts.take_destination(), address, "nobody knocked");
    }
}
