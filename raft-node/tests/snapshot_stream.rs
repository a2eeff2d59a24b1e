//! A snapshot of the key-value store leaves the state machine at the speed of whoever takes it, and holds nobody up.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::config::Config;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::memory::{InProcessNetwork, MemoryLogStore, MemorySnapshotStore};
use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::runtime::{Node, NodeOptions};
use raft_core::status::Status;
use raft_core::traits::{
    SessionChanges, SnapshotReader, SnapshotStore, SnapshotStoreError, SnapshotWriter, StateMachine,
    StateMachineError,
};
use raft_core::types::{EntryId, GroupId, NodeId};
use raft_kv::{Command, KvOptions, KvStateMachine, KvStore, PutRequest};
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const SNAPSHOT_ENTRIES: u64 = 200;
const VALUE_BYTES: usize = 16 << 10;
/// One piece on its way to the store, and one that is being read.
const AHEAD_BYTES_MAX: u64 = 512 << 10;

/// Takes no chunk of a snapshot until it may.
struct GatedSnapshots {
    inner: MemorySnapshotStore,
    may_write: watch::Sender<bool>,
    /// How many chunks came.
    offered: watch::Sender<u64>,
}

#[async_trait]
impl SnapshotStore for GatedSnapshots {
    async fn begin(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        content: Option<SnapshotContent>,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotStoreError> {
        Ok(Box::new(GatedWriter {
            inner: self.inner.begin(group, meta, content).await?,
            may_write: self.may_write.subscribe(),
            offered: self.offered.clone(),
        }))
    }

    async fn open(
        &self,
        group: GroupId,
        last: EntryId,
    ) -> Result<Box<dyn SnapshotReader>, SnapshotStoreError> {
        self.inner.open(group, last).await
    }

    async fn list(&self, group: GroupId) -> Result<Vec<SnapshotMeta>, SnapshotStoreError> {
        self.inner.list(group).await
    }

    async fn remove_older(&self, group: GroupId, keep: EntryId) -> Result<(), SnapshotStoreError> {
        self.inner.remove_older(group, keep).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), SnapshotStoreError> {
        self.inner.destroy(group).await
    }
}

struct GatedWriter {
    inner: Box<dyn SnapshotWriter>,
    may_write: watch::Receiver<bool>,
    offered: watch::Sender<u64>,
}

#[async_trait]
impl SnapshotWriter for GatedWriter {
    fn offset(&self) -> u64 {
        self.inner.offset()
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        self.offered.send_modify(|offered| *offered += 1);
        self.may_write.wait_for(|may| *may).await.unwrap();
        self.inner.write_chunk(chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.inner.abort().await
    }
}

/// Counts what is read of its snapshots.
struct CountedMachine {
    inner: KvStateMachine,
    read_bytes: Arc<AtomicU64>,
}

impl StateMachine for CountedMachine {
    fn last_applied(&self) -> EntryId {
        self.inner.last_applied()
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.inner.apply(entries)
    }

    fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> {
        self.inner.query(question)
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        let inner = self.inner.snapshot()?;
        let read_bytes = self.read_bytes.clone();
        Ok(Box::new(CountedStream { inner, read_bytes }))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.inner.restore(meta, content)
    }

    fn commit(&mut self, sessions: &SessionChanges) -> Result<(), StateMachineError> {
        self.inner.commit(sessions)
    }

    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        self.inner.sessions()
    }
}

struct CountedStream {
    inner: Box<dyn Read + Send>,
    read_bytes: Arc<AtomicU64>,
}

impl Read for CountedStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.read_bytes.fetch_add(count as u64, Ordering::AcqRel);
        Ok(count)
    }
}

/// A group of one on a log that is kept, and what it counts.
struct Scene {
    log: MemoryLogStore,
    snapshots: Arc<GatedSnapshots>,
    read_bytes: Arc<AtomicU64>,
}

impl Scene {
    async fn start(&self, directory: &Path) -> (Node, Arc<KvStore>) {
        let (inner, store) = KvStateMachine::open(directory, KvOptions::default()).unwrap();
        let machine = CountedMachine {
            inner,
            read_bytes: self.read_bytes.clone(),
        };
        let voters = Membership::of_voters([NodeId(1)]).unwrap();
        let mut config = Config::new(GroupId(1), NodeId(1));
        config.snapshot_entries = SNAPSHOT_ENTRIES;
        config.retained_entries = 0;
        let options = NodeOptions {
            config,
            log_store: Arc::new(self.log.clone()),
            snapshot_store: self.snapshots.clone(),
            ..NodeOptions::in_memory(NodeId(1), &voters, &InProcessNetwork::new(), machine)
        };
        let node = Node::start(options).await.unwrap();
        until(&node, "it leads", |status| status.leader == Some(NodeId(1))).await;
        (node, store)
    }
}

async fn until(node: &Node, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut watch = node.watch_status();
    let waited = timeout(PATIENCE, watch.wait_for(|status| wanted(status))).await;
    let status = waited.unwrap_or_else(|_| panic!("this never happened: {what}; {:?}", node.status()));
    status.expect("the node runs").clone()
}

async fn put(node: &Node, number: u64) {
    let command = Command::Put(PutRequest {
        key: format!("key-{:03}", number % 300).into(),
        value: vec![number as u8; VALUE_BYTES].into(),
        ..PutRequest::default()
    });
    timeout(PATIENCE, node.propose(command.encode()))
        .await
        .expect("entries are applied")
        .unwrap();
}

/// R35, R54: entries are applied and answered while nobody takes the snapshot, of which next to nothing is in memory; and it is the
/// state of its own index all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_applied_while_a_slow_store_takes_a_snapshot() {
    let scene = Scene {
        log: MemoryLogStore::new(),
        snapshots: Arc::new(GatedSnapshots {
            inner: MemorySnapshotStore::new(),
            may_write: watch::Sender::new(false),
            offered: watch::Sender::new(0),
        }),
        read_bytes: Arc::default(),
    };
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = scene.start(directory.path()).await;
    for number in 0..SNAPSHOT_ENTRIES {
        put(&node, number).await;
    }
    let mut offered = scene.snapshots.offered.subscribe();
    let begun = timeout(PATIENCE, offered.wait_for(|offered| *offered > 0)).await;
    drop(begun.expect("a snapshot is being saved").unwrap());

    for number in 0..2 * SNAPSHOT_ENTRIES {
        put(&node, 1_000 + number).await;
    }
    assert_eq!(store.revision(), 1 + 3 * SNAPSHOT_ENTRIES as i64);
    assert_eq!(*offered.borrow(), 1, "the store took nothing");
    let ahead = scene.read_bytes.load(Ordering::Acquire);
    assert!(ahead <= AHEAD_BYTES_MAX, "{ahead} bytes were read ahead");
    let waiting = node.status();
    assert_eq!((waiting.snapshot, waiting.first_index.0), (EntryId::ZERO, 1));

    scene.snapshots.may_write.send_replace(true);
    let saved = until(&node, "the log begins behind the snapshot", |status| {
        status.snapshot.index.0 >= SNAPSHOT_ENTRIES && status.first_index > status.snapshot.index
    })
    .await;
    let read = scene.read_bytes.load(Ordering::Acquire);
    assert!(
        read > SNAPSHOT_ENTRIES * VALUE_BYTES as u64,
        "{read} bytes were read"
    );
    let hash = store.hash(0).unwrap();
    node.shutdown().await;
    drop((node, store));

    // An empty state machine needs the snapshot, and only the entries behind it.
    let other_directory = tempfile::tempdir().unwrap();
    let (node, store) = scene.start(other_directory.path()).await;
    let last = saved.commit_index;
    until(&node, "the log is applied", |status| status.applied_index >= last).await;
    assert_eq!(store.hash(0).unwrap(), hash);
    node.shutdown().await;
}
