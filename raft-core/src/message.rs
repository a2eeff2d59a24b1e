//! What replicas say to each other, under the paper's names (paper Figures 2 and 13).

use bytes::Bytes;

use crate::entry::Entry;
use crate::membership::Membership;
use crate::request::{ChangePreview, ClientRequest, RefusalReason, TransferResult};
use crate::types::{EntryId, GroupId, Index, NodeId, Round, Term, Ticket};

/// The group of what nodes say to each other on behalf of all their groups: [`Body::Pulse`], and nothing else. No group has
/// this id.
pub const PULSE_GROUP: GroupId = GroupId(0);

/// One message between two replicas of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The group of both replicas.
    pub group: GroupId,
    /// The sender; the transport verifies that it is who the connection says.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's current term, durable on the sender when the message leaves (I3). Forwarded requests and their
    /// responses carry it too, but it means nothing there.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

impl Message {
    /// In which lane it travels.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match &self.body {
            Body::AppendEntries(request) if request.prev_acknowledged && request.entries.is_empty() => {
                Lane::Urgent
            }
            // TimeoutNow is worth something only to a follower that has everything which left before it.
            Body::AppendEntries(_)
            | Body::TimeoutNow(_)
            | Body::ForwardRequest(_)
            | Body::ForwardResponse(_) => Lane::Ordered,
            Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::RequestPreVote(_)
            | Body::RequestPreVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::TrustRestored(_)
            | Body::EntriesLost(_)
            | Body::Pulse(_) => Lane::Urgent,
        }
    }
}

/// What a message may overtake on its way to a peer. Every message is right in any order; in the wrong one it only costs a
/// round trip. In one lane messages keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// It is small, elections and reads wait for it, and it says nothing about entries under way: it overtakes them.
    Urgent,
    /// It carries entries or requests, or is about entries that left before it.
    Ordered,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A candidate asks for a vote in the message's term (paper §5.2).
    RequestVote(RequestVote),
    /// The answer to RequestVote.
    RequestVoteResponse(RequestVoteResponse),
    /// Asks whether RequestVote would succeed, without raising any term (thesis §9.6).
    RequestPreVote(RequestPreVote),
    /// The answer to RequestPreVote.
    RequestPreVoteResponse(RequestPreVoteResponse),
    /// A leader replicates entries; without entries it is the heartbeat (paper §5.3).
    AppendEntries(AppendEntries),
    /// The answer to AppendEntries, and to a snapshot.
    AppendEntriesResponse(AppendEntriesResponse),
    /// A leader asks a follower that has all of its log to start an election at once (thesis §3.10).
    TimeoutNow(TimeoutNow),
    /// A leader tells a suspect that it has caught up (R68).
    TrustRestored(TrustRestored),
    /// A leader tells a follower that it lost what it had acknowledged (R11).
    EntriesLost(EntriesLost),
    /// A replica passes a client's request to the leader. Handled by the driver; the state machine of the protocol
    /// never sees it.
    ForwardRequest(ForwardRequest),
    /// The leader's answer to a forwarded request.
    ForwardResponse(ForwardResponse),
    /// A node tells another that it lives, for all groups that sleep ([`pulse`](crate::pulse)). It is of the group
    /// [`PULSE_GROUP`] and of no term; no replica ever sees it.
    Pulse(Pulse),
}

/// Arguments of RequestVote (paper Figure 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVote {
    /// The candidate's last entry: a voter refuses a candidate whose log is behind its own (paper §5.4.1).
    pub last_log: EntryId,
    /// Whether the leader itself asked for this election: then nobody protects it (thesis §4.2.3). That leader serves no
    /// read by its lease any more (R33).
    pub leadership_transfer: bool,
    /// The candidate's [incarnation](crate::config::Config::incarnation); the response repeats it.
    pub incarnation: u64,
}

/// Result of RequestVote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVoteResponse {
    /// Why the sender does not vote for the candidate in the message's term; none if it does.
    pub refusal: Option<VoteRefusal>,
    /// The incarnation of the candidate that asked. Who forgot what it had asked for, and in which term, must not take a
    /// late answer for one to itself (R68).
    pub incarnation: u64,
}

impl RequestVoteResponse {
    /// Whether the sender votes for the candidate.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.refusal.is_none()
    }
}

/// Why a voter refuses its vote. A candidate counts a refusal whatever the reason is; people want to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoteRefusal {
    /// The voter has seen a term that is no lower than the one to campaign in: the message carries it.
    LaterTerm,
    /// It voted for somebody else in this term.
    VotedFor(NodeId),
    /// It leads, or heard from this leader within the election timeout (thesis §4.2.3). None after a restart: it may have
    /// heard one before (R42).
    HearsLeader(Option<NodeId>),
    /// The candidate's log is behind its own, which ends here (paper §5.4.1).
    LogBehind(EntryId),
    /// It may have lost what it had promised, so it votes for nobody (R68).
    Suspect,
    /// It knows of nothing yet, and votes only for who knows of nothing either (R68).
    Founder,
}

/// Arguments of RequestPreVote (thesis §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPreVote {
    /// The term that the sender would campaign in: one above its own.
    pub candidate_term: Term,
    /// The sender's last entry.
    pub last_log: EntryId,
    /// The sender's [incarnation](crate::config::Config::incarnation); the response repeats it.
    pub incarnation: u64,
}

/// Result of RequestPreVote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPreVoteResponse {
    /// The term of the request that this answers (R21).
    pub candidate_term: Term,
    /// Why the sender would not vote for the candidate in that term; none if it would.
    pub refusal: Option<VoteRefusal>,
    /// The incarnation of the candidate that asked: what a voter would do for a log that was lost since is worth nothing (R68).
    pub incarnation: u64,
}

impl RequestPreVoteResponse {
    /// Whether the sender would vote for the candidate.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.refusal.is_none()
    }
}

/// Arguments of AppendEntries (paper Figure 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntries {
    /// The entry right before `entries` (prevLogIndex and prevLogTerm of the paper).
    pub prev: EntryId,
    /// Whether the receiver has acknowledged `prev` to this leader, or `prev` is where every log begins. Then a message
    /// without entries says nothing about what is under way, and may overtake it.
    pub prev_acknowledged: bool,
    /// The entries to store; none in a heartbeat.
    pub entries: Vec<Entry>,
    /// The leader's commit index. The receiver commits no further than what this message verified to match (R3, R4).
    pub leader_commit: Index,
    /// The newest round of the leader when it sent this; the response repeats it.
    pub round: Round,
    /// Whether the leader asks the receiver to sleep: nothing has happened for a while, and the receiver has acknowledged
    /// everything. Only without entries.
    pub sleep: bool,
}

/// Result of AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendEntriesResponse {
    /// The round of the request.
    pub round: Round,
    /// That of the request. If it is set, this may have overtaken the answer to a probe, and does not stand for it.
    pub prev_acknowledged: bool,
    /// The sender's [incarnation](crate::config::Config::incarnation): what an earlier one acknowledged counts no more.
    pub incarnation: u64,
    /// Whether the sender may have lost what it had promised, so that this acknowledgement does not count (R68).
    pub suspect: bool,
    /// For how many milliseconds the sender votes for nobody else after the request arrived, whatever happens; 0 if it
    /// keeps no leases (R42).
    pub lease_ms: u32,
    /// Whether the sender sleeps from now on, as it was asked to.
    pub sleeps: bool,
    /// For how many milliseconds the oldest write of the sender is not durable, in whole heartbeat intervals: 0 while its
    /// disk keeps up. It decides nothing; it tells a slow disk from a slow network.
    pub disk_waits_ms: u32,
    /// Whether the logs match, and up to where.
    pub result: AppendResult,
}

/// Whether the follower's log matches the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// The follower's log matches the leader's up to this index, and is durable up to there (R55).
    Accepted {
        /// The last index that matches.
        match_index: Index,
    },
    /// The follower has no entry like `prev`. Nothing was stored.
    Rejected {
        /// `prev.index` of the refused request: identifies the request that this answers (R10).
        prev_index: Index,
        /// The follower's last entry that could match: both sides skip whole terms from here (R8).
        hint: EntryId,
    },
}

/// Arguments of TimeoutNow (thesis §3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutNow {
    /// The last entry of the leader, which the receiver must have as its last, too. With the message's term this makes
    /// a late copy worthless (R33).
    pub last_log: EntryId,
}

/// A leader's word that a suspect has everything that may have been decided with its help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustRestored {
    /// The incarnation that is meant.
    pub incarnation: u64,
    /// What it must have, durably.
    pub index: Index,
}

/// A leader's word that a follower has less than it acknowledged before it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntriesLost {
    /// The incarnation that is meant.
    pub incarnation: u64,
    /// The last index that an earlier incarnation acknowledged.
    pub acknowledged: Index,
}

/// What a node says to another on behalf of all groups of both that sleep: that it lives, whose leaders it relies on, and which
/// leaderships are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Which pulse of which process it is.
    pub id: PulseId,
    /// The newest pulse of the receiver that the sender has taken.
    pub heard: Option<PulseId>,
    /// Leaderships of the receiver under which groups of the sender sleep. Each is repeated until the receiver has heard it.
    pub watches: Vec<Leadership>,
    /// Leaderships that the receiver watches, or asked to watch, and that are over. Each is repeated for a while.
    pub ended: Vec<Leadership>,
}

/// A pulse of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PulseId {
    /// Differs from one start of the node to the next.
    pub incarnation: u64,
    /// Counts up by one with each pulse of one process to one peer; the first is 1.
    pub serial: u64,
}

/// The leadership of one node over one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leadership {
    /// The group.
    pub group: GroupId,
    /// Its term.
    pub term: Term,
}

/// A client's request, passed on by the replica that received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRequest {
    /// Chosen by the sender; the response repeats it.
    pub ticket: Ticket,
    /// What is asked.
    pub request: ClientRequest,
}

/// The leader's answer to a forwarded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardResponse {
    /// The ticket of the request.
    pub ticket: Ticket,
    /// How it ended.
    pub result: ForwardResult,
}

/// How a forwarded request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardResult {
    /// The command was applied at `index`.
    Applied {
        /// Where in the log.
        index: Index,
        /// The state machine's response.
        response: Bytes,
    },
    /// A read may be served once the state machine has applied `index`.
    ReadIndex {
        /// The index to wait for.
        index: Index,
    },
    /// A change of the members is complete.
    MembershipChanged {
        /// Where its last configuration stands in the log.
        index: Index,
        /// That configuration.
        membership: Membership,
    },
    /// What a change of the members would do.
    Previewed(Box<ChangePreview>),
    /// A transfer of leadership ended.
    Transferred(TransferResult),
    /// Not applied, and never will be.
    Refused(RefusalReason),
    /// It may or may not be applied: leadership was lost with the command in flight.
    Unknown,
}

/// What identifies a snapshot: the state after applying everything up to `last`, and the configuration there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot covers. [`EntryId::ZERO`] stands for the empty state that a group starts from.
    pub last: EntryId,
    /// The configuration in effect at `last`.
    pub membership: Membership,
}

/// What tells the content of one snapshot from that of another. Two replicas that save the same state need not write the
/// same bytes, and half of the one with half of the other is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotContent {
    /// How many bytes it has.
    pub bytes: u64,
    /// The CRC-32C of all of them.
    pub checksum: u32,
}

impl SnapshotContent {
    /// That of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> SnapshotContent {
        SnapshotContent {
            bytes: content.len() as u64,
            checksum: crc32c::crc32c(content),
        }
    }
}

/// What precedes the bytes of a snapshot on the wire (InstallSnapshot, paper Figure 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallSnapshot {
    /// The group of both replicas.
    pub group: GroupId,
    /// The leader.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The leader's term.
    pub term: Term,
    /// What the snapshot covers.
    pub meta: SnapshotMeta,
}
