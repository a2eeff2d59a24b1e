//! Turns any number of requests into one `LogBatch`.
//!
//! raft-engine applies the operations of a batch in order, so requests of one group need no merging: each is staged on top
//! of the one before it. Entries that begin at or below the end of the log replace what they overlap, which raft-engine does
//! by itself; a log that begins anew is a group that is cleaned, and made again in the same batch, because that is the only
//! way of forgetting entries that raft-engine keeps when it moves what is left to other files.
//! A request is checked completely before anything of it is staged, so that a refused one leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{Cause, GroupWrite, LogStoreError};
use raft_core::types::{EntryId, GroupId, HardState, Index};
use raft_engine::{Command, LogBatch};

use super::database::Database;
use super::group::Group;
use super::message::{Record, Records};
use super::scan::{ScanError, Scanned, link_at};
use crate::format::record::{
    Link, StateKind, chain_origin, encode_entry, encode_hard_state, encode_purged, encode_snapshot,
};

/// What the writer thread knows about one group.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The shared part; `None` until the first write of a new group.
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) purged: Link,
    pub(crate) last: Link,
    /// As it was stored last.
    pub(crate) hard_state: HardState,
    /// As it was stored last.
    snapshot: SnapshotMeta,
    /// What the batch that is being staged changes.
    pub(crate) staged: Option<Staged>,
}

/// What a batch changes for one group.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The places of the entries of the batch, contiguous, ending at the last entry of the log.
    links: Vec<Link>,
    /// Where the log ends when it is shortest, between two operations of the batch: the old entries up to here stay.
    pub(crate) floor: Link,
    /// Entries of the log's beginning are forgotten.
    pub(crate) purges: bool,
}

/// What a finished batch changes.
#[derive(Debug, Default)]
pub(crate) struct StagedBatch {
    /// The groups that it changes.
    pub(crate) groups: Vec<GroupId>,
    /// It removes entries that raft-engine may be moving: it must not meet a purge.
    pub(crate) rearranges: bool,
}

/// A batch under construction, over the tails of all groups.
pub(crate) struct Stage<'a> {
    database: &'a Database,
    tails: &'a mut BTreeMap<GroupId, Tail>,
    batch: &'a mut LogBatch,
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
            snapshot: scanned.recovered.snapshot.clone(),
            staged: None,
        }
    }

    /// The chain up to `index`, which lies between `purged` and `last`. A truncation or a purge reads it back from disk: the
    /// only reads of the writer thread, and rare ones.
    fn link(&self, database: &Database, group: GroupId, index: Index) -> Result<Link, LogStoreError> {
        if index == self.last.id.index {
            return Ok(self.last);
        }
        if index == self.purged.id.index {
            return Ok(self.purged);
        }
        let staged = self.staged.as_ref().map(|staged| &staged.links[..]);
        let staged = staged.unwrap_or_default();
        if let Some(first) = staged.first()
            && index >= first.id.index
        {
            let offset = usize::try_from(index.entries_since(first.id.index)).unwrap_or(usize::MAX);
            if let Some(link) = staged.get(offset) {
                return Ok(*link);
            }
        }
        Ok(link_at(database, group, index)?)
    }

    fn plan<'w>(&self, database: &Database, write: &'w GroupWrite) -> Result<Plan<'w>, LogStoreError> {
        let group = write.group;
        let entries = write.log.entries();
        let plan = match &write.log {
            LogChange::Append(_) => {
                let previous = match entries.first() {
                    None => self.last,
                    Some(first)
                        if first.index() <= self.purged.id.index
                            || first.index() > self.last.id.index.next() =>
                    {
                        return Err(not_contiguous(group, self.last.id.index, first.id));
                    }
                    Some(first) => self.link(database, group, first.index().previous())?,
                };
                Plan {
                    begin: None,
                    previous,
                    entries,
                }
            }
            LogChange::Reset(_) => {
                let snapshot = write.snapshot.as_ref();
                let id = snapshot.map_or(self.purged.id, |snapshot| snapshot.last);
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
            links: Vec::new(),
            floor,
            purges: false,
        })
    }
}

impl<'a> Stage<'a> {
    /// `batch` is empty.
    pub(crate) fn new(
        database: &'a Database,
        tails: &'a mut BTreeMap<GroupId, Tail>,
        batch: &'a mut LogBatch,
    ) -> Stage<'a> {
        Stage {
            database,
            tails,
            batch,
            staged: StagedBatch::default(),
        }
    }

    /// What the batch changes.
    pub(crate) fn finish(self) -> StagedBatch {
        self.staged
    }

    /// Stages a call of `write`: all of it, or nothing and [`LogStoreError::NotContiguous`]. After any other error the batch
    /// must not be written.
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
            self.apply(write, &plan).map_err(LogStoreError::Io)?;
        }
        Ok(())
    }

    fn apply(&mut self, write: &GroupWrite, plan: &Plan<'_>) -> Result<(), Cause> {
        let group = write.group;
        let is_reset = plan.begin.is_some();
        let states = write.hard_state.is_some() || write.snapshot.is_some();
        if !states && !is_reset && plan.entries.is_empty() {
            return Ok(());
        }
        let tail = tail(self.tails, group);
        let is_new = tail.group.is_none();
        if tail.staged.is_none() {
            self.staged.groups.push(group);
        }
        tail.staged();
        if let Some(begin) = plan.begin {
            tail.purged = begin;
            self.batch.add_command(group.0, Command::Clean);
        }
        if let Some(hard_state) = write.hard_state {
            tail.hard_state = hard_state;
        }
        if let Some(snapshot) = &write.snapshot {
            tail.snapshot = snapshot.clone();
        }
        let mut put = |kind: StateKind, value| self.batch.put(group.0, vec![kind as u8], value);
        // The first write of a group stores where its log begins: that record is what makes it exist.
        if is_reset || is_new {
            put(StateKind::Purged, encode_purged(group, &tail.purged))?;
        }
        if write.hard_state.is_some() || is_reset {
            put(StateKind::HardState, encode_hard_state(group, &tail.hard_state))?;
        }
        if write.snapshot.is_some() || is_reset {
            put(StateKind::Snapshot, encode_snapshot(group, &tail.snapshot))?;
        }
        if is_reset || !plan.entries.is_empty() {
            self.replace(group, plan)?;
        }
        Ok(())
    }

    /// Makes the log end with `plan.entries` after `plan.previous`.
    fn replace(&mut self, group: GroupId, plan: &Plan<'_>) -> Result<(), Cause> {
        let tail = tail(self.tails, group);
        let is_shorter = plan.previous.id.index < tail.last.id.index;
        self.staged.rearranges |= is_shorter || plan.begin.is_some();
        tail.last = plan.previous;
        let staged = tail.staged();
        if plan.previous.id.index < staged.floor.id.index {
            staged.floor = plan.previous;
        }
        if plan.begin.is_some() {
            staged.purges = true;
            staged.links.clear();
        } else {
            let kept = staged
                .links
                .partition_point(|link| link.id.index <= plan.previous.id.index);
            staged.links.truncate(kept);
        }
        let mut last = plan.previous;
        let mut records = Vec::with_capacity(plan.entries.len());
        for entry in plan.entries {
            let (header, payload, link) = encode_entry(group, entry, last.chain);
            records.push(Record::new(header, payload));
            staged.links.push(link);
            last = link;
        }
        tail.last = last;
        self.batch.add_entries::<Records>(group.0, &records)?;
        Ok(())
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
        let index = through.index.0.saturating_add(1);
        self.batch.add_command(group.0, Command::Compact { index });
        let put = self.batch.put(
            group.0,
            vec![StateKind::Purged as u8],
            encode_purged(group, &purged),
        );
        put.map_err(|error| LogStoreError::Io(Box::new(error)))
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
