//! Why the past cannot be kept or made again.

use std::io;
use std::path::{Path, PathBuf};

use raft_core::traits::{LogStoreError, SnapshotStoreError, StateMachineError};
use raft_core::types::{EntryId, Index};
use thiserror::Error;

/// Why an archive cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file or directory of it cannot be used.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is another node's.
    #[error(
        "{path} holds the archive of {found}, not of {own}; give this node a directory of its own with --archive",
        path = .path.display()
    )]
    OtherOwner {
        /// The archive.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        own: String,
    },
    /// A segment is damaged.
    #[error("{path} is damaged: {reason}; entries {first} to {last} cannot be read from it", path = .path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The first entry that it should hold.
        first: Index,
        /// The last one.
        last: Index,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogStoreError),
    /// A snapshot cannot be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotStoreError),
    /// The log begins after what is archived, and no snapshot leads over the gap.
    #[error(
        "the log begins after entry {purged}, the archive ends at {archived}, and no snapshot leads from one to the other"
    )]
    Gap {
        /// The last archived entry.
        archived: Index,
        /// The entry right before the first one of the log.
        purged: Index,
    },
}

impl ArchiveError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
        let path = path.to_owned();
        move |source| ArchiveError::Io { action, path, source }
    }
}

/// Why a state cannot be made again. Nothing was left at the place where it should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The entry is beyond what is known to be committed.
    #[error(
        "entry {index} is not known to be committed here: the last one that is has index {commit}; choose an index up to {commit}, \
         or restore from a node that knows more"
    )]
    NotCommitted {
        /// What was asked for.
        index: Index,
        /// The last index that is known to be committed.
        commit: Index,
    },
    /// What leads to the entry is not kept any more.
    #[error(
        "entry {index} cannot be reached: {window}; a larger archive (`--archive-bytes-max`) keeps more, and another node may \
         have kept more"
    )]
    OutsideWindow {
        /// What was asked for.
        index: Index,
        /// What can be restored, as a sentence.
        window: String,
    },
    /// The time is before everything that is known.
    #[error("nothing is known of {asked}: the first time that this node noted is {first}")]
    TooEarly {
        /// What was asked for.
        asked: String,
        /// The first time that was noted.
        first: String,
    },
    /// No times were noted.
    #[error("this node has noted no times; restore at an index")]
    NoTimes,
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogStoreError),
    /// A snapshot cannot be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotStoreError),
    /// The state machine cannot go on.
    #[error(transparent)]
    StateMachine(#[from] StateMachineError),
    /// Entries do not follow one another.
    #[error(
        "the entries do not continue each other: {found} stands where one after {after} belongs; nothing was restored"
    )]
    Broken {
        /// The last entry that was good.
        after: EntryId,
        /// What stands behind it.
        found: EntryId,
    },
    /// A thread panicked.
    #[error("restoring failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}
