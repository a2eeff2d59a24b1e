//! Stable storage for the log and the hard state.

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use super::Cause;
use crate::effect::{LogChange, Write};
use crate::entry::Entry;
use crate::membership::Membership;
use crate::message::SnapshotMeta;
use crate::types::{EntryId, GroupId, HardState, Index, Term};

/// Stable storage for the logs and hard states of many groups.
///
/// Invariants that every implementation keeps, and that the conformance suite checks:
/// - a batch is one durable atom: after a crash all of it is there, or nothing (R52);
/// - when `write` returns `Ok`, the batch survives power loss; batches become durable in the order of the calls;
/// - after the first error of a call that changes something, every later one fails: what a failed call left on disk is
///   unknown until the store is opened again (R60). A refused gap is no such error, nor is a destroyed group, because nothing of
///   it is stored;
/// - a group's entries are contiguous: a batch that would leave a gap is refused with
///   [`LogStoreError::NotContiguous`], and nothing of it is stored (R12);
/// - entries that were purged or truncated are never returned.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Everything a replica needs to start; the empty state if nothing was ever written for `group`.
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError>;

    /// Makes one batch durable: at most one write per group and call.
    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError>;

    /// Whether [`write`](LogStore::write) may wait, as for a disk. If not, the replica calls it where it runs, which
    /// spares every batch a change of task. Asked once, at the start.
    fn may_block(&self) -> bool {
        true
    }

    /// The entries from `first` to `last` inclusive, in order, cut after `bytes_max` payload bytes (the first entry
    /// always fits). An entry that is not stored is an error, never a short answer.
    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError>;

    /// Forgets the entries up to and including `through`, which a durable snapshot covers. May be done later, in
    /// pieces and without a sync; after a crash some of them may be there again.
    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError>;

    /// Forgets everything about `group`, durably, but for that it was destroyed: `load`, `write`, `read` and `compact` of it
    /// fail with [`LogStoreError::Destroyed`] for ever, and nothing of a batch with such a write is stored. That a message
    /// which was under way for long could bring the group back, without its vote and its log, is thereby impossible. To
    /// destroy it again does nothing; a group that was never written is destroyed all the same.
    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError>;
}

/// What one write changes for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWrite {
    /// The group.
    pub group: GroupId,
    /// The hard state to store, if it changed.
    pub hard_state: Option<HardState>,
    /// The snapshot in force from now on, if it changed.
    pub snapshot: Option<SnapshotMeta>,
    /// How the log changes.
    pub log: LogChange,
}

impl GroupWrite {
    /// The durable part of `write`.
    #[must_use]
    pub fn new(group: GroupId, write: &Write) -> GroupWrite {
        GroupWrite {
            group,
            hard_state: write.hard_state,
            snapshot: write.snapshot.clone(),
            log: write.log.clone(),
        }
    }

    /// Makes `self` the effect of `self` followed by `later`, so that several writes of a group become one.
    pub fn merge(&mut self, later: GroupWrite) {
        debug_assert_eq!(self.group, later.group);
        if later.hard_state.is_some() {
            self.hard_state = later.hard_state;
        }
        if later.snapshot.is_some() {
            self.snapshot = later.snapshot;
        }
        match later.log {
            LogChange::Reset(entries) => self.log = LogChange::Reset(entries),
            LogChange::Append(entries) => {
                let Some(first) = entries.first().map(Entry::index) else {
                    return;
                };
                let (LogChange::Append(mine) | LogChange::Reset(mine)) = &mut self.log;
                let kept = mine.partition_point(|entry| entry.index() < first);
                mine.truncate(kept);
                // A truncation that reaches below what this batch appends must still be visible in the first entry:
                // it is, because `entries` then begins lower than everything of `mine`.
                mine.extend(entries);
            }
        }
    }
}

/// What a log store knows about one group when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Term, vote and a commit index.
    pub hard_state: HardState,
    /// The snapshot in force; `SnapshotMeta::default()` if none was ever stored.
    pub snapshot: SnapshotMeta,
    /// The entry right before the first one that is stored: where the log was purged to.
    pub purged: EntryId,
    /// The terms of the stored entries as runs: (first index of the run, its term), ascending.
    pub term_runs: Vec<(Index, Term)>,
    /// The index of the last stored entry; `purged.index` if there is none.
    pub last_index: Index,
    /// The configurations among the stored entries above the snapshot, ascending.
    pub memberships: Vec<(Index, Membership)>,
    /// Whether the store noticed that something is missing that was durable. What is there must be sound all the same;
    /// the replica then starts as a suspect (R68), and its next hard state says so in the place of this.
    pub lost: bool,
}

impl Recovered {
    /// Whether nothing was ever stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Recovered::default()
    }
}

/// Why a log store could not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogStoreError {
    /// The batch would leave a gap. Nothing of it was stored.
    #[error("group {group}: entry {found} does not follow the last stored index {last}; nothing was stored")]
    NotContiguous {
        /// The group.
        group: GroupId,
        /// The last stored index before the batch.
        last: Index,
        /// The first entry of the batch.
        found: EntryId,
    },
    /// An entry that was asked for is not stored.
    #[error("group {group}: entry {index} is not stored (stored: {first} to {last})")]
    Missing {
        /// The group.
        group: GroupId,
        /// The index that was asked for.
        index: Index,
        /// The first stored index.
        first: Index,
        /// The last stored index.
        last: Index,
    },
    /// The group was destroyed. Nothing of the call was done.
    #[error("group {0} was destroyed; a new group needs a new id")]
    Destroyed(GroupId),
    /// What is stored is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The store failed before and takes no more writes; it must be opened again.
    #[error("the log store failed earlier and takes no more writes; restart the process")]
    Failed,
    /// The storage below failed.
    #[error("the log store failed: {0}")]
    Io(#[source] Cause),
}

impl fmt::Debug for dyn LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogStore")
    }
}
