//! [`QuicConnection`]: one connection of QUIC, and its streams.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::{Connection as Inner, ConnectionError, RecvStream, SendStream, VarInt};
use raft_core::message::Lane;
use raft_transport::CloseCode;
use raft_transport::carrier::{Closed, Connection, Path, StreamReceiver, StreamSender};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, ReadBuf};

/// Below the messages.
const SNAPSHOT_PRIORITY: i32 = -1;

/// A connection over QUIC.
#[derive(Clone, Debug)]
pub struct QuicConnection(Inner);

impl QuicConnection {
    pub(crate) fn new(connection: Inner) -> QuicConnection {
        QuicConnection(connection)
    }
}

impl Connection for QuicConnection {
    type Sender = QuicSender;
    type Receiver = QuicReceiver;

    const STREAMS_FAIL_ALONE: bool = false;

    fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let chain = self
            .0
            .peer_identity()
            .and_then(|identity| identity.downcast().ok());
        chain.map_or_else(Vec::new, |chain| *chain)
    }

    fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    fn stable_id(&self) -> usize {
        self.0.stable_id()
    }

    async fn open_lane(&self, lane: Lane) -> Result<QuicSender, Closed> {
        let stream = self.0.open_uni().await.map_err(closed)?;
        let priority = match lane {
            Lane::Urgent => 1,
            Lane::Ordered => 0,
        };
        Ok(QuicSender::new(stream, priority))
    }

    async fn accept_lane(&self) -> Result<QuicReceiver, Closed> {
        let stream = self.0.accept_uni().await.map_err(closed)?;
        Ok(QuicReceiver(stream))
    }

    async fn open_snapshot(&self) -> Result<(QuicSender, QuicReceiver), Closed> {
        let (sender, receiver) = self.0.open_bi().await.map_err(closed)?;
        Ok((QuicSender::new(sender, SNAPSHOT_PRIORITY), QuicReceiver(receiver)))
    }

    async fn accept_snapshot(&self) -> Result<(QuicSender, QuicReceiver), Closed> {
        let (sender, receiver) = self.0.accept_bi().await.map_err(closed)?;
        Ok((QuicSender::new(sender, SNAPSHOT_PRIORITY), QuicReceiver(receiver)))
    }

    fn close(&self, why: CloseCode) {
        self.0.close(varint(why), why.reason().as_bytes());
    }

    async fn closed(&self) -> Closed {
        closed(self.0.closed().await)
    }

    fn close_reason(&self) -> Option<Closed> {
        self.0.close_reason().map(closed)
    }

    fn heard(&self) -> u64 {
        self.0.stats().udp_rx.datagrams
    }

    fn path(&self) -> Path {
        let path = self.0.stats().path;
        Path {
            rtt: Some(path.rtt),
            congestion_window_bytes: Some(path.cwnd),
            sent_packets: Some(path.sent_packets),
            lost_packets: Some(path.lost_packets),
        }
    }
}

/// The end of a stream to write to.
#[derive(Debug)]
pub struct QuicSender(SendStream);

impl QuicSender {
    fn new(stream: SendStream, priority: i32) -> QuicSender {
        let set = stream.set_priority(priority);
        debug_assert!(set.is_ok(), "the stream was opened just now");
        QuicSender(stream)
    }
}

impl StreamSender for QuicSender {
    const ONLY_HANDS_OVER: bool = true;

    async fn write(&mut self, chunks: &mut [Bytes]) -> io::Result<()> {
        self.0.write_all_chunks(chunks).await.map_err(io::Error::from)
    }

    fn finish(&mut self) {
        // It fails only if the stream is over already.
        let _ = self.0.finish();
    }

    fn reset(&mut self, why: CloseCode) {
        // It fails only if the stream is over already.
        let _ = self.0.reset(varint(why));
    }
}

/// The end of a stream to read from.
#[derive(Debug)]
pub struct QuicReceiver(RecvStream);

impl AsyncRead for QuicReceiver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl StreamReceiver for QuicReceiver {
    fn stop(&mut self, why: CloseCode) {
        // It fails only if the stream is over already.
        let _ = self.0.stop(varint(why));
    }
}

fn varint(why: CloseCode) -> VarInt {
    VarInt::from_u32(why.code())
}

/// What QUIC says of the end of a connection, in the words that all carriers share.
pub(crate) fn closed(error: ConnectionError) -> Closed {
    match error {
        ConnectionError::ApplicationClosed(closed) => Closed::ByPeer {
            code: u32::try_from(closed.error_code.into_inner()).unwrap_or(u32::MAX),
            reason: String::from_utf8_lossy(&closed.reason).into_owned(),
        },
        ConnectionError::TimedOut => Closed::TimedOut,
        ConnectionError::LocallyClosed => Closed::Here,
        error => Closed::Lost(error.to_string()),
    }
}
