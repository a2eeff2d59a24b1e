//! What a replica was given and what it did, to do it again.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::Effect;
use raft_core::input::Input;
use raft_core::raft::Raft;
use raft_core::record::{
    Header, Record, Recorder, RecorderOptions, Records, Replay, Replayed, StepObserver, Tap, WallTime,
    state_hash,
};
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, Time};

/// So that states are told all the time.
const SEGMENT_BYTES: usize = 1_000;

/// Segments, one by one.
#[derive(Clone, Debug, Default)]
struct Segments(Arc<Mutex<Vec<Vec<u8>>>>);

impl Tap for Segments {
    fn push(&mut self, records: &[u8], begins_segment: bool) -> bool {
        let mut segments = self.0.lock().expect("nobody panics with it");
        if begins_segment {
            segments.push(Vec::new());
        }
        let last = segments.last_mut().expect("a segment was begun");
        last.extend_from_slice(records);
        true
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// One life of a replica.
pub(crate) struct Recording {
    recorder: Recorder,
    segments: Segments,
    /// Of each step.
    effects: Vec<Vec<Effect>>,
}

impl Recording {
    pub(crate) fn new(config: &Config, recovered: &Recovered, applied: EntryId, at: Time) -> Recording {
        let segments = Segments::default();
        let options = RecorderOptions {
            segment_bytes: SEGMENT_BYTES,
            payloads: true,
            ..RecorderOptions::new(0, || WallTime(0))
        };
        let mut recorder = Recorder::new(options, config, recovered, applied, at);
        recorder.set_tap(Box::new(segments.clone()));
        Recording {
            recorder,
            segments,
            effects: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, raft: &Raft, now: Time, input: &Input) {
        self.recorder.step(raft, now, std::slice::from_ref(input));
    }

    pub(crate) fn stepped(&mut self, effects: &[Effect]) {
        self.effects.push(effects.to_vec());
    }

    /// Does everything again, from the start and from every state that was told: the effects of every step are the same, and so is
    /// the state at the end. Returns how many steps there were, and how many states.
    pub(crate) fn check(mut self, raft: &Raft) -> (u64, u64) {
        self.recorder.finish(raft);
        let segments = std::mem::take(&mut *self.segments.0.lock().expect("nobody panics with it"));
        let whole = segments.concat();
        self.replay(&whole, raft);
        for segment in &segments {
            self.replay(segment, raft);
        }
        (self.effects.len() as u64, segments.len() as u64)
    }

    fn replay(&self, records: &[u8], raft: &Raft) {
        let mut replay = Replay::default();
        let mut ended = false;
        for record in self.records(records) {
            let mut effects = Vec::new();
            match replay.take(record, &mut effects).expect("it does the same again") {
                Replayed::Stepped { step } => {
                    assert_eq!(effects, self.effects[step as usize - 1], "step {step}")
                }
                Replayed::Ended { hash } => {
                    assert_eq!(hash, state_hash(raft));
                    ended = true;
                }
                Replayed::Resumed { missing } => assert_eq!(missing, None),
                _ => {}
            }
        }
        assert!(!ended || replay.steps() == self.effects.len() as u64);
    }

    /// The records of one part of the recording: of a whole one with the header in front.
    fn records(&self, part: &[u8]) -> impl Iterator<Item = Record> {
        let header: &Header = self.recorder.header();
        let records = Records::new(Bytes::from(header.before(part))).expect("it is a recording");
        records.map(|record| record.expect("nothing is damaged"))
    }
}
