//! A recording of one real replica as a trace.
//!
//! A recording tells what one replica was given, so the trace is of what that one did and heard. Of the others it shows what their
//! messages said: who leads, in which term. A message takes no time, since nobody recorded when it left, or arrived.

use std::collections::VecDeque;
use std::time::Duration;

use raft_core::config::Config;
use raft_core::effect::{Effect, LogChange, RoleChange, Write};
use raft_core::entry::Entry;
use raft_core::input::Input;
use raft_core::log::TermAt;
use raft_core::message::Message as Said;
use raft_core::raft::Raft;
use raft_core::record::{Record, Replay, ReplayError, Replayed, WallTime};
use raft_core::status::Status;
use raft_core::types::{EntryId, Index, NodeId, Time, WriteSeq};

use super::format::{Event, Message, Position, Standing, Trace, What};
use super::log::{self, Log};
use super::recorder::standing;
use super::state::{GroupState, NodeState};
use super::summary;
use crate::plan::{NetworkFaults, Plan, Settings};

/// So many entries before the beginning are shown.
const ENTRIES_BEFORE: u64 = 1_000;

/// The records of a replica as a trace, from when it has taken `from` of the recorded steps.
pub fn of_recording(records: impl IntoIterator<Item = Record>, from: u64) -> Result<Trace, ReplayError> {
    let mut teller = Teller::default();
    for record in records {
        teller.take(record, from)?;
    }
    Ok(teller.into_trace())
}

/// What was told so far.
#[derive(Default)]
struct Teller {
    replay: Replay,
    taken: u64,
    /// The first time of day, from which on nanoseconds are counted.
    origin: Option<WallTime>,
    at: u64,
    config: Option<Config>,
    start: GroupState,
    now: GroupState,
    events: Vec<Event>,
    from_at: u64,
    messages: u64,
    /// What leaves when a write is durable.
    promised: VecDeque<(WriteSeq, Vec<Said>)>,
}

impl Teller {
    fn into_trace(self) -> Trace {
        let plan = plan(self.config.as_ref(), &self.now);
        Trace::new(&plan, self.start, self.from_at, self.events)
    }

    fn take(&mut self, record: Record, from: u64) -> Result<(), ReplayError> {
        let step = match &record {
            Record::Step { at, inputs } => Some((*at, inputs.clone())),
            _ => None,
        };
        let mut effects = Vec::new();
        let replayed = self.replay.take(record, &mut effects)?;
        if let Some((at, inputs)) = step {
            self.move_to(at);
            self.step(inputs, effects);
            self.taken += 1;
            if self.taken <= from {
                self.start = self.now.clone();
                self.events.clear();
                self.from_at = self.at;
            }
        } else if matches!(replayed, Replayed::Started | Replayed::Resumed { .. }) {
            self.begin();
        }
        Ok(())
    }

    /// Time never goes back, whatever the clock of the day does.
    fn move_to(&mut self, at: Time) {
        let wall = self.replay.wall(at).unwrap_or(WallTime(at.as_nanos()));
        let origin = *self.origin.get_or_insert(wall);
        self.at = self.at.max(wall.0.saturating_sub(origin.0));
    }

    fn add(&mut self, node: NodeId, what: What) {
        let (at, node) = (self.at, node.0);
        let event = Event { at, node, what };
        self.now.apply(&event);
        self.events.push(event);
    }

    /// The replica starts, or is first seen.
    fn begin(&mut self) {
        let Some(raft) = self.replay.raft() else { return };
        let (id, status, log) = (raft.id(), raft.status(), log_of(raft));
        self.config = Some(raft.config().clone());
        self.promised.clear();
        for peer in status.membership.members() {
            if peer != id {
                self.peer(peer);
            }
        }
        let what = What::Started {
            log,
            snapshot: status.snapshot.into(),
            suspicious: status.suspect,
            standing: standing(&status),
        };
        self.add(id, what);
    }

    /// Somebody who is only known from what it says.
    fn peer(&mut self, peer: NodeId) {
        if self.now.nodes.contains_key(&peer.0) {
            return;
        }
        let state = NodeState {
            up: true,
            standing: Standing {
                role: Some("follower".to_owned()),
                term: Some(0),
                ..Standing::default()
            },
            ..NodeState::default()
        };
        self.now.nodes.insert(peer.0, state.clone());
        self.start.nodes.insert(peer.0, state);
    }

    fn step(&mut self, inputs: Vec<Input>, effects: Vec<Effect>) {
        let Some(raft) = self.replay.raft() else { return };
        let (id, status) = (raft.id(), raft.status());
        let term_at = |index: Index| match raft.term_at(index) {
            TermAt::Known(term) => term,
            TermAt::Compacted | TermAt::Beyond => status.term,
        };
        let place = |index: Index| Position::from(EntryId::new(term_at(index), index));
        let durable = place(status.durable_index);
        let told: Vec<Told> = inputs
            .into_iter()
            .filter_map(|input| told(input, &place))
            .collect();
        for told in told {
            match told {
                Told::Heard(message) => self.message(id, &message),
                Told::Persisted(seq) => self.persisted(id, seq, durable, &status),
                Told::Plain(what) => self.add(id, what),
            }
        }
        for effect in effects {
            self.effect(id, effect);
        }
        let known = self.now.nodes.get(&id.0).map(|node| node.standing.clone());
        let changed = standing(&status).since(&known.unwrap_or_default());
        if changed != Standing::default() {
            self.add(id, What::Status { standing: changed });
        }
    }

    fn persisted(&mut self, id: NodeId, seq: WriteSeq, last: Position, status: &Status) {
        let what = What::Durable {
            last,
            term: status.term.0,
            vote: status.vote.map_or(0, |vote| vote.0),
        };
        self.add(id, what);
        while let Some((_, messages)) = self.promised.pop_front_if(|promised| promised.0 <= seq) {
            messages.iter().for_each(|message| self.message(id, message));
        }
    }

    /// Somebody says something to somebody else, who hears it at once.
    fn message(&mut self, own: NodeId, said: &Said) {
        if said.from == said.to {
            return;
        }
        for peer in [said.from, said.to] {
            if peer != own {
                self.peer(peer);
            }
        }
        self.messages += 1;
        let (body, text) = summary::message(said);
        let message = Message {
            number: self.messages,
            from: said.from.0,
            to: said.to.0,
            term: said.term.0,
            body: body.to_owned(),
            text,
        };
        let number = message.number;
        let leads = said.from != own && matches!(body, "append_entries");
        self.add(said.from, What::Sent(message));
        self.add(said.to, What::Received { message: number });
        if said.from != own {
            self.peer_said(said, leads);
        }
    }

    /// What a message tells of its sender.
    fn peer_said(&mut self, said: &Said, leads: bool) {
        let Some(known) = self.now.nodes.get(&said.from.0) else {
            return;
        };
        let is_newer = known.standing.term.is_some_and(|term| said.term.0 > term);
        if !leads && !is_newer {
            return;
        }
        let role = if leads { "leader" } else { "follower" };
        let says = Standing {
            role: Some(role.to_owned()),
            term: Some(said.term.0),
            ..Standing::default()
        };
        let standing = says.since(&known.standing);
        if standing != Standing::default() {
            let reason = format!("as its {} says", if leads { "AppendEntries" } else { "message" });
            self.add(said.from, What::Role { reason, standing });
        }
    }

    fn effect(&mut self, id: NodeId, effect: Effect) {
        let what = match effect {
            Effect::Send(message) => return self.message(id, &message),
            Effect::Persist(write) => return self.write(id, write),
            Effect::RoleChanged(change) => return self.role(id, &change),
            Effect::Suspected(reason) => What::Suspected {
                reason: reason.to_string(),
            },
            Effect::TrustRestored => What::Trusted,
            Effect::Compact(through) => What::Compacted {
                through: through.into(),
            },
            Effect::SendSnapshot { to, meta, .. } => What::SnapshotSent {
                to: to.0,
                last: meta.last.into(),
            },
            _ => return,
        };
        self.add(id, what);
    }

    fn write(&mut self, id: NodeId, write: Write) {
        let entries = write.log.entries();
        let reset = matches!(write.log, LogChange::Reset(_));
        let snapshot = write.snapshot.as_ref().map(|meta| Position::from(meta.last));
        if reset || snapshot.is_some() || !entries.is_empty() {
            let kinds = entries.iter().map(|entry: &Entry| (entry.id, log::kind(entry)));
            let entries = log::runs(kinds);
            self.add(
                id,
                What::Written {
                    reset,
                    snapshot,
                    entries,
                },
            );
        }
        self.promised.push_back((write.seq, write.then));
    }

    fn role(&mut self, id: NodeId, change: &RoleChange) {
        let says = Standing {
            role: Some(change.to.to_string()),
            term: Some(change.term.0),
            leader: Some(change.leader.map_or(0, |leader| leader.0)),
            ..Standing::default()
        };
        let known = self.now.nodes.get(&id.0).map(|node| node.standing.clone());
        let standing = says.since(&known.unwrap_or_default());
        let reason = change.reason.to_string();
        self.add(id, What::Role { reason, standing });
    }
}

/// What an input is in a trace.
enum Told {
    Heard(Said),
    Persisted(WriteSeq),
    Plain(What),
}

fn told(input: Input, place: &impl Fn(Index) -> Position) -> Option<Told> {
    Some(Told::Plain(match input {
        Input::Receive(message) => return Some(Told::Heard(message)),
        Input::Persisted(seq) => return Some(Told::Persisted(seq)),
        Input::Applied(index) => What::Applied {
            last: place(index),
            state: String::new(),
        },
        Input::SnapshotCreated(meta) => What::SnapshotCreated {
            last: meta.last.into(),
        },
        Input::SnapshotRestored(last) => What::SnapshotRestored { last: last.into() },
        _ => return None,
    }))
}

/// The end of the log that a replica begins with.
fn log_of(raft: &Raft) -> Log {
    let status = raft.status();
    let first = status
        .first_index
        .0
        .max((status.appended_index.0 + 1).saturating_sub(ENTRIES_BEFORE));
    let id = |index: u64| match raft.term_at(Index(index)) {
        TermAt::Known(term) => Some(EntryId::new(term, Index(index))),
        TermAt::Compacted | TermAt::Beyond => None,
    };
    let entries = (first..=status.appended_index.0).filter_map(|index| Some((id(index)?, '?')));
    Log {
        purged: id(first.saturating_sub(1)).unwrap_or(EntryId::ZERO).into(),
        runs: log::runs(entries),
    }
}

/// What the page wants to know of a run: nothing in it was planned.
fn plan(config: Option<&Config>, now: &GroupState) -> Plan {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let usual = Config::new(raft_core::types::GroupId(0), NodeId(1));
    let config = config.unwrap_or(&usual);
    Plan {
        seed: config.random_seed,
        groups: 1,
        voters: now.nodes.len() as u64,
        duration_ms: 0,
        settings: Settings {
            election_timeout_ms: millis(config.election_timeout),
            election_timeout_max_ms: config.election_timeout_max.map(millis),
            quiesce_after_ms: config.quiesce_after.map(millis),
            other_groups_sleep: false,
            heartbeat_interval_ms: millis(config.heartbeat_interval),
            leases: config.lease_drift_max.is_some(),
            clock_error_ppm: 0,
            priorities: false,
            snapshot_entries: config.snapshot_entries,
            retained_entries: config.retained_entries,
            append_bytes_max: config.append_bytes_max as u64,
            inflight_messages_max: config.inflight_messages_max as u64,
            tail_bytes_max: config.tail_bytes_max as u64,
            durable_state: true,
            sync_us: 0,
            apply_us: 0,
            clients: 0,
            session_percent: 0,
            think_ms: 0,
        },
        network: NetworkFaults {
            delay_us: 0,
            jitter_us: 0,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder: false,
            ordered_behind_us: None,
            capacity: 0,
            strangers_ppm: 0,
        },
        faults: Vec::new(),
    }
}
