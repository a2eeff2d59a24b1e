//! Why nothing can be said about a store. Damage is no such reason: it is listed.

use std::io;
use std::path::{Path, PathBuf};

use raft_core::types::{GroupId, Index};
use thiserror::Error;

/// Why nothing can be said about a store. Nothing on disk was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is no log store.
    #[error(
        "{path} holds no log: a log store has a directory db and a directory watermarks there; correct the path"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A process has the store open, and changes it.
    #[error("{path} is open in another process; stop the node, then look again")]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The store does not have the group.
    #[error("there is no group {group}; {known}")]
    UnknownGroup {
        /// The group that was asked for.
        group: GroupId,
        /// Those that there are, as a sentence.
        known: String,
    },
    /// The group has no entry of those that were asked for.
    #[error("group {group} has no entries {from} to {to}: {there}")]
    NoSuchEntries {
        /// The group.
        group: GroupId,
        /// The first index that was asked for.
        from: Index,
        /// The last one.
        to: Index,
        /// What the log has, as a sentence.
        there: String,
    },
    /// Something cannot be read for another reason than damage.
    #[error("cannot read {path}: {source}; read it as the user that the node runs as")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The working copy cannot be made.
    #[error(
        "cannot make a working copy in {path}: {source}; choose another directory for temporary files (TMPDIR)"
    )]
    Scratch {
        /// Where it should be.
        path: PathBuf,
        /// What the operating system or RocksDB said.
        #[source]
        source: io::Error,
    },
}

impl InspectError {
    pub(super) fn read(path: &Path, source: io::Error) -> InspectError {
        InspectError::Read {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn scratch(path: &Path, source: io::Error) -> InspectError {
        InspectError::Scratch {
            path: path.to_path_buf(),
            source,
        }
    }
}
