//! The suite that every log store must pass.

use std::sync::Arc;

use raft_core::traits::LogStore;
use raft_storage_engine::EngineLogStore;

#[tokio::test]
async fn log_store() {
    let dir = tempfile::tempdir().unwrap();
    let open = async || Arc::new(EngineLogStore::open_default(dir.path()).unwrap()) as Arc<dyn LogStore>;
    raft_core::conformance::log_store(open).await;
}
