//! The medium: sectors in segments, what of them is durable, and what a loss of power makes of the rest.
//!
//! A segment is an extent that is only ever appended to, and thrown away whole. Reads see the cache of the operating
//! system. What the disk itself holds differs from it in two kinds of sectors: those that are not synced yet, and those
//! whose synced write went astray. For each of these the content of the disk is kept beside the cached one; everything
//! else is held once.

use std::collections::VecDeque;

use crate::random::Random;

/// The size of a sector. Appends touch few of these, and records end anywhere within them.
pub(super) const SECTOR_BYTES: usize = 512;
/// When a new segment begins.
const SEGMENT_BYTES: usize = 32 << 10;
/// How many former contents of synced sectors are remembered.
const HISTORY_MAX: usize = 64;

/// The bytes of a sector.
pub(super) type Content = [u8; SECTOR_BYTES];

/// The place of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) sector: usize,
}

/// What a sector held before it was written.
#[derive(Clone, Debug)]
pub(super) struct Former {
    pub(super) place: Place,
    pub(super) epoch: u64,
    pub(super) content: Content,
}

/// An extent of sectors.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Whole sectors.
    pub(super) bytes: Vec<u8>,
    /// Where the next record goes.
    pub(super) end: usize,
}

/// The sectors of a log.
///
/// Invariants:
/// - the numbers of the segments are contiguous;
/// - `dirty` is ordered by epoch, has a sector at most once in each, and the oldest of a sector is what the disk holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Sectors {
    pub(super) segments: VecDeque<Segment>,
    /// What sectors held before they were written, for those that are not synced.
    pub(super) dirty: VecDeque<Former>,
    /// What sectors held before they were synced, the latest last.
    pub(super) history: VecDeque<Former>,
    /// What the disk holds in sectors whose synced write went astray.
    pub(super) astray: Vec<Former>,
    epoch: u64,
    next_segment: u64,
    /// A segment's memory, for the next one.
    spare: Vec<u8>,
}

impl Sectors {
    /// Whether the last segment has room for a record.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.segments
            .back()
            .is_some_and(|segment| segment.end + bytes <= SEGMENT_BYTES)
    }

    /// Begins a segment; returns its number.
    pub(super) fn begin_segment(&mut self) -> u64 {
        self.segments.push_back(Segment {
            number: self.next_segment,
            bytes: std::mem::take(&mut self.spare),
            end: 0,
        });
        self.next_segment += 1;
        self.next_segment - 1
    }

    /// Appends to the last segment, in the cache; returns the segment's number and where the bytes begin in it.
    pub(super) fn append(&mut self, bytes: &[u8]) -> (u64, usize) {
        let (epoch, astray) = (self.epoch, &mut self.astray);
        let segment = self.segments.back_mut().expect("a segment was begun");
        let begin = segment.end;
        let end = begin + bytes.len();
        let (first, last) = (begin / SECTOR_BYTES, (end - 1) / SECTOR_BYTES);
        for sector in first..=last {
            let place = Place {
                segment: segment.number,
                sector,
            };
            // Appends go forward: only the last sector that was written can be written again.
            let is_dirty = |former: &Former| former.place == place && former.epoch == epoch;
            if self.dirty.back().is_some_and(is_dirty) {
                continue;
            }
            let mut former = Former {
                place,
                epoch,
                content: [0; SECTOR_BYTES],
            };
            if let Some(content) = segment
                .bytes
                .get(sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES)
            {
                former.content.copy_from_slice(content);
            }
            if let Some(position) = astray.iter().position(|lost| lost.place == place) {
                former.content = astray.swap_remove(position).content;
            }
            self.dirty.push_back(former);
        }
        segment
            .bytes
            .resize(segment.bytes.len().max((last + 1) * SECTOR_BYTES), 0);
        segment.bytes[begin..end].copy_from_slice(bytes);
        segment.end = end;
        (segment.number, begin)
    }

    /// The bytes of a part of a segment.
    pub(super) fn bytes(&self, segment: u64, begin: usize, end: usize) -> Option<&[u8]> {
        let segment = &self.segments[self.position(segment)?];
        segment.bytes.get(begin..end)
    }

    fn position(&self, segment: u64) -> Option<usize> {
        let front = self.segments.front()?.number;
        let position = usize::try_from(segment.checked_sub(front)?).ok()?;
        (position < self.segments.len()).then_some(position)
    }

    /// What the cache holds in a sector.
    pub(super) fn content(&mut self, place: Place) -> Option<&mut [u8]> {
        let position = self.position(place.segment)?;
        let begin = place.sector * SECTOR_BYTES;
        self.segments[position].bytes.get_mut(begin..begin + SECTOR_BYTES)
    }

    /// Ends an epoch: what is written from now on is not part of a sync that begins now.
    pub(super) fn end_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch - 1
    }

    /// Makes durable what was written up to the end of `epoch`.
    pub(super) fn sync(&mut self, epoch: u64) {
        while self.dirty.front().is_some_and(|former| former.epoch <= epoch) {
            let former = self.dirty.pop_front().expect("the loop saw it");
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(former);
        }
    }

    /// Throws away the segments before this one.
    pub(super) fn drop_before(&mut self, number: u64) {
        while self
            .segments
            .front()
            .is_some_and(|segment| segment.number < number)
        {
            let mut bytes = self.segments.pop_front().expect("the loop saw it").bytes;
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Throws away all segments but the first ones.
    pub(super) fn keep_first(&mut self, count: usize) {
        self.segments.truncate(count);
        if let Some(last) = self.segments.back() {
            self.next_segment = last.number + 1;
        }
        let next = self.next_segment;
        self.history.retain(|former| former.place.segment < next);
        self.astray.retain(|former| former.place.segment < next);
    }

    /// The power is lost. Each unsynced sector was written or not, or in part, whatever became of the others.
    pub(super) fn crash(&mut self, random: &mut Random) {
        // Sometimes nearly everything was written, sometimes nearly nothing.
        let kept_percent = [0, 10, 50, 90, 100][random.position(5)];
        let mut dirty = std::mem::take(&mut self.dirty);
        // From the newest: each step back leads to an older content of the sector.
        while let Some(former) = dirty.pop_back() {
            if random.percent(kept_percent) {
                continue;
            }
            let torn_at = if random.percent(25) {
                random.position(SECTOR_BYTES)
            } else {
                0
            };
            let is_beginning_new = random.percent(50);
            let Some(content) = self.content(former.place) else {
                continue;
            };
            let torn = if is_beginning_new {
                torn_at..SECTOR_BYTES
            } else {
                0..SECTOR_BYTES - torn_at
            };
            content[torn.clone()].copy_from_slice(&former.content[torn]);
        }
        self.lose_astray();
    }

    /// What the disk itself holds, as if the power were lost now and nothing unsynced had been written.
    pub(super) fn on_disk(&self) -> Sectors {
        let mut disk = Sectors {
            segments: self.segments.clone(),
            next_segment: self.next_segment,
            astray: self.astray.clone(),
            ..Sectors::default()
        };
        for former in self.dirty.iter().rev() {
            if let Some(content) = disk.content(former.place) {
                content.copy_from_slice(&former.content);
            }
        }
        disk.lose_astray();
        disk
    }

    /// The cache is gone, and with it what had not reached the disk although it was synced.
    fn lose_astray(&mut self) {
        for former in std::mem::take(&mut self.astray) {
            if let Some(content) = self.content(former.place) {
                content.copy_from_slice(&former.content);
            }
        }
    }

    /// Makes it so that the synced content of a sector never reached the disk, which holds `content` instead.
    pub(super) fn lead_astray(&mut self, place: Place, content: Content) {
        if let Some(oldest) = self.dirty.iter_mut().find(|former| former.place == place) {
            oldest.content = content;
        } else {
            self.astray.retain(|former| former.place != place);
            self.astray.push(Former {
                place,
                epoch: 0,
                content,
            });
        }
    }

    /// Changes what is durable in a sector, on the disk and in the cache.
    pub(super) fn alter(&mut self, place: Place, mut alter: impl FnMut(&mut [u8])) {
        if let Some(content) = self.content(place) {
            alter(content);
        }
        let kept = self.dirty.iter_mut().chain(&mut self.astray);
        for former in kept.filter(|former| former.place == place) {
            alter(&mut former.content);
        }
    }

    /// The sectors that hold something synced, in order.
    pub(super) fn synced(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for segment in &self.segments {
            let sectors = segment.bytes.len() / SECTOR_BYTES;
            places.extend((0..sectors).map(|sector| Place {
                segment: segment.number,
                sector,
            }));
        }
        // What is dirty only because it was never written before is not durable.
        let is_new = |former: &&Former| former.content == [0; SECTOR_BYTES];
        let mut unsynced: Vec<Place> = self
            .dirty
            .iter()
            .filter(is_new)
            .map(|former| former.place)
            .collect();
        unsynced.sort_unstable();
        places.retain(|place| unsynced.binary_search(place).is_err());
        places
    }
}
