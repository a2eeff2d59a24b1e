//! The disks of one node, as its process uses them.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::{Entry, fitting};
use raft_core::message::SnapshotMeta;
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, GroupId, Index};

use super::damage::Spoilt;
use super::error::{DiskError, Finding};
use super::image::{self, LogImage};
use super::life::Health;
use super::mark::{Mark, Promise};
use super::record::{self, Base, EntryPlace, Kind, Link};
use super::sectors::Sectors;
use super::snapshots::Snapshots;
use super::view::{Located, LogView};

/// The disks of one node: its log and its snapshots.
#[derive(Debug)]
pub struct Storage {
    pub(super) group: GroupId,
    pub(super) sectors: Sectors,
    pub(super) mark: Mark,
    pub(super) snapshots: Snapshots,
    pub(super) view: LogView,
    /// What was written and is not durable, with the numbers of the records.
    pub(super) pending: VecDeque<(u64, Pending)>,
    /// The sync under way.
    pub(super) syncing: Option<SyncMark>,
    pub(super) durable: LogImage,
    /// What the process knows to be durable: the snapshot in force, and where the log was purged to.
    pub(super) synced: (EntryId, EntryId),
    pub(super) state: State,
    pub(super) health: Health,
    pub(super) spoilt: Spoilt,
    pub(super) armed: Armed,
    /// The next record begins a segment.
    pub(super) needs_segment: bool,
    /// Memory that is used again and again: a record, and the places of its entries in it.
    pub(super) record: Vec<u8>,
    pub(super) places: Vec<EntryPlace>,
}

/// A moment up to which a sync makes durable what was written.
#[derive(Clone, Copy, Debug)]
pub struct SyncMark {
    pub(super) epoch: u64,
    pub(super) promise: Promise,
    /// The snapshot in force.
    pub(super) snapshot: EntryId,
}

/// An error that the disk is going to report once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next write or sync fails, whichever comes first. What it was about may be on the disk all the same (R60).
    Eio,
    /// The next read fails.
    EioOnRead,
}

/// What is armed.
#[derive(Clone, Debug, Default)]
pub(super) struct Armed {
    write: bool,
    read: Cell<bool>,
    full: bool,
}

/// Whether a process can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// A write failed.
    Failed,
    Closed,
}

/// What was written and is not durable.
#[derive(Debug)]
pub(super) enum Pending {
    Change(GroupWrite),
    Purge(EntryId),
}

impl Storage {
    /// Empty disks, open.
    #[must_use]
    pub fn new(group: GroupId) -> Storage {
        Storage {
            group,
            sectors: Sectors::default(),
            mark: Mark::new(group),
            snapshots: Snapshots::default(),
            view: LogView::new(Link::origin(group)),
            pending: VecDeque::new(),
            syncing: None,
            durable: LogImage::default(),
            synced: (EntryId::ZERO, EntryId::ZERO),
            state: State::Open,
            health: Health::Intact,
            spoilt: Spoilt::default(),
            armed: Armed::default(),
            needs_segment: true,
            record: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Writes into the cache of the operating system: visible to reads, not durable. Returns the number of bytes.
    pub fn write(&mut self, change: &GroupWrite) -> Result<usize, DiskError> {
        self.check_open()?;
        let snapshot = self.view.snapshot.last;
        if !image::fits(self.view.purged.index, self.view.last(), snapshot, change) {
            let last = self.view.last();
            return Err(DiskError::NotContiguous { last });
        }
        if change.hard_state.is_none() && change.snapshot.is_none() && change.log.is_empty() {
            return Ok(0);
        }
        if self.armed.full {
            self.state = State::Failed;
            return Err(DiskError::Full);
        }
        let bytes = self.append(change);
        let number = self.view.link.number;
        self.pending.push_back((number, Pending::Change(change.clone())));
        if std::mem::take(&mut self.armed.write) {
            self.state = State::Failed;
            return Err(DiskError::Io);
        }
        Ok(bytes)
    }

    fn append(&mut self, change: &GroupWrite) -> usize {
        let snapshot = change.snapshot.as_ref().unwrap_or(&self.view.snapshot).last;
        let entries = image::uncovered(change, snapshot.index);
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        let (segment, begin, bytes) = self.put(Kind::Change, |out| {
            record::put_change(change, entries, out, &mut places)
        });
        self.view.set_state(change.hard_state, change.snapshot.as_ref());
        if let LogChange::Reset(_) = change.log {
            self.view.begin_after(snapshot);
        }
        if let Some(first) = entries.first() {
            self.view.truncate_from(first.index());
        }
        let located = places.iter().map(|place| Located::new(place, segment, begin));
        self.view.entries.extend(located);
        self.places = places;
        bytes
    }

    /// Appends a record to the log; returns its segment, where it begins there, and its size.
    fn put(&mut self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> (u64, usize, usize) {
        let mut bytes = std::mem::take(&mut self.record);
        record::encode(kind, &mut bytes, body);
        if self.needs_segment || !self.sectors.has_room(bytes.len()) {
            self.begin_segment();
        }
        self.view.link = record::seal(self.view.link, &mut bytes);
        let (segment, begin) = self.sectors.append(&bytes);
        let length = bytes.len();
        self.record = bytes;
        (segment, begin, length)
    }

    /// Begins a segment with all that must be known to start from it.
    fn begin_segment(&mut self) {
        let base = Base {
            segment: self.sectors.begin_segment(),
            hard_state: self.view.hard_state,
            snapshot: self.view.snapshot.clone(),
            purged: self.view.purged,
            last: self.view.last(),
        };
        let mut bytes = Vec::new();
        record::encode(Kind::Base, &mut bytes, |out| {
            record::put_base(self.group, &base, out)
        });
        self.view.link = record::seal(self.view.link, &mut bytes);
        self.sectors.append(&bytes);
        self.needs_segment = false;
    }

    /// Makes everything durable that was written.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        let mark = self.begin_sync();
        self.end_sync(mark)
    }

    /// Begins a sync: what was written until here will be durable once it ends.
    pub fn begin_sync(&mut self) -> SyncMark {
        let mark = SyncMark {
            epoch: self.sectors.end_epoch(),
            promise: self.promise(),
            snapshot: self.view.snapshot.last,
        };
        self.syncing = Some(mark);
        mark
    }

    /// Ends a sync.
    pub fn end_sync(&mut self, mark: SyncMark) -> Result<(), DiskError> {
        self.check_open()?;
        if std::mem::take(&mut self.armed.write) {
            self.state = State::Failed;
            return Err(DiskError::Io);
        }
        if self.syncing.is_some_and(|syncing| syncing.epoch == mark.epoch) {
            self.syncing = None;
        }
        self.sectors.sync(mark.epoch);
        self.mark.write(&mark.promise);
        self.synced = (mark.snapshot, mark.promise.purged);
        let in_force = self.durable.snapshot.last;
        let last = mark.promise.link.number;
        while self.pending.front().is_some_and(|(number, _)| *number <= last) {
            if let Some((_, pending)) = self.pending.pop_front() {
                self.make_durable(&pending);
            }
        }
        self.drop_segments();
        if self.health == Health::Reported {
            // The other copy may be damaged.
            self.mark.write(&mark.promise);
            self.health = Health::Intact;
            self.spoilt = Spoilt::default();
            // Until now it was what another start would have made of the damage.
            self.durable = self.judge_disk().image();
        }
        let snapshot = self.durable.snapshot.last;
        // A snapshot may have been damaged before it came into force, and the log where nothing was needed yet.
        let is_new = snapshot != in_force && snapshot != EntryId::ZERO;
        if self.spoilt.is_any()
            || self.health == Health::Damaged
            || is_new && self.snapshot(snapshot).is_err()
        {
            self.reassess();
        }
        Ok(())
    }

    pub(super) fn make_durable(&mut self, pending: &Pending) {
        match pending {
            Pending::Change(change) => self.durable.apply(change),
            Pending::Purge(through) => self.durable.compact(*through),
        }
    }

    /// What a sync that begins now makes durable.
    pub(super) fn promise(&self) -> Promise {
        Promise {
            link: self.view.link,
            hard_state: self.view.hard_state,
            purged: self.view.purged,
        }
    }

    /// Throws away the segments all of whose entries are purged, durably.
    fn drop_segments(&mut self) {
        // An unsynced write may replace entries that are needed if it is lost.
        if self
            .pending
            .iter()
            .any(|(_, pending)| matches!(pending, Pending::Change(_)))
        {
            return;
        }
        let first = self.synced.1.index.next();
        let needed = match self.view.located(first) {
            Some(entry) => entry.segment,
            // What is purged is not durably so, or nothing is left: then only the last segment counts.
            None if self.view.purged.index >= first => return,
            None => u64::MAX,
        };
        let last = self.sectors.segments.back().map_or(0, |segment| segment.number);
        self.sectors.drop_before(needed.min(last));
    }

    /// The entries from `first` to `last`, cut after `bytes_max` as [`fitting`] says, each verified.
    pub fn read(&self, first: Index, last: Index, bytes_max: usize) -> Result<Vec<Entry>, DiskError> {
        if self.state == State::Closed {
            return Err(DiskError::Closed);
        }
        if self.armed.read.take() {
            return Err(DiskError::Io);
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in first.0..=last.0 {
            let index = Index(index);
            let place = self.view.located(index).ok_or(DiskError::Missing(index))?;
            let stored = self
                .sectors
                .bytes(place.segment, place.begin as usize, place.end as usize);
            let entry = stored
                .and_then(record::entry)
                .filter(|entry| entry.id == place.id);
            let entry = entry.ok_or(DiskError::Corrupt(index))?;
            bytes += entry.payload_bytes();
            entries.push(entry);
            if bytes > bytes_max {
                break;
            }
        }
        entries.truncate(fitting(&entries, bytes_max));
        Ok(entries)
    }

    /// Forgets the entries up to and including `through`, if a durable snapshot that is in force covers them. It is
    /// durable with the next sync; until then a crash may bring them back.
    pub fn compact(&mut self, through: EntryId) {
        let in_force = self.synced.0;
        let is_covered = through.index <= in_force.index && self.snapshots.has(in_force);
        let is_new = through.index > self.view.purged.index && self.view.has(through);
        if self.state != State::Open || !is_covered || !is_new {
            return;
        }
        self.put(Kind::Purge, |out| record::put_purge(through, out));
        self.view.purge(through);
        self.pending
            .push_back((self.view.link.number, Pending::Purge(through)));
    }

    /// Saves a snapshot, durably. It is in force once a write says so.
    pub fn save_snapshot(&mut self, meta: &SnapshotMeta, content: Bytes) -> Result<(), DiskError> {
        if self.state == State::Closed {
            return Err(DiskError::Closed);
        }
        if self.armed.full {
            return Err(DiskError::Full);
        }
        if std::mem::take(&mut self.armed.write) {
            return Err(DiskError::Io);
        }
        self.snapshots.save(self.group, meta, &content);
        self.snapshots_changed();
        Ok(())
    }

    /// The snapshot whose last entry this is, verified.
    pub fn snapshot(&self, last: EntryId) -> Result<(SnapshotMeta, Bytes), Finding> {
        self.snapshots.load(self.group, last)
    }

    /// Forgets every snapshot that is older than `keep`, but for the two newest. As every snapshot store does, it trusts
    /// its caller that none of those is needed.
    pub fn remove_snapshots_older(&mut self, keep: EntryId) {
        self.snapshots.remove_older(self.group, keep);
        self.snapshots_changed();
    }

    /// Which snapshots there are matters only if another one than that in force may be needed.
    fn snapshots_changed(&mut self) {
        let in_force = self.durable.snapshot.last;
        let is_there = in_force == EntryId::ZERO || self.snapshots.has(in_force);
        if self.health != Health::Intact || !is_there {
            self.durable = self.judge_disk().image();
        }
    }

    /// What survives a loss of power right now for sure. It is what [`Storage::open`] would find then.
    #[must_use]
    pub fn durable(&self) -> &LogImage {
        &self.durable
    }

    /// Whether everything is recoverable that was ever synced. Once a process was told by [`Storage::open`] that
    /// something is lost, and has made durable what it makes of that, the disks are whole again: what is lost is the
    /// process's to mend.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.health == Health::Intact
    }

    /// Makes the disk report an error.
    pub fn arm(&mut self, fault: Fault) {
        match fault {
            Fault::Eio => self.armed.write = true,
            Fault::EioOnRead => self.armed.read.set(true),
        }
    }

    /// Takes back what is armed.
    pub fn disarm(&mut self) {
        self.armed.write = false;
        self.armed.read.set(false);
    }

    /// Makes the disk full, or gives it room again.
    pub fn full(&mut self, is_full: bool) {
        self.armed.full = is_full;
    }

    fn check_open(&self) -> Result<(), DiskError> {
        match self.state {
            State::Open => Ok(()),
            State::Failed => Err(DiskError::Failed),
            State::Closed => Err(DiskError::Closed),
        }
    }
}
