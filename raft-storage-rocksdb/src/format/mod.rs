//! Every byte that this crate writes to a disk, as pure functions: no I/O, no RocksDB, and nothing of the other modules. So
//! the fuzz targets compile this folder alone.
//!
//! - `record`: the keys and values in RocksDB, and the chain of hashes through a log;
//! - `batch`: what one group commit changes;
//! - `journal`: the records of the journal, the heads of its segments, and its control file;
//! - `rocksdb_file`: what of RocksDB's own files one looks at before it does;
//! - `watermark`: the slots of a watermark file;
//! - `snapshot`: the header, the blocks and the end of a snapshot file.
//!
//! Decoding never panics, and nothing is allocated on the word of a length.

pub(crate) mod batch;
pub(crate) mod journal;
pub(crate) mod record;
pub(crate) mod rocksdb_file;
pub(crate) mod snapshot;
pub(crate) mod watermark;
