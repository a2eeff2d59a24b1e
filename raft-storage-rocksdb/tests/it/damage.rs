//! Damage on disk is refused, by name; what a crash leaves is not.

use std::fs;
use std::path::Path;

use raft_core::traits::LogStore;
use raft_core::types::{GroupId, Index, Trust};
use raft_storage_rocksdb::{OnLoss, OpenError, RocksLogOptions, RocksLogStore};

use crate::support::*;

/// A closed store with 400 entries, all in the live write-ahead log; `votes` also in a term that was voted in.
async fn store_with_live_log(dir: &Path, votes: bool) {
    let store = open(dir);
    if votes {
        write(&store, vote(G, 1, Some(3))).await;
    }
    for index in 1..=400 {
        write(&store, append(G, commands(1, index..=index))).await;
    }
}

/// The same, all in table files.
async fn store_with_tables(dir: &Path) {
    store_with_live_log(dir, true).await;
    // Opening writes what was replayed into table files.
    drop(open(dir));
}

fn refusal(dir: &Path) -> OpenError {
    let error = RocksLogStore::open_default(dir).expect_err("a damaged store must not open");
    let text = error.to_string();
    assert!(
        text.contains("restore its data directory"),
        "the remedy is missing: {text}"
    );
    error
}

/// R11: no recovery mode of RocksDB notices a live log that was cut at the end of a record.
#[tokio::test]
async fn a_live_log_cut_to_half_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), true).await;
    let log = newest(dir.path(), "log");
    cut(&log, fs::metadata(&log).unwrap().len() / 2);
    match refusal(dir.path()) {
        OpenError::LogLost {
            group,
            recovered,
            acknowledged,
        } => {
            assert_eq!((group, acknowledged), (G, Index(400)));
            assert!(recovered > Index(100) && recovered < Index(300), "{recovered}");
        }
        other => panic!("{other}"),
    }
    // It stays refused.
    assert!(matches!(refusal(dir.path()), OpenError::LogLost { .. }));
    // An operator may let it go on as a suspect (R68); that is remembered, also when it is opened as usual again.
    let options = RocksLogOptions {
        on_loss: OnLoss::Suspect,
        ..RocksLogOptions::default()
    };
    let recovered = RocksLogStore::open(dir.path(), options)
        .unwrap()
        .load(G)
        .await
        .unwrap();
    assert!(recovered.lost && recovered.last_index < Index(300));
    assert_eq!(recovered.hard_state.trust, Trust::Suspect);
    let again = RocksLogStore::open_default(dir.path())
        .unwrap()
        .load(G)
        .await
        .unwrap();
    assert_eq!(again.last_index, recovered.last_index);
    assert_eq!(again.hard_state, recovered.hard_state);
}

/// R11: the same when it is gone altogether, whichever copy notices first.
#[tokio::test]
async fn a_deleted_live_log_is_noticed() {
    for votes in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        store_with_live_log(dir.path(), votes).await;
        fs::remove_file(newest(dir.path(), "log")).unwrap();
        let error = refusal(dir.path());
        match votes {
            true => assert!(
                matches!(error, OpenError::HardStateLost { group: G, .. }),
                "{error}"
            ),
            false => assert!(matches!(error, OpenError::LogLost { group: G, .. }), "{error}"),
        }
    }
}

/// R11: and when the whole database is gone.
#[tokio::test]
async fn a_deleted_database_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), false).await;
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    assert!(matches!(
        refusal(dir.path()),
        OpenError::LogLost {
            recovered: Index(0),
            acknowledged: Index(400),
            ..
        }
    ));
}

/// R68: a vote that was acknowledged and lost could be given twice.
#[tokio::test]
async fn a_lost_vote_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, vote(G, 5, None)).await;
    drop(store);
    let before = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("db"), before.path());
    let store = open(dir.path());
    write(&store, vote(G, 5, Some(2))).await;
    drop(store);
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    copy_dir(before.path(), &dir.path().join("db"));
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

/// R77: a bit that flipped in the middle of the live log is no torn tail.
#[tokio::test]
async fn a_flipped_bit_in_the_live_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    store_with_live_log(dir.path(), true).await;
    let log = newest(dir.path(), "log");
    flip(&log, fs::metadata(&log).unwrap().len() as usize / 2, 3);
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
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

/// What a crash in the middle of a write leaves: the write is gone, everything acknowledged is there.
#[tokio::test]
async fn a_torn_last_record_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, vote(G, 1, Some(1))).await;
    write(&store, append(G, commands(1, 1..=99))).await;
    drop(store);
    drop(open(dir.path()));
    // The last write is not acknowledged: the watermarks are those from before it, and its record is cut.
    let acknowledged = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("watermarks"), acknowledged.path());
    let store = open_with_lazy_marks(dir.path());
    write(&store, append(G, commands(1, 100..=110))).await;
    drop(store);
    let log = newest(dir.path(), "log");
    let bytes = fs::metadata(&log).unwrap().len();
    for cut_bytes in [1, 3, 7, 50, 200] {
        let crashed = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), crashed.path());
        copy_dir(acknowledged.path(), &crashed.path().join("watermarks"));
        cut(&newest(crashed.path(), "log"), bytes - cut_bytes);
        let store = open(crashed.path());
        assert_eq!(
            store.load(G).await.unwrap().last_index,
            Index(99),
            "{cut_bytes} bytes cut"
        );
        assert_eq!(read(&store, G, 1, 99).await, commands(1, 1..=99));
        write(&store, append(G, commands(2, 100..=101))).await;
    }
}

/// Changes one raw value of the database of a closed store.
fn with_raw(dir: &Path, change: impl FnOnce(&rocksdb::DB, &rocksdb::ColumnFamily, &rocksdb::ColumnFamily)) {
    let database =
        rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.join("db"), ["entries", "state"]).unwrap();
    change(
        &database,
        database.cf_handle("entries").unwrap(),
        database.cf_handle("state").unwrap(),
    );
}

fn key(group: GroupId, index: u64) -> Vec<u8> {
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
    let error = RocksLogStore::open_default(dir.path()).unwrap_err();
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
    store_with_tables(original.path()).await;
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
        let mut files: Vec<_> = [dir.path().join("db"), dir.path().join("watermarks")]
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
        match RocksLogStore::open_default(dir.path()) {
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
