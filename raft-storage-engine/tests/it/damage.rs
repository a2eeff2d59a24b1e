//! Damage on disk is refused, by name; what a crash leaves is not. The table in the crate's documentation has a row for each.

use std::fs;
use std::path::Path;

use raft_core::traits::LogStore;
use raft_core::types::{GroupId, Index, Trust};
use raft_storage_engine::{EngineLogOptions, EngineLogStore, OnLoss, OpenError};

use crate::support::*;

const ENTRIES: u64 = 400;

/// A closed store with 400 entries of group 7 in one file; `votes` also in a term that was voted in.
async fn store_with_one_file(dir: &Path, votes: bool) {
    let store = open(dir);
    if votes {
        write(&store, vote(G, 1, Some(3))).await;
    }
    for index in 1..=ENTRIES {
        write(&store, append(G, commands(1, index..=index))).await;
    }
}

/// The same in several files.
async fn store_with_files(dir: &Path) {
    let store = open_with_small_files(dir);
    for index in 1..=ENTRIES {
        write(&store, append(G, commands(1, index..=index))).await;
    }
    drop(store);
    assert!(engine_files(dir, "raftlog").len() > 2);
}

fn refusal(dir: &Path) -> OpenError {
    let error = EngineLogStore::open_default(dir).expect_err("a damaged store must not open");
    let text = error.to_string();
    assert!(
        text.contains("restore its data directory"),
        "the remedy is missing: {text}"
    );
    error
}

fn is_corrupt(error: &OpenError) -> bool {
    matches!(error, OpenError::Corrupt { .. })
}

fn as_suspect() -> EngineLogOptions {
    EngineLogOptions {
        on_loss: OnLoss::Suspect,
        ..EngineLogOptions::default()
    }
}

/// A copy of a store as a crash would leave it: nothing of it was closed.
fn crash(from: &Path) -> tempfile::TempDir {
    let crashed = tempfile::tempdir().unwrap();
    copy_dir(from, crashed.path());
    crashed
}

/// R77: raft-engine alone would cut the file there and open with less.
#[tokio::test]
async fn a_flipped_bit_in_the_newest_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    store_with_one_file(dir.path(), false).await;
    let path = newest(dir.path());
    let bytes = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    // In the middle, and in the last record.
    for at in [bytes / 2, bytes - 3, bytes - 40] {
        flip(&path, at, 3);
        let error = refusal(dir.path());
        assert!(
            is_corrupt(&error) && error.to_string().contains("record"),
            "byte {at}: {error}"
        );
        flip(&path, at, 3);
    }
    assert_eq!(open(dir.path()).load(G).await.unwrap().last_index, Index(ENTRIES));
}

/// The last record of a crash was never acknowledged: it is dropped, and no more than it.
#[tokio::test]
async fn a_torn_last_record_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with_lazy_marks(dir.path());
    for index in 1..=20 {
        write(&store, append(G, commands(1, index..=index))).await;
    }
    let crashed = crash(dir.path());
    let path = newest(crashed.path());
    let used = fs::read(&path)
        .unwrap()
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap();
    cut(&path, used as u64 - 10);
    let reopened = open(crashed.path());
    assert_eq!(reopened.load(G).await.unwrap().last_index, Index(19));
    write(&reopened, append(G, commands(2, 20..=21))).await;
    drop(reopened);
    assert_eq!(open(crashed.path()).load(G).await.unwrap().last_index, Index(21));
}

/// R11: what raft-engine cannot notice, the watermark does.
#[tokio::test]
async fn a_newest_file_cut_to_half_is_noticed() {
    for votes in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        store_with_one_file(dir.path(), votes).await;
        let path = newest(dir.path());
        cut(&path, fs::metadata(&path).unwrap().len() / 2);
        // It stays refused.
        for _ in 0..2 {
            match refusal(dir.path()) {
                OpenError::LogLost {
                    group,
                    recovered,
                    acknowledged,
                } => {
                    assert_eq!((group, acknowledged), (G, Index(ENTRIES)));
                    assert!(recovered > Index(100) && recovered < Index(300), "{recovered}");
                }
                other => panic!("{other}"),
            }
        }
        // An operator may let it go on as a suspect (R68); that is remembered, also when it is opened as usual again.
        let store = EngineLogStore::open(dir.path(), as_suspect()).unwrap();
        let recovered = store.load(G).await.unwrap();
        assert!(recovered.lost && recovered.last_index < Index(300));
        assert_eq!(recovered.hard_state.trust, Trust::Suspect);
        drop(store);
        let again = open(dir.path()).load(G).await.unwrap();
        assert_eq!(again.last_index, recovered.last_index);
        assert_eq!(again.hard_state, recovered.hard_state);
    }
}

/// What a watermark does not promise yet is the one thing that can be lost without a word; a test of the honest table.
#[tokio::test]
async fn a_cut_above_the_mark_is_not_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with_lazy_marks(dir.path());
    write(&store, append(G, commands(1, 1..=1))).await;
    let path = newest(dir.path());
    let one = fs::read(&path)
        .unwrap()
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap();
    write(&store, append(G, commands(1, 2..=2))).await;
    let crashed = crash(dir.path());
    cut(&newest(crashed.path()), one as u64 + 1);
    assert_eq!(open(crashed.path()).load(G).await.unwrap().last_index, Index(1));
}

/// R11: a deleted newest file, or all of them, is always noticed, whatever the marks say.
#[tokio::test]
async fn a_deleted_newest_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineLogOptions {
        mark_entries_max: u64::MAX,
        mark_interval: std::time::Duration::from_secs(3600),
        ..small_files()
    };
    let store = EngineLogStore::open(dir.path(), options).unwrap();
    let mut index = 0;
    while engine_files(dir.path(), "raftlog").len() < 3 {
        index += 1;
        write(&store, append(G, commands(1, index..=index))).await;
    }
    let crashed = crash(dir.path());
    fs::remove_file(newest(crashed.path())).unwrap();
    assert!(matches!(
        refusal(crashed.path()),
        OpenError::FileLost {
            found: 2,
            used: 3,
            ..
        }
    ));
    let suspect = EngineLogStore::open(crashed.path(), as_suspect()).unwrap();
    assert_eq!(suspect.load(G).await.unwrap().hard_state.trust, Trust::Suspect);
    fs::remove_dir_all(crashed.path().join("engine")).unwrap();
    drop(suspect);
    assert!(matches!(
        refusal(crashed.path()),
        OpenError::FileLost { found: 0, .. }
    ));
}

#[tokio::test]
async fn older_files_that_are_damaged_cut_or_deleted_are_refused() {
    let whole = tempfile::tempdir().unwrap();
    store_with_files(whole.path()).await;
    let files = engine_files(whole.path(), "raftlog").len();
    for number in 0..files - 1 {
        let bytes = fs::metadata(&engine_files(whole.path(), "raftlog")[number])
            .unwrap()
            .len();
        for at in [bytes / 3, bytes / 2, bytes - 2] {
            let dir = crash(whole.path());
            flip(
                &engine_files(dir.path(), "raftlog")[number],
                usize::try_from(at).unwrap(),
                6,
            );
            assert!(is_corrupt(&refusal(dir.path())), "file {number}, byte {at}");
        }
        let dir = crash(whole.path());
        cut(&engine_files(dir.path(), "raftlog")[number], bytes / 2);
        assert!(is_corrupt(&refusal(dir.path())), "file {number}, cut");
        let dir = crash(whole.path());
        fs::remove_file(&engine_files(dir.path(), "raftlog")[number]).unwrap();
        assert!(is_corrupt(&refusal(dir.path())), "file {number}, deleted");
    }
    // An older one in the place of a newer one.
    let dir = crash(whole.path());
    let all = engine_files(dir.path(), "raftlog");
    fs::copy(&all[0], &all[1]).unwrap();
    assert!(is_corrupt(&refusal(dir.path())));
}

#[tokio::test]
async fn missing_and_damaged_watermarks_are_refused() {
    let whole = tempfile::tempdir().unwrap();
    store_with_one_file(whole.path(), true).await;
    let missing = |dir: &Path| matches!(refusal(dir), OpenError::WatermarkMissing { .. });
    for file in ["store.mark", "group-00000000000000000007.mark"] {
        let dir = crash(whole.path());
        fs::remove_file(dir.path().join("watermarks").join(file)).unwrap();
        assert!(missing(dir.path()), "{file}");
        let dir = crash(whole.path());
        fs::write(dir.path().join("watermarks").join(file), [0; 8192]).unwrap();
        assert!(is_corrupt(&refusal(dir.path())), "{file}");
    }
    let dir = crash(whole.path());
    fs::remove_dir_all(dir.path().join("watermarks")).unwrap();
    assert!(missing(dir.path()));
}

/// R68: a store that was put back from an old copy, but for its watermarks, has forgotten what it acknowledged.
#[tokio::test]
async fn stale_files_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, vote(G, 5, None)).await;
    drop(store);
    let old = crash(dir.path());
    let store = open(dir.path());
    write(&store, vote(G, 5, Some(2))).await;
    drop(store);
    fs::remove_dir_all(dir.path().join("engine")).unwrap();
    copy_dir(&old.path().join("engine"), &dir.path().join("engine"));
    assert!(matches!(
        refusal(dir.path()),
        OpenError::HardStateLost { group: G, .. }
    ));
}

/// A quiet group whose entries raft-engine moved to its second kind of files, and a busy one.
async fn store_with_moved_entries(dir: &Path) -> u64 {
    let store = open_with_small_files(dir);
    write(&store, vote(GroupId(1), 3, Some(2))).await;
    write(&store, append(GroupId(1), commands(3, 1..=5))).await;
    let mut index = 0;
    while engine_files(dir, "raftlog")[0].ends_with("0000000000000001.raftlog") {
        index += 1;
        write(&store, append(G, commands(1, index..=index))).await;
        if index % 50 == 0 {
            store.compact(G, id(1, index - 5)).await.unwrap();
        }
        assert!(index < 100_000, "raft-engine never deleted its first file");
    }
    index
}

/// What raft-engine moved is there, and its loss is noticed, although it takes its newest file of that kind lightly.
#[tokio::test]
async fn entries_that_were_moved_are_kept_and_their_loss_is_noticed() {
    let whole = tempfile::tempdir().unwrap();
    let last = store_with_moved_entries(whole.path()).await;
    let store = open(whole.path());
    assert_eq!(read(&store, GroupId(1), 1, 5).await, commands(3, 1..=5));
    assert_eq!(
        store.load(GroupId(1)).await.unwrap().hard_state.vote.unwrap().0,
        2
    );
    assert_eq!(store.load(G).await.unwrap().last_index, Index(last));
    drop(store);
    let moved = engine_files(whole.path(), "rewrite");
    assert!(!moved.is_empty());
    for (number, path) in moved.iter().enumerate() {
        let bytes = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
        // Behind the file's header, which may be all there is.
        for at in (80..bytes).step_by(11) {
            let dir = crash(whole.path());
            flip(&engine_files(dir.path(), "rewrite")[number], at, 1);
            refuses_or_has_all(dir.path(), last).await;
        }
        let dir = crash(whole.path());
        fs::remove_file(&engine_files(dir.path(), "rewrite")[number]).unwrap();
        refuses_or_has_all(dir.path(), last).await;
    }
}

/// Whether it is refused; if not, everything is there.
async fn refuses_or_has_all(dir: &Path, last: u64) -> bool {
    let Ok(store) = EngineLogStore::open_default(dir) else {
        return true;
    };
    assert_eq!(read(&store, GroupId(1), 1, 5).await, commands(3, 1..=5));
    let recovered = store.load(GroupId(1)).await.unwrap();
    assert_eq!(recovered.hard_state.vote.unwrap().0, 2);
    let recovered = store.load(G).await.unwrap();
    assert_eq!(recovered.last_index, Index(last));
    let first = recovered.purged.index.0 + 1;
    assert_eq!(read(&store, G, first, last).await, commands(1, first..=last));
    false
}

/// R11: random damage of every file: nothing that was acknowledged is lost without a word.
#[tokio::test]
async fn random_damage_is_never_a_silent_loss() {
    const DAMAGES: u64 = 60;
    let whole = tempfile::tempdir().unwrap();
    let last = store_with_moved_entries(whole.path()).await;
    let mut numbers = Numbers(u64::from(std::process::id()));
    println!("seed {}", numbers.0);
    let mut refused = 0;
    for _ in 0..DAMAGES {
        let dir = crash(whole.path());
        let mut files = engine_files(dir.path(), "raftlog");
        files.extend(engine_files(dir.path(), "rewrite"));
        files.extend(files_of(&dir.path().join("watermarks"), "mark"));
        files.sort();
        let path = &files[numbers.below(files.len() as u64) as usize];
        let bytes = fs::metadata(path).unwrap().len();
        let at = numbers.below(bytes);
        match numbers.below(4) {
            0 => flip(path, at as usize, (at % 8) as u8),
            1 => cut(path, at),
            2 => {
                let mut content = fs::read(path).unwrap();
                let end = (at as usize + 600).min(content.len());
                content[at as usize..end].fill(0);
                fs::write(path, content).unwrap();
            }
            _ => fs::remove_file(path).unwrap(),
        }
        refused += u64::from(refuses_or_has_all(dir.path(), last).await);
    }
    println!("{refused} of {DAMAGES} refused");
    assert!(refused > DAMAGES / 3, "{refused}");
}
