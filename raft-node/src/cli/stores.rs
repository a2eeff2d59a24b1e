//! The stores of a node: opened before it starts, closed after everything that used them is gone.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use raft_core::traits::LogStore;
use raft_kv::{KvOptions, KvStateMachine, KvStore};
use raft_storage_rocksdb::{FileSnapshotStore, OnLoss, RocksLogOptions, RocksLogStore};

use super::node::NodeStartError;
use crate::config::node_config::GROUP;
use crate::data_directory::directory::DataDirectory;

/// How long the last user of a store is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often is looked whether it is gone.
const CLOSE_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The opened stores.
pub(super) struct Stores {
    /// The log.
    pub(super) log: Arc<RocksLogStore>,
    /// The snapshots.
    pub(super) snapshots: Arc<FileSnapshotStore>,
    /// The state machine, for the node.
    pub(super) state_machine: KvStateMachine,
    /// What the state machine writes, for the server.
    pub(super) store: Arc<KvStore>,
}

/// Opens the stores in `data` and lets them be closed by `closer`, whatever happens next.
/// `on_loss` says what to do if the log lost something that it had acknowledged.
pub(super) async fn open(
    data: &DataDirectory,
    on_loss: OnLoss,
    closer: &mut Closer,
) -> Result<Stores, NodeStartError> {
    let (log, snapshots, kv) = (data.log(), data.snapshots(), data.kv());
    let options = RocksLogOptions {
        on_loss,
        ..RocksLogOptions::default()
    };
    // Opening may read a lot; the threads of the runtime are not for that.
    let opened = tokio::task::spawn_blocking(move || -> Result<Stores, NodeStartError> {
        let log = RocksLogStore::open(&log, options).map_err(NodeStartError::LogStore)?;
        let snapshots = FileSnapshotStore::open(&snapshots).map_err(NodeStartError::SnapshotStore)?;
        let (state_machine, store) =
            KvStateMachine::open(&kv, KvOptions::default()).map_err(NodeStartError::StateMachine)?;
        Ok(Stores {
            log: Arc::new(log),
            snapshots: Arc::new(snapshots),
            state_machine,
            store,
        })
    });
    let stores = opened.await??;
    closer.log = Some(Arc::clone(&stores.log));
    closer.store = Some(Arc::clone(&stores.store));
    let recovered = stores.log.load(GROUP).await.map_err(NodeStartError::ReadLog)?;
    data.check_log(recovered.is_empty())?;
    Ok(stores)
}

/// Holds the databases of a process until it ends.
///
/// RocksDB has global state that is destroyed when `main` returns; a database that another thread is still closing
/// then aborts the process. So the last one to let go of each database is the main thread.
#[derive(Default)]
pub(super) struct Closer {
    log: Option<Arc<RocksLogStore>>,
    store: Option<Arc<KvStore>>,
}

impl Closer {
    /// Waits until nobody else uses the databases and closes them. To be called when the runtime is gone.
    pub(super) fn close(self) {
        close("log", self.log);
        close("key-value store", self.store);
    }
}

fn close<T>(name: &str, store: Option<Arc<T>>) {
    let Some(mut store) = store else {
        return;
    };
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    loop {
        match Arc::try_unwrap(store) {
            Ok(last) => return drop(last),
            Err(shared) if Instant::now() < deadline => store = shared,
            Err(_) => {
                // Nothing is lost: what was acknowledged is on disk, as after a crash.
                tracing::warn!("the {name} is still in use after {CLOSE_TIMEOUT:?} and is not closed");
                return;
            }
        }
        thread::sleep(CLOSE_POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Noticed(Arc<AtomicBool>);

    impl Drop for Noticed {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn the_last_user_is_waited_for() {
        let is_closed = Arc::new(AtomicBool::new(false));
        let store = Arc::new(Noticed(Arc::clone(&is_closed)));
        let user = Arc::clone(&store);
        let using = thread::spawn(move || {
            thread::yield_now();
            drop(user);
        });
        close("test", Some(store));
        assert!(is_closed.load(Ordering::Acquire));
        using.join().unwrap();
    }
}
