//! Snapshots on their way between state machine, snapshot store and peers, each in a task of its own.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::group::{Alive, Answer, Group};
use super::pace::paced;
use crate::input::Input;
use crate::message::{InstallSnapshot, SnapshotMeta};
use crate::traits::{Cause, SnapshotStore, SnapshotStoreError};
use crate::types::{EntryId, GroupId};

/// The size of the pieces in which snapshots are moved.
const CHUNK_BYTES: usize = 256 << 10;
/// How many pieces may wait between a reader and a writer.
const CHUNKS_MAX: usize = 4;

/// Saves a snapshot whose content is read from `content`, while entries go on being applied, no faster than the node may.
pub(super) fn save(group: &Arc<Group>, meta: SnapshotMeta, content: Box<dyn Read + Send>) {
    let answer = Answer::new(group, Input::SnapshotFailed);
    let saver = group.clone();
    group.spawn(async move {
        let last = meta.last;
        match write(&saver, &meta, content).await {
            Ok(()) => {
                tracing::info!("{saver} saved a snapshot at {last}");
                answer.succeed(Input::SnapshotCreated(meta));
            }
            Err(error) => tracing::warn!("{saver} could not save a snapshot at {last}: {error}"),
        }
    });
}

async fn write(group: &Arc<Group>, meta: &SnapshotMeta, content: Box<dyn Read + Send>) -> Result<(), Cause> {
    let store = &group.host.snapshot_store;
    let mut writer = store.begin(group.config.group, meta, None).await?;
    let pace = group.host.save_pace.as_ref();
    let chunk_bytes = pace.map_or(CHUNK_BYTES, |pace| pace.chunk_bytes_max().min(CHUNK_BYTES));
    let mut source = Source::new(group, content);
    while let Some(chunk) = source.read(chunk_bytes).await? {
        if let Some(pace) = pace {
            pace.pass(chunk.len()).await;
        }
        writer.write_chunk(chunk).await?;
    }
    Ok(writer.finish().await?)
}

/// A blocking stream that is read, and let go of, on threads that may block; between two pieces it needs none.
struct Source {
    group: Arc<Group>,
    /// None after the end.
    content: Option<Box<dyn Read + Send>>,
}

impl Source {
    fn new(group: &Arc<Group>, content: Box<dyn Read + Send>) -> Source {
        Source {
            group: group.clone(),
            content: Some(content),
        }
    }

    /// The next bytes, at most `bytes_max`; none at the end.
    async fn read(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Cause> {
        let Some(mut content) = self.content.take() else {
            return Ok(None);
        };
        let alive = self.group.alive();
        let work = move || {
            let _alive = alive;
            let mut chunk = Vec::with_capacity(bytes_max);
            let count = (&mut content).take(bytes_max as u64).read_to_end(&mut chunk)?;
            // Letting go of a stream may remove files, so its end is here.
            Ok::<_, io::Error>((count > 0).then_some((Bytes::from(chunk), content)))
        };
        let read = self.group.host.handle.spawn_blocking(work).await;
        let read = read.map_err(|_| "the state machine's stream panicked")??;
        Ok(read.map(|(chunk, content)| {
            self.content = Some(content);
            chunk
        }))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(content) = self.content.take() {
            let alive = self.group.alive();
            self.group
                .host
                .handle
                .spawn_blocking(move || drop((content, alive)));
        }
    }
}

/// Removes the snapshots that are older than the oldest one that is needed.
pub(super) fn remove_older(group: &Arc<Group>, needed: EntryId) {
    let remover = group.clone();
    group.spawn(async move {
        let store = &remover.host.snapshot_store;
        if let Err(error) = store.remove_older(remover.config.group, needed).await {
            tracing::warn!("{remover} cannot remove its old snapshots, which keep their space: {error}");
        }
    });
}

/// Streams a snapshot to a peer when the host may send one more, and no faster than it may.
pub(super) fn send(group: &Arc<Group>, header: InstallSnapshot) {
    let (to, last) = (header.to, header.meta.last);
    let ended = move |delivered| Input::SnapshotSent { to, last, delivered };
    let answer = Answer::new(group, ended(false));
    let sender = group.clone();
    group.spawn(async move {
        let host = &sender.host;
        let sent = async {
            let _permit = host.transfers.acquire().await?;
            let content = host.snapshot_store.open(header.group, last).await?;
            let content = paced(host.send_pace.as_ref(), content);
            host.transport.send_snapshot(header, content).await?;
            Ok::<(), Cause>(())
        };
        match sent.await {
            Ok(()) => {
                tracing::info!("{sender} sent the snapshot at {last} to node {to}");
                answer.succeed(ended(true));
            }
            Err(error) => {
                tracing::warn!("{sender} could not send the snapshot at {last} to node {to}: {error}");
            }
        }
    });
}

/// A snapshot of the store as a blocking stream, for a thread that is not one of the runtime's.
pub(super) struct SnapshotStream {
    chunks: mpsc::Receiver<Result<Bytes, SnapshotStoreError>>,
    current: Bytes,
    ended: bool,
}

/// Opens the snapshot at `last`. Errors show when the stream is read.
pub(super) fn open_stream(
    handle: &Handle,
    store: Arc<dyn SnapshotStore>,
    group: GroupId,
    last: EntryId,
    alive: Option<Alive>,
) -> SnapshotStream {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    handle.spawn(async move {
        let _alive = alive;
        let mut reader = match store.open(group, last).await {
            Ok(reader) => reader,
            Err(error) => return drop(sender.send(Err(error)).await),
        };
        loop {
            let chunk = reader.read_chunk(CHUNK_BYTES).await;
            let ends = chunk.as_ref().map_or(true, Bytes::is_empty);
            if sender.send(chunk).await.is_err() || ends {
                return;
            }
        }
    });
    SnapshotStream {
        chunks,
        current: Bytes::new(),
        ended: false,
    }
}

impl Read for SnapshotStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.ended && !into.is_empty() {
            match self.chunks.blocking_recv() {
                Some(Ok(chunk)) => {
                    self.ended = chunk.is_empty();
                    self.current = chunk;
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => {
                    let message = "the snapshot store stopped in the middle of a snapshot";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
            }
        }
        let count = into.len().min(self.current.len());
        into[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
