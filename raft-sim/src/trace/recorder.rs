//! Turns what is observed in a run into a trace.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use raft_core::effect::{LogChange, Write};
use raft_core::status::Status;
use raft_core::types::{EntryId, NodeId};

use super::format::{Event, Message, Position, Standing, Trace, What};
use super::log::{self, Log};
use super::state::{GroupState, NodeState};
use super::summary;
use crate::clock::Instant;
use crate::disk::LogImage;
use crate::node::Nodes;
use crate::observation::Observation;
use crate::plan::Plan;
use crate::violation::Violation;

/// Records one run. It changes nothing in it.
///
/// Invariants:
/// - `start` with all `events` is `now`;
/// - no event is older than the window, counted from the newest one.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// How much of the end of the run is kept; all of it if none.
    window: Option<Duration>,
    start: GroupState,
    now: GroupState,
    events: VecDeque<Event>,
    /// When the first event that is kept may have happened.
    from: Instant,
    /// The messages that were sent before the first event that is kept.
    earlier: BTreeMap<u64, Message>,
    /// What every entry is that was ever written.
    kinds: BTreeMap<EntryId, char>,
}

impl Recorder {
    pub(crate) fn new(window: Option<Duration>) -> Recorder {
        Recorder {
            window,
            start: GroupState::default(),
            now: GroupState::default(),
            events: VecDeque::new(),
            from: Instant::ZERO,
            earlier: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }
    }

    /// The run is over.
    pub(crate) fn finish(self, plan: &Plan, now: Instant, violation: Option<Violation>) -> Trace {
        let Recorder {
            mut start,
            events,
            earlier,
            from,
            ..
        } = self;
        for event in &events {
            // A message that was doubled is no longer under way, but arrives once more.
            if let What::Received { message } | What::Lost { message } = &event.what
                && let Some(sent) = earlier.get(message)
            {
                start.messages.insert(*message, sent.clone());
            }
        }
        let mut trace = Trace::new(plan, start, from.0, events.into());
        trace.to_nanos = trace.to_nanos.max(now.0);
        trace.violation = violation;
        trace
    }

    /// A message leaves and has this number from now on.
    pub(crate) fn sent(&mut self, now: Instant, number: u64, message: &raft_core::message::Message) {
        let (body, text) = summary::message(message);
        let sent = Message {
            number,
            from: message.from.0,
            to: message.to.0,
            term: message.term.0,
            body: body.to_owned(),
            text,
        };
        self.add(now, message.from.0, What::Sent(sent));
    }

    /// A message with this number reaches its receiver.
    pub(crate) fn received(&mut self, now: Instant, to: NodeId, message: u64) {
        self.add(now, to.0, What::Received { message });
    }

    /// A message with this number is lost.
    pub(crate) fn lost(&mut self, now: Instant, to: NodeId, message: u64) {
        self.add(now, to.0, What::Lost { message });
    }

    fn add(&mut self, now: Instant, node: u64, what: What) {
        let event = Event {
            at: now.0,
            node,
            what,
        };
        self.now.apply(&event);
        self.events.push_back(event);
        let Some(window) = self.window else { return };
        let from = now.0.saturating_sub(window.as_nanos() as u64);
        while let Some(old) = self.events.pop_front_if(|event| event.at < from) {
            self.start.apply(&old);
            if let What::Sent(message) = old.what {
                self.earlier.insert(message.number, message);
            }
            self.from = Instant(from);
        }
    }

    /// Something happened.
    pub(crate) fn observe(&mut self, now: Instant, nodes: &Nodes, seen: &Observation<'_>) {
        let told = self.of_machine(nodes, seen);
        let told = told.or_else(|| self.of_replica(seen));
        if let Some((node, what)) = told.or_else(|| of_plan(now, seen)).or_else(|| plain(seen)) {
            self.add(now, node.0, what);
        }
    }

    /// What a machine does: its process and its disk.
    fn of_machine(&self, nodes: &Nodes, seen: &Observation<'_>) -> Option<(NodeId, What)> {
        let at_disk = |node: NodeId| nodes.get(node).durable();
        Some(match *seen {
            Observation::Started {
                node, is_suspicious, ..
            } => {
                let image = &nodes.get(node).issued;
                let what = What::Started {
                    log: self.log(image),
                    snapshot: image.snapshot.last.into(),
                    suspicious: is_suspicious,
                    standing: nodes.get(node).status().map(standing).unwrap_or_default(),
                };
                (node, what)
            }
            Observation::Stopped { node } => {
                let image = at_disk(node);
                let snapshot = image.snapshot.last.into();
                let log = self.log(image);
                (node, What::Stopped { log, snapshot })
            }
            Observation::Damaged { node, what } => {
                let image = at_disk(node);
                let what = What::Damaged {
                    text: what.to_owned(),
                    log: self.log(image),
                    snapshot: image.snapshot.last.into(),
                };
                (node, what)
            }
            Observation::WriteDurable { node, .. } => {
                let image = at_disk(node);
                let what = What::Durable {
                    last: image.last().into(),
                    term: image.hard_state.term.0,
                    vote: image.hard_state.vote.map_or(0, |vote| vote.0),
                };
                (node, what)
            }
            _ => return None,
        })
    }

    /// What a replica does, and says of itself; none if that is nothing new.
    fn of_replica(&mut self, seen: &Observation<'_>) -> Option<(NodeId, What)> {
        match *seen {
            Observation::WriteBegun { node, write, .. } => Some((node, self.written(write)?)),
            Observation::RoleChanged { node, change } => {
                let standing = Standing {
                    role: Some(change.to.to_string()),
                    term: Some(change.term.0),
                    leader: Some(change.leader.map_or(0, |leader| leader.0)),
                    ..Standing::default()
                };
                let standing = standing.since(self.standing_of(node));
                let reason = change.reason.to_string();
                Some((node, What::Role { reason, standing }))
            }
            Observation::Stepped { after, .. } => self.status(after.id, standing(after)),
            Observation::MembershipChanged { node, membership } => {
                let members = Some(membership.to_string());
                let standing = Standing {
                    members,
                    ..Standing::default()
                };
                self.status(node, standing)
            }
            _ => None,
        }
    }

    /// What is new in what a replica says of itself.
    fn status(&mut self, node: NodeId, standing: Standing) -> Option<(NodeId, What)> {
        let standing = standing.since(self.standing_of(node));
        (standing != Standing::default()).then_some((node, What::Status { standing }))
    }

    fn standing_of(&mut self, node: NodeId) -> &Standing {
        let state: &NodeState = self.now.nodes.entry(node.0).or_default();
        &state.standing
    }

    fn log(&self, image: &LogImage) -> Log {
        let kind = |id: &EntryId| self.kinds.get(id).copied().unwrap_or('?');
        Log {
            purged: image.purged.into(),
            runs: log::runs(image.ids.iter().map(|id| (*id, kind(id)))),
        }
    }

    /// How a write changes the log; none if it does not.
    fn written(&mut self, write: &Write) -> Option<What> {
        let entries = write.log.entries();
        for entry in entries {
            self.kinds.insert(entry.id, log::kind(entry));
        }
        let reset = matches!(write.log, LogChange::Reset(_));
        let snapshot = write.snapshot.as_ref().map(|meta| Position::from(meta.last));
        let is_seen = reset || snapshot.is_some() || !entries.is_empty();
        is_seen.then(|| What::Written {
            reset,
            snapshot,
            entries: log::runs(entries.iter().map(|entry| (entry.id, log::kind(entry)))),
        })
    }
}

/// What needs nothing but the observation; none if a trace says it in another way.
fn plain(seen: &Observation<'_>) -> Option<(NodeId, What)> {
    let nobody = NodeId(0);
    Some(match seen {
        Observation::SnapshotSent { header } => {
            let (to, last) = (header.to.0, header.meta.last.into());
            (header.from, What::SnapshotSent { to, last })
        }
        Observation::Suspected { node, reason } => {
            let reason = reason.to_string();
            (*node, What::Suspected { reason })
        }
        Observation::TrustRestored { node } => (*node, What::Trusted),
        Observation::StateReached {
            node,
            last,
            state_hash,
            ..
        } => {
            let state = state_hash.map_or_else(String::new, |hash| format!("{hash:016x}"));
            let last = (*last).into();
            (*node, What::Applied { last, state })
        }
        Observation::SnapshotCreated { node, meta, .. } => {
            let last = meta.last.into();
            (*node, What::SnapshotCreated { last })
        }
        Observation::SnapshotRestored { node, meta, .. } => {
            let last = meta.last.into();
            (*node, What::SnapshotRestored { last })
        }
        Observation::Compacted { node, through } => {
            let through = (*through).into();
            (*node, What::Compacted { through })
        }
        Observation::Called { call, request } => {
            let text = summary::request(request);
            (nobody, What::Called { call: call.0, text })
        }
        Observation::Attempted { call, node, .. } => (*node, What::Attempted { call: call.0 }),
        Observation::ReadServed { call, node, index } => {
            let (call, index) = (call.0, index.0);
            (*node, What::ReadServed { call, index })
        }
        Observation::Returned { call, ending } => {
            let text = summary::ending(ending);
            (nobody, What::Returned { call: call.0, text })
        }
        Observation::ChangeCompleted {
            node,
            index,
            membership,
        } => {
            let (index, members) = (index.0, membership.to_string());
            (*node, What::ChangeCompleted { index, members })
        }
        Observation::TransferDone { leader, term } => (*leader, What::TransferDone { term: term.0 }),
        _ => return None,
    })
}

/// What goes wrong.
fn of_plan(now: Instant, seen: &Observation<'_>) -> Option<(NodeId, What)> {
    let what = match *seen {
        Observation::FaultBegun { number, fault, nodes } => What::FaultBegun {
            number,
            fault: fault.kind().name().to_owned(),
            text: summary::fault(fault),
            nodes: nodes.iter().map(|node| node.0).collect(),
            until: summary::lasts_ms(fault).map_or(0, |ms| (now + Duration::from_millis(ms)).0),
        },
        Observation::FaultEnded { number, was_void } => What::FaultEnded {
            number,
            void: was_void,
        },
        Observation::PhaseBegun { phase } => What::Phase {
            phase: summary::phase(phase).to_owned(),
        },
        _ => return None,
    };
    Some((NodeId(0), what))
}

/// All that a replica says of itself.
pub(super) fn standing(status: &Status) -> Standing {
    let number = |node: Option<NodeId>| Some(node.map_or(0, |node| node.0));
    Standing {
        role: Some(status.role.to_string()),
        term: Some(status.term.0),
        vote: number(status.vote),
        leader: number(status.leader),
        commit: Some(status.commit_index.0),
        applied: Some(status.applied_index.0),
        durable: Some(status.durable_index.0),
        suspect: Some(status.suspect),
        members: Some(status.membership.to_string()),
    }
}
