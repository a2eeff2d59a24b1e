//! What the threads of a store know about one group, in memory.
//!
//! Two locks, each for one purpose, and never both at a time: readers take `published` only, so no reader ever waits for a
//! disk write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId};

use super::scan::Scanned;
use super::watermark::Watermark;
use crate::format::slot::Promise;

/// The groups of a store.
pub(crate) type Groups = RwLock<BTreeMap<GroupId, Arc<Group>>>;

/// The groups that were destroyed.
pub(crate) type Buried = RwLock<BTreeSet<GroupId>>;

/// One group, shared by the writer, the housekeeping and the readers.
#[derive(Debug)]
pub(crate) struct Group {
    published: Mutex<Published>,
    marked: Mutex<Marked>,
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
}

/// The watermark, and what it may be raised to.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) watermark: Watermark,
    /// What raft-engine has synced, or less while a truncation is under way.
    pub(crate) durable: Promise,
}

impl Group {
    /// A group as it was found on disk, and its watermark, which `durable` may raise.
    pub(crate) fn new(scanned: &Scanned, watermark: Watermark, durable: Promise) -> Group {
        Group {
            published: Mutex::new(Published {
                purged: scanned.purged.id,
                last: scanned.last.id,
                generation: 0,
                recovered: Some(scanned.recovered.clone()),
            }),
            marked: Mutex::new(Marked { watermark, durable }),
        }
    }

    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        lock(&self.published)
    }

    pub(crate) fn marked(&self) -> MutexGuard<'_, Marked> {
        lock(&self.marked)
    }
}

/// A lock whose content is whole after every statement: a thread that panicked with it left nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The group, if the store has it.
pub(crate) fn find(groups: &Groups, id: GroupId) -> Option<Arc<Group>> {
    let groups = groups.read().unwrap_or_else(PoisonError::into_inner);
    groups.get(&id).cloned()
}

/// Every group of the store.
pub(crate) fn all(groups: &Groups) -> Vec<Arc<Group>> {
    let groups = groups.read().unwrap_or_else(PoisonError::into_inner);
    groups.values().cloned().collect()
}

pub(crate) fn insert(groups: &Groups, id: GroupId, group: Arc<Group>) {
    let mut groups = groups.write().unwrap_or_else(PoisonError::into_inner);
    groups.insert(id, group);
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
