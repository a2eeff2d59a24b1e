//! The Raft consensus protocol as a pure state machine, the traits of its backends, and the runtime that joins them.
//!
//! The names are those of the Raft paper (Ongaro and Ousterhout, 2014) and of Ongaro's thesis.

pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod driver;
pub mod effect;
pub mod entry;
pub mod input;
pub mod log;
pub mod membership;
#[cfg(feature = "runtime")]
pub mod memory;
pub mod message;
pub mod progress;
pub mod raft;
mod random;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod status;
pub mod traits;
pub mod types;
pub mod wire;
