//! What is to happen when: one queue of events, ordered by true time and then by the order in which they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use raft_core::input::LogRead;
use raft_core::message::{InstallSnapshot, Message, SnapshotMeta};
use raft_core::types::{GroupId, NodeId};

use crate::clock::Instant;
use crate::node::ReplicaId;

/// Something that will happen. Events that name a life of a machine are void in any other.
#[derive(Debug)]
pub(crate) enum Event {
    /// Messages of one sender arrive together.
    Deliver {
        /// The group that they are delivered to, whatever they say; that of pulses for the machine itself.
        group: GroupId,
        parcels: Vec<Parcel>,
        /// The disks that the receiver had when they were sent: nothing reaches a machine that was set up anew since.
        disks: u64,
    },
    /// A disk completed what was written.
    Synced { node: NodeId, life: u64 },
    /// The process learns of it.
    Written { node: NodeId, life: u64 },
    /// A cold read of the log ends.
    LogRead {
        at: ReplicaId,
        life: u64,
        request: LogRead,
    },
    /// A state machine is done with the first of its jobs.
    Worked { at: ReplicaId, life: u64 },
    /// A snapshot of the own state is written.
    SnapshotWritten {
        at: ReplicaId,
        life: u64,
        meta: SnapshotMeta,
        content: Bytes,
    },
    /// The stream of a snapshot ends.
    SnapshotArrives(Box<SnapshotTransfer>),
    /// A replica is told of peers that are gone, or were started again, if it was not yet.
    PeersLost { at: ReplicaId, life: u64 },
    /// A timer rings.
    Timer { node: NodeId, life: u64 },
    /// A process is started.
    Start { node: NodeId, life: u64 },
    /// A client does what is next; void unless its number of things done is still this one.
    Client {
        group: GroupId,
        client: usize,
        turn: u64,
    },
    /// A replica is created where one was ordered, if the machine runs.
    Create(ReplicaId),
    /// A replica is destroyed, as soon as the machine runs.
    Destroy(ReplicaId),
    /// A fault of the plan begins.
    FaultBegins(usize),
    /// A fault of the plan ends.
    FaultEnds(usize),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// Counts up over a run, so that it is known again when it arrives.
    pub(crate) number: u64,
    pub(crate) message: Message,
}

/// A snapshot on its way.
#[derive(Debug)]
pub(crate) struct SnapshotTransfer {
    pub(crate) header: InstallSnapshot,
    pub(crate) group: GroupId,
    /// None if the sender could not read it.
    pub(crate) content: Option<Bytes>,
    /// The life of the sender that waits for the end.
    pub(crate) life: u64,
}

#[derive(Debug)]
struct Planned {
    at: Instant,
    number: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything that is planned.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    planned: BinaryHeap<Reverse<Planned>>,
    numbers: u64,
}

impl Queue {
    /// Plans an event.
    pub(crate) fn push(&mut self, at: Instant, event: Event) {
        let number = self.numbers;
        self.numbers += 1;
        self.planned.push(Reverse(Planned { at, number, event }));
    }

    /// What happens next, up to `until`, and when.
    pub(crate) fn pop_before(&mut self, until: Instant) -> Option<(Instant, Event)> {
        if self.planned.peek()?.0.at > until {
            return None;
        }
        let Reverse(planned) = self.planned.pop()?;
        Some((planned.at, planned.event))
    }
}
