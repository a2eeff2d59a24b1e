//! A Raft transport over QUIC: mutual TLS 1.3, one connection for each pair of nodes, shared by all groups.
//!
//! [`QuicTransport`] is a [`PeerTransport`], whose documentation tells who is let in, how a connection lives
//! and what its streams carry. This crate makes the connections: [`QuicCarrier`].
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use raft_core::types::NodeId;
//! use raft_transport_quic::{ContactAddress, QuicLimits, QuicTransport, TransportLimits, TransportOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), raft_transport_quic::SetupError> {
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
//! let transport = QuicTransport::bind(options, QuicLimits::default())?;
//! # drop(transport);
//! # Ok(())
//! # }
//! ```
//!
//! # What QUIC gives
//!
//! - Streams that do not wait for each other: a lost packet of a snapshot delays no vote. Priorities say which stream a packet
//!   is filled from first: urgent messages 1, ordered ones 0, snapshots −1.
//! - Connections that outlive an address: when the packets of the end that dialled come from another address, which it
//!   proves, the connection goes on there, and no election is needed.
//! - No early data and no session tickets: every connection is a full handshake. With [`retry_handshakes_min`] unproven
//!   connections newcomers must show that they receive at the address they claim (Retry).
//!
//! # The limits
//!
//! Beside those of [`TransportLimits`], the fields of [`QuicLimits`]:
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | `socket_buffer_bytes` | 4 MiB each way | the system drops packets |
//! | `stream_window_bytes` | 2 MiB | the sender of the stream waits; a connection's window is the sum of its streams' |
//! | `datagram_bytes_max` | 1,452 bytes | path discovery stops |
//!
//! Also bounded: 4 MiB for packets of connections that nobody looked at yet.
//!
//! [`PeerTransport`]: raft_transport::PeerTransport
//! [`retry_handshakes_min`]: raft_transport::TransportLimits::retry_handshakes_min

mod carrier;
mod connection;
mod limits;
mod socket;

pub use raft_transport::{ContactAddress, SetupError, TransportLimits, TransportOptions};

pub use carrier::{Newcomer, QuicCarrier};
pub use connection::{QuicConnection, QuicReceiver, QuicSender};
pub use limits::QuicLimits;

/// Messages and snapshots over QUIC. See the documentation of this crate and of [`raft_transport`] for the life of a connection
/// and the limits.
pub type QuicTransport = raft_transport::PeerTransport<QuicCarrier>;
