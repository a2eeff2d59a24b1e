//! Why a store is refused, and what an operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

use raft_core::traits::Cause;
use raft_core::types::{GroupId, Index, NodeId, Term};
use thiserror::Error;

/// Why a log store was not opened. Nothing on disk was changed that a later attempt would miss.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or this one, has the store open.
    #[error(
        "{path}: another process has this data directory open; stop it, or choose another data directory \
         (two processes on one directory would destroy each other's log)"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be created, read or written.
    #[error("{path}: {remedy}: {source}")]
    Directory {
        /// What could not be used.
        path: PathBuf,
        /// What to do about it.
        remedy: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Bytes on disk are damaged.
    #[error("{what} is damaged: {detail}; {REMEDY}")]
    Corrupt {
        /// The file, or the group and index.
        what: String,
        /// What does not fit.
        detail: String,
    },
    /// The data was written by a version of this code that this one does not understand.
    #[error(
        "{what} has format version {found}, this build reads version {known}; start the build that wrote it"
    )]
    Version {
        /// The file, or the group and record.
        what: String,
        /// The version that was found.
        found: u8,
        /// The version that this build writes.
        known: u8,
    },
    /// The newest file of the log is gone (R11).
    #[error(
        "{path}: the newest log file has the number {found}, but number {used} was in use: it was removed, and with it \
         acknowledged data; {LOSS_REMEDY}"
    )]
    FileLost {
        /// The directory of the files.
        path: PathBuf,
        /// The highest number that is there, 0 for none.
        found: u64,
        /// The number that was in use at least.
        used: u64,
    },
    /// The log does not reach what was acknowledged as durable (R11).
    #[error(
        "group {group}: the recovered log ends at index {recovered}, but every entry up to index {acknowledged} was \
         acknowledged as durable: the disk lost acknowledged data; {LOSS_REMEDY}"
    )]
    LogLost {
        /// The group.
        group: GroupId,
        /// The last index that was recovered.
        recovered: Index,
        /// The last index that is known to have been acknowledged.
        acknowledged: Index,
    },
    /// The recovered term or vote is older than the copy that was made before it was acknowledged (R11, R68).
    #[error(
        "group {group}: the recovered term is {recovered_term} with vote {}, but term {acknowledged_term} with vote {} was \
         acknowledged as durable: the disk lost acknowledged data; {LOSS_REMEDY}",
        vote(recovered_vote),
        vote(acknowledged_vote)
    )]
    HardStateLost {
        /// The group.
        group: GroupId,
        /// The recovered term.
        recovered_term: Term,
        /// The recovered vote.
        recovered_vote: Option<NodeId>,
        /// The term that was acknowledged.
        acknowledged_term: Term,
        /// The vote that was acknowledged.
        acknowledged_vote: Option<NodeId>,
    },
    /// A store, or a group that has a log, has no watermark.
    #[error(
        "the watermark file {path} is missing although there is a log, so nobody can tell whether \
         the log is complete: put the file back if it was moved; otherwise {REMEDY}"
    )]
    WatermarkMissing {
        /// Where the file should be.
        path: PathBuf,
    },
    /// raft-engine refused for another reason.
    #[error("{path}: raft-engine cannot open the log: {source}")]
    Engine {
        /// The directory of its files.
        path: PathBuf,
        /// What raft-engine said.
        #[source]
        source: Cause,
    },
}

/// What an operator can do when durable data is gone. The log is refused rather than cut: a replica that forgets what
/// it acknowledged can make the whole group lose committed entries.
pub(crate) const REMEDY: &str = "this replica must not run with this data: restore its data directory from a copy \
    taken after it stopped, or remove the directory and let the node rejoin under a new id";

/// What to do about a replica that lost the end of what it had, which is sound otherwise.
pub(crate) const LOSS_REMEDY: &str = "this replica must not run with this data as if nothing had happened: restore its data directory \
    from a copy taken after it stopped, open it as a suspect, which catches up before it votes or counts \
    (raft-node start --suspect), or remove the directory and let the node rejoin under a new id";

fn vote(vote: &Option<NodeId>) -> String {
    match vote {
        Some(node) => format!("for node {node}"),
        None => String::from("for nobody"),
    }
}

impl OpenError {
    /// An error of the operating system about `path`, with the remedy that fits.
    pub(crate) fn directory(path: &Path, source: io::Error) -> OpenError {
        OpenError::Directory {
            path: path.to_path_buf(),
            remedy: io_remedy(&source),
            source,
        }
    }

    /// An error of raft-engine about its files in `path`.
    pub(crate) fn engine(path: &Path, error: EngineError) -> OpenError {
        match error.kind {
            EngineErrorKind::Damaged | EngineErrorKind::Panicked => OpenError::Corrupt {
                what: format!("the log in {}", path.display()),
                detail: error.text,
            },
            EngineErrorKind::Locked => OpenError::Locked {
                path: path.to_path_buf(),
            },
            EngineErrorKind::Io(kind) => OpenError::directory(path, io::Error::new(kind, error.text)),
            EngineErrorKind::Other => OpenError::Engine {
                path: path.to_path_buf(),
                source: Box::new(error),
            },
        }
    }
}

/// What raft-engine said, or with what it panicked.
#[derive(Clone, Debug, Error)]
#[error("{text}")]
pub(crate) struct EngineError {
    pub(crate) kind: EngineErrorKind,
    pub(crate) text: String,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineErrorKind {
    /// Bytes do not fit.
    Damaged,
    /// raft-engine gave up: over bytes when it reads, over a failed sync when it writes.
    Panicked,
    /// Somebody else has the directory.
    Locked,
    Io(io::ErrorKind),
    Other,
}

impl From<raft_engine::Error> for EngineError {
    fn from(error: raft_engine::Error) -> EngineError {
        let text = error.to_string();
        let kind = match &error {
            raft_engine::Error::Io(error) => EngineErrorKind::Io(error.kind()),
            raft_engine::Error::Corruption(_)
            | raft_engine::Error::Codec(_)
            | raft_engine::Error::Protobuf(_)
            | raft_engine::Error::EntryCompacted
            | raft_engine::Error::EntryNotFound => EngineErrorKind::Damaged,
            raft_engine::Error::Other(_) if text.contains("another instance is using this directory") => {
                EngineErrorKind::Locked
            }
            _ => EngineErrorKind::Other,
        };
        EngineError { kind, text }
    }
}

/// A call that the operating system or raft-engine refused, with the remedy. What a failed write or sync left on disk is
/// unknown (R60).
#[derive(Clone, Debug, Error)]
#[error("{path}: {remedy}: {detail}")]
pub(crate) struct DiskError {
    path: PathBuf,
    remedy: &'static str,
    detail: String,
}

impl DiskError {
    pub(crate) fn engine(path: &Path, error: &EngineError) -> DiskError {
        let remedy = match error.kind {
            EngineErrorKind::Io(kind) if io_remedy(&io::Error::from(kind)) != UNKNOWN_REMEDY => {
                io_remedy(&io::Error::from(kind))
            }
            _ => "the log cannot be written; check the disk, then restart the process",
        };
        DiskError {
            path: path.to_path_buf(),
            remedy,
            detail: error.text.clone(),
        }
    }

    /// The reason why nothing more may be written, although no write failed.
    pub(crate) fn because(path: &Path, reason: &dyn std::fmt::Display) -> DiskError {
        DiskError {
            path: path.to_path_buf(),
            remedy: "the log cannot be trusted; restart the process to verify it",
            detail: reason.to_string(),
        }
    }

    pub(crate) fn file(path: &Path, error: &io::Error) -> DiskError {
        DiskError {
            path: path.to_path_buf(),
            remedy: io_remedy(error),
            detail: error.to_string(),
        }
    }
}

const UNKNOWN_REMEDY: &str = "the data directory cannot be used; check the disk and the path";

fn io_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full; free some space, then restart the process",
        io::ErrorKind::QuotaExceeded => {
            "the disk quota is used up; raise it or free some space, then restart the process"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is mounted read-only; mount it writable or choose another data directory"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not write here; change the owner or choose another data directory"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "this is not a directory; choose another data directory"
        }
        _ => UNKNOWN_REMEDY,
    }
}
