//! Turns any number of requests into one batch.
//!
//! The operations of a batch are applied in order, so requests of one group need no merging: each is staged on top
//! of the one before it. A request is checked completely before anything of it is staged, so that a refused one leaves
//! nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStoreError};
use raft_core::types::{EntryId, GroupId, HardState, Index};

use super::database::Database;
use super::group::Group;
use super::scan::{ScanError, Scanned, link_at};
use crate::format::batch::Batch;
use crate::format::record::{
    Link, StateKind, chain_origin, encode_hard_state, encode_purged, encode_snapshot,
};

/// What the writer thread knows about one group.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The shared part; `None` until the first write of a new group.
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) purged: Link,
    pub(crate) last: Link,
    /// The commit index in it is not maintained.
    pub(crate) hard_state: HardState,
    /// What the batch that is being staged changes.
    pub(crate) staged: Option<Staged>,
}

/// What a batch changes for one group.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The entries of the batch that remain, contiguous, ending at the last entry of the log, and their chain values.
    pub(crate) entries: Vec<(Entry, u64)>,
    /// Where the log ends when it is shortest, between two operations of the batch: the old entries up to here stay.
    pub(crate) floor: Link,
    /// The log begins anew: what the purge knows is void.
    pub(crate) reset: bool,
    /// Entries are to be deleted by the purge.
    pub(crate) purges: bool,
}

/// A finished batch.
pub(crate) struct StagedBatch {
    pub(crate) batch: Batch,
    /// The groups that it changes.
    pub(crate) groups: Vec<GroupId>,
}

/// A batch under construction, over the tails of all groups.
pub(crate) struct Stage<'a> {
    database: &'a Database,
    tails: &'a mut BTreeMap<GroupId, Tail>,
    staged: StagedBatch,
}

/// A group's write, checked.
struct Plan<'w> {
    /// Where the log begins, if it begins anew.
    begin: Option<Link>,
    /// The entry before `entries`.
    previous: Link,
    entries: &'w [Entry],
}

impl Tail {
    pub(crate) fn new(scanned: &Scanned, group: Option<Arc<Group>>) -> Tail {
        Tail {
            group,
            purged: scanned.purged,
            last: scanned.last,
            hard_state: scanned.recovered.hard_state,
            staged: None,
        }
    }

    /// The chain up to `index`, which lies between `purged` and `last`. A truncation that reaches below what is in memory reads
    /// it back from disk: the only read of the writer thread, and a rare one.
    fn link(&self, database: &Database, group: GroupId, index: Index) -> Result<Link, LogStoreError> {
        if index == self.last.id.index {
            return Ok(self.last);
        }
        if index == self.purged.id.index {
            return Ok(self.purged);
        }
        if let Some(staged) = &self.staged
            && let Some((first, _)) = staged.entries.first()
            && index >= first.index()
        {
            let offset = usize::try_from(index.entries_since(first.index())).unwrap_or(usize::MAX);
            if let Some((entry, chain)) = staged.entries.get(offset) {
                return Ok(Link {
                    id: entry.id,
                    chain: *chain,
                });
            }
        }
        if let Some(group) = &self.group
            && let Some(link) = group.published().cache.link(index)
        {
            return Ok(link);
        }
        match link_at(database, group, index)? {
            Some(link) => Ok(link),
            None => Err(ScanError::missing(group, index).into()),
        }
    }

    fn plan<'w>(&self, database: &Database, write: &'w GroupWrite) -> Result<Plan<'w>, LogStoreError> {
        let group = write.group;
        let entries = write.log.entries();
        let plan = match &write.log {
            LogChange::Append(_) => {
                let Some(first) = entries.first() else {
                    return Ok(Plan {
                        begin: None,
                        previous: self.last,
                        entries,
                    });
                };
                if first.index() <= self.purged.id.index || first.index() > self.last.id.index.next() {
                    return Err(not_contiguous(group, self.last.id.index, first.id));
                }
                Plan {
                    begin: None,
                    previous: self.link(database, group, first.index().previous())?,
                    entries,
                }
            }
            LogChange::Reset(_) => {
                let id = write
                    .snapshot
                    .as_ref()
                    .map_or(self.purged.id, |snapshot| snapshot.last);
                let begin = Link {
                    id,
                    chain: chain_origin(group, id),
                };
                // When a caller merged a later snapshot into this write, the snapshot covers the first entries.
                let covered = entries.partition_point(|entry| entry.index() <= id.index);
                Plan {
                    begin: Some(begin),
                    previous: begin,
                    entries: &entries[covered..],
                }
            }
        };
        let mut last = plan.previous.id;
        for entry in plan.entries {
            if entry.index() != last.index.next() || entry.term() < last.term {
                return Err(not_contiguous(group, last.index, entry.id));
            }
            last = entry.id;
        }
        Ok(plan)
    }

    fn staged(&mut self) -> &mut Staged {
        let floor = self.last;
        self.staged.get_or_insert_with(|| Staged {
            entries: Vec::new(),
            floor,
            reset: false,
            purges: false,
        })
    }
}

impl<'a> Stage<'a> {
    /// `bytes` is about what the batch will hold: growing it step by step would copy every payload once more.
    pub(crate) fn new(
        database: &'a Database,
        tails: &'a mut BTreeMap<GroupId, Tail>,
        bytes: usize,
    ) -> Stage<'a> {
        Stage {
            database,
            tails,
            staged: StagedBatch {
                batch: Batch::with_capacity(bytes),
                groups: Vec::new(),
            },
        }
    }

    /// The batch; `None` if there is nothing to write.
    pub(crate) fn finish(self) -> Option<StagedBatch> {
        (!self.staged.batch.is_empty()).then_some(self.staged)
    }

    /// Stages a call of `write`: all of it, or nothing and an error.
    pub(crate) fn write(&mut self, batch: &[GroupWrite]) -> Result<(), LogStoreError> {
        let mut plans = Vec::with_capacity(batch.len());
        let mut groups: Vec<GroupId> = batch.iter().map(|write| write.group).collect();
        groups.sort_unstable();
        if let Some(twice) = groups.windows(2).find(|pair| pair[0] == pair[1]) {
            let cause = format!(
                "group {} is named twice in one batch; merge its writes first",
                twice[0]
            );
            return Err(LogStoreError::Io(cause.into()));
        }
        for write in batch {
            let tail = tail(self.tails, write.group);
            plans.push(tail.plan(self.database, write)?);
        }
        for (write, plan) in batch.iter().zip(plans) {
            self.apply(write, &plan);
        }
        Ok(())
    }

    fn apply(&mut self, write: &GroupWrite, plan: &Plan<'_>) {
        let group = write.group;
        let nothing = write.hard_state.is_none()
            && write.snapshot.is_none()
            && plan.begin.is_none()
            && plan.entries.is_empty();
        if nothing {
            return;
        }
        let tail = tail(self.tails, group);
        if let Some(begin) = plan.begin {
            tail.purged = begin;
        }
        if plan.begin.is_some() || tail.group.is_none() {
            // The first write of a group stores where its log begins: that record is what makes it exist.
            let value = encode_purged(group, &tail.purged);
            self.staged.batch.put_state(group, StateKind::Purged, &value);
        }
        if let Some(hard_state) = &write.hard_state {
            tail.hard_state = *hard_state;
            let value = encode_hard_state(group, hard_state);
            self.staged.batch.put_state(group, StateKind::HardState, &value);
        }
        if let Some(snapshot) = &write.snapshot {
            let value = encode_snapshot(group, snapshot);
            self.staged.batch.put_state(group, StateKind::Snapshot, &value);
        }
        if tail.staged.is_none() {
            self.staged.groups.push(group);
        }
        tail.staged();
        if plan.begin.is_some() || !plan.entries.is_empty() {
            self.replace(group, plan);
        }
    }

    /// Makes the log end with `plan.entries` after `plan.previous`.
    fn replace(&mut self, group: GroupId, plan: &Plan<'_>) {
        let tail = tail(self.tails, group);
        let old_last = tail.last.id.index;
        tail.last = plan.previous;
        let reset = plan.begin.is_some();
        let staged = tail.staged();
        if plan.previous.id.index < staged.floor.id.index {
            staged.floor = plan.previous;
        }
        if reset {
            staged.reset = true;
            staged.purges = true;
            staged.entries.clear();
        } else {
            let kept = staged
                .entries
                .partition_point(|(entry, _)| entry.index() <= plan.previous.id.index);
            staged.entries.truncate(kept);
        }
        staged.entries.reserve(plan.entries.len());
        let mut last = plan.previous;
        for entry in plan.entries {
            last = Link {
                id: entry.id,
                chain: self.staged.batch.put_entry(group, entry, last.chain),
            };
            // A reference to the payload, not a copy of it.
            staged.entries.push((entry.clone(), last.chain));
        }
        tail.last = last;
        // What the new log does not overwrite must not follow it. Entries at or below a new beginning are never read
        // again, and deleted by the purge.
        for index in last.id.index.0.saturating_add(1)..=old_last.0 {
            self.staged.batch.delete_entry(group, Index(index));
        }
    }

    /// Stages a new beginning of the log after `through`.
    pub(crate) fn compact(&mut self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        let tail = tail(self.tails, group);
        if through.index <= tail.purged.id.index {
            return Ok(());
        }
        if through.index > tail.last.id.index {
            return Err(LogStoreError::Missing {
                group,
                index: through.index,
                first: tail.purged.id.index.next(),
                last: tail.last.id.index,
            });
        }
        let purged = tail.link(self.database, group, through.index)?;
        if purged.id != through {
            return Err(ScanError::other_entry(group, purged.id, through).into());
        }
        if tail.staged.is_none() {
            self.staged.groups.push(group);
        }
        tail.purged = purged;
        tail.staged().purges = true;
        let value = encode_purged(group, &purged);
        self.staged.batch.put_state(group, StateKind::Purged, &value);
        Ok(())
    }
}

fn not_contiguous(group: GroupId, last: Index, found: EntryId) -> LogStoreError {
    LogStoreError::NotContiguous { group, last, found }
}

/// The tail of `group`; of an empty log if it is new.
fn tail(tails: &mut BTreeMap<GroupId, Tail>, group: GroupId) -> &mut Tail {
    tails
        .entry(group)
        .or_insert_with(|| Tail::new(&Scanned::nothing(group), None))
}
