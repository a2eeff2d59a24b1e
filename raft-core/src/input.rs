//! Everything that can happen to a replica. A recorded run is the list of its inputs, and replays exactly.

use std::time::Duration;

use bytes::Bytes;

use crate::entry::{Entry, SessionRequest};
use crate::membership::MemberChange;
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
    /// Somebody asks to change the members, or what a change would do.
    ChangeMembership(ChangeRequest),
    /// Somebody asks that another voter leads (thesis §3.10).
    TransferLeadership {
        /// Names the request in effects.
        ticket: Ticket,
        /// Who shall lead.
        to: NodeId,
    },
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
        /// Which snapshot: an earlier transfer may end late.
        last: EntryId,
        /// Whether every byte was delivered and verified.
        delivered: bool,
    },
    /// The round trips that the transport measures now, of those peers to which it knows one. They have an effect only with
    /// [`election_timeout_max`](crate::config::Config::election_timeout_max).
    RoundTrips(Vec<(NodeId, Duration)>),
    /// The node of a peer does not answer any more, or was started again, or leads this group no more: whoever sleeps under
    /// that leader must look for another one, and a leader that sleeps contacts that follower ([`pulse`](crate::pulse)). Means
    /// nothing to anybody else.
    PeerLost(NodeId),
    /// Start an election now, as if the election timeout had passed.
    Campaign,
}

/// A command that a client wants appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Names the request in effects.
    pub ticket: Ticket,
    /// What shall be appended.
    pub command: Proposed,
}

/// What a client wants appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// The bytes of a command for the state machine.
    Command(Bytes),
    /// A request within a session.
    Session(SessionRequest),
}

impl Proposed {
    /// The size of the command in bytes; 0 without one.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Proposed::Command(command) => command.len(),
            Proposed::Session(request) => request.command_bytes(),
        }
    }
}

impl From<Bytes> for Proposed {
    fn from(command: Bytes) -> Proposed {
        Proposed::Command(command)
    }
}

/// A wish to change the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRequest {
    /// Names the request in effects.
    pub ticket: Ticket,
    /// What shall change, as one change.
    pub changes: Vec<MemberChange>,
    /// Whether only to say what would happen; nothing is proposed then.
    pub dry_run: bool,
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
