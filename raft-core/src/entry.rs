//! Log entries, and slices of a log that are contiguous by construction.

pub(crate) mod recorded;

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::membership::Membership;
use crate::types::{EntryId, Index, Sequence, SessionId, Term};

/// One entry of the replicated log (paper §5.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term of the leader that created it, and its position.
    pub id: EntryId,
    /// What it does when applied.
    pub payload: Payload,
}

/// What an entry does when it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing. A new leader appends one before anything else, because only an entry of its own term lets it commit
    /// what it inherited (paper §8, R2).
    Noop,
    /// A command for the state machine; the bytes are shared, never copied per peer.
    Command(Bytes),
    /// A configuration of the cluster, in effect from the moment it is appended (thesis §4.1).
    Membership(Membership),
    /// What a client asks within a session: applied once, however often it is in the log (thesis §6.3, R73).
    Session(Arc<SessionEntry>),
}

/// A request of a session, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionEntry {
    /// Milliseconds from the election of the leader of the entry's term until it appended the entry. All replicas make
    /// the same log time of them, by which sessions expire.
    pub elapsed_ms: u64,
    /// What is asked.
    pub request: SessionRequest,
}

/// What a client asks within a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionRequest {
    /// Open a session. Its id is the index of this entry.
    Open {
        /// How long it lives after its last use, in milliseconds of log time.
        ttl_ms: u64,
    },
    /// Use a session, so that it does not expire.
    KeepAlive(SessionId),
    /// End a session. One that has ended already stays so.
    Close(SessionId),
    /// Apply a command once.
    Command(SessionCommand),
}

/// A command that is applied once, however often it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionCommand {
    /// The session.
    pub session: SessionId,
    /// The number of the command in its session. Two commands with one number are the same command.
    pub sequence: Sequence,
    /// The client asks no more for any sequence below: their responses are forgotten, and what was not applied never is.
    pub acknowledged_below: Sequence,
    /// The bytes for the state machine.
    pub command: Bytes,
}

impl SessionRequest {
    /// The size of the command in bytes; 0 without one.
    #[must_use]
    pub fn command_bytes(&self) -> usize {
        match self {
            SessionRequest::Command(command) => command.command.len(),
            SessionRequest::Open { .. } | SessionRequest::KeepAlive(_) | SessionRequest::Close(_) => 0,
        }
    }
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
            Payload::Session(entry) => entry.request.command_bytes(),
            Payload::Noop | Payload::Membership(_) => 0,
        }
    }
}

/// How many entries one message carries at most: what each takes beside its payload must not exceed a frame, either.
pub const MESSAGE_ENTRIES_MAX: usize = 16_384;

/// How many of `entries`, from the first, fit into a message of about `bytes_max` bytes; the first one always does.
#[must_use]
pub fn fitting<'a>(entries: impl IntoIterator<Item = &'a Entry>, bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = |(position, entry): &(usize, &Entry)| {
        bytes += match &entry.payload {
            Payload::Membership(membership) => membership.size_bytes(),
            _ => entry.payload_bytes(),
        };
        *position == 0 || (bytes <= bytes_max && *position < MESSAGE_ENTRIES_MAX)
    };
    entries.into_iter().enumerate().take_while(fits).count()
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
