//! raft-engine, configured so that it hides as little as it can, and the few calls this crate makes to it.
//!
//! raft-engine panics when a sync fails, and over some kinds of damage; nobody else's thread may die of that, so every call
//! catches it and returns an error. After a failed write nothing more may be asked of it but reads.
//! Must never be read from a thread that another store reads from: raft-engine keeps the last block that was read in a variable
//! of the thread, under the block's place but not under the store that it belongs to.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use raft_core::types::{GroupId, Index};
use raft_engine::internals::LogQueue;
use raft_engine::{Config, Engine, LogBatch, ReadableSize, RecoveryMode, Version};

use super::group::lock;
use super::message::{Record, Records};
use super::options::EngineLogOptions;
use crate::error::{DiskError, EngineError, EngineErrorKind, OpenError};
use crate::files::{create_directory, sync_directory};
use crate::format::record::StateKind;

/// How many entries are looked up at a time: raft-engine reserves room for the whole range that it is asked for.
const LOOK_UP_ENTRIES: u64 = 1024;
/// How much is read at a time at most: raft-engine adds lengths up in 32 bits.
const LOOK_UP_BYTES: usize = 16 << 20;

/// The open engine.
pub(crate) struct Database {
    /// Always there, but while it is dropped.
    engine: Option<Engine>,
    path: PathBuf,
    /// Held while raft-engine moves entries and deletes files, and by whoever must not meet that.
    purging: Mutex<()>,
    /// Held while a batch is applied, and by whoever wants to see all of it or nothing.
    changing: Mutex<()>,
    /// raft-engine panicked while it wrote.
    panicked: AtomicBool,
}

impl Database {
    /// Opens or creates the engine in `path`. Its files are to be inspected first, see `tail`.
    pub(crate) fn open(path: PathBuf, options: &EngineLogOptions) -> Result<Database, OpenError> {
        create_directory(&path).map_err(|error| OpenError::directory(&path, error))?;
        let Some(text) = path.to_str() else {
            let error = std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "raft-engine wants a path that is UTF-8",
            );
            return Err(OpenError::directory(&path, error));
        };
        let config = config(text.to_owned(), options);
        let engine = guarded(|| Engine::open(config)).map_err(|error| OpenError::engine(&path, error))?;
        // raft-engine creates its first files without making their names durable (R74).
        sync_directory(&path).map_err(|error| OpenError::directory(&path, error))?;
        Ok(Database {
            engine: Some(engine),
            path,
            purging: Mutex::new(()),
            changing: Mutex::new(()),
            panicked: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn engine(&self) -> &Engine {
        self.engine
            .as_ref()
            .expect("the engine is taken only when it is dropped")
    }

    /// Writes one atom; it survives power loss when this returns. The batch is empty afterwards.
    ///
    /// Always synced: with at most one record on its way, whatever stands before a whole record was durable, so that damage is
    /// told from a torn write (see `tail`).
    pub(crate) fn write(&self, batch: &mut LogBatch) -> Result<(), DiskError> {
        match guarded(|| self.engine().write(batch, true)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &EngineError) -> DiskError {
        if error.kind == EngineErrorKind::Panicked {
            self.panicked.store(true, Ordering::Release);
        }
        DiskError::engine(&self.path, error)
    }

    /// The number of the file that is written to.
    pub(crate) fn active_file(&self) -> u64 {
        self.engine().file_span(LogQueue::Append).1
    }

    /// The groups that may have something, ascending.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = self.engine().raft_groups().into_iter().map(GroupId).collect();
        groups.sort_unstable();
        groups
    }

    pub(crate) fn state(&self, group: GroupId, kind: StateKind) -> Option<Vec<u8>> {
        self.engine().get(group.0, &[kind as u8])
    }

    /// The first and last index that raft-engine has of `group`.
    pub(crate) fn bounds(&self, group: GroupId) -> Option<(Index, Index)> {
        let engine = self.engine();
        Some((
            Index(engine.first_index(group.0)?),
            Index(engine.last_index(group.0)?),
        ))
    }

    /// The entries from `first` on, at most up to `last`, at least one, and perhaps less than would fit into `bytes_max`.
    pub(crate) fn entries(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Record>, EngineError> {
        match self.look_up(group, first, last, bytes_max) {
            Ok(entries) => Ok(entries),
            Err(_) => {
                // A purge may have moved them and deleted the file between two steps of the look-up. Without one, what does
                // not fit is damage.
                let _still = self.no_purge();
                self.look_up(group, first, last, bytes_max)
            }
        }
    }

    fn look_up(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Record>, EngineError> {
        let end = last
            .0
            .saturating_add(1)
            .min(first.0.saturating_add(LOOK_UP_ENTRIES));
        let mut entries = Vec::new();
        guarded(|| {
            self.engine().fetch_entries_to::<Records>(
                group.0,
                first.0,
                end,
                Some(bytes_max.min(LOOK_UP_BYTES)),
                &mut entries,
            )
        })?;
        Ok(entries)
    }

    /// Keeps raft-engine from moving entries for as long as the guard lives.
    pub(crate) fn no_purge(&self) -> MutexGuard<'_, ()> {
        lock(&self.purging)
    }

    /// Keeps everybody else who asks for this from applying a batch, or from looking at half of one.
    pub(crate) fn change(&self) -> MutexGuard<'_, ()> {
        lock(&self.changing)
    }

    /// Lets raft-engine delete the files that nobody needs.
    pub(crate) fn purge(&self) -> Result<(), DiskError> {
        let _purging = self.no_purge();
        match guarded(|| self.engine().purge_expired_files()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let engine = self.engine.take();
        if self.panicked.load(Ordering::Acquire) {
            // A sync failed, and closing syncs two files again: two panics at once would abort the process. The files stay open
            // and locked until it ends, which is what it was told to do.
            std::mem::forget(engine);
            return;
        }
        // It cuts and syncs its file, and panics if that fails. What was acknowledged is durable already.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(engine))) {
            tracing::error!(path = %self.path.display(), "raft-engine was not closed cleanly: {}", panic_text(&*panic));
        }
    }
}

fn config(dir: String, options: &EngineLogOptions) -> Config {
    let file_bytes = options.file_bytes.max(4096);
    Config {
        dir,
        // The strict mode takes the zeros after the last record of a crash for damage. What this one takes for a torn
        // tail is looked at before, see `tail`.
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        // One thread replays the files in their order.
        recovery_threads: 1,
        recovery_read_block_size: ReadableSize(256 << 10),
        // Payloads are often compressed already, and the writer's core is the scarce thing.
        batch_compression_threshold: ReadableSize(0),
        format_version: Version::V2,
        target_file_size: ReadableSize(file_bytes),
        purge_threshold: ReadableSize(options.purge_bytes.max(4 * file_bytes)),
        // Behind the last record of a recycled file lie old ones: a torn write could not be told from damage.
        enable_log_recycle: false,
        ..Config::default()
    }
}

/// Calls raft-engine; a panic becomes an error.
fn guarded<T>(call: impl FnOnce() -> raft_engine::Result<T>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Ok(result?),
        Err(panic) => Err(EngineError {
            kind: EngineErrorKind::Panicked,
            text: format!("raft-engine panicked: {}", panic_text(&*panic)),
        }),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    }
}
