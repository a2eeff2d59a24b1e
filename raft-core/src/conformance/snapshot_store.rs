//! What every [`SnapshotStore`] must do.

use std::sync::Arc;

use bytes::Bytes;

use crate::membership::Membership;
use crate::message::{SnapshotContent, SnapshotMeta};
use crate::traits::{SnapshotStore, SnapshotStoreError, SnapshotWriter};
use crate::types::{EntryId, GroupId, Index, NodeId, Term};

/// Checks every invariant of [`SnapshotStore`] that can be checked without pulling the plug.
///
/// `open` opens the same, initially empty place each time. The suite uses groups 1 to 9 and leaves data behind.
///
/// # Panics
/// Names the invariant that does not hold.
pub async fn snapshot_store<Open>(open: Open)
where
    Open: AsyncFn() -> Arc<dyn SnapshotStore>,
{
    a_snapshot_survives(&open, GroupId(1)).await;
    an_unfinished_snapshot_is_invisible_and_resumable(&open, GroupId(2)).await;
    only_the_same_content_is_resumed(&open, GroupId(6)).await;
    other_content_than_announced_is_refused(&open, GroupId(7)).await;
    an_aborted_snapshot_is_gone(&open, GroupId(3)).await;
    removal_keeps_the_two_newest(&open, GroupId(4)).await;
    an_empty_snapshot_is_a_snapshot(&open, GroupId(5)).await;
    destroy_forgets_one_group(&open, GroupId(8), GroupId(9)).await;
}

/// Finished or not, nothing of a destroyed group is left, and nothing of another is touched.
async fn destroy_forgets_one_group(
    open: &impl AsyncFn() -> Arc<dyn SnapshotStore>,
    group: GroupId,
    neighbour: GroupId,
) {
    let store = open().await;
    let whole = content(1_000);
    let begin = async |store: &dyn SnapshotStore| {
        let content = Some(SnapshotContent::of(&whole));
        store.begin(group, &meta(30), content).await.expect("begin")
    };
    for index in [10, 20] {
        save(&*store, group, &meta(index), &whole).await;
        save(&*store, neighbour, &meta(index), &whole).await;
    }
    let mut writer = begin(&*store).await;
    write(&mut *writer, &whole[..500]).await;
    drop(writer);
    store.destroy(group).await.expect("destroy a group");
    store
        .destroy(group)
        .await
        .expect("destroying it again does nothing");
    assert!(
        list(&*store, group).await.is_empty(),
        "a destroyed group has no snapshot"
    );
    assert_eq!(list(&*store, neighbour).await, [meta(10), meta(20)]);
    drop(store);
    let store = open().await;
    assert!(
        list(&*store, group).await.is_empty(),
        "nor has it one after reopening"
    );
    let found = store.open(group, meta(20).last).await;
    assert!(matches!(found, Err(SnapshotStoreError::NotFound { .. })));
    assert_eq!(
        begin(&*store).await.offset(),
        0,
        "what was unfinished is gone, too"
    );
    assert_eq!(read(&*store, neighbour, &meta(20), 0).await, whole);
}

async fn a_snapshot_survives(open: &impl AsyncFn() -> Arc<dyn SnapshotStore>, group: GroupId) {
    let store = open().await;
    assert!(
        list(&*store, group).await.is_empty(),
        "a new group has no snapshot"
    );
    save(&*store, group, &meta(10), &content(300_000)).await;
    drop(store);
    let store = open().await;
    assert_eq!(
        list(&*store, group).await,
        [meta(10)],
        "the list after reopening, membership included"
    );
    assert_eq!(read(&*store, group, &meta(10), 0).await, content(300_000));
    assert_eq!(
        read(&*store, group, &meta(10), 123_456).await,
        content(300_000)[123_456..],
        "a read that resumes in the middle"
    );
    assert!(
        list(&*store, GroupId(u64::MAX)).await.is_empty(),
        "groups are apart"
    );
    let absent = EntryId::new(Term(1), Index(11));
    let result = store.open(group, absent).await;
    assert!(
        matches!(result, Err(SnapshotStoreError::NotFound { last, .. }) if last == absent),
        "a snapshot that was never made must be NotFound"
    );
}

/// R54: what is not finished cannot be opened; what is there already need not be sent again.
async fn an_unfinished_snapshot_is_invisible_and_resumable(
    open: &impl AsyncFn() -> Arc<dyn SnapshotStore>,
    group: GroupId,
) {
    let whole = content(200_000);
    let store = open().await;
    let resume = async |store: &dyn SnapshotStore| {
        let content = Some(SnapshotContent::of(&whole));
        store.begin(group, &meta(5), content).await.expect("begin")
    };
    let mut writer = resume(&*store).await;
    assert_eq!(writer.offset(), 0, "a new snapshot begins at 0");
    write(&mut *writer, &whole[..80_000]).await;
    assert_eq!(writer.offset(), 80_000, "the offset counts what was written");
    assert!(
        list(&*store, group).await.is_empty(),
        "an unfinished snapshot is not listed"
    );
    assert!(
        store.open(group, meta(5).last).await.is_err(),
        "an unfinished snapshot cannot be opened"
    );
    drop(writer);
    let mut writer = resume(&*store).await;
    let stored = usize::try_from(writer.offset()).expect("an offset fits");
    assert!(stored <= 80_000, "more is stored than was written");
    write(&mut *writer, &whole[stored..]).await;
    writer.finish().await.expect("finish");
    drop(store);
    assert_eq!(
        read(&*open().await, group, &meta(5), 0).await,
        whole,
        "a resumed snapshot is the whole one"
    );
}

/// R54: the beginning of one content is no beginning of another one, even if both are snapshots of the same state.
async fn only_the_same_content_is_resumed(open: &impl AsyncFn() -> Arc<dyn SnapshotStore>, group: GroupId) {
    let one = content(150_000);
    let other: Vec<u8> = one.iter().map(|byte| !byte).collect();
    let announce = async |store: &dyn SnapshotStore, bytes: &[u8]| {
        let content = Some(SnapshotContent::of(bytes));
        store.begin(group, &meta(5), content).await.expect("begin")
    };
    let store = open().await;
    write(&mut *announce(&*store, &one).await, &one[..60_000]).await;
    let writer = announce(&*store, &other).await;
    assert_eq!(writer.offset(), 0, "another content begins at 0");
    drop(writer);
    write(&mut *announce(&*store, &other).await, &other[..60_000]).await;
    let made_here = begin(&*store, group, &meta(5)).await;
    assert_eq!(made_here.offset(), 0, "a snapshot that is made here begins at 0");
    drop(made_here);
    drop(store);
    let store = open().await;
    let mut writer = announce(&*store, &one).await;
    let stored = usize::try_from(writer.offset()).expect("an offset fits");
    write(&mut *writer, &one[stored..]).await;
    writer.finish().await.expect("finish");
    assert_eq!(
        read(&*store, group, &meta(5), 0).await,
        one,
        "a finished snapshot is of one content"
    );
}

/// R54: what did not arrive as it was sent never becomes a snapshot, nor the beginning of one.
async fn other_content_than_announced_is_refused(
    open: &impl AsyncFn() -> Arc<dyn SnapshotStore>,
    group: GroupId,
) {
    let sent = content(100_000);
    let announced = Some(SnapshotContent::of(&sent));
    let mut altered = sent.clone();
    altered[70_000] ^= 1;
    let store = open().await;
    for arrived in [&sent[..99_999], &[&sent[..], &[0]].concat(), &altered, &[]] {
        let mut writer = store.begin(group, &meta(5), announced).await.expect("begin");
        assert_eq!(writer.offset(), 0, "what was refused is thrown away");
        write(&mut *writer, arrived).await;
        let result = writer.finish().await;
        assert!(
            matches!(result, Err(SnapshotStoreError::Corrupt(_))),
            "{} bytes instead of the announced 100000: {result:?}",
            arrived.len()
        );
        assert!(list(&*store, group).await.is_empty());
    }
    let mut writer = store.begin(group, &meta(5), announced).await.expect("begin");
    write(&mut *writer, &sent).await;
    writer.finish().await.expect("finish what was announced");
    assert_eq!(list(&*store, group).await, [meta(5)]);
}

async fn an_aborted_snapshot_is_gone(open: &impl AsyncFn() -> Arc<dyn SnapshotStore>, group: GroupId) {
    let store = open().await;
    let mut writer = begin(&*store, group, &meta(5)).await;
    write(&mut *writer, &content(1_000)).await;
    writer.abort().await.expect("abort");
    assert_eq!(
        begin(&*store, group, &meta(5)).await.offset(),
        0,
        "an aborted snapshot begins at 0 again"
    );
    assert!(list(&*store, group).await.is_empty());
}

async fn removal_keeps_the_two_newest(open: &impl AsyncFn() -> Arc<dyn SnapshotStore>, group: GroupId) {
    let store = open().await;
    for index in [10, 20, 30, 40] {
        save(&*store, group, &meta(index), &content(index as usize)).await;
    }
    let mut reader = store
        .open(group, meta(10).last)
        .await
        .expect("open the oldest snapshot");
    store
        .remove_older(group, meta(20).last)
        .await
        .expect("remove older snapshots");
    assert_eq!(list(&*store, group).await, [meta(20), meta(30), meta(40)]);
    let chunk = reader
        .read_chunk(100)
        .await
        .expect("a reader survives the removal");
    assert_eq!(chunk, content(10), "an open reader reads what it opened");
    drop(reader);
    store
        .remove_older(group, meta(40).last)
        .await
        .expect("remove older snapshots");
    assert_eq!(
        list(&*store, group).await,
        [meta(30), meta(40)],
        "the two newest are kept, and they are listed oldest first"
    );
    drop(store);
    assert_eq!(list(&*open().await, group).await, [meta(30), meta(40)]);
}

async fn an_empty_snapshot_is_a_snapshot(open: &impl AsyncFn() -> Arc<dyn SnapshotStore>, group: GroupId) {
    let store = open().await;
    save(&*store, group, &meta(1), b"").await;
    let mut reader = store.open(group, meta(1).last).await.expect("open");
    assert_eq!(reader.content(), SnapshotContent::default());
    assert_eq!(reader.meta(), &meta(1));
    assert!(reader.read_chunk(10).await.expect("read").is_empty());
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: EntryId::new(Term(1), Index(index)),
        membership: Membership::new(vec![NodeId(1), NodeId(2)], vec![NodeId(1)], vec![NodeId(3)])
            .expect("the suite names a valid configuration"),
    }
}

/// Bytes without a short period, so that a chunk at a wrong place shows.
fn content(bytes: usize) -> Vec<u8> {
    let byte = |position: usize| (position.wrapping_mul(2_654_435_761) >> 13) as u8;
    (0..bytes).map(byte).collect()
}

async fn list(store: &dyn SnapshotStore, group: GroupId) -> Vec<SnapshotMeta> {
    store.list(group).await.expect("list")
}

async fn begin(store: &dyn SnapshotStore, group: GroupId, meta: &SnapshotMeta) -> Box<dyn SnapshotWriter> {
    store.begin(group, meta, None).await.expect("begin")
}

async fn write(writer: &mut dyn SnapshotWriter, bytes: &[u8]) {
    for chunk in bytes.chunks(30_000) {
        writer
            .write_chunk(Bytes::copy_from_slice(chunk))
            .await
            .expect("write a chunk");
    }
}

async fn save(store: &dyn SnapshotStore, group: GroupId, meta: &SnapshotMeta, bytes: &[u8]) {
    let mut writer = begin(store, group, meta).await;
    write(&mut *writer, bytes).await;
    writer.finish().await.expect("finish");
}

async fn read(store: &dyn SnapshotStore, group: GroupId, meta: &SnapshotMeta, offset: usize) -> Vec<u8> {
    const CHUNK_BYTES: usize = 64_000;
    let mut reader = store.open(group, meta.last).await.expect("open");
    assert_eq!(reader.meta(), meta);
    if offset > 0 {
        reader.seek(offset as u64).await.expect("seek");
    }
    let mut bytes = Vec::new();
    loop {
        let chunk = reader.read_chunk(CHUNK_BYTES).await.expect("read a chunk");
        assert!(chunk.len() <= CHUNK_BYTES, "a chunk exceeds its limit");
        if chunk.is_empty() {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(reader.content().bytes, (bytes.len() + offset) as u64);
    if offset == 0 {
        assert_eq!(
            reader.content(),
            SnapshotContent::of(&bytes),
            "what tells contents apart"
        );
    }
    bytes
}
