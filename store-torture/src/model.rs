//! What a store must have after a sequence of calls: the least code that can say it.

use std::collections::BTreeMap;

use crate::record::{Change, Digest, Found, Hard, Operation, Place, Snapshot};

/// All groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    groups: BTreeMap<u64, Group>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) hard_state: Hard,
    pub(crate) suspect: bool,
    pub(crate) snapshot: Snapshot,
    /// Where the log was begun anew last: what a purge that is not durable can never bring back is below.
    pub(crate) begin: Place,
    /// Where the log begins if every purge is durable.
    pub(crate) purged: Place,
    pub(crate) last: u64,
    /// The entries after `begin`, purged ones among them.
    pub(crate) entries: BTreeMap<u64, Digest>,
}

impl Model {
    /// What a store has that was just opened.
    #[must_use]
    pub(crate) fn of(found: &[Found]) -> Model {
        let groups = found.iter().filter(|found| !found.is_empty());
        let groups = groups.map(|found| {
            let group = Group {
                hard_state: found.hard_state,
                suspect: found.suspect,
                snapshot: found.snapshot,
                begin: found.purged,
                purged: found.purged,
                last: found.last,
                entries: (found.purged.index + 1..)
                    .zip(found.entries.iter().copied())
                    .collect(),
            };
            (found.group, group)
        });
        Model {
            groups: groups.collect(),
        }
    }

    /// A group; the empty one if nothing was ever written for it.
    #[must_use]
    pub(crate) fn group(&self, group: u64) -> Group {
        self.groups.get(&group).cloned().unwrap_or_default()
    }

    /// Does one call.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(changes) => {
                for change in changes {
                    self.groups.entry(change.group).or_default().change(change);
                }
            }
            Operation::Compact { group, through } => {
                if let Some(group) = self.groups.get_mut(group)
                    && through.index > group.purged.index
                {
                    group.purged = *through;
                }
            }
            Operation::Destroy(group) => {
                self.groups.remove(group);
            }
        }
    }

    /// Why what was found is not this; `None` if it is. A purge may have been forgotten: it promises nothing.
    #[must_use]
    pub(crate) fn difference(&self, found: &[Found]) -> Option<String> {
        found.iter().find_map(|found| {
            let difference = self.group(found.group).difference(found)?;
            Some(format!("group {}: {difference}", found.group))
        })
    }
}

impl Group {
    fn change(&mut self, change: &Change) {
        if let Some(hard_state) = change.hard_state {
            self.hard_state = hard_state;
            self.suspect = false;
        }
        if let Some(snapshot) = change.snapshot {
            self.snapshot = snapshot;
        }
        if change.reset {
            self.begin = self.snapshot.last;
            self.purged = self.begin;
            self.last = self.begin.index;
            self.entries.clear();
        }
        if change.entries.count == 0 {
            return;
        }
        let _ = self.entries.split_off(&change.entries.first.index);
        for entry in change.entries.entries() {
            self.last = entry.index().0;
            self.entries.insert(self.last, Digest::of(&entry));
        }
    }

    /// The term of the entry at `index`, which is stored or right before the first one.
    pub(crate) fn term_at(&self, index: u64) -> u64 {
        match self.entries.get(&index) {
            Some(entry) => entry.term,
            None => [self.begin, self.purged, self.snapshot.last]
                .iter()
                .find_map(|place| (place.index == index).then_some(place.term))
                .unwrap_or(0),
        }
    }

    fn difference(&self, found: &Found) -> Option<String> {
        let here = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            Some(format!("{what} is {found:?}, and should be {expected:?}"))
        };
        if (found.hard_state, found.suspect) != (self.hard_state, self.suspect) {
            return here(
                "the hard state",
                &(found.hard_state, found.suspect),
                &(self.hard_state, self.suspect),
            );
        }
        if found.snapshot != self.snapshot {
            return here("the snapshot", &found.snapshot, &self.snapshot);
        }
        if found.last != self.last {
            return here("the last index", &found.last, &self.last);
        }
        let purged = found.purged;
        let is_possible = (self.begin.index..=self.purged.index).contains(&purged.index)
            && purged.term == self.term_at(purged.index);
        if !is_possible {
            return here("the beginning", &purged, &(self.begin, self.purged));
        }
        for (index, entry) in (purged.index + 1..).zip(&found.entries) {
            if self.entries.get(&index) != Some(entry) {
                return here(&format!("entry {index}"), entry, &self.entries.get(&index));
            }
        }
        None
    }
}

impl Found {
    /// Whether nothing was ever written for the group.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let group = self.group;
        *self
            == Found {
                group,
                ..Found::default()
            }
    }
}
