//! The stores that are tried, and one that lies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, Index};
use raft_storage_engine::{EngineLogOptions, EngineLogStore};
use raft_storage_rocksdb::{OnLoss, RocksLogOptions, RocksLogStore};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Which store is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Kind {
    /// `raft_storage_rocksdb::RocksLogStore`.
    #[default]
    Rocksdb,
    /// `raft_storage_engine::EngineLogStore`. Its documentation says which losses it does not notice; they are found.
    RaftEngine,
}

/// How the store is made to fail, to show that it would be noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Lie {
    /// It is not.
    #[default]
    None,
    /// It acknowledges a write before the write is done.
    EarlyAck,
    /// It acknowledges every 16th write and does not make it.
    LostWrite,
    /// The disk says that it has synced, and has not.
    Disk,
}

/// Opens the store in `dir`, with limits so small that files are rotated and flushed all the time.
///
/// # Errors
/// Why it does not open.
pub fn open(kind: Kind, dir: &Path, seed: u64, suspect: bool) -> Result<Arc<dyn LogStore>, String> {
    let mut random = Random::new(seed);
    match kind {
        Kind::Rocksdb => {
            let options = RocksLogOptions {
                memtable_bytes: *random.pick(&[64 << 10, 256 << 10]),
                segment_bytes: *random.pick(&[64 << 10, 256 << 10, 1 << 20]),
                cache_bytes_max: *random.pick(&[0, 64 << 10, 32 << 20]),
                mark_entries_max: *random.pick(&[16, 256, 4096]),
                mark_interval: Duration::from_millis(*random.pick(&[5, 50, 1000])),
                on_loss: match suspect {
                    true => OnLoss::Suspect,
                    false => OnLoss::Refuse,
                },
                ..RocksLogOptions::default()
            };
            let store = RocksLogStore::open(dir, options).map_err(|error| error.to_string())?;
            Ok(Arc::new(store))
        }
        Kind::RaftEngine => {
            let options = EngineLogOptions {
                file_bytes: *random.pick(&[64 << 10, 256 << 10]),
                purge_bytes: 1 << 20,
                purge_interval: Duration::from_millis(*random.pick(&[5, 50])),
                mark_entries_max: *random.pick(&[16, 256, 4096]),
                mark_interval: Duration::from_millis(*random.pick(&[5, 50, 1000])),
                on_loss: match suspect {
                    true => raft_storage_engine::OnLoss::Suspect,
                    false => raft_storage_engine::OnLoss::Refuse,
                },
                ..EngineLogOptions::default()
            };
            let store = EngineLogStore::open(dir, options).map_err(|error| error.to_string())?;
            Ok(Arc::new(store))
        }
    }
}

/// A store that does not keep its word.
pub(crate) struct Liar {
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) lie: Lie,
    pub(crate) writes: std::sync::atomic::AtomicU64,
}

#[async_trait]
impl LogStore for Liar {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.store.load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        let nth = self.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match self.lie {
            Lie::EarlyAck => {
                let store = Arc::clone(&self.store);
                tokio::spawn(async move { store.write(batch).await });
                Ok(())
            }
            Lie::LostWrite if nth % 16 == 15 => Ok(()),
            _ => self.store.write(batch).await,
        }
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        self.store.read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        self.store.compact(group, through).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.store.destroy(group).await
    }
}
