//! The suites that every backend must pass.

use std::sync::Arc;

use raft_core::traits::{LogStore, SnapshotStore};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogStore};

#[tokio::test]
async fn log_store() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || Arc::new(RocksLogStore::open_default(dir.path()).unwrap()) as Arc<dyn LogStore>;
    raft_core::conformance::log_store(open).await;
}

#[tokio::test]
async fn snapshot_store() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || Arc::new(FileSnapshotStore::open(dir.path()).unwrap()) as Arc<dyn SnapshotStore>;
    raft_core::conformance::snapshot_store(open).await;
}
