//! The service that a simulation replicates unless told otherwise: keys, values, and how often each key was written.
//!
//! It is made to be judged. Every write answers with what it found, so that a lost, doubled or reordered write shows in
//! the next answer at the latest, and so does which writes came before; writes are counted per key, so that each key
//! can be judged alone.
//!
//! - [`Command`] and [`Response`]: what is written into the log, and what comes back.
//! - [`KeyValue`]: the state machine, in memory, with a hash of its state that costs nothing to keep.
//! - [`KeyValueModel`]: what one copy of it would answer.
//! - [`KeyValueWorkload`]: clients that fight for a few hot keys.

mod command;
mod machine;
mod model;
mod versioned;
mod workload;

pub use command::{APPENDED_BYTES_MAX, Command, Response, Status};
pub use machine::KeyValue;
pub use model::{KeyValueModel, Operation};
pub use versioned::{Trail, Versioned};
pub use workload::KeyValueWorkload;
