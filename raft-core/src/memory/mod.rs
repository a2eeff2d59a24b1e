//! Backends that live in memory: for tests, for examples, and for measuring everything but the disk and the network.
//!
//! They keep every invariant of their traits except one: what they store is gone when the process ends. A
//! [`MemoryLogStore`] is a handle; clones share one state, so a replica can be stopped and started again on it.

mod log_store;
mod network;
mod snapshot_store;

pub use log_store::MemoryLogStore;
pub use network::InProcessNetwork;
pub use snapshot_store::MemorySnapshotStore;
