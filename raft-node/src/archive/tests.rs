//! What is archived, and what is made again from it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{GroupWrite, LogStore, SnapshotStore};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_kv::{Command, DeleteRangeRequest, KvOptions, KvStateMachine, KvStore, PutRequest, StateHash};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogOptions, RocksLogStore};
use tempfile::TempDir;

use super::error::RestoreError;
use super::files::{Archive, ArchiveOptions, Window};
use super::log_store::ArchivingLogStore;
use super::restore::{Past, found_group};
use super::segment::Segment;
use super::times::{self, Moment, Times};

const GROUP: GroupId = GroupId(1);

/// The past of a node that no consensus disturbs: entries are committed when they are written.
struct Scene {
    directory: TempDir,
    log: ArchivingLogStore,
    inner: Arc<dyn LogStore>,
    snapshots: Arc<FileSnapshotStore>,
    state: ReplicatedState,
    store: Arc<KvStore>,
    last: EntryId,
    archive_bytes_max: u64,
}

fn open_archive(directory: &Path, bytes_max: u64) -> Archive {
    let options = ArchiveOptions {
        owner: "node 1 of cluster test".to_owned(),
        group: GROUP,
        bytes_max,
    };
    let bases = FileSnapshotStore::open(Archive::bases_directory(directory)).unwrap();
    Archive::open(directory, options, Arc::new(bases)).unwrap()
}

fn open_kv(directory: &Path) -> (ReplicatedState, Arc<KvStore>) {
    std::fs::create_dir_all(directory).unwrap();
    let (machine, store) = KvStateMachine::open(directory, KvOptions::default()).unwrap();
    (ReplicatedState::open(Box::new(machine)).unwrap(), store)
}

impl Scene {
    async fn new(archive_bytes_max: u64) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for part in ["log", "snapshots"] {
            std::fs::create_dir(at(part)).unwrap();
        }
        let inner: Arc<dyn LogStore> =
            Arc::new(RocksLogStore::open(at("log"), RocksLogOptions::default()).unwrap());
        let snapshots = Arc::new(FileSnapshotStore::open(at("snapshots")).unwrap());
        let archive = open_archive(&at("archive"), archive_bytes_max);
        let (state, store) = open_kv(&at("kv"));
        let first = SnapshotMeta {
            last: EntryId::ZERO,
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
        };
        let scene = Scene {
            log: ArchivingLogStore::new(inner.clone(), snapshots.clone(), archive),
            inner,
            snapshots,
            state,
            store,
            last: EntryId::ZERO,
            archive_bytes_max,
            directory,
        };
        scene.write(Some(first), LogChange::Append(Vec::new())).await;
        scene
    }

    async fn write(&self, snapshot: Option<SnapshotMeta>, log: LogChange) {
        let hard_state = HardState {
            term: Term(9),
            vote: None,
            commit: self.last.index,
            trust: Trust::Trusted,
        };
        let write = GroupWrite {
            group: GROUP,
            hard_state: Some(hard_state),
            snapshot,
            log,
        };
        self.log.write(vec![write]).await.unwrap();
    }

    /// Commits and applies `count` puts, of keys that come again.
    async fn put(&mut self, count: u64) {
        self.commit(count, 1).await;
    }

    /// The same, but only one of `share` commands changes something.
    async fn commit(&mut self, count: u64, share: u64) {
        let entries: Vec<Entry> = (1..=count)
            .map(|step| {
                let index = self.last.index.0 + step;
                let command = if index.is_multiple_of(share) {
                    Command::Put(PutRequest {
                        key: Bytes::from(format!("key {}", index * 7_919 % 1_009)),
                        value: Bytes::from(format!("value {index}")),
                        ..PutRequest::default()
                    })
                } else {
                    // It changes nothing: the log grows, and the state does not.
                    Command::DeleteRange(DeleteRangeRequest {
                        key: Bytes::from(format!("nobody {index:0>200}")),
                        ..DeleteRangeRequest::default()
                    })
                };
                // A term now and then.
                Entry::command(Term(1 + index / 1_000), Index(index), command.encode())
            })
            .collect();
        self.last = entries.last().unwrap().id;
        self.write(None, LogChange::Append(entries.clone())).await;
        self.state.apply(&entries).unwrap();
    }

    fn hash(&self) -> StateHash {
        self.store.hash(0).unwrap()
    }

    /// Takes a snapshot, and forgets the log up to `kept` entries below it.
    async fn compact(&mut self, kept: u64) {
        let meta = self.snapshot().await;
        self.write(Some(meta.clone()), LogChange::Append(Vec::new()))
            .await;
        let through = Index(self.last.index.0.saturating_sub(kept));
        let term = Term(1 + through.0 / 1_000);
        self.log
            .compact(GROUP, EntryId::new(term, through))
            .await
            .unwrap();
        self.snapshots.remove_older(GROUP, meta.last).await.unwrap();
    }

    async fn snapshot(&mut self) -> SnapshotMeta {
        let meta = SnapshotMeta {
            last: self.last,
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
        };
        let mut content = Vec::new();
        std::io::copy(&mut self.state.snapshot().unwrap(), &mut content).unwrap();
        let mut writer = self.snapshots.begin(GROUP, &meta, None).await.unwrap();
        writer.write_chunk(content.into()).await.unwrap();
        writer.finish().await.unwrap();
        meta
    }

    /// What `raft-node restore` finds.
    async fn past(&self, with_archive: bool) -> Past {
        let archive = open_archive(&self.directory.path().join("archive"), self.archive_bytes_max);
        Past {
            group: GROUP,
            recovered: self.inner.load(GROUP).await.unwrap(),
            log: self.inner.clone(),
            snapshots: self.snapshots.clone(),
            archive: with_archive.then_some(archive),
            commit: self.last.index,
        }
    }

    async fn restored_hash(&self, past: &Past, index: u64) -> StateHash {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap();
        let (state, store) = open_kv(directory.path());
        let plan = past.plan(Index(index)).await.unwrap();
        let (state, last) = past.replay(&plan, state, |_| {}).await.unwrap();
        assert_eq!((last.index, state.last_applied()), (Index(index), last));
        store.hash(0).unwrap()
    }
}

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

impl Scene {
    /// Keeps the newest snapshot as a base of the archive.
    async fn keep_base(&self) {
        let archive = open_archive(&self.directory.path().join("archive"), 1);
        let newest = self.snapshots.list(GROUP).await.unwrap().pop().unwrap();
        archive.copy_base(&*self.snapshots, &newest).await.unwrap();
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

impl Scene {
    /// Applies entries up to index `last` that are not in the log.
    async fn apply_unseen(&mut self, last: u64) {
        let entries: Vec<Entry> = (self.last.index.0 + 1..=last)
            .map(|index| Entry::noop(Term(1), Index(index)))
            .collect();
        self.last = entries.last().unwrap().id;
        self.state.apply(&entries).unwrap();
    }
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

/// R56: a bit that flips anywhere in a segment is noticed, and a file that ends early, too.
#[test]
fn a_damaged_segment_is_refused_wherever_it_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let entries: Vec<Entry> = (4..9)
        .map(|index| Entry::command(Term(2), Index(index), Bytes::from(vec![7; 20])))
        .collect();
    let segment = Segment::write(directory.path(), GROUP, EntryId::new(Term(1), Index(3)), &entries).unwrap();
    assert_eq!(
        Segment::of_file(&segment.path, segment.bytes),
        Some(segment.clone())
    );
    assert_eq!(segment.read(GROUP).unwrap(), entries);
    assert!(
        segment
            .read(GroupId(2))
            .unwrap_err()
            .to_string()
            .contains("group 1")
    );
    let whole = std::fs::read(&segment.path).unwrap();
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << bit;
            std::fs::write(&segment.path, &damaged).unwrap();
            segment.read(GROUP).unwrap_err();
        }
        std::fs::write(&segment.path, &whole[..place]).unwrap();
        segment.read(GROUP).unwrap_err();
    }
}

/// A node does not go on with the archive of another one.
#[test]
fn the_archive_of_another_node_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open_archive(directory.path(), 1);
    let options = ArchiveOptions {
        owner: "node 2 of cluster test".to_owned(),
        group: GROUP,
        bytes_max: 1,
    };
    let bases = FileSnapshotStore::open(Archive::bases_directory(directory.path())).unwrap();
    let refused = Archive::open(directory.path(), options, Arc::new(bases))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("node 1 of cluster test") && refused.contains("--archive"),
        "{refused}"
    );
}

/// The clock may step back and the power may go: what was noted before is found all the same.
#[test]
fn times_are_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("TIMES");
    let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let moment = |seconds: u64, index| Moment {
        unix_ms: seconds * 1_000,
        applied: Index(index),
    };
    let mut times = Times::open(&path).unwrap();
    times.note(at(100), Index(5)).unwrap();
    times.note(at(101), Index(5)).unwrap();
    times.note(at(102), Index(9)).unwrap();
    times.note(at(50), Index(12)).unwrap();
    drop(times);
    let expected = [moment(100, 5), moment(102, 9), moment(102, 12)];
    assert_eq!(times::read(&path).unwrap(), expected);
    let contents = std::fs::read(&path).unwrap();
    for end in 0..contents.len() {
        std::fs::write(&path, &contents[..end]).unwrap();
        let mut times = Times::open(&path).unwrap();
        times.note(at(200), Index(20)).unwrap();
        drop(times);
        let found = times::read(&path).unwrap();
        let (last, before) = found.split_last().unwrap();
        assert_eq!(*last, moment(200, 20));
        assert_eq!(before, &expected[..end / 20]);
    }
    let found = times::find(&expected, 101_999);
    assert_eq!(found, (Some(expected[0]), Some(expected[1])));
    assert_eq!(times::find(&expected, 99_999), (None, Some(expected[0])));
    assert_eq!(times::find(&expected, u64::MAX), (Some(expected[2]), None));
}
