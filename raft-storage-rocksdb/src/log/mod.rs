//! The log store. Arrows between the modules point down this list.
//!
//! - `store`: opens, and answers the calls of the trait;
//! - `writer`, `housekeeping`: the two threads that change the disk;
//! - `stage`: turns requests into one batch, without I/O but for a rare read;
//! - `queue`: what waits for the writer;
//! - `group`: what the threads know about one group, in memory;
//! - `scan`: reads and verifies a whole log;
//! - `database`, `watermark`: the two kinds of files;
//! - `options`: pure.

mod database;
mod group;
mod housekeeping;
mod options;
mod queue;
mod scan;
mod stage;
mod store;
mod watermark;
mod writer;

pub use options::{OnLoss, RocksLogOptions};
pub use store::RocksLogStore;
