//! What every authenticated Raft transport needs, whatever carries its bytes: who is who, who is a peer, the life of a
//! connection, lanes, queues, frames and snapshots.
//!
//! [`PeerTransport`] implements [`Transport`](raft_core::traits::Transport) over a [`Carrier`](carrier::Carrier), which makes
//! TLS connections and opens streams on them. `raft-transport-quic` and `raft-transport-tcp` are the two carriers of this
//! workspace. It carries messages and snapshots between nodes that prove who they are; it knows nothing of terms, votes or
//! logs.
//!
//! # Who is who
//!
//! A node's certificate is signed by the cluster's authority, for client and for server authentication, and carries exactly
//! one DNS name: `n<ID>.<CLUSTER>.raft.internal`. The id in it must be the id in the hello, the `from` of every message and
//! the `from` of every snapshot; `to` must be the receiver. Whoever dials also verifies that the name is that of the node it
//! wanted. Anything else closes the connection with a code, writes one warning (at most 20 a second), and delivers nothing.
//! There is no early data and there are no session tickets: every connection is a full handshake.
//!
//! # Who is a peer
//!
//! The members of all groups, as the replicas tell them with
//! [`membership_changed`](raft_core::traits::Transport::membership_changed) and
//! [`membership_committed`](raft_core::traits::Transport::membership_committed); until one did, the nodes of the
//! [options](TransportOptions::peers). [`ContactAddress`] finds the address in a member's contact.
//!
//! - A new member is dialled at once, one that moved is found by its new contact, or because it calls.
//! - A member that left is cut off `departed_grace` after that was committed, and refused from then on: not before, because the
//!   removal can be taken back, and because it has to hear of it.
//! - A node whose id is higher than any that was a member may have joined without this node's knowledge, and may be the leader
//!   that would tell it. It is let in as long as its connection lasts, as one of at most `strangers_max`. Ids are never used
//!   twice, so a lower id that is no member is gone for good, and refused.
//!
//! # The life of a connection
//!
//! 1. The lower id of a pair dials and keeps trying; the higher id accepts.
//! 2. TLS: both verify chain, dates, usage and the one name. Who is no peer is refused.
//! 3. Each side opens a stream for each lane and says hello on it: version, lane, id, incarnation, cluster. The connection is
//!    installed when every hello was heard, so that a side that was refused never believes it is connected.
//! 4. Messages flow on these streams until the connection ends. A newer connection of the same peer replaces the older.
//! 5. A side that hears nothing for `idle_timeout` gives the connection up; `keep_alive_interval` keeps an idle one alive.
//!    After `silence_max` the end that accepted knocks (see below): if its address changed, the end that dialled takes nothing
//!    from it any more, hears the knock from the new one, and dials there.
//! 6. The lower id dials again, after a pause that doubles from `dial_backoff_min` to `dial_backoff_max`, less a random half.
//! 7. The higher id, when it has no connection, *knocks*: it connects, says hello and is sent away with the code "knock
//!    heard". The lower id then dials at once, where the knock came from. So a node that restarts is connected within a few round trips in either role,
//!    however long it was down. If the hello shows a new incarnation, or comes from another address than the connection, the lower
//!    id drops that connection for a new one.
//!
//! # The streams of a connection
//!
//! | stream | how many | opened by | frames, in order | priority |
//! |---|---|---|---|---|
//! | urgent lane | one in each direction | each side, at once | Hello, then Messages for ever | highest |
//! | ordered lane | one in each direction | each side, at once | Hello, then Messages for ever | |
//! | snapshot | one for each | whoever sends the snapshot | InstallSnapshot → ← Continue (offset) or Refused; SnapshotChunk …, an empty one → ← Stored or Refused | lowest |
//!
//! A message travels in its [lane](raft_core::message::Message::lane): votes, heartbeats, acknowledgements and read rounds
//! overtake entries, and both overtake snapshots. Within a lane order is kept.
//!
//! A frame is that of [`raft_core::wire`]: version, kind, length, checksum, body. All messages that wait when the stream can
//! take more leave in one frame; all messages of a frame are delivered with one call; payloads share the frame's memory.
//!
//! # The limits
//!
//! Every one is a field of [`TransportLimits`].
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | `frame_bytes_max` | 4 MiB | a larger frame closes the connection, before memory is allocated for it; a larger message is dropped by the sender |
//! | `coalesce_bytes_max` | 64 KiB | the next frame begins |
//! | `queue_messages_max` | 16,384 messages in each lane | the newest are dropped and counted |
//! | `queue_bytes_max` | 32 MiB in each lane | the newest are dropped and counted |
//! | `queue_age_max` | 1 s | what waits for a peer without a connection is dropped and counted |
//! | `dial_backoff_min`, `dial_backoff_max` | 50 ms, 2 s | |
//! | `handshake_timeout` | 3 s | the connection is closed |
//! | `frame_timeout` | 5 s, and 1 s for each 64 KiB of it | a frame that began and did not end closes the connection |
//! | `silence_max` | 650 ms | the end that accepted knocks |
//! | `keep_alive_interval`, `idle_timeout` | 500 ms, 2.5 s | the connection is dead |
//! | `handshakes_max` | 256 connections | the oldest unproven one is given up |
//! | `handshakes_per_address_max` | 64 connections | the oldest unproven one from there is given up |
//! | `handshakes_per_address_per_second` | 64 | one more is refused before it costs anything |
//! | `retry_handshakes_min` | 32 connections | newcomers must prove their address first, where the carrier can ask that (QUIC Retry) |
//! | `strangers_max` | 16 nodes | one more is refused |
//! | `departed_grace` | 500 ms | a member that left is cut off |
//! | `snapshot_chunk_bytes_max` | 64 KiB | the next chunk begins |
//! | `snapshot_window_bytes_max` | 8 MiB, or what the way holds | the sender waits until the receiver has written |
//! | `snapshot_stall_timeout` | 10 s without progress | the transfer fails; what arrived is kept for the next attempt |
//! | `inbound_snapshots_max` | 4 snapshots | one more is refused as busy; further ones wait for a stream |
//!
//! Also bounded: 20 warnings a second, a hello of 128 bytes, a refusal's reason of 1,024 bytes.

mod accept;
mod budget;
pub mod carrier;
mod close_code;
mod connection;
mod credentials;
mod dial;
mod error;
mod frame_io;
mod handshake;
mod identity;
mod lanes;
mod options;
mod peer;
mod protocol;
mod queue;
mod roster;
mod shared;
mod silence;
mod size;
mod snapshot_receive;
mod snapshot_send;
mod transport;
mod warnings;

pub use close_code::CloseCode;
pub use credentials::Credentials;
pub use error::SetupError;
pub use identity::{IdentityError, node_name, node_of};
pub use options::{ContactAddress, TransportLimits, TransportOptions};
pub use transport::{OperatedTransport, PeerTransport};
