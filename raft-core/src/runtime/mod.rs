//! The tokio runtime around replicas: threads, queues, timers, the [`Host`] of many groups, and the [`Node`] handle of one
//! replica that clients hold.
//!
//! ```text
//! clients ─▶ inbox ─▶ worker task ─────▶ log writer task ─▶ log store
//! transport ─▶  ▲      │  │  │  └─────▶ transport (appends overlap the writer's sync)
//!               │      │  │  └────────▶ tasks for cold reads, snapshots and compaction
//!               │      │  ▼
//!               │      │ replicas, each a driver of its own
//!               │      ▼
//!               └─── apply threads ───▶ state machines, and the responses straight to the clients
//! ```
//!
//! - A group belongs to one worker, by its id, and the worker owns its replica outright: no lock guards it. A worker has one
//!   inbox and one timer for all of its replicas. It takes everything that arrived as one round, in which each replica that
//!   got something, or whose deadline has come, takes one step; the others cost nothing. Nothing a worker calls blocks.
//! - What one round says to one peer, for all groups, leaves at once.
//! - The log writer merges everything that waits, of all groups, into one durable write: a batch is what arrived during the
//!   last sync.
//! - State machines that may block share a fixed set of threads, those that never block a fixed set of tasks. A log store that
//!   never waits is called where the replicas run: that spares most changes of thread.
//! - A recording goes to a queue, and a thread of its own writes it; a full queue leaves a gap.
//! - Everything else that touches a disk or a peer is a task of its own, so that none waits for another (R35, R76).
//!
//! # Many groups
//!
//! [`Node::start`] is a host with one group, which ends with it. On a [`Host`] groups come and go, and fail alone: only a log
//! store that fails stops all. A group exists where it was created, and nowhere else: a message of a group that is not here is
//! dropped and counted. One that was destroyed never comes back, because the log store remembers that.
//!
//! A replica with much to do takes a limited part of it in each round, so that those who share its worker have theirs.
//!
//! Groups may sleep ([`Config::quiesce_after`](crate::config::Config)): one task of the host watches the nodes of their leaders
//! for all of them ([`crate::pulse`]).
//!
//! Every queue is bounded: clients are refused with `Busy`, messages are dropped (they may be lost anyway), and what the
//! host does for itself is bounded by the protocol's windows. This module must never decide anything about the protocol.

mod apply;
mod budget;
mod directory;
mod error;
mod group;
mod host;
mod inbound;
mod inbox;
mod lifecycle;
mod node;
mod options;
mod pace;
mod pulses;
mod queue;
mod recording;
mod recording_files;
mod replica;
mod round;
mod session;
mod shared;
mod snapshots;
mod start;
mod timetable;
mod waiters;
mod worker;
mod writer;

pub use error::{ChangeMembershipError, NodeError, ProposeError, ReadError, TransferError};
pub use host::Host;
pub use node::{Applied, MembershipChanged, Node, ReadConsistency};
pub use options::{GroupOptions, HostOptions, NodeOptions};
pub use recording_files::{RecordingError, RecordingFiles};
pub use session::Session;
