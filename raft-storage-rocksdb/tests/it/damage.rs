//! Damage on disk is refused, by name; what a crash leaves is not.

use std::fs;
use std::path::{Path, PathBuf};

use raft_core::traits::LogStore;
use raft_core::types::{GroupId, Index, Trust};
use raft_storage_rocksdb::{OnLoss, OpenError, RocksLogOptions, RocksLogStore};

use crate::support::*;

/// A closed store with 400 entries, all in the one segment of its journal, and in tables; `votes` also in a term that was
/// voted in.
async fn store_with_live_log(dir: &Path, votes: bool) {
    let store = open(dir);
    if votes {
        write(&store, vote(G, 1, Some(3))).await;
    }
    for index in 1..=400 {
        write(&store, append(G, commands(1, index..=index))).await;
    }
}

/// A closed store whose journal has let go of its first segments.
async fn store_with_tables(dir: &Path) {
    let store = open(dir);
    write(&store, vote(G, 1, Some(3))).await;
    let mut last = 0;
    while segments(dir)[0].ends_with("00000000000000000001.seg") {
        write(&store, append(G, commands(1, last + 1..=last + 100))).await;
        last += 100;
    }
}

fn refusal(dir: &Path) -> OpenError {
    let error = RocksLogStore::open(dir, options()).expect_err("a damaged store must not open");
    let text = error.to_string();
    assert!(
        text.contains("restore its data directory"),
        "the remedy is missing: {text}"
    );
    error
}

fn expect_journal_lost(dir: &Path, part: &str) {
    let error = refusal(dir);
    assert!(matches!(error, OpenError::JournalLost { .. }), "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

/// R11: a journal that was cut is noticed, wherever it was cut, and stays noticed; a suspect may go on with the rest.
#[tokio::test]
async fn a_live_log_cut_to_half_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), true).await;
    // The tables are as a crash leaves them: empty.
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    let log = live_segment(dir.path());
    cut(&log, records_at(&log) as u64 + 200 * 512);
    expect_journal_lost(dir.path(), "was cut or replaced");
    expect_journal_lost(dir.path(), "was cut or replaced");
    // An operator may let it go on as a suspect (R68); that is remembered, also when it is opened as usual again.
    let as_suspect = RocksLogOptions {
        on_loss: OnLoss::Suspect,
        ..options()
    };
    let store = RocksLogStore::open(dir.path(), as_suspect).unwrap();
    let recovered = store.load(G).await.unwrap();
    assert!(recovered.lost);
    assert_eq!(
        recovered.last_index,
        Index(199),
        "the vote was the first of 200 records"
    );
    assert_eq!(recovered.hard_state.trust, Trust::Suspect);
    // It goes on from there, and a crash before RocksDB has written a table is an ordinary one.
    write(&store, append(G, commands(1, 200..=201))).await;
    let crashed = tempfile::tempdir().unwrap();
    copy_open_dir(dir.path(), crashed.path());
    let after_crash = open(crashed.path()).load(G).await.unwrap();
    assert_eq!(after_crash.last_index, Index(201));
    assert_eq!(after_crash.hard_state, recovered.hard_state);
    write(&store, append(G, commands(1, 199..=199))).await;
    drop(store);
    let store = open(dir.path());
    let again = store.load(G).await.unwrap();
    assert_eq!(again.last_index, recovered.last_index);
    assert_eq!(again.hard_state, recovered.hard_state);
    write(&store, append(G, commands(1, 200..=210))).await;
    drop(store);
    assert_eq!(open(dir.path()).load(G).await.unwrap().last_index, Index(210));
}

/// R11: the same when a segment is gone altogether.
#[tokio::test]
async fn a_deleted_live_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), true).await;
    fs::remove_file(live_segment(dir.path())).unwrap();
    expect_journal_lost(dir.path(), "its segment 1 is missing");
}

/// R11: when the tables are gone, the journal brings everything back, or it says that it begins too late for that.
#[tokio::test]
async fn a_deleted_database_is_made_again_or_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), true).await;
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    let store = open(dir.path());
    assert_eq!(read(&store, G, 1, 400).await, commands(1, 1..=400));
    assert_eq!(store.load(G).await.unwrap().hard_state.term.0, 1);
    let dir = tempfile::tempdir().unwrap();
    store_with_tables(dir.path()).await;
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    expect_journal_lost(dir.path(), "tables end before record 1");
}

/// R11: a store of which only the watermarks are left.
#[tokio::test]
async fn a_deleted_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), false).await;
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    expect_journal_lost(dir.path(), "control file is missing");
    fs::remove_file(dir.path().join("openings")).unwrap();
    assert!(matches!(
        refusal(dir.path()),
        OpenError::LogLost {
            recovered: Index(0),
            acknowledged: Index(400),
            ..
        }
    ));
}

/// R11: without its control file nobody knows what the journal should hold.
#[tokio::test]
async fn a_deleted_control_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), false).await;
    fs::remove_file(dir.path().join("journal/control")).unwrap();
    expect_journal_lost(dir.path(), "control file is missing");
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    expect_journal_lost(dir.path(), "control file is missing");
}

/// R68: a vote that was acknowledged and lost could be given twice.
#[tokio::test]
async fn a_lost_vote_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, vote(G, 5, None)).await;
    drop(store);
    let before = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), before.path());
    let store = open(dir.path());
    write(&store, vote(G, 5, Some(2))).await;
    drop(store);
    // Older tables alone do no harm: the journal has what they lack.
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    copy_dir(&before.path().join("db"), &dir.path().join("db"));
    let store = open(dir.path());
    let recovered = store.load(G).await.unwrap();
    assert_eq!(recovered.hard_state.vote.map(|node| node.0), Some(2));
    drop(store);
    for part in ["db", "journal"] {
        fs::remove_dir_all(dir.path().join(part)).unwrap();
        copy_dir(&before.path().join(part), &dir.path().join(part));
    }
    expect_journal_lost(
        dir.path(),
        "it is as it was when the store had been opened 1 times",
    );
    fs::copy(before.path().join("openings"), dir.path().join("openings")).unwrap();
    let error = refusal(dir.path());
    assert!(
        matches!(
            error,
            OpenError::HardStateLost {
                recovered_vote: None,
                ..
            }
        ),
        "{error}"
    );
}

/// An older copy of the live segment looks as if the records after it had never been written; the control file knows better.
#[tokio::test]
async fn an_older_copy_of_the_journal_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, append(G, commands(1, 1..=5))).await;
    drop(store);
    let before = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("journal"), before.path());
    let live = live_segment(dir.path());
    let store = open(dir.path());
    write(&store, append(G, commands(1, 6..=7))).await;
    drop(store);
    fs::copy(before.path().join(live.file_name().unwrap()), &live).unwrap();
    expect_journal_lost(dir.path(), "every record up to 2 was acknowledged");
}

#[tokio::test]
async fn a_missing_watermark_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), false).await;
    fs::remove_dir_all(dir.path().join("watermarks")).unwrap();
    assert!(matches!(
        refusal(dir.path()),
        OpenError::WatermarkMissing { group: G, .. }
    ));
}

/// R77: a bit that flipped in the middle of the journal is no torn tail.
#[tokio::test]
async fn a_flipped_bit_in_the_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), true).await;
    let log = live_segment(dir.path());
    flip(&log, records_at(&log) + 100 * 512 + 60, 3);
    expect_journal_lost(dir.path(), "record 101");
}

/// The last record has a twin: what happens to one of the two is mended from the other.
#[tokio::test]
async fn a_damaged_last_record_is_put_back_from_its_twin() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), true).await;
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    let log = live_segment(dir.path());
    let last = records_at(&log) + 400 * 512;
    let whole = fs::read(&log).unwrap();
    for damage in ["flip", "zero"] {
        let mut bytes = whole.clone();
        match damage {
            "flip" => bytes[last + 77] ^= 4,
            _ => bytes[last..last + 512].fill(0),
        }
        fs::write(&log, bytes).unwrap();
        let store = open(dir.path());
        assert_eq!(read(&store, G, 1, 400).await, commands(1, 1..=400), "{damage}");
        drop(store);
        assert_eq!(
            fs::read(&log).unwrap()[last..last + 512],
            whole[last..last + 512],
            "{damage}"
        );
        fs::remove_dir_all(dir.path().join("db")).unwrap();
    }
}

/// R77: nor is one in a table file; the message names the group and the index.
#[tokio::test]
async fn a_flipped_bit_in_a_table_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    store_with_tables(dir.path()).await;
    let tables = files_of(&dir.path().join("db"), "sst");
    let largest = tables
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    flip(&largest, fs::metadata(&largest).unwrap().len() as usize / 3, 3);
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(
        error.to_string().contains("group 7: the log at or after index"),
        "{error}"
    );
}

/// What power loss in the middle of a write leaves: the write is gone, everything acknowledged is there.
#[tokio::test]
async fn a_torn_last_record_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, vote(G, 1, Some(1))).await;
    write(&store, append(G, commands(1, 1..=99))).await;
    drop(store);
    // The next write is never acknowledged: of the files, only the segment knows of it, and not all of it arrived there.
    let acknowledged = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), acknowledged.path());
    let store = open(dir.path());
    write(&store, append(G, commands(1, 100..=130))).await;
    drop(store);
    let log = live_segment(dir.path());
    let (old, new) = (
        fs::read(live_segment(acknowledged.path())).unwrap(),
        fs::read(&log).unwrap(),
    );
    let written: Vec<usize> = (0..old.len())
        .step_by(512)
        .filter(|at| old[*at..at + 512] != new[*at..at + 512])
        .collect();
    assert!(
        written.len() >= 6,
        "the record has sectors, and its twin as many: {written:?}"
    );
    let mut numbers = Numbers(7);
    for _ in 0..30 {
        let crashed = tempfile::tempdir().unwrap();
        copy_dir(acknowledged.path(), crashed.path());
        let mut bytes = old.clone();
        let half = written.len() / 2;
        // At least one sector of each of the two copies is missing; any others may be.
        let missing = [
            numbers.below(half as u64) as usize,
            half + numbers.below(half as u64) as usize,
        ];
        for (position, at) in written.iter().enumerate() {
            if !missing.contains(&position) && numbers.below(2) == 0 {
                bytes[*at..at + 512].copy_from_slice(&new[*at..at + 512]);
            }
        }
        fs::write(live_segment(crashed.path()), bytes).unwrap();
        for _ in 0..2 {
            let store = open(crashed.path());
            assert_eq!(store.load(G).await.unwrap().last_index, Index(99));
        }
        let store = open(crashed.path());
        write(&store, append(G, commands(2, 100..=101))).await;
        drop(store);
        assert_eq!(
            read(&open(crashed.path()), G, 100, 101).await,
            commands(2, 100..=101)
        );
    }
}

/// RocksDB's reader repeats itself for ever at such a record; it is not shown one. At the end of the MANIFEST it is cut off as
/// what a loss of power left is, and elsewhere refused.
#[tokio::test]
async fn garbage_in_files_of_rocksdb_does_not_hang() {
    for kind in [5, 8, 131] {
        let dir = tempfile::tempdir().unwrap();
        store_with_live_log(dir.path(), true).await;
        let mut garbage = vec![0xab, 0xcd, 0xef, 0x01, 200, 0, kind];
        garbage.extend_from_slice(&[0x5a; 300]);
        append_bytes(&manifest(dir.path()), &garbage);
        assert_eq!(open(dir.path()).load(G).await.unwrap().last_index, Index(400));
        append_bytes(&manifest(dir.path()), &[garbage, vec![0x5a; 20_000]].concat());
        expect_corrupt(dir.path(), &["MANIFEST", "which RocksDB never wrote"]);
    }
}

/// R11, R77: a change of RocksDB's tables that a loss of power has torn anywhere is as if it had not been begun; if it had been
/// acknowledged to the journal, which let go of its records, the journal notices.
#[tokio::test]
async fn a_torn_manifest_loses_nothing_or_says_so() {
    let (mut whole, mut lost) = (0, 0);
    for has_all_in_journal in [true, false] {
        let original = tempfile::tempdir().unwrap();
        match has_all_in_journal {
            true => store_with_live_log(original.path(), true).await,
            false => store_with_tables(original.path()).await,
        }
        let copy = tempfile::tempdir().unwrap();
        copy_dir(original.path(), copy.path());
        let last = open(copy.path()).load(G).await.unwrap().last_index;
        let bytes = fs::read(manifest(original.path())).unwrap();
        for at in (1..bytes.len()).rev().step_by(23) {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(original.path(), dir.path());
            let mut torn = bytes.clone();
            torn[at..].fill(0);
            fs::write(manifest(dir.path()), torn).unwrap();
            match RocksLogStore::open(dir.path(), options()) {
                Ok(store) => {
                    whole += 1;
                    assert_eq!(store.load(G).await.unwrap().last_index, last, "torn at {at}");
                }
                Err(_) => lost += 1,
            }
        }
    }
    assert!(whole > 0 && lost > 0, "{whole} whole, {lost} lost");
}

fn append_bytes(path: &Path, bytes: &[u8]) {
    let content = [fs::read(path).unwrap(), bytes.to_vec()].concat();
    fs::write(path, content).unwrap();
}

/// The MANIFEST that counts.
fn manifest(dir: &Path) -> PathBuf {
    let db = dir.join("db");
    let name = fs::read_to_string(db.join("CURRENT")).unwrap();
    db.join(name.trim_end())
}

/// Changes one raw value of the database of a closed store.
pub(crate) fn with_raw(
    dir: &Path,
    change: impl FnOnce(&rocksdb::DB, &rocksdb::ColumnFamily, &rocksdb::ColumnFamily),
) {
    let database =
        rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.join("db"), ["entries", "state"]).unwrap();
    change(
        &database,
        database.cf_handle("entries").unwrap(),
        database.cf_handle("state").unwrap(),
    );
}

pub(crate) fn key(group: GroupId, index: u64) -> Vec<u8> {
    [group.0.to_be_bytes(), index.to_be_bytes()].concat()
}

fn expect_corrupt(dir: &Path, parts: &[&str]) {
    let error = refusal(dir);
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// A whole, checksummed entry that is an old version of itself: only the chain can tell.
#[tokio::test]
async fn a_stale_entry_breaks_the_chain() {
    for stale_index in [5, 10] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        write(&store, append(G, commands(1, 1..=10))).await;
        drop(store);
        let mut stale = None;
        with_raw(dir.path(), |database, entries, _| {
            stale = database.get_cf(entries, key(G, stale_index)).unwrap();
        });
        let store = open(dir.path());
        write(&store, append(G, commands(2, stale_index..=10))).await;
        drop(store);
        with_raw(dir.path(), |database, entries, _| {
            database
                .put_cf(entries, key(G, stale_index), stale.unwrap())
                .unwrap();
        });
        // The successor notices; the last entry has none, but the watermark knows it.
        match stale_index {
            5 => expect_corrupt(dir.path(), &["group 7", "index 6", "stale or foreign copy"]),
            _ => expect_corrupt(dir.path(), &["group 7", "index 10", "stale copy"]),
        }
    }
}

/// An entry under another's key: the checksum covers the key.
#[tokio::test]
async fn a_swapped_entry_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for group in [G, GroupId(8)] {
        write(&store, append(group, commands(1, 1..=10))).await;
    }
    drop(store);
    with_raw(dir.path(), |database, entries, _| {
        let foreign = database.get_cf(entries, key(GroupId(8), 4)).unwrap().unwrap();
        database.put_cf(entries, key(G, 4), foreign).unwrap();
    });
    expect_corrupt(dir.path(), &["group 7", "index 4", "checksum"]);
}

#[tokio::test]
async fn a_hole_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, append(G, commands(1, 1..=10))).await;
    drop(store);
    with_raw(dir.path(), |database, entries, _| {
        database.delete_cf(entries, key(G, 4)).unwrap()
    });
    expect_corrupt(dir.path(), &["group 7", "index 4", "missing"]);
}

#[tokio::test]
async fn damaged_state_records_are_refused() {
    for kind in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        write(&store, vote(G, 1, Some(1))).await;
        write(&store, reset(G, 1, 5, commands(1, 6..=10))).await;
        drop(store);
        let state_key = [&G.0.to_be_bytes()[..], &[kind]].concat();
        with_raw(dir.path(), |database, _, state| {
            let mut value = database.get_cf(state, &state_key).unwrap().unwrap();
            value[7] ^= 1;
            database.put_cf(state, &state_key, value).unwrap();
        });
        expect_corrupt(dir.path(), &["group 7", "record"]);
        if kind == 1 {
            with_raw(dir.path(), |database, _, state| {
                database.delete_cf(state, &state_key).unwrap()
            });
            expect_corrupt(dir.path(), &["group 7", "no record of where the log begins"]);
        }
    }
}

#[tokio::test]
async fn an_unknown_version_is_not_called_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, append(G, commands(1, 1..=3))).await;
    drop(store);
    with_raw(dir.path(), |database, entries, _| {
        let mut value = database.get_cf(entries, key(G, 2)).unwrap().unwrap();
        value[0] = 9;
        database.put_cf(entries, key(G, 2), value).unwrap();
    });
    let error = RocksLogStore::open(dir.path(), options()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Version {
                found: 9,
                known: 2,
                ..
            }
        ),
        "{error}"
    );
}

/// R77: whatever one bit or one cut does anywhere, the store either refuses or has everything that was acknowledged.
#[tokio::test]
async fn no_single_damage_is_passed_over() {
    const ROUNDS: u64 = 100;
    let original = tempfile::tempdir().unwrap();
    store_with_live_log(original.path(), true).await;
    let store = open(original.path());
    write(&store, append(G, commands(2, 390..=450))).await;
    write(&store, vote(G, 2, Some(1))).await;
    drop(store);
    let mut expected = commands(1, 1..=389);
    expected.extend(commands(2, 390..=450));
    let mut numbers = Numbers(1);
    let mut refused = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(original.path(), dir.path());
        let mut files: Vec<_> = ["db", "journal", "watermarks"]
            .map(|part| dir.path().join(part))
            .iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap())
            .map(|file| file.unwrap().path())
            .filter(|path| fs::metadata(path).unwrap().len() > 0)
            .collect();
        files.sort();
        let file = &files[numbers.below(files.len() as u64) as usize];
        let bytes = fs::metadata(file).unwrap().len();
        let at = numbers.below(bytes);
        let what = if numbers.below(4) == 0 {
            cut(file, at);
            "cut"
        } else {
            flip(file, at as usize, numbers.below(8) as u8);
            "flip"
        };
        let case = format!("round {round}: {what} at {at} of {bytes} in {}", file.display());
        match RocksLogStore::open(dir.path(), options()) {
            Err(_) => refused += 1,
            Ok(store) => {
                let recovered = store.load(G).await.unwrap();
                assert_eq!(recovered.last_index, Index(450), "{case}");
                assert_eq!(recovered.hard_state.term.0, 2, "{case}");
                assert_eq!(read(&store, G, 1, 450).await, expected, "{case}");
            }
        }
    }
    assert!(
        refused > ROUNDS / 10,
        "only {refused} of {ROUNDS} damages were noticed"
    );
}
