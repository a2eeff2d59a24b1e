//! A recording of a replica becomes a trace.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use raft_core::config::Config;
use raft_core::effect::Effect;
use raft_core::input::{Input, Proposal};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::raft::Raft;
use raft_core::record::{Record, Recorder, RecorderOptions, Records, StepObserver, Tap, WallTime};
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, NodeId, Ticket, Time};
use raft_sim::trace::{GroupState, Position, Trace, What, of_recording};

#[derive(Clone, Debug, Default)]
struct Taken(Arc<Mutex<Vec<u8>>>);

impl Tap for Taken {
    fn push(&mut self, records: &[u8], _begins_segment: bool) -> bool {
        self.0.lock().unwrap().extend_from_slice(records);
        true
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// A group of one that elects itself and commits two commands.
fn records() -> Vec<Record> {
    let config = Config::new(GroupId(1), NodeId(1));
    let recovered = Recovered {
        snapshot: SnapshotMeta {
            last: EntryId::ZERO,
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
        },
        ..Recovered::default()
    };
    let options = RecorderOptions::new(0, || WallTime(1_000_000));
    let mut recorder = Recorder::new(options, &config, &recovered, EntryId::ZERO, Time::ZERO);
    let taken = Taken::default();
    recorder.set_tap(Box::new(taken.clone()));
    let mut raft = Raft::new(config, recovered, EntryId::ZERO, Time::ZERO).unwrap();
    let proposal = |ticket| {
        Input::Propose(vec![Proposal {
            ticket: Ticket(ticket),
            command: bytes::Bytes::from_static(b"command").into(),
        }])
    };
    let mut waiting = vec![proposal(2), proposal(1), Input::Campaign];
    let (mut inputs, mut now) = (vec![Input::Tick], Time::ZERO);
    while !inputs.is_empty() {
        let mut effects = Vec::new();
        now = Time::from_nanos(now.as_nanos() + 1_000);
        recorder.step(&raft, now, &inputs);
        raft.step_all(now, inputs.drain(..), &mut effects);
        for effect in effects {
            match effect {
                Effect::Persist(write) => {
                    inputs.push(Input::Persisted(write.seq));
                    inputs.extend(write.then.into_iter().map(Input::Receive));
                }
                Effect::Apply(entries) => {
                    inputs.extend(entries.last().map(|last| Input::Applied(last.index())));
                }
                _ => {}
            }
        }
        if inputs.is_empty() {
            inputs.extend(waiting.pop());
        }
    }
    recorder.finish(&raft);
    let bytes = recorder.header().before(&taken.0.lock().unwrap());
    Records::new(bytes.into()).unwrap().map(Result::unwrap).collect()
}

fn end(trace: &Trace) -> GroupState {
    let mut state = trace.start.clone();
    trace.events.iter().for_each(|event| state.apply(event));
    state
}

/// What the replica did is in the trace, and a trace of the last part ends in the same state.
#[test]
fn a_recording_becomes_a_trace() {
    let records = records();
    let trace = of_recording(records.iter().cloned(), 0).unwrap();
    let state = end(&trace);
    let node = &state.nodes[&1];
    assert_eq!(node.standing.role.as_deref(), Some("leader"));
    assert_eq!((node.standing.commit, node.disk), (Some(3), Position(3, 1)));
    assert_eq!(node.log.runs.len(), 1);
    assert_eq!(node.log.runs[0].kinds, "ncc");
    let elected = trace.events.iter().any(|event| matches!(&event.what, What::Role { standing, .. } if standing.role.as_deref() == Some("leader")));
    assert!(elected && trace.events.is_sorted_by_key(|event| event.at));
    let last_part = of_recording(records, 5).unwrap();
    assert!(last_part.events.len() < trace.events.len() && last_part.from_nanos > trace.from_nanos);
    assert_eq!(end(&last_part), state);
}
