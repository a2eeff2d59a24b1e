//! What the threads of a store know about one group, in memory.
//!
//! Three locks, each for one purpose, and never two of one group at a time except `purge` before the others: readers take
//! `published` only, so no reader ever waits for a disk write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, Index};

use super::cache::{Budget, TailCache};
use super::scan::Scanned;
use super::watermark::Watermark;
use crate::format::watermark::Promise;

/// The groups of a store.
pub(crate) type Groups = RwLock<BTreeMap<GroupId, Arc<Group>>>;

/// The groups that were destroyed.
pub(crate) type Buried = RwLock<BTreeSet<GroupId>>;

/// One group, shared by the writer, the housekeeping and the readers.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    published: Mutex<Published>,
    marked: Mutex<Marked>,
    purge: Mutex<Purge>,
}

/// What readers may see: the durable log (R57).
#[derive(Debug)]
pub(crate) struct Published {
    /// The entry right before the first one.
    pub(crate) purged: EntryId,
    /// The last durable entry; `purged` if there is none.
    pub(crate) last: EntryId,
    /// Counts every change but the plain append: what was looked up before it may not be there any more.
    pub(crate) generation: u64,
    /// What the scan on open found, until the first write changes it.
    pub(crate) recovered: Option<Recovered>,
    /// The end of the log.
    pub(crate) cache: TailCache,
}

/// The watermark, and what it may be raised to.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) watermark: Watermark,
    /// What is durable, or less while a truncation is under way.
    pub(crate) durable: Promise,
}

/// Where the physical deletion of purged entries stands.
#[derive(Debug)]
pub(crate) struct Purge {
    /// Nothing is stored at or below this index.
    pub(crate) deleted: Index,
    /// The group was destroyed: nothing of it may be written any more.
    pub(crate) gone: bool,
}

impl Group {
    /// A group as it was found on disk, and its watermark, which `durable` may raise.
    pub(crate) fn new(
        id: GroupId,
        scanned: &Scanned,
        watermark: Watermark,
        durable: Promise,
        budget: &Arc<Budget>,
    ) -> Group {
        Group {
            id,
            published: Mutex::new(Published {
                purged: scanned.purged.id,
                last: scanned.last.id,
                generation: 0,
                recovered: Some(scanned.recovered.clone()),
                cache: TailCache::new(Arc::clone(budget)),
            }),
            marked: Mutex::new(Marked { watermark, durable }),
            purge: Mutex::new(Purge {
                deleted: scanned.deleted,
                gone: false,
            }),
        }
    }

    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        lock(&self.published)
    }

    pub(crate) fn marked(&self) -> MutexGuard<'_, Marked> {
        lock(&self.marked)
    }

    pub(crate) fn purge(&self) -> MutexGuard<'_, Purge> {
        lock(&self.purge)
    }
}

/// A lock whose content is whole after every statement: a thread that panicked with it left nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The group, if the store has it.
pub(crate) fn find(groups: &Groups, id: GroupId) -> Option<Arc<Group>> {
    groups
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&id)
        .cloned()
}

/// Every group of the store.
pub(crate) fn all(groups: &Groups) -> Vec<Arc<Group>> {
    groups
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .values()
        .cloned()
        .collect()
}

pub(crate) fn insert(groups: &Groups, group: Arc<Group>) {
    groups
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(group.id, group);
}

pub(crate) fn remove(groups: &Groups, id: GroupId) {
    groups.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
}

/// Whether the group was destroyed.
pub(crate) fn is_buried(buried: &Buried, id: GroupId) -> bool {
    buried
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(&id)
}

pub(crate) fn bury(buried: &Buried, id: GroupId) {
    buried.write().unwrap_or_else(PoisonError::into_inner).insert(id);
}
