//! What may happen to sectors, beside the loss of power.
//!
//! One rule keeps a loss from being unnoticeable: between two starts of a process, only one of the two places where a
//! node remembers is damaged, the log or the watermark. If both were hit, the log could be cut and the watermark that
//! would tell could be taken back to the cut; no store can notice that.

use raft_core::types::EntryId;

use super::sectors::{Content, Place, SECTOR_BYTES};
use super::storage::Storage;
use crate::random::Random;

/// Something that goes wrong with what was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Bits of a sector of the log, or of the watermark, flip.
    BitRot,
    /// Sectors that were synced lately never reached the disk. While the machine has power nobody notices.
    LostWrite,
    /// A sector was written over another one, and not where it belongs.
    Misdirected,
    /// The last synced sector ends with other bytes.
    TornTail,
    /// The last synced sectors are gone.
    CutTail,
    /// A sector has what it had before.
    StaleSector,
    /// Bits of a snapshot flip.
    SnapshotRot,
    /// Everything is gone.
    Wipe,
}

/// What was damaged since a process last started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spoilt {
    log: bool,
    mark: bool,
}

impl Spoilt {
    pub(super) fn is_any(self) -> bool {
        self.log || self.mark
    }
}

/// How many synced sectors an error at the end of the log reaches.
const TAIL_SECTORS: usize = 8;

impl Storage {
    /// Damages something, if there is something to be damaged; returns what, for people. The disks of a stopped node
    /// can be damaged, and those of a running one: then the cache hides some of it until the power is lost.
    pub fn damage(&mut self, damage: Damage, random: &mut Random) -> Option<String> {
        let hits_mark = self.spoilt.mark || (!self.spoilt.log && random.percent(15));
        let what = match damage {
            Damage::BitRot if hits_mark => self.rot_mark(random),
            Damage::LostWrite if hits_mark => self.lose_mark(),
            Damage::SnapshotRot => return self.rot_snapshot(random),
            Damage::Wipe => {
                self.wipe();
                return Some(String::from("everything is gone"));
            }
            _ if self.spoilt.mark => return None,
            Damage::BitRot => self.rot(random)?,
            Damage::LostWrite => self.lose_writes(random)?,
            Damage::Misdirected => self.misdirect(random)?,
            Damage::TornTail => self.tear_tail(random)?,
            Damage::CutTail => self.cut_tail(random)?,
            Damage::StaleSector => self.make_stale(random)?,
        };
        self.reassess();
        Some(what)
    }

    fn rot_mark(&mut self, random: &mut Random) -> String {
        self.spoilt.mark = true;
        let slot = random.position(2);
        flip(&mut self.mark.slots[slot], random);
        format!("bits of copy {slot} of the watermark flipped")
    }

    fn lose_mark(&mut self) -> String {
        self.spoilt.mark = true;
        let (slot, before) = self.mark.before;
        self.mark.slots[slot] = before;
        format!("the last write of copy {slot} of the watermark was lost")
    }

    fn rot_snapshot(&mut self, random: &mut Random) -> Option<String> {
        let names = self.snapshots.names();
        let last: EntryId = *random.one_of(&names)?;
        self.snapshots.alter(last, |bytes| flip(bytes, random));
        self.reassess();
        Some(format!("bits of the snapshot at {last} flipped"))
    }

    fn rot(&mut self, random: &mut Random) -> Option<String> {
        let place = *random.one_of(&self.sectors.synced())?;
        self.spoilt.log = true;
        // The same bits, wherever the content of the sector is held.
        let bits = random.clone();
        self.sectors
            .alter(place, |content| flip(content, &mut bits.clone()));
        random.next_u64();
        Some(format!("bits of {} flipped", name(place)))
    }

    fn lose_writes(&mut self, random: &mut Random) -> Option<String> {
        let count = 1 + random.position(TAIL_SECTORS);
        let latest: Vec<(Place, Content)> = self
            .sectors
            .history
            .iter()
            .rev()
            .take(count)
            .map(|former| (former.place, former.content))
            .collect();
        let all = random.percent(50);
        let mut lost = 0;
        // From the newest: what was written in several syncs goes back to before the first of them.
        for (place, content) in latest {
            if self.sectors.content(place).is_some() && (all || lost == 0 || random.percent(50)) {
                self.spoil(place, content);
                lost += 1;
            }
        }
        (lost > 0).then(|| format!("{lost} of the last writes of sectors were lost"))
    }

    fn misdirect(&mut self, random: &mut Random) -> Option<String> {
        let places = self.sectors.synced();
        let (from, to) = (*random.one_of(&places)?, *random.one_of(&places)?);
        if from == to {
            return None;
        }
        let mut content: Content = [0; SECTOR_BYTES];
        content.copy_from_slice(self.sectors.content(from)?);
        self.spoil(to, content);
        let before = self
            .sectors
            .history
            .iter()
            .rev()
            .find(|former| former.place == from);
        if let Some(before) = before.map(|former| former.content) {
            self.spoil(from, before);
        }
        Some(format!(
            "what belongs to {} was written to {}",
            name(from),
            name(to)
        ))
    }

    fn tear_tail(&mut self, random: &mut Random) -> Option<String> {
        let place = *self.sectors.synced().last()?;
        let mut content: Content = [0; SECTOR_BYTES];
        content.copy_from_slice(self.sectors.content(place)?);
        let kept = random.position(SECTOR_BYTES);
        let noise = random.next_u64() as u8;
        for byte in &mut content[kept..] {
            *byte ^= noise | 1;
        }
        self.spoil(place, content);
        Some(format!("{} is torn at byte {kept}", name(place)))
    }

    fn cut_tail(&mut self, random: &mut Random) -> Option<String> {
        let places = self.sectors.synced();
        let count = 1 + random.position(places.len().min(TAIL_SECTORS));
        let first = places.len().checked_sub(count)?;
        for place in &places[first..] {
            self.spoil(*place, [0; SECTOR_BYTES]);
        }
        Some(format!("the last {count} sectors of the log are gone"))
    }

    fn make_stale(&mut self, random: &mut Random) -> Option<String> {
        let position = random.position(self.sectors.history.len());
        let former = self.sectors.history.get(position)?.clone();
        self.sectors.content(former.place)?;
        self.spoil(former.place, former.content);
        Some(format!("{} has what it had before", name(former.place)))
    }

    /// Makes the disk hold something else in a sector. While the machine has power, its cache hides that.
    fn spoil(&mut self, place: Place, content: Content) {
        self.spoilt.log = true;
        if self.is_closed() {
            self.sectors
                .alter(place, |sector| sector.copy_from_slice(&content));
        } else {
            self.sectors.lead_astray(place, content);
        }
    }
}

/// Flips up to four bits somewhere.
fn flip(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let position = random.position(bytes.len());
        if let Some(byte) = bytes.get_mut(position) {
            *byte ^= 1 << random.below(8);
        }
    }
}

fn name(place: Place) -> String {
    format!("sector {} of segment {} of the log", place.sector, place.segment)
}
