//! The log store. Arrows between the modules point down this list.
//!
//! - `store`: answers the calls of the trait;
//! - `opening`: decides whether what is on disk may be used;
//! - `writer`, `housekeeping`: the two threads that change the disk;
//! - `stage`: turns requests into one batch, without I/O but for a rare read;
//! - `queue`: what waits for the writer;
//! - `group`: what the threads know about one group, in memory;
//! - `scan`: reads and verifies a whole log;
//! - `tail`: finds the newest file and what is wrong with it, before raft-engine opens it;
//! - `database`, `watermark`: the two kinds of files;
//! - `message`: an entry as raft-engine wants it;
//! - `options`: pure.

mod database;
mod group;
mod housekeeping;
pub(crate) mod message;
mod opening;
mod options;
mod queue;
mod scan;
mod stage;
mod store;
mod tail;
mod watermark;
mod writer;

pub use options::{EngineLogOptions, OnLoss};
pub use store::EngineLogStore;
