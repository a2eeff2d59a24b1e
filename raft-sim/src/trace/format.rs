//! What stands in a trace.

use raft_core::types::EntryId;
use serde::{Deserialize, Serialize};

use super::log::{Log, Run};
use super::state::GroupState;
use crate::plan::Plan;
use crate::violation::Violation;

/// What [`Trace::format`] says.
const FORMAT: &str = "raft-sim trace";
/// What [`Trace::version`] says. It changes with every change that a reader must know of.
const VERSION: u32 = 1;

/// What happened in one run, or in the last part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Says that this is a trace.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The seed in hexadecimal.
    pub seed: String,
    /// The run before it happened.
    pub plan: Plan,
    /// When the trace begins, in nanoseconds of true time.
    pub from_nanos: u64,
    /// When it ends, in nanoseconds of true time.
    pub to_nanos: u64,
    /// What did not hold, if anything.
    pub violation: Option<Violation>,
    /// The state at the beginning.
    pub start: GroupState,
    /// What happened since, in order.
    pub events: Vec<Event>,
}

impl Trace {
    /// A trace of these events.
    pub(super) fn new(plan: &Plan, start: GroupState, from_nanos: u64, events: Vec<Event>) -> Trace {
        Trace {
            format: FORMAT.to_owned(),
            version: VERSION,
            seed: format!("{:#x}", plan.seed),
            plan: plan.clone(),
            from_nanos,
            to_nanos: events.last().map_or(from_nanos, |event| event.at),
            violation: None,
            start,
            events,
        }
    }

    /// The trace as one line of JSON. Equal runs give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a trace has text for keys and no value that JSON lacks")
    }
}

/// A place in a log: the index, then the term. Both are 0 before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position(pub u64, pub u64);

impl From<EntryId> for Position {
    fn from(id: EntryId) -> Position {
        Position(id.index.0, id.term.0)
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in nanoseconds of true time.
    pub at: u64,
    /// On which node; 0 if on none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub node: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Messages count up over a run.
    pub number: u64,
    /// The sender.
    pub from: u64,
    /// The receiver.
    pub to: u64,
    /// The sender's term.
    pub term: u64,
    /// What is said, by its name in the paper, like `append_entries`.
    pub body: String,
    /// What it says, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What a replica says of itself; only what changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its role, like `leader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Whom it voted for in that term; 0 for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<u64>,
    /// The leader that it knows; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
    /// The last index that it knows to be committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<u64>,
    /// The last index that it applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<u64>,
    /// The last index that it knows to be durable on its own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<u64>,
    /// Whether it may have lost what it had promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<bool>,
    /// The configuration that it counts with, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A process started from what its disks held.
    Started {
        /// What its log holds.
        log: Log,
        /// The snapshot that is in force.
        snapshot: Position,
        /// Whether something is, or may be, missing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        suspicious: bool,
        /// What it says of itself.
        standing: Standing,
    },
    /// A process ended; this is what its disks hold.
    Stopped {
        /// What its log holds.
        log: Log,
        /// The snapshot that is in force.
        snapshot: Position,
    },
    /// A disk lost something that was durable; this is what it holds now.
    Damaged {
        /// What was done to it.
        text: String,
        /// What its log holds.
        log: Log,
        /// The snapshot that is in force.
        snapshot: Position,
    },
    /// A replica changes its log; that is not durable yet.
    Written {
        /// Whether every entry is dropped first: the log begins after the snapshot.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reset: bool,
        /// The snapshot that is in force from now on, if it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<Position>,
        /// Every entry at or above the first of these is dropped, then they are appended.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        entries: Vec<Run>,
    },
    /// A disk holds what was written up to here.
    Durable {
        /// The last entry on the disk.
        last: Position,
        /// The term on the disk.
        term: u64,
        /// The vote on the disk; 0 for nobody.
        #[serde(default, skip_serializing_if = "is_zero")]
        vote: u64,
    },
    /// The log was purged.
    Compacted {
        /// The last entry that is gone.
        through: Position,
    },
    /// A message leaves its sender.
    Sent(Message),
    /// A message reaches its receiver, which looks at it now.
    Received {
        /// Which one.
        message: u64,
    },
    /// A message is lost: on the way, or because nobody was there to receive it.
    Lost {
        /// Which one.
        message: u64,
    },
    /// The stream of a snapshot to another node begins.
    SnapshotSent {
        /// The receiver.
        to: u64,
        /// What the snapshot covers.
        last: Position,
    },
    /// A snapshot of the own state is durable.
    SnapshotCreated {
        /// What it covers.
        last: Position,
    },
    /// A snapshot is the state of the state machine.
    SnapshotRestored {
        /// What it covers.
        last: Position,
    },
    /// The role, the term or the known leader changed.
    Role {
        /// Why.
        reason: String,
        /// What changed.
        standing: Standing,
    },
    /// Something else changed that a replica says of itself.
    Status {
        /// What changed.
        standing: Standing,
    },
    /// A replica became a suspect.
    Suspected {
        /// Why.
        reason: String,
    },
    /// A suspect is trusted again.
    Trusted,
    /// A state machine applied everything up to here.
    Applied {
        /// The last entry.
        last: Position,
        /// A hash of the whole state in hexadecimal, if the state machine can tell.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        state: String,
    },
    /// A client asks for the first time.
    Called {
        /// Calls count up over a run.
        call: u64,
        /// What is asked.
        text: String,
    },
    /// A client sends its request to this node, for the first time or again.
    Attempted {
        /// Which call.
        call: u64,
    },
    /// A node begins to serve a read.
    ReadServed {
        /// Which call.
        call: u64,
        /// From what it has applied up to here.
        index: u64,
    },
    /// A client has its answer, or gives up.
    Returned {
        /// Which call.
        call: u64,
        /// How it ended.
        text: String,
    },
    /// A change of the members was reported as complete.
    ChangeCompleted {
        /// Where its last configuration stands.
        index: u64,
        /// That configuration.
        members: String,
    },
    /// A transfer of leadership was reported as done.
    TransferDone {
        /// The term of the new leader.
        term: u64,
    },
    /// A fault begins.
    FaultBegun {
        /// Its place in the plan.
        number: u64,
        /// Its kind, like `partition`.
        fault: String,
        /// What happens.
        text: String,
        /// Whom it was meant for.
        nodes: Vec<u64>,
        /// When it ends, if it lasts.
        #[serde(default, skip_serializing_if = "is_zero")]
        until: u64,
    },
    /// A fault ends.
    FaultEnded {
        /// Its place in the plan.
        number: u64,
        /// Whether it had no effect at all, because of the state in which it found the group.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        void: bool,
    },
    /// From now on the run demands something else.
    Phase {
        /// `safety`, `quorum_healed` or `all_healed`.
        phase: String,
    },
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
