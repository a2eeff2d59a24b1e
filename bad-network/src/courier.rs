//! Keeps packets until they arrive, and sends them then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::sleep_until;

/// A packet under way.
#[derive(Debug)]
pub(crate) struct Packet<L> {
    /// When it arrives.
    pub(crate) at: Instant,
    /// On which link it is.
    pub(crate) link: L,
    /// The socket that it leaves from, which is where its receiver believes that it comes from.
    pub(crate) socket: Arc<UdpSocket>,
    /// Its receiver.
    pub(crate) to: SocketAddr,
    /// What it says.
    pub(crate) bytes: Arc<[u8]>,
}

/// The packets under way, the next one first; those of the same time in the order in which they came.
#[derive(Debug)]
pub(crate) struct Courier<L> {
    waiting: Mutex<Waiting<L>>,
    earlier: Notify,
}

#[derive(Debug)]
struct Waiting<L> {
    packets: BTreeMap<(Instant, u64), Packet<L>>,
    next_number: u64,
}

impl<L> Courier<L> {
    pub(crate) fn new() -> Courier<L> {
        Courier {
            waiting: Mutex::new(Waiting {
                packets: BTreeMap::new(),
                next_number: 0,
            }),
            earlier: Notify::new(),
        }
    }

    /// Takes a packet. How many there may be is the links' affair.
    pub(crate) fn take(&self, packet: Packet<L>) {
        let mut waiting = self.lock();
        let key = (packet.at, waiting.next_number);
        waiting.next_number += 1;
        waiting.packets.insert(key, packet);
        let is_first = waiting
            .packets
            .first_key_value()
            .is_some_and(|(first, _)| *first == key);
        drop(waiting);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Sends every packet at its time, if `arrives` still says so then. Never ends.
    pub(crate) async fn run(&self, mut arrives: impl FnMut(&Packet<L>) -> bool) {
        loop {
            match self.next(Instant::now()) {
                Ok(packet) => {
                    if arrives(&packet) {
                        // A receiver that is not there refuses; to the sender that looks like a lost packet, as it should.
                        let _ = packet.socket.send_to(&packet.bytes, packet.to).await;
                    }
                }
                Err(None) => self.earlier.notified().await,
                Err(Some(at)) => tokio::select! {
                    () = sleep_until(at.into()) => {}
                    () = self.earlier.notified() => {}
                },
            }
        }
    }

    /// The next packet if its time has come, or else when it will.
    fn next(&self, now: Instant) -> Result<Packet<L>, Option<Instant>> {
        let mut waiting = self.lock();
        match waiting.packets.first_entry() {
            Some(first) if first.key().0 <= now => Ok(first.remove()),
            first => Err(first.map(|first| first.key().0)),
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Waiting<L>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
