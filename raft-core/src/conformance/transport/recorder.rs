//! An inbound that remembers what arrives, and fails or stalls where a check wants it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::cluster::PATIENCE;
use super::traffic::number_of;
use crate::memory::MemorySnapshotStore;
use crate::message::{InstallSnapshot, Lane, Message, SnapshotContent};
use crate::traits::{Inbound, SnapshotStore, SnapshotStoreError, SnapshotWriter, TransportError};
use crate::types::{Index, NodeId};

/// What shall happen to a snapshot at its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    RefusedAtBegin,
    /// Writing fails at this byte.
    RefusedAt(u64),
    RefusedAtFinish,
    StalledAtBegin,
    /// Writing never goes on from this byte.
    StalledAt(u64),
    StalledAtFinish,
}

/// Remembers what arrives.
pub(super) struct Recorder {
    id: NodeId,
    state: Arc<Mutex<State>>,
    changes: Arc<watch::Sender<u64>>,
    /// Of whom ordered messages are not taken now.
    stalled: Mutex<Option<NodeId>>,
    released: Condvar,
    pub(super) snapshots: MemorySnapshotStore,
}

#[derive(Default)]
struct State {
    received: Vec<(NodeId, Message)>,
    last_numbers: BTreeMap<(NodeId, Lane), u64>,
    fates: BTreeMap<Index, Fate>,
    /// The offset at which each transfer began, in order.
    begun: Vec<(Index, u64)>,
    /// How many bytes of each snapshot are stored.
    stored: BTreeMap<Index, u64>,
    finished: Vec<InstallSnapshot>,
    open_writers: usize,
}

impl Recorder {
    pub(super) fn new(id: NodeId) -> Recorder {
        Recorder {
            id,
            state: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
            stalled: Mutex::default(),
            released: Condvar::new(),
            snapshots: MemorySnapshotStore::new(),
        }
    }

    pub(super) fn received(&self) -> Vec<(NodeId, Message)> {
        lock(&self.state).received.clone()
    }

    /// The highest number from `from` in `lane`.
    pub(super) fn last_number(&self, from: NodeId, lane: Lane) -> u64 {
        let state = lock(&self.state);
        state.last_numbers.get(&(from, lane)).copied().unwrap_or(0)
    }

    pub(super) fn set_fate(&self, index: Index, fate: Option<Fate>) {
        let mut state = lock(&self.state);
        match fate {
            Some(fate) => state.fates.insert(index, fate),
            None => state.fates.remove(&index),
        };
    }

    /// Where the newest transfer of the snapshot began.
    pub(super) fn begun_at(&self, index: Index) -> Option<u64> {
        let state = lock(&self.state);
        let newest = state.begun.iter().rev().find(|(begun, _)| *begun == index);
        newest.map(|(_, offset)| *offset)
    }

    pub(super) fn stored(&self, index: Index) -> u64 {
        lock(&self.state).stored.get(&index).copied().unwrap_or(0)
    }

    pub(super) fn finished(&self) -> Vec<InstallSnapshot> {
        lock(&self.state).finished.clone()
    }

    /// How many snapshots are being written.
    pub(super) fn open_writers(&self) -> usize {
        lock(&self.state).open_writers
    }

    /// The content of a finished snapshot.
    pub(super) async fn content(&self, header: &InstallSnapshot) -> Vec<u8> {
        let opened = self.snapshots.open(header.group, header.meta.last).await;
        let mut reader = opened.expect("a snapshot that was finished can be opened");
        let chunk = reader.read_chunk(usize::MAX).await;
        chunk.expect("memory can be read").to_vec()
    }

    /// Takes no ordered messages of `from` until the guard is dropped: `receive` does not return.
    pub(super) fn stall(self: &Arc<Recorder>, from: NodeId) -> Stall {
        *lock(&self.stalled) = Some(from);
        Stall(self.clone())
    }

    /// Waits until `condition` holds.
    pub(super) async fn changed(&self, condition: impl Fn() -> bool) {
        let mut changes = self.changes.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = changes.wait_for(|_| condition()).await;
    }

    /// As [`changed`](Recorder::changed), with the invariant that does not hold if that never happens.
    pub(super) async fn wait_until(&self, invariant: &str, condition: impl Fn() -> bool) {
        let done = tokio::time::timeout(PATIENCE, self.changed(condition)).await;
        assert!(done.is_ok(), "{invariant} (node {})", self.id);
    }

    fn fate(&self, index: Index) -> Option<Fate> {
        lock(&self.state).fates.get(&index).copied()
    }

    fn wait_released(&self, from: NodeId) {
        let is_stalled = |stalled: &mut Option<NodeId>| *stalled == Some(from);
        if is_stalled(&mut lock(&self.stalled)) {
            tokio::task::block_in_place(|| {
                let stalled = lock(&self.stalled);
                let waited = self
                    .released
                    .wait_timeout_while(stalled, 4 * PATIENCE, is_stalled);
                drop(waited);
            });
        }
    }
}

/// A receiver that stands still, until this is dropped.
pub(super) struct Stall(Arc<Recorder>);

impl Drop for Stall {
    fn drop(&mut self) {
        *lock(&self.0.stalled) = None;
        self.0.released.notify_all();
    }
}

#[async_trait]
impl Inbound for Recorder {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        if messages.iter().any(|message| message.lane() == Lane::Ordered) {
            self.wait_released(from);
        }
        let numbers: Vec<u64> = messages.iter().map(number_of).collect();
        let mut state = lock(&self.state);
        for (message, number) in messages.into_iter().zip(numbers) {
            let last = state.last_numbers.entry((from, message.lane())).or_default();
            *last = number.max(*last);
            state.received.push((from, message));
        }
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        let index = header.meta.last.index;
        let fate = self.fate(index);
        match fate {
            Some(Fate::RefusedAtBegin) => return Err(refused(header)),
            Some(Fate::StalledAtBegin) => return std::future::pending().await,
            _ => {}
        }
        let begun = self.snapshots.begin(header.group, &header.meta, Some(content));
        let writer = begun.await.map_err(|error| TransportError::Io(error.into()))?;
        let mut state = lock(&self.state);
        state.begun.push((index, writer.offset()));
        state.open_writers += 1;
        drop(state);
        self.changes.send_modify(|count| *count += 1);
        Ok(Box::new(Watched {
            writer: Some(writer),
            index,
            fate,
            state: self.state.clone(),
            changes: self.changes.clone(),
        }))
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        match self.fate(header.meta.last.index) {
            Some(Fate::RefusedAtFinish) => return Err(refused(&header)),
            Some(Fate::StalledAtFinish) => return std::future::pending().await,
            _ => {}
        }
        let finished = content.finish().await;
        finished.map_err(|error| TransportError::Io(error.into()))?;
        lock(&self.state).finished.push(header);
        Ok(())
    }
}

fn refused(header: &InstallSnapshot) -> TransportError {
    TransportError::Refused {
        to: header.to,
        reason: "this snapshot is not wanted".into(),
    }
}

/// A writer that is counted as long as it exists.
struct Watched {
    /// There until it is finished or aborted.
    writer: Option<Box<dyn SnapshotWriter>>,
    index: Index,
    fate: Option<Fate>,
    state: Arc<Mutex<State>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Watched {
    async fn write(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        if let Some(writer) = &mut self.writer {
            writer.write_chunk(chunk).await?;
            lock(&self.state).stored.insert(self.index, writer.offset());
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}

#[async_trait]
impl SnapshotWriter for Watched {
    fn offset(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.offset())
    }

    async fn write_chunk(&mut self, mut chunk: Bytes) -> Result<(), SnapshotStoreError> {
        let (Some(Fate::RefusedAt(end)) | Some(Fate::StalledAt(end))) = self.fate else {
            return self.write(chunk).await;
        };
        let room = end.saturating_sub(self.offset());
        if chunk.len() as u64 <= room {
            return self.write(chunk).await;
        }
        chunk.truncate(room as usize);
        self.write(chunk).await?;
        if matches!(self.fate, Some(Fate::StalledAt(_))) {
            return std::future::pending().await;
        }
        Err(SnapshotStoreError::Io("the disk is full, as it was told".into()))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), SnapshotStoreError> {
        match self.writer.take() {
            Some(writer) => writer.finish().await,
            None => Ok(()),
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<(), SnapshotStoreError> {
        match self.writer.take() {
            Some(writer) => writer.abort().await,
            None => Ok(()),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.state).open_writers -= 1;
        self.changes.send_modify(|count| *count += 1);
    }
}

/// No code that can panic runs under these locks, so a poisoned one is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
