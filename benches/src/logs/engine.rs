//! raft-engine itself, called directly.

use std::path::Path;
use std::sync::Arc;

use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use raft_rs::eraftpb::Entry;

use super::{BatchWriter, Log, payload};

/// What an entry is to the engine: that of raft-rs, as TiKV stores it.
#[derive(Clone, Copy, Debug)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// One engine with its default settings, but for the compression of large batches, which is off as on all sides.
pub struct RaftEngine {
    engine: Arc<Engine>,
}

impl RaftEngine {
    /// Opens an engine in `dir`.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn open(dir: &Path) -> RaftEngine {
        let config = Config {
            dir: dir.to_str().expect("a path in UTF-8").to_owned(),
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        let engine = Engine::open(config).expect("the directory opens");
        RaftEngine {
            engine: Arc::new(engine),
        }
    }
}

impl Log for RaftEngine {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn writer(&self, group: u64) -> Box<dyn BatchWriter> {
        Box::new(EngineWriter {
            engine: Arc::clone(&self.engine),
            batch: LogBatch::default(),
            entries: Vec::new(),
            group,
            next: 1,
        })
    }
}

struct EngineWriter {
    engine: Arc<Engine>,
    /// Kept from batch to batch, as its buffers are.
    batch: LogBatch,
    entries: Vec<Entry>,
    group: u64,
    next: u64,
}

impl BatchWriter for EngineWriter {
    fn append(&mut self, count: u64) {
        let count = usize::try_from(count).expect("a batch fits into memory");
        self.entries.resize_with(count, || Entry {
            term: 1,
            data: payload().into(),
            ..Entry::default()
        });
        for entry in &mut self.entries {
            entry.index = self.next;
            self.next += 1;
        }
        let added = self.batch.add_entries::<Entries>(self.group, &self.entries);
        added.expect("a batch has room");
        self.engine
            .write(&mut self.batch, true)
            .expect("the engine takes the batch");
    }
}
