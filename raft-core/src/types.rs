//! The small values every other module speaks in.
//!
//! Bare integers are costly to get wrong: an index is not a term, and a term without its index identifies
//! nothing. Each has a type of its own here, and the pair that identifies a log entry is [`EntryId`].

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype! {
    /// The logical clock of Raft (paper §5.1): it grows by one with every election and never falls.
    /// Term 0 precedes every election; no entry but the imaginary one at index 0 carries it.
    Term
}
newtype! {
    /// The position of an entry in the log. The first entry has index 1; index 0 is the empty prefix.
    Index
}
newtype! {
    /// The identity of a replica, unique in its cluster for ever: an id is never given to another machine (R68).
    /// 0 is not a valid id.
    NodeId
}
newtype! {
    /// One Raft group. A process hosts many groups over one log store and one connection per peer.
    GroupId
}
newtype! {
    /// The sequence number of a [`Write`](crate::effect::Write): counts up by one per write, per incarnation of a
    /// replica. Completions name it instead of (index, term), so that a late completion can never vouch for an
    /// entry that was overwritten since (R56).
    WriteSeq
}
newtype! {
    /// The number of a leader's heartbeat round within its term. Reads are confirmed by it, never by bytes that
    /// a client chose (R41).
    Round
}
newtype! {
    /// A client's session: the index of the log entry that opened it (thesis §6.3). Unique for ever.
    SessionId
}
newtype! {
    /// The number that a client gives to a command of its session, once; the first is 1.
    Sequence
}
newtype! {
    /// Names a client's request from the moment it is handed to the core until it is resolved.
    /// Chosen by the caller, unique among its unresolved requests, opaque to the core.
    Ticket
}

impl Term {
    /// The term before the first election.
    pub const ZERO: Term = Term(0);

    /// The next term.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl Index {
    /// The empty prefix of every log.
    pub const ZERO: Index = Index(0);

    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The index before this one; 0 stays 0.
    #[must_use]
    pub fn previous(self) -> Index {
        Index(self.0.saturating_sub(1))
    }

    /// How many entries lie in `(earlier, self]`; 0 if `earlier` is not earlier.
    #[must_use]
    pub fn entries_since(self, earlier: Index) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Index {
    type Output = Index;

    fn add(self, count: u64) -> Index {
        Index(self.0 + count)
    }
}

impl Sequence {
    /// The first number of a session.
    pub const FIRST: Sequence = Sequence(1);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl Round {
    /// The round after this one.
    #[must_use]
    pub fn next(self) -> Round {
        Round(self.0 + 1)
    }
}

impl WriteSeq {
    /// The number of the write after this one.
    #[must_use]
    pub fn next(self) -> WriteSeq {
        WriteSeq(self.0 + 1)
    }
}

/// The identity of a log entry: two entries with the same id are the same entry, and all before them are, too
/// (the Log Matching Property, paper §5.3).
///
/// The order is the election restriction's (paper §5.4.1): by term first, then by index (R37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// The position of the entry in the log.
    pub index: Index,
}

impl EntryId {
    /// The imaginary entry before the first one; it matches in every pair of logs.
    pub const ZERO: EntryId = EntryId {
        term: Term::ZERO,
        index: Index::ZERO,
    };

    /// The entry of `term` at `index`.
    #[must_use]
    pub const fn new(term: Term, index: Index) -> EntryId {
        EntryId { term, index }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// What a replica must never forget, stored as one record (R32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The largest term this replica has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// A commit index it once knew. It needs no sync of its own, only spares a restarted replica work, and is
    /// never stored above the last durable index (R59).
    pub commit: Index,
    /// Whether the replica's memory can be relied on (R68).
    pub trust: Trust,
}

/// Whether a replica's memory can be relied on (R68).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trust {
    /// It has kept every promise.
    #[default]
    Trusted,
    /// It has neither voted nor stored an entry, and is one of the first members: the group is new, or the replica was
    /// wiped.
    Founder,
    /// It may have broken a promise, and has not caught up since.
    Suspect,
}

/// A moment on the caller's monotonic clock, in nanoseconds since an origin that the caller chose.
///
/// The core never reads a clock: time is an argument of every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The caller's origin.
    pub const ZERO: Time = Time(0);

    /// `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, duration: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}
