//! A Raft transport over TCP: mutual TLS 1.3, for networks that do not carry UDP.
//!
//! [`TcpTransport`] is a [`PeerTransport`], whose documentation tells who is let in, how a connection lives and what its
//! streams carry: the same certificates, hello and frames as over QUIC. This crate makes the connections: [`TcpCarrier`].
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use raft_core::types::NodeId;
//! use raft_transport_tcp::{ContactAddress, TcpLimits, TcpTransport, TransportLimits, TransportOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), raft_transport_tcp::SetupError> {
//! let options = TransportOptions {
//!     id: NodeId(1),
//!     cluster: "alpha".to_string(),
//!     listen: "0.0.0.0:2380".parse().expect("this is an address"),
//!     peers: BTreeMap::from([(NodeId(2), "node2.example:2380".to_string())]),
//!     contact_address: ContactAddress::default(),
//!     certificate: "n1.pem".into(),
//!     key: "n1.key".into(),
//!     ca: "ca.pem".into(),
//!     limits: TransportLimits::default(),
//! };
//! let transport = TcpTransport::bind(options, TcpLimits::default())?;
//! # drop(transport);
//! # Ok(())
//! # }
//! ```
//!
//! # One connection is several sockets
//!
//! What is sent over one TCP socket arrives in one order: a vote would wait for the entries before it, and for their lost
//! packets. So a [connection](TcpConnection) of two nodes is a socket for each stream, all dialled by the end that made the
//! connection, each with a TLS handshake of its own:
//!
//! | socket | carries |
//! |---|---|
//! | control | are you there, close and why, and "dial me a socket for a snapshot" |
//! | urgent lane | that lane's messages, in both directions |
//! | ordered lane | that lane's messages, in both directions |
//! | snapshot | one snapshot and its replies; made for it and closed after it |
//!
//! The first bytes inside TLS say to which connection a socket belongs and what for. It is accepted only for a connection of
//! the same node. The end of any but a snapshot's socket is the end of the connection.
//!
//! # What TCP does not give
//!
//! The system does not tell how many packets were lost, so [`PeerStatus`](raft_core::traits::PeerStatus) has only the round-trip
//! time, which is measured on the control socket. A connection does not survive a change of address. A newcomer has proved its
//! address before the first byte, so there is no Retry.
//!
//! # The limits
//!
//! Beside those of [`TransportLimits`], the fields of [`TcpLimits`]:
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | `socket_buffer_bytes` | the system's, which grow with the path | the sender of the stream waits |
//!
//! [`PeerTransport`]: raft_transport::PeerTransport

mod accept;
mod carrier;
mod connection;
mod control;
mod limits;
mod preamble;
mod state;
mod streams;
mod tasks;

pub use raft_transport::{ContactAddress, SetupError, TransportLimits, TransportOptions};

pub use accept::Newcomer;
pub use carrier::TcpCarrier;
pub use connection::TcpConnection;
pub use limits::TcpLimits;
pub use streams::{TcpReceiver, TcpSender};

/// Messages and snapshots over TCP. See the documentation of this crate and of [`raft_transport`] for the life of a connection
/// and the limits.
pub type TcpTransport = raft_transport::PeerTransport<TcpCarrier>;
