//! A snapshot store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::message::{SnapshotContent, SnapshotMeta};
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
    unfinished: BTreeMap<(GroupId, EntryId), Unfinished>,
}

#[derive(Clone, Debug)]
struct Finished {
    meta: SnapshotMeta,
    content: Bytes,
    identity: SnapshotContent,
}

#[derive(Debug)]
struct Unfinished {
    meta: SnapshotMeta,
    /// What the content is to be, if that is known.
    expected: Option<SnapshotContent>,
    content: Vec<u8>,
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
        content: Option<SnapshotContent>,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotStoreError> {
        let key = (group, meta.last);
        let mut state = self.lock();
        let begun = state.unfinished.get(&key);
        let resumed =
            begun.filter(|begun| content.is_some() && begun.expected == content && begun.meta == *meta);
        let offset = resumed.map_or(0, |begun| begun.content.len() as u64);
        if resumed.is_none() {
            let begun = Unfinished {
                meta: meta.clone(),
                expected: content,
                content: Vec::new(),
            };
            state.unfinished.insert(key, begun);
        }
        Ok(Box::new(Writer {
            store: self.clone(),
            key,
            offset,
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

    async fn destroy(&self, group: GroupId) -> Result<(), SnapshotStoreError> {
        let mut state = self.lock();
        state.finished.retain(|(owner, _), _| *owner != group);
        state.unfinished.retain(|(owner, _), _| *owner != group);
        Ok(())
    }
}

struct Writer {
    store: MemorySnapshotStore,
    key: (GroupId, EntryId),
    offset: u64,
}

impl Writer {
    /// What was written, if no other writer of the same snapshot interfered.
    fn own<'a>(&self, state: &'a mut State) -> Result<&'a mut Unfinished, SnapshotStoreError> {
        let own = |begun: &&mut Unfinished| begun.content.len() as u64 == self.offset;
        state.unfinished.get_mut(&self.key).filter(own).ok_or_else(|| {
            let message = "a second writer of the same snapshot interfered; begin it again";
            SnapshotStoreError::Io(message.into())
        })
    }
}

#[async_trait]
impl SnapshotWriter for Writer {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        self.own(&mut self.store.lock())?
            .content
            .extend_from_slice(&chunk);
        self.offset += chunk.len() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        let mut state = self.store.lock();
        let begun = self.own(&mut state)?;
        let (identity, expected) = (SnapshotContent::of(&begun.content), begun.expected);
        let finished = Finished {
            meta: begun.meta.clone(),
            content: std::mem::take(&mut begun.content).into(),
            identity,
        };
        state.unfinished.remove(&self.key);
        if expected.is_some_and(|expected| expected != identity) {
            let last = self.key.1;
            let reason = format!("the content of the snapshot at {last} is not the one that was announced");
            return Err(SnapshotStoreError::Corrupt(reason));
        }
        state.finished.insert(self.key, finished);
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.store.lock().unfinished.remove(&self.key);
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

    fn content(&self) -> SnapshotContent {
        self.snapshot.identity
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
