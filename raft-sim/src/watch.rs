//! Everybody who watches a run and changes nothing in it: the history, the invariants, the tally and the hash of the trace.

use raft_core::effect::RoleKind;
use raft_core::message::Message;
use raft_core::status::Status;
use raft_core::types::GroupId;

use crate::clock::Instant;
use crate::history::{History, mix};
use crate::invariants::Invariants;
use crate::machine::Machines;
use crate::node::Nodes;
use crate::observation::{Ending, Observation, View};
use crate::queue::Parcel;
use crate::tally::Tally;
use crate::trace::Recorder;
use crate::violation::Violation;

/// The watchers of one group.
#[derive(Debug)]
pub(crate) struct Watch {
    group: GroupId,
    pub(crate) history: History,
    pub(crate) tally: Tally,
    /// Whether every clock keeps within the bound that the replicas were given.
    pub(crate) clocks_in_bounds: bool,
    /// Whether equal states have equal snapshots.
    snapshots_are_equal: bool,
    /// Keeps what happens for people to look at; ordinary runs have none.
    pub(crate) recorder: Option<Box<Recorder>>,
    /// How many messages left so far.
    posted: u64,
    invariants: Invariants,
    hash: u64,
}

impl Watch {
    pub(crate) fn new(
        group: GroupId,
        history: History,
        clocks_in_bounds: bool,
        snapshots_are_equal: bool,
    ) -> Watch {
        Watch {
            group,
            history,
            tally: Tally::default(),
            snapshots_are_equal,
            clocks_in_bounds,
            recorder: None,
            posted: 0,
            invariants: Invariants::new(),
            hash: 0,
        }
    }

    /// Something happened.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        machines: &Machines,
        nodes: &Nodes,
        seen: &Observation<'_>,
    ) -> Result<(), Violation> {
        if let Some(recorder) = &mut self.recorder {
            recorder.observe(now, nodes, seen);
        }
        self.count(seen);
        self.hash_in(now, seen);
        self.history.observe(seen, nodes);
        let view = View {
            now,
            group: self.group,
            machines,
            nodes,
            history: &self.history,
            snapshots_are_equal: self.snapshots_are_equal,
            clocks_in_bounds: self.clocks_in_bounds,
        };
        self.invariants.observe(seen, &view)
    }

    /// A message leaves: from now on it has a number.
    pub(crate) fn post(&mut self, now: Instant, message: Message) -> Parcel {
        let number = self.posted;
        self.posted += 1;
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(now, number, &message);
        }
        Parcel { number, message }
    }

    /// A message reaches its receiver.
    pub(crate) fn received(&mut self, now: Instant, parcel: &Parcel) {
        if let Some(recorder) = &mut self.recorder {
            recorder.received(now, parcel.message.to, parcel.number);
        }
    }

    /// Messages are lost: on the way, or because nobody was there to receive them.
    pub(crate) fn lost(&mut self, now: Instant, parcels: &[Parcel]) {
        self.tally.messages_lost += parcels.len() as u64;
        if let Some(recorder) = &mut self.recorder {
            for parcel in parcels {
                recorder.lost(now, parcel.message.to, parcel.number);
            }
        }
    }

    /// The run is over.
    pub(crate) fn finish(
        &mut self,
        now: Instant,
        machines: &Machines,
        nodes: &Nodes,
    ) -> Result<(), Violation> {
        let view = View {
            now,
            group: self.group,
            machines,
            nodes,
            history: &self.history,
            snapshots_are_equal: self.snapshots_are_equal,
            clocks_in_bounds: self.clocks_in_bounds,
        };
        self.invariants.finish(&view)?;
        self.tally.elections = self.history.elections() as u64;
        self.tally.commits = self.history.commit().0;
        Ok(())
    }

    /// A hash of everything that happened so far: equal seeds give equal hashes (I28).
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    fn count(&mut self, seen: &Observation<'_>) {
        let tally = &mut self.tally;
        let counter = match seen {
            Observation::Started { .. } => &mut tally.starts,
            Observation::Sent { .. } => &mut tally.messages,
            Observation::Suspected { .. } => &mut tally.suspected,
            Observation::TrustRestored { .. } => &mut tally.trust_restored,
            Observation::Stepped { .. } => &mut tally.steps,
            Observation::SnapshotCreated { .. } => &mut tally.snapshots_created,
            Observation::SnapshotRestored { .. } => &mut tally.snapshots_installed,
            Observation::ChangeCompleted { .. } => &mut tally.membership_changes,
            Observation::TransferDone { .. } => &mut tally.transfers,
            Observation::Returned { ending, .. } => match ending {
                Ending::Applied(_) => &mut tally.acknowledged,
                Ending::Answered(_) => &mut tally.reads,
                Ending::Unknown => &mut tally.unknown,
                Ending::Refused => return,
            },
            _ => return,
        };
        *counter += 1;
    }

    fn hash_in(&mut self, now: Instant, seen: &Observation<'_>) {
        let word = match seen {
            Observation::Stepped { after, .. } => hash_of_status(after),
            Observation::Sent { message } => hash_of_message(message),
            Observation::Started { node, .. } => mix(node.0 ^ 0x57a2),
            Observation::Stopped { node } => mix(node.0 ^ 0x570b),
            Observation::StateReached { last, state_hash, .. } => mix(last.index.0 ^ state_hash.unwrap_or(0)),
            Observation::SnapshotCreated { content_hash, .. } => *content_hash,
            Observation::Returned { call, .. } => mix(call.0),
            _ => return,
        };
        self.hash = mix(self.hash ^ word ^ now.0.rotate_left(20));
    }
}

fn hash_of_status(status: &Status) -> u64 {
    let role = match status.role {
        RoleKind::Follower => 1,
        RoleKind::PreCandidate => 2,
        RoleKind::Candidate => 3,
        RoleKind::Leader => 4,
    };
    [
        status.id.0,
        status.term.0,
        status.appended_index.0,
        status.durable_index.0,
        status.commit_index.0,
        status.applied_index.0,
    ]
    .into_iter()
    .fold(role, |hash, word| mix(hash ^ word))
}

fn hash_of_message(message: &Message) -> u64 {
    mix(message.from.0 << 40 ^ message.to.0 << 32 ^ message.term.0)
}
