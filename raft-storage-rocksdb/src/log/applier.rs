//! The thread that brings RocksDB to where the journal is. Nobody waits for it who does not have to.
//!
//! A batch is acknowledged when the journal has it; until RocksDB has it, too, the entries are read from memory
//! (see [`cache`](super::cache)). So the time RocksDB takes overlaps the next sync.
//!
//! Several batches go to RocksDB in one write, with the number of the last of them. A batch may wait for that until the
//! housekeeping looks, a tenth of a second later: nobody needs it before.
//!
//! Invariants: batches are applied in the order of the journal; at most [`PENDING_BYTES_MAX`] wait, and one batch more.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::database::Database;
use super::group::lock;
use super::queue::Queue;

/// Beyond it, the writer waits for RocksDB.
const PENDING_BYTES_MAX: usize = 32 << 20;
/// As long as less waits, and nobody waits for it, the thread sleeps: small batches are applied many at once.
const DUE_BYTES: usize = 256 << 10;
const DUE_BATCHES: usize = 64;
/// What goes to RocksDB in one write, about.
const WRITE_BYTES: usize = 4 << 20;

/// Batches on their way to RocksDB.
#[derive(Debug, Default)]
pub(crate) struct Applying {
    state: Mutex<State>,
    /// There is something to apply, or nothing more will come.
    ready: Condvar,
    /// Something was applied, or nothing more will be.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Vec<u8>)>,
    waiting_bytes: usize,
    /// Of those that wait and those that are being applied.
    pending_bytes: usize,
    /// Somebody wants it to be applied now.
    nudged: bool,
    /// RocksDB has the journal up to this record.
    applied: u64,
    closed: bool,
    failed: bool,
}

impl State {
    fn is_due(&self) -> bool {
        let is_much = self.waiting_bytes >= DUE_BYTES || self.waiting.len() >= DUE_BATCHES;
        !self.waiting.is_empty() && (is_much || self.nudged || self.closed)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("waiting", &self.waiting.len())
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

/// RocksDB refused a batch; the store has failed.
#[derive(Debug)]
pub(crate) struct ApplyFailed;

impl Applying {
    /// RocksDB has the journal up to record `applied`.
    pub(crate) fn new(applied: u64) -> Applying {
        let applying = Applying::default();
        lock(&applying.state).applied = applied;
        applying
    }

    /// Hands over the batch of record `sequence`. Waits while too much is on its way.
    pub(crate) fn submit(&self, sequence: u64, batch: Vec<u8>) -> Result<(), ApplyFailed> {
        let mut state = lock(&self.state);
        while state.pending_bytes > PENDING_BYTES_MAX && !state.failed {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed {
            return Err(ApplyFailed);
        }
        state.pending_bytes += batch.len();
        state.waiting_bytes += batch.len();
        state.waiting.push_back((sequence, batch));
        let is_due = state.is_due();
        drop(state);
        if is_due {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Has what waits applied soon, however little it is.
    pub(crate) fn nudge(&self) {
        let mut state = lock(&self.state);
        if !state.waiting.is_empty() {
            state.nudged = true;
            drop(state);
            self.ready.notify_one();
        }
    }

    /// The last record that RocksDB has.
    pub(crate) fn applied(&self) -> u64 {
        lock(&self.state).applied
    }

    /// Waits until RocksDB has record `sequence`.
    pub(crate) fn wait_for(&self, sequence: u64) -> Result<(), ApplyFailed> {
        let mut state = lock(&self.state);
        while state.applied < sequence {
            if state.failed {
                return Err(ApplyFailed);
            }
            state.nudged = true;
            self.ready.notify_one();
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Nothing more comes; what is on its way is still applied.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.ready.notify_all();
    }

    /// What waits; `None` if nothing more will come.
    fn take(&self) -> Option<VecDeque<(u64, Vec<u8>)>> {
        let mut state = lock(&self.state);
        loop {
            if state.is_due() {
                state.nudged = false;
                state.waiting_bytes = 0;
                return Some(std::mem::take(&mut state.waiting));
            }
            if state.closed {
                return None;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, sequence: u64, bytes: usize) {
        let mut state = lock(&self.state);
        state.applied = sequence;
        state.pending_bytes -= bytes;
        drop(state);
        self.done.notify_all();
    }

    /// Nothing more is applied: whoever waits for it is told.
    pub(crate) fn fail(&self) {
        lock(&self.state).failed = true;
        self.done.notify_all();
    }
}

/// Fails everything when the thread ends in any way but the regular one.
struct FailUnlessDone {
    applying: Arc<Applying>,
    queue: Arc<Queue>,
    done: bool,
}

impl Drop for FailUnlessDone {
    fn drop(&mut self) {
        if !self.done {
            self.applying.fail();
            self.queue.fail();
        }
    }
}

/// Applies batches until no more come. After an error the store takes no more writes: nothing is lost by that, the journal
/// has them.
pub(crate) fn run(applying: Arc<Applying>, database: &Database, queue: Arc<Queue>) {
    let mut guard = FailUnlessDone {
        applying: Arc::clone(&applying),
        queue,
        done: false,
    };
    while let Some(mut batches) = applying.take() {
        while let Some((first, body)) = batches.pop_front() {
            let (mut last, mut bodies) = (first, vec![body]);
            let mut bytes = bodies[0].len();
            while let Some((sequence, body)) = batches.pop_front_if(|_| bytes < WRITE_BYTES) {
                bytes += body.len();
                last = sequence;
                bodies.push(body);
            }
            if let Err(error) = database.apply(last, &bodies) {
                tracing::error!(%error, "the log store failed and takes no more writes");
                return;
            }
            applying.finish(last, bytes);
        }
    }
    guard.done = true;
}
