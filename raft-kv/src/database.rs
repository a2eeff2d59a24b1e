//! One RocksDB: how it is configured, opened and written.
//!
//! The write-ahead log is off: the Raft log already is one. What was not flushed is lost in a crash and applied again
//! from the Raft log. That is safe for two reasons:
//! - a batch is one `WriteBatch`, in which the position in the Raft log is written with the data it stands for (R72);
//! - all column families are flushed together (`atomic_flush`), so that what a crash leaves is the state after some
//!   batch, never one family's newer data beside another one's older data.
//!
//! A checkpoint flushes first, so once a snapshot exists, everything it covers is durable here, too: the Raft log may
//! be compacted up to it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DataBlockIndexType, LogLevel, Options, WriteBatch, WriteOptions,
};

use crate::directory::Directory;
use crate::error::{OpenError, StorageError};
use crate::layout::{
    FAMILIES, FORMAT, HISTORY, KEYS, META, META_FORMAT, META_STATE, SESSIONS, StoreState, VERSIONS,
};

/// How much memory the store may use. Each value changes speed only, never what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvOptions {
    /// Bytes of blocks kept in memory: half of them for the live keys, half for everything else.
    pub cache_bytes: usize,
    /// Bytes of changes kept in memory before they are flushed to files. What is not flushed is applied again from
    /// the Raft log after a crash.
    pub write_buffer_bytes: usize,
    /// How many files may be open at once.
    pub open_files_max: i32,
}

impl Default for KvOptions {
    fn default() -> KvOptions {
        KvOptions {
            cache_bytes: 64 << 20,
            write_buffer_bytes: 32 << 20,
            open_files_max: 512,
        }
    }
}

/// An open database. The fields are dropped in order: RocksDB is closed before its directory is removed or unlocked.
pub(crate) struct Database {
    rocks: DB,
    write_options: WriteOptions,
    files: Files,
    _directory: Directory,
}

/// The files of a database, which are removed when another one has replaced it.
struct Files {
    path: PathBuf,
    retired: AtomicBool,
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire) {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.files.path).finish()
    }
}

impl Database {
    /// Opens database `number` of `directory`, or makes it if `create`.
    pub(crate) fn open(
        directory: &Directory,
        number: u64,
        create: bool,
        options: &KvOptions,
    ) -> Result<Database, OpenError> {
        let path = directory.database(number);
        if !create && !path.is_dir() {
            return Err(OpenError::Damaged {
                path: directory.path().to_owned(),
                reason: format!("STATE names database {number}, which is missing"),
            });
        }
        // Values must not push the index out of memory: it is what every put looks up.
        let index_cache = Cache::new_lru_cache(options.cache_bytes / 2);
        let value_cache = Cache::new_lru_cache(options.cache_bytes / 2);
        let families = FAMILIES.map(|name| {
            ColumnFamilyDescriptor::new(name, {
                let cache = if name == KEYS { &index_cache } else { &value_cache };
                family_options(name, cache, options)
            })
        });
        let rocks = DB::open_cf_descriptors(&database_options(create, options), &path, families)
            .map_err(|error| OpenError::from_rocks(&path, &error))?;
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);
        let database = Database {
            rocks,
            write_options,
            files: Files {
                path: path.clone(),
                retired: AtomicBool::new(false),
            },
            _directory: directory.clone(),
        };
        database.check_format(&path, create)?;
        Ok(database)
    }

    fn check_format(&self, path: &Path, create: bool) -> Result<(), OpenError> {
        let damaged = |reason: String| OpenError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let stored = self
            .rocks
            .get_cf(self.meta(), META_FORMAT)
            .map_err(|error| OpenError::from_rocks(path, &error))?;
        match stored.as_deref().map(<[u8; 4]>::try_from) {
            Some(Ok(bytes)) if u32::from_be_bytes(bytes) == FORMAT => Ok(()),
            Some(Ok(bytes)) => Err(OpenError::Format {
                path: path.to_owned(),
                found: u32::from_be_bytes(bytes),
                supported: FORMAT,
            }),
            Some(Err(_)) => Err(damaged("the format is not a number".into())),
            None if create => self
                .initialize()
                .map_err(|error| OpenError::from_rocks(path, &error)),
            None => Err(damaged("the format is missing".into())),
        }
    }

    /// Makes an empty store durable.
    fn initialize(&self) -> Result<(), rocksdb::Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.meta(), META_FORMAT, FORMAT.to_be_bytes());
        batch.put_cf(self.meta(), META_STATE, StoreState::default().encode());
        self.rocks.write_opt(batch, &self.write_options)?;
        self.flush()
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> Result<(), rocksdb::Error> {
        let families: Vec<&ColumnFamily> = FAMILIES.iter().map(|name| self.family(name)).collect();
        self.rocks
            .flush_cfs_opt(&families, &rocksdb::FlushOptions::default())
    }

    /// Applies a batch as one atom, visible at once, durable later.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), StorageError> {
        Ok(self.rocks.write_opt(batch, &self.write_options)?)
    }

    /// Writes the state as it is now into the new directory `path`; its files are shared, not copied.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<(), StorageError> {
        Ok(Checkpoint::new(&self.rocks)?.create_checkpoint(path)?)
    }

    /// Says that another database is in force: the files go when the last reader has let go of this one.
    pub(crate) fn retire(&self) {
        self.files.retired.store(true, Ordering::Release);
    }

    /// Roughly the bytes on disk and in the write buffers.
    pub(crate) fn size_bytes(&self) -> Result<u64, StorageError> {
        let mut sum = 0;
        for name in FAMILIES {
            for property in ["rocksdb.total-sst-files-size", "rocksdb.size-all-mem-tables"] {
                let value = self.rocks.property_int_value_cf(self.family(name), property)?;
                sum += value.unwrap_or(0);
            }
        }
        Ok(sum)
    }

    pub(crate) fn rocks(&self) -> &DB {
        &self.rocks
    }

    pub(crate) fn keys(&self) -> &ColumnFamily {
        self.family(KEYS)
    }

    pub(crate) fn versions(&self) -> &ColumnFamily {
        self.family(VERSIONS)
    }

    pub(crate) fn history(&self) -> &ColumnFamily {
        self.family(HISTORY)
    }

    pub(crate) fn meta(&self) -> &ColumnFamily {
        self.family(META)
    }

    pub(crate) fn sessions(&self) -> &ColumnFamily {
        self.family(SESSIONS)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.rocks
            .cf_handle(name)
            .expect("every family was opened with the database")
    }
}

fn database_options(create: bool, options: &KvOptions) -> Options {
    let mut database = Options::default();
    database.create_if_missing(create);
    database.create_missing_column_families(create);
    database.set_atomic_flush(true);
    database.set_paranoid_checks(true);
    database.set_db_write_buffer_size(options.write_buffer_bytes);
    database.set_max_open_files(options.open_files_max);
    database.set_max_background_jobs(2);
    database.set_bytes_per_sync(1 << 20);
    database.set_avoid_unnecessary_blocking_io(true);
    database.set_log_level(LogLevel::Warn);
    database.set_keep_log_file_num(2);
    database.set_max_log_file_size(1 << 20);
    database
}

fn family_options(name: &str, cache: &Cache, options: &KvOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(4 << 10);
    let mut family = Options::default();
    family.set_compression_type(DBCompressionType::None);
    // All families are flushed together as soon as they reach `write_buffer_bytes` together.
    family.set_write_buffer_size(options.write_buffer_bytes);
    family.set_max_write_buffer_number(4);
    family.set_target_file_size_base(32 << 20);
    if name == KEYS || name == VERSIONS {
        // A put of a new key must not read files to learn that the key is new.
        table.set_bloom_filter(10.0, false);
        table.set_whole_key_filtering(true);
        table.set_optimize_filters_for_memory(true);
        family.set_memtable_prefix_bloom_ratio(0.05);
        family.set_memtable_whole_key_filtering(true);
    }
    if name == KEYS {
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        table.set_data_block_hash_ratio(0.75);
        // Deleted keys must not slow ranges down for long.
        family.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
    }
    family.set_block_based_table_factory(&table);
    family
}
