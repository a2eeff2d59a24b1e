//! RocksDB, configured so that it refuses damage instead of hiding it, and the few calls this crate makes to it.
//!
//! Must never be asked to hide an error: every call returns it, and the caller decides. See the crate's documentation
//! for the settings and why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use raft_core::types::{GroupId, Index};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBPinnableSlice, DBRawIterator,
    FlushOptions, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::manifest;
use super::options::RocksLogOptions;
use crate::error::{DiskError, OpenError};
use crate::format::batch::{Operation, Operations};
use crate::format::record::{
    RecordError, StateKind, decode_applied, encode_applied, entries_end, entry_key, group_of_entry_key,
    group_of_state_key, state_key,
};

/// The key, in the default column family, of the last record of the journal that is in the database.
const APPLIED: &[u8] = b"applied";
const ENTRIES: &str = "entries";
const STATE: &str = "state";

/// The open database.
pub(crate) struct Database {
    db: DB,
    path: PathBuf,
}

impl Database {
    pub(crate) fn open(path: PathBuf, options: &RocksLogOptions) -> Result<Database, OpenError> {
        let families = families(options, column_family_options);
        manifest::prepare(&path)?;
        match DB::open_cf_descriptors(&database_options(), &path, families) {
            Ok(db) => Ok(Database { db, path }),
            Err(error) => Err(OpenError::database(&path, error)),
        }
    }

    /// Opens a working copy: no table is rewritten in the background, so only what is asked for is read.
    pub(crate) fn open_copy(path: PathBuf) -> Result<Database, rocksdb::Error> {
        let options = RocksLogOptions::default();
        let families = families(&options, || {
            let mut options = column_family_options();
            options.set_disable_auto_compactions(true);
            options
        });
        let db = DB::open_cf_descriptors(&database_options(), &path, families)?;
        Ok(Database { db, path })
    }

    /// The tables that the database in `path` consists of. Writes nothing but notes of RocksDB about itself.
    pub(crate) fn tables(path: &Path) -> Result<Vec<PathBuf>, rocksdb::Error> {
        let mut options = Options::default();
        options.set_paranoid_checks(true);
        // A database that was just created, or whose creation was torn, does not have all of them.
        let known = DB::list_cf(&options, path)?;
        let families = families(&RocksLogOptions::default(), column_family_options)
            .into_iter()
            .filter(|family| known.iter().any(|name| name == family.name()));
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false)?;
        let tables = db.live_files()?;
        let name = |table: rocksdb::LiveFile| path.join(table.name.trim_start_matches('/'));
        Ok(tables.into_iter().map(name).collect())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn entries(&self) -> &ColumnFamily {
        self.db
            .cf_handle(ENTRIES)
            .expect("the column family is created when the database is opened")
    }

    pub(crate) fn state(&self) -> &ColumnFamily {
        self.db
            .cf_handle(STATE)
            .expect("the column family is created when the database is opened")
    }

    /// Applies one atom. It is not durable by that: the journal has it, or it can be made again.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        // The keys of a batch ascend.
        options.set_memtable_insert_hint_per_batch(true);
        self.db.write_opt(batch, &options)
    }

    /// Applies the bodies of records of the journal, of which `last` is the last one, as one atom.
    pub(crate) fn apply(&self, last: u64, bodies: &[impl AsRef<[u8]>]) -> Result<(), DiskError> {
        let bytes = bodies.iter().map(|body| body.as_ref().len()).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        for operation in bodies.iter().flat_map(|body| Operations::of(body.as_ref())) {
            let operation = operation.map_err(|error| DiskError::because(&self.path, &error))?;
            self.stage(operation, &mut batch);
        }
        batch.put(APPLIED, encode_applied(last));
        self.write(batch)
            .map_err(|error| DiskError::database(&self.path, &error))
    }

    fn stage(&self, operation: Operation<'_>, batch: &mut WriteBatch) {
        let (entries, state) = (self.entries(), self.state());
        match operation {
            Operation::PutEntry { key, value } => batch.put_cf(entries, key, value),
            Operation::DeleteEntry { key } => batch.delete_cf(entries, key),
            Operation::DeleteEntries { group } => {
                let first = entry_key(group, Index::ZERO);
                batch.delete_range_cf(entries, &first[..], &entries_end(group)[..]);
            }
            Operation::PutState { key, value } => batch.put_cf(state, key, value),
            Operation::DeleteState { key } => batch.delete_cf(state, key),
        }
    }

    /// The last record of the journal that is in the database; `None` if there has been none. Outside the error of
    /// RocksDB stands what is wrong with the value.
    pub(crate) fn applied(&self) -> Result<Result<Option<u64>, RecordError>, rocksdb::Error> {
        let value = self.db.get_pinned_opt(APPLIED, &verified())?;
        Ok(value.map(|value| decode_applied(&value)).transpose())
    }

    /// Makes everything durable that was written so far.
    pub(crate) fn flush(&self) -> Result<(), rocksdb::Error> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families: Vec<&ColumnFamily> = [rocksdb::DEFAULT_COLUMN_FAMILY_NAME, ENTRIES, STATE]
            .iter()
            .filter_map(|name| self.db.cf_handle(name))
            .collect();
        self.db.flush_cfs_opt(&families, &options)
    }

    /// One consistent view, for a scan that others write beside.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            database: self,
            snapshot: self.db.snapshot(),
        }
    }

    pub(crate) fn entry(
        &self,
        group: GroupId,
        index: Index,
    ) -> Result<Option<DBPinnableSlice<'_>>, rocksdb::Error> {
        self.db
            .get_pinned_cf_opt(self.entries(), entry_key(group, index), &verified())
    }

    /// The groups that have a state, ascending.
    pub(crate) fn groups(&self) -> Result<Vec<GroupId>, rocksdb::Error> {
        let mut groups = Vec::new();
        let mut iterator = self.db.raw_iterator_cf_opt(self.state(), verified());
        iterator.seek_to_first();
        while let Some(key) = iterator.key() {
            if let Some(group) = group_of_state_key(key)
                && groups.last() != Some(&group)
            {
                groups.push(group);
            }
            iterator.next();
        }
        iterator.status()?;
        Ok(groups)
    }
}

impl Database {
    /// The groups that have a state or an entry, as far as they can be read, and why not further.
    pub(crate) fn groups_readable(&self) -> (BTreeSet<GroupId>, Option<rocksdb::Error>) {
        let mut groups = BTreeSet::new();
        let mut failed = None;
        for (family, group_of) in [
            (self.state(), group_of_state_key as fn(&[u8]) -> Option<GroupId>),
            (self.entries(), group_of_entry_key),
        ] {
            let mut iterator = self.db.raw_iterator_cf_opt(family, verified());
            iterator.seek_to_first();
            while let Some(key) = iterator.key() {
                let Some(group) = group_of(key) else {
                    iterator.next();
                    continue;
                };
                groups.insert(group);
                iterator.seek(entries_end(group));
            }
            failed = failed.or(iterator.status().err());
        }
        (groups, failed)
    }
}

/// The database as it was at one moment.
pub(crate) struct View<'a> {
    database: &'a Database,
    snapshot: rocksdb::Snapshot<'a>,
}

impl View<'_> {
    pub(crate) fn state(&self, group: GroupId, kind: StateKind) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.snapshot
            .get_cf_opt(self.database.state(), state_key(group, kind), verified())
    }

    /// An iterator that stands on the first entry at or after `first` and ends after the group's last one. What lies
    /// below `first` is never touched: purged entries leave tombstones there that would have to be skipped one by one.
    pub(crate) fn entries_from(&self, group: GroupId, first: Index) -> DBRawIterator<'_> {
        self.entries_ahead(group, first, 0)
    }

    /// The same for a walk through the whole log: reads large pieces ahead.
    pub(crate) fn all_entries_from(&self, group: GroupId, first: Index) -> DBRawIterator<'_> {
        self.entries_ahead(group, first, 1 << 20)
    }

    fn entries_ahead(&self, group: GroupId, first: Index, readahead_bytes: usize) -> DBRawIterator<'_> {
        let mut options = verified();
        options.set_iterate_lower_bound(entry_key(group, first));
        options.set_iterate_upper_bound(entries_end(group));
        options.fill_cache(false);
        options.set_readahead_size(readahead_bytes);
        let mut iterator = self
            .snapshot
            .raw_iterator_cf_opt(self.database.entries(), options);
        iterator.seek(entry_key(group, first));
        iterator
    }
}

/// Every block is checked when it is read.
fn verified() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

/// The column families, each on top of what `begin` returns.
fn families(options: &RocksLogOptions, begin: impl Fn() -> Options) -> [ColumnFamilyDescriptor; 3] {
    let mut entries = begin();
    entries.set_write_buffer_size(options.memtable_bytes);
    let mut state = begin();
    state.set_write_buffer_size(options.memtable_bytes.min(4 << 20));
    [
        ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, begin()),
        ColumnFamilyDescriptor::new(ENTRIES, entries),
        ColumnFamilyDescriptor::new(STATE, state),
    ]
}

fn column_family_options() -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_max_write_buffer_number(3);
    options
}

fn database_options() -> Options {
    let mut database = Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_paranoid_checks(true);
    // Entries, state and the number of the last record reach the table files together, so that the tables are what the
    // journal was up to one record, and nothing of the next one.
    database.set_atomic_flush(true);
    // A table that reaches the disk bit by bit does not hold up the journal's syncs at its end.
    database.set_bytes_per_sync(1 << 20);
    database.set_max_background_jobs(2);
    // One thread writes.
    database.set_allow_concurrent_memtable_write(false);
    database.set_log_level(LogLevel::Warn);
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(4 << 20);
    database
}
