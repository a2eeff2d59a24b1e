//! Log stores: batches appended and made durable, one after the other.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::memory::MemoryLogStore;
use raft_core::traits::{GroupWrite, LogStore};
use raft_core::types::{EntryId, GroupId, Index, Term};
use raft_storage_rocksdb::{RocksLogOptions, RocksLogStore};
use tempfile::TempDir;

/// A log store that is being appended to.
pub struct Appender {
    store: Arc<dyn LogStore>,
    next: Index,
    /// Deleted when the appender is.
    _dir: Option<TempDir>,
}

/// After so many entries the log is compacted, as a running replica does.
const KEPT_ENTRIES: u64 = 100_000;

const GROUP: GroupId = GroupId(1);

impl Appender {
    /// Appends one batch of `count` commands; returns when it is durable.
    ///
    /// # Panics
    /// If the store fails: then there is nothing to measure.
    pub async fn append(&mut self, command: &Bytes, count: u64) {
        let entries = (0..count)
            .map(|position| Entry::command(Term(1), self.next + position, command.clone()))
            .collect();
        let write = GroupWrite {
            group: GROUP,
            hard_state: None,
            snapshot: None,
            log: LogChange::Append(entries),
        };
        self.store
            .write(vec![write])
            .await
            .expect("the store takes the batch");
        let through = Index(self.next.0.saturating_sub(KEPT_ENTRIES));
        self.next = self.next + count;
        if through.0 / KEPT_ENTRIES != (through.0 + count) / KEPT_ENTRIES {
            let through = EntryId::new(Term(1), through.next());
            self.store
                .compact(GROUP, through)
                .await
                .expect("the store compacts");
        }
    }
}

/// Every log store of the workspace, empty.
///
/// # Panics
/// If a store cannot be opened.
#[must_use]
pub fn stores() -> Vec<(&'static str, Appender)> {
    vec![
        ("memory", appender(Arc::new(MemoryLogStore::new()), None)),
        ("rocksdb", rocksdb()),
    ]
}

/// `raft-storage-rocksdb` in a directory of its own.
///
/// # Panics
/// If it cannot be opened.
#[must_use]
pub fn rocksdb() -> Appender {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store =
        RocksLogStore::open(dir.path(), RocksLogOptions::default()).expect("an empty directory opens");
    appender(Arc::new(store), Some(dir))
}

fn appender(store: Arc<dyn LogStore>, dir: Option<TempDir>) -> Appender {
    Appender {
        store,
        next: Index(1),
        _dir: dir,
    }
}

/// RocksDB itself with one synced batch per append: the floor under any log store on it.
pub struct RawRocks {
    db: rocksdb::DB,
    next: u64,
    _dir: TempDir,
}

impl Default for RawRocks {
    fn default() -> RawRocks {
        RawRocks::new()
    }
}

impl RawRocks {
    /// An empty database.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn new() -> RawRocks {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_compression_type(rocksdb::DBCompressionType::None);
        options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
        let db = rocksdb::DB::open(&options, dir.path()).expect("an empty directory opens");
        RawRocks {
            db,
            next: 1,
            _dir: dir,
        }
    }

    /// Puts one batch of `count` values, synced.
    ///
    /// # Panics
    /// If the database fails.
    pub fn append(&mut self, value: &[u8], count: u64) {
        let mut batch = rocksdb::WriteBatch::default();
        for position in 0..count {
            batch.put((self.next + position).to_be_bytes(), value);
        }
        self.next += count;
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(true);
        self.db
            .write_opt(batch, &options)
            .expect("the database takes the batch");
    }
}
