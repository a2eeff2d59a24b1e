//! Everything that can happen to a replica. A recorded run is the list of its inputs, and replays exactly.

use std::fmt;

use bytes::Bytes;

use crate::entry::Entry;
use crate::message::{InstallSnapshot, Message, SnapshotMeta};
use crate::types::{EntryId, Index, NodeId, Ticket, WriteSeq};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed; nothing else happened.
    Tick,
    /// A message arrived. Its sender was authenticated by the transport.
    Receive(Message),
    /// Clients ask to append commands, in this order.
    Propose(Vec<Proposal>),
    /// Clients ask to read linearizably.
    Read(Vec<Ticket>),
    /// The write with this number, and every write before it, is durable.
    Persisted(WriteSeq),
    /// The answer to [`Effect::ReadLog`](crate::effect::Effect::ReadLog).
    LogRead(LogReadResult),
    /// The state machine has applied everything up to this index.
    Applied(Index),
    /// A snapshot from a leader is complete, verified and durable in the snapshot store (paper Figure 13).
    SnapshotReceived(InstallSnapshot),
    /// The snapshot that [`Effect::RestoreSnapshot`](crate::effect::Effect::RestoreSnapshot) named is now the state of
    /// the state machine.
    SnapshotRestored(EntryId),
    /// The snapshot that [`Effect::CreateSnapshot`](crate::effect::Effect::CreateSnapshot) asked for is durable.
    SnapshotCreated(SnapshotMeta),
    /// The snapshot that `CreateSnapshot` asked for could not be made; the replica goes on without it.
    SnapshotFailed,
    /// A snapshot was streamed to a peer, or could not be (R49).
    SnapshotSent {
        /// The receiver.
        to: NodeId,
        /// Whether every byte was delivered and verified.
        delivered: bool,
    },
    /// Start an election now, as if the election timeout had passed.
    Campaign,
}

/// A command that a client wants appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Names the request in effects.
    pub ticket: Ticket,
    /// The bytes for the state machine.
    pub command: Bytes,
}

/// Entries that were read back from the log store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReadResult {
    /// The request that this answers.
    pub request: LogRead,
    /// The entries, contiguous from `request.first`; none if the read failed (R12).
    pub entries: Vec<Entry>,
}

/// A request to read entries that are no longer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// Who needs them; at most one read for each is outstanding.
    pub reader: LogReader,
    /// The first index wanted.
    pub first: Index,
    /// The last index wanted; the answer may end earlier.
    pub last: Index,
    /// Stop after this many payload bytes; the first entry always fits.
    pub bytes_max: usize,
}

/// Who needs entries from the log store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogReader {
    /// The state machine of this replica.
    Apply,
    /// A follower that is behind.
    Peer(NodeId),
}

/// Why a request was not taken. It had no effect and never will; the reason says what the caller can do (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalReason {
    /// This replica does not lead. Ask `leader`, or retry after an election if none is known.
    NotLeader {
        /// The leader of the current term, if known.
        leader: Option<NodeId>,
    },
    /// A queue is full. Retry later.
    Busy,
    /// The command exceeds `entry_bytes_max`. Split it.
    TooLarge {
        /// The size of the command.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The replica stopped. Ask another one.
    Stopped,
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefusalReason::NotLeader { leader: Some(leader) } => {
                write!(f, "not the leader; node {leader} is")
            }
            RefusalReason::NotLeader { leader: None } => {
                f.write_str("there is no leader; retry after an election")
            }
            RefusalReason::Busy => f.write_str("busy: a queue is full; retry later"),
            RefusalReason::TooLarge { bytes, bytes_max } => {
                write!(
                    f,
                    "the command has {bytes} bytes and the limit is {bytes_max}; split it"
                )
            }
            RefusalReason::Stopped => f.write_str("the replica stopped; ask another one"),
        }
    }
}
