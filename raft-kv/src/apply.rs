//! Commands at work: how a batch of the log becomes one atomic write.
//!
//! A command sees the effects of those before it in the same batch through an overlay over the live keys; the database
//! sees all of them at once, together with the position in the log and the sessions of the clients (R72). A put costs one point
//! lookup, and the lookups of a batch are made together; nothing here syncs or scans, but a deletion scans its range. The outcome depends on the store and the
//! command alone, damaged commands included.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use raft_core::types::EntryId;
use rocksdb::WriteBatch;

use crate::command::{
    Command, DeleteRangeRequest, DeleteRangeResponse, Header, KeyValue, PutRequest, PutResponse, Response,
};
use crate::database::Database;
use crate::error::StorageError;
use crate::layout::{Live, META_STATE, Revision, StoreState, Version, version_key};
use crate::range::KeyRange;
use crate::refusal::KvError;
use crate::view::{key_value, missing, value_of, walk_live};

/// Commands that were applied but not written.
pub(crate) struct Batch<'db> {
    database: &'db Database,
    state: StoreState,
    writes: WriteBatch,
    /// What the batch changed so far.
    overlay: BTreeMap<Bytes, Pending>,
    /// What the database holds for keys that the batch will need.
    prefetched: HashMap<Bytes, Option<Live>>,
    version_key: Vec<u8>,
    record: Vec<u8>,
}

/// What a batch did to a key.
enum Pending {
    Live(Live, Bytes),
    Deleted,
}

/// A refusal is an outcome; only the storage can fail.
type Outcome<T> = Result<Result<T, KvError>, StorageError>;

impl<'db> Batch<'db> {
    /// A batch on top of `state`, which is what the database holds.
    pub(crate) fn new(database: &'db Database, state: StoreState) -> Batch<'db> {
        Batch {
            database,
            state,
            writes: WriteBatch::default(),
            overlay: BTreeMap::new(),
            prefetched: HashMap::new(),
            version_key: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Where the store will stand.
    pub(crate) fn state(&self) -> &StoreState {
        &self.state
    }

    /// Says that the effect of entry `id` is in the batch.
    pub(crate) fn advance(&mut self, id: EntryId) {
        self.state.applied = id;
    }

    /// Looks up, all at once, the keys that `commands` will put: sorted, they share filters, blocks and locks.
    pub(crate) fn prefetch<'a>(
        &mut self,
        commands: impl Iterator<Item = &'a Command>,
    ) -> Result<(), StorageError> {
        let mut keys: Vec<&Bytes> = commands
            .filter_map(|command| match command {
                Command::Put(request) => Some(&request.key),
                _ => None,
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let found =
            self.database
                .rocks()
                .batched_multi_get_cf(self.database.keys(), keys.iter().copied(), true);
        for (key, stored) in keys.into_iter().zip(found) {
            let live = stored?.map(|bytes| Live::decode(&bytes)).transpose()?;
            self.prefetched.insert(key.clone(), live);
        }
        Ok(())
    }

    /// Applies a command.
    pub(crate) fn apply(&mut self, command: Command) -> Result<Result<Response, KvError>, StorageError> {
        Ok(match command {
            Command::Put(request) => self.put(request)?.map(Response::Put),
            Command::DeleteRange(request) => self.delete_range(&request)?.map(Response::DeleteRange),
        })
    }

    /// Everything that is to be written as one atom, and where the store stands then.
    pub(crate) fn finish(mut self) -> (WriteBatch, StoreState) {
        self.writes
            .put_cf(self.database.meta(), META_STATE, self.state.encode());
        (self.writes, self.state)
    }

    fn put(&mut self, request: PutRequest) -> Outcome<PutResponse> {
        if let Err(refusal) = check_put(&request) {
            return Ok(Err(refusal));
        }
        let existing = self.live(&request.key)?;
        if existing.is_none() && (request.ignore_value || request.ignore_lease) {
            return Ok(Err(KvError::KeyNotFound));
        }
        let previous = match &existing {
            Some(live) if request.prev_kv || request.ignore_value => {
                Some(self.key_value(&request.key, live)?)
            }
            _ => None,
        };
        let value = match &previous {
            Some(previous) if request.ignore_value => previous.value.clone(),
            _ => request.value,
        };
        let lease = match &existing {
            Some(live) if request.ignore_lease => live.lease,
            _ => request.lease,
        };
        let revision = self.next_revision();
        let live = Live {
            revision,
            create_revision: existing.map_or(revision.main, |live| live.create_revision),
            version: existing.map_or(1, |live| live.version + 1),
            lease,
        };
        self.write_put(request.key, live, value);
        self.state.revision = revision.main;
        Ok(Ok(PutResponse {
            header: self.header(),
            prev_kv: previous.filter(|_| request.prev_kv),
        }))
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> Outcome<DeleteRangeResponse> {
        let range = match KeyRange::new(&request.key, &request.range_end) {
            Ok(range) => range,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let doomed = self.live_range(range)?;
        let mut prev_kvs = Vec::new();
        if request.prev_kv {
            for (key, live) in &doomed {
                prev_kvs.push(self.key_value(key, live)?);
            }
        }
        let mut revision = self.next_revision();
        let deleted = i64::try_from(doomed.len()).unwrap_or(i64::MAX);
        for key in doomed.into_keys() {
            self.write_tombstone(key, revision);
            revision.sub += 1;
        }
        if deleted > 0 {
            self.state.revision = revision.main;
        }
        Ok(Ok(DeleteRangeResponse {
            header: self.header(),
            deleted,
            prev_kvs,
        }))
    }

    /// The revision of a command that changes something; a command that changes nothing uses up none.
    fn next_revision(&self) -> Revision {
        Revision {
            main: self.state.revision + 1,
            sub: 0,
        }
    }

    fn header(&self) -> Header {
        Header {
            revision: self.state.revision,
        }
    }

    fn write_put(&mut self, key: Bytes, live: Live, value: Bytes) {
        self.write_version(&key, live.revision, &Version::Put(live, &value));
        self.writes.put_cf(self.database.keys(), &key, live.encode());
        self.overlay.insert(key, Pending::Live(live, value));
    }

    fn write_tombstone(&mut self, key: Bytes, revision: Revision) {
        self.write_version(&key, revision, &Version::Tombstone);
        self.writes.delete_cf(self.database.keys(), &key);
        self.overlay.insert(key, Pending::Deleted);
    }

    fn write_version(&mut self, key: &[u8], revision: Revision, version: &Version<'_>) {
        version_key(key, revision, &mut self.version_key);
        version.encode(&mut self.record);
        self.writes
            .put_cf(self.database.versions(), &self.version_key, &self.record);
        version.encode_history(key, &mut self.record);
        self.writes
            .put_cf(self.database.history(), revision.to_bytes(), &self.record);
    }

    fn live(&self, key: &[u8]) -> Result<Option<Live>, StorageError> {
        match self.overlay.get(key) {
            Some(Pending::Live(live, _)) => return Ok(Some(*live)),
            Some(Pending::Deleted) => return Ok(None),
            None => {}
        }
        if let Some(live) = self.prefetched.get(key) {
            return Ok(*live);
        }
        let stored = self.database.rocks().get_pinned_cf(self.database.keys(), key)?;
        Ok(stored.map(|bytes| Live::decode(&bytes)).transpose()?)
    }

    /// The live keys of a range: those of the database, and what the batch did to them.
    fn live_range(&self, range: KeyRange<'_>) -> Result<BTreeMap<Bytes, Live>, StorageError> {
        let mut keys = BTreeMap::new();
        if range.is_empty() {
            return Ok(keys);
        }
        match range {
            KeyRange::Single(key) => {
                if let Some(live) = self.live(key)? {
                    keys.insert(Bytes::copy_from_slice(key), live);
                }
            }
            KeyRange::Span(start, end) => {
                let (rocks, family) = (self.database.rocks(), self.database.keys());
                walk_live(rocks, family, start, end, |key, live| {
                    keys.insert(Bytes::copy_from_slice(key), live);
                })?;
                let changed = self.overlay.range::<[u8], _>((
                    Bound::Included(start),
                    end.map_or(Bound::Unbounded, Bound::Excluded),
                ));
                for (key, pending) in changed {
                    match pending {
                        Pending::Live(live, _) => keys.insert(key.clone(), *live),
                        Pending::Deleted => keys.remove(key),
                    };
                }
            }
        }
        Ok(keys)
    }

    fn key_value(&self, key: &Bytes, live: &Live) -> Result<KeyValue, StorageError> {
        let value = match self.overlay.get(key) {
            Some(Pending::Live(_, value)) => value.clone(),
            _ => self.stored_value(key, live.revision)?,
        };
        Ok(key_value(key.clone(), live, value))
    }

    fn stored_value(&self, key: &[u8], revision: Revision) -> Result<Bytes, StorageError> {
        let mut stored = Vec::new();
        version_key(key, revision, &mut stored);
        let record = self
            .database
            .rocks()
            .get_pinned_cf(self.database.versions(), &stored)?
            .ok_or_else(|| missing(key, revision))?;
        value_of(key, revision, &record)
    }
}

/// What can be said about a put without looking at the store, in etcd's order.
fn check_put(request: &PutRequest) -> Result<(), KvError> {
    if request.key.is_empty() {
        return Err(KvError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(KvError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(KvError::LeaseProvided);
    }
    if request.lease != 0 {
        // No lease was ever granted: there is no command that grants one yet.
        return Err(KvError::LeaseNotFound);
    }
    Ok(())
}
