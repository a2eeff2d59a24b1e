//! The file of times, torn and damaged.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft_core::types::Index;

use crate::archive::moments::{Moment, Moments, NotKnown, RECORD_BYTES};
use crate::archive::times::{self, Times};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn moment(seconds: u64, index: u64) -> Moment {
    Moment {
        unix_ms: seconds * 1_000,
        applied: Index(index),
    }
}

fn bytes(moments: &[Moment]) -> Vec<u8> {
    moments.iter().flat_map(|moment| moment.encode()).collect()
}

/// R77: the clock may step back and the power may go: what was noted before is found all the same, and nothing is called damaged.
#[test]
fn times_are_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("TIMES");
    let mut times = Times::open(&path).unwrap();
    times.note(at(100), Index(5)).unwrap();
    times.note(at(101), Index(5)).unwrap();
    times.note(at(102), Index(9)).unwrap();
    times.note(at(50), Index(12)).unwrap();
    drop(times);
    let expected = [moment(100, 5), moment(102, 9), moment(102, 12)];
    assert_eq!(times::read(&path).unwrap().list, expected);
    let contents = fs::read(&path).unwrap();
    for end in 0..contents.len() {
        let whole = end / RECORD_BYTES;
        // A file system may have the length and not the bytes.
        for torn in [
            contents[..end].to_vec(),
            [&contents[..whole * RECORD_BYTES], &[0; RECORD_BYTES]].concat(),
        ] {
            fs::write(&path, torn).unwrap();
            let mut times = Times::open(&path).unwrap();
            times.note(at(200), Index(20)).unwrap();
            drop(times);
            let found = times::read(&path).unwrap();
            assert_eq!(found.damages, []);
            let (last, before) = found.list.split_last().unwrap();
            assert_eq!(*last, moment(200, 20));
            assert_eq!(before, &expected[..whole]);
        }
    }
}

/// What was applied when is what the last record at or before that time says.
#[test]
fn a_time_is_found_between_records() {
    let moments = Moments::decode(&bytes(&[moment(100, 5), moment(102, 9), moment(102, 12)]));
    assert_eq!(moments.find(99_999), Ok(None));
    assert_eq!(moments.find(101_999), Ok(Some(moment(100, 5))));
    assert_eq!(moments.find(102_000), Ok(Some(moment(102, 12))));
    assert_eq!(moments.find(u64::MAX), Ok(Some(moment(102, 12))));
    assert_eq!(moments.applied(Index(6)), Some(moment(102, 9)));
    assert_eq!(moments.applied(Index(13)), None);
}

/// R77: a bit that flips anywhere in the file is noticed; the time around it is not known, every other one is, and nothing of the file is
/// lost by opening it.
#[test]
fn a_damaged_record_hides_its_time_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("TIMES");
    let written: Vec<Moment> = (1..=6).map(|step| moment(step * 10, step * 100)).collect();
    let whole = bytes(&written);
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << bit;
            let number = place / RECORD_BYTES;
            fs::write(&path, &damaged).unwrap();
            let mut times = Times::open(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), damaged);
            times.note(at(70), Index(700)).unwrap();
            let moments = times::read(&path).unwrap();
            for (step, known) in written.iter().enumerate() {
                let found = moments.find(known.unix_ms + 1);
                // The one before could have lasted until any time before the next one.
                if step == number || step + 1 == number {
                    let error = found.unwrap_err();
                    assert_eq!(error.at, number * RECORD_BYTES);
                    assert_eq!(error.before, number.checked_sub(1).map(|before| written[before]));
                } else {
                    assert_eq!(found, Ok(Some(*known)), "byte {place}, step {step}");
                }
            }
            assert_eq!(moments.find(70_000), Ok(Some(moment(70, 700))));
        }
    }
}

/// R77: a crash leaves one record that is nothing, and never two: they are damage, and stay damage however often the file is opened.
#[test]
fn two_records_of_nothing_are_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("TIMES");
    let contents = [&bytes(&[moment(10, 100)])[..], &[0; 2 * RECORD_BYTES]].concat();
    fs::write(&path, &contents).unwrap();
    for _ in 0..3 {
        drop(Times::open(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), contents);
        assert!(times::read(&path).unwrap().find(11_000).is_err());
    }
}

/// Records of another file, or the same one twice, are damage: times and indexes only rise.
#[test]
fn records_out_of_order_are_damage() {
    let moments = Moments::decode(&bytes(&[
        moment(10, 100),
        moment(20, 200),
        moment(10, 100),
        moment(30, 300),
    ]));
    assert_eq!(moments.list, [moment(10, 100), moment(20, 200), moment(30, 300)]);
    let not_known = NotKnown {
        at: 2 * RECORD_BYTES,
        before: Some(moment(20, 200)),
        after: Some(moment(30, 300)),
    };
    assert_eq!(moments.find(25_000), Err(not_known));
    assert_eq!(moments.find(20_000), Ok(Some(moment(20, 200))));
}

/// A file that is thinned out keeps its newer half, every second record of its older one, and what says that something is not known: a
/// record that is damaged, or that is out of order, and those beside it.
#[test]
fn a_thinned_file_still_hides_what_is_not_known() {
    let written: Vec<Moment> = (1..=12).map(|step| moment(step * 10, step * 100)).collect();
    let mut contents = bytes(&written);
    contents[2 * RECORD_BYTES] ^= 1;
    let thinned = Moments::decode(&Moments::decode(&contents).thinned(&contents));
    let expected = [0, 1, 3, 4, 6, 7, 8, 9, 10, 11].map(|number| written[number]);
    assert_eq!(thinned.list, expected);
    assert_eq!(thinned.damages.len(), 1);
    assert!(thinned.find(25_000).is_err());
    assert_eq!(thinned.find(45_000), Ok(Some(written[3])));

    let mut disordered = written;
    disordered[3] = disordered[0];
    let contents = bytes(&disordered);
    let before = Moments::decode(&contents);
    let thinned = Moments::decode(&before.thinned(&contents));
    assert_eq!(thinned.damages.len(), 1);
    assert_eq!(thinned.find(45_000).is_err(), before.find(45_000).is_err());
    assert!(thinned.find(35_000).is_err());
}
