//! Log entries, and slices of a log that are contiguous by construction.

use bytes::Bytes;
use thiserror::Error;

use crate::membership::Membership;
use crate::types::{EntryId, Index, Term};

/// One entry of the replicated log (paper §5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that created it, and its position.
    pub id: EntryId,
    /// What it does when applied.
    pub payload: Payload,
}

/// What an entry does when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing. A new leader appends one before anything else, because only an entry of its own term lets it commit
    /// what it inherited (paper §8, R2).
    Noop,
    /// A command for the state machine; the bytes are shared, never copied per peer.
    Command(Bytes),
    /// A configuration of the cluster, in effect from the moment it is appended (thesis §4.1).
    Membership(Membership),
}

impl Entry {
    /// A no-op of `term` at `index`.
    #[must_use]
    pub fn noop(term: Term, index: Index) -> Entry {
        Entry {
            id: EntryId::new(term, index),
            payload: Payload::Noop,
        }
    }

    /// A command of `term` at `index`.
    #[must_use]
    pub fn command(term: Term, index: Index, command: Bytes) -> Entry {
        Entry {
            id: EntryId::new(term, index),
            payload: Payload::Command(command),
        }
    }

    /// The position of the entry in the log.
    #[must_use]
    pub fn index(&self) -> Index {
        self.id.index
    }

    /// The term of the leader that created the entry.
    #[must_use]
    pub fn term(&self) -> Term {
        self.id.term
    }

    /// The bytes of the command; 0 for entries without one. This is what quotas and windows count.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match &self.payload {
            Payload::Command(command) => command.len(),
            Payload::Noop | Payload::Membership(_) => 0,
        }
    }
}

/// Contiguous entries and the entry they follow.
///
/// Invariants, checked on construction:
/// - entry `i` has index `prev.index + 1 + i`;
/// - terms never fall, starting from `prev.term`;
/// - no entry has term 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSlice {
    prev: EntryId,
    entries: Vec<Entry>,
}

/// Why bytes from elsewhere are not a slice of any Raft log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LogSliceError {
    /// An index was skipped or repeated.
    #[error("entry {found} stands where index {expected} belongs")]
    Gap {
        /// The index that would have been contiguous.
        expected: Index,
        /// The entry that stands there.
        found: EntryId,
    },
    /// A term is below the term before it, or is 0.
    #[error("entry {found} has a lower term than its predecessor's {previous}")]
    TermFalls {
        /// The term of the predecessor.
        previous: Term,
        /// The entry with the lower term.
        found: EntryId,
    },
}

impl LogSlice {
    /// Checks `entries` against the invariants of the type.
    pub fn new(prev: EntryId, entries: Vec<Entry>) -> Result<LogSlice, LogSliceError> {
        let mut last = prev;
        for entry in &entries {
            if entry.index() != last.index.next() {
                return Err(LogSliceError::Gap {
                    expected: last.index.next(),
                    found: entry.id,
                });
            }
            if entry.term() < last.term || entry.term() == Term::ZERO {
                return Err(LogSliceError::TermFalls {
                    previous: last.term,
                    found: entry.id,
                });
            }
            last = entry.id;
        }
        Ok(LogSlice { prev, entries })
    }

    /// The entry that the slice follows.
    #[must_use]
    pub fn prev(&self) -> EntryId {
        self.prev
    }

    /// The last entry of the slice, or `prev` if it is empty.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.entries.last().map_or(self.prev, |entry| entry.id)
    }

    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Gives the entries away.
    #[must_use]
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}
