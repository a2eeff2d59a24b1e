//! Recordings that were cut off, damaged, interrupted, or are none.

use raft_core::record::{Record, RecordError, Records, Replay, ReplayError, Replayed, state_hash};

use super::*;

/// Some hundred steps in several segments.
fn recording() -> Recorded {
    let mut recorded = Recorded::new(small_segments());
    recorded.settle(Input::Campaign);
    for ticket in 0..20 {
        recorded.command(ticket, b"a command of some length");
    }
    recorded
}

/// The replay of all that can be read, how many records that were, and how it ended.
fn replay(bytes: Bytes) -> (Replay, usize, Result<usize, RecordError>) {
    let mut replay = Replay::default();
    let mut records = match Records::new(bytes) {
        Ok(records) => records,
        Err(error) => return (replay, 0, Err(error)),
    };
    let mut count = 0;
    for record in records.by_ref() {
        match record {
            Ok(record) => replay.take(record, &mut Vec::new()).unwrap(),
            Err(error) => return (replay, count, Err(error)),
        };
        count += 1;
    }
    (replay, count, Ok(records.torn_bytes()))
}

/// S13: the inputs alone lead to the same state.
#[test]
fn a_replay_ends_in_the_same_state() {
    let mut recorded = recording();
    recorded.recorder.finish(&recorded.raft);
    let (replay, records, torn) = replay(recorded.bytes());
    assert!(records > 60 && torn == Ok(0));
    assert_eq!(replay.hash(), Some(state_hash(&recorded.raft)));
    assert_eq!(replay.verified(), Some(replay.steps()));
    assert_eq!(replay.raft().map(Raft::status), Some(recorded.raft.status()));
}

/// R77: a recording that ends anywhere is read up to its last whole record, and says how much is no record.
#[test]
fn a_torn_end_is_cut_off_and_said() {
    let bytes = recording().bytes();
    let all = replay(bytes.clone()).1;
    let mut boundaries = 0;
    for length in 0..bytes.len() {
        let (_, records, torn) = replay(bytes.slice(..length));
        let torn = torn.expect("a torn end is no error");
        assert!(records < all && torn <= length);
        boundaries += usize::from(torn == 0);
        let mut zeros = bytes[..length].to_vec();
        zeros.resize(length + 40, 0);
        if torn == 0 && length > 8 {
            assert_eq!(replay(zeros.into()).2, Ok(40), "zeros behind byte {length}");
        }
    }
    assert!(boundaries >= all);
}

/// R77: one bit that is another is a typed error, wherever it is, and is neither overlooked nor taken for a torn end.
#[test]
fn a_flipped_bit_is_an_error_wherever_it_is() {
    let bytes = recording().bytes();
    for byte in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[byte] ^= 1 << (byte % 8);
        let (_, _, end) = replay(damaged.into());
        let error = end.expect_err("damage is an error");
        if byte < 8 {
            assert_eq!(error, RecordError::NotARecording);
        } else {
            assert!(
                matches!(error, RecordError::Checksum { at, .. } if at <= byte),
                "{byte}: {error}"
            );
        }
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    for bytes in [b"{\"format\":1}".as_slice(), b"RAFTRED\n", b"x"] {
        assert_eq!(
            Records::new(Bytes::copy_from_slice(bytes)).unwrap_err(),
            RecordError::NotARecording
        );
    }
    assert_eq!(replay(Bytes::new()).2, Ok(0));
}

/// Another version is named, with who made it.
#[test]
fn another_version_is_refused_by_name() {
    let header = Header {
        version: 99,
        made_by: "9.9.9".to_owned(),
        ..recording().header()
    };
    let error = Records::new(header.before(&[]).into()).unwrap_err();
    let made_by = "9.9.9".to_owned();
    assert_eq!(error, RecordError::Version { found: 99, made_by });
}

/// A replica that does something else is noticed, with the steps between which it was.
#[test]
fn a_replay_that_diverges_names_the_step() {
    let records: Vec<Record> = Records::new(recording().bytes())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut replay = Replay::default();
    let mut steps = 0;
    let diverged = records.into_iter().find_map(|mut record| {
        if let Record::Step { inputs, .. } = &mut record {
            steps += 1;
            if steps == 10 {
                inputs.push(Input::Campaign);
                inputs.push(Input::Read(vec![Ticket(1)]));
            }
        }
        replay.take(record, &mut Vec::new()).err()
    });
    let Some(ReplayError::Diverged {
        step, equal_until, ..
    }) = diverged
    else {
        panic!("{diverged:?}");
    };
    assert!(
        equal_until < 10 && (10..=74).contains(&step),
        "{equal_until} {step}"
    );
}

/// Whoever has no room gets nothing, and then a new segment: the numbers of the steps tell what is missing.
#[test]
fn a_gap_is_marked_and_ends_with_a_state() {
    let mut recorded = recording();
    recorded.tap.0.lock().unwrap().1 = true;
    for ticket in 100..110 {
        recorded.command(ticket, b"nobody has room for this");
    }
    recorded.tap.0.lock().unwrap().1 = false;
    for ticket in 200..210 {
        recorded.command(ticket, b"and then there is room");
    }
    let mut replay = Replay::default();
    let mut gaps = Vec::new();
    for record in Records::new(recorded.bytes()).unwrap() {
        if let Replayed::Resumed { missing } = replay.take(record.unwrap(), &mut Vec::new()).unwrap() {
            gaps.push(missing);
        }
    }
    assert!(
        matches!(gaps.as_slice(), [Some(missing)] if *missing >= 10),
        "{gaps:?}"
    );
    assert_eq!(replay.hash(), Some(state_hash(&recorded.raft)));
}

/// The memory has the newest steps, in no more bytes than it may, and a tap that comes later begins with them.
#[test]
fn the_memory_holds_the_newest_steps() {
    const RING_BYTES: usize = 16 * 1_024;
    let options = RecorderOptions {
        ring_bytes: RING_BYTES,
        ..small_segments()
    };
    let mut recorded = Recorded::new(options);
    recorded.recorder.take_tap();
    recorded.settle(Input::Campaign);
    for ticket in 0..200 {
        recorded.command(ticket, b"a command");
    }
    let bytes = recorded.recorder.recording().unwrap();
    assert!(
        (RING_BYTES / 4..=RING_BYTES + 100).contains(&bytes.len()),
        "{}",
        bytes.len()
    );
    let (replay_of_ring, _, torn) = replay(bytes.clone().into());
    assert_eq!(
        (replay_of_ring.hash(), torn),
        (Some(state_hash(&recorded.raft)), Ok(0))
    );
    let tap = Everything::default();
    recorded.recorder.set_tap(Box::new(tap.clone()));
    assert_eq!(recorded.header().before(&tap.0.lock().unwrap().0), bytes);
    recorded.command(1_000, b"one more");
    let bytes = recorded.header().before(&tap.0.lock().unwrap().0);
    assert_eq!(replay(bytes.into()).0.hash(), Some(state_hash(&recorded.raft)));
}
