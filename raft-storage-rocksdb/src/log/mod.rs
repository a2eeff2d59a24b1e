//! The log store. Arrows between the modules point down this list.
//!
//! - `store`: opens, and answers the calls of the trait;
//! - `writer`, `applier`, `housekeeping`: the threads that change the disk;
//! - `stage`: turns requests into one batch, without I/O but for a rare read;
//! - `queue`: what waits for the writer;
//! - `counters`: what the writer did;
//! - `group`, `cache`: what the threads know about one group, in memory;
//! - `scan`: reads and verifies a whole log;
//! - `journal`: makes batches durable;
//! - `database`, `watermark`: the other two kinds of files;
//! - `manifest`: mends or refuses files of RocksDB before it opens them;
//! - `options`: pure.

mod applier;
mod cache;
mod counters;
pub(crate) mod database;
mod group;
mod housekeeping;
pub(crate) mod journal;
pub(crate) mod manifest;
mod options;
mod queue;
mod scan;
mod stage;
pub(crate) mod store;
pub(crate) mod watermark;
mod writer;

pub use counters::LogCounters;
pub use options::{OnLoss, RocksLogOptions};
pub use store::RocksLogStore;
