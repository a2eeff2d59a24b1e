//! The snapshot store: one directory for each group, one file for each snapshot.
//!
//! - `store`: which files there are;
//! - `writer`, `reader`: one file being written, one being read;
//! - `format`: the bytes of a file.

mod format;
mod reader;
mod store;
mod writer;

pub use store::FileSnapshotStore;
