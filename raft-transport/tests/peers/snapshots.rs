//! Snapshots beside the messages.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::membership::Membership;
use raft_core::message::{InstallSnapshot, SnapshotContent, SnapshotMeta};
use raft_core::traits::{SnapshotReader, SnapshotStoreError, Transport, TransportError};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Term};
use raft_transport::TransportLimits;

use crate::support::{DEADLINE, SLOW, SnapshotFate, TestNode, message, start_cluster, wait_until};

fn header(from: u64, to: u64) -> InstallSnapshot {
    InstallSnapshot {
        group: GroupId(3),
        from: NodeId(from),
        to: NodeId(to),
        term: Term(4),
        meta: SnapshotMeta {
            last: EntryId::new(Term(3), Index(1_000)),
            membership: Membership::of_voters([NodeId(1), NodeId(2)]).unwrap(),
        },
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|byte| (byte ^ (byte >> 9)) as u8).collect()
}

struct MemoryReader {
    meta: SnapshotMeta,
    content: Vec<u8>,
    at: usize,
    /// Stops answering here.
    hangs_at: usize,
    /// What it says that it is, if that is not so.
    announced: Option<SnapshotContent>,
}

impl MemoryReader {
    fn new(content: Vec<u8>) -> MemoryReader {
        MemoryReader {
            meta: header(1, 2).meta,
            content,
            at: 0,
            hangs_at: usize::MAX,
            announced: None,
        }
    }
}

#[async_trait]
impl SnapshotReader for MemoryReader {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    fn content(&self) -> SnapshotContent {
        self.announced
            .unwrap_or_else(|| SnapshotContent::of(&self.content))
    }

    async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
        self.at = usize::try_from(offset).unwrap();
        Ok(())
    }

    async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
        if self.at >= self.hangs_at {
            return std::future::pending().await;
        }
        let end = (self.at + bytes_max).min(self.content.len());
        let chunk = Bytes::copy_from_slice(&self.content[self.at..end]);
        self.at = end;
        Ok(chunk)
    }
}

async fn send(node: &TestNode, content: Vec<u8>) -> Result<(), TransportError> {
    let reader = Box::new(MemoryReader::new(content));
    node.transport.send_snapshot(header(1, 2), reader).await
}

fn impatient() -> TransportLimits {
    TransportLimits {
        snapshot_stall_timeout: Duration::from_millis(300),
        ..TransportLimits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_several_megabytes_arrives_whole_beside_the_messages() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    let content = content((8 << 20) + 17);
    let transfer = send(&nodes[0], content.clone());
    let talk = async {
        for number in 0..50 {
            nodes[0].send(2, vec![message(1, 2, number, Bytes::new())]);
            nodes[1].inbound.wait_count(number as usize + 1).await;
        }
    };
    let (sent, ()) = tokio::join!(transfer, talk);
    sent.unwrap();
    assert!(
        *nodes[1].inbound.snapshot.lock().unwrap() == content,
        "the content differs"
    );
    assert_eq!(*nodes[1].inbound.finished.lock().unwrap(), [header(1, 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_higher_id_sends_snapshots_over_the_same_connection() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    let reader = Box::new(MemoryReader::new(content(100_000)));
    nodes[1]
        .transport
        .send_snapshot(header(2, 1), reader)
        .await
        .unwrap();
    assert_eq!(*nodes[0].inbound.finished.lock().unwrap(), [header(2, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_snapshot_is_a_snapshot() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    send(&nodes[0], Vec::new()).await.unwrap();
    assert_eq!(*nodes[1].inbound.finished.lock().unwrap(), [header(1, 2)]);
}

/// The transfer goes on where the receiver's store stopped: a sender that began at 0 again would store the first half
/// twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_is_resumed_at_the_receivers_offset() {
    let (_certificates, nodes) = start_cluster(2, &impatient()).await;
    let whole = content(3 << 20);
    let mut broken = MemoryReader::new(whole.clone());
    broken.hangs_at = 1 << 20;
    let first = nodes[0]
        .transport
        .send_snapshot(header(1, 2), Box::new(broken))
        .await;
    // Both ends give up after the same time; whichever is first.
    assert!(
        matches!(
            first,
            Err(TransportError::Io(_) | TransportError::Unreachable { .. })
        ),
        "{first:?}"
    );
    wait_until("what was sent is stored", || {
        nodes[1].inbound.snapshot.lock().unwrap().len() == 1 << 20
    })
    .await;

    send(&nodes[0], whole.clone()).await.unwrap();
    assert!(
        *nodes[1].inbound.snapshot.lock().unwrap() == whole,
        "the content differs"
    );
    assert_eq!(*nodes[1].inbound.begun.lock().unwrap(), 2);
}

/// R49: the leader learns why, at whatever point the receiver refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_snapshot_reports_the_reason() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    for (fate, word) in [
        (SnapshotFate::RefuseAtBegin, "no room here"),
        (SnapshotFate::RefuseInTheMiddle, "the disk is full"),
        (SnapshotFate::RefuseAtFinish, "the checksum is wrong"),
    ] {
        *nodes[1].inbound.fate.lock().unwrap() = fate;
        nodes[1].inbound.snapshot.lock().unwrap().clear();
        let refused = send(&nodes[0], content(6 << 20)).await;
        match refused {
            Err(TransportError::Refused { to, reason }) => {
                assert_eq!(to, NodeId(2));
                assert!(reason.contains(word), "{reason}");
            }
            other => panic!("{fate:?}: {other:?}"),
        }
    }
    assert!(nodes[1].inbound.finished.lock().unwrap().is_empty());
    assert!(nodes[0].status(2).connected, "the messages' connection stands");
}

/// R49: a receiver that stops answering fails the transfer after the time-out, wherever it stops; the messages go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_receiver_is_a_time_out() {
    let (_certificates, nodes) = start_cluster(2, &impatient()).await;
    for (number, fate) in [
        SnapshotFate::HangAtBegin,
        SnapshotFate::HangInTheMiddle,
        SnapshotFate::HangAtFinish,
    ]
    .into_iter()
    .enumerate()
    {
        *nodes[1].inbound.fate.lock().unwrap() = fate;
        nodes[1].inbound.snapshot.lock().unwrap().clear();
        let began = Instant::now();
        let stalled = send(&nodes[0], content(6 << 20)).await;
        // The receiver may notice before the sender does, and says so.
        assert!(
            matches!(
                stalled,
                Err(TransportError::Unreachable { .. } | TransportError::Refused { .. })
            ),
            "{fate:?}: {stalled:?}"
        );
        assert!(began.elapsed() < DEADLINE, "{fate:?}");
        nodes[0].send(2, vec![message(1, 2, 1, Bytes::new())]);
        nodes[1].inbound.wait_count(number + 1).await;
    }
}

/// A receiver's store reads again what it has of a large snapshot, and makes it durable: the transfer does not stand still then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_takes_its_time_is_waited_for() {
    let (_certificates, nodes) = start_cluster(2, &impatient()).await;
    *nodes[1].inbound.fate.lock().unwrap() = SnapshotFate::Slow;
    let bytes = 32 << 20;
    assert!(SLOW > 2 * impatient().snapshot_stall_timeout);
    send(&nodes[0], content(bytes)).await.unwrap();
    assert_eq!(nodes[1].inbound.snapshot.lock().unwrap().len(), bytes);
    assert_eq!(*nodes[1].inbound.finished.lock().unwrap(), [header(1, 2)]);
}

/// What is there is not sent again: it becomes durable and known although its connection ended meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_snapshot_survives_its_connection() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    *nodes[1].inbound.fate.lock().unwrap() = SnapshotFate::HoldAtFinish;
    let transfer = send(&nodes[0], content(1 << 20));
    let cut = async {
        nodes[1].inbound.holding.notified().await;
        nodes[0].transport.shutdown().await;
        wait_until("the connection is gone", || !nodes[1].status(1).connected).await;
        nodes[1].inbound.release.notify_one();
    };
    let (broken, ()) = tokio::join!(transfer, cut);
    assert!(broken.is_err(), "{broken:?}");
    wait_until("the snapshot is known", || {
        *nodes[1].inbound.finished.lock().unwrap() == [header(1, 2)]
    })
    .await;
}

/// R60: nobody fills the disk with more than was announced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_was_announced_is_refused() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    let mut reader = MemoryReader::new(content(3 << 20));
    reader.announced = Some(SnapshotContent::of(&content(1 << 20)));
    let refused = nodes[0]
        .transport
        .send_snapshot(header(1, 2), Box::new(reader))
        .await;
    match refused {
        Err(TransportError::Refused { reason, .. }) => {
            assert!(reason.contains("1048576 bytes that were announced"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(nodes[1].inbound.snapshot.lock().unwrap().len() <= 1 << 20);
}

/// R49: without a connection the failure is immediate, and a connection that ends fails the transfer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_for_nobody_fails() {
    let (_certificates, nodes) = start_cluster(2, &TransportLimits::default()).await;
    let reader = Box::new(MemoryReader::new(Vec::new()));
    let unknown = nodes[0].transport.send_snapshot(header(1, 9), reader).await;
    assert!(matches!(unknown, Err(TransportError::UnknownPeer(NodeId(9)))));

    *nodes[1].inbound.fate.lock().unwrap() = SnapshotFate::HangAtBegin;
    let transfer = send(&nodes[0], content(1 << 20));
    let stop = async {
        wait_until("the transfer began", || {
            *nodes[1].inbound.begun.lock().unwrap() == 1
        })
        .await;
        nodes[1].transport.shutdown().await;
    };
    let (broken, ()) = tokio::join!(transfer, stop);
    assert!(
        matches!(broken, Err(TransportError::Unreachable { .. })),
        "{broken:?}"
    );

    wait_until("the end is known", || !nodes[0].status(2).connected).await;
    let refused = send(&nodes[0], Vec::new()).await;
    assert!(matches!(refused, Err(TransportError::Unreachable { .. })));
    nodes[0].transport.shutdown().await;
    assert!(matches!(
        send(&nodes[0], Vec::new()).await,
        Err(TransportError::Closed)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_snapshot_too_many_is_refused_as_busy() {
    let limits = TransportLimits {
        inbound_snapshots_max: 1,
        ..TransportLimits::default()
    };
    let (_certificates, nodes) = start_cluster(2, &limits).await;
    *nodes[1].inbound.fate.lock().unwrap() = SnapshotFate::HangAtBegin;
    let first = send(&nodes[0], content(1 << 20));
    let second = async {
        wait_until("the first began", || *nodes[1].inbound.begun.lock().unwrap() == 1).await;
        send(&nodes[0], content(1 << 20)).await
    };
    tokio::select! {
        first = first => panic!("the first ended: {first:?}"),
        second = second => match second {
            Err(TransportError::Refused { reason, .. }) => assert!(reason.contains("busy"), "{reason}"),
            other => panic!("{other:?}"),
        },
    }
}
