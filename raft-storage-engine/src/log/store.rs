//! The log store: opens and verifies, answers the calls of the trait, and ends its threads.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, Index};
use raft_engine::LogBatch;

use super::database::Database;
use super::group::{self, Buried, Groups};
use super::housekeeping::{Housekeeper, Housekeeping};
use super::opening::{Opened, open};
use super::options::EngineLogOptions;
use super::queue::{Job, Queue};
use super::scan::{ScanError, scan};
use super::writer::Writer;
use crate::error::OpenError;
use crate::files::create_directory;
use crate::format::record::{EntryView, Link};
use crate::worker::{WorkerGone, Workers};

/// The logs and hard states of many groups in one raft-engine, with a watermark for each beside it.
///
/// Dropping it waits until everything that was queued is written, and raises every watermark: a short blocking pause.
/// The directory can be opened again afterwards.
pub struct EngineLogStore {
    database: Arc<Database>,
    groups: Arc<Groups>,
    buried: Arc<Buried>,
    queue: Arc<Queue>,
    housekeeping: Arc<Housekeeping>,
    readers: Workers,
    writer: Option<JoinHandle<()>>,
    housekeeper: Option<JoinHandle<()>>,
    _lock: File,
}

impl fmt::Debug for EngineLogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineLogStore")
            .field("path", &self.database.path())
            .field("groups", &group::all(&self.groups).len())
            .finish_non_exhaustive()
    }
}

impl EngineLogStore {
    /// Opens the store in `dir`, or creates one there; then verifies every entry of every group against its checksum,
    /// its neighbour and the watermark. Blocks for as long as that takes.
    ///
    /// # Errors
    /// See [`OpenError`], and the table in the crate's documentation. A store that cannot prove that it has everything
    /// that its watermarks promise does not open.
    pub fn open(dir: impl AsRef<Path>, options: EngineLogOptions) -> Result<EngineLogStore, OpenError> {
        let dir = dir.as_ref();
        let failed = |error| OpenError::directory(dir, error);
        create_directory(dir).map_err(failed)?;
        let lock = lock(dir)?;
        // A thread of its own, because of what raft-engine leaves in the threads that read; see `database`.
        let opened = std::thread::scope(|scope| -> Result<Opened, OpenError> {
            let opening = named("raft-log-open")
                .spawn_scoped(scope, || open(dir, &options))
                .map_err(failed)?;
            match opening.join() {
                Ok(opened) => opened,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        EngineLogStore::spawn(opened, lock, &options).map_err(failed)
    }

    /// Opens a store with the default limits: what a test or a benchmark wants.
    ///
    /// # Errors
    /// As [`open`](EngineLogStore::open).
    pub fn open_default(dir: impl AsRef<Path>) -> Result<EngineLogStore, OpenError> {
        EngineLogStore::open(dir, EngineLogOptions::default())
    }

    fn spawn(opened: Opened, lock: File, options: &EngineLogOptions) -> io::Result<EngineLogStore> {
        let database = Arc::new(opened.database);
        let groups = Arc::new(opened.groups);
        let buried = Arc::new(Buried::new(opened.buried));
        let queue = Arc::new(Queue::new(options));
        let housekeeping = Arc::new(Housekeeping::default());
        let readers = Workers::start(
            "raft-log-read",
            options.reader_threads.max(1),
            options.reader_requests_max.max(1),
        )?;
        // From here on, dropping the store ends whatever was started.
        let mut store = EngineLogStore {
            database: Arc::clone(&database),
            groups: Arc::clone(&groups),
            buried: Arc::clone(&buried),
            queue: Arc::clone(&queue),
            housekeeping: Arc::clone(&housekeeping),
            readers,
            writer: None,
            housekeeper: None,
            _lock: lock,
        };
        let housekeeper = Housekeeper {
            database: Arc::clone(&database),
            groups: Arc::clone(&groups),
            queue: Arc::clone(&queue),
            calls: Arc::clone(&housekeeping),
            mark_entries_max: options.mark_entries_max.max(1),
            mark_interval: options.mark_interval,
            purge_interval: options.purge_interval,
        };
        let writer = Writer {
            database,
            watermarks: opened.watermarks,
            store_mark: opened.store_mark,
            groups,
            buried,
            queue,
            housekeeping: Arc::clone(&housekeeping),
            mark_entries_max: options.mark_entries_max.max(1),
            tails: opened.tails,
            batch: LogBatch::default(),
        };
        store.housekeeper = Some(named("raft-log-tidy").spawn(move || housekeeper.run())?);
        store.writer = Some(named("raft-log-write").spawn(move || writer.run())?);
        // What was purged by the last process may have left files to delete.
        housekeeping.note_purge();
        Ok(store)
    }

    fn bounds(&self, group: GroupId) -> Bounds {
        group::find(&self.groups, group).map_or_else(Bounds::default, |group| {
            let published = group.published();
            Bounds {
                purged: published.purged,
                last: published.last,
                generation: published.generation,
            }
        })
    }
}

impl Drop for EngineLogStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // A thread that panicked has failed the queue; there is nothing left to do for it.
            let _ = writer.join();
        }
        self.housekeeping.stop();
        if let Some(housekeeper) = self.housekeeper.take() {
            let _ = housekeeper.join();
        }
    }
}

fn named(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned())
}

/// Before anything is looked at: raft-engine's own lock comes too late for that.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(|error| OpenError::directory(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: dir.to_path_buf(),
        }),
        Err(TryLockError::Error(error)) => Err(OpenError::directory(&path, error)),
    }
}

#[async_trait]
impl LogStore for EngineLogStore {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        if group::is_buried(&self.buried, group) {
            return Err(LogStoreError::Destroyed(group));
        }
        if let Some(known) = group::find(&self.groups, group)
            && let Some(recovered) = known.published().recovered.clone()
        {
            return Ok(recovered);
        }
        let database = Arc::clone(&self.database);
        let scanning = self.readers.run(move || {
            let _whole = database.change();
            scan(&database, group, None)
        });
        let scanned = scanning.await.map_err(gone)??;
        Ok(scanned.map(|scanned| scanned.recovered).unwrap_or_default())
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        self.queue.submit(Job::Write(batch)).await
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        if group::is_buried(&self.buried, group) {
            return Err(LogStoreError::Destroyed(group));
        }
        if first > last {
            return Ok(Vec::new());
        }
        loop {
            let bounds = self.bounds(group);
            if first <= bounds.purged.index || last > bounds.last.index {
                let index = match first <= bounds.purged.index {
                    true => first,
                    false => first.max(bounds.last.index.next()),
                };
                return Err(LogStoreError::Missing {
                    group,
                    index,
                    first: bounds.purged.index.next(),
                    last: bounds.last.index,
                });
            }
            let database = Arc::clone(&self.database);
            let found = self.readers.run(move || {
                let found = read(&database, group, first, last, bytes_max);
                if found.is_err() {
                    // raft-engine shows a batch before this store does. It may have been that.
                    drop(database.change());
                }
                found
            });
            match found.await.map_err(gone)? {
                Ok(entries) => return Ok(entries),
                // The log was truncated, purged or begun anew between the two looks: what does not fit is no damage.
                Err(_) if self.bounds(group) != bounds => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Entries below the new beginning are refused from now on; raft-engine deletes whole files later.
    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        self.queue.submit(Job::Compact(group, through)).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.queue.submit(Job::Destroy(group)).await
    }
}

fn gone(error: WorkerGone) -> LogStoreError {
    LogStoreError::Io(Box::new(error))
}

/// What readers may see of a group, at one moment.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Bounds {
    purged: EntryId,
    last: EntryId,
    generation: u64,
}

fn read(
    database: &Database,
    group: GroupId,
    first: Index,
    last: Index,
    bytes_max: usize,
) -> Result<Vec<Entry>, ScanError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0_usize;
    let mut previous: Option<Link> = None;
    let mut index = first;
    while index <= last {
        let records = database
            .entries(group, index, last, bytes_max.saturating_sub(bytes))
            .map_err(|error| ScanError::engine(group, index, error))?;
        if records.is_empty() {
            return Err(ScanError::missing(group, index));
        }
        for record in &records {
            let damaged = |error| ScanError::entry(group, index, error);
            let entry = EntryView::verify(group, index, &record.header, &record.payload).map_err(damaged)?;
            if let Some(previous) = &previous {
                entry.follows(previous).map_err(damaged)?;
            }
            previous = Some(entry.link);
            let entry = Entry {
                id: entry.link.id,
                payload: entry.decode().map_err(damaged)?,
            };
            bytes = bytes.saturating_add(entry.payload_bytes());
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
            index = index.next();
        }
    }
    Ok(entries)
}
