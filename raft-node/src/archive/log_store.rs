//! A log store that forgets nothing before it is archived.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered, SnapshotStore};
use raft_core::types::{EntryId, GroupId, Index};

use super::error::ArchiveError;
use super::files::{Archive, Window};
use super::moments::Moment;
use super::restore;

/// How long a snapshot waits until what it displaces is archived. Far less than a write of the log may take.
const RESET_WAIT_MAX: Duration = Duration::from_secs(5);

/// A log store around another one: what that is to forget is archived first.
pub struct ArchivingLogStore {
    inner: Arc<dyn LogStore>,
    snapshots: Arc<dyn SnapshotStore>,
    archive: tokio::sync::Mutex<Archive>,
    figures: Arc<ArchiveFigures>,
    group: GroupId,
    /// The last index that is stored as committed.
    commit: AtomicU64,
}

/// How the archive of a node is, for metrics.
#[derive(Debug, Default)]
pub struct ArchiveFigures {
    last_index: AtomicU64,
    segment_bytes: AtomicU64,
    failures: AtomicU64,
    restorable: Mutex<Restorable>,
}

/// What of a node's past can be made again, up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restorable {
    /// From this index on; none if that is not known.
    pub first: Option<Index>,
    /// When everything up to that was applied, if that was noted.
    pub first_noted: Option<Moment>,
    /// The newest moment that was noted.
    pub last_noted: Option<Moment>,
}

impl ArchiveFigures {
    /// What can be made again.
    #[must_use]
    pub fn restorable(&self) -> Restorable {
        *self.locked()
    }

    /// Notes what the file of times says of it.
    pub fn note_moments(&self, first: Option<Moment>, last: Option<Moment>) {
        let mut restorable = self.locked();
        (restorable.first_noted, restorable.last_noted) = (first, last);
    }

    fn note_first(&self, first: Option<Index>) {
        self.locked().first = first;
    }

    /// Whoever panicked with it left nothing half done.
    fn locked(&self) -> MutexGuard<'_, Restorable> {
        self.restorable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last archived index.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.last_index.load(Ordering::Relaxed)
    }

    /// The bytes of all segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    /// How often entries could not be archived since the start. The log keeps them until they are.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn note(&self, archive: &Archive) {
        self.last_index.store(archive.last().index.0, Ordering::Relaxed);
        self.segment_bytes
            .store(archive.segment_bytes(), Ordering::Relaxed);
    }
}

impl fmt::Debug for ArchivingLogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivingLogStore").finish_non_exhaustive()
    }
}

impl ArchivingLogStore {
    /// A store that is `inner` and keeps what it forgets in `archive`. `snapshots` are those of the same node.
    #[must_use]
    pub fn new(
        inner: Arc<dyn LogStore>,
        snapshots: Arc<dyn SnapshotStore>,
        archive: Archive,
    ) -> ArchivingLogStore {
        let figures = Arc::new(ArchiveFigures::default());
        figures.note(&archive);
        ArchivingLogStore {
            inner,
            snapshots,
            group: archive.group(),
            archive: tokio::sync::Mutex::new(archive),
            figures,
            commit: AtomicU64::new(0),
        }
    }

    /// How the archive is.
    #[must_use]
    pub fn figures(&self) -> Arc<ArchiveFigures> {
        self.figures.clone()
    }

    fn note_commit(&self, commit: Index) {
        self.commit.fetch_max(commit.0, Ordering::Relaxed);
    }

    /// Notes from which index on everything can be made again, when the log begins behind `purged`.
    async fn note_window(&self, archive: &Archive, purged: Index) {
        let first = match self.first_restorable(archive, purged).await {
            Ok(first) => first,
            Err(error) => {
                tracing::warn!("it is not known what can be restored: {error}");
                None
            }
        };
        self.figures.note_first(first);
    }

    async fn first_restorable(
        &self,
        archive: &Archive,
        purged: Index,
    ) -> Result<Option<Index>, ArchiveError> {
        let commit = Index(self.commit.load(Ordering::Relaxed));
        let (first, last) = (purged.next(), commit.max(purged.next()));
        let mut runs = archive.runs();
        runs.push(Window { first, last });
        let runs = Window::merged(runs);
        let mut bases = archive.bases().await?;
        let own = self.snapshots.list(self.group).await?;
        bases.extend(own.into_iter().filter(|meta| meta.last.index <= commit));
        let mut bases: Vec<Index> = bases.into_iter().map(|meta| meta.last.index).collect();
        if runs.first().is_some_and(|run| run.first == Index(1)) {
            bases.push(Index::ZERO);
        }
        bases.sort_unstable();
        let windows = restore::windows(bases.into_iter(), &runs, last);
        Ok(windows.last().map(|window| window.first))
    }

    /// A snapshot of the leader's replaces the log, which forgets thereby what it has: archives first what of it is committed. The
    /// snapshot must not wait for ever, nor fail because the archive does: then there is a gap.
    async fn keep_before_reset(&self) {
        let commit = Index(self.commit.load(Ordering::Relaxed));
        let kept = tokio::time::timeout(RESET_WAIT_MAX, async {
            let mut archive = self.archive.lock().await;
            let kept = archive.keep(&*self.inner, &*self.snapshots, commit).await;
            self.figures.note(&archive);
            kept
        });
        let reason = match kept.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took more than {} s", RESET_WAIT_MAX.as_secs()),
        };
        self.figures.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            "the archive has not all that a snapshot displaces, up to entry {commit}, and begins anew behind it: {reason}"
        );
    }
}

#[async_trait]
impl LogStore for ArchivingLogStore {
    /// Refuses an archive that is of another history than the log.
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        let recovered = self.inner.load(group).await?;
        if group == self.group {
            let archive = self.archive.lock().await;
            let checked = archive.check_history(&recovered);
            checked.map_err(|error| LogStoreError::Corrupt(error.to_string()))?;
            self.note_commit(recovered.hard_state.commit.max(recovered.snapshot.last.index));
            self.note_window(&archive, recovered.purged.index).await;
        }
        Ok(recovered)
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        let own = batch.iter().find(|write| write.group == self.group);
        if own.is_some_and(|write| matches!(write.log, LogChange::Reset(_))) {
            self.keep_before_reset().await;
        }
        let commit = own.and_then(|write| write.hard_state).map(|state| state.commit);
        let replaced = own.filter(|write| matches!(write.log, LogChange::Reset(_)));
        let replaced = replaced.and_then(|write| Some(write.snapshot.as_ref()?.last.index));
        self.inner.write(batch).await?;
        if let Some(commit) = commit {
            self.note_commit(commit);
        }
        // A write waits for no upkeep; that is followed by a note of its own.
        if let (Some(purged), Ok(archive)) = (replaced, self.archive.try_lock()) {
            self.note_window(&archive, purged).await;
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        self.inner.read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        if group != self.group {
            return self.inner.compact(group, through).await;
        }
        let mut archive = self.archive.lock().await;
        let kept = archive.keep(&*self.inner, &*self.snapshots, through.index).await;
        let tidied = match &kept {
            Ok(()) => archive.tidy(&*self.snapshots).await,
            Err(_) => Ok(()),
        };
        self.figures.note(&archive);
        if let Err(error) = kept {
            self.figures.failures.fetch_add(1, Ordering::Relaxed);
            return Err(LogStoreError::Io(error.into()));
        }
        // What the log is to forget is archived all the same.
        if let Err(error) = tidied {
            self.figures.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the archive does not forget what it should, or has no new base: {error}");
        }
        self.note_window(&archive, through.index).await;
        drop(archive);
        self.inner.compact(group, through).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.inner.destroy(group).await
    }
}
