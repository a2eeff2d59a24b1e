//! A snapshot store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::message::SnapshotMeta;
use crate::traits::{SnapshotReader, SnapshotStore, SnapshotStoreError, SnapshotWriter};
use crate::types::{EntryId, GroupId};

/// A [`SnapshotStore`] in memory. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshotStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The order of the keys is the order of age: snapshots cover committed entries, whose terms never fall.
    finished: BTreeMap<(GroupId, EntryId), Finished>,
    unfinished: BTreeMap<(GroupId, EntryId), Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Finished {
    meta: SnapshotMeta,
    content: Bytes,
}

impl MemorySnapshotStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> MemorySnapshotStore {
        MemorySnapshotStore::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change below can stop halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SnapshotStore for MemorySnapshotStore {
    async fn begin(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotStoreError> {
        let stored = self
            .lock()
            .unfinished
            .entry((group, meta.last))
            .or_default()
            .len();
        Ok(Box::new(Writer {
            store: self.clone(),
            group,
            meta: meta.clone(),
            offset: stored as u64,
        }))
    }

    async fn open(
        &self,
        group: GroupId,
        last: EntryId,
    ) -> Result<Box<dyn SnapshotReader>, SnapshotStoreError> {
        match self.lock().finished.get(&(group, last)) {
            Some(snapshot) => Ok(Box::new(Reader {
                snapshot: snapshot.clone(),
                offset: 0,
            })),
            None => Err(SnapshotStoreError::NotFound { group, last }),
        }
    }

    async fn list(&self, group: GroupId) -> Result<Vec<SnapshotMeta>, SnapshotStoreError> {
        let state = self.lock();
        let of_group = state.finished.iter().filter(|((owner, _), _)| *owner == group);
        Ok(of_group.map(|(_, snapshot)| snapshot.meta.clone()).collect())
    }

    async fn remove_older(&self, group: GroupId, keep: EntryId) -> Result<(), SnapshotStoreError> {
        const NEWEST_KEPT: usize = 2;
        let mut state = self.lock();
        let of_group = state.finished.keys().filter(|(owner, _)| *owner == group);
        let newest: Vec<EntryId> = of_group.rev().take(NEWEST_KEPT).map(|(_, last)| *last).collect();
        state
            .finished
            .retain(|(owner, last), _| *owner != group || *last >= keep || newest.contains(last));
        state
            .unfinished
            .retain(|(owner, last), _| *owner != group || *last >= keep);
        Ok(())
    }
}

struct Writer {
    store: MemorySnapshotStore,
    group: GroupId,
    meta: SnapshotMeta,
    offset: u64,
}

#[async_trait]
impl SnapshotWriter for Writer {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        let mut state = self.store.lock();
        let content = state.unfinished.entry((self.group, self.meta.last)).or_default();
        if content.len() as u64 != self.offset {
            let message = "a second writer of the same snapshot interfered; begin it again";
            return Err(SnapshotStoreError::Io(message.into()));
        }
        content.extend_from_slice(&chunk);
        self.offset += chunk.len() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        let key = (self.group, self.meta.last);
        let mut state = self.store.lock();
        let content = state.unfinished.remove(&key).unwrap_or_default();
        let finished = Finished {
            meta: self.meta,
            content: content.into(),
        };
        state.finished.insert(key, finished);
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.store.lock().unfinished.remove(&(self.group, self.meta.last));
        Ok(())
    }
}

struct Reader {
    snapshot: Finished,
    offset: usize,
}

#[async_trait]
impl SnapshotReader for Reader {
    fn meta(&self) -> &SnapshotMeta {
        &self.snapshot.meta
    }

    fn size_bytes(&self) -> u64 {
        self.snapshot.content.len() as u64
    }

    async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
        match usize::try_from(offset) {
            Ok(offset) if offset <= self.snapshot.content.len() => {
                self.offset = offset;
                Ok(())
            }
            _ => {
                let message = format!("offset {offset} is beyond the end of the snapshot");
                Err(SnapshotStoreError::Io(message.into()))
            }
        }
    }

    async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
        let end = self
            .snapshot
            .content
            .len()
            .min(self.offset.saturating_add(bytes_max));
        let chunk = self.snapshot.content.slice(self.offset..end);
        self.offset = end;
        Ok(chunk)
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;

    /// R54: a snapshot appears whole or not at all, in the store that other tests stand on too.
    #[tokio::test]
    async fn conforms() {
        let store = MemorySnapshotStore::new();
        crate::conformance::snapshot_store(async || Arc::new(store.clone()) as Arc<dyn SnapshotStore>).await;
    }
}
