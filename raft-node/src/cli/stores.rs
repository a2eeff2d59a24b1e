//! The stores of a node: opened before it starts, closed after everything that used them is gone, if the disk lets them.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use raft_core::memory::MemoryLogStore;
use raft_core::traits::LogStore;
use raft_kv::{KvOptions, KvStateMachine, KvStore};
use raft_storage_engine::{EngineLogOptions, EngineLogStore};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogOptions, RocksLogStore};

use super::node::NodeStartError;
use super::set_aside;
use crate::config::log_store::LogStoreKind;
use crate::config::node_config::GROUP;
use crate::data_directory::directory::DataDirectory;

/// How long the last user of a store is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often is looked whether it is gone.
const CLOSE_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// What to do about a log that lost something that it had acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnLoss {
    /// It does not open.
    Refuse,
    /// It opens, and the node neither votes nor counts until it has caught up.
    Suspect,
}

/// The opened stores.
pub(super) struct Stores {
    /// The log.
    pub(super) log: Arc<dyn LogStore>,
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
    let (kind, log, snapshots, kv) = (data.log_store(), data.log(), data.snapshots(), data.kv());
    // Opening may read a lot; the threads of the runtime are not for that.
    let opened = tokio::task::spawn_blocking(move || -> Result<Stores, NodeStartError> {
        let log = open_log(kind, &log, on_loss)?;
        let snapshots = FileSnapshotStore::open(&snapshots).map_err(NodeStartError::SnapshotStore)?;
        let (state_machine, store) =
            KvStateMachine::open(&kv, KvOptions::default()).map_err(NodeStartError::StateMachine)?;
        Ok(Stores {
            log,
            snapshots: Arc::new(snapshots),
            state_machine,
            store,
        })
    });
    let mut stores = opened.await??;
    if on_loss == OnLoss::Suspect {
        stores = set_aside::reconcile(data, stores).await?;
    }
    closer.log = Some(Arc::clone(&stores.log));
    closer.store = Some(Arc::clone(&stores.store));
    let recovered = stores.log.load(GROUP).await.map_err(NodeStartError::ReadLog)?;
    data.check_log(recovered.is_empty())?;
    Ok(stores)
}

/// Opens the log in `path`, which is of that kind.
pub(super) fn open_log(
    kind: LogStoreKind,
    path: &Path,
    on_loss: OnLoss,
) -> Result<Arc<dyn LogStore>, NodeStartError> {
    Ok(match kind {
        LogStoreKind::Rocksdb => {
            let options = RocksLogOptions {
                on_loss: match on_loss {
                    OnLoss::Refuse => raft_storage_rocksdb::OnLoss::Refuse,
                    OnLoss::Suspect => raft_storage_rocksdb::OnLoss::Suspect,
                },
                ..RocksLogOptions::default()
            };
            Arc::new(RocksLogStore::open(path, options).map_err(NodeStartError::LogStore)?)
        }
        LogStoreKind::RaftEngine => {
            let options = EngineLogOptions {
                on_loss: match on_loss {
                    OnLoss::Refuse => raft_storage_engine::OnLoss::Refuse,
                    OnLoss::Suspect => raft_storage_engine::OnLoss::Suspect,
                },
                ..EngineLogOptions::default()
            };
            Arc::new(EngineLogStore::open(path, options).map_err(NodeStartError::EngineLogStore)?)
        }
        LogStoreKind::Memory => Arc::new(MemoryLogStore::new()),
    })
}

/// Holds the databases of a process until it ends.
///
/// RocksDB has global state that is destroyed when `main` returns; a database that another thread is still closing
/// then aborts the process. So the last one to let go of each database is the main thread.
#[derive(Default)]
pub(super) struct Closer {
    log: Option<Arc<dyn LogStore>>,
    store: Option<Arc<KvStore>>,
}

impl Closer {
    /// The same for these databases.
    pub(super) fn with(self, log: Arc<dyn LogStore>, store: Arc<KvStore>) -> Closer {
        Closer {
            log: Some(log),
            store: Some(store),
        }
    }

    /// Waits until nobody else uses the databases and closes them. To be called when the runtime is gone.
    pub(super) fn close(self) {
        close("log", self.log);
        close("key-value store", self.store);
    }
}

fn close<T: ?Sized + Send + Sync + 'static>(name: &str, store: Option<Arc<T>>) {
    let Some(mut store) = store else {
        return;
    };
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    loop {
        // Nobody makes a second owner out of the last one while it is held here.
        if Arc::get_mut(&mut store).is_some() {
            return close_last(name, store, deadline);
        }
        if Instant::now() >= deadline {
            // Nothing is lost: what was acknowledged is on disk, as after a crash.
            tracing::warn!("the {name} is still in use after {CLOSE_TIMEOUT:?} and is not closed");
            return;
        }
        thread::sleep(CLOSE_POLL_INTERVAL);
    }
}

/// Closes a database on a thread of its own: on a disk that stands still it may take for ever, and the process must end.
fn close_last<T: Send + 'static>(name: &str, store: T, deadline: Instant) {
    let (done, is_done) = mpsc::channel();
    let closing = thread::Builder::new().name("close".to_owned()).spawn(move || {
        drop(store);
        // Nobody listens any more if it took too long.
        let _ = done.send(());
    });
    // Without a thread the store was dropped where the attempt was made.
    if closing.is_ok()
        && is_done
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .is_err()
    {
        tracing::warn!("the {name} cannot be closed within {CLOSE_TIMEOUT:?}; the process ends all the same");
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
