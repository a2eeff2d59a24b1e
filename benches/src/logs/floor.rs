//! What the disk itself can do: one write and one `fdatasync` per batch, into a file of zeros that never grows.
//!
//! The same file in front of RocksDB without its own write-ahead log is the smallest form of what our store does.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{DB, DBCompressionType, Options, WriteOptions};

use super::rocks::batch;
use super::{BatchWriter, Log, PAYLOAD_BYTES, payload};

/// The file is written from the beginning again when it is full.
const FILE_BYTES: u64 = 64 << 20;

/// A directory with a file of zeros for each writer.
pub struct Floor {
    dir: std::path::PathBuf,
    /// Each batch goes here after it is durable, without any sync.
    db: Option<Arc<DB>>,
}

impl Floor {
    /// Only the file.
    #[must_use]
    pub fn open(dir: &Path) -> Floor {
        Floor {
            dir: dir.to_owned(),
            db: None,
        }
    }

    /// The file as the log of a database that has none of its own.
    ///
    /// # Panics
    /// If the database cannot be opened.
    #[must_use]
    pub fn before_rocksdb(dir: &Path) -> Floor {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        let db = DB::open(&options, dir.join("db")).expect("the directory opens");
        Floor {
            dir: dir.to_owned(),
            db: Some(Arc::new(db)),
        }
    }
}

impl Log for Floor {
    fn name(&self) -> &'static str {
        match self.db {
            None => "fdatasync",
            Some(_) => "own journal, no WAL",
        }
    }

    fn writer(&self, group: u64) -> Box<dyn BatchWriter> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Box::new(FloorWriter {
            file: zeros(&self.dir.join(group.to_string())),
            at: 0,
            group,
            next: 1,
            payload: payload(),
            bytes: Vec::new(),
            db: self.db.clone(),
            options,
        })
    }
}

/// A file of zeros whose blocks are on disk.
fn zeros(path: &Path) -> File {
    const STEP: usize = 1 << 20;
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(path)
        .expect("a new file");
    for _ in 0..FILE_BYTES / STEP as u64 {
        file.write_all(&[0; STEP]).expect("room for the file");
    }
    file.sync_all().expect("the file is synced");
    file
}

struct FloorWriter {
    file: File,
    at: u64,
    group: u64,
    next: u64,
    payload: Vec<u8>,
    bytes: Vec<u8>,
    db: Option<Arc<DB>>,
    options: WriteOptions,
}

impl FloorWriter {
    fn durable(&mut self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        if self.at + length > FILE_BYTES {
            self.at = 0;
        }
        self.file
            .write_all_at(bytes, self.at)
            .expect("the file is written");
        self.file.sync_data().expect("the file is synced");
        self.at += length;
    }
}

impl BatchWriter for FloorWriter {
    fn append(&mut self, count: u64) {
        if let Some(db) = self.db.clone() {
            let batch = batch(self.group, self.next, count, &self.payload);
            self.next += count;
            self.durable(batch.data());
            let written = db.write_opt(batch, &self.options);
            written.expect("the database takes the batch");
            return;
        }
        let count = usize::try_from(count).expect("a batch fits into memory");
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(count * PAYLOAD_BYTES, self.payload[0]);
        self.durable(&bytes);
        self.bytes = bytes;
    }
}
