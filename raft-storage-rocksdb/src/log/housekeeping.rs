//! The thread for what is nobody's hurry: raising the watermarks, and deleting purged entries.
//!
//! Purged entries are deleted in small unsynced batches that slide between the writer's syncs. Each batch also stores
//! how far it came, so that no purge ever walks over the tombstones of the one before it.
//! Must never touch a log that failed, and never delete at or above a log's first index.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raft_core::types::Index;
use rocksdb::WriteBatch;

use super::database::Database;
use super::group::{self, Group, Groups, lock};
use super::queue::Queue;
use super::scan::ScanError;
use crate::error::DiskError;
use crate::format::record::{StateKind, encode_deleted, entry_key, index_of_key, state_key};

/// Entries that one purge batch deletes: a fraction of a millisecond of the writer's time.
const PURGE_ENTRIES: usize = 256;

/// How the housekeeping is called and stopped.
#[derive(Debug, Default)]
pub(crate) struct Housekeeping {
    state: Mutex<Called>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Called {
    now: bool,
    stop: bool,
}

/// What the housekeeping works on.
pub(crate) struct Housekeeper {
    pub(crate) database: Arc<Database>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) calls: Arc<Housekeeping>,
    pub(crate) mark_entries_max: u64,
    pub(crate) mark_interval: Duration,
}

impl Housekeeping {
    /// There is something to do.
    pub(crate) fn call(&self) {
        lock(&self.state).now = true;
        self.bell.notify_one();
    }

    /// Ends the thread after it raised every watermark.
    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.bell.notify_one();
    }

    fn stopping(&self) -> bool {
        lock(&self.state).stop
    }

    /// Waits for a call, at most `timeout`; whether to go on.
    fn wait(&self, timeout: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self
            .bell
            .wait_timeout_while(state, timeout, |state| !state.now && !state.stop);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.now = false;
        !state.stop
    }
}

impl Housekeeper {
    /// Runs until it is stopped or the store failed.
    pub(crate) fn run(self) {
        let mut last_sweep = Instant::now();
        loop {
            let go_on = self.calls.wait(self.mark_interval);
            if self.queue.is_failed() {
                return;
            }
            let sweep = !go_on || last_sweep.elapsed() >= self.mark_interval;
            if sweep {
                last_sweep = Instant::now();
            }
            let lag_max = if sweep { 1 } else { self.mark_entries_max };
            let groups = group::all(&self.groups);
            let done = groups.iter().try_for_each(|group| raise_mark(group, lag_max));
            let done = done.and_then(|()| if go_on { self.purge(&groups) } else { Ok(()) });
            if let Err(error) = done {
                tracing::error!(%error, "the log store failed and takes no more writes");
                self.queue.fail();
                return;
            }
            if !go_on {
                return;
            }
        }
    }

    /// Deletes purged entries, one batch of each group in turn, until nothing is left.
    fn purge(&self, groups: &[Arc<Group>]) -> Result<(), DiskError> {
        let mut pending: Vec<&Arc<Group>> = groups.iter().collect();
        while !pending.is_empty() {
            let mut rest = Vec::new();
            for group in pending {
                if self.calls.stopping() || self.queue.is_failed() {
                    return Ok(());
                }
                if self.purge_some(group)? {
                    rest.push(group);
                }
            }
            pending = rest;
        }
        Ok(())
    }

    /// Deletes one batch of `group`; whether more is left.
    fn purge_some(&self, group: &Group) -> Result<bool, DiskError> {
        let mut purge = group.purge();
        let through = group.published().purged.index;
        if purge.gone || purge.deleted >= through {
            return Ok(false);
        }
        let mut batch = WriteBatch::default();
        let deleted = self.collect(group, purge.deleted, through, &mut batch)?;
        let key = state_key(group.id, StateKind::Deleted);
        batch.put_cf(self.database.state(), key, encode_deleted(group.id, deleted));
        self.database
            .write(batch, false)
            .map_err(|error| DiskError::database(self.database.path(), &error))?;
        purge.deleted = deleted;
        Ok(deleted < through)
    }

    /// Adds the deletion of the first entries in `(after, through]` to `batch`; up to where nothing is left then.
    fn collect(
        &self,
        group: &Group,
        after: Index,
        through: Index,
        batch: &mut WriteBatch,
    ) -> Result<Index, DiskError> {
        let view = self.database.view();
        let mut entries = view.entries_from(group.id, after.next());
        let mut deleted = after;
        while let Some(index) = entries.key().and_then(|key| index_of_key(group.id, key)) {
            if index > through {
                return Ok(through);
            }
            if batch.len() == PURGE_ENTRIES {
                return Ok(deleted);
            }
            batch.delete_cf(self.database.entries(), entry_key(group.id, index));
            deleted = index;
            entries.next();
        }
        entries.status().map_err(|error| {
            let error = ScanError::database(group.id, deleted.next(), error);
            DiskError::because(self.database.path(), &error)
        })?;
        Ok(through)
    }
}

/// Raises the mark of `group` if it lags by at least `lag_max` entries.
fn raise_mark(group: &Arc<Group>, lag_max: u64) -> Result<(), DiskError> {
    let mut marked = group.marked();
    let durable = marked.durable;
    if durable.last.entries_since(marked.watermark.promise().last) < lag_max {
        return Ok(());
    }
    match marked.watermark.store(durable) {
        Ok(()) => Ok(()),
        Err(error) => Err(DiskError::file(marked.watermark.path(), &error)),
    }
}
