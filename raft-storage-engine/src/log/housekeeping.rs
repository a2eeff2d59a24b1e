//! The thread for what is nobody's hurry: raising the watermarks, and letting raft-engine delete files.
//!
//! Must never touch a log that failed.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::database::Database;
use super::group::{self, Group, Groups, lock};
use super::queue::Queue;
use crate::error::DiskError;

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
    /// Something was purged since raft-engine was asked last to delete files.
    purged: bool,
}

/// What the housekeeping works on.
pub(crate) struct Housekeeper {
    pub(crate) database: Arc<Database>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) calls: Arc<Housekeeping>,
    pub(crate) mark_entries_max: u64,
    pub(crate) mark_interval: Duration,
    pub(crate) purge_interval: Duration,
}

impl Housekeeping {
    /// There is something to do.
    pub(crate) fn call(&self) {
        lock(&self.state).now = true;
        self.bell.notify_one();
    }

    /// Entries were purged, so that files may be free; that waits for its time.
    pub(crate) fn note_purge(&self) {
        lock(&self.state).purged = true;
    }

    fn take_purge(&self) -> bool {
        std::mem::take(&mut lock(&self.state).purged)
    }

    /// Ends the thread after it raised every watermark.
    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.bell.notify_one();
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
        let (mut last_sweep, mut last_purge) = (Instant::now(), Instant::now());
        let interval = self.mark_interval.min(self.purge_interval);
        loop {
            let go_on = self.calls.wait(interval);
            if self.queue.is_failed() {
                return;
            }
            let sweep = !go_on || last_sweep.elapsed() >= self.mark_interval;
            if sweep {
                last_sweep = Instant::now();
            }
            let lag_max = if sweep { 1 } else { self.mark_entries_max };
            let groups = group::all(&self.groups);
            let mut done = groups.iter().try_for_each(|group| raise_mark(group, lag_max));
            if go_on && done.is_ok() && last_purge.elapsed() >= self.purge_interval && self.calls.take_purge()
            {
                done = self.database.purge();
                last_purge = Instant::now();
            }
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
