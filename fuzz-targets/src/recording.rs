//! Recordings: files that somebody may have damaged, or sent.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::Effect;
use raft_core::input::{Input, Proposal};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::raft::Raft;
use raft_core::record::{
    Header, Record, Recorder, RecorderOptions, Records, Replay, StepObserver, Tap, WallTime, describe_input,
    state_hash,
};
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, NodeId, Ticket, Time};

/// What stands before a record: its length, its checksum, and the checksum of these two.
const FRAME_BYTES: usize = 12;

/// Reads the bytes as a recording, and as the only record of one. Whatever can be read can be shown.
pub fn recording(data: &[u8]) {
    read(Bytes::copy_from_slice(data));
    let mut frame = Vec::with_capacity(FRAME_BYTES + data.len());
    frame.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    let of_both = crc32c::crc32c(&frame);
    frame.extend_from_slice(&of_both.to_le_bytes());
    frame.extend_from_slice(data);
    read(header().before(&frame).into());
}

fn header() -> Header {
    Header::new(GroupId(1), NodeId(1))
}

fn read(bytes: Bytes) {
    let length = bytes.len();
    let Ok(mut records) = Records::new(bytes) else {
        return;
    };
    let mut is_wrong = false;
    let mut replay = Replay::default();
    for record in records.by_ref() {
        assert!(!is_wrong, "nothing follows an error");
        // Steps and starts may violate an invariant of the protocol, and panic then; nothing else may.
        if let Ok(record @ (Record::Checkpoint { .. } | Record::State { .. } | Record::End { .. })) = &record
        {
            let taken = replay.take(record.clone(), &mut Vec::new());
            assert!(
                taken.is_err() || replay.hash().is_some(),
                "what is taken has a state"
            );
            let times = [Time::ZERO, Time::from_nanos(u64::MAX)].map(|at| replay.wall(at));
            if let [Some(early), Some(late)] = times {
                assert!(early < late, "later is later");
            }
        }
        match record {
            Ok(Record::Step { inputs, .. }) => {
                let shown: usize = inputs.iter().map(|input| describe_input(input).len()).sum();
                assert!(shown >= inputs.len(), "every input is shown");
            }
            Ok(Record::Checkpoint { raft, .. }) => {
                let same = state_hash(&raft) == state_hash(&raft.clone());
                assert!(same, "a state has one hash");
            }
            Ok(_) => {}
            Err(_) => is_wrong = true,
        }
    }
    assert!(records.position() <= length && records.torn_bytes() <= length);
}

#[derive(Clone, Debug, Default)]
struct Taken(Arc<Mutex<Vec<u8>>>);

impl Tap for Taken {
    fn push(&mut self, records: &[u8], _begins_segment: bool) -> bool {
        self.0.lock().is_ok_and(|mut taken| {
            taken.extend_from_slice(records);
            true
        })
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// A recording of a group of one, and each of its records alone.
pub fn seeds() -> Vec<Vec<u8>> {
    let config = Config::new(GroupId(1), NodeId(1));
    let membership = Membership::of_voters([NodeId(1)]).expect("one voter");
    let last = EntryId::ZERO;
    let recovered = Recovered {
        snapshot: SnapshotMeta { last, membership },
        ..Recovered::default()
    };
    let options = RecorderOptions {
        payloads: true,
        ..RecorderOptions::new(0, || WallTime(1))
    };
    let mut recorder = Recorder::new(options, &config, &recovered, last, Time::ZERO);
    let taken = Taken::default();
    recorder.set_tap(Box::new(taken.clone()));
    let mut raft = Raft::new(config, recovered, last, Time::ZERO).expect("an empty store starts");
    let command = Bytes::from_static(b"a command").into();
    let proposal = Proposal {
        ticket: Ticket(1),
        command,
    };
    let mut waiting = vec![Input::Propose(vec![proposal]), Input::Campaign];
    let mut inputs = vec![Input::Tick];
    while !inputs.is_empty() {
        let mut effects = Vec::new();
        recorder.step(&raft, Time::ZERO, &inputs);
        raft.step_all(Time::ZERO, inputs.drain(..), &mut effects);
        for effect in effects {
            match effect {
                Effect::Persist(write) => {
                    inputs.push(Input::Persisted(write.seq));
                    inputs.extend(write.then.into_iter().map(Input::Receive));
                }
                Effect::Apply(entries) => {
                    inputs.extend(entries.last().map(|last| Input::Applied(last.index())))
                }
                _ => {}
            }
        }
        if inputs.is_empty() {
            inputs.extend(waiting.pop());
        }
    }
    recorder.finish(&raft);
    let records = taken.0.lock().map(|taken| taken.clone()).unwrap_or_default();
    let mut seeds = vec![header().before(&records)];
    let mut rest = records.as_slice();
    while let Some((frame, behind)) = rest.split_first_chunk::<FRAME_BYTES>() {
        let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        seeds.push(behind[..length].to_vec());
        rest = &behind[length..];
    }
    seeds
}
