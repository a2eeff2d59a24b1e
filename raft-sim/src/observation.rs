//! What the invariants see of a run: everything that happens, in order.

use raft_core::effect::{Rest, RoleChange, RoleKind, SuspicionReason, Write};
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::message::{InstallSnapshot, Message, SnapshotMeta};
use raft_core::request::RefusalReason;
use raft_core::sessions::Reply;
use raft_core::status::Status;
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term};

use crate::clock::Instant;
use crate::disk::LogImage;
use crate::history::History;
use crate::machine::Machines;
use crate::node::Nodes;
use crate::plan::Fault;
use crate::workload::Request;

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Observation<'a> {
    /// Somebody created a replica where there was none.
    Created { node: NodeId },
    /// A replica was destroyed, for ever.
    Destroyed { node: NodeId },
    /// A process started from what its disks held; its status is that of the first moment.
    Started {
        node: NodeId,
        recovered: &'a Recovered,
        /// What its state machine had kept.
        applied: EntryId,
        /// What was durable on its disks when they were last whole: `node.durable()` is what is there now.
        promised: &'a LogImage,
        /// Whether the store noticed that something is missing, or the disks are new.
        is_suspicious: bool,
    },
    /// A process ended: by a crash, a loss of power, a failed disk or an order. What was not durable is gone.
    Stopped { node: NodeId },
    /// Something that was durable is no longer: see the text.
    Damaged { node: NodeId, what: &'a str },
    /// A replica wants something written. `log` is the log as it saw it before.
    WriteBegun {
        node: NodeId,
        role: RoleKind,
        log: &'a LogImage,
        write: &'a Write,
    },
    /// What a replica wanted written is durable now: one write, or several as one.
    WriteDurable {
        node: NodeId,
        /// The hard state on the disk before.
        before: HardState,
        change: &'a GroupWrite,
    },
    /// A message leaves its sender.
    Sent { message: &'a Message },
    /// A message reaches its receiver; its step follows.
    Received { message: &'a Message },
    /// The stream of a snapshot begins.
    SnapshotSent { header: &'a InstallSnapshot },
    /// The role, the term or the leader that a replica knows changed, within a step that is not over.
    RoleChanged { node: NodeId, change: &'a RoleChange },
    /// A replica has another latest configuration, within a step that is not over.
    MembershipChanged {
        node: NodeId,
        membership: &'a Membership,
    },
    /// A replica became a suspect, within a step that is not over.
    Suspected { node: NodeId, reason: SuspicionReason },
    /// A suspect is trusted again, within a step that is not over.
    TrustRestored { node: NodeId },
    /// A replica fell asleep, woke up, or asks others to sleep, within a step that is not over.
    Rested { node: NodeId, rest: Rest },
    /// A step of a replica is over, and everything that it asked for was begun.
    Stepped { before: &'a Status, after: &'a Status },
    /// A state machine applied an entry.
    Applied {
        node: NodeId,
        entry: &'a Entry,
        /// What it replied; means nothing for an entry without a command.
        reply: &'a Result<Reply, RefusalReason>,
    },
    /// A state machine applied everything up to here, or was replaced by a snapshot that covers it.
    StateReached {
        node: NodeId,
        last: EntryId,
        /// The commands that it was shown since, each once, and the hashes of its responses.
        responses: &'a [(Index, u64)],
        /// A hash of the whole state, if the state machine can tell.
        state_hash: Option<u64>,
    },
    /// A snapshot is durable.
    SnapshotCreated {
        node: NodeId,
        meta: &'a SnapshotMeta,
        /// A hash of its content.
        content_hash: u64,
    },
    /// A snapshot is the state of a state machine.
    SnapshotRestored {
        node: NodeId,
        meta: &'a SnapshotMeta,
        content_hash: u64,
    },
    /// The log may be purged up to here.
    Compacted { node: NodeId, through: EntryId },
    /// A client asks for the first time; later attempts for the same thing are no calls of their own.
    Called { call: CallId, request: &'a Request },
    /// A client sends its request to a node, for the first time or again.
    Attempted {
        call: CallId,
        node: NodeId,
        /// The session and the sequence in it; none for a request outside of sessions.
        in_session: Option<(u64, u64)>,
    },
    /// A node begins to serve a read, which it may answer from what it has applied up to `index`.
    ReadServed {
        call: CallId,
        node: NodeId,
        index: Index,
    },
    /// A client has its answer.
    Returned { call: CallId, ending: &'a Ending },
    /// A change of the members was reported as complete.
    ChangeCompleted {
        node: NodeId,
        index: Index,
        membership: &'a Membership,
    },
    /// A transfer of leadership was reported as done.
    TransferDone { leader: NodeId, term: Term },
    /// A fault of the plan begins.
    FaultBegun {
        /// Its place in the plan.
        number: u64,
        fault: &'a Fault,
        /// Whom it is meant for in the state in which it finds the group.
        nodes: &'a [NodeId],
    },
    /// A fault of the plan ends. One that only says for how long it lasts ends without this.
    FaultEnded {
        /// Its place in the plan.
        number: u64,
        /// Whether it had no effect at all.
        was_void: bool,
    },
    /// From now on nothing goes wrong any more: see [`Phase`].
    PhaseBegun { phase: Phase },
}

/// One call of one client, whatever number of attempts it takes. They count up over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// How a call ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A command was applied: where, and the response.
    Applied(Reply),
    /// A read was answered.
    Answered(bytes::Bytes),
    /// It had no effect and never will: no attempt of it can have been applied.
    Refused,
    /// Nobody knows whether it was applied, or will be.
    Unknown,
}

/// What a run demands at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Faults; nothing bad may happen.
    Safety,
    /// A quorum is healed, the others are down: progress is demanded, or the proof that there can be none.
    QuorumHealed,
    /// Everything is healed and everybody is up: all converge.
    AllHealed,
}

/// What there is to look at besides the observation.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) now: Instant,
    /// The group that is watched.
    pub(crate) group: GroupId,
    pub(crate) machines: &'a Machines,
    pub(crate) nodes: &'a Nodes,
    pub(crate) history: &'a History,
    /// Whether equal states have equal snapshots.
    pub(crate) snapshots_are_equal: bool,
    /// Whether every clock keeps within the bound that the replicas were given, so that leases hold.
    pub(crate) clocks_in_bounds: bool,
}
