//! The state machine: the log in, the store out.
//!
//! Owns the write side. There is one thread that calls it; readers use [`KvStore`]. A failure of the storage stops it
//! for good: what a failed write left behind is known only after the next start.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::message::SnapshotMeta;
use raft_core::traits::{SessionChanges, StateMachine, StateMachineError};
use raft_core::types::EntryId;
use rocksdb::{IteratorMode, WriteBatch};
use thiserror::Error;

use crate::apply::Batch;
use crate::archive::{self, ArchiveReader};
use crate::command::{Command, Response};
use crate::database::{Database, KvOptions};
use crate::directory::{Directory, RemoveOnDrop};
use crate::error::{OpenError, StorageError};
use crate::layout::StoreState;
use crate::range::{RangeRequest, RangeResponse};
use crate::refusal::KvError;
use crate::store::KvStore;
use crate::view::View;

/// The replicated key-value store, as the log drives it.
///
/// ```
/// use raft_core::entry::Entry;
/// use raft_core::traits::{SessionChanges, StateMachine};
/// use raft_core::types::{Index, Term};
/// use raft_kv::{Command, KvOptions, KvStateMachine, PutRequest, RangeRequest};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = tempfile::tempdir()?;
/// let (mut machine, store) = KvStateMachine::open(directory.path(), KvOptions::default())?;
/// let put = Command::Put(PutRequest {
///     key: "greeting".into(),
///     value: "hello".into(),
///     ..PutRequest::default()
/// });
/// machine.apply(&[Entry::command(Term(1), Index(1), put.encode())])?;
/// machine.commit(&SessionChanges::default())?;
///
/// let request = RangeRequest { key: "greeting".into(), ..RangeRequest::default() };
/// let response = store.range(&request)?;
/// assert_eq!(response.kvs[0].value, "hello");
/// assert_eq!(response.kvs[0].mod_revision, 2);
/// # Ok(())
/// # }
/// ```
pub struct KvStateMachine {
    directory: Directory,
    options: KvOptions,
    /// The number of the database in force.
    number: u64,
    state: StoreState,
    store: Arc<KvStore>,
    /// What was applied or restored and waits for its commit.
    pending: Option<Pending>,
    failed: bool,
}

/// What the next commit makes the state. Until then nobody sees it.
enum Pending {
    /// Applied entries, as one write, and where the store stands then.
    Entries(WriteBatch, StoreState),
    /// A restored database, with its number.
    Restored(Database, u64, StoreState),
}

impl Pending {
    fn state(&self) -> &StoreState {
        match self {
            Pending::Entries(_, state) | Pending::Restored(_, _, state) => state,
        }
    }
}

/// Why the state machine cannot go on, where the storage itself did not say so.
#[derive(Debug, Error)]
enum MachineError {
    #[error("entry {found} does not follow entry {applied}, which was applied last")]
    NotContiguous { applied: EntryId, found: EntryId },
    #[error("the key-value store failed earlier and takes no more entries; restart the process")]
    Failed,
    #[error("what was applied or restored before is not committed yet; call commit first")]
    NotCommitted,
    #[error("the snapshot is said to end at entry {expected}, but holds the state at entry {found}")]
    OtherPosition { expected: EntryId, found: EntryId },
}

impl fmt::Debug for KvStateMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvStateMachine")
            .field("directory", &self.directory)
            .field("number", &self.number)
            .field("applied", &self.last_applied())
            .finish_non_exhaustive()
    }
}

impl KvStateMachine {
    /// Opens the store in `directory`, or makes an empty one there, and returns its two sides: the state machine for
    /// the runtime and the reader for everybody else. The directory stays locked until both are dropped.
    pub fn open(directory: &Path, options: KvOptions) -> Result<(KvStateMachine, Arc<KvStore>), OpenError> {
        let directory = Directory::open(directory)?;
        let active = directory.active()?;
        let number = active.unwrap_or(1);
        let database = Database::open(&directory, number, active.is_none(), &options)?;
        if active.is_none() {
            directory
                .activate(number)
                .map_err(|source| OpenError::from_io(directory.path(), source))?;
        }
        directory.remove_leftovers(number)?;
        let state = read_state(&database).map_err(|error| OpenError::Damaged {
            path: directory.path().to_owned(),
            reason: error.to_string(),
        })?;
        let store = Arc::new(KvStore::new(database, state));
        let machine = KvStateMachine {
            directory,
            options,
            number,
            state,
            store: Arc::clone(&store),
            pending: None,
            failed: false,
        };
        Ok((machine, store))
    }

    fn apply_batch(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        let database = self.store.database();
        let mut batch = Batch::new(&database, self.state);
        let mut responses = Vec::with_capacity(entries.len());
        let commands: Vec<_> = entries.iter().map(decode).collect();
        batch.prefetch(commands.iter().flatten().flatten())?;
        for (entry, command) in entries.iter().zip(commands) {
            let applied = batch.state().applied;
            if entry.index() != applied.index.next() || entry.term() < applied.term {
                return Err(StateMachineError::new(MachineError::NotContiguous {
                    applied,
                    found: entry.id,
                }));
            }
            responses.push(match command {
                Some(Ok(command)) => Response::encode_outcome(&batch.apply(command)?),
                Some(Err(refusal)) => Response::encode_outcome(&Err(refusal)),
                None => Bytes::new(),
            });
            batch.advance(entry.id);
        }
        let (writes, state) = batch.finish();
        self.pending = Some(Pending::Entries(writes, state));
        Ok(responses)
    }

    fn commit_entries(
        &mut self,
        mut writes: WriteBatch,
        state: StoreState,
        sessions: &SessionChanges,
    ) -> Result<(), StorageError> {
        let database = self.store.database();
        add_sessions(&database, sessions, &mut writes)?;
        database.write(writes)?;
        self.state = state;
        self.store.publish(state);
        Ok(())
    }

    fn commit_restored(
        &mut self,
        database: Database,
        number: u64,
        state: StoreState,
        sessions: &SessionChanges,
    ) -> Result<(), StateMachineError> {
        let mut writes = WriteBatch::default();
        add_sessions(&database, sessions, &mut writes)?;
        database.write(writes)?;
        database.flush().map_err(StorageError::from)?;
        // If this fails, either database may be in force after a restart, so neither is safe to write to before it.
        self.directory.activate(number)?;
        self.number = number;
        self.state = state;
        self.store.replace(database, state);
        Ok(())
    }

    /// Unpacks and opens what `content` holds as database `number`, which is not in force yet.
    fn unpack(
        &self,
        number: u64,
        last: EntryId,
        content: &mut dyn Read,
    ) -> Result<Database, StateMachineError> {
        archive::unpack(content, &self.directory.database(number)).map_err(StateMachineError::new)?;
        let database =
            Database::open(&self.directory, number, false, &self.options).map_err(StateMachineError::new)?;
        let found = read_state(&database)?.applied;
        if found != last {
            let expected = last;
            return Err(StateMachineError::new(MachineError::OtherPosition {
                expected,
                found,
            }));
        }
        Ok(database)
    }

    /// Nothing but a commit may follow what waits for one.
    fn check_usable(&self) -> Result<(), StateMachineError> {
        if self.failed {
            return Err(StateMachineError::new(MachineError::Failed));
        }
        if self.pending.is_some() {
            return Err(StateMachineError::new(MachineError::NotCommitted));
        }
        Ok(())
    }
}

impl StateMachine for KvStateMachine {
    fn last_applied(&self) -> EntryId {
        self.pending.as_ref().map_or(&self.state, Pending::state).applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.check_usable()?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let result = self.apply_batch(entries);
        self.failed = result.is_err();
        result
    }

    /// `question` is an encoded [`RangeRequest`]; the answer is read with [`RangeResponse::decode_outcome`].
    fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> {
        let outcome = match RangeRequest::decode(question) {
            Ok(request) => self.store.range(&request),
            Err(error) => Err(KvError::Malformed(error.to_string())),
        };
        match outcome {
            Err(error @ KvError::Storage(_)) => Err(StateMachineError::new(error)),
            outcome => Ok(RangeResponse::encode_outcome(&outcome)),
        }
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        self.check_usable()?;
        let path = self.directory.checkpoint();
        // RocksDB makes the directory; whatever happens from here on, it is removed.
        let directory = RemoveOnDrop(path.clone());
        self.store.database().checkpoint(&path)?;
        Ok(Box::new(ArchiveReader::new(directory)?))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.check_usable()?;
        let number = self.number + 1;
        let path = self.directory.database(number);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let unpacked = match self.unpack(number, meta.last, content) {
            Ok(database) => database,
            Err(error) => {
                // The old state stays in force; what cannot be removed now is removed at the next start.
                let _ = fs::remove_dir_all(&path);
                return Err(error);
            }
        };
        let state = read_state(&unpacked)?;
        self.pending = Some(Pending::Restored(unpacked, number, state));
        Ok(())
    }

    fn commit(&mut self, sessions: &SessionChanges) -> Result<(), StateMachineError> {
        if self.failed {
            return Err(StateMachineError::new(MachineError::Failed));
        }
        let result = match self.pending.take() {
            Some(Pending::Entries(writes, state)) => self
                .commit_entries(writes, state, sessions)
                .map_err(StateMachineError::from),
            Some(Pending::Restored(database, number, state)) => {
                self.commit_restored(database, number, state, sessions)
            }
            None => self
                .commit_entries(WriteBatch::default(), self.state, sessions)
                .map_err(StateMachineError::from),
        };
        self.failed = result.is_err();
        result
    }

    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        let database = self.store.database();
        session_records(&database).map_err(StateMachineError::from)
    }
}

/// All records of the sessions in `database`.
fn session_records(database: &Database) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let records = database
        .rocks()
        .iterator_cf(database.sessions(), IteratorMode::Start);
    records
        .map(|record| {
            let (key, value) = record?;
            Ok((Bytes::from(key), Bytes::from(value)))
        })
        .collect()
}

/// Adds to `writes` what changes the sessions in `database`.
fn add_sessions(
    database: &Database,
    changes: &SessionChanges,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    if changes.replaces_all {
        for (key, _) in session_records(database)? {
            writes.delete_cf(database.sessions(), key);
        }
    }
    for (key, value) in &changes.records {
        match value {
            Some(value) => writes.put_cf(database.sessions(), key, value),
            None => writes.delete_cf(database.sessions(), key),
        }
    }
    Ok(())
}

/// The command of an entry, if it has one. What does not decode becomes an answer, on every replica alike, and changes
/// nothing.
fn decode(entry: &Entry) -> Option<Result<Command, KvError>> {
    match &entry.payload {
        Payload::Command(bytes) => {
            Some(Command::decode(bytes).map_err(|error| KvError::Malformed(error.to_string())))
        }
        Payload::Noop | Payload::Membership(_) | Payload::Session(_) => None,
    }
}

fn read_state(database: &Database) -> Result<StoreState, StorageError> {
    View::new(database).map(|view| *view.state())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::PutRequest;
    use crate::layout::META_STATE;

    /// The compacted revision is part of the state from the first format on, although no command moves it yet.
    #[test]
    fn reads_below_the_compacted_revision_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (mut machine, store) = KvStateMachine::open(directory.path(), KvOptions::default()).unwrap();
        let put = Command::Put(PutRequest {
            key: "a".into(),
            ..PutRequest::default()
        });
        for index in 1..=5 {
            let entry = Entry::command(
                raft_core::types::Term(1),
                raft_core::types::Index(index),
                put.encode(),
            );
            machine.apply(&[entry]).unwrap();
            machine.commit(&SessionChanges::default()).unwrap();
        }
        let state = StoreState {
            compact_revision: 4,
            ..machine.state
        };
        let database = store.database();
        let mut batch = WriteBatch::default();
        batch.put_cf(database.meta(), META_STATE, state.encode());
        database.write(batch).unwrap();
        drop((database, machine, store));

        let (machine, store) = KvStateMachine::open(directory.path(), KvOptions::default()).unwrap();
        assert_eq!(store.compact_revision(), 4);
        let at = |revision| {
            let request = RangeRequest {
                key: "a".into(),
                revision,
                ..RangeRequest::default()
            };
            store.range(&request)
        };
        let compacted = KvError::Compacted { compact_revision: 4 };
        assert_eq!(at(3), Err(compacted.clone()));
        assert_eq!(store.hash(3), Err(compacted.clone()));
        assert_eq!(
            at(4).unwrap().kvs[0].mod_revision,
            4,
            "the compacted revision itself can be read"
        );
        assert_eq!(at(0).unwrap().kvs[0].mod_revision, 6);
        let request = RangeRequest {
            key: "a".into(),
            revision: 2,
            ..RangeRequest::default()
        };
        let answer = machine.query(&request.encode()).unwrap();
        assert_eq!(RangeResponse::decode_outcome(&answer).unwrap(), Err(compacted));
    }
}
