//! The one thread that writes the log: group commit.
//!
//! It takes whatever was queued during the last sync, stages it into one batch, syncs once, and answers all callers in order.
//! There are no timed delays: a batch is what arrived in the meantime.
//!
//! The order of one commit, which the watermarks' promise rests on:
//! 1. create the watermark of new groups; lower the mark of groups whose log gets shorter in between;
//! 2. write the batch to raft-engine, synced;
//! 3. note the number of its file, if raft-engine began a new one;
//! 4. show the new log to readers;
//! 5. copy changed terms and votes into the watermarks, and answer.
//!
//! Any error but a refused batch fails the store for good: what a failed write or sync left on disk is unknown until
//! everything is verified again (R60).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use raft_core::traits::LogStoreError;
use raft_core::types::GroupId;
use raft_engine::{Command, LogBatch};

use super::database::Database;
use super::group::{self, Buried, Group, Groups};
use super::housekeeping::Housekeeping;
use super::queue::{Job, Queue, Request};
use super::scan::Scanned;
use super::stage::{Stage, StagedBatch, Tail};
use super::watermark::{Watermark, WatermarkDir};
use crate::error::DiskError;
use crate::format::record::Link;
use crate::format::slot::Promise;

/// What the writer thread owns and shares.
pub(crate) struct Writer {
    pub(crate) database: Arc<Database>,
    pub(crate) watermarks: WatermarkDir,
    /// The watermark of the store: which file was written to.
    pub(crate) store_mark: Watermark,
    pub(crate) groups: Arc<Groups>,
    pub(crate) buried: Arc<Buried>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) housekeeping: Arc<Housekeeping>,
    /// How far a mark may lag before the housekeeping is called.
    pub(crate) mark_entries_max: u64,
    pub(crate) tails: BTreeMap<GroupId, Tail>,
    /// Empty between two rounds; kept for its memory.
    pub(crate) batch: LogBatch,
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
        let mut stage = Stage::new(&self.database, &mut self.tails, &mut self.batch);
        while failure.is_none()
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
                failure = Some(DiskError::because(self.database.path(), error));
            }
            taken.push((request, result));
        }
        // What came before a failure is not written, either: its callers are told, and the next start decides.
        let staged = stage.finish();
        let outcome = match failure {
            Some(failure) => Err(failure),
            None => self.commit(&staged),
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
        self.queue.release(requests, bytes);
        outcome
    }

    fn commit(&mut self, staged: &StagedBatch) -> Result<(), DiskError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut created = Vec::new();
        for id in &staged.groups {
            let Some(tail) = self.tails.get_mut(id) else {
                continue;
            };
            match (&tail.group, &tail.staged) {
                (Some(group), Some(staged)) => lower_mark(group, &staged.floor)?,
                (Some(_), None) => {}
                (None, _) => {
                    let group = create(&self.watermarks, *id)?;
                    created.push((*id, Arc::clone(&group)));
                    tail.group = Some(group);
                }
            }
        }
        {
            let _moving = staged.rearranges.then(|| self.database.no_purge());
            let _changing = self.database.change();
            self.database.write(&mut self.batch)?;
            note_file(&self.database, &mut self.store_mark)?;
            for tail in staged.groups.iter().filter_map(|id| self.tails.get(id)) {
                tail.publish();
            }
        }
        for (id, group) in created {
            group::insert(&self.groups, id, group);
        }
        self.settle(&staged.groups)
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
            call_housekeeping |= lag >= self.mark_entries_max;
            if staged.purges {
                self.housekeeping.note_purge();
            }
        }
        if call_housekeeping {
            self.housekeeping.call();
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
        {
            let mut marked = group.marked();
            marked.durable = Promise::default();
            let result = marked.watermark.store(Promise::default());
            result.map_err(|error| DiskError::file(marked.watermark.path(), &error))?;
        }
        self.batch.add_command(id.0, Command::Clean);
        {
            let _moving = self.database.no_purge();
            let _changing = self.database.change();
            self.database.write(&mut self.batch)?;
            note_file(&self.database, &mut self.store_mark)?;
            group::remove(&self.groups, id);
        }
        self.housekeeping.note_purge();
        self.watermarks
            .remove(id)
            .map_err(|error| DiskError::file(&self.watermarks.file(id), &error))
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

fn create(watermarks: &WatermarkDir, id: GroupId) -> Result<Arc<Group>, DiskError> {
    let watermark = watermarks
        .create(id)
        .map_err(|error| DiskError::file(&watermarks.file(id), &error))?;
    Ok(Arc::new(Group::new(
        &Scanned::nothing(id),
        watermark,
        Promise::default(),
    )))
}

/// Notes that raft-engine began a new file, before anything in it is acknowledged.
fn note_file(database: &Database, store_mark: &mut Watermark) -> Result<(), DiskError> {
    match store_mark.store_file(database.active_file()) {
        Ok(()) => Ok(()),
        Err(error) => Err(DiskError::file(store_mark.path(), &error)),
    }
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
