//! Recordings: what is put into them comes back, whatever was done to the bytes.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod damage;
mod export;
mod inputs;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::Effect;
use raft_core::input::{Input, Proposal};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::raft::Raft;
use raft_core::record::{Header, Recorder, RecorderOptions, StepObserver, Tap, WallTime};
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, Index, NodeId, Ticket, Time};

/// Takes everything, unless it is full.
#[derive(Clone, Debug, Default)]
struct Everything(Arc<Mutex<(Vec<u8>, bool)>>);

impl Tap for Everything {
    fn push(&mut self, records: &[u8], _begins_segment: bool) -> bool {
        let mut taken = self.0.lock().unwrap();
        if !taken.1 {
            taken.0.extend_from_slice(records);
        }
        !taken.1
    }

    fn has_room(&self) -> bool {
        !self.0.lock().unwrap().1
    }
}

/// A group of one replica that is recorded.
struct Recorded {
    raft: Raft,
    recorder: Recorder,
    tap: Everything,
    now: Time,
    steps: u64,
    effects: Vec<Effect>,
}

impl Recorded {
    fn new(options: RecorderOptions) -> Recorded {
        let config = Config::new(GroupId(7), NodeId(1));
        let membership = Membership::of_voters([NodeId(1)]).unwrap();
        let snapshot = SnapshotMeta {
            last: EntryId::ZERO,
            membership,
        };
        let recovered = Recovered {
            snapshot,
            ..Recovered::default()
        };
        let mut recorder = Recorder::new(options, &config, &recovered, EntryId::ZERO, Time::ZERO);
        let tap = Everything::default();
        recorder.set_tap(Box::new(tap.clone()));
        Recorded {
            raft: Raft::new(config, recovered, EntryId::ZERO, Time::ZERO).unwrap(),
            recorder,
            tap,
            now: Time::ZERO,
            steps: 0,
            effects: Vec::new(),
        }
    }

    /// One step a millisecond later.
    fn step(&mut self, inputs: Vec<Input>) {
        self.now = Time::from_nanos(self.now.as_nanos() + 1_000_000);
        self.recorder.step(&self.raft, self.now, &inputs);
        self.effects.clear();
        self.steps += 1;
        self.raft.step_all(self.now, inputs, &mut self.effects);
    }

    /// Steps until everything that follows from it is done.
    fn settle(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            self.step(std::mem::take(&mut inputs));
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Persist(write) => {
                        inputs.push(Input::Persisted(write.seq));
                        inputs.extend(write.then.into_iter().map(Input::Receive));
                    }
                    Effect::Apply(entries) => {
                        let last = entries.last().map_or(Index::ZERO, |entry| entry.id.index);
                        inputs.push(Input::Applied(last));
                    }
                    _ => {}
                }
            }
        }
    }

    fn command(&mut self, ticket: u64, command: &'static [u8]) {
        let proposal = Proposal {
            ticket: Ticket(ticket),
            command: Bytes::from_static(command).into(),
        };
        self.settle(Input::Propose(vec![proposal]));
    }

    fn header(&self) -> Header {
        self.recorder.header().clone()
    }

    /// What was taken so far, as a recording.
    fn bytes(&self) -> Bytes {
        let taken = &self.tap.0.lock().unwrap().0;
        self.header().before(taken).into()
    }
}

/// Segments of one KiB, whole payloads.
fn small_segments() -> RecorderOptions {
    RecorderOptions {
        segment_bytes: 1_024,
        payloads: true,
        ..RecorderOptions::new(0, || WallTime(1_000_000_000_000))
    }
}
