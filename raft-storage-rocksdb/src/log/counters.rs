//! What the writer of a store did since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`RocksLogStore`](crate::RocksLogStore) wrote since it was opened, for metrics and benchmarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogCounters {
    /// Group commits: records of the journal, each with one sync.
    pub syncs: u64,
    /// Calls of `write`, `compact` and `destroy` that were part of them.
    pub requests: u64,
    /// Entries that were appended.
    pub entries: u64,
    /// Bytes of the batches that were handed to the journal, in bytes, before it frames and doubles them.
    pub bytes: u64,
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    syncs: AtomicU64,
    requests: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn synced(&self, bytes: usize) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, requests: usize) {
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
    }

    pub(crate) fn appended(&self, entries: usize) {
        self.entries.fetch_add(entries as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> LogCounters {
        LogCounters {
            syncs: self.syncs.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
