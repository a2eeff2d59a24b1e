//! Why a store cannot be opened, in words that name the input and the remedy. No RocksDB type leaks out of here.

use std::io;
use std::path::{Path, PathBuf};

use raft_core::traits::Cause;
use raft_core::types::{GroupId, Index, NodeId, Term};
use thiserror::Error;

/// Why a log store or a snapshot store was not opened. Nothing on disk was changed that a later attempt would miss.
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
    /// The journal does not have all that was acknowledged, or what it has is damaged (R11, R77).
    #[error(
        "the journal in {path} lost or damaged what was acknowledged as durable: {reason}; {LOSS_REMEDY}"
    )]
    JournalLost {
        /// The directory of the journal.
        path: PathBuf,
        /// What is missing or damaged.
        reason: String,
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
    /// A group has a log, but its watermark file is gone.
    #[error(
        "group {group}: the watermark file {path} is missing although the group has a log, so nobody can tell whether \
         the log is complete: put the file back if it was moved; otherwise {REMEDY}"
    )]
    WatermarkMissing {
        /// The group.
        group: GroupId,
        /// Where the file should be.
        path: PathBuf,
    },
    /// RocksDB refused for another reason.
    #[error("{path}: RocksDB cannot open the log: {source}")]
    Database {
        /// The directory of the database.
        path: PathBuf,
        /// What RocksDB said.
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
    /// What is wrong, and what to do about it, each for itself.
    pub(crate) fn to_string_and_remedy(&self) -> (String, String) {
        let text = self.to_string();
        for remedy in [REMEDY, LOSS_REMEDY] {
            if let Some(problem) = text.strip_suffix(remedy) {
                let problem = problem.trim_end_matches([' ', ';']);
                return (String::from(problem), String::from(remedy));
            }
        }
        match text.rsplit_once("; ") {
            Some((problem, remedy)) => (String::from(problem), String::from(remedy)),
            None => (text, String::from(REMEDY)),
        }
    }

    /// An error of the operating system about `path`, with the remedy that fits.
    pub(crate) fn directory(path: &Path, source: io::Error) -> OpenError {
        OpenError::Directory {
            path: path.to_path_buf(),
            remedy: io_remedy(&source),
            source,
        }
    }

    /// A call that was refused while the store in `path` was opened.
    pub(crate) fn disk(path: &Path, error: DiskError) -> OpenError {
        OpenError::Directory {
            path: path.to_path_buf(),
            remedy: error.remedy,
            source: io::Error::other(error.detail),
        }
    }

    /// An error of RocksDB about the database in `path`.
    pub(crate) fn database(path: &Path, error: rocksdb::Error) -> OpenError {
        let text = error.to_string();
        match error.kind() {
            rocksdb::ErrorKind::Corruption => OpenError::Corrupt {
                what: format!("the log in {}", path.display()),
                detail: text,
            },
            rocksdb::ErrorKind::IOError
                if text.contains("lock hold by") || text.contains("While lock file") =>
            {
                OpenError::Locked {
                    path: path.to_path_buf(),
                }
            }
            _ => match io_kind(&text) {
                Some(kind) => OpenError::directory(path, io::Error::new(kind, text)),
                None => OpenError::Database {
                    path: path.to_path_buf(),
                    source: Box::new(error),
                },
            },
        }
    }
}

/// A call that the operating system or RocksDB refused, with the remedy. What a failed write or sync left on disk is
/// unknown (R60).
#[derive(Clone, Debug, Error)]
#[error("{path}: {remedy}: {detail}")]
pub(crate) struct DiskError {
    path: PathBuf,
    remedy: &'static str,
    detail: String,
}

impl DiskError {
    pub(crate) fn database(path: &Path, error: &rocksdb::Error) -> DiskError {
        let detail = error.to_string();
        let remedy = io_kind(&detail).map_or(WRITE_REMEDY, |kind| io_remedy(&io::Error::from(kind)));
        DiskError {
            path: path.to_path_buf(),
            remedy,
            detail,
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
            remedy: match io_remedy(error) {
                UNKNOWN_REMEDY => WRITE_REMEDY,
                remedy => remedy,
            },
            detail: error.to_string(),
        }
    }
}

/// RocksDB passes the text of an operating system's error on, but not its number.
fn io_kind(text: &str) -> Option<io::ErrorKind> {
    [
        ("No space left on device", io::ErrorKind::StorageFull),
        ("Disk quota exceeded", io::ErrorKind::QuotaExceeded),
        ("Read-only file system", io::ErrorKind::ReadOnlyFilesystem),
        ("Permission denied", io::ErrorKind::PermissionDenied),
    ]
    .into_iter()
    .find_map(|(part, kind)| text.contains(part).then_some(kind))
}

const WRITE_REMEDY: &str = "the log cannot be written; check the disk, then restart the process";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_whoever_reports_it() {
        let by_os = OpenError::directory(Path::new("/data"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(by_os.to_string().contains("the disk is full"), "{by_os}");
        assert_eq!(
            io_kind("IO error: No space left on device: While appending to file: /data/000004.log"),
            Some(io::ErrorKind::StorageFull)
        );
    }
}
