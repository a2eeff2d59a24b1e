//! What clients ask of a group, and how it can end.

use std::fmt;

use bytes::Bytes;

use crate::entry::SessionRequest;
use crate::membership::{ChangeError, MemberChange, MembershipPlan};
use crate::types::{NodeId, Sequence, SessionId, Term};

/// What a client asks of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequest {
    /// Append this command.
    Propose(Bytes),
    /// Confirm leadership and name the index that a linearizable read must wait for.
    ReadIndex,
    /// Change the members, or say what that would do.
    ChangeMembership {
        /// What shall change, as one change.
        changes: Vec<MemberChange>,
        /// Whether only to say what would happen.
        dry_run: bool,
    },
    /// Let this voter lead.
    TransferLeadership(NodeId),
    /// Open, use or close a session.
    Session(SessionRequest),
}

impl ClientRequest {
    /// Whether it changes nothing, so that a replica may ask again by itself. A command of a session may be asked again,
    /// too, but by the client: only it knows what the refusal of a second copy says about the first.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        matches!(
            self,
            ClientRequest::ReadIndex | ClientRequest::ChangeMembership { dry_run: true, .. }
        )
    }

    /// The size of the command in bytes; about that of a change; 0 for everything else.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            ClientRequest::Propose(command) => command.len(),
            ClientRequest::Session(request) => request.command_bytes(),
            ClientRequest::ChangeMembership { changes, .. } => {
                changes.iter().map(MemberChange::size_bytes).sum()
            }
            ClientRequest::ReadIndex | ClientRequest::TransferLeadership(_) => 0,
        }
    }
}

/// What a change of the members would do, said by the leader before anything is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePreview {
    /// The configurations on the way, with the quorum and the failures that they survive.
    pub plan: MembershipPlan,
    /// Who of the members, before and after, was heard from within an election timeout; sorted.
    pub reachable: Vec<NodeId>,
    /// Why the leader would refuse the change now; none if it would take it.
    pub refusal: Option<RefusalReason>,
}

impl ChangePreview {
    /// Whether every configuration on the way could decide now.
    #[must_use]
    pub fn quorum_is_reachable(&self) -> bool {
        self.plan
            .quorum_is_reachable(|voter| self.reachable.binary_search(&voter).is_ok())
    }
}

/// How a transfer of leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferResult {
    /// The target leads.
    Done {
        /// The new leader.
        leader: NodeId,
        /// Its term.
        term: Term,
    },
    /// The target does not lead.
    Aborted(TransferAbort),
}

/// Why a transfer of leadership came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferAbort {
    /// The target did not catch up or win an election in time; the old leader goes on unless it lost its leadership.
    TimedOut,
    /// Another node won the election.
    OtherLeader(NodeId),
    /// The target lost its vote meanwhile (R67).
    TargetLeft,
}

impl fmt::Display for TransferAbort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferAbort::TimedOut => {
                f.write_str("the target did not become leader in time; retry when it is healthy")
            }
            TransferAbort::OtherLeader(leader) => write!(f, "node {leader} became leader instead"),
            TransferAbort::TargetLeft => f.write_str("the target is no voter any more; name another one"),
        }
    }
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
    /// The replica that was asked is no member of the group any more. Ask a member.
    Removed,
    /// Leadership is being transferred; nothing new is taken until that ended. Retry after an election timeout.
    Transferring {
        /// Who shall lead.
        to: NodeId,
    },
    /// The target of a transfer cannot lead: it does not vote.
    NotAVoter(NodeId),
    /// The target of a transfer was not heard from within an election timeout. Name one that is up.
    TargetUnreachable(NodeId),
    /// Another change of the members is under way, or this leader has not committed anything of its own term yet
    /// (R61). Retry when it is done.
    MembershipChangePending,
    /// The change does not fit the configuration (R62).
    Membership(ChangeError),
    /// The learner has not caught up with the log (R71). Retry when it has.
    NotCaughtUp {
        /// The learner.
        learner: NodeId,
        /// How many entries it lacks.
        entries_behind: u64,
    },
    /// Too few voters of the configuration that would result are reachable now: the group would stop (R71).
    QuorumUnreachable {
        /// How many voters must agree.
        quorum: usize,
        /// How many were heard from within an election timeout.
        reachable: usize,
    },
    /// There is no such session, or not any more: it was not used for its time to live, was closed, or made room for
    /// others. This command was not applied now; whether an earlier copy of it was, nobody knows any more.
    SessionExpired(SessionId),
    /// The client said before that it asks for no sequence below this one. This command was not applied now; whether an
    /// earlier copy of it was, is forgotten.
    SequenceAcknowledged {
        /// The lowest sequence that may be asked for.
        acknowledged_below: Sequence,
    },
    /// The session has too many commands whose responses the client has not acknowledged.
    SessionWindowFull {
        /// The lowest sequence that is too high.
        limit: Sequence,
    },
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
            RefusalReason::Removed => f.write_str("the node was removed from the group; ask a member"),
            RefusalReason::Transferring { to } => {
                write!(
                    f,
                    "leadership is being transferred to node {to}; retry after an election timeout"
                )
            }
            RefusalReason::NotAVoter(node) => {
                write!(f, "node {node} is not a voter, so it cannot lead; name a voter")
            }
            RefusalReason::TargetUnreachable(node) => {
                write!(
                    f,
                    "node {node} was not heard from within an election timeout; name a voter that is up"
                )
            }
            RefusalReason::MembershipChangePending => {
                f.write_str("another change of the members is not committed yet; retry when it is")
            }
            RefusalReason::Membership(error) => error.fmt(f),
            RefusalReason::NotCaughtUp {
                learner,
                entries_behind,
            } => write!(
                f,
                "learner {learner} has not caught up: it lacks {entries_behind} entries; retry when it has them"
            ),
            RefusalReason::QuorumUnreachable { quorum, reachable } => write!(
                f,
                "the group would stop: {quorum} voters would have to agree, and only {reachable} are reachable now; \
                 start the others first, or add a node as a learner and promote it when it has caught up"
            ),
            RefusalReason::SessionExpired(session) => {
                write!(f, "session {session} has ended; open another one")
            }
            RefusalReason::SequenceAcknowledged { acknowledged_below } => write!(
                f,
                "every sequence below {acknowledged_below} was acknowledged and is forgotten; use a new one"
            ),
            RefusalReason::SessionWindowFull { limit } => write!(
                f,
                "the session takes no sequence from {limit} on before earlier ones are acknowledged; wait for them"
            ),
        }
    }
}
