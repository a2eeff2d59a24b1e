//! How the disks of a node live through the ends and starts of its process, and what is known of them meanwhile.

use raft_core::traits::Recovered;

use super::damage::Spoilt;
use super::error::Finding;
use super::image::LogImage;
use super::recovery::{Judged, Verdict, judge};
use super::sectors::SECTOR_BYTES;
use super::storage::{State, Storage, SyncMark};
use crate::random::Random;

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

/// Whether what was durable still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Intact,
    /// The process does not know it yet.
    Damaged,
    /// The process knows, and has made nothing durable since.
    Reported,
}

impl Storage {
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
        self.synced = (self.view.snapshot.last, self.view.purged);
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
        self.health = health;
        if !self.sectors.astray.is_empty() {
            self.health = Health::Damaged;
            self.durable = self.judge_disk().image();
        } else if health == Health::Intact {
            self.spoilt = Spoilt::default();
        }
    }

    /// The power is lost: each unsynced sector is kept, lost or torn. Returns what the next start must find unless
    /// something is damaged (I22): what was durable, and the unsynced writes that are on the disk all the same, which may
    /// have overwritten entries.
    pub fn crash(&mut self, random: &mut Random) -> LogImage {
        if let Some(mark) = self.syncing.take()
            && self.state == State::Open
            && random.percent(50)
        {
            self.crash_in_mark(&mark, random);
        }
        self.sectors.crash(random);
        self.state = State::Closed;
        let judged = self.judge_disk();
        let kept = judged.view.link.number;
        for (number, pending) in std::mem::take(&mut self.pending) {
            if number <= kept {
                self.make_durable(&pending);
            }
        }
        if !matches!(judged.verdict, Verdict::Sound) {
            self.health = Health::Damaged;
        }
        std::mem::replace(&mut self.durable, judged.image())
    }

    /// The power is lost in the second half of a sync: the log is durable, and the watermark is being written.
    fn crash_in_mark(&mut self, mark: &SyncMark, random: &mut Random) {
        self.sectors.sync(mark.epoch);
        self.mark.write(&mark.promise);
        let (slot, before) = self.mark.before;
        let torn = random.position(SECTOR_BYTES + 1);
        self.mark.slots[slot][torn..].copy_from_slice(&before[torn..]);
    }

    /// Finds out what is recoverable after something was damaged.
    pub(super) fn reassess(&mut self) {
        let judged = self.judge_disk();
        let image = judged.image();
        if !matches!(judged.verdict, Verdict::Sound) || image != self.durable {
            self.health = Health::Damaged;
        }
        self.durable = image;
    }

    pub(super) fn judge_disk(&self) -> Judged {
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
