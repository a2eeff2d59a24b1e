//! Suites that every backend must pass.
//!
//! Each is one async function that panics with the broken invariant. A backend calls it from a test of its own:
//!
//! ```
//! # use std::sync::Arc;
//! # use raft_core::{memory::MemoryLogStore, traits::LogStore};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let store = MemoryLogStore::new();
//! raft_core::conformance::log_store(async || Arc::new(store.clone()) as Arc<dyn LogStore>).await;
//! # }
//! ```
//!
//! The closure opens the same place each time it is called. A suite drops the store before it opens it again, so a
//! store that locks its directory must let go of it when it is dropped.
//!
//! A transport says what its bounds are, too: see [`transport`].
//!
//! A log store whose calls to the disk can be made to fail also passes [`log_store_with_faults`].

mod durable_state_machine;
mod log_store;
mod snapshot_store;
mod state_machine;
mod transport;

pub use durable_state_machine::durable_state_machine;
pub use log_store::{Fault, Reach, log_store, log_store_with_faults};
pub use snapshot_store::snapshot_store;
pub use state_machine::state_machine;
pub use transport::{TransportBounds, transport};
