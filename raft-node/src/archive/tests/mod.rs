//! What is archived, and what is made again from it.

mod damage;
mod power;
mod retention;
mod scene;
mod times;

use raft_core::effect::LogChange;
use raft_core::membership::Membership;
use raft_core::traits::{LogStore, SnapshotStore};
use raft_core::types::{EntryId, Index, NodeId, Term};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogOptions, RocksLogStore};

use super::error::RestoreError;
use super::files::{Archive, ArchiveOptions, Window};
use super::restore::found_group;
use scene::{GROUP, Scene, open_archive, open_bases, open_kv, options};

/// A generator of indexes.
fn next_random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// S4: 50 random indexes of a history of 100,000 writes: at each the restored state's hash is the one that was recorded.
#[tokio::test]
async fn every_sampled_index_is_restored_as_it_was() {
    const WRITES: u64 = 100_000;
    const SAMPLES: usize = 50;
    let mut random = 2_026;
    let mut indexes: Vec<u64> = (0..SAMPLES)
        .map(|_| 1 + next_random(&mut random) % WRITES)
        .collect();
    indexes.sort_unstable();
    indexes.dedup();
    let mut scene = Scene::new(u64::MAX).await;
    let mut recorded = Vec::new();
    let mut compacted_at = 0;
    for index in indexes {
        while scene.last.index.0 < index {
            scene.put((index - scene.last.index.0).min(500)).await;
            if scene.last.index.0 - compacted_at > 7_000 {
                compacted_at = scene.last.index.0;
                scene.compact(1_000).await;
                // The past of a node has bases where the operator's limits put them; here often, to be quick.
                scene.keep_base().await;
            }
        }
        recorded.push((index, scene.hash()));
    }
    let past = scene.past(true).await;
    assert_eq!(
        past.windows().await.unwrap(),
        [Window {
            first: Index(0),
            last: scene.last.index
        }]
    );
    for (index, hash) in recorded {
        assert_eq!(scene.restored_hash(&past, index).await, hash, "at index {index}");
    }
}

/// Without an archive the window is what the log still has; outside of it the refusal names it.
#[tokio::test]
async fn without_an_archive_the_log_is_the_window() {
    let mut scene = Scene::new(u64::MAX).await;
    scene.put(300).await;
    let early = scene.hash();
    scene.put(700).await;
    let past = scene.past(false).await;
    assert_eq!(scene.restored_hash(&past, 300).await, early);
    scene.compact(100).await;
    scene.put(50).await;
    let past = scene.past(false).await;
    assert_eq!(
        past.windows().await.unwrap(),
        [Window {
            first: Index(1_000),
            last: Index(1_050)
        }]
    );
    assert_eq!(scene.restored_hash(&past, 1_050).await, scene.hash());
    let refused = past.plan(Index(300)).await.unwrap_err();
    assert!(matches!(refused, RestoreError::OutsideWindow { .. }));
    assert!(refused.to_string().contains("1000 to 1050"), "{refused}");
    let refused = past.plan(Index(1_051)).await.unwrap_err();
    assert!(matches!(
        refused,
        RestoreError::NotCommitted {
            commit: Index(1_050),
            ..
        }
    ));
    let with_archive = scene.past(true).await;
    assert_eq!(scene.restored_hash(&with_archive, 300).await, early);
}

/// R54: a log whose archive cannot be written keeps its entries, and the next compaction archives them.
#[tokio::test]
async fn what_cannot_be_archived_is_not_forgotten() {
    let mut scene = Scene::new(u64::MAX).await;
    scene.put(200).await;
    let meta = scene.snapshot().await;
    let entries = scene.directory.path().join("archive/entries");
    std::fs::remove_dir(&entries).unwrap();
    scene.log.compact(GROUP, meta.last).await.unwrap_err();
    assert_eq!(scene.log.figures().failures(), 1);
    assert_eq!(scene.inner.load(GROUP).await.unwrap().purged, EntryId::ZERO);
    std::fs::create_dir(&entries).unwrap();
    scene.log.compact(GROUP, meta.last).await.unwrap();
    assert_eq!(scene.log.figures().last_index(), 200);
    let past = scene.past(true).await;
    scene.restored_hash(&past, 117).await;
}

/// Over its limit the archive forgets its oldest part, up to a base; what is left is restorable from its beginning on.
#[tokio::test]
async fn a_bounded_archive_forgets_its_oldest_part() {
    const BYTES_MAX: u64 = 400_000;
    let mut scene = Scene::new(BYTES_MAX).await;
    let mut hashes = Vec::new();
    for _ in 0..24 {
        scene.commit(400, 40).await;
        hashes.push((scene.last.index.0, scene.hash()));
        scene.compact(0).await;
    }
    let past = scene.past(true).await;
    let archive = past.archive.as_ref().unwrap();
    assert!(
        archive.segment_bytes() <= BYTES_MAX,
        "{}",
        archive.segment_bytes()
    );
    let windows = past.windows().await.unwrap();
    let [window] = windows[..] else {
        panic!("{windows:?}")
    };
    assert!(
        window.first > Index(1) && window.last == scene.last.index,
        "{window}"
    );
    let inside: Vec<_> = hashes
        .iter()
        .filter(|(index, _)| *index >= window.first.0)
        .collect();
    assert!(inside.len() > 1 && inside.len() < hashes.len());
    for (index, hash) in inside {
        assert_eq!(scene.restored_hash(&past, *index).await, *hash);
    }
}

/// A snapshot of the leader's replaces the log: the archive has a gap there, and goes on from the snapshot.
#[tokio::test]
async fn a_gap_is_bridged_by_the_snapshot() {
    let mut scene = Scene::new(u64::MAX).await;
    scene.put(100).await;
    scene.compact(0).await;
    let before = scene.hash();
    // What a leader would send: the state further on, without the entries that lead there.
    let (skipped, last) = (scene.last.index.0, 400);
    let log = std::mem::replace(&mut scene.last, EntryId::new(Term(1), Index(skipped)));
    assert_eq!(log.index.0, 100);
    scene.apply_unseen(last).await;
    let meta = scene.snapshot().await;
    scene.write(Some(meta), LogChange::Reset(Vec::new())).await;
    scene.put(100).await;
    let after = scene.hash();
    scene.compact(10).await;
    let past = scene.past(true).await;
    let windows = past.windows().await.unwrap();
    assert_eq!(
        windows,
        [
            Window {
                first: Index(0),
                last: Index(100)
            },
            Window {
                first: Index(400),
                last: Index(500)
            }
        ]
    );
    assert_eq!(scene.restored_hash(&past, 100).await, before);
    assert_eq!(scene.restored_hash(&past, 500).await, after);
    assert!(past.plan(Index(250)).await.is_err());
}

/// S4: a new group begins with a restored state, and its log goes on from there.
#[tokio::test]
async fn a_new_group_begins_with_the_restored_state() {
    let mut scene = Scene::new(u64::MAX).await;
    scene.put(250).await;
    let past = scene.past(true).await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (state, _store) = open_kv(&at("kv"));
    let plan = past.plan(Index(200)).await.unwrap();
    let (mut state, last) = past.replay(&plan, state, |_| {}).await.unwrap();
    std::fs::create_dir(at("log")).unwrap();
    std::fs::create_dir(at("snapshots")).unwrap();
    let log = RocksLogStore::open(at("log"), RocksLogOptions::default()).unwrap();
    let snapshots = FileSnapshotStore::open(at("snapshots")).unwrap();
    found_group(GROUP, NodeId(7), last, &mut state, &snapshots, &log)
        .await
        .unwrap();
    let recovered = log.load(GROUP).await.unwrap();
    assert_eq!((recovered.purged, recovered.last_index), (last, Index(200)));
    assert_eq!(
        recovered.snapshot.membership,
        Membership::of_voters([NodeId(7)]).unwrap()
    );
    assert_eq!(
        snapshots.list(GROUP).await.unwrap(),
        std::slice::from_ref(&recovered.snapshot)
    );
    assert_eq!(recovered.hard_state.commit, Index(200));
}

/// A node does not go on with the archive of another one.
#[test]
fn the_archive_of_another_node_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open_archive(directory.path(), 1);
    let other = ArchiveOptions {
        owner: "node 2 of cluster test".to_owned(),
        ..options(1)
    };
    let bases = open_bases(directory.path());
    let refused = Archive::open(directory.path(), other, bases)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("node 1 of cluster test") && refused.contains("--archive"),
        "{refused}"
    );
}
