//! Questions, and what answers are made of.

use std::time::Duration;

use super::lag::Lag;
use crate::effect::{RoleChangeReason, RoleKind};
use crate::message::VoteRefusal;
use crate::request::RefusalReason;
use crate::types::{EntryId, Index, NodeId, Term};

/// What a replica can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What is most worth knowing: that there is no leader; else that something is not committed; else that something is not
    /// applied; else who lags; else that all is well.
    WhatIsWrong,
    /// Why is there no leader?
    NoLeader,
    /// Why is the entry at this index not committed?
    NotCommitted(Index),
    /// Why is the entry at this index not applied by the replica that is asked?
    NotApplied(Index),
    /// Why is the leader another one than before?
    LeaderChange,
    /// Why was a request refused, now that this reason was given?
    Refused(RefusalReason),
    /// Why is this member behind?
    Lagging(NodeId),
}

/// What one replica knows about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Who says so.
    pub by: NodeId,
    /// What is the case.
    pub case: Case,
    /// Why, what matters most first. At most a few for each member.
    pub causes: Vec<Cause>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well, or the question has an answer that is no trouble.
    None,
    /// A member is behind; the group works.
    Lagging,
    /// What is committed is not applied on one replica.
    NotApplied,
    /// Nothing new is committed.
    NotCommitted,
    /// Nobody leads.
    NoLeader,
}

/// What is the case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Case {
    /// Nothing is wrong.
    Well {
        /// Who leads.
        leader: NodeId,
        /// In which term.
        term: Term,
        /// Up to where everything is committed, as far as this replica knows.
        commit: Index,
        /// Up to where this replica has applied everything.
        applied: Index,
    },
    /// The group sleeps, because nothing happens in it (docs/decisions/0016): nobody sends anything, and that is no trouble.
    Asleep {
        /// Who leads.
        leader: NodeId,
        /// In which term.
        term: Term,
    },
    /// No leader is known.
    NoLeader {
        /// The role of this replica.
        role: RoleKind,
        /// Its term.
        term: Term,
        /// For how long it has known none.
        lasts: Duration,
    },
    /// There is a leader, and it is not heard any more.
    LeaderSilent {
        /// Who leads, or did.
        leader: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// It was asked why there is no leader, and there is one.
    Led {
        /// Who leads.
        leader: NodeId,
        /// In which term.
        term: Term,
    },
    /// The entry is in the log and not committed, as far as this replica knows.
    NotCommitted {
        /// The entry.
        index: Index,
        /// What is committed.
        commit: Index,
        /// For how long nothing more was committed; none if something just was.
        lasts: Option<Duration>,
    },
    /// The log does not go so far: there is no such entry here.
    NotInLog {
        /// The entry.
        index: Index,
        /// Where the log ends.
        last: Index,
    },
    /// The entry is committed.
    Committed {
        /// The entry.
        index: Index,
        /// What is committed.
        commit: Index,
    },
    /// The entry is committed and not applied here.
    NotApplied {
        /// The entry.
        index: Index,
        /// What is applied.
        applied: Index,
        /// What is committed.
        commit: Index,
    },
    /// The entry is applied here.
    Applied {
        /// The entry.
        index: Index,
        /// What is applied.
        applied: Index,
    },
    /// How the leader became who it is: the causes tell.
    LeaderChanged {
        /// Who leads now, if that is known.
        leader: Option<NodeId>,
        /// The term of this replica.
        term: Term,
    },
    /// A request was refused.
    Refused(RefusalReason),
    /// This replica has stopped: whatever else it knows is of the past.
    Stopped {
        /// Its term then.
        term: Term,
    },
    /// A member lacks entries, or does not answer.
    Lagging(NodeId),
    /// A member has everything.
    KeepsUp(NodeId),
    /// Only the leader knows how far this member is.
    LeaderKnows(NodeId),
    /// The node is no member of the group.
    NoMember(NodeId),
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This replica has stopped, because an invariant of the protocol does not hold.
    Stopped,
    /// A majority cannot be reached, or lacks the entry.
    NoQuorum(Quorum),
    /// No leader has been known for so long, which is why what was asked about does not go on.
    NoLeader(Duration),
    /// The leader has not been heard for so long.
    LeaderSilent {
        /// Who leads, or did.
        leader: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// Why this replica does not stand for election.
    NoCampaign(CampaignBar),
    /// How a voter answered, or did not.
    Vote {
        /// The voter.
        voter: NodeId,
        /// Its answer.
        state: VoteState,
    },
    /// An election is under way here.
    Campaign(RoleKind),
    /// An election begins when this time has passed without a leader.
    CampaignDue(Duration),
    /// A member lacks entries, or does not answer.
    Behind(Lag),
    /// The oldest write of this replica is not durable for so long, which is trouble.
    OwnDisk(Duration),
    /// The oldest write of this replica is not durable for so long, which is no trouble yet.
    OwnWrite(Duration),
    /// The state machine of this replica has not finished what it was given for so long.
    OwnStateMachine {
        /// For how long.
        lasts: Duration,
        /// The entries that it was given.
        entries: u64,
    },
    /// A snapshot replaces the state of this replica.
    OwnRestore(EntryId),
    /// This replica reads entries from its log store in order to apply them.
    OwnLogRead {
        /// Whether the last attempt failed.
        failed: bool,
    },
    /// This replica may have lost what it had promised (R68).
    OwnSuspicion,
    /// The entry is of an earlier term: it is committed together with the first one of the leader's own term (R1).
    EarlierTerm {
        /// The term of the leader.
        term: Term,
        /// Its first entry.
        needs: Index,
    },
    /// The leader knows; this replica does not.
    AskLeader(NodeId),
    /// How the leader became another one.
    LeaderChange(LeaderChange),
    /// Leadership is being handed over.
    Transfer {
        /// To whom.
        to: NodeId,
        /// How much longer that is tried.
        left: Duration,
        /// How many entries it lacks.
        lacks: u64,
    },
    /// The leader takes no more commands before some are committed.
    UncommittedFull {
        /// Bytes that are not committed.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The leader takes no more reads before some are confirmed.
    ReadsFull {
        /// Reads that wait.
        reads: usize,
        /// The limit.
        reads_max: usize,
    },
    /// A change of the members is not committed, or a joint configuration not left.
    ChangePending {
        /// Where the latest configuration stands in the log.
        index: Index,
        /// Whether it is a joint one.
        is_joint: bool,
    },
}

/// Which majority is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The only one: the configuration is not joint.
    Only,
    /// That of the new voters of a joint configuration.
    Incoming,
    /// That of the old voters of a joint configuration.
    Outgoing,
}

/// What a majority is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To elect a leader: it must be reached.
    Votes,
    /// To commit anything at all: it must be reached.
    Contact,
    /// To commit one entry: it must have that.
    Entry,
}

/// A majority, and who of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// What for.
    pub need: Need,
    /// Which one.
    pub half: Half,
    /// Its voters, sorted.
    pub voters: Vec<NodeId>,
    /// Who of them can be reached, or has the entry; sorted.
    pub have: Vec<NodeId>,
    /// How many are a majority.
    pub needed: usize,
}

/// Why a replica does not stand for election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CampaignBar {
    /// It knows of no group: no configuration has reached it.
    NoConfiguration,
    /// It is a learner, or no member.
    NoVoter,
    /// It may have lost what it had promised (R68).
    Suspect,
    /// A snapshot replaces its state (R28).
    Restoring,
    /// Its oldest write is not durable for an election timeout (R35).
    Disk,
    /// Leases are served, and it heard a leader so lately that one may hold still (R34).
    Lease(Duration),
}

/// What is known of a voter's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteState {
    /// It was not asked yet.
    NotAsked,
    /// It was asked so long ago and is expected to answer.
    Asked(Duration),
    /// It does not answer.
    Silent {
        /// For how long it owes an answer.
        owes: Duration,
        /// How long ago it was heard from; none if never since this replica was started.
        heard: Option<Duration>,
    },
    /// It votes for this replica, or would.
    Granted {
        /// How long ago it said so.
        ago: Duration,
    },
    /// It does not vote for this replica, and would not.
    Refused {
        /// Why.
        reason: VoteRefusal,
        /// Where the log of this replica ends, to compare.
        own_last: EntryId,
        /// How long ago it said so.
        ago: Duration,
    },
}

/// The leader became another one, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// How long ago.
    pub ago: Duration,
    /// The leader until then, as far as this replica knew.
    pub before: Option<NodeId>,
    /// The leader from then on.
    pub after: Option<NodeId>,
    /// The term from then on.
    pub term: Term,
    /// Why.
    pub reason: RoleChangeReason,
}

impl Explanation {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.case {
            Case::NoLeader { .. } | Case::LeaderSilent { .. } => Severity::NoLeader,
            Case::NotCommitted { .. } | Case::Stopped { .. } => Severity::NotCommitted,
            Case::NotApplied { .. } => Severity::NotApplied,
            Case::Lagging(_) | Case::NoMember(_) => Severity::Lagging,
            Case::LeaderChanged { leader: None, .. } => Severity::NoLeader,
            Case::Well { .. }
            | Case::Asleep { .. }
            | Case::Led { .. }
            | Case::NotInLog { .. }
            | Case::Committed { .. }
            | Case::Applied { .. }
            | Case::LeaderChanged { .. }
            | Case::Refused(_)
            | Case::KeepsUp(_)
            | Case::LeaderKnows(_) => Severity::None,
        }
    }

    /// Who knows more: the leader, if this replica does not lead and the answer is the leader's.
    #[must_use]
    pub fn knows_more(&self) -> Option<NodeId> {
        self.causes.iter().find_map(|cause| match cause {
            Cause::AskLeader(leader) => Some(*leader),
            _ => None,
        })
    }

    /// Whether so many voters do not answer that nobody can be elected, or nothing committed.
    pub(super) fn lacks_contact(&self) -> bool {
        let is_out_of_reach =
            |cause: &Cause| matches!(cause, Cause::NoQuorum(quorum) if quorum.need != Need::Entry);
        self.causes.iter().any(is_out_of_reach)
    }

    /// Who is said not to answer. If one of them answers somebody else, it is the way that is broken, not the node.
    #[must_use]
    pub fn silent(&self) -> Vec<NodeId> {
        let mut silent: Vec<NodeId> = self.causes.iter().filter_map(Cause::silent).collect();
        if let Case::LeaderSilent { leader, .. } = self.case {
            silent.push(leader);
        }
        silent.sort_unstable();
        silent.dedup();
        silent
    }
}

impl Cause {
    fn silent(&self) -> Option<NodeId> {
        match self {
            Cause::Vote {
                voter,
                state: VoteState::Silent { .. },
            } => Some(*voter),
            Cause::Behind(lag) if lag.is_silent() => Some(lag.member),
            Cause::LeaderSilent { leader, .. } => Some(*leader),
            _ => None,
        }
    }
}
