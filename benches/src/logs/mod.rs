//! Logs under test: batches appended and made durable, one after the other, by any number of callers.
//!
//! Each log of this list does what the word `durable` asks for and nothing else: no entry is ever read or purged, nothing
//! is compressed, and a caller waits for its sync before it appends again.
//!
//! - [`store`]: any [`LogStore`](raft_core::traits::LogStore) of the workspace, through the trait;
//! - [`rocks`]: RocksDB itself, called directly, with any setting of its write-ahead log;
//! - [`engine`]: TiKV's raft-engine, called directly;
//! - [`floor`]: one write and one fdatasync per batch into a file that is laid out beforehand.

pub mod engine;
pub mod floor;
pub mod rocks;
pub mod store;

/// The payload of every entry, in bytes.
pub const PAYLOAD_BYTES: usize = 256;

/// A log that is open in a directory of its own.
pub trait Log {
    /// The name of the log in tables.
    fn name(&self) -> &'static str;

    /// A caller of its own, that shares the log with the others and nothing else: it appends to the group `group`.
    fn writer(&self, group: u64) -> Box<dyn BatchWriter>;

    /// What the log counted since it was opened, if it counts.
    fn counted(&self) -> Option<Counted> {
        None
    }
}

/// One caller of a log.
pub trait BatchWriter: Send {
    /// Appends one batch of `count` payloads; returns when it is durable.
    ///
    /// # Panics
    /// If the log fails: then there is nothing to measure.
    fn append(&mut self, count: u64);
}

/// What a log counts of its own work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Syncs of files.
    pub syncs: u64,
    /// Entries.
    pub entries: u64,
}

/// A payload that no compressor makes smaller, the same in every run.
#[must_use]
pub fn payload() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(PAYLOAD_BYTES);
    while bytes.len() < PAYLOAD_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}
