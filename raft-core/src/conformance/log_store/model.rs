//! What a log store should hold: the simplest thing that could be right.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::LogChange;
use crate::entry::{Entry, Payload};
use crate::message::SnapshotMeta;
use crate::traits::{GroupWrite, LogStore, LogStoreError};
use crate::types::{EntryId, GroupId, HardState, Index, Term};

/// All groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    groups: BTreeMap<GroupId, Log>,
    destroyed: BTreeSet<GroupId>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) hard_state: HardState,
    pub(super) snapshot: SnapshotMeta,
    pub(super) purged: EntryId,
    pub(super) entries: BTreeMap<Index, Entry>,
}

impl Log {
    pub(super) fn last(&self) -> EntryId {
        self.entries.values().last().map_or(self.purged, |entry| entry.id)
    }

    fn write(&mut self, write: &GroupWrite) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &write.snapshot {
            self.snapshot = snapshot.clone();
        }
        if let LogChange::Reset(_) = write.log {
            self.purged = self.snapshot.last;
            self.entries.clear();
        }
        for entry in write.log.entries() {
            self.entries.split_off(&entry.index());
            self.entries.insert(entry.index(), entry.clone());
        }
    }

    /// The terms of the entries after `purged` as runs.
    fn term_runs(&self) -> Vec<(Index, Term)> {
        let mut runs: Vec<(Index, Term)> = Vec::new();
        for entry in self.entries.values() {
            if runs.last().is_none_or(|(_, term)| *term != entry.term()) {
                runs.push((entry.index(), entry.term()));
            }
        }
        runs
    }
}

impl Model {
    pub(super) fn log(&self, group: GroupId) -> Log {
        self.groups.get(&group).cloned().unwrap_or_default()
    }

    pub(super) fn write(&mut self, batch: &[GroupWrite]) {
        for write in batch {
            self.groups.entry(write.group).or_default().write(write);
        }
    }

    pub(super) fn compact(&mut self, group: GroupId, through: EntryId) {
        let log = self.groups.entry(group).or_default();
        if through.index > log.purged.index {
            log.entries = log.entries.split_off(&through.index.next());
            log.purged = through;
        }
    }

    pub(super) fn destroy(&mut self, group: GroupId) {
        self.groups.remove(&group);
        self.destroyed.insert(group);
    }

    /// Whether `store` holds this, for each of `groups` and for all that were destroyed; otherwise what differs. After a crash some purged entries may be
    /// there again, but never more than what was asked for may be gone.
    pub(super) async fn differs(&self, store: &dyn LogStore, groups: &[GroupId]) -> Option<String> {
        for &group in &self.destroyed {
            let loaded = store.load(group).await;
            if !matches!(loaded, Err(LogStoreError::Destroyed(id)) if id == group) {
                return Some(format!(
                    "group {group} was destroyed, and is loaded as {loaded:?}"
                ));
            }
        }
        for &group in groups.iter().filter(|group| !self.destroyed.contains(group)) {
            let expected = self.log(group);
            if let Some(difference) = expected.differs(store, group).await {
                return Some(format!("group {group}: {difference}"));
            }
        }
        None
    }
}

impl Log {
    async fn differs(&self, store: &dyn LogStore, group: GroupId) -> Option<String> {
        let found = match store.load(group).await {
            Ok(found) => found,
            Err(error) => return Some(format!("it cannot be loaded: {error}")),
        };
        let last = self.last();
        let complaint = if found.hard_state != self.hard_state {
            format!(
                "the hard state is {:?}, not {:?}",
                found.hard_state, self.hard_state
            )
        } else if found.snapshot != self.snapshot {
            format!("the snapshot is {:?}, not {:?}", found.snapshot, self.snapshot)
        } else if found.last_index != last.index {
            format!("the log ends at {}, not at {last}", found.last_index)
        } else if found.purged.index > self.purged.index {
            format!(
                "entries up to {} are purged, asked for was {}",
                found.purged, self.purged
            )
        } else if found.purged.index == self.purged.index && found.purged != self.purged {
            format!("the purged entry is {}, not {}", found.purged, self.purged)
        } else if found.purged == self.purged && found.term_runs != self.term_runs() {
            format!("the terms are {:?}, not {:?}", found.term_runs, self.term_runs())
        } else if found.lost {
            String::from("it says that something is lost")
        } else {
            String::new()
        };
        if !complaint.is_empty() {
            return Some(complaint);
        }
        let memberships: Vec<Index> = self
            .entries
            .values()
            .filter(|entry| matches!(entry.payload, Payload::Membership(_)))
            .map(Entry::index)
            .filter(|index| *index > self.snapshot.last.index)
            .collect();
        let found_memberships: Vec<Index> = found.memberships.iter().map(|(index, _)| *index).collect();
        if found_memberships != memberships {
            return Some(format!(
                "configurations stand at {found_memberships:?}, not at {memberships:?}"
            ));
        }
        let first = self.purged.index.next();
        let entries = store.read(group, first, last.index, usize::MAX).await;
        match entries {
            Ok(entries) if entries.iter().eq(self.entries.values()) => {}
            Ok(entries) => {
                let ids: Vec<EntryId> = entries.iter().map(|entry| entry.id).collect();
                return Some(format!(
                    "entries {first} to {last} are read as {ids:?}, or with other payloads"
                ));
            }
            Err(error) => return Some(format!("entries {first} to {last} cannot be read: {error}")),
        }
        let beyond = last.index.next();
        match store.read(group, beyond, beyond, usize::MAX).await {
            Err(_) => None,
            Ok(entries) => Some(format!(
                "a read of entry {beyond}, above the last one, is answered with {} entries",
                entries.len()
            )),
        }
    }
}
