//! What the peers are connected by: [`Carrier`], its [`Connection`]s and their streams.
//!
//! A carrier makes connections between two ends that TLS has authenticated, and opens streams on them. It knows nothing of
//! nodes, messages or frames; everything that those need is in this crate, once, above any carrier.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use raft_core::message::Lane;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::io::AsyncRead;

use crate::close_code::CloseCode;
use crate::credentials::Credentials;
use crate::error::SetupError;
use crate::options::TransportOptions;

/// Makes and accepts connections at one address.
pub trait Carrier: Sized + Send + Sync + 'static {
    /// A connection that stands.
    type Connection: Connection;
    /// Somebody who wants to be connected.
    type Incoming: Incoming<Connection = Self::Connection>;
    /// What can be chosen of this carrier alone.
    type Limits;

    /// Whether this end dials from the address at which it listens.
    const DIALS_FROM_WHERE_IT_LISTENS: bool;

    /// Listens at the address of `options`. Called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`] names the limit or address, and the remedy.
    fn open(
        options: &TransportOptions,
        limits: Self::Limits,
        credentials: &Credentials,
    ) -> Result<Self, SetupError>;

    /// The address that it listens at.
    fn local_addr(&self) -> SocketAddr;

    /// Connects to `address`, where a node with a certificate for `name` must answer.
    fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> impl Future<Output = Result<Self::Connection, Closed>> + Send;

    /// The next one who wants to be connected; none once the carrier is closed. Safe to cancel.
    fn accept(&self) -> impl Future<Output = Option<Self::Incoming>> + Send;

    /// Uses `credentials` for every connection from now on. Those that stand are kept.
    ///
    /// # Errors
    /// [`SetupError`] if they cannot be used; the former ones stay in use then.
    fn renew(&self, credentials: &Credentials) -> Result<(), SetupError>;

    /// Closes every connection and the address. Nothing happens if it is closed already.
    fn close(&self, why: CloseCode);

    /// Waits until every task of the carrier has ended, at most a moment longer than it takes to tell the peers. Called
    /// after [`close`](Carrier::close).
    fn ended(&self) -> impl Future<Output = ()> + Send;
}

/// Somebody who wants to be connected and has proved nothing yet.
pub trait Incoming: Sized + Send + 'static {
    /// A connection that stands.
    type Connection: Connection;

    /// Where it claims to be.
    fn remote_address(&self) -> SocketAddr;

    /// Makes it show that it receives at the address it claims, without keeping anything of it until then. Gives it back if
    /// it has shown that.
    fn prove_address(self) -> Option<Self>;

    /// Sends it away.
    fn refuse(self);

    /// Takes it through TLS. None if it is a further stream of a connection that stands.
    fn handshake(self) -> impl Future<Output = Result<Option<Self::Connection>, Closed>> + Send;
}

/// A connection of two ends that TLS has authenticated. Clones are the same connection.
///
/// Invariants that every implementation keeps:
/// - what one end writes to a stream, the other reads in that order, unaltered, or the stream ends with an error;
/// - how much of a stream is under way and unread is bounded, and a stream that nobody reads does not hold up the others;
/// - a connection at whose other end nobody answers is found [closed](Connection::closed) within a bounded time.
pub trait Connection: Clone + fmt::Debug + Send + Sync + 'static {
    /// Where to write.
    type Sender: StreamSender;
    /// Where to read.
    type Receiver: StreamReceiver;

    /// Whether the way of one stream may be lost while the connection goes on, without an error at either end: each lane is
    /// watched then.
    const STREAMS_FAIL_ALONE: bool;

    /// The certificates that the other end showed and TLS verified, its own first.
    fn certificates(&self) -> Vec<CertificateDer<'static>>;

    /// Where the other end is.
    fn remote_address(&self) -> SocketAddr;

    /// Tells connections of one process apart.
    fn stable_id(&self) -> usize;

    /// Opens this end's stream of messages in `lane`. Each lane is opened once.
    fn open_lane(&self, lane: Lane) -> impl Future<Output = Result<Self::Sender, Closed>> + Send;

    /// The next stream of messages that the other end opened, in any order of their lanes. Safe to cancel.
    fn accept_lane(&self) -> impl Future<Output = Result<Self::Receiver, Closed>> + Send;

    /// Opens a stream in both directions, for a snapshot, which every message overtakes.
    fn open_snapshot(&self) -> impl Future<Output = Result<(Self::Sender, Self::Receiver), Closed>> + Send;

    /// The next stream for a snapshot that the other end opened. Safe to cancel.
    fn accept_snapshot(&self) -> impl Future<Output = Result<(Self::Sender, Self::Receiver), Closed>> + Send;

    /// Closes the connection and all its streams, and tells the other end why.
    fn close(&self, why: CloseCode);

    /// Waits until the connection is closed, by whomever.
    fn closed(&self) -> impl Future<Output = Closed> + Send;

    /// Why the connection is closed, if it is.
    fn close_reason(&self) -> Option<Closed>;

    /// A number that grows whenever something arrives from the other end.
    fn heard(&self) -> u64;

    /// What is measured of the way between the two ends.
    fn path(&self) -> Path;
}

/// The end of a stream to write to. Dropping it ends the stream at what was written.
pub trait StreamSender: Send + Sync + 'static {
    /// Whether [`write`](StreamSender::write) only hands bytes over to whatever sends them, without a system call and without
    /// encrypting them. Then whoever sends a message does it itself, as long as nothing else waits.
    const ONLY_HANDS_OVER: bool;

    /// Writes all of `chunks`, one after the other; they are empty afterwards. If it is cancelled, what is left in `chunks` is
    /// what was not written; another call with that goes on.
    fn write(&mut self, chunks: &mut [Bytes]) -> impl Future<Output = io::Result<()>> + Send;

    /// Tells the other end that nothing more comes.
    fn finish(&mut self);

    /// Gives the stream up: what was not read yet may be lost.
    fn reset(&mut self, why: CloseCode);
}

/// The end of a stream to read from.
pub trait StreamReceiver: AsyncRead + Unpin + Send + Sync + 'static {
    /// Tells the other end that nothing more will be read. What this end wrote before still arrives.
    fn stop(&mut self, why: CloseCode);
}

/// What a carrier measures of a connection; none of what it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// How many bytes may be under way, unacknowledged.
    pub congestion_window_bytes: Option<u64>,
    /// Packets sent since the connection was made.
    pub sent_packets: Option<u64>,
    /// How many of them were lost.
    pub lost_packets: Option<u64>,
}

/// Why a connection is closed, or never came to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Closed {
    /// The other end closed it and said why.
    #[error("closed by the other end: {reason} (code {code})")]
    ByPeer {
        /// The number of a [`CloseCode`], if both ends speak the same version.
        code: u32,
        /// The word that came with it.
        reason: String,
    },
    /// Nobody listens there, or no way leads there.
    #[error("{0}")]
    Unreachable(String),
    /// Nothing was heard for too long.
    #[error("timed out")]
    TimedOut,
    /// This end closed it.
    #[error("closed by this end")]
    Here,
    /// TLS refused, or the connection broke.
    #[error("{0}")]
    Lost(String),
}

impl Closed {
    /// Whether the other end closed it with `why`.
    #[must_use]
    pub fn is_by_peer(&self, why: CloseCode) -> bool {
        matches!(self, Closed::ByPeer { code, .. } if *code == why.code())
    }
}
