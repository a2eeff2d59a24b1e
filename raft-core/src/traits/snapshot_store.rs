//! Stable storage for snapshots.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use super::Cause;
use crate::message::{SnapshotContent, SnapshotMeta};
use crate::types::{EntryId, GroupId};

/// Stable storage for the snapshots of many groups.
///
/// Invariants that every implementation keeps:
/// - a snapshot appears whole or not at all: it is written aside, checksummed, synced, renamed, and its directory is
///   synced before `finish` returns (R54);
/// - the two newest snapshots of a group are kept at least, so that one that was received but is not in force yet does
///   not displace the one that is.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Begins a snapshot.
    ///
    /// One that is received has a `content` that is known beforehand: if one with the same `meta` and the same `content` was
    /// begun and not finished, the writer goes on where that stopped (see [`SnapshotWriter::offset`]), and it finishes only if
    /// the content is that one. One that is made here has none: whatever was begun with the same `meta` is thrown away.
    async fn begin(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        content: Option<SnapshotContent>,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotStoreError>;

    /// Opens the finished snapshot whose last entry is `last`.
    async fn open(
        &self,
        group: GroupId,
        last: EntryId,
    ) -> Result<Box<dyn SnapshotReader>, SnapshotStoreError>;

    /// The finished snapshots of `group`, oldest first.
    async fn list(&self, group: GroupId) -> Result<Vec<SnapshotMeta>, SnapshotStoreError>;

    /// Forgets every snapshot of `group` that is older than `keep`, and everything unfinished that is.
    async fn remove_older(&self, group: GroupId, keep: EntryId) -> Result<(), SnapshotStoreError>;

    /// Forgets every snapshot of `group`, finished or not. Nobody writes or reads one of them meanwhile.
    async fn destroy(&self, group: GroupId) -> Result<(), SnapshotStoreError>;
}

/// A snapshot that is being written. Dropping it keeps what was written, unfinished.
#[async_trait]
pub trait SnapshotWriter: Send {
    /// How many bytes are stored already.
    fn offset(&self) -> u64;

    /// Appends bytes.
    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError>;

    /// Makes the snapshot durable and visible; [`Corrupt`](SnapshotStoreError::Corrupt) if what was written is not the content
    /// it was begun with. That is then thrown away, and the next one begins at 0.
    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError>;

    /// Throws away what was written.
    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError>;
}

/// A finished snapshot that is being read.
#[async_trait]
pub trait SnapshotReader: Send {
    /// What the snapshot covers.
    fn meta(&self) -> &SnapshotMeta;

    /// What its content is; all that is read is verified against it.
    fn content(&self) -> SnapshotContent;

    /// Goes to `offset`, to resume a transfer.
    async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError>;

    /// The next bytes, at most `bytes_max`; empty at the end. The checksum of the whole content is verified before the
    /// end is reported, when it was read from the start.
    async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError>;
}

/// Why a snapshot store could not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotStoreError {
    /// There is no such snapshot.
    #[error("group {group}: there is no snapshot at {last}")]
    NotFound {
        /// The group.
        group: GroupId,
        /// The last entry of the snapshot that was asked for.
        last: EntryId,
    },
    /// What is stored is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The storage below failed.
    #[error("the snapshot store failed: {0}")]
    Io(#[source] Cause),
}

impl fmt::Debug for dyn SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotStore")
    }
}
