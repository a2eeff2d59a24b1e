//! The one thread that writes the log: group commit.
//!
//! It takes whatever was queued during the last sync, stages it into one batch, syncs once, and answers all callers in order.
//! There are no timed delays: a batch is what arrived in the meantime.
//!
//! The order of one commit, which the watermark's promise rests on:
//! 1. create the watermark of new groups; lower the mark of groups whose log gets shorter in between;
//! 2. append the batch to the journal, synced;
//! 3. show the new log to readers, from memory, and let the applier bring it to RocksDB;
//! 4. copy changed terms and votes into the watermark, and answer.
//!
//! Any error but a refused batch fails the store for good: what a failed write or sync left on disk is unknown until
//! everything is verified again (R60).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard};

use raft_core::traits::LogStoreError;
use raft_core::types::{GroupId, Index};

use super::applier::{ApplyFailed, Applying};
use super::cache::Budget;
use super::counters::Counters;
use super::database::Database;
use super::group::{self, Buried, Group, Groups, Purge};
use super::housekeeping::Housekeeping;
use super::journal::Journal;
use super::queue::{Hope, Job, Queue, Request};
use super::scan::Scanned;
use super::stage::{Stage, StagedBatch, Tail};
use super::watermark::WatermarkDir;
use crate::error::DiskError;
use crate::format::batch::Batch;
use crate::format::record::{Link, StateKind, encode_deleted};
use crate::format::watermark::Promise;

/// One batch takes requests until they have so many bytes; what is left makes the next one. A single request may have more.
const ROUND_BYTES_MAX: usize = 16 << 20;

/// What the writer thread owns and shares.
pub(crate) struct Writer {
    pub(crate) disk: Disk,
    pub(crate) watermarks: WatermarkDir,
    pub(crate) groups: Arc<Groups>,
    pub(crate) buried: Arc<Buried>,
    pub(crate) queue: Arc<Queue>,
    /// How far a mark may lag before the housekeeping is called.
    pub(crate) mark_entries_max: u64,
    pub(crate) tails: BTreeMap<GroupId, Tail>,
    /// Of the caches.
    pub(crate) budget: Arc<Budget>,
}

/// Where batches go.
pub(crate) struct Disk {
    pub(crate) journal: Journal,
    pub(crate) database: Arc<Database>,
    pub(crate) applying: Arc<Applying>,
    pub(crate) housekeeping: Arc<Housekeeping>,
    pub(crate) counters: Arc<Counters>,
}

/// Fails the queue when the writer thread ends in any way but the regular one, so that no caller waits for ever.
struct FailUnlessDone<'a> {
    queue: &'a Queue,
    applying: &'a Applying,
    done: bool,
}

impl Drop for FailUnlessDone<'_> {
    fn drop(&mut self) {
        if !self.done {
            // Whoever waits for a batch that never came to RocksDB.
            self.applying.fail();
            self.queue.fail();
        }
    }
}

impl Writer {
    /// Runs until the queue is closed and empty, or the store failed.
    pub(crate) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let applying = Arc::clone(&self.disk.applying);
        let mut guard = FailUnlessDone {
            queue: &queue,
            applying: &applying,
            done: false,
        };
        let (mut before, mut hope) = (1, Hope::default());
        while let Some(mut requests) = queue.take(before, &mut hope) {
            before = requests.len();
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
                self.queue.release(1, request.bytes());
                request.finish(result.map_err(io));
            }
            return outcome;
        }
        let mut taken = Vec::with_capacity(requests.len());
        let mut failure = None;
        let mut room = ROUND_BYTES_MAX;
        let fits = requests.iter().map(Request::bytes).take_while(|bytes| {
            let fits = room > 0;
            room = room.saturating_sub(*bytes);
            fits
        });
        let (staged_requests, staged_bytes) =
            fits.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        let mut stage = Stage::new(&self.disk.database, &mut self.tails, staged_bytes);
        while failure.is_none()
            && taken.len() < staged_requests
            && let Some(request) = requests.pop_front_if(|request| !matches!(request.job, Job::Destroy(_)))
        {
            let result = match (&request.job, buried_in(&self.buried, &request.job)) {
                (_, Some(group)) => Err(LogStoreError::Destroyed(group)),
                (Job::Write(batch), _) => stage.write(batch),
                (Job::Compact(group, through), _) => stage.compact(*group, *through),
                (Job::Destroy(_), _) => Ok(()),
            };
            if let (Job::Write(_), Err(error)) = (&request.job, &result)
                && !matches!(
                    error,
                    LogStoreError::NotContiguous { .. } | LogStoreError::Destroyed(_)
                )
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
        // Whoever is answered may come back at once: by then there is room, and nothing left to do here.
        let bytes = taken.iter().map(|(request, _)| request.bytes()).sum();
        self.disk.counters.answered(taken.len());
        self.queue.release(taken.len(), bytes);
        for (request, result) in taken {
            request.finish(match (&outcome, result) {
                (Err(failure), Ok(())) => Err(io(failure.clone())),
                (_, result) => result,
            });
        }
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
                    let group = create(&self.watermarks, *id, &self.budget)?;
                    created.push(Arc::clone(&group));
                    tail.group = Some(group);
                }
            }
        }
        {
            let begun_anew = begun_anew(&self.tails, &groups);
            let purges = restart_purges(&begun_anew, &mut batch);
            // Readers go by what is published: RocksDB must not have a change of the log before they know of it.
            let sequence = self.disk.append(&batch)?;
            let applied = self.disk.applying.applied();
            for id in &groups {
                if let Some(tail) = self.tails.get_mut(id) {
                    tail.publish(sequence, applied);
                }
            }
            self.disk.apply(sequence, batch)?;
            if !purges.is_empty() {
                self.disk.wait_for(sequence)?;
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

    /// Forgets a group, but for that it was there. That comes first: a crash in between leaves a group that is destroyed
    /// and not forgotten, which the next start does.
    fn destroy(&mut self, id: GroupId) -> Result<(), DiskError> {
        let buried = self.watermarks.bury(id);
        buried.map_err(|error| DiskError::file(&self.watermarks.grave(id), &error))?;
        group::bury(&self.buried, id);
        self.forget(id)
    }

    /// The watermark promises nothing before the log goes, and its file goes last, so that a crash in between is not
    /// mistaken for a loss.
    fn forget(&mut self, id: GroupId) -> Result<(), DiskError> {
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
        let mut batch = Batch::default();
        batch.delete_group(id);
        let sequence = self.disk.append(&batch)?;
        // Readers must not look for it in RocksDB any more.
        group::remove(&self.groups, id);
        self.disk.apply(sequence, batch)?;
        self.disk.wait_for(sequence)?;
        purge.gone = true;
        self.watermarks
            .remove(id)
            .map_err(|error| DiskError::file(&self.watermarks.file(id), &error))
    }
}

impl Disk {
    /// Makes one batch durable; the number of its record.
    fn append(&mut self, batch: &Batch) -> Result<u64, DiskError> {
        let sequence = self.journal.next();
        let begins_segment = self.journal.is_full_for(batch.bytes().len());
        self.journal.append(batch.bytes())?;
        self.counters.synced(batch.bytes().len());
        self.housekeeping.durable(sequence);
        if begins_segment {
            self.housekeeping.call();
        }
        Ok(sequence)
    }

    /// Lets RocksDB have the batch of record `sequence`.
    fn apply(&self, sequence: u64, batch: Batch) -> Result<(), DiskError> {
        let submitted = self.applying.submit(sequence, batch.into_bytes());
        submitted.map_err(|ApplyFailed| self.apply_failed())
    }

    /// Waits until RocksDB has record `sequence`.
    fn wait_for(&self, sequence: u64) -> Result<(), DiskError> {
        let waited = self.applying.wait_for(sequence);
        waited.map_err(|ApplyFailed| self.apply_failed())
    }

    fn apply_failed(&self) -> DiskError {
        DiskError::because(
            self.database.path(),
            &"RocksDB refused a batch that is in the journal",
        )
    }
}

/// The first of the groups that `job` is about that was destroyed.
fn buried_in(buried: &Buried, job: &Job) -> Option<GroupId> {
    let is_buried = |id: &GroupId| group::is_buried(buried, *id);
    match job {
        Job::Write(batch) => batch.iter().map(|write| write.group).find(is_buried),
        Job::Compact(id, _) => Some(*id).filter(is_buried),
        Job::Destroy(_) => None,
    }
}

fn io(failure: DiskError) -> LogStoreError {
    LogStoreError::Io(Box::new(failure))
}

fn create(watermarks: &WatermarkDir, id: GroupId, budget: &Arc<Budget>) -> Result<Arc<Group>, DiskError> {
    let watermark = watermarks
        .create(id)
        .map_err(|error| DiskError::file(&watermarks.file(id), &error))?;
    Ok(Arc::new(Group::new(
        id,
        &Scanned::nothing(id),
        watermark,
        Promise::default(),
        budget,
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

/// The groups whose log begins anew with this batch, and after which index.
fn begun_anew(tails: &BTreeMap<GroupId, Tail>, groups: &[GroupId]) -> Vec<(Arc<Group>, Index)> {
    let tails = groups.iter().filter_map(|id| tails.get(id));
    tails
        .filter(|tail| tail.staged.as_ref().is_some_and(|staged| staged.reset))
        .filter_map(|tail| Some((Arc::clone(tail.group.as_ref()?), tail.purged.id.index)))
        .collect()
}

/// Where a log begins anew at or below what was purged, new entries take the place of purged ones: the purge stands
/// still until RocksDB has the batch, and begins again where the log does.
fn restart_purges<'a>(
    begun_anew: &'a [(Arc<Group>, Index)],
    batch: &mut Batch,
) -> Vec<MutexGuard<'a, Purge>> {
    let mut purges = Vec::with_capacity(begun_anew.len());
    for (group, begin) in begun_anew {
        let mut purge = group.purge();
        if purge.deleted > *begin {
            purge.deleted = *begin;
            let value = encode_deleted(group.id, *begin);
            batch.put_state(group.id, StateKind::Deleted, &value);
        }
        purges.push(purge);
    }
    purges
}

impl Tail {
    /// Shows readers what the batch of record `sequence` made durable. RocksDB has the records up to `applied`.
    fn publish(&mut self, sequence: u64, applied: u64) {
        let (Some(staged), Some(group)) = (&mut self.staged, &self.group) else {
            return;
        };
        let mut published = group.published();
        if staged.purges || staged.floor.id.index < published.last.index {
            published.generation += 1;
        }
        published.purged = self.purged.id;
        published.last = self.last.id;
        published.recovered = None;
        // A log that begins anew has nothing in common with the one before it, whatever their indexes.
        let kept = if staged.reset {
            Index::ZERO
        } else {
            staged.floor.id.index
        };
        published.cache.truncate(kept);
        for (entry, chain) in staged.entries.drain(..) {
            published.cache.push(entry, chain, sequence);
        }
        published.cache.evict(applied, self.purged.id.index);
    }
}
