//! The data directory of one node: who owns it, and that nobody else uses it.
//!
//! ```text
//! DIR/IDENTITY    cluster, node, store of the log, format version (text)
//! DIR/PUBLISHED   where the node last told the others that it is reached (JSON)
//! DIR/TIMES       what the node had applied when, by its own clock
//! DIR/LOCK        held while a process uses the directory
//! DIR/log         the Raft log, in the store that IDENTITY names; unused if that is memory
//! DIR/snapshots   snapshots of the state machine
//! DIR/kv          the state machine's data (RocksDB)
//! ```
//!
//! A directory belongs to one node of one cluster for ever. Another node's or another cluster's is refused before
//! anything in it is opened: a vote given twice because two nodes shared a log would break the protocol (R68).
//! This module never reads or writes what is inside the three directories.

pub mod directory;
pub mod error;
pub mod identity;
pub mod published;
pub mod stopped;
