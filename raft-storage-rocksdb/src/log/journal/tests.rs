//! Every row of the table in `recovery`, and what happens at the seams between segments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::files::segments_in;
use super::segment::file_name;
use super::*;
use crate::error::OpenError;
use crate::format::journal::SECTOR_BYTES;
use crate::log::options::OnLoss;

const SEGMENT_BYTES: u64 = 64 << 10;

/// What a recovery handed over.
type Records = BTreeMap<u64, Vec<u8>>;

fn recover(dir: &Path, applied: Option<u64>, on_loss: OnLoss) -> Result<(Findings, Records), OpenError> {
    let mut records = Records::new();
    let mut apply = |sequence, body: &[u8]| {
        assert!(
            records.insert(sequence, body.to_vec()).is_none(),
            "record {sequence} twice"
        );
        Ok(())
    };
    let recovery = Recovery {
        dir,
        openings: &dir.join("openings"),
        segment_bytes: SEGMENT_BYTES,
        on_loss,
        applied,
        apply: &mut apply,
    };
    let findings = recovery.run()?;
    Ok((findings, records))
}

fn open(dir: &Path) -> (Journal, Records) {
    match recover(dir, None, OnLoss::Refuse) {
        Ok((Findings::Sound { journal, .. }, records)) => (journal, records),
        Ok((Findings::Lost { reason, .. }, _)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
}

/// The reason of a refusal.
fn refused(dir: &Path) -> String {
    match recover(dir, None, OnLoss::Refuse) {
        Err(OpenError::JournalLost { reason, .. }) => reason,
        Err(error) => panic!("{error}"),
        Ok((_, records)) => panic!("it opened with records {:?}", records.keys()),
    }
}

fn body(sequence: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (sequence * 31 + at) as u8).collect()
}

/// A journal with records 1 to `count`, each of `sectors` sectors. Its mark stands at 0.
fn journal_with(dir: &Path, count: u64, sectors: usize) -> Journal {
    let (mut journal, _) = open(dir);
    for sequence in 1..=count {
        assert_eq!(journal.next(), sequence);
        journal.append(&body(sequence, 504 * sectors - 36)).unwrap();
    }
    journal
}

fn live(dir: &Path) -> PathBuf {
    dir.join(file_name(*segments_in(dir).unwrap().last().unwrap()))
}

/// Changes the bytes of the live segment.
fn change(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = live(dir);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Where record `sequence` of one sector stands in the first segment, and its twin.
fn places(journal: &Journal, sequence: u64) -> (usize, usize) {
    let head = &journal.segment.head;
    let at = head.records_at() as usize + (sequence as usize - 1) * SECTOR_BYTES;
    (at, head.twin_at(sequence) as usize)
}

#[test]
fn records_come_back_in_order_through_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal_with(dir.path(), 1, 1);
    let mut expected = Records::from([(1, body(1, 468))]);
    for sequence in 2..500 {
        let body = body(sequence, (sequence as usize * 97) % 3000);
        journal.append(&body).unwrap();
        expected.insert(sequence, body);
    }
    drop(journal);
    assert!(segments_in(dir.path()).unwrap().len() > 5);
    let (mut journal, records) = open(dir.path());
    assert_eq!(records, expected);
    journal.append(b"more").unwrap();
    drop(journal);
    let (_, records) = open(dir.path());
    assert_eq!(records.len(), expected.len() + 1);
}

#[test]
fn a_record_that_is_larger_than_a_segment_gets_a_larger_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal_with(dir.path(), 3, 1);
    journal.append(&body(4, 300_000)).unwrap();
    journal.append(b"after").unwrap();
    let files = journal.files();
    drop(journal);
    let (_, records) = open(dir.path());
    assert_eq!(records[&4], body(4, 300_000));
    assert_eq!(records[&5], b"after");
    // It had no twin, so the control file knew it before anybody else did.
    change(dir.path(), |bytes| bytes.truncate(0));
    assert!(!refused(dir.path()).is_empty());
    drop(files);
}

/// Full segments go when the tables have what they hold, and one of them is used again.
#[test]
fn full_segments_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal_with(dir.path(), 400, 1);
    let files = journal.files();
    let before = segments_in(dir.path()).unwrap();
    assert!(before.len() >= 4, "{before:?}");
    files.release(10).unwrap();
    assert_eq!(
        segments_in(dir.path()).unwrap(),
        before,
        "a segment holds more than ten records"
    );
    files.release(400).unwrap();
    assert_eq!(segments_in(dir.path()).unwrap(), before[before.len() - 1..]);
    assert!(dir.path().join("spare").exists());
    // The stale records in the file that is used again are none.
    for sequence in 401..=500 {
        journal.append(&body(sequence, 468)).unwrap();
    }
    drop(journal);
    let (findings, records) = recover(dir.path(), Some(450), OnLoss::Refuse).unwrap();
    assert!(matches!(findings, Findings::Sound { journal, .. } if journal.next() == 501));
    assert_eq!(
        records.keys().copied().collect::<Vec<_>>(),
        (451..=500).collect::<Vec<_>>()
    );
    // The tables must reach the first record that is left.
    let reason = refused(dir.path());
    assert!(
        reason.contains("but RocksDB's tables end before record 1"),
        "{reason}"
    );
}

/// Row 1: the twin of the last record, and that of the one before it, mend whatever happened to the record.
#[test]
fn a_record_is_put_back_from_its_twin() {
    for sequence in [9, 10] {
        for damage in 0..3 {
            let dir = tempfile::tempdir().unwrap();
            let journal = journal_with(dir.path(), 10, 1);
            let (at, _) = places(&journal, sequence);
            drop(journal);
            let whole = fs::read(live(dir.path())).unwrap();
            change(dir.path(), |bytes| match damage {
                0 => bytes[at + 100] ^= 1,
                1 => bytes[at] ^= 1,
                _ => bytes[at..at + SECTOR_BYTES].fill(0),
            });
            let (_, records) = open(dir.path());
            assert_eq!(records.len(), 10, "record {sequence}, damage {damage}");
            assert_eq!(fs::read(live(dir.path())).unwrap(), whole, "it is mended on disk");
        }
    }
}

/// The same the other way round: a damaged twin does not stay until it is needed.
#[test]
fn a_twin_is_put_back_from_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_with(dir.path(), 10, 1);
    let (_, twin) = places(&journal, 10);
    drop(journal);
    let whole = fs::read(live(dir.path())).unwrap();
    change(dir.path(), |bytes| bytes[twin + 3] ^= 1);
    let (_, records) = open(dir.path());
    assert_eq!(records.len(), 10);
    assert_eq!(fs::read(live(dir.path())).unwrap(), whole);
}

/// Row 2, R77: what has a successor was acknowledged.
#[test]
fn damage_before_a_later_record_is_refused() {
    for damage in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal_with(dir.path(), 10, 1);
        let (at, _) = places(&journal, 5);
        drop(journal);
        change(dir.path(), |bytes| match damage {
            0 => bytes[at + 100] ^= 1,
            _ => bytes[at..at + SECTOR_BYTES].fill(0),
        });
        let reason = refused(dir.path());
        assert!(
            reason.contains("record 5") && reason.contains("there are later ones"),
            "{reason}"
        );
    }
    // The later record stands in the next segment.
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_with(dir.path(), 150, 1);
    let first = dir.path().join(file_name(1));
    let at = journal.segment.head.records_at() as usize;
    drop(journal);
    let mut bytes = fs::read(&first).unwrap();
    bytes[at + 600] ^= 1;
    fs::write(&first, bytes).unwrap();
    let reason = refused(dir.path());
    assert!(
        reason.contains("record 2") && reason.contains("there are later ones"),
        "{reason}"
    );
}

/// Row 3, R77: the last record, damaged in both its places, is not a torn one.
#[test]
fn a_last_record_that_was_whole_once_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_with(dir.path(), 10, 1);
    let (at, twin) = places(&journal, 10);
    drop(journal);
    change(dir.path(), |bytes| {
        bytes[at + 100] ^= 1;
        bytes[twin + 200] ^= 1;
    });
    let reason = refused(dir.path());
    assert!(
        reason.contains("the last record, 10,") && reason.contains("its hash is wrong"),
        "{reason}"
    );
}

/// Row 4: a record that lacks a sector in both its places never was. What arrived of it is wiped, so that it cannot be taken
/// for a part of the record that is written in its place.
#[test]
fn a_torn_last_record_is_wiped() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal_with(dir.path(), 10, 1);
    let before = fs::read(live(dir.path())).unwrap();
    let (at, twin) = places(&journal, 11);
    journal.append(&body(11, 1400)).unwrap();
    drop(journal);
    let after = fs::read(live(dir.path())).unwrap();
    for arrived in 0..64_u32 {
        let parts = [arrived & 7, arrived >> 3];
        if parts.contains(&7) {
            continue;
        }
        let mut torn = before.clone();
        for (place, part) in [at, twin].into_iter().zip(parts) {
            for sector in (0..3).filter(|sector| part & (1 << sector) != 0) {
                let range = place + sector * SECTOR_BYTES..place + (sector + 1) * SECTOR_BYTES;
                torn[range.clone()].copy_from_slice(&after[range]);
            }
        }
        fs::write(live(dir.path()), torn).unwrap();
        let (mut journal, records) = open(dir.path());
        assert_eq!(records.len(), 10, "arrived {arrived:b}");
        // The next power loss tears a shorter record with the same number.
        journal.append(&body(77, 900)).unwrap();
        drop(journal);
        change(dir.path(), |bytes| {
            bytes[at + SECTOR_BYTES..at + 2 * SECTOR_BYTES].fill(0);
            bytes[twin..twin + SECTOR_BYTES].fill(0);
        });
        fs::write(dir.path().join("control"), marked(dir.path(), 10)).unwrap();
        let (_, records) = open(dir.path());
        assert_eq!(records.len(), 10, "arrived {arrived:b}, then torn again");
    }
}

/// The bytes of a control file whose mark stands at `durable`: as it was before the housekeeping raised it.
fn marked(dir: &Path, durable: u64) -> Vec<u8> {
    let bytes = fs::read(dir.join("control")).unwrap();
    let slots = bytes.chunks(crate::slots::SLOT_BYTES);
    let slots = slots.map(|slot| crate::format::journal::Control::decode(slot).unwrap());
    let (_, control) = slots.max_by_key(|(sequence, _)| *sequence).unwrap();
    let control = crate::format::journal::Control { durable, ..control };
    let mut out = vec![0; 2 * crate::slots::SLOT_BYTES];
    for sequence in 0..2 {
        let at = crate::slots::slot_at(sequence);
        let slot = control.encode(sequence);
        out[at..at + slot.len()].copy_from_slice(&slot);
    }
    out
}

/// Rows 5 and 6: the end of the journal is the end only if nobody knows more.
#[test]
fn an_end_below_the_mark_is_refused() {
    for torn in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal_with(dir.path(), 10, 2);
        let head = journal.segment.head;
        journal.files().mark(10).unwrap();
        drop(journal);
        let (at, twin) = (head.records_at() as usize + 9 * 1024, head.twin_at(10) as usize);
        change(dir.path(), |bytes| {
            for place in [at, twin] {
                let whole = if torn { SECTOR_BYTES } else { 0 };
                bytes[place + whole..place + 1024].fill(0);
            }
        });
        let reason = refused(dir.path());
        assert!(
            reason.contains("every record up to 10 was acknowledged"),
            "{reason}"
        );
    }
}

/// R11: files that are gone, cut, foreign or from another place.
#[test]
fn a_segment_that_is_not_what_it_was_is_refused() {
    let original = tempfile::tempdir().unwrap();
    let journal = journal_with(original.path(), 400, 1);
    drop(journal);
    let other = tempfile::tempdir().unwrap();
    drop(journal_with(other.path(), 400, 1));
    let numbers = segments_in(original.path()).unwrap();
    for number in &numbers {
        let name = file_name(*number);
        let neighbour = file_name(if *number == 1 { 2 } else { number - 1 });
        for damage in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            for file in fs::read_dir(original.path()).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
            }
            let path = dir.path().join(&name);
            let bytes = fs::read(&path).unwrap();
            match damage {
                0 => fs::remove_file(&path).unwrap(),
                1 => fs::write(&path, &bytes[..bytes.len() - 1]).unwrap(),
                2 => fs::write(&path, [bytes, vec![0]].concat()).unwrap(),
                3 => drop(fs::copy(other.path().join(&name), &path).unwrap()),
                _ => drop(fs::copy(dir.path().join(&neighbour), &path).unwrap()),
            }
            assert!(
                !refused(dir.path()).is_empty(),
                "segment {number}, damage {damage}"
            );
            let (findings, records) = recover(dir.path(), None, OnLoss::Suspect).unwrap();
            let Findings::Lost { restart, .. } = findings else {
                panic!("segment {number}, damage {damage}: it is sound");
            };
            let count = records.len() as u64;
            assert!(
                records.keys().copied().eq(1..=count),
                "what is left is the beginning"
            );
            let mut journal = restart.begin().unwrap();
            journal.append(b"after the loss").unwrap();
            drop(journal);
            let (findings, records) = recover(dir.path(), Some(count), OnLoss::Refuse).unwrap();
            assert!(matches!(findings, Findings::Sound { .. }));
            assert_eq!(records, Records::from([(count + 1, b"after the loss".to_vec())]));
        }
    }
}

/// A crash between any two steps of a rotation or a release leaves a journal that is sound.
#[test]
fn segments_that_the_control_file_does_not_know_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal_with(dir.path(), 100, 1);
    let control = fs::read(dir.path().join("control")).unwrap();
    let before = segments_in(dir.path()).unwrap().len();
    let mut sequence = 100;
    while segments_in(dir.path()).unwrap().len() == before {
        sequence += 1;
        journal.append(&body(sequence, 468)).unwrap();
    }
    drop(journal);
    // The segment is there, and the control file does not name it yet.
    fs::write(dir.path().join("control"), control).unwrap();
    let (journal, records) = open(dir.path());
    assert_eq!(records.len() as u64, sequence);
    // The control file does not name a segment any more that is still there.
    let first = fs::read(dir.path().join(file_name(1))).unwrap();
    journal.files().release(sequence).unwrap();
    drop(journal);
    fs::write(dir.path().join(file_name(1)), first).unwrap();
    let (findings, _) = recover(dir.path(), Some(sequence), OnLoss::Refuse).unwrap();
    assert!(matches!(findings, Findings::Sound { .. }));
    assert!(!dir.path().join(file_name(1)).exists());
}

/// A crash while the journal is created leaves nothing that stands in the way, and nothing that was acknowledged.
#[test]
fn a_journal_without_a_control_file_is_new_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(journal_with(dir.path(), 0, 1));
    fs::remove_file(dir.path().join("control")).unwrap();
    fs::remove_file(dir.path().join("openings")).unwrap();
    drop(journal_with(dir.path(), 5, 1));
    fs::remove_file(dir.path().join("control")).unwrap();
    let reason = refused(dir.path());
    assert!(reason.contains("its control file is missing"), "{reason}");
    // The tables know of records, too.
    let empty = tempfile::tempdir().unwrap();
    let error = recover(empty.path(), Some(3), OnLoss::Refuse).map(|_| ());
    assert!(matches!(error, Err(OpenError::JournalLost { .. })));
    let (findings, _) = recover(empty.path(), Some(3), OnLoss::Suspect).unwrap();
    let Findings::Lost { restart, .. } = findings else {
        panic!("it is sound");
    };
    assert_eq!(restart.begin().unwrap().next(), 4);
    let (findings, _) = recover(empty.path(), Some(3), OnLoss::Refuse).unwrap();
    assert!(matches!(findings, Findings::Sound { .. }));
}

/// R11: the whole journal, put back as it was before it was opened the last time, is sound in itself.
#[test]
fn a_journal_of_an_earlier_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(journal_with(dir.path(), 5, 1));
    let before =
        ["control", &file_name(1)].map(|name| (name.to_owned(), fs::read(dir.path().join(name)).unwrap()));
    let (mut journal, _) = open(dir.path());
    journal.append(b"acknowledged").unwrap();
    drop(journal);
    for (name, bytes) in before {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let reason = refused(dir.path());
    assert!(
        reason.contains("had been opened 1 times, and that was 2 times"),
        "{reason}"
    );
    // A crash before the number beside it was raised leaves the journal ahead.
    fs::remove_file(dir.path().join("openings")).unwrap();
    assert_eq!(open(dir.path()).1.len(), 5);
}

/// R11: tables that have more than the journal are as wrong as a journal that begins after them.
#[test]
fn tables_ahead_of_the_journal_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(journal_with(dir.path(), 5, 1));
    assert!(recover(dir.path(), Some(5), OnLoss::Refuse).is_ok());
    match recover(dir.path(), Some(6), OnLoss::Refuse) {
        Err(OpenError::JournalLost { reason, .. }) => {
            assert!(reason.contains("it ends before record 6"), "{reason}")
        }
        _ => panic!("a journal without record 6 was taken"),
    }
}

/// R60: what a process that failed left may stand in the page cache and not on disk: it is written again before it counts.
#[test]
fn records_behind_the_mark_are_written_again_once() {
    let dir = tempfile::tempdir().unwrap();
    drop(journal_with(dir.path(), 5, 1));
    for rewritten in [true, false] {
        let written = fs::metadata(live(dir.path())).unwrap().modified().unwrap();
        let (findings, records) = recover(dir.path(), None, OnLoss::Refuse).unwrap();
        let Findings::Sound { journal, was_unclean } = findings else {
            panic!("nothing was lost");
        };
        assert!(was_unclean, "nobody closed it");
        assert_eq!(records.len(), 5);
        let again = fs::metadata(live(dir.path())).unwrap().modified().unwrap();
        assert_eq!(again > written, rewritten);
        if !rewritten {
            journal.files().close(5).unwrap();
        }
    }
    let (findings, _) = recover(dir.path(), None, OnLoss::Refuse).unwrap();
    assert!(matches!(
        findings,
        Findings::Sound {
            was_unclean: false,
            ..
        }
    ));
}
