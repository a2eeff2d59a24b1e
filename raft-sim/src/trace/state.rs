//! The state of a group at one moment of a trace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::format::{Event, Message, Position, Standing, What};
use super::log::Log;

/// The state of a group at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupState {
    /// What the run demands: `safety`, `quorum_healed` or `all_healed`; empty before anything was demanded, which is safety.
    pub phase: String,
    /// Every node that was ever started.
    pub nodes: BTreeMap<u64, NodeState>,
    /// The faults that last, by their place in the plan.
    pub faults: BTreeMap<u64, ActiveFault>,
    /// Messages that are under way, or arrive once more later, by their numbers.
    pub messages: BTreeMap<u64, Message>,
}

/// The state of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// Whether its process runs.
    pub up: bool,
    /// What its replica says of itself, or said last.
    pub standing: Standing,
    /// What its log holds: what the replica wrote while it runs, what is on the disk while it does not.
    pub log: Log,
    /// The snapshot in force.
    pub snapshot: Position,
    /// The last entry that is on its disk.
    pub disk: Position,
}

/// A fault that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveFault {
    /// Its kind.
    pub fault: String,
    /// What happens.
    pub text: String,
    /// Whom it was meant for.
    pub nodes: Vec<u64>,
    /// When it began, in nanoseconds of true time.
    pub since: u64,
    /// When it ends, in nanoseconds of true time.
    pub until: u64,
}

impl GroupState {
    /// The state after an event.
    pub fn apply(&mut self, event: &Event) {
        self.faults
            .retain(|_, fault| fault.until == 0 || fault.until > event.at);
        match &event.what {
            What::Sent(message) => {
                self.messages.insert(message.number, message.clone());
            }
            What::Received { message } | What::Lost { message } => {
                self.messages.remove(message);
            }
            What::FaultBegun {
                number,
                fault,
                text,
                nodes,
                until,
            } if *until > event.at => {
                let active = ActiveFault {
                    fault: fault.clone(),
                    text: text.clone(),
                    nodes: nodes.clone(),
                    since: event.at,
                    until: *until,
                };
                self.faults.insert(*number, active);
            }
            What::FaultEnded { number, .. } => {
                self.faults.remove(number);
            }
            What::Phase { phase } => {
                self.phase = phase.clone();
                // The phases after the first one begin with the end of every fault.
                self.faults.clear();
            }
            what if event.node != 0 => self.nodes.entry(event.node).or_default().apply(what),
            _ => {}
        }
    }
}

impl NodeState {
    fn apply(&mut self, what: &What) {
        match what {
            What::Started {
                log,
                snapshot,
                standing,
                ..
            } => {
                self.up = true;
                self.is_on_disk(log, *snapshot);
                self.standing = standing.clone();
            }
            What::Stopped { log, snapshot } => {
                self.up = false;
                self.is_on_disk(log, *snapshot);
            }
            What::Damaged { log, snapshot, .. } => self.is_on_disk(log, *snapshot),
            What::Written {
                reset,
                snapshot,
                entries,
            } => {
                self.snapshot = snapshot.unwrap_or(self.snapshot);
                if *reset {
                    self.log = Log {
                        purged: self.snapshot,
                        runs: Vec::new(),
                    };
                }
                self.log.append(entries);
            }
            What::Durable { last, .. } => self.disk = *last,
            What::Compacted { through } => self.log.compact(*through),
            What::Role { standing, .. } | What::Status { standing } => self.standing.change(standing),
            What::Suspected { .. } => self.standing.suspect = Some(true),
            What::Trusted => self.standing.suspect = Some(false),
            _ => {}
        }
    }

    fn is_on_disk(&mut self, log: &Log, snapshot: Position) {
        (self.log, self.snapshot, self.disk) = (log.clone(), snapshot, log.last());
    }
}

impl Standing {
    /// Takes over whatever is said in `newer`.
    fn change(&mut self, newer: &Standing) {
        fn take<T: Clone>(old: &mut Option<T>, newer: &Option<T>) {
            if newer.is_some() {
                old.clone_from(newer);
            }
        }
        take(&mut self.role, &newer.role);
        take(&mut self.term, &newer.term);
        take(&mut self.vote, &newer.vote);
        take(&mut self.leader, &newer.leader);
        take(&mut self.commit, &newer.commit);
        take(&mut self.applied, &newer.applied);
        take(&mut self.durable, &newer.durable);
        take(&mut self.suspect, &newer.suspect);
        take(&mut self.members, &newer.members);
    }

    /// What is said here and was not so in `older`.
    pub(super) fn since(self, older: &Standing) -> Standing {
        fn changed<T: PartialEq>(new: Option<T>, old: &Option<T>) -> Option<T> {
            new.filter(|new| old.as_ref() != Some(new))
        }
        Standing {
            role: changed(self.role, &older.role),
            term: changed(self.term, &older.term),
            vote: changed(self.vote, &older.vote),
            leader: changed(self.leader, &older.leader),
            commit: changed(self.commit, &older.commit),
            applied: changed(self.applied, &older.applied),
            durable: changed(self.durable, &older.durable),
            suspect: changed(self.suspect, &older.suspect),
            members: changed(self.members, &older.members),
        }
    }
}
