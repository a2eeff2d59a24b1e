//! The snapshot store: one directory for each group, one file for each snapshot.
//!
//! What is being written has another name until all of it is there: it is compared with the content that the sender announced,
//! synced, renamed, and the directory is synced (R54, R74). A crash before the rename leaves a file that the same transfer goes on
//! with, behind the last block whose checksum is right; a crash after it, a snapshot. A snapshot is in force only when the log store
//! says so, so one that nothing refers to harms nobody and is removed with the older ones.
//!
//! - `store`: which files there are;
//! - `writer`, `reader`: one file being written, one being read;
//! - `file`: reads the parts of a file.

mod file;
pub(crate) mod reader;
pub(crate) mod store;
mod writer;

pub use store::FileSnapshotStore;
