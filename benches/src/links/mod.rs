//! Ways to send messages from one end to another, both in this process, measured by the same plan.
//!
//! A link of ours is a [`Transport`](raft_core::traits::Transport) as the runtime sees it: messages go in as values and come
//! out as values. A raw link is a byte stream as good as we can make it without any of our code: see [`raw`]. Both run on the
//! same two ends of the loopback interface, the encrypted ones with the very same TLS configurations.

mod arrivals;
pub mod ours;
pub mod quic;
pub mod raw;
pub mod tcp;

use std::time::Duration;

use async_trait::async_trait;

use crate::certificates::Certificates;

/// What is sent in one turn.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes of the payload of a message.
    pub payload_bytes: usize,
    /// Messages that go there and back, one at a time.
    pub round_trips: u64,
    /// Messages that go one way, as many as fit.
    pub messages: u64,
    /// How many of them the caller of our transports hands over at once.
    pub batch: u64,
    /// How many of them may be in our transports at once: what does not fit their queues would be lost.
    pub window: u64,
}

/// Two connected ends.
#[async_trait]
pub trait Link: Send {
    /// What it is called in tables.
    fn name(&self) -> &'static str;

    /// Sends messages one at a time and waits until each came back; notes how long each took.
    async fn round_trips(&mut self, load: Load, latencies: &mut Vec<Duration>);

    /// Sends messages as fast as they are taken, and waits until all have arrived.
    async fn one_way(&mut self, load: Load);

    /// Closes both ends.
    async fn shutdown(self: Box<Self>);
}

/// Every link, connected.
///
/// # Panics
/// If one cannot be connected over loopback.
pub async fn connect_all(certificates: &Certificates) -> Vec<Box<dyn Link>> {
    vec![
        Box::new(ours::connect("ours on QUIC", certificates.quic_transports()).await),
        Box::new(quic::connect("raw quinn", certificates).await),
        Box::new(ours::connect("ours on TCP", certificates.tcp_transports()).await),
        Box::new(tcp::connect("raw TCP").await),
        Box::new(tcp::connect_tls("raw TCP + TLS", certificates).await),
    ]
}
