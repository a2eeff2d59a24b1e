//! Why a stopped node cannot be looked at.

use std::io;
use std::path::PathBuf;

use raft_storage_rocksdb::inspect::InspectError;
use thiserror::Error;

use crate::config::log_store::LogStoreKind;
use crate::data_directory::error::DataDirectoryError;

/// Why a stopped node cannot be looked at. Nothing in its directory was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum LogError {
    /// There is no data directory, or a node runs on it.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The log cannot be looked at.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Another store keeps the log.
    #[error(
        "the log in {path} is kept by {kind}; `raft-node log` reads logs of RocksDB only (see --log-store of \
         `raft-node start`)"
    )]
    OtherStore {
        /// The directory of the log.
        path: PathBuf,
        /// Which store it is.
        kind: LogStoreKind,
    },
    /// There is no room for temporary files.
    #[error("cannot make a temporary directory: {0}; name another place for it with TMPDIR")]
    Scratch(#[source] io::Error),
    /// The file to write lies within what is only looked at.
    #[error("{path} lies in the data directory, in which nothing is written; choose another --out")]
    OutputInside {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {source}; choose another --out, and a name that is not taken")]
    Output {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}
