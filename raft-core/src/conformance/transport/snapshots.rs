//! Snapshots that arrive.

use std::sync::LazyLock;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;

use super::cluster::{Cluster, PATIENCE, World};
use crate::membership::Membership;
use crate::memory::MemorySnapshotStore;
use crate::message::{InstallSnapshot, SnapshotContent, SnapshotMeta};
use crate::traits::{SnapshotReader, SnapshotStore, SnapshotStoreError, TransportError};
use crate::types::{EntryId, GroupId, Index, NodeId, Term};

const GROUP: GroupId = GroupId(1);
/// The size of the largest snapshot: more than any window that a transport may have for it.
pub(super) const SNAPSHOT_BYTES_MAX: usize = 3_000_000;

/// Of no bytes, one byte and some megabytes, from the lower id to the higher one and back.
pub(super) async fn arrive_whole(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    for (index, bytes) in [(10, 0), (11, 1), (12, SNAPSHOT_BYTES_MAX)] {
        for (from, to) in [(1, 2), (2, 1)] {
            let header = header(from, to, index);
            let sent = send_snapshot(&cluster, &header, reader(&header, bytes).await).await;
            sent.expect("a snapshot arrives");
            let receiver = cluster.inbound(to);
            assert_eq!(
                receiver.finished().last(),
                Some(&header),
                "the receiver was offered the snapshot when send_snapshot returns"
            );
            assert!(
                receiver.content(&header).await == snapshot_bytes(bytes),
                "a snapshot of {bytes} bytes arrives whole"
            );
        }
    }
    cluster.end().await;
}

/// R50: what the receiver has already is not sent again.
pub(super) async fn are_resumed(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    let (header, bytes) = (header(1, 2, 20), 500_000);
    store_beginning(&cluster, &header, &snapshot_bytes(bytes)).await;
    let sent = send_snapshot(&cluster, &header, reader(&header, bytes).await).await;
    sent.expect("a snapshot that was begun arrives");
    assert!(
        cluster.inbound(2).content(&header).await == snapshot_bytes(bytes),
        "a resumed snapshot is the whole one"
    );
    cluster.end().await;
}

/// R54: two replicas save the same state as different bytes. What one has begun to send, another one must not end.
pub(super) async fn of_another_sender_are_no_part(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    let (header, bytes) = (header(1, 2, 21), 500_000);
    store_beginning(&cluster, &header, &vec![0xa5; bytes]).await;
    let sent = send_snapshot(&cluster, &header, reader(&header, bytes).await).await;
    sent.expect("a snapshot that another sender began arrives");
    assert!(
        cluster.inbound(2).content(&header).await == snapshot_bytes(bytes),
        "a snapshot is the content of one sender, not of two"
    );
    cluster.end().await;
}

/// Leaves the first bytes of `content` at the receiver.
async fn store_beginning(cluster: &Cluster<'_, '_>, header: &InstallSnapshot, content: &[u8]) {
    let store = &cluster.inbound(header.to.0).snapshots;
    let begun = store.begin(GROUP, &header.meta, Some(SnapshotContent::of(content)));
    let mut writer = begun.await.expect("begin in memory");
    let beginning = Bytes::copy_from_slice(&content[..200_000]);
    writer.write_chunk(beginning).await.expect("write in memory");
}

pub(super) async fn send_snapshot(
    cluster: &Cluster<'_, '_>,
    header: &InstallSnapshot,
    content: Box<dyn SnapshotReader>,
) -> Result<(), TransportError> {
    let sender = cluster.transport(header.from.0);
    let limit = PATIENCE.max(cluster.stall_limit());
    timeout(limit, sender.send_snapshot(header.clone(), content))
        .await
        .expect("send_snapshot returns")
}

pub(super) fn header(from: u64, to: u64, index: u64) -> InstallSnapshot {
    let members = [NodeId(1), NodeId(2), NodeId(3)];
    InstallSnapshot {
        group: GROUP,
        from: NodeId(from),
        to: NodeId(to),
        term: Term(3),
        meta: SnapshotMeta {
            last: EntryId::new(Term(2), Index(index)),
            membership: Membership::of_voters(members).expect("ids without duplicates"),
        },
    }
}

/// The first bytes of what all snapshots hold.
pub(super) fn snapshot_bytes(bytes: usize) -> Bytes {
    static CONTENT: LazyLock<Bytes> = LazyLock::new(|| {
        let byte = |position: usize| (position.wrapping_mul(2_654_435_761) >> 13) as u8;
        (0..SNAPSHOT_BYTES_MAX).map(byte).collect()
    });
    CONTENT.slice(..bytes)
}

/// Reads a snapshot of so many bytes.
pub(super) async fn reader(header: &InstallSnapshot, bytes: usize) -> Box<dyn SnapshotReader> {
    let store = MemorySnapshotStore::new();
    let begun = store.begin(GROUP, &header.meta, None).await;
    let mut writer = begun.expect("begin in memory");
    let content = snapshot_bytes(bytes);
    writer.write_chunk(content).await.expect("write in memory");
    writer.finish().await.expect("finish in memory");
    let opened = store.open(GROUP, header.meta.last).await;
    opened.expect("open in memory")
}

/// What goes wrong with a snapshot at its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderFate {
    /// Reading fails.
    Fails,
    /// Reading does not return.
    Stalls,
}

/// A reader that gives this many bytes, and then goes wrong.
pub(super) struct BadReader {
    pub(super) reader: Box<dyn SnapshotReader>,
    pub(super) good_bytes: usize,
    pub(super) then: ReaderFate,
}

#[async_trait]
impl SnapshotReader for BadReader {
    fn meta(&self) -> &SnapshotMeta {
        self.reader.meta()
    }

    fn content(&self) -> SnapshotContent {
        self.reader.content()
    }

    async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
        self.reader.seek(offset).await
    }

    async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
        if self.good_bytes == 0 {
            return match self.then {
                ReaderFate::Fails => Err(SnapshotStoreError::Io("it cannot be read, as it was told".into())),
                ReaderFate::Stalls => std::future::pending().await,
            };
        }
        let chunk = self.reader.read_chunk(bytes_max.min(self.good_bytes)).await?;
        self.good_bytes -= chunk.len();
        Ok(chunk)
    }
}
