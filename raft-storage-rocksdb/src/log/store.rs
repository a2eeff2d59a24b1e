//! The log store: opens and verifies, answers the calls of the trait, and ends its threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, HardState, Index, Trust};

use super::applier::{self, ApplyFailed, Applying};
use super::cache::{Budget, Taken};
use super::counters::{Counters, LogCounters};
use super::database::Database;
use super::group::{self, Buried, Group, Groups};
use super::housekeeping::{Housekeeper, Housekeeping};
use super::journal::{Findings, Journal, Recovery};
use super::options::{OnLoss, RocksLogOptions};
use super::queue::{Job, Queue};
use super::scan::{ScanError, scan};
use super::stage::Tail;
use super::watermark::WatermarkDir;
use super::writer::{Disk, Writer};
use crate::error::{DiskError, OpenError};
use crate::files::create_directory;
use crate::format::batch::Batch;
use crate::format::record::{EntryView, Link, StateKind, encode_hard_state, index_of_key};
use crate::format::watermark::Promise;
use crate::worker::{WorkerGone, Workers};

/// The logs and hard states of many groups in one RocksDB database, with a watermark for each beside it.
///
/// Dropping it waits until everything that was queued is written, and raises every watermark: a short blocking pause.
/// The directory can be opened again afterwards.
pub struct RocksLogStore {
    database: Arc<Database>,
    groups: Arc<Groups>,
    buried: Arc<Buried>,
    queue: Arc<Queue>,
    applying: Arc<Applying>,
    housekeeping: Arc<Housekeeping>,
    counters: Arc<Counters>,
    readers: Workers,
    writer: Option<JoinHandle<()>>,
    applier: Option<JoinHandle<()>>,
    housekeeper: Option<JoinHandle<()>>,
    /// Keeps every other store away from the directory. Let go of last.
    _lock: File,
}

impl fmt::Debug for RocksLogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksLogStore")
            .field("path", &self.database.path())
            .field("groups", &group::all(&self.groups).len())
            .finish_non_exhaustive()
    }
}

impl RocksLogStore {
    /// Opens the store in `dir`, or creates one there; then verifies every entry of every group against its checksum,
    /// its neighbour and the watermark. Blocks for as long as that takes: a second or two for a million small entries.
    ///
    /// # Errors
    /// See [`OpenError`], and the table in the crate's documentation. A store that cannot prove that it has everything it
    /// ever acknowledged does not open.
    pub fn open(dir: impl AsRef<Path>, options: RocksLogOptions) -> Result<RocksLogStore, OpenError> {
        let dir = dir.as_ref();
        create_directory(dir).map_err(|error| OpenError::directory(dir, error))?;
        // Before anything is read that somebody else may be writing, and mended.
        let lock = lock_directory(dir)?;
        let database = Arc::new(Database::open(dir.join("db"), &options)?);
        let watermarks = WatermarkDir::open(dir.join("watermarks"))?;
        let groups = Arc::new(Groups::default());
        let buried = watermarks.buried()?;
        let budget = Arc::new(Budget::new(options.cache_bytes_max));
        let (journal, tails) = match replay(&database, &dir.join("journal"), &options)? {
            Findings::Sound {
                mut journal,
                was_unclean,
            } => {
                let journal_was = if was_unclean {
                    Journaled::Unclean
                } else {
                    Journaled::Clean
                };
                let tails = recover(
                    &database,
                    &watermarks,
                    (&groups, &buried),
                    &budget,
                    options.on_loss,
                    journal_was,
                    &mut |batch| {
                        let sequence = journal.next();
                        let appended = journal.append(batch.bytes());
                        appended.and_then(|()| database.apply(sequence, &[batch.bytes()]))
                    },
                )?;
                (journal, tails)
            }
            Findings::Lost { reason, mut restart } => {
                let tails = recover(
                    &database,
                    &watermarks,
                    (&groups, &buried),
                    &budget,
                    options.on_loss,
                    Journaled::Lost(&reason),
                    // Durably, before the journal looks sound again; and with a number that the new journal counts on, so that a
                    // database that loses it does not go with that journal.
                    &mut |batch| {
                        database.apply(restart.take_number(), &[batch.bytes()])?;
                        let flushed = database.flush();
                        flushed.map_err(|error| DiskError::database(database.path(), &error))
                    },
                )?;
                (restart.begin()?, tails)
            }
        };
        let opened = Opened {
            lock,
            database,
            journal,
            watermarks,
            groups,
            buried: Arc::new(Buried::new(buried)),
            tails,
            budget,
        };
        let spawned = RocksLogStore::spawn(opened, &options);
        spawned.map_err(|error| OpenError::directory(dir, error))
    }

    /// Opens a store with the default limits: what a test or a benchmark wants.
    ///
    /// # Errors
    /// As [`open`](RocksLogStore::open).
    pub fn open_default(dir: impl AsRef<Path>) -> Result<RocksLogStore, OpenError> {
        RocksLogStore::open(dir, RocksLogOptions::default())
    }

    /// What was written since the store was opened.
    #[must_use]
    pub fn counters(&self) -> LogCounters {
        self.counters.read()
    }

    fn spawn(opened: Opened, options: &RocksLogOptions) -> io::Result<RocksLogStore> {
        let Opened {
            lock,
            database,
            journal,
            watermarks,
            groups,
            buried,
            tails,
            budget,
        } = opened;
        let queue = Arc::new(Queue::new(options));
        let applying = Arc::new(Applying::new(journal.next() - 1));
        let housekeeping = Arc::new(Housekeeping::default());
        let readers = Workers::start(
            "raft-log-read",
            options.reader_threads.max(1),
            options.reader_requests_max.max(1),
        )?;
        // From here on, dropping the store ends whatever was started.
        let mut store = RocksLogStore {
            database: Arc::clone(&database),
            groups: Arc::clone(&groups),
            buried: Arc::clone(&buried),
            queue: Arc::clone(&queue),
            applying: Arc::clone(&applying),
            housekeeping: Arc::clone(&housekeeping),
            counters: Arc::default(),
            readers,
            writer: None,
            applier: None,
            housekeeper: None,
            _lock: lock,
        };
        let housekeeper = Housekeeper {
            database: Arc::clone(&database),
            journal: journal.files(),
            applying: Arc::clone(&applying),
            groups: Arc::clone(&groups),
            queue: Arc::clone(&queue),
            calls: Arc::clone(&housekeeping),
            mark_entries_max: options.mark_entries_max.max(1),
            mark_interval: options.mark_interval,
        };
        housekeeping.durable(journal.next() - 1);
        let writer = Writer {
            disk: Disk {
                journal,
                database: Arc::clone(&database),
                applying: Arc::clone(&applying),
                housekeeping: Arc::clone(&housekeeping),
                counters: Arc::clone(&store.counters),
            },
            watermarks,
            groups,
            buried,
            queue,
            mark_entries_max: options.mark_entries_max.max(1),
            tails,
            budget,
        };
        let failing = Arc::clone(&store.queue);
        let applier = move || applier::run(applying, &database, failing);
        store.applier = Some(named("raft-log-apply").spawn(applier)?);
        store.housekeeper = Some(named("raft-log-tidy").spawn(move || housekeeper.run())?);
        store.writer = Some(named("raft-log-write").spawn(move || writer.run())?);
        // A purge that the last process did not finish goes on.
        housekeeping.call();
        Ok(store)
    }

    /// One attempt to read; `None` if the log changed under it.
    async fn read_once(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Option<Vec<Entry>>, LogStoreError> {
        let Some(known) = group::find(&self.groups, group) else {
            return Err(missing(group, first, EntryId::ZERO, EntryId::ZERO));
        };
        let mut taken = Taken::default();
        let mut next = first;
        let generation = {
            let published = known.published();
            if first <= published.purged.index {
                return Err(missing(group, first, published.purged, published.last));
            }
            if last > published.last.index {
                let index = first.max(published.last.index.next());
                return Err(missing(group, index, published.purged, published.last));
            }
            published.generation
        };
        loop {
            let cold_last = {
                let published = known.published();
                if published.generation != generation {
                    return Ok(None);
                }
                match published.cache.first() {
                    Some(hot) if hot <= next => {
                        published.cache.read(next, last, bytes_max, &mut taken);
                        return Ok(Some(taken.entries));
                    }
                    Some(hot) => hot.previous().min(last),
                    None => last,
                }
            };
            let database = Arc::clone(&self.database);
            let found = self
                .readers
                .run(move || read(&database, group, next, cold_last, bytes_max, taken));
            taken = match found.await.map_err(gone)? {
                Ok(taken) => taken,
                // The log was truncated, purged, begun anew or destroyed between the two looks: what does not fit is no
                // damage.
                Err(_) if known.published().generation != generation => return Ok(None),
                Err(_) if !group::find(&self.groups, group).is_some_and(|now| Arc::ptr_eq(&now, &known)) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            if taken.is_full || cold_last == last {
                return Ok(Some(taken.entries));
            }
            next = cold_last.next();
        }
    }
}

impl Drop for RocksLogStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // A thread that panicked has failed the queue; there is nothing left to do for it.
            let _ = writer.join();
        }
        self.applying.close();
        if let Some(applier) = self.applier.take() {
            let _ = applier.join();
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

/// What was found and verified, before any thread works on it.
struct Opened {
    lock: File,
    database: Arc<Database>,
    journal: Journal,
    watermarks: WatermarkDir,
    groups: Arc<Groups>,
    buried: Arc<Buried>,
    tails: BTreeMap<GroupId, Tail>,
    budget: Arc<Budget>,
}

/// Takes the directory for this store alone, in this process and in all others.
fn lock_directory(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|error| OpenError::directory(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: dir.to_path_buf(),
        }),
        Err(TryLockError::Error(error)) => Err(OpenError::directory(&path, error)),
    }
}

/// Brings the database to where the journal ends.
pub(crate) fn replay(
    database: &Database,
    dir: &Path,
    options: &RocksLogOptions,
) -> Result<Findings, OpenError> {
    let failed = |error| OpenError::database(database.path(), error);
    let applied = database
        .applied()
        .map_err(failed)?
        .map_err(|error| OpenError::Corrupt {
            what: format!("the number of the last record in {}", database.path().display()),
            detail: error.to_string(),
        })?;
    let mut apply = |sequence, body: &[u8]| {
        let applied = database.apply(sequence, &[body]);
        applied.map_err(|error| OpenError::disk(database.path(), error))
    };
    let recovery = Recovery {
        dir,
        openings: &dir.with_file_name("openings"),
        segment_bytes: options.segment_bytes,
        on_loss: options.on_loss,
        applied,
        apply: &mut apply,
    };
    recovery.run()
}

/// How the journal was found.
#[derive(Clone, Copy)]
enum Journaled<'a> {
    Clean,
    /// The process before this one did not end as it should.
    Unclean,
    /// It lost something, and what: nobody can tell which group's entries they were.
    Lost(&'a str),
}

/// Makes a batch durable while the store is being opened.
type Keep<'a> = dyn FnMut(Batch) -> Result<(), DiskError> + 'a;

/// Verifies every group that the database or a watermark knows.
fn recover(
    database: &Database,
    watermarks: &WatermarkDir,
    (groups, buried): (&Groups, &BTreeSet<GroupId>),
    budget: &Arc<Budget>,
    on_loss: OnLoss,
    journal_was: Journaled<'_>,
    keep: &mut Keep<'_>,
) -> Result<BTreeMap<GroupId, Tail>, OpenError> {
    let mut ids = database
        .groups()
        .map_err(|error| OpenError::database(database.path(), error))?;
    ids.extend(watermarks.groups()?);
    ids.sort_unstable();
    ids.dedup();
    let mut tails = BTreeMap::new();
    for id in ids {
        if buried.contains(&id) {
            forget(database, watermarks, id, keep)?;
            continue;
        }
        let mut watermark = watermarks.load(id)?;
        let promise = watermark.promise();
        let scanned = scan(database, id, Some((promise.last, promise.chain)));
        let Some(mut scanned) = scanned.map_err(|error| error.into_open_error(database))? else {
            // A watermark that promises something of a group that is not there: the database was lost. One that
            // promises nothing is left from a group that was being created, or destroyed.
            promise.check(id, &HardState::default(), Index::ZERO)?;
            watermarks
                .remove(id)
                .map_err(|error| OpenError::directory(&watermarks.file(id), error))?;
            continue;
        };
        let checked = promise.check(id, &scanned.recovered.hard_state, scanned.last.id.index);
        let loss = checked.err();
        if let Some(loss) = loss {
            if on_loss == OnLoss::Refuse {
                return Err(loss);
            }
            tracing::warn!(group = %id, reason = %loss, "the replica starts as a suspect");
            distrust(database, id, &mut scanned.recovered, &promise, keep)?;
        } else if let Journaled::Lost(reason) = journal_was {
            tracing::warn!(group = %id, reason, "the replica starts as a suspect");
            distrust(database, id, &mut scanned.recovered, &promise, keep)?;
        }
        let hard_state = scanned.recovered.hard_state;
        // The journal is synced, or else the tables are: everything that was recovered is durable now.
        let durable = Promise::of(&hard_state, &scanned.last);
        // After a write of it that failed, what can be read is not what is on disk.
        let stored = match journal_was {
            Journaled::Clean => watermark.store(durable),
            Journaled::Unclean | Journaled::Lost(_) => watermark.rewrite(durable),
        };
        stored.map_err(|error| OpenError::directory(watermark.path(), error))?;
        let group = Arc::new(Group::new(id, &scanned, watermark, durable, budget));
        tails.insert(id, Tail::new(&scanned, Some(Arc::clone(&group))));
        group::insert(groups, group);
    }
    Ok(tails)
}

/// Removes what is left of a group that was destroyed: a crash came in between.
fn forget(
    database: &Database,
    watermarks: &WatermarkDir,
    id: GroupId,
    keep: &mut Keep<'_>,
) -> Result<(), OpenError> {
    let mut batch = Batch::default();
    batch.delete_group(id);
    keep(batch).map_err(|error| OpenError::disk(database.path(), error))?;
    let removed = watermarks.remove(id);
    removed.map_err(|error| OpenError::directory(&watermarks.file(id), error))
}

/// Stores that the replica of `group` is a suspect, durably, before its watermark is lowered to what is left.
fn distrust(
    database: &Database,
    group: GroupId,
    recovered: &mut Recovered,
    promise: &Promise,
    keep: &mut Keep<'_>,
) -> Result<(), OpenError> {
    let hard_state = &mut recovered.hard_state;
    if promise.term >= hard_state.term {
        (hard_state.term, hard_state.vote) = (promise.term, promise.vote);
    }
    hard_state.commit = hard_state.commit.min(recovered.last_index);
    hard_state.trust = Trust::Suspect;
    recovered.lost = true;
    let mut batch = Batch::default();
    batch.put_state(group, StateKind::HardState, &encode_hard_state(group, hard_state));
    keep(batch).map_err(|error| OpenError::disk(database.path(), error))
}

#[async_trait]
impl LogStore for RocksLogStore {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        if group::is_buried(&self.buried, group) {
            return Err(LogStoreError::Destroyed(group));
        }
        if let Some(known) = group::find(&self.groups, group)
            && let Some(recovered) = known.published().recovered.clone()
        {
            return Ok(recovered);
        }
        let (database, applying) = (Arc::clone(&self.database), Arc::clone(&self.applying));
        let durable = self.housekeeping.last_durable();
        let scan = move || {
            let waited = applying.wait_for(durable);
            waited.map_err(|ApplyFailed| LogStoreError::Failed)?;
            Ok::<_, LogStoreError>(scan(&database, group, None)?)
        };
        let scanned = self.readers.run(scan).await.map_err(gone)??;
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
            if let Some(entries) = self.read_once(group, first, last, bytes_max).await? {
                return Ok(entries);
            }
        }
    }

    /// Entries below the new beginning are refused from now on, and deleted in the background.
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

fn missing(group: GroupId, index: Index, purged: EntryId, last: EntryId) -> LogStoreError {
    LogStoreError::Missing {
        group,
        index,
        first: purged.index.next(),
        last: last.index,
    }
}

/// Adds the entries from `first` to `last`, all of which RocksDB has, to `taken`.
fn read(
    database: &Database,
    group: GroupId,
    first: Index,
    last: Index,
    bytes_max: usize,
    mut taken: Taken,
) -> Result<Taken, ScanError> {
    let view = database.view();
    let mut stored = view.entries_from(group, first);
    let mut previous: Option<Link> = None;
    let mut index = first;
    while index <= last {
        let damaged = |error| ScanError::entry(group, index, error);
        let Some((key, value)) = stored.item() else {
            stored
                .status()
                .map_err(|error| ScanError::database(group, index, error))?;
            return Err(ScanError::missing(group, index));
        };
        if index_of_key(group, key) != Some(index) {
            return Err(ScanError::missing(group, index));
        }
        let entry = EntryView::verify(group, index, value).map_err(damaged)?;
        if let Some(previous) = &previous {
            entry.follows(previous).map_err(damaged)?;
        }
        previous = Some(entry.link);
        let entry = Entry {
            id: entry.link.id,
            payload: entry.decode().map_err(damaged)?,
        };
        if !taken.take(bytes_max, entry) {
            break;
        }
        index = index.next();
        stored.next();
    }
    Ok(taken)
}
