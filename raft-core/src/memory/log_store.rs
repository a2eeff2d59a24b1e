//! A log store in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::effect::LogChange;
use crate::entry::{Entry, Payload};
use crate::message::SnapshotMeta;
use crate::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use crate::types::{EntryId, GroupId, HardState, Index, Term};

/// A [`LogStore`] in memory. Clones share one state: "reopening" the store is cloning the handle.
#[derive(Clone, Debug, Default)]
pub struct MemoryLogStore {
    groups: Arc<Mutex<BTreeMap<GroupId, Place>>>,
}

/// A group, or that it was destroyed.
#[derive(Clone, Debug)]
enum Place {
    Stored(Log),
    Destroyed,
}

/// What is stored for one group.
///
/// Invariant: `entries` are contiguous and the first follows `purged`.
#[derive(Clone, Debug, Default)]
struct Log {
    hard_state: HardState,
    snapshot: SnapshotMeta,
    purged: EntryId,
    entries: VecDeque<Entry>,
}

impl MemoryLogStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> MemoryLogStore {
        MemoryLogStore::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, Place>> {
        // A panic while the lock was held left whole values: every change below is made after all checks.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LogStore for MemoryLogStore {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        let groups = self.lock();
        Ok(stored(&groups, group)?.map(Log::recover).unwrap_or_default())
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        let mut groups = self.lock();
        for write in &batch {
            match stored(&groups, write.group)? {
                Some(log) => log.check(write)?,
                None => Log::default().check(write)?,
            }
        }
        for write in batch {
            let place = groups.entry(write.group);
            if let Place::Stored(log) = place.or_insert_with(|| Place::Stored(Log::default())) {
                log.apply(write);
            }
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        false
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        match stored(&self.lock(), group)? {
            Some(log) => log.read(group, first, last, bytes_max),
            None => Log::default().read(group, first, last, bytes_max),
        }
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        match self.lock().get_mut(&group) {
            Some(Place::Stored(log)) => log.compact(through),
            Some(Place::Destroyed) => return Err(LogStoreError::Destroyed(group)),
            None => {}
        }
        Ok(())
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.lock().insert(group, Place::Destroyed);
        Ok(())
    }
}

/// What is stored of `group`, if anything is.
fn stored(groups: &BTreeMap<GroupId, Place>, group: GroupId) -> Result<Option<&Log>, LogStoreError> {
    match groups.get(&group) {
        Some(Place::Stored(log)) => Ok(Some(log)),
        Some(Place::Destroyed) => Err(LogStoreError::Destroyed(group)),
        None => Ok(None),
    }
}

impl Log {
    fn last_index(&self) -> Index {
        self.entries.back().map_or(self.purged.index, Entry::index)
    }

    fn recover(&self) -> Recovered {
        let mut term_runs: Vec<(Index, Term)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|(_, term)| *term != entry.term()) {
                term_runs.push((entry.index(), entry.term()));
            }
            if let Payload::Membership(membership) = &entry.payload
                && entry.index() > self.snapshot.last.index
            {
                memberships.push((entry.index(), membership.clone()));
            }
        }
        Recovered {
            lost: false,
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            purged: self.purged,
            term_runs,
            last_index: self.last_index(),
            memberships,
        }
    }

    /// Refuses a write that would leave a gap (R12), before anything is changed.
    fn check(&self, write: &GroupWrite) -> Result<(), LogStoreError> {
        let (lowest, highest, last) = match &write.log {
            LogChange::Append(_) => {
                let last = self.last_index();
                (self.purged.index.next(), last.next(), last)
            }
            LogChange::Reset(_) => {
                let base = write.snapshot.as_ref().unwrap_or(&self.snapshot).last.index;
                (base.next(), base.next(), base)
            }
        };
        let mut previous: Option<Index> = None;
        for entry in write.log.entries() {
            let fits = match previous {
                None => (lowest..=highest).contains(&entry.index()),
                Some(previous) => entry.index() == previous.next(),
            };
            if !fits {
                return Err(LogStoreError::NotContiguous {
                    group: write.group,
                    last: previous.unwrap_or(last),
                    found: entry.id,
                });
            }
            previous = Some(entry.index());
        }
        Ok(())
    }

    /// Applies a write that passed `check`.
    fn apply(&mut self, write: GroupWrite) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = write.snapshot {
            self.snapshot = snapshot;
        }
        match write.log {
            LogChange::Append(entries) => {
                let Some(first) = entries.first().map(Entry::index) else {
                    return;
                };
                let kept = first.previous().entries_since(self.purged.index);
                self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                self.entries.extend(entries);
            }
            LogChange::Reset(entries) => {
                self.purged = self.snapshot.last;
                self.entries = entries.into();
            }
        }
    }

    fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        let missing = |index| LogStoreError::Missing {
            group,
            index,
            first: self.purged.index.next(),
            last: self.last_index(),
        };
        if first > last {
            return Ok(Vec::new());
        }
        if first <= self.purged.index {
            return Err(missing(first));
        }
        if last > self.last_index() {
            return Err(missing(last.min(first.max(self.last_index().next()))));
        }
        let position = |index: Index| index.entries_since(self.purged.index.next());
        let begin = usize::try_from(position(first)).unwrap_or(usize::MAX);
        let end = usize::try_from(position(last)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.entries.range(begin..=end) {
            bytes += entry.payload_bytes();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn compact(&mut self, through: EntryId) {
        if through.index <= self.purged.index {
            return;
        }
        let count = through.index.entries_since(self.purged.index);
        let count = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(self.entries.len());
        self.entries.drain(..count);
        self.purged = through;
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;

    /// R12, R52: the store that other tests stand on keeps the invariants itself.
    #[tokio::test]
    async fn conforms() {
        let store = MemoryLogStore::new();
        crate::conformance::log_store(async || Arc::new(store.clone()) as Arc<dyn LogStore>).await;
    }
}
