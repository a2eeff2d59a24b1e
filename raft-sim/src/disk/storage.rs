//! The disks of one node, as its process uses them.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::{Entry, fitting};
use raft_core::message::SnapshotMeta;
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::{EntryId, GroupId, Index};

use super::damage::Spoilt;
use super::error::{DiskError, Finding};
use super::image::{self, LogImage};
use super::mark::{Mark, Promise};
use super::record::{self, Base, EntryPlace, Kind, Link};
use super::recovery::{Judged, Verdict, judge};
use super::sectors::{SECTOR_BYTES, Sectors};
use super::snapshots::Snapshots;
use super::view::{Located, LogView};
use crate::random::Random;

/// The disks of one node: its log and its snapshots.
#[derive(Debug)]
pub struct Storage {
    group: GroupId,
    pub(super) sectors: Sectors,
    pub(super) mark: Mark,
    pub(super) snapshots: Snapshots,
    view: LogView,
    /// What was written and is not durable, with the numbers of the records.
    pending: VecDeque<(u64, Pending)>,
    /// The sync under way.
    syncing: Option<SyncMark>,
    durable: LogImage,
    state: State,
    health: Health,
    pub(super) spoilt: Spoilt,
    armed: Armed,
    /// The next record begins a segment.
    needs_segment: bool,
    /// Memory that is used again and again: a record, and the places of its entries in it.
    record: Vec<u8>,
    places: Vec<EntryPlace>,
}

/// What a process finds when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Everything that was durable is there.
    Sound(Recovered),
    /// Something that was durable is missing or damaged. What is left is sound, and says that something was lost.
    Suspect(Recovered, Finding),
    /// What is left is not enough to start from: the disks must be wiped.
    Refused(Finding),
}

/// A moment up to which a sync makes durable what was written.
#[derive(Clone, Copy, Debug)]
pub struct SyncMark {
    epoch: u64,
    promise: Promise,
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
struct Armed {
    write: bool,
    read: Cell<bool>,
    full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A write failed.
    Failed,
    Closed,
}

/// Whether what was durable still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Intact,
    /// The process does not know it yet.
    Damaged,
    /// The process knows, and has made nothing durable since.
    Reported,
}

#[derive(Debug)]
enum Pending {
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
            state: State::Open,
            health: Health::Intact,
            spoilt: Spoilt::default(),
            armed: Armed::default(),
            needs_segment: true,
            record: Vec::new(),
            places: Vec::new(),
        }
    }

    /// A process starts: reads every sector and verifies everything. What is found is durable from here on.
    pub fn open(&mut self) -> Opened {
        let epoch = self.sectors.end_epoch();
        self.sectors.sync(epoch);
        self.pending.clear();
        self.syncing = None;
        self.disarm();
        self.mark.reopen();
        let judged = judge(self.group, &self.sectors, self.mark.read(), &self.snapshots);
        self.needs_segment = true;
        self.durable = judged.image();
        let recovered = judged.recovered();
        let (health, opened) = match judged.verdict {
            Verdict::Sound => (Health::Intact, Opened::Sound(recovered)),
            Verdict::Suspect(finding) => (Health::Reported, Opened::Suspect(recovered, finding)),
            Verdict::Refused(finding) => {
                self.state = State::Closed;
                self.health = Health::Damaged;
                return Opened::Refused(finding);
            }
        };
        self.sectors.keep_first(judged.segments);
        self.view = judged.view;
        self.state = State::Open;
        if health == Health::Intact {
            // Both copies are whole after this.
            for _ in 0..2 {
                self.mark.write(&self.promise());
            }
        }
        self.settle(health);
        opened
    }

    /// A process knows all that can be known: `health`, unless the disk holds less than the cache.
    fn settle(&mut self, health: Health) {
        if self.sectors.astray.is_empty() {
            self.health = health;
            self.spoilt = Spoilt::default();
        } else {
            self.health = Health::Damaged;
            self.durable = self.judge_disk().image();
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
        if std::mem::take(&mut self.armed.write) {
            self.state = State::Failed;
            return Err(DiskError::Io);
        }
        self.pending
            .push_back((self.view.link.number, Pending::Change(change.clone())));
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
        self.sectors.begin_segment();
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
        while self
            .pending
            .front()
            .is_some_and(|(number, _)| *number <= mark.promise.link.number)
        {
            match self.pending.pop_front() {
                Some((_, Pending::Change(change))) => self.durable.apply(&change),
                Some((_, Pending::Purge(through))) => self.durable.compact(through),
                None => {}
            }
        }
        match self.health {
            Health::Intact => {}
            Health::Reported => {
                // The other copy may be damaged.
                self.mark.write(&mark.promise);
                self.health = Health::Intact;
                self.spoilt = Spoilt::default();
            }
            Health::Damaged => self.durable = self.judge_disk().image(),
        }
        self.drop_segments();
        Ok(())
    }

    /// What a sync that begins now makes durable.
    fn promise(&self) -> Promise {
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
        let first = self.durable.purged.index.next();
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
        let in_force = self.durable.snapshot.last;
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
        Ok(())
    }

    /// The snapshot whose last entry this is, verified.
    pub fn snapshot(&self, last: EntryId) -> Result<(SnapshotMeta, Bytes), Finding> {
        self.snapshots.load(self.group, last)
    }

    /// Forgets every snapshot that is older than `keep`, but for the two newest and the one in force.
    pub fn remove_snapshots_older(&mut self, keep: EntryId) {
        let in_force = [self.durable.snapshot.last, self.view.snapshot.last];
        self.snapshots.remove_older(keep, &in_force);
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

    /// The power is lost: each unsynced sector is kept, lost or torn.
    pub fn crash(&mut self, random: &mut Random) {
        if let Some(mark) = self.syncing.take()
            && self.state == State::Open
            && random.percent(50)
        {
            self.crash_in_mark(&mark, random);
        }
        self.sectors.crash(random);
        self.pending.clear();
        self.state = State::Closed;
        self.reassess();
    }

    /// The power is lost in the second half of a sync: the log is durable, and the watermark is being written.
    fn crash_in_mark(&mut self, mark: &SyncMark, random: &mut Random) {
        self.sectors.sync(mark.epoch);
        self.mark.write(&mark.promise);
        let (slot, before) = self.mark.before;
        let torn = random.position(SECTOR_BYTES + 1);
        self.mark.slots[slot][torn..].copy_from_slice(&before[torn..]);
    }

    /// Finds out what is recoverable, after what is on the disk has changed.
    pub(super) fn reassess(&mut self) {
        let judged = self.judge_disk();
        let image = judged.image();
        let is_whole = matches!(judged.verdict, Verdict::Sound) && image.covers(&self.durable);
        self.health = match self.health {
            Health::Damaged => Health::Damaged,
            health if is_whole => health,
            _ => Health::Damaged,
        };
        self.durable = image;
    }

    fn judge_disk(&self) -> Judged {
        let disk = self.sectors.on_disk();
        judge(self.group, &disk, self.mark.read(), &self.snapshots)
    }

    /// Whether no process has the disks open: what they hold is in no cache.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Nothing is left, and the process that knew of it is gone.
    pub(super) fn wipe(&mut self) {
        *self = Storage {
            state: State::Closed,
            health: Health::Damaged,
            ..Storage::new(self.group)
        };
    }
}
