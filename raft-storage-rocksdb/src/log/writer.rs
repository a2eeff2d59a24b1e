//! The one thread that writes the log: group commit.
//!
//! It takes whatever was queued during the last sync, stages it into one batch, syncs once, and answers all callers in order.
//! There are no timed delays: a batch is what arrived in the meantime.
//!
//! The order of one commit, which the watermark's promise rests on:
//! 1. create the watermark of new groups; lower the mark of groups whose log gets shorter in between;
//! 2. append the batch to the journal, synced;
//! 3. apply it to RocksDB, and show the new log to readers;
//! 4. copy changed terms and votes into the watermark, and answer.
//!
//! Any error but a refused batch fails the store for good: what a failed write or sync left on disk is unknown until
//! everything is verified again (R60).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard};

use raft_core::traits::LogStoreError;
use raft_core::types::{GroupId, Index};
use rocksdb::WriteBatch;

use super::counters::Counters;
use super::database::Database;
use super::group::{self, Group, Groups, Purge};
use super::housekeeping::Housekeeping;
use super::journal::Journal;
use super::queue::{Job, Queue, Request};
use super::scan::Scanned;
use super::stage::{Stage, StagedBatch, Tail};
use super::watermark::WatermarkDir;
use crate::error::DiskError;
use crate::format::record::{Link, StateKind, encode_deleted, entries_end, entry_key, state_key};
use crate::format::watermark::Promise;

/// What the writer thread owns and shares.
pub(crate) struct Writer {
    pub(crate) disk: Disk,
    pub(crate) watermarks: WatermarkDir,
    pub(crate) groups: Arc<Groups>,
    pub(crate) queue: Arc<Queue>,
    /// How far a mark may lag before the housekeeping is called.
    pub(crate) mark_entries_max: u64,
    pub(crate) tails: BTreeMap<GroupId, Tail>,
}

/// Where batches go.
pub(crate) struct Disk {
    pub(crate) journal: Journal,
    pub(crate) database: Arc<Database>,
    pub(crate) housekeeping: Arc<Housekeeping>,
    pub(crate) counters: Arc<Counters>,
}

/// Fails the queue when the writer thread ends in any way but the regular one, so that no caller waits for ever.
struct FailUnlessDone<'a> {
    queue: &'a Queue,
    done: bool,
}

impl Drop for FailUnlessDone<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.queue.fail();
        }
    }
}

impl Writer {
    /// Runs until the queue is closed and empty, or the store failed.
    pub(crate) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let mut guard = FailUnlessDone {
            queue: &queue,
            done: false,
        };
        while let Some(mut requests) = queue.take() {
            while !requests.is_empty() {
                if let Err(error) = self.round(&mut requests) {
                    tracing::error!(%error, "the log store failed and takes no more writes");
                    queue.fail();
                    for request in requests {
                        request.finish(Err(LogStoreError::Failed));
                    }
                    guard.done = true;
                    return;
                }
            }
        }
        guard.done = true;
    }

    /// Does the requests at the front that fit into one batch. An error means that the store failed; the callers that
    /// it concerns are answered.
    fn round(&mut self, requests: &mut VecDeque<Request>) -> Result<(), DiskError> {
        if let Some(Request {
            job: Job::Destroy(group),
            ..
        }) = requests.front()
        {
            let group = *group;
            let result = self.destroy(group);
            let outcome = result.clone();
            if let Some(request) = requests.pop_front() {
                let bytes = request.finish(result.map_err(io));
                self.queue.release(1, bytes);
            }
            return outcome;
        }
        let mut taken = Vec::with_capacity(requests.len());
        let mut failure = None;
        let staged_bytes = requests.iter().map(Request::bytes).sum();
        let mut stage = Stage::new(&self.disk.database, &mut self.tails, staged_bytes);
        while failure.is_none()
            && let Some(request) = requests.pop_front_if(|request| !matches!(request.job, Job::Destroy(_)))
        {
            let result = match &request.job {
                Job::Write(batch) => stage.write(batch),
                Job::Compact(group, through) => stage.compact(*group, *through),
                Job::Destroy(_) => Ok(()),
            };
            if let (Job::Write(_), Err(error)) = (&request.job, &result)
                && !matches!(error, LogStoreError::NotContiguous { .. })
            {
                failure = Some(DiskError::because(self.disk.database.path(), error));
            }
            if let (Job::Write(batch), Ok(())) = (&request.job, &result) {
                let entries = batch.iter().map(|write| write.log.entries().len());
                self.disk.counters.appended(entries.sum());
            }
            taken.push((request, result));
        }
        // What came before a failure is not written, either: its callers are told, and the next start decides.
        let staged = stage.finish();
        let outcome = match failure {
            Some(failure) => Err(failure),
            None => self.commit(staged),
        };
        let (mut requests, mut bytes) = (0, 0);
        for (request, result) in taken {
            let result = match (&outcome, result) {
                (Err(failure), Ok(())) => Err(io(failure.clone())),
                (_, result) => result,
            };
            requests += 1;
            bytes += request.finish(result);
        }
        self.disk.counters.answered(requests);
        self.queue.release(requests, bytes);
        outcome
    }

    fn commit(&mut self, staged: Option<StagedBatch>) -> Result<(), DiskError> {
        let Some(StagedBatch { mut batch, groups }) = staged else {
            return Ok(());
        };
        let mut created = Vec::new();
        for id in &groups {
            let Some(tail) = self.tails.get_mut(id) else {
                continue;
            };
            match (&tail.group, &tail.staged) {
                (Some(group), Some(staged)) => lower_mark(group, &staged.floor)?,
                (Some(_), None) => {}
                (None, _) => {
                    let group = create(&self.watermarks, *id)?;
                    created.push(Arc::clone(&group));
                    tail.group = Some(group);
                }
            }
        }
        {
            let _purges = restart_purges(&self.disk.database, &self.tails, &groups, &mut batch);
            self.disk.write(batch)?;
            for tail in groups.iter().filter_map(|id| self.tails.get(id)) {
                tail.publish();
            }
        }
        for group in created {
            group::insert(&self.groups, group);
        }
        self.settle(&groups)
    }

    /// What follows a durable batch: the watermarks.
    fn settle(&mut self, groups: &[GroupId]) -> Result<(), DiskError> {
        let mut call_housekeeping = false;
        for id in groups {
            let Some(tail) = self.tails.get_mut(id) else {
                continue;
            };
            let (Some(staged), Some(group)) = (tail.staged.take(), &tail.group) else {
                continue;
            };
            let lag = raise_mark(group, Promise::of(&tail.hard_state, &tail.last))?;
            call_housekeeping |= lag >= self.mark_entries_max || staged.purges;
        }
        if call_housekeeping {
            self.disk.housekeeping.call();
        }
        Ok(())
    }

    /// Forgets a group. The watermark promises nothing before the log goes, and its file goes last, so that a crash
    /// in between is not mistaken for a loss.
    fn destroy(&mut self, id: GroupId) -> Result<(), DiskError> {
        let Some(Tail {
            group: Some(group), ..
        }) = self.tails.remove(&id)
        else {
            return Ok(());
        };
        let mut purge = group.purge();
        {
            let mut marked = group.marked();
            marked.durable = Promise::default();
            let result = marked.watermark.store(Promise::default());
            result.map_err(|error| DiskError::file(marked.watermark.path(), &error))?;
        }
        let (state, entries) = (self.disk.database.state(), self.disk.database.entries());
        let mut batch = WriteBatch::default();
        for kind in [
            StateKind::Purged,
            StateKind::HardState,
            StateKind::Snapshot,
            StateKind::Deleted,
        ] {
            batch.delete_cf(state, state_key(id, kind));
        }
        batch.delete_range_cf(entries, &entry_key(id, Index::ZERO)[..], &entries_end(id)[..]);
        self.disk.write(batch)?;
        purge.gone = true;
        group::remove(&self.groups, id);
        self.watermarks
            .remove(id)
            .map_err(|error| DiskError::file(&self.watermarks.file(id), &error))
    }
}

impl Disk {
    /// Makes one batch durable, and then visible.
    fn write(&mut self, batch: WriteBatch) -> Result<(), DiskError> {
        let sequence = self.journal.next();
        let begins_segment = self.journal.is_full_for(batch.data().len());
        self.journal.append(batch.data())?;
        self.counters.synced(batch.data().len());
        self.housekeeping.durable(sequence);
        let applied = self.database.apply(sequence, batch);
        applied.map_err(|error| DiskError::database(self.database.path(), &error))?;
        self.housekeeping.applied(sequence);
        if begins_segment {
            self.housekeeping.call();
        }
        Ok(())
    }
}

fn io(failure: DiskError) -> LogStoreError {
    LogStoreError::Io(Box::new(failure))
}

fn create(watermarks: &WatermarkDir, id: GroupId) -> Result<Arc<Group>, DiskError> {
    let watermark = watermarks
        .create(id)
        .map_err(|error| DiskError::file(&watermarks.file(id), &error))?;
    Ok(Arc::new(Group::new(
        id,
        &Scanned::nothing(id),
        watermark,
        Promise::default(),
    )))
}

/// Takes back a promise that the batch is about to break (a truncation), before it does.
fn lower_mark(group: &Group, floor: &Link) -> Result<(), DiskError> {
    let mut marked = group.marked();
    // The housekeeping must not raise the mark again before the batch is durable.
    marked.durable = marked.durable.lowered(floor);
    let promise = marked.watermark.promise().lowered(floor);
    match marked.watermark.store(promise) {
        Ok(()) => Ok(()),
        Err(error) => Err(DiskError::file(marked.watermark.path(), &error)),
    }
}

/// Notes what is durable now. A changed term or vote is copied at once; the mark rides along, or else lags by the number of
/// entries that is returned.
fn raise_mark(group: &Group, durable: Promise) -> Result<u64, DiskError> {
    let mut marked = group.marked();
    marked.durable = durable;
    let promise = marked.watermark.promise();
    if (promise.term, promise.vote) == (durable.term, durable.vote) {
        return Ok(durable.last.entries_since(promise.last));
    }
    match marked.watermark.store(durable) {
        Ok(()) => Ok(0),
        Err(error) => Err(DiskError::file(marked.watermark.path(), &error)),
    }
}

/// Where a log begins anew at or below what was purged, new entries take the place of purged ones: the purge stands
/// still until the batch is written, and begins again where the log does.
fn restart_purges<'a>(
    database: &Database,
    tails: &'a BTreeMap<GroupId, Tail>,
    groups: &[GroupId],
    batch: &mut WriteBatch,
) -> Vec<MutexGuard<'a, Purge>> {
    let mut purges = Vec::new();
    for (&id, tail) in groups.iter().filter_map(|id| tails.get_key_value(id)) {
        let (Some(staged), Some(group)) = (&tail.staged, &tail.group) else {
            continue;
        };
        if !staged.reset {
            continue;
        }
        let mut purge = group.purge();
        let begin = tail.purged.id.index;
        if purge.deleted > begin {
            purge.deleted = begin;
            batch.put_cf(
                database.state(),
                state_key(id, StateKind::Deleted),
                encode_deleted(id, begin),
            );
        }
        purges.push(purge);
    }
    purges
}

impl Tail {
    /// Shows readers what a batch made durable.
    fn publish(&self) {
        let (Some(staged), Some(group)) = (&self.staged, &self.group) else {
            return;
        };
        let mut published = group.published();
        if staged.purges || staged.floor.id.index < published.last.index {
            published.generation += 1;
        }
        published.purged = self.purged.id;
        published.last = self.last.id;
        published.recovered = None;
    }
}
