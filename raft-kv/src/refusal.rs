//! Refusals of requests, as values that travel.
//!
//! Never decides what a client sees beyond the text: the mapping to gRPC codes is named here but belongs to the server.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a request was refused. Where etcd has an error, the text is etcd's to the letter, because clients compare it.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KvError {
    /// The key is empty (InvalidArgument).
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` for a key that does not exist (InvalidArgument).
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// Both `ignore_value` and a value (InvalidArgument).
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// Both `ignore_lease` and a lease (InvalidArgument).
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// The lease does not exist (NotFound).
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// The history before `compact_revision` is gone (OutOfRange).
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// The oldest revision that can still be read.
        compact_revision: i64,
    },
    /// The revision does not exist yet (OutOfRange).
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision {
        /// The newest revision.
        current_revision: i64,
    },
    /// An unknown sort order or target (InvalidArgument).
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// Bytes that are no command, or no question, of this version; they changed nothing (Internal).
    #[error("raft-kv: nothing was executed: {0}")]
    Malformed(String),
    /// The store could not be read (Internal). A replica that answers this needs a look at its disk.
    #[error("raft-kv: {0}")]
    Storage(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_etcds() {
        let texts = [
            (KvError::EmptyKey, "etcdserver: key is not provided"),
            (KvError::KeyNotFound, "etcdserver: key not found"),
            (KvError::ValueProvided, "etcdserver: value is provided"),
            (KvError::LeaseProvided, "etcdserver: lease is provided"),
            (KvError::LeaseNotFound, "etcdserver: requested lease not found"),
            (
                KvError::Compacted { compact_revision: 3 },
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (
                KvError::FutureRevision { current_revision: 3 },
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (KvError::InvalidSortOption, "etcdserver: invalid sort option"),
        ];
        for (error, text) in texts {
            assert_eq!(error.to_string(), text);
        }
    }
}
