//! What a disk says when it cannot do what it should.

use raft_core::types::{EntryId, Index, Term};
use thiserror::Error;

/// Why a log or snapshot store could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The disk reported an error (EIO).
    #[error("the disk reported an error")]
    Io,
    /// The disk is full (ENOSPC).
    #[error("the disk is full")]
    Full,
    /// An earlier write or sync failed: what it left is unknown until the store is opened again (R60).
    #[error("an earlier write failed; restart the process")]
    Failed,
    /// The power was lost, or the content was damaged: the store must be opened first.
    #[error("the store is not open")]
    Closed,
    /// The write would leave a gap (R12). Nothing of it was stored.
    #[error("the write does not continue the log, which ends at {last}; nothing was stored")]
    NotContiguous {
        /// The last entry.
        last: EntryId,
    },
    /// An entry that was asked for is not stored.
    #[error("entry {0} is not stored")]
    Missing(Index),
    /// What is stored is damaged.
    #[error("entry {0} is damaged")]
    Corrupt(Index),
}

/// What is wrong with the content of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Finding {
    /// Records of the log that were durable are missing or damaged.
    #[error("the log can be read up to record {found}, and record {promised} was durable")]
    LogLost {
        /// The last record that is sound.
        found: u64,
        /// The last one that the watermark vouches for.
        promised: u64,
    },
    /// The log has another record where the watermark vouches for one.
    #[error("record {record} of the log is not the one that was durable")]
    LogReplaced {
        /// The number of the record.
        record: u64,
    },
    /// The log does not begin where it was purged to.
    #[error("the log lacks entries above {purged}")]
    LogBeginsLate {
        /// Where it should begin.
        purged: EntryId,
    },
    /// The hard state of the log is older than its second copy.
    #[error("the log has term {found}, and term {promised} with a vote was durable")]
    HardStateLost {
        /// The term in the log.
        found: Term,
        /// The term of the second copy.
        promised: Term,
    },
    /// Neither copy of the watermark can be read: nobody knows how much was durable.
    #[error("neither copy of the watermark can be read")]
    WatermarkLost,
    /// A snapshot that is needed is damaged.
    #[error("the snapshot at {0} is damaged")]
    SnapshotDamaged(EntryId),
    /// A snapshot that is needed is not there.
    #[error("there is no snapshot at {0}")]
    SnapshotMissing(EntryId),
}
