//! Snapshot files: what a crash leaves, and what damage does.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::traits::{SnapshotStore, SnapshotStoreError, SnapshotWriter};
use raft_core::types::GroupId;
use raft_storage_rocksdb::FileSnapshotStore;

use crate::support::*;

const BLOCK_BYTES: usize = 256 << 10;

fn content(bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(bytes as u64);
    (0..bytes).map(|_| numbers.below(256) as u8).collect()
}

fn store(dir: &Path) -> FileSnapshotStore {
    FileSnapshotStore::open(dir).unwrap()
}

/// Writes the first `bytes` of a snapshot of `whole` without finishing it, in chunks of odd sizes.
async fn begin(store: &FileSnapshotStore, meta: &SnapshotMeta, whole: &[u8], bytes: usize) {
    let mut writer = resume(store, meta, whole).await;
    assert_eq!(writer.offset(), 0);
    for chunk in whole[..bytes].chunks(77_777) {
        writer.write_chunk(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    assert_eq!(writer.offset(), bytes as u64);
}

/// Begins a snapshot that is known to become `whole`.
async fn resume(store: &FileSnapshotStore, meta: &SnapshotMeta, whole: &[u8]) -> Box<dyn SnapshotWriter> {
    let content = Some(SnapshotContent::of(whole));
    store.begin(G, meta, content).await.unwrap()
}

/// Goes on with an unfinished snapshot, and finishes it; returns where it went on.
async fn finish(store: &FileSnapshotStore, meta: &SnapshotMeta, bytes: &[u8]) -> usize {
    let mut writer = resume(store, meta, bytes).await;
    let offset = writer.offset() as usize;
    writer
        .write_chunk(Bytes::copy_from_slice(&bytes[offset..]))
        .await
        .unwrap();
    writer.finish().await.unwrap();
    offset
}

async fn read_all(store: &FileSnapshotStore, meta: &SnapshotMeta) -> Result<Vec<u8>, SnapshotStoreError> {
    read_from(store, meta, 0).await
}

async fn read_from(
    store: &FileSnapshotStore,
    meta: &SnapshotMeta,
    offset: u64,
) -> Result<Vec<u8>, SnapshotStoreError> {
    let mut reader = store.open(G, meta.last).await?;
    reader.seek(offset).await?;
    let mut bytes = Vec::new();
    loop {
        let chunk = reader.read_chunk(100_000).await?;
        if chunk.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// The only file of the group.
fn only_file(dir: &Path) -> PathBuf {
    let group = dir.join(format!("group-{:020}", G.0));
    let mut files = fs::read_dir(group).unwrap().map(|file| file.unwrap().path());
    let file = files.next().unwrap();
    assert!(files.next().is_none());
    file
}

#[tokio::test]
async fn sizes_around_a_block_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [
        0,
        1,
        BLOCK_BYTES - 1,
        BLOCK_BYTES,
        BLOCK_BYTES + 1,
        2 * BLOCK_BYTES,
        1_000_000,
    ];
    for (number, size) in (1..).zip(sizes) {
        let meta = meta(1, number);
        let bytes = content(size);
        finish(&store(dir.path()), &meta, &bytes).await;
        let store = store(dir.path());
        assert_eq!(read_all(&store, &meta).await.unwrap(), bytes);
        for offset in [0, size / 3, size] {
            assert_eq!(
                read_from(&store, &meta, offset as u64).await.unwrap(),
                bytes[offset..]
            );
        }
        assert!(read_from(&store, &meta, size as u64 + 1).await.is_err());
    }
    assert_eq!(store(dir.path()).list(G).await.unwrap().len(), sizes.len());
}

/// R54: an interrupted transfer goes on where it stopped, also when the crash tore what was written last.
#[tokio::test]
async fn a_crash_leaves_something_to_go_on_with() {
    let whole = content(3 * BLOCK_BYTES + 5_000);
    for written in [0, 1, 100, BLOCK_BYTES, BLOCK_BYTES + 99, 3 * BLOCK_BYTES + 4_999] {
        let dir = tempfile::tempdir().unwrap();
        begin(&store(dir.path()), &meta(2, 9), &whole, written).await;
        let unfinished = only_file(dir.path());
        assert!(unfinished.extension().unwrap() == "tmp");
        for torn in [false, true] {
            if torn {
                cut(&unfinished, fs::metadata(&unfinished).unwrap().len() - 1);
            }
            let store = store(dir.path());
            assert!(store.list(G).await.unwrap().is_empty());
            assert!(matches!(
                store.open(G, meta(2, 9).last).await,
                Err(SnapshotStoreError::NotFound { .. })
            ));
            let offset = resume(&store, &meta(2, 9), &whole).await.offset() as usize;
            match torn {
                false => assert_eq!(offset, written),
                true => assert!(offset <= written && written - offset <= BLOCK_BYTES),
            }
        }
        let store = store(dir.path());
        finish(&store, &meta(2, 9), &whole).await;
        assert_eq!(read_all(&store, &meta(2, 9)).await.unwrap(), whole);
        assert_eq!(store.list(G).await.unwrap(), [meta(2, 9)]);
    }
}

/// A power loss may leave blocks that were never written: they are not taken for content.
#[tokio::test]
async fn a_resume_stops_at_the_first_byte_that_was_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let whole = content(4 * BLOCK_BYTES);
    begin(&store(dir.path()), &meta(1, 1), &whole, 3 * BLOCK_BYTES + 10).await;
    let file = only_file(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    let hole = bytes.len() - 2 * BLOCK_BYTES;
    bytes[hole..hole + 4096].fill(0);
    fs::write(&file, bytes).unwrap();
    let store = store(dir.path());
    assert_eq!(finish(&store, &meta(1, 1), &whole).await, BLOCK_BYTES);
    assert_eq!(read_all(&store, &meta(1, 1)).await.unwrap(), whole);
}

#[tokio::test]
async fn another_snapshot_of_the_same_name_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let whole = content(1_000);
    begin(&store, &meta(1, 1), &whole, 900).await;
    let other = SnapshotMeta {
        membership: raft_core::membership::Membership::of_voters([raft_core::types::NodeId(9)]).unwrap(),
        ..meta(1, 1)
    };
    assert_eq!(resume(&store, &other, &whole).await.offset(), 0);
    finish(&store, &other, &content(10)).await;
    assert_eq!(store.list(G).await.unwrap(), [other]);
}

#[tokio::test]
async fn one_snapshot_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let first = store.begin(G, &meta(1, 1), None).await.unwrap();
    let Err(second) = store.begin(G, &meta(1, 1), None).await.map(|_| ()) else {
        panic!("two writers on one file")
    };
    assert!(second.to_string().contains("being written already"), "{second}");
    store.begin(G, &meta(1, 2), None).await.unwrap();
    drop(first);
    store.begin(G, &meta(1, 1), None).await.unwrap();
}

/// R77: no flipped bit of a snapshot is ever handed out.
#[tokio::test]
async fn a_flipped_bit_is_noticed_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let whole = content(BLOCK_BYTES + 1_000);
    finish(&store(dir.path()), &meta(1, 1), &whole).await;
    let file = only_file(dir.path());
    let original = fs::read(&file).unwrap();
    let mut numbers = Numbers(3);
    let ends = (0..80).chain(original.len() - 40..original.len());
    let random: Vec<usize> = (0..100)
        .map(|_| numbers.below(original.len() as u64) as usize)
        .collect();
    for at in ends.chain(random) {
        let mut damaged = original.clone();
        damaged[at] ^= 1 << numbers.below(8);
        fs::write(&file, &damaged).unwrap();
        let store = store(dir.path());
        let result = read_all(&store, &meta(1, 1)).await;
        let error = result.expect_err("a damaged snapshot must not be read");
        assert!(
            matches!(error, SnapshotStoreError::Corrupt(_)),
            "byte {at}: {error}"
        );
        assert!(error.to_string().contains("remove the file"), "{error}");
    }
    for bytes in [0, 7, 30, original.len() / 2, original.len() - 1] {
        fs::write(&file, &original[..bytes]).unwrap();
        let store = store(dir.path());
        assert!(matches!(
            read_all(&store, &meta(1, 1)).await,
            Err(SnapshotStoreError::Corrupt(_))
        ));
        assert!(
            store.list(G).await.unwrap().is_empty(),
            "a cut snapshot is not listed"
        );
    }
}

/// A whole block of another snapshot has a right checksum of its own; the checksum of the whole content notices.
#[tokio::test]
async fn a_foreign_block_is_noticed_by_a_read_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let one = content(2 * BLOCK_BYTES);
    let other: Vec<u8> = one.iter().map(|byte| !byte).collect();
    finish(&store(dir.path()), &meta(1, 2), &other).await;
    let file = only_file(dir.path());
    let foreign = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    finish(&store(dir.path()), &meta(1, 1), &one).await;
    let file = only_file(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    assert_eq!(bytes.len(), foreign.len());
    let header_bytes = bytes.len() - 16 - 2 * (BLOCK_BYTES + 4);
    let block = header_bytes..header_bytes + BLOCK_BYTES + 4;
    bytes[block.clone()].copy_from_slice(&foreign[block]);
    fs::write(&file, bytes).unwrap();
    let error = read_all(&store(dir.path()), &meta(1, 1))
        .await
        .expect_err("a mixed snapshot must not be read");
    assert!(
        error.to_string().contains("the checksum of its content"),
        "{error}"
    );
}

#[tokio::test]
async fn a_snapshot_under_another_name_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    finish(&store(dir.path()), &meta(1, 1), b"x").await;
    let file = only_file(dir.path());
    fs::rename(&file, file.with_file_name("snap-00000000000000000002-1.snap")).unwrap();
    let store = store(dir.path());
    assert!(store.list(G).await.unwrap().is_empty());
    assert!(matches!(
        store.open(G, meta(1, 2).last).await,
        Err(SnapshotStoreError::Corrupt(_))
    ));
}

#[tokio::test]
async fn removal_takes_the_older_ones_and_what_is_unfinished_but_keeps_two() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for index in [10, 20, 30] {
        finish(&store, &meta(index, index), b"finished").await;
    }
    for index in [5, 35, 45] {
        begin(&store, &meta(index, index), b"unfinished", 10).await;
    }
    store.remove_older(G, id(40, 40)).await.unwrap();
    assert_eq!(store.list(G).await.unwrap(), [meta(20, 20), meta(30, 30)]);
    let resumed = async |index| resume(&store, &meta(index, index), b"unfinished").await.offset();
    assert_eq!(
        (resumed(5).await, resumed(35).await, resumed(45).await),
        (0, 0, 10)
    );
    // A damaged snapshot is none of the two.
    let damaged = dir
        .path()
        .join(format!("group-{:020}/snap-{:020}-30.snap", G.0, 30));
    flip(&damaged, 3, 1);
    finish(&store, &meta(50, 50), b"finished").await;
    store.remove_older(G, id(50, 50)).await.unwrap();
    assert_eq!(store.list(G).await.unwrap(), [meta(20, 20), meta(50, 50)]);
    assert!(!damaged.exists());
    store.remove_older(GroupId(99), id(1, 1)).await.unwrap();
}
