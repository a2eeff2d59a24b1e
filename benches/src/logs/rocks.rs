//! RocksDB itself, called directly: what a log store on it is measured against, and what its settings cost.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{DB, DBCompressionType, DBRecoveryMode, Options, WriteBatch, WriteOptions};

use super::{BatchWriter, Log, payload};

/// How a batch becomes durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// The write asks for the sync of the write-ahead log.
    #[default]
    WithTheWrite,
    /// The write goes to a buffer of RocksDB; `flush_wal` writes and syncs it.
    Manual,
}

/// The settings that a turn of the comparison changes; the others are RocksDB's defaults, without compression.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The name in tables.
    pub name: &'static str,
    /// What is done about a damaged write-ahead log on open.
    pub recovery: DBRecoveryMode,
    /// The size of a memtable; a log file is preallocated for a little more than that.
    pub memtable_bytes: usize,
    /// The size of all write-ahead logs together.
    pub wal_bytes_max: u64,
    /// How many old log files are written again in place of new ones.
    pub recycled: usize,
    /// A write-ahead log is handed to the disk after so many bytes, without waiting; 0 for never.
    pub wal_bytes_per_sync: u64,
    /// How a batch becomes durable.
    pub sync: Sync,
}

impl Settings {
    /// The fastest settings under which no damage is hidden: every log file is new, so it grows with each write.
    #[must_use]
    pub fn safe() -> Settings {
        Settings {
            name: "raw RocksDB",
            recovery: DBRecoveryMode::TolerateCorruptedTailRecords,
            memtable_bytes: 64 << 20,
            wal_bytes_max: 256 << 20,
            recycled: 0,
            wal_bytes_per_sync: 0,
            sync: Sync::WithTheWrite,
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(self.memtable_bytes);
        options.set_max_total_wal_size(self.wal_bytes_max);
        options.set_wal_recovery_mode(self.recovery);
        options.set_recycle_log_file_num(self.recycled);
        options.set_wal_bytes_per_sync(self.wal_bytes_per_sync);
        options.set_manual_wal_flush(self.sync == Sync::Manual);
        options
    }
}

/// One database.
pub struct RawRocks {
    db: Arc<DB>,
    settings: Settings,
}

impl RawRocks {
    /// Opens a database in `dir`.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn open(dir: &Path, settings: Settings) -> RawRocks {
        let db = DB::open(&settings.options(), dir).expect("the directory opens");
        if settings.recycled > 0 {
            lay_out(&db, settings.recycled);
        }
        RawRocks {
            db: Arc::new(db),
            settings,
        }
    }
}

/// Fills and retires log files, so that the next ones are those again.
fn lay_out(db: &DB, files: usize) {
    const FILE_BYTES: usize = 32 << 20;
    let value = vec![0; 1 << 20];
    for _ in 0..=files {
        for number in 0..FILE_BYTES / value.len() {
            db.put(number.to_be_bytes(), &value)
                .expect("the database takes the value");
        }
        db.flush().expect("the memtable is written");
    }
}

impl Log for RawRocks {
    fn name(&self) -> &'static str {
        self.settings.name
    }

    fn writer(&self, group: u64) -> Box<dyn BatchWriter> {
        let mut options = WriteOptions::default();
        options.set_sync(self.settings.sync == Sync::WithTheWrite);
        Box::new(RocksWriter {
            db: Arc::clone(&self.db),
            options,
            sync: self.settings.sync,
            group,
            next: 1,
            payload: payload(),
        })
    }
}

struct RocksWriter {
    db: Arc<DB>,
    options: WriteOptions,
    sync: Sync,
    group: u64,
    next: u64,
    payload: Vec<u8>,
}

impl BatchWriter for RocksWriter {
    fn append(&mut self, count: u64) {
        let batch = batch(self.group, self.next, count, &self.payload);
        self.next += count;
        self.db
            .write_opt(batch, &self.options)
            .expect("the database takes the batch");
        if self.sync == Sync::Manual {
            self.db.flush_wal(true).expect("the log is synced");
        }
    }
}

/// A batch of `count` entries from index `next` on, with keys as long as those of a log store of many groups.
pub(super) fn batch(group: u64, next: u64, count: u64, payload: &[u8]) -> WriteBatch {
    let bytes = usize::try_from(count).unwrap_or(0) * (payload.len() + 24);
    let mut batch = WriteBatch::with_capacity_bytes(bytes);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&group.to_be_bytes());
    for index in next..next + count {
        key[8..].copy_from_slice(&index.to_be_bytes());
        batch.put(key, payload);
    }
    batch
}
