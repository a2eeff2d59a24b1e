//! Everything a replica asks its surroundings to do. The order of the effects of one step is the order to begin them in.

use std::fmt;

use crate::entry::Entry;
use crate::input::LogRead;
use crate::membership::Membership;
use crate::message::{Message, SnapshotMeta};
use crate::request::{ChangePreview, RefusalReason, TransferResult};
use crate::types::{EntryId, HardState, Index, NodeId, Term, Ticket, WriteSeq};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this now. It promises nothing that is not durable yet.
    Send(Message),
    /// Make this durable, then send what rides in `then`, then answer
    /// [`Input::Persisted`](crate::input::Input::Persisted). Writes complete in the order of their numbers.
    Persist(Write),
    /// Read entries that are no longer in memory; answer [`Input::LogRead`](crate::input::Input::LogRead).
    ReadLog(LogRead),
    /// Apply these committed entries; answer [`Input::Applied`](crate::input::Input::Applied). Contiguous with the
    /// entries applied before.
    Apply(Vec<Entry>),
    /// After all entries handed out so far are applied, save a snapshot of the state under this name; answer
    /// [`Input::SnapshotCreated`](crate::input::Input::SnapshotCreated) or
    /// [`Input::SnapshotFailed`](crate::input::Input::SnapshotFailed).
    CreateSnapshot(SnapshotMeta),
    /// Replace the state by this snapshot from the snapshot store; answer
    /// [`Input::SnapshotRestored`](crate::input::Input::SnapshotRestored). A replica that cannot must stop.
    RestoreSnapshot(SnapshotMeta),
    /// Stream this snapshot to a peer; answer [`Input::SnapshotSent`](crate::input::Input::SnapshotSent), also on
    /// failure (R49).
    SendSnapshot {
        /// The receiver.
        to: NodeId,
        /// The leader's term, for the header of the stream.
        term: Term,
        /// Which snapshot.
        meta: SnapshotMeta,
    },
    /// The log up to and including this entry is no longer needed; purge it when convenient.
    Compact(EntryId),
    /// A proposal was appended; it is resolved when the entry with this id is applied.
    Proposed {
        /// The proposal.
        ticket: Ticket,
        /// Where it stands in the log.
        id: EntryId,
    },
    /// A proposal or read was not taken.
    Refused {
        /// The request.
        ticket: Ticket,
        /// Why, and what the caller can do.
        reason: RefusalReason,
    },
    /// A read was confirmed: it may be served once the state machine has applied this index.
    ReadConfirmed {
        /// The read.
        ticket: Ticket,
        /// The index to wait for.
        index: Index,
    },
    /// The members are others from now on: a configuration was appended, rolled back with its entry, or installed with
    /// a snapshot. Whoever is in it must be reachable.
    MembershipChanged(Membership),
    /// A change of the members is committed and complete.
    ChangeCommitted {
        /// The request.
        ticket: Ticket,
        /// Where its last configuration stands in the log.
        index: Index,
        /// That configuration.
        membership: Membership,
    },
    /// What a change of the members would do.
    Previewed {
        /// The request.
        ticket: Ticket,
        /// The answer.
        preview: ChangePreview,
    },
    /// A transfer of leadership ended.
    TransferEnded {
        /// The request.
        ticket: Ticket,
        /// How.
        result: TransferResult,
    },
    /// Nobody here will learn any more how this request ended: leadership was lost with it under way (R45).
    Unresolved {
        /// The request.
        ticket: Ticket,
    },
    /// This replica may have lost what it had promised: it neither votes nor counts until it has caught up (R68).
    Suspected(SuspicionReason),
    /// This replica has caught up with everything that may have been decided with its help: it votes and counts again.
    TrustRestored,
    /// The role, the term or the known leader changed.
    RoleChanged(RoleChange),
    /// This replica fell asleep, woke up, or began to ask others to sleep: its node must know who watches over whom. The last
    /// one counts; every replica begins as [`Rest::Awake`].
    Rested(Rest),
    /// An invariant of the protocol does not hold: another replica, or the disk, lost what it had promised. The
    /// replica must stop, keep its data, and say so (R11). No further input has any effect.
    Fatal(FatalReason),
}

/// What must become durable at once: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The number of this write.
    pub seq: WriteSeq,
    /// The hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// The snapshot that is in force from now on, if it changed.
    pub snapshot: Option<SnapshotMeta>,
    /// How the stored log changes.
    pub log: LogChange,
    /// Messages that promise what this write, or one before it, makes durable. They leave after it. A message to the
    /// replica itself is handed back to it as [`Input::Receive`](crate::input::Input::Receive) (R29).
    pub then: Vec<Message>,
}

impl Write {
    /// Whether there is nothing to store: the write is only a place in the order for its messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none() && self.snapshot.is_none() && self.log.is_empty()
    }
}

/// How a stored log changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChange {
    /// Drop every entry at or above the index of the first of `entries`, then append them. Nothing if there are none.
    Append(Vec<Entry>),
    /// Drop every entry: the log begins after the snapshot of the same write. Then append `entries`.
    Reset(Vec<Entry>),
}

impl LogChange {
    /// Whether the log stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, LogChange::Append(entries) if entries.is_empty())
    }

    /// The entries to append.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match self {
            LogChange::Append(entries) | LogChange::Reset(entries) => entries,
        }
    }
}

/// The role of a replica, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election (thesis §9.6).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleKind::Follower => "follower",
            RoleKind::PreCandidate => "pre-candidate",
            RoleKind::Candidate => "candidate",
            RoleKind::Leader => "leader",
        })
    }
}

/// Whether a replica sleeps, and who relies on whom while it does (docs/decisions/0016).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rest {
    /// It is awake, and nobody sleeps under it.
    #[default]
    Awake,
    /// It leads, and has asked its followers to sleep: some may.
    Leading {
        /// The term that it leads.
        term: Term,
        /// Whether it sleeps itself. If it does not, its heartbeats wake everybody up.
        asleep: bool,
    },
    /// It sleeps, and must be [told](crate::input::Input::PeerLost) when its leader is gone.
    Following {
        /// Its leader.
        leader: NodeId,
        /// The term of that.
        term: Term,
    },
}

/// A change of role, term or known leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role before.
    pub from: RoleKind,
    /// The role now.
    pub to: RoleKind,
    /// The term now.
    pub term: Term,
    /// The leader of this term, if known.
    pub leader: Option<NodeId>,
    /// Why.
    pub reason: RoleChangeReason,
}

/// Why a role changed (the edges of mission row S13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleChangeReason {
    /// Nothing was heard from a leader for a whole election timeout.
    ElectionTimeout,
    /// The owner of the replica asked for an election.
    CampaignRequested,
    /// A quorum would vote for this replica.
    PreVoteWon,
    /// A quorum refused.
    VoteLost,
    /// A quorum voted for this replica.
    ElectionWon,
    /// A message carried a higher term.
    HigherTerm {
        /// Who sent it.
        from: NodeId,
    },
    /// The leader of this term made itself known.
    LeaderFound,
    /// A leader heard from no quorum for a whole election timeout (R36).
    QuorumLost,
    /// The leader asked this replica to take over (thesis §3.10).
    TransferReceived,
    /// A leader's own disk or state machine made no progress for an election timeout (R35).
    Stalled,
    /// A leader lost its vote by a change of the members that is committed now (R64).
    Removed,
    /// A candidate learned that it may have lost what it had promised (R68).
    Suspected,
}

impl fmt::Display for RoleChangeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoleChangeReason::ElectionTimeout => f.write_str("heard from no leader for an election timeout"),
            RoleChangeReason::CampaignRequested => f.write_str("was asked to campaign"),
            RoleChangeReason::PreVoteWon => f.write_str("a quorum would vote for it"),
            RoleChangeReason::VoteLost => f.write_str("a quorum refused its vote"),
            RoleChangeReason::ElectionWon => f.write_str("a quorum voted for it"),
            RoleChangeReason::HigherTerm { from } => write!(f, "node {from} has a higher term"),
            RoleChangeReason::LeaderFound => f.write_str("the leader of this term made itself known"),
            RoleChangeReason::QuorumLost => f.write_str("heard from no quorum for an election timeout"),
            RoleChangeReason::TransferReceived => f.write_str("the leader asked it to take over"),
            RoleChangeReason::Stalled => {
                f.write_str("its own disk or state machine made no progress for an election timeout")
            }
            RoleChangeReason::Removed => f.write_str("it is no voter any more"),
            RoleChangeReason::Suspected => f.write_str("it may have lost what it had promised"),
        }
    }
}

/// Why a replica may have lost what it had promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SuspicionReason {
    /// The log store found that something is missing, or the replica was a suspect when it stopped.
    StoreNoticed,
    /// It started with nothing, in a group that it did not found.
    StartedEmpty,
    /// It started with an empty log, and the group that it founded has a past: it was wiped, or it is the last founder
    /// to start.
    GroupHasPast,
    /// The leader remembers that it acknowledged more.
    EntriesLost {
        /// What an earlier incarnation acknowledged.
        acknowledged: Index,
        /// The last entry now.
        last: EntryId,
    },
}

impl fmt::Display for SuspicionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SuspicionReason::StoreNoticed => f.write_str("its store lost something that was durable"),
            SuspicionReason::StartedEmpty => f.write_str("it started with nothing"),
            SuspicionReason::GroupHasPast => {
                f.write_str("it started with an empty log, and the group has a past")
            }
            SuspicionReason::EntriesLost { acknowledged, last } => {
                write!(
                    f,
                    "it acknowledged index {acknowledged} before it was started, and its log ends at {last}"
                )
            }
        }
    }
}

/// Why a replica cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FatalReason {
    /// A leader's entry contradicts an entry that is committed here (R5).
    CommittedEntryConflict {
        /// The entry here.
        committed: EntryId,
        /// The leader's entry for the same index.
        received: EntryId,
        /// The leader.
        from: NodeId,
    },
    /// Two nodes act as leader in one term: a vote was lost or an id is used twice.
    TwoLeaders {
        /// The term.
        term: Term,
        /// The leader known so far.
        known: NodeId,
        /// The other one.
        other: NodeId,
    },
}

impl fmt::Display for FatalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FatalReason::CommittedEntryConflict {
                committed,
                received,
                from,
            } => write!(
                f,
                "leader {from} sent entry {received}, but entry {committed} is committed here: a replica lost \
                 acknowledged data; restore this one or that one from a healthy replica"
            ),
            FatalReason::TwoLeaders { term, known, other } => write!(
                f,
                "nodes {known} and {other} both lead term {term}: one lost its vote, or its id is used twice; stop \
                 both, and rejoin the one whose disk was damaged or copied under a new id"
            ),
        }
    }
}
