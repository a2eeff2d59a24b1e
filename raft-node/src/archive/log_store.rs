//! A log store that forgets nothing before it is archived.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered, SnapshotStore};
use raft_core::types::{EntryId, GroupId, Index};
use tokio::sync::Mutex;

use super::files::Archive;

/// A log store around another one: what that is to forget is archived first.
pub struct ArchivingLogStore {
    inner: Arc<dyn LogStore>,
    snapshots: Arc<dyn SnapshotStore>,
    archive: Mutex<Archive>,
    figures: Arc<ArchiveFigures>,
}

/// How the archive of a node is, for metrics.
#[derive(Debug, Default)]
pub struct ArchiveFigures {
    last_index: AtomicU64,
    segment_bytes: AtomicU64,
    failures: AtomicU64,
}

impl ArchiveFigures {
    /// The last archived index.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.last_index.load(Ordering::Relaxed)
    }

    /// The bytes of all segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    /// How often entries could not be archived since the start. The log keeps them until they are.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn note(&self, archive: &Archive) {
        self.last_index.store(archive.last().index.0, Ordering::Relaxed);
        self.segment_bytes
            .store(archive.segment_bytes(), Ordering::Relaxed);
    }
}

impl fmt::Debug for ArchivingLogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivingLogStore").finish_non_exhaustive()
    }
}

impl ArchivingLogStore {
    /// A store that is `inner` and keeps what it forgets in `archive`. `snapshots` are those of the same node.
    #[must_use]
    pub fn new(
        inner: Arc<dyn LogStore>,
        snapshots: Arc<dyn SnapshotStore>,
        archive: Archive,
    ) -> ArchivingLogStore {
        let figures = Arc::new(ArchiveFigures::default());
        figures.note(&archive);
        ArchivingLogStore {
            inner,
            snapshots,
            archive: Mutex::new(archive),
            figures,
        }
    }

    /// How the archive is.
    #[must_use]
    pub fn figures(&self) -> Arc<ArchiveFigures> {
        self.figures.clone()
    }
}

#[async_trait]
impl LogStore for ArchivingLogStore {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.inner.load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        self.inner.write(batch).await
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        self.inner.read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        {
            let mut archive = self.archive.lock().await;
            let kept = archive.keep(&*self.inner, &*self.snapshots, through.index).await;
            self.figures.note(&archive);
            if let Err(error) = kept {
                self.figures.failures.fetch_add(1, Ordering::Relaxed);
                return Err(LogStoreError::Io(error.into()));
            }
        }
        self.inner.compact(group, through).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.inner.destroy(group).await
    }
}
