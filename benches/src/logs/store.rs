//! The log stores of the workspace, called through the trait.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_executor::block_on;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStore};
use raft_core::types::{GroupId, Index, Term};
use raft_storage_engine::EngineLogStore;
use raft_storage_rocksdb::RocksLogStore;

use super::{BatchWriter, Counted, Log, payload};

/// A store, and its name in tables.
pub struct Store {
    name: &'static str,
    store: Arc<dyn LogStore>,
    counted: Option<Box<dyn Fn() -> Counted>>,
}

/// One caller: it waits on the plain thread that calls, so nothing but the store is measured, and no runtime.
pub struct StoreWriter {
    store: Arc<dyn LogStore>,
    group: GroupId,
    next: Index,
    payload: Bytes,
}

impl Store {
    /// Opens our store on RocksDB in `dir`.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn on_rocksdb(dir: &Path) -> Store {
        let store = RocksLogStore::open_default(dir).expect("the directory opens");
        let store = Arc::new(store);
        let counting = Arc::clone(&store);
        Store {
            name: "ours on RocksDB",
            store,
            counted: Some(Box::new(move || {
                let counters = counting.counters();
                Counted {
                    syncs: counters.syncs,
                    entries: counters.entries,
                }
            })),
        }
    }

    /// Opens our store on raft-engine in `dir`.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn on_raft_engine(dir: &Path) -> Store {
        let store = EngineLogStore::open_default(dir).expect("the directory opens");
        Store {
            name: "ours on raft-engine",
            store: Arc::new(store),
            counted: None,
        }
    }

    /// The index of the last entry of `group`.
    ///
    /// # Panics
    /// If the store fails.
    #[must_use]
    pub fn last_index(&self, group: u64) -> u64 {
        let loaded = block_on(self.store.load(GroupId(group)));
        loaded.expect("the store loads the group").last_index.0
    }

    /// A caller whose writes can be taken apart.
    #[must_use]
    pub fn caller(&self, group: u64) -> StoreWriter {
        StoreWriter::new(Arc::clone(&self.store), group)
    }
}

impl Log for Store {
    fn name(&self) -> &'static str {
        self.name
    }

    fn writer(&self, group: u64) -> Box<dyn BatchWriter> {
        Box::new(self.caller(group))
    }

    fn counted(&self) -> Option<Counted> {
        self.counted.as_ref().map(|count| count())
    }
}

impl StoreWriter {
    /// A caller that appends to a log that is still empty.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>, group: u64) -> StoreWriter {
        StoreWriter {
            store,
            group: GroupId(group),
            next: Index(1),
            payload: Bytes::from(payload()),
        }
    }

    /// The next `count` entries: they share one payload, as entries share the buffer that they arrived in.
    pub fn batch(&mut self, count: u64) -> Vec<GroupWrite> {
        let entries = (0..count)
            .map(|position| Entry::command(Term(1), self.next + position, self.payload.clone()))
            .collect();
        self.next = self.next + count;
        vec![GroupWrite {
            group: self.group,
            hard_state: None,
            snapshot: None,
            log: LogChange::Append(entries),
        }]
    }

    /// Writes a batch; done when it is durable.
    ///
    /// # Panics
    /// If the store fails.
    pub async fn write(&self, batch: Vec<GroupWrite>) {
        let written = self.store.write(batch).await;
        written.expect("the store takes the batch");
    }
}

impl BatchWriter for StoreWriter {
    fn append(&mut self, count: u64) {
        let batch = self.batch(count);
        block_on(self.write(batch));
    }
}
