//! What can go wrong with a store: while it is open, and why it does not open.
//!
//! Never leaks a type of the storage library.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::layout::Undecodable;
use crate::refusal::KvError;

/// What the storage below reports while it is open.
#[derive(Debug, Error)]
pub(crate) enum StorageError {
    /// RocksDB failed.
    #[error(
        "the store failed: {0}; check the disk, or remove the directory and let the node fetch a snapshot"
    )]
    Rocks(#[from] rocksdb::Error),
    /// What is stored contradicts itself.
    #[error("the store is damaged: {0}; remove its directory and let the node fetch a snapshot")]
    Damaged(String),
}

impl From<Undecodable> for StorageError {
    fn from(error: Undecodable) -> StorageError {
        StorageError::Damaged(error.to_string())
    }
}

impl From<StorageError> for KvError {
    fn from(error: StorageError) -> KvError {
        KvError::Storage(error.to_string())
    }
}

/// Why a store does not open. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store in this one, has the directory open.
    #[error("{path}: in use by another process; stop it, or choose another directory")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be written.
    #[error(
        "{path}: cannot be written ({source}); make it writable for this user, or choose another directory"
    )]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error(
        "{path}: holds {found:?}, so it is not the directory of a key-value store; choose an empty directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One thing that does not belong there.
        found: String,
    },
    /// The directory was written by another version.
    #[error(
        "{path}: has format {found}, but this program knows only {supported}; use the version that wrote it"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// The format that was found.
        found: u32,
        /// The format of this program.
        supported: u32,
    },
    /// The content contradicts itself.
    #[error("{path}: damaged: {reason}; remove it and let the node fetch a snapshot from the others")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The operating system refused something else.
    #[error("{path}: {source}; check the path, the free space and the limit of open files")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Sorts what the operating system said about `path`.
    pub(crate) fn from_io(path: &Path, source: io::Error) -> OpenError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::ReadOnly { path, source }
            }
            _ => OpenError::Io { path, source },
        }
    }

    /// Sorts what RocksDB said about `path`. Its errors are texts, so this looks at words; what it does not recognise
    /// stays a plain error with RocksDB's text.
    pub(crate) fn from_rocks(path: &Path, error: &rocksdb::Error) -> OpenError {
        let (path, text) = (path.to_owned(), error.as_ref());
        let mentions = |word: &str| text.contains(word);
        if mentions("lock hold by current process") || mentions("While lock file") {
            return OpenError::Locked { path };
        }
        if mentions("Read-only file system") || mentions("Permission denied") {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, text.to_owned());
            return OpenError::ReadOnly { path, source };
        }
        let reason = text.to_owned();
        match error.kind() {
            rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument => {
                OpenError::Damaged { path, reason }
            }
            rocksdb::ErrorKind::IOError if mentions("No such file") => OpenError::Damaged { path, reason },
            _ => OpenError::Io {
                path,
                source: io::Error::other(reason),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_written_has_its_own_error() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let error = OpenError::from_io(Path::new("/data/kv"), kind.into());
            assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
            assert!(
                error.to_string().starts_with("/data/kv: cannot be written"),
                "{error}"
            );
        }
    }
}
