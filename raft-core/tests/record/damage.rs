//! Recordings that were cut off, damaged, interrupted, or are none.

use raft_core::record::{Record, RecordError, Records, Replay, ReplayError, Replayed, state_hash};

use std::io::{self, Read};

use bytes::Buf;

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

/// A body in its frame, with checksums that match: nobody but a program makes such a thing.
fn framed(length: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(crc32c::crc32c(body).to_le_bytes());
    frame.extend(crc32c::crc32c(&frame).to_le_bytes());
    frame.extend(body);
    frame
}

/// R77: a length that no record has is an error, even with the right checksum, and is not allocated; a plausible one is a torn end.
#[test]
fn no_memory_is_taken_on_the_word_of_a_length() {
    let header = recording().header();
    let huge = header.before(&framed(u32::MAX, b"little"));
    let at = huge.len() - 18;
    let bytes = u32::MAX as usize;
    assert_eq!(replay(huge.into()).2, Err(RecordError::TooLarge { at, bytes }));
    let torn = header.before(&framed(1 << 29, b"little"));
    assert_eq!(replay(torn.into()).2, Ok(18));
}

/// Numbers that no replica reaches are typed errors, and times that no clock shows are unknown.
#[test]
fn absurd_numbers_are_refused() {
    let recorded = recording();
    let absurd = |record: Record| match record {
        Record::Checkpoint { raft, at, wall, .. } => Record::Checkpoint {
            steps: u64::MAX,
            at,
            wall,
            raft,
        },
        other => other,
    };
    let records = Records::new(recorded.bytes()).unwrap().map(Result::unwrap);
    let mut replay = Replay::default();
    let end = records
        .map(absurd)
        .find_map(|record| replay.take(record, &mut Vec::new()).err());
    assert_eq!(end, Some(ReplayError::TooManySteps));
    assert!(replay.wall(Time::ZERO).is_some());
    assert_eq!(replay.wall(Time::from_nanos(u64::MAX)), None);
}

/// Gives one byte at a time, and then fails.
struct Dripping(Bytes);

impl Read for Dripping {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::other("the disk is gone"));
        }
        out[0] = self.0.get_u8();
        Ok(1)
    }
}

/// A recording is read record by record, however its bytes come, and a source that fails is told with the place.
#[test]
fn a_source_may_be_slow_and_fail() {
    let bytes = recording().bytes();
    let whole = Records::new(bytes.clone()).unwrap().count();
    let mut records = Records::from_reader(Dripping(bytes.clone())).unwrap();
    assert_eq!(records.header(), Some(&recording().header()));
    let read = records.by_ref().take_while(Result::is_ok).count();
    assert_eq!(read, whole);
    let end = Records::from_reader(Dripping(bytes.clone())).unwrap().last();
    let Some(Err(RecordError::Read { at, reason })) = end else {
        panic!("{end:?}");
    };
    assert_eq!((at, reason.as_str()), (bytes.len(), "the disk is gone"));
}

/// A writer that died before it had written the header has not said whose the recording is.
#[test]
fn without_a_header_nobody_recorded() {
    let bytes = recording().bytes();
    for length in 0..20 {
        let mut records = Records::new(bytes.slice(..length)).unwrap();
        assert_eq!(records.header(), None);
        assert!(records.next().is_none());
        assert_eq!(records.torn_bytes(), if length < 8 { length } else { length - 8 });
    }
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
