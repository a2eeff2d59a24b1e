//! Reads: one consistent moment of the store.
//!
//! A view is a RocksDB snapshot together with the state record of that very snapshot, so whoever holds one sees whole
//! batches only, never a part of one. Current ranges are driven by `keys`, which holds live keys and nothing else;
//! older ones walk `versions`. Never writes.

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, Snapshot};

use crate::command::KeyValue;
use crate::database::Database;
use crate::error::StorageError;
use crate::layout::{
    self, FIRST_REVISION, Live, META_STATE, Revision, StoreState, Version, decode_version_key, key_end,
    newest_at, version_key,
};
use crate::refusal::KvError;

/// How many records are stepped over one by one before a seek is cheaper.
const STEPS_MAX: usize = 8;

/// One consistent moment of the store.
pub(crate) struct View<'db> {
    database: &'db Database,
    snapshot: Snapshot<'db>,
    state: StoreState,
}

impl<'db> View<'db> {
    /// The store as it is now.
    pub(crate) fn new(database: &'db Database) -> Result<View<'db>, StorageError> {
        let snapshot = database.rocks().snapshot();
        let state = match snapshot.get_pinned_cf(database.meta(), META_STATE)? {
            Some(bytes) => StoreState::decode(&bytes)?,
            None => return Err(StorageError::Damaged("the state of the store is missing".into())),
        };
        Ok(View {
            database,
            snapshot,
            state,
        })
    }

    /// The database that is read.
    pub(crate) fn database(&self) -> &'db Database {
        self.database
    }

    /// Where the store stood at this moment.
    pub(crate) fn state(&self) -> &StoreState {
        &self.state
    }

    /// The revision that a request means: 0 and less stand for the current one.
    pub(crate) fn resolve(&self, revision: i64) -> Result<i64, KvError> {
        let current_revision = self.state.revision;
        let compact_revision = self.state.compact_revision;
        match revision {
            ..=0 => Ok(current_revision),
            _ if revision > current_revision => Err(KvError::FutureRevision { current_revision }),
            _ if revision < compact_revision => Err(KvError::Compacted { compact_revision }),
            _ => Ok(revision),
        }
    }

    /// What is known of a live key, but its value.
    pub(crate) fn live(&self, key: &[u8]) -> Result<Option<Live>, StorageError> {
        match self.snapshot.get_pinned_cf(self.database.keys(), key)? {
            Some(bytes) => Ok(Some(Live::decode(&bytes)?)),
            None => Ok(None),
        }
    }

    /// Visits every live key of a range in order.
    pub(crate) fn walk_current(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], Live),
    ) -> Result<(), StorageError> {
        let mut cursor = self.iterate(self.database.keys(), end.map(<[u8]>::to_vec));
        cursor.seek(start);
        while let Some((key, value)) = cursor.item() {
            visit(key, Live::decode(value)?);
            cursor.next();
        }
        Ok(cursor.status()?)
    }

    /// Visits, for every key between two bounds in `versions`, the newest version at or below revision `at`, unless
    /// that is a tombstone.
    pub(crate) fn walk_versions(
        &self,
        lower: Vec<u8>,
        upper: Option<Vec<u8>>,
        at: i64,
        visit: &mut impl FnMut(&[u8], Live, Option<&[u8]>),
    ) -> Result<(), StorageError> {
        let mut cursor = self.iterate(self.database.versions(), upper);
        let (mut key, mut target) = (Vec::new(), Vec::new());
        cursor.seek(&lower);
        while let Some((bytes, record)) = cursor.item() {
            let revision = decode_version_key(bytes, &mut key)?;
            if revision.main > at {
                newest_at(&key, at, &mut target);
            } else {
                if let Version::Put(live, value) = Version::decode(revision, record)? {
                    visit(&key, live, Some(value));
                }
                key_end(&key, &mut target);
            }
            advance(&mut cursor, &target);
        }
        Ok(cursor.status()?)
    }

    /// Visits every version of every key: the key, the revision, the record.
    pub(crate) fn walk_all(
        &self,
        mut visit: impl FnMut(&[u8], Revision, &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut cursor = self.iterate(self.database.versions(), None);
        let mut key = Vec::new();
        cursor.seek_to_first();
        while let Some((bytes, record)) = cursor.item() {
            let revision = decode_version_key(bytes, &mut key)?;
            visit(&key, revision, record)?;
            cursor.next();
        }
        Ok(cursor.status()?)
    }

    /// Visits every change in order: the revision, whether it is a deletion, the key.
    pub(crate) fn walk_history(
        &self,
        mut visit: impl FnMut(Revision, bool, &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut cursor = self.iterate(self.database.history(), None);
        cursor.seek_to_first();
        while let Some((bytes, record)) = cursor.item() {
            let (deleted, key) = layout::decode_history(record)?;
            visit(Revision::decode(bytes)?, deleted, key)?;
            cursor.next();
        }
        Ok(cursor.status()?)
    }

    /// The value that `key` was given at `revision`.
    pub(crate) fn value(&self, key: &[u8], revision: Revision) -> Result<Bytes, StorageError> {
        let mut stored = Vec::new();
        version_key(key, revision, &mut stored);
        let record = self
            .snapshot
            .get_pinned_cf(self.database.versions(), &stored)?
            .ok_or_else(|| missing(key, revision))?;
        value_of(key, revision, &record)
    }

    /// Fails unless `key` has a version at `revision` that is a tombstone if `deleted`, or else a put.
    pub(crate) fn has_version(
        &self,
        key: &[u8],
        revision: Revision,
        deleted: bool,
    ) -> Result<(), StorageError> {
        let mut stored = Vec::new();
        version_key(key, revision, &mut stored);
        let record = self.snapshot.get_pinned_cf(self.database.versions(), &stored)?;
        let record = record.ok_or_else(|| missing(key, revision))?;
        match (Version::decode(revision, &record)?, deleted) {
            (Version::Put(..), false) | (Version::Tombstone, true) => Ok(()),
            _ => Err(missing(key, revision)),
        }
    }

    pub(crate) fn iterate(&self, family: &ColumnFamily, upper: Option<Vec<u8>>) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        if let Some(upper) = upper {
            options.set_iterate_upper_bound(upper);
        }
        self.snapshot.raw_iterator_cf_opt(family, options)
    }
}

/// What a client sees of a live key.
pub(crate) fn key_value(key: Bytes, live: &Live, value: Bytes) -> KeyValue {
    KeyValue {
        key,
        create_revision: live.create_revision,
        mod_revision: live.revision.main,
        version: live.version,
        value,
        lease: live.lease,
    }
}

/// Visits every live key of a range in order, as it is in the database now: for the one thread that writes.
pub(crate) fn walk_live(
    rocks: &DB,
    keys: &ColumnFamily,
    start: &[u8],
    end: Option<&[u8]>,
    mut visit: impl FnMut(&[u8], Live),
) -> Result<(), StorageError> {
    let mut options = ReadOptions::default();
    if let Some(end) = end {
        options.set_iterate_upper_bound(end);
    }
    let mut cursor = rocks.raw_iterator_cf_opt(keys, options);
    cursor.seek(start);
    while let Some((key, value)) = cursor.item() {
        visit(key, Live::decode(value)?);
        cursor.next();
    }
    Ok(cursor.status()?)
}

/// The value in a record that must be a put.
pub(crate) fn value_of(key: &[u8], revision: Revision, record: &[u8]) -> Result<Bytes, StorageError> {
    match Version::decode(revision, record)? {
        Version::Put(_, value) => Ok(Bytes::copy_from_slice(value)),
        Version::Tombstone => Err(missing(key, revision)),
    }
}

pub(crate) fn missing(key: &[u8], revision: Revision) -> StorageError {
    StorageError::Damaged(format!(
        "the version of key {} at revision {}.{} is missing",
        key.escape_ascii(),
        revision.main,
        revision.sub
    ))
}

/// Goes to the first record at or behind `target`, which is not before the current one.
pub(crate) fn advance(cursor: &mut DBRawIterator<'_>, target: &[u8]) {
    for _ in 0..STEPS_MAX {
        match cursor.key() {
            Some(key) if key < target => cursor.next(),
            _ => return,
        }
    }
    if cursor.key().is_some_and(|key| key < target) {
        cursor.seek(target);
    }
}

const _: () = assert!(FIRST_REVISION > 0, "revision 0 means the current one");
