//! What a replica needs from its surroundings. Implement [`StateMachine`]; choose the others from the backends.
//!
//! The traits are object safe and called per batch, so a boxed future costs nothing per entry.

mod log_store;
mod snapshot_store;
mod state_machine;
mod transport;

pub use log_store::{GroupWrite, LogStore, LogStoreError, Recovered};
pub use snapshot_store::{SnapshotReader, SnapshotStore, SnapshotStoreError, SnapshotWriter};
pub use state_machine::{SessionChanges, StateMachine, StateMachineError};
pub use transport::{Inbound, PeerStatus, Transport, TransportError};

/// The boxed cause of a backend's error: no backend type leaks through the traits.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;
