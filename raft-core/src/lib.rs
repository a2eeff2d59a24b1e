//! The Raft consensus protocol as a pure state machine, the traits of its backends, and the runtime that joins them.
//!
//! The names are those of the Raft paper (Ongaro and Ousterhout, 2014) and of Ongaro's thesis.
//!
//! # To embed it
//!
//! Implement [`StateMachine`](traits::StateMachine) for your service, choose a [`LogStore`](traits::LogStore), a
//! [`SnapshotStore`](traits::SnapshotStore) and a [`Transport`](traits::Transport), and start a `runtime::Node`. The example
//! `counter` is a whole program of 40 lines. With `memory` it needs neither a disk nor a network.
//!
//! # To read it
//!
//! Begin with [`raft`]: its table names the section of the paper that each file implements. Below it stand, each knowing
//! only those before it: [`types`], [`config`], [`membership`], [`entry`], [`request`], [`message`] with [`input`] and [`effect`], [`explain`], [`wire`],
//! [`traits`], [`progress`] and [`log`]. Beside it, [`sessions`] keeps a command that is sent twice from being applied
//! twice. Above it, [`driver`] keeps account of who waits for what, and `runtime` adds tasks, threads and a clock.
//! [`recovery`] helps a group that lost its majority for good, and [`record`] keeps what a replica was given, to do it again.
//!
//! # To drive it yourself
//!
//! [`raft::Raft`] alone has no clock, no thread and no I/O:
//!
//! ```
//! use raft_core::config::Config;
//! use raft_core::effect::{Effect, RoleKind};
//! use raft_core::input::Input;
//! use raft_core::membership::Membership;
//! use raft_core::message::SnapshotMeta;
//! use raft_core::raft::Raft;
//! use raft_core::traits::Recovered;
//! use raft_core::types::{EntryId, GroupId, NodeId, Time};
//!
//! let id = NodeId(1);
//! let membership = Membership::of_voters([id])?;
//! let snapshot = SnapshotMeta { last: EntryId::ZERO, membership };
//! let recovered = Recovered { snapshot, ..Recovered::default() };
//! let mut raft = Raft::new(Config::new(GroupId(1), id), recovered, EntryId::ZERO, Time::ZERO)?;
//!
//! let mut inputs = vec![Input::Campaign];
//! while let Some(input) = inputs.pop() {
//!     let mut effects = Vec::new();
//!     raft.step(Time::ZERO, input, &mut effects);
//!     for effect in effects {
//!         if let Effect::Persist(write) = effect {
//!             // Here the write becomes durable; then its messages leave, and those to itself come back.
//!             inputs.push(Input::Persisted(write.seq));
//!             inputs.extend(write.then.into_iter().map(Input::Receive));
//!         }
//!     }
//! }
//! assert_eq!(raft.role(), RoleKind::Leader);
//! assert_eq!(raft.commit_index(), raft.status().appended_index);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `runtime` (default): the tokio runtime and the backends in memory. Without it this crate needs no runtime, thread, clock,
//!   file or socket.
//! - `conformance`: test suites that every backend must pass.
//! - `mutants`: bugs that can be switched on, to test what looks for bugs. Needs debug assertions, and is for tests only.

mod codec;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod driver;
pub mod effect;
pub mod entry;
pub mod explain;
mod fingerprint;
pub mod input;
pub mod log;
pub mod membership;
#[cfg(feature = "runtime")]
pub mod memory;
pub mod message;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
pub mod progress;
pub mod pulse;
pub mod raft;
mod random;
pub mod record;
pub mod recovery;
pub mod request;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod sessions;
pub mod status;
pub mod traits;
pub mod types;
pub mod wire;
