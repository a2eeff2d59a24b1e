//! The thread for what is nobody's hurry: raising the watermarks, writing tables so that segments of the journal are
//! free again, and deleting purged entries.
//!
//! Purged entries are deleted in small batches that slide between the writer's. They are not in the journal: a crash that
//! forgets them brings back what lies below the log's beginning, where nobody looks. Each batch also stores how
//! far it came, so that no purge ever walks over the tombstones of the one before it.
//! Must never touch a log that failed, and never delete at or above a log's first index.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raft_core::types::Index;
use rocksdb::WriteBatch;

use super::applier::{ApplyFailed, Applying};
use super::database::Database;
use super::group::{self, Group, Groups, lock};
use super::journal::Files;
use super::queue::Queue;
use super::scan::ScanError;
use crate::error::DiskError;
use crate::format::record::{StateKind, encode_deleted, entry_key, index_of_key, state_key};

/// So long a purge goes on before the marks and the journal are looked after again.
const PURGE_SLICE: Duration = Duration::from_millis(20);
/// Entries that one purge batch deletes: a fraction of a millisecond of the writer's time.
const PURGE_ENTRIES: usize = 256;

/// How often the control file of the journal follows it. What is lost behind the mark in such a way that the journal looks as
/// if it had never been written (an older copy of a segment was put in its place) goes unnoticed; all else is noticed anyway.
const JOURNAL_MARK_INTERVAL: Duration = Duration::from_millis(100);

/// How the housekeeping is called and stopped, and what the writer tells it.
#[derive(Debug, Default)]
pub(crate) struct Housekeeping {
    state: Mutex<Called>,
    bell: Condvar,
    /// The last record of the journal that is durable.
    durable: AtomicU64,
}

#[derive(Debug, Default)]
struct Called {
    now: bool,
    stop: bool,
}

/// What the housekeeping works on.
pub(crate) struct Housekeeper {
    pub(crate) database: Arc<Database>,
    pub(crate) journal: Arc<Files>,
    pub(crate) applying: Arc<Applying>,
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

    /// The journal is durable up to record `sequence`.
    pub(crate) fn durable(&self, sequence: u64) {
        self.durable.store(sequence, Ordering::Release);
    }

    /// The last record of the journal that is durable.
    pub(crate) fn last_durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
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
            let go_on = self.calls.wait(JOURNAL_MARK_INTERVAL.min(self.mark_interval));
            if self.queue.is_failed() {
                return;
            }
            let sweep = !go_on || last_sweep.elapsed() >= self.mark_interval;
            if sweep {
                last_sweep = Instant::now();
            }
            let lag_max = if sweep { 1 } else { self.mark_entries_max };
            self.applying.nudge();
            let groups = group::all(&self.groups);
            let done = groups.iter().try_for_each(|group| raise_mark(group, lag_max));
            let done = done.and_then(|()| self.tend_journal(go_on));
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

    /// Raises the mark in the control file, makes the next file ready, and frees the full ones.
    fn tend_journal(&self, go_on: bool) -> Result<(), DiskError> {
        if !go_on {
            return self.journal.close(self.calls.last_durable());
        }
        self.journal.mark(self.calls.last_durable())?;
        if self.journal.has_full_segments() {
            let applied = self.calls.last_durable();
            if let Err(ApplyFailed) = self.applying.wait_for(applied) {
                return Ok(());
            }
            let flushed = self.database.flush();
            flushed.map_err(|error| DiskError::database(self.database.path(), &error))?;
            self.journal.release(applied)?;
        }
        // A segment that was released is as good as a new file, and costs nothing.
        self.journal.prepare();
        Ok(())
    }

    /// Deletes purged entries, one batch of each group in turn, until nothing is left or there is something else to do.
    fn purge(&self, groups: &[Arc<Group>]) -> Result<(), DiskError> {
        let mut pending: Vec<&Arc<Group>> = groups.iter().collect();
        let end = Instant::now() + PURGE_SLICE;
        while !pending.is_empty() {
            let mut rest = Vec::new();
            for group in pending {
                if self.calls.stopping() || self.queue.is_failed() {
                    return Ok(());
                }
                if Instant::now() >= end {
                    self.calls.call();
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
        // An entry that reached RocksDB after its deletion would stay for ever.
        let durable = self.calls.last_durable();
        if let Err(ApplyFailed) = self.applying.wait_for(durable) {
            return Ok(false);
        }
        let mut batch = WriteBatch::default();
        let deleted = self.collect(group, purge.deleted, through, &mut batch)?;
        let key = state_key(group.id, StateKind::Deleted);
        batch.put_cf(self.database.state(), key, encode_deleted(group.id, deleted));
        self.database
            .write(batch)
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
