//! The stores of a node with named points in every step of a snapshot's life, at one of which the process ends.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::traits::{
    GroupWrite, LogStore, LogStoreError, Recovered, SessionChanges, SnapshotReader, SnapshotStore,
    SnapshotStoreError, SnapshotWriter, StateMachine, StateMachineError,
};
use raft_core::types::{EntryId, GroupId, Index};

/// Every point, in about the order in which one snapshot passes them: made on one node, received and installed on another.
pub(crate) const POINTS: [&str; 31] = [
    "make: before the checkpoint",
    "make: after the checkpoint",
    "make: before the file",
    "make: after the file's beginning",
    "make: in the middle of the stream",
    "make: after a chunk",
    "make: before the file's end",
    "make: after the file's end",
    "make: before the log knows",
    "make: after the log knows",
    "make: before the purge",
    "make: after the purge",
    "make: before the removal",
    "make: after the removal",
    "receive: before the file",
    "receive: after the file's beginning",
    "receive: before a chunk",
    "receive: after a chunk",
    "receive: before the file's end",
    "receive: after the file's end",
    "install: before the log begins anew",
    "install: after the log began anew",
    "install: before the file is opened",
    "install: after the file was opened",
    "install: before a chunk is read",
    "install: before the restore",
    "install: in the middle of the restore",
    "install: after the restore",
    "install: before the switch",
    "install: after the switch",
    "install: before the first entry after it",
];

/// One line to the other process, unbuffered; a pipe takes all of it or nothing. The test harness may have begun another line.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Ends the process at one of the points.
#[derive(Default)]
pub(crate) struct Points {
    fatal: Option<String>,
    armed: AtomicBool,
}

impl Points {
    pub(crate) fn new(fatal: Option<String>) -> Arc<Points> {
        Arc::new(Points {
            fatal,
            armed: AtomicBool::default(),
        })
    }

    /// From now on the process may end.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    fn pass(&self, point: &'static str) {
        assert!(POINTS.contains(&point), "{point} is not in the list");
        if self.fatal.as_deref() == Some(point) && self.armed.load(Ordering::Acquire) {
            // No destructor runs, nothing is flushed, as with SIGKILL.
            std::process::abort();
        }
    }
}

pub(crate) struct PointedLog<L>(pub(crate) L, pub(crate) Arc<Points>);

#[async_trait]
impl<L: LogStore> LogStore for PointedLog<L> {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.0.load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        let is_reset = batch.iter().any(|write| matches!(write.log, LogChange::Reset(_)));
        let begins_group = |meta: &SnapshotMeta| meta.last == EntryId::ZERO;
        let of_snapshot = batch
            .iter()
            .any(|write| write.snapshot.as_ref().is_some_and(|meta| !begins_group(meta)));
        let points = match (of_snapshot, is_reset) {
            (true, true) => Some((
                "install: before the log begins anew",
                "install: after the log began anew",
            )),
            (true, false) => Some(("make: before the log knows", "make: after the log knows")),
            (false, _) => None,
        };
        let Some((before, after)) = points else {
            return self.0.write(batch).await;
        };
        self.1.pass(before);
        let written = self.0.write(batch).await;
        self.1.pass(after);
        written
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        self.0.read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        self.1.pass("make: before the purge");
        let compacted = self.0.compact(group, through).await;
        self.1.pass("make: after the purge");
        compacted
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.0.destroy(group).await
    }
}

pub(crate) struct PointedSnapshots<S>(pub(crate) S, pub(crate) Arc<Points>);

#[async_trait]
impl<S: SnapshotStore> SnapshotStore for PointedSnapshots<S> {
    async fn begin(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        content: Option<SnapshotContent>,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotStoreError> {
        let points = if content.is_some() { &RECEIVE } else { &MAKE };
        self.1.pass(points.before_begin);
        let inner = self.0.begin(group, meta, content).await?;
        self.1.pass(points.after_begin);
        Ok(Box::new(PointedWriter {
            inner,
            points,
            all: self.1.clone(),
        }))
    }

    async fn open(
        &self,
        group: GroupId,
        last: EntryId,
    ) -> Result<Box<dyn SnapshotReader>, SnapshotStoreError> {
        self.1.pass("install: before the file is opened");
        let inner = self.0.open(group, last).await?;
        self.1.pass("install: after the file was opened");
        Ok(Box::new(PointedReader(inner, self.1.clone())))
    }

    async fn list(&self, group: GroupId) -> Result<Vec<SnapshotMeta>, SnapshotStoreError> {
        self.0.list(group).await
    }

    async fn remove_older(&self, group: GroupId, keep: EntryId) -> Result<(), SnapshotStoreError> {
        self.1.pass("make: before the removal");
        let removed = self.0.remove_older(group, keep).await;
        self.1.pass("make: after the removal");
        removed
    }

    async fn destroy(&self, group: GroupId) -> Result<(), SnapshotStoreError> {
        self.0.destroy(group).await
    }
}

/// The points of a writer.
struct WriterPoints {
    before_begin: &'static str,
    after_begin: &'static str,
    before_chunk: Option<&'static str>,
    after_chunk: &'static str,
    before_finish: &'static str,
    after_finish: &'static str,
}

const MAKE: WriterPoints = WriterPoints {
    before_begin: "make: before the file",
    after_begin: "make: after the file's beginning",
    before_chunk: None,
    after_chunk: "make: after a chunk",
    before_finish: "make: before the file's end",
    after_finish: "make: after the file's end",
};

const RECEIVE: WriterPoints = WriterPoints {
    before_begin: "receive: before the file",
    after_begin: "receive: after the file's beginning",
    before_chunk: Some("receive: before a chunk"),
    after_chunk: "receive: after a chunk",
    before_finish: "receive: before the file's end",
    after_finish: "receive: after the file's end",
};

struct PointedWriter {
    inner: Box<dyn SnapshotWriter>,
    points: &'static WriterPoints,
    all: Arc<Points>,
}

#[async_trait]
impl SnapshotWriter for PointedWriter {
    fn offset(&self) -> u64 {
        self.inner.offset()
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        if let Some(point) = self.points.before_chunk {
            self.all.pass(point);
        }
        let written = self.inner.write_chunk(chunk).await;
        self.all.pass(self.points.after_chunk);
        written
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.all.pass(self.points.before_finish);
        let finished = self.inner.finish().await;
        self.all.pass(self.points.after_finish);
        finished
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.inner.abort().await
    }
}

struct PointedReader(Box<dyn SnapshotReader>, Arc<Points>);

#[async_trait]
impl SnapshotReader for PointedReader {
    fn meta(&self) -> &SnapshotMeta {
        self.0.meta()
    }

    fn content(&self) -> SnapshotContent {
        self.0.content()
    }

    async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
        self.0.seek(offset).await
    }

    async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
        self.1.pass("install: before a chunk is read");
        self.0.read_chunk(bytes_max).await
    }
}

pub(crate) struct PointedMachine<M> {
    pub(crate) inner: M,
    pub(crate) points: Arc<Points>,
    /// A restore waits for its commit.
    pub(crate) restored: bool,
    /// No entry was applied since the last restore.
    pub(crate) is_fresh: bool,
}

impl<M: StateMachine> StateMachine for PointedMachine<M> {
    fn last_applied(&self) -> EntryId {
        self.inner.last_applied()
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        if std::mem::take(&mut self.is_fresh) {
            self.points.pass("install: before the first entry after it");
        }
        self.inner.apply(entries)
    }

    fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> {
        self.inner.query(question)
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        self.points.pass("make: before the checkpoint");
        let inner = self.inner.snapshot()?;
        self.points.pass("make: after the checkpoint");
        let points = self.points.clone();
        let point = "make: in the middle of the stream";
        Ok(Box::new(PointedStream { inner, points, point }))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.points.pass("install: before the restore");
        let (points, point) = (self.points.clone(), "install: in the middle of the restore");
        let mut content = PointedStream {
            inner: content,
            points,
            point,
        };
        self.inner.restore(meta, &mut content)?;
        self.points.pass("install: after the restore");
        self.restored = true;
        Ok(())
    }

    fn commit(&mut self, sessions: &SessionChanges) -> Result<(), StateMachineError> {
        let is_switch = std::mem::take(&mut self.restored);
        if is_switch {
            self.points.pass("install: before the switch");
        }
        self.inner.commit(sessions)?;
        if is_switch {
            self.points.pass("install: after the switch");
            self.is_fresh = true;
        }
        Ok(())
    }

    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        self.inner.sessions()
    }
}

/// Passes a point with every read.
struct PointedStream<R> {
    inner: R,
    points: Arc<Points>,
    point: &'static str,
}

impl<R: Read> Read for PointedStream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.points.pass(self.point);
        self.inner.read(out)
    }
}
