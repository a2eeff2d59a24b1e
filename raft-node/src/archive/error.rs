//! Why the past cannot be kept or made again.

use std::io;
use std::path::{Path, PathBuf};

use raft_core::traits::{LogStoreError, SnapshotStoreError, StateMachineError};
use raft_core::types::{EntryId, Index};
use thiserror::Error;

use super::format::SegmentFault;

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
        "{path} holds the archive of {found:?}, not of {own:?}; give this node a directory of its own with --archive. If the archive \
         is this node's and its file ARCHIVE is damaged, write the line {own:?} into that",
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
    /// It does not say whose it is.
    #[error(
        "{path} is missing, but entries are archived beside it. If they are of {own:?}, write that line into a file of that name; \
         else give this node a directory of its own with --archive",
        path = .path.display()
    )]
    NoOwner {
        /// The file that should be there.
        path: PathBuf,
        /// What it should say if the archive is this node's.
        own: String,
    },
    /// There is none.
    #[error("there is no archive in {path}; give the directory that the node was started with", path = .0.display())]
    NoArchive(PathBuf),
    /// A segment cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// What is archived is not of the history that the log is of.
    #[error(
        "{path} is the archive of another history: {reason}; keep it for what it has, and give this node a directory of its own with \
         --archive",
        path = .path.display()
    )]
    OtherHistory {
        /// The archive.
        path: PathBuf,
        /// By what that shows.
        reason: String,
    },
    /// The log gave entries that do not continue each other.
    #[error("the log has entry {found} where one after {after} belongs; nothing of it was archived")]
    NotContiguous {
        /// The last entry that was good.
        after: EntryId,
        /// What stands behind it.
        found: EntryId,
    },
    /// The log gave no entries although it should have some.
    #[error("the log gives no entries behind {0}; nothing was archived")]
    NoEntries(EntryId),
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
    /// A thread panicked.
    #[error("archiving failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A file that looks like a segment and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{path} cannot be used: {fault}; the entries {first} to {last} are missing. Put a good copy of the file in its place, choose a \
     point outside of them, or restore from another node",
    path = .path.display()
)]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    pub(super) fault: SegmentFault,
    /// The first entry that it should hold, as its name says.
    pub first: Index,
    /// The last one.
    pub last: Index,
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
    /// Entries on the way to it are in no file.
    #[error(
        "entry {index} cannot be reached: the entries {first} to {last} are in no file of the archive {archive} and not in the log; the \
         node was sent a snapshot instead of them, or files were removed. Put them back if there is a copy, or restore from another \
         node; {window}",
        archive = .archive.display()
    )]
    Hole {
        /// What was asked for.
        index: Index,
        /// The first entry that is missing.
        first: Index,
        /// The last one.
        last: Index,
        /// Where the files should be.
        archive: PathBuf,
        /// What can be restored, as a sentence.
        window: String,
    },
    /// The time is in a damaged part of the file of times.
    #[error(
        "what was applied at {asked} is not known: {path} is damaged at byte {at}; {known}, or restore at an index with --at-index",
        path = .path.display()
    )]
    TimeNotKnown {
        /// What was asked for.
        asked: String,
        /// The file of times.
        path: PathBuf,
        /// Where its first damaged record is.
        at: usize,
        /// The times around that are known, as a request.
        known: String,
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
        "the entries do not continue each other: in {place}, {found} stands where {after} belongs, or what follows it; they are of \
         different histories. Nothing was restored; check that archive and data are of the same node, and put nothing else there"
    )]
    Broken {
        /// Where that was found.
        place: String,
        /// The last entry that was good.
        after: EntryId,
        /// What stands behind it.
        found: EntryId,
    },
    /// A thread panicked.
    #[error("restoring failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}
