//! The snapshot store: one directory for each group, one file for each snapshot.
//!
//! - `store`: which files there are;
//! - `writer`, `reader`: one file being written, one being read;
//! - `file`: reads the parts of a file.

mod file;
mod reader;
mod store;
mod writer;

pub use store::FileSnapshotStore;
