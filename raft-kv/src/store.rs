//! The shared reader.
//!
//! Owns which database is in force and where it stands, as far as readers may know. Readers see whole batches of the
//! log, never a part of one: every read works on a snapshot of RocksDB and on the state record in it. Never writes to
//! the store.

use std::sync::{Arc, PoisonError, RwLock};

use raft_core::types::EntryId;
use serde::{Deserialize, Serialize};

use crate::audit;
use crate::database::Database;
use crate::error::StorageError;
use crate::layout::StoreState;
use crate::range::{RangeRequest, RangeResponse};
use crate::refusal::KvError;
use crate::view::View;

/// Reads the store from any thread, while the state machine writes it. Share it in an [`Arc`].
///
/// What it reads is what this replica has applied, which may be behind the cluster; after a crash it may even be
/// behind what was read before. A server that promises linearizable reads waits for a read barrier first (R75).
#[derive(Debug)]
pub struct KvStore {
    database: RwLock<Arc<Database>>,
    state: RwLock<StoreState>,
}

/// A fingerprint of everything that the store holds up to a revision.
///
/// Two replicas with equal `applied` have equal fingerprints (I10), whatever their files look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    /// CRC-32C over every version of every key up to `revision`.
    pub hash: u32,
    /// The revision up to which versions were counted.
    pub revision: i64,
    /// The oldest readable revision; 0 if nothing was compacted.
    pub compact_revision: i64,
    /// How many versions were counted, deletions included.
    pub versions: u64,
}

/// What [`KvStore::audit`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Live keys.
    pub keys: u64,
    /// Versions of all keys, deletions included.
    pub versions: u64,
}

impl KvStore {
    pub(crate) fn new(database: Database, state: StoreState) -> KvStore {
        KvStore {
            database: RwLock::new(Arc::new(database)),
            state: RwLock::new(state),
        }
    }

    /// Answers a range request from what this replica has applied.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        let database = self.database();
        View::new(&database)?.range(request)
    }

    /// The current revision; 1 for an empty store.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.state().revision
    }

    /// The last entry of the log whose effect readers see.
    #[must_use]
    pub fn applied(&self) -> EntryId {
        self.state().applied
    }

    /// Reads below this revision are refused; 0 as long as nothing was compacted.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.state().compact_revision
    }

    /// Roughly the bytes that the store takes, on disk and in write buffers.
    pub fn db_size_bytes(&self) -> Result<u64, KvError> {
        Ok(self.database().size_bytes()?)
    }

    /// The fingerprint of everything up to `revision`; 0 or less for the current one. Reads the whole store.
    pub fn hash(&self, revision: i64) -> Result<StateHash, KvError> {
        let database = self.database();
        let view = View::new(&database)?;
        let revision = view.resolve(revision)?;
        Ok(audit::hash(&view, revision)?)
    }

    /// Checks that the parts of the store agree with each other. Reads the whole store; damage is
    /// [`KvError::Storage`].
    pub fn audit(&self) -> Result<AuditReport, KvError> {
        let database = self.database();
        let view = View::new(&database)?;
        Ok(audit::audit(&view)?)
    }

    /// Lets readers see `state`, which was written.
    pub(crate) fn publish(&self, state: StoreState) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Lets readers see another database. Reads that began on the old one end on it; then its files are removed.
    pub(crate) fn replace(&self, database: Database, state: StoreState) {
        let database = Arc::new(database);
        let old = {
            let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, database)
        };
        self.publish(state);
        old.retire();
    }

    pub(crate) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn state(&self) -> StoreState {
        *self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<StorageError> for raft_core::traits::StateMachineError {
    fn from(error: StorageError) -> Self {
        raft_core::traits::StateMachineError::new(error)
    }
}
