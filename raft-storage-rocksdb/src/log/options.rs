//! The limits of a log store.

use std::time::Duration;

/// The limits of a [`RocksLogStore`](crate::RocksLogStore). The defaults suit a server with some tens of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksLogOptions {
    /// Payload bytes that may wait for the writer; further writes wait for room. At least 1.
    pub queue_bytes_max: usize,
    /// Calls of `write`, `compact` and `destroy` that may wait for the writer. At least 1.
    pub queue_requests_max: usize,
    /// The size of a memtable of RocksDB, in bytes. Best above `segment_bytes`: then tables are written when a segment
    /// of the journal is full, and not in between.
    pub memtable_bytes: usize,
    /// The size of a segment of the journal, in bytes; at least 64 KiB. One or two of them are read when the store is
    /// opened, and one more waits to be used: three at rest, more while RocksDB writes tables. A batch that is larger
    /// gets a larger segment.
    pub segment_bytes: u64,
    /// Bytes of the newest entries of all groups that are kept in memory, beside those that RocksDB does not have yet. Reads
    /// of them touch no disk.
    pub cache_bytes_max: usize,
    /// How many entries may become durable before the watermark follows. Entries above the watermark are durable all
    /// the same; but if the disk loses exactly those, nobody notices.
    pub mark_entries_max: u64,
    /// How long the watermark may lag behind the durable log.
    pub mark_interval: Duration,
    /// Threads that serve `load` and `read`.
    pub reader_threads: usize,
    /// Calls of `load` and `read` that may wait for such a thread.
    pub reader_requests_max: usize,
    /// What to do on open about a group that lost entries, a term or a vote that it had acknowledged (R11).
    pub on_loss: OnLoss,
}

/// What a store does about a group that lost something that it had acknowledged, while what is left of it is sound.
/// Damage within the log is refused always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It does not open: an operator looks at the disk first.
    #[default]
    Refuse,
    /// It opens, and stores that the replica is a suspect: it neither votes nor counts until it has caught up with a
    /// majority without it (R68).
    Suspect,
}

impl Default for RocksLogOptions {
    fn default() -> RocksLogOptions {
        RocksLogOptions {
            queue_bytes_max: 64 << 20,
            queue_requests_max: 4096,
            memtable_bytes: 128 << 20,
            segment_bytes: 64 << 20,
            cache_bytes_max: 32 << 20,
            mark_entries_max: 4096,
            mark_interval: Duration::from_secs(1),
            reader_threads: 1,
            reader_requests_max: 256,
            on_loss: OnLoss::Refuse,
        }
    }
}
