//! The tokio runtime around one replica: threads, queues, timers, and the [`Node`] handle that clients hold.
//!
//! ```text
//! clients ─▶ inbox ─▶ consensus task ─▶ log writer task ─▶ log store
//! transport ─▶  ▲         │  │  └─────▶ transport (appends overlap the writer's sync)
//!               │         │  └────────▶ tasks for cold reads, snapshots and compaction
//!               │         ▼
//!               └──── apply thread ───▶ state machine, and the responses straight to the clients
//! ```
//!
//! - The consensus task takes everything that arrived as one step. Nothing it calls blocks.
//! - The log writer merges everything that waits into one durable write: a batch is what arrived during the last sync.
//! - The state machine has a thread of its own, because it is synchronous and may block. One that never blocks is a task,
//!   and a log store that never waits is called where the replica runs: that spares most changes of thread.
//! - A recording goes to a queue, and a thread of its own writes it; a full queue leaves a gap.
//! - Everything else that touches a disk or a peer is a task of its own, so that none waits for another (R35, R76).
//!
//! Every queue is bounded: clients are refused with `Busy`, messages are dropped (they may be lost anyway), and what the
//! node does for itself is bounded by the protocol's windows. This module must never decide anything about the protocol.

mod apply;
mod consensus;
mod error;
mod inbound;
mod inbox;
mod lifecycle;
mod node;
mod options;
mod pace;
mod queue;
mod recording;
mod recording_files;
mod session;
mod shared;
mod snapshots;
mod start;
mod waiters;
mod writer;

pub use error::{ChangeMembershipError, NodeError, ProposeError, ReadError, TransferError};
pub use node::{Applied, MembershipChanged, Node, ReadConsistency};
pub use options::NodeOptions;
pub use recording_files::{RecordingError, RecordingFiles};
pub use session::Session;
