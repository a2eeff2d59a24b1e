//! What a disk may still forget of one file: pure, without a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The unit that a disk writes as a whole, in bytes.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// What a sector held before each write since it was synced, oldest first.
type Versions = Vec<Vec<u8>>;

/// What happened to a file since it was last synced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unsynced {
    /// The size that survives in any case.
    durable_size: u64,
    /// The smallest size that it had since.
    smallest_size: u64,
    /// The sectors that were written since.
    sectors: BTreeMap<u64, Versions>,
    /// The sectors that were dirty when a sync failed. As on Linux, a later sync does not write them.
    abandoned: BTreeMap<u64, Versions>,
}

/// What is left of a file after a loss of power.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) size: u64,
    /// The sectors that have an earlier content again.
    pub(crate) restored: Vec<(u64, Vec<u8>)>,
}

/// The sectors that `bytes` bytes from `offset` on touch.
pub(crate) fn sectors_of(offset: u64, bytes: u64) -> std::ops::Range<u64> {
    let end = offset.saturating_add(bytes).div_ceil(SECTOR_BYTES);
    (offset / SECTOR_BYTES).min(end)..end
}

impl Unsynced {
    /// A file of `size` bytes, all of it durable.
    pub(crate) fn durable(size: u64) -> Unsynced {
        Unsynced {
            durable_size: size,
            smallest_size: size,
            ..Unsynced::default()
        }
    }

    /// Whether a loss of power changes nothing about a file that has `size` bytes now.
    pub(crate) fn is_clean(&self, size: u64) -> bool {
        let sizes = [self.durable_size, self.smallest_size];
        sizes == [size; 2] && self.sectors.is_empty() && self.abandoned.is_empty()
    }

    /// The sectors from `first` on are about to be overwritten; `old` is what they hold, zeros behind the file's end.
    pub(crate) fn overwrite(&mut self, first: u64, old: &[u8]) {
        for (sector, content) in (first..).zip(old.chunks(SECTOR_BYTES as usize)) {
            let before = self.abandoned.remove(&sector).unwrap_or_default();
            let versions = self.sectors.entry(sector).or_insert(before);
            versions.push(content.to_vec());
        }
    }

    /// The file has `size` bytes from now on.
    pub(crate) fn resize(&mut self, size: u64) {
        self.smallest_size = self.smallest_size.min(size);
    }

    /// Everything is durable; the file has `size` bytes.
    pub(crate) fn sync(&mut self, size: u64) {
        self.sectors.clear();
        self.durable_size = size;
        self.smallest_size = size;
    }

    /// A write of its own is durable (`O_DSYNC`): these sectors, and the size that it needs.
    pub(crate) fn sync_sectors(&mut self, sectors: std::ops::Range<u64>, end: u64) {
        for sector in sectors {
            self.sectors.remove(&sector);
        }
        if end > self.durable_size {
            self.durable_size = end;
        }
        self.smallest_size = self.smallest_size.max(self.durable_size);
    }

    /// A sync failed: what was dirty is clean now for the kernel, and on the disk or not.
    pub(crate) fn fail_sync(&mut self) {
        for (sector, mut versions) in std::mem::take(&mut self.sectors) {
            self.abandoned.entry(sector).or_default().append(&mut versions);
        }
    }

    /// Loses power: what is left of a file that has `size` bytes now.
    pub(crate) fn lose(&self, size: u64, random: &mut Random) -> Leftover {
        let left = self.choose_size(size, random);
        // Half of the time a file grows only over what was written, as with ordered data.
        let ordered = random.chance(50);
        let lost_percent = [0, 10, 50, 90, 100][random.below(5) as usize];
        let mut restored = Vec::new();
        for (sector, versions) in self.sectors.iter().chain(&self.abandoned) {
            let begin = sector * SECTOR_BYTES;
            if begin >= left {
                continue;
            }
            // A truncation that did not happen after all has zeroed nothing.
            let cut = begin >= size;
            let appended = begin >= self.durable_size;
            if !cut && (appended && ordered || !random.chance(lost_percent)) {
                continue;
            }
            // The first version is what was durable; those after it may have reached the disk as well.
            let version = match cut || random.chance(75) {
                true => 0,
                false => random.below(versions.len() as u64) as usize,
            };
            if let Some(content) = versions.get(version) {
                restored.push((*sector, content.clone()));
            }
        }
        Leftover { size: left, restored }
    }

    fn choose_size(&self, size: u64, random: &mut Random) -> u64 {
        match random.below(4) {
            0 => self.durable_size,
            1 => self.smallest_size,
            2 if size > self.durable_size => self.durable_size + random.below(size - self.durable_size + 1),
            _ => size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lose_often(file: &Unsynced, size: u64) -> Vec<Leftover> {
        (0..200)
            .map(|seed| file.lose(size, &mut Random::new(seed)))
            .collect()
    }

    #[test]
    fn what_is_synced_stays() {
        let mut file = Unsynced::durable(1024);
        file.overwrite(0, &[1; 1024]);
        assert!(!file.is_clean(1024));
        file.sync(1024);
        assert!(file.is_clean(1024));
        let whole = Leftover {
            size: 1024,
            restored: Vec::new(),
        };
        assert!(lose_often(&file, 1024).iter().all(|left| *left == whole));
    }

    #[test]
    fn sectors_are_lost_one_by_one_and_so_is_the_size() {
        let mut file = Unsynced::durable(1024);
        file.overwrite(1, &[7; 1024]);
        file.resize(1536);
        let left = lose_often(&file, 1536);
        for sizes in [1024..1025, 1025..1536, 1536..1537] {
            assert!(left.iter().any(|left| sizes.contains(&left.size)), "{sizes:?}");
        }
        let lost = |sectors: &[u64]| {
            let of = |left: &Leftover| {
                left.restored
                    .iter()
                    .map(|(sector, _)| *sector)
                    .collect::<Vec<_>>()
            };
            left.iter().any(|left| left.size == 1536 && of(left) == sectors)
        };
        assert!(lost(&[]) && lost(&[1]) && lost(&[2]) && lost(&[1, 2]));
    }

    #[test]
    fn a_truncation_can_be_taken_back_whole() {
        let mut file = Unsynced::durable(1024);
        file.overwrite(0, &[5; 1024]);
        file.resize(0);
        for left in lose_often(&file, 0) {
            let sectors = if left.size == 0 { 0 } else { 2 };
            assert_eq!(left.restored.len(), sectors);
            assert!(left.restored.iter().all(|(_, content)| *content == [5; 512]));
        }
    }

    #[test]
    fn what_a_failed_sync_left_is_not_synced_by_the_next_one() {
        let mut file = Unsynced::durable(512);
        file.overwrite(0, &[1; 512]);
        file.fail_sync();
        file.sync(512);
        let lost = |file: &Unsynced| lose_often(file, 512).iter().any(|left| !left.restored.is_empty());
        assert!(lost(&file));
        file.overwrite(0, &[2; 512]);
        file.sync(512);
        assert!(!lost(&file));
    }

    #[test]
    fn a_synchronous_write_is_durable_and_its_neighbour_is_not() {
        let mut file = Unsynced::durable(1024);
        file.overwrite(0, &[1; 512]);
        file.overwrite(1, &[2; 512]);
        file.sync_sectors(1..2, 1024);
        let left = lose_often(&file, 1024);
        assert!(
            left.iter()
                .all(|left| left.restored.iter().all(|(sector, _)| *sector == 0))
        );
        assert!(left.iter().any(|left| !left.restored.is_empty()));
    }

    #[test]
    fn a_write_touches_whole_sectors() {
        assert_eq!(sectors_of(0, 512), 0..1);
        assert_eq!(sectors_of(511, 2), 0..2);
        assert_eq!(sectors_of(512, 0), 1..1);
    }
}
