//! What was applied at what time: the bytes of the file of times, and what is found in them. Pure: it knows no files.
//!
//! Records of 20 bytes: milliseconds since 1970 (8, little-endian), applied index (8), CRC-32C of both (4). Times never fall from
//! one record to the next, and indexes rise.

use raft_core::types::Index;
use thiserror::Error;

pub(crate) const RECORD_BYTES: usize = 20;

/// At this time the node had applied everything up to this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// The last applied index.
    pub applied: Index,
}

impl Moment {
    pub(crate) fn encode(self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..8].copy_from_slice(&self.unix_ms.to_le_bytes());
        record[8..16].copy_from_slice(&self.applied.0.to_le_bytes());
        let checksum = crc32c::crc32c(&record[..16]);
        record[16..].copy_from_slice(&checksum.to_le_bytes());
        record
    }

    fn decode(record: &[u8]) -> Option<Moment> {
        let number = |part: &[u8]| Some(u64::from_le_bytes(part.try_into().ok()?));
        let checksum = u32::from_le_bytes(record.get(16..RECORD_BYTES)?.try_into().ok()?);
        (crc32c::crc32c(&record[..16]) == checksum).then_some(Moment {
            unix_ms: number(&record[..8])?,
            applied: Index(number(&record[8..16])?),
        })
    }

    fn may_follow(&self, before: Option<&Moment>) -> bool {
        before.is_none_or(|before| before.unix_ms <= self.unix_ms && before.applied < self.applied)
    }
}

/// Records that cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How many good records precede them.
    place: usize,
    /// Where in the file they begin.
    pub at: usize,
}

/// What a file of times says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// What can be believed, in order.
    pub list: Vec<Moment>,
    /// Where something between cannot be.
    pub damages: Vec<Damage>,
    /// How many bytes the file has up to its last record.
    pub(crate) bytes: usize,
}

/// What was applied at a time is not known, because a record of it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the record at byte {at} is damaged")]
pub struct NotKnown {
    /// Where the record is.
    pub at: usize,
    /// The last record before it.
    pub before: Option<Moment>,
    /// The first one after it.
    pub after: Option<Moment>,
}

impl Moments {
    /// Reads the bytes of a file. Only an incomplete last record is taken for what a crash left (R77): less than 20 bytes, or 20 that
    /// are 0 and only these, since each is on the disk before the next is written. What else cannot be believed is noted.
    #[must_use]
    pub fn decode(contents: &[u8]) -> Moments {
        let mut moments = Moments::default();
        let records = contents.chunks_exact(RECORD_BYTES);
        let count = records.len();
        let mut follows_nothing = false;
        for (number, record) in records.enumerate() {
            let at = number * RECORD_BYTES;
            let is_nothing = record == [0; RECORD_BYTES];
            let is_torn = is_nothing && number + 1 == count && !follows_nothing;
            follows_nothing = is_nothing;
            match Moment::decode(record) {
                None if is_torn => break,
                Some(moment) if moment.may_follow(moments.list.last()) => moments.list.push(moment),
                _ => moments.note_damage(at),
            }
            moments.bytes = at + RECORD_BYTES;
        }
        moments
    }

    fn note_damage(&mut self, at: usize) {
        let place = self.list.len();
        if self.damages.last().is_none_or(|last| last.place != place) {
            self.damages.push(Damage { place, at });
        }
    }

    /// The last moment at or before `unix_ms`; none if that is before all of them.
    pub fn find(&self, unix_ms: u64) -> Result<Option<Moment>, NotKnown> {
        let after = self.list.partition_point(|moment| moment.unix_ms <= unix_ms);
        let before = after.checked_sub(1).and_then(|before| self.list.get(before));
        match self.damages.iter().find(|damage| damage.place == after) {
            // Exactly then is known, whatever follows it.
            Some(damage) if before.is_none_or(|before| before.unix_ms < unix_ms) => Err(NotKnown {
                at: damage.at,
                before: before.copied(),
                after: self.list.get(after).copied(),
            }),
            _ => Ok(before.copied()),
        }
    }

    /// The first moment by which `index` was applied; none if it was not.
    #[must_use]
    pub fn applied(&self, index: Index) -> Option<Moment> {
        let at = self.list.partition_point(|moment| moment.applied < index);
        self.list.get(at).copied()
    }

    /// What an older file is thinned out to: of the older half every second record goes, but no damaged one, and none beside such a one:
    /// what is not known is the same before and after.
    pub(crate) fn thinned(&self, contents: &[u8]) -> Vec<u8> {
        let records = contents
            .chunks_exact(RECORD_BYTES)
            .take(self.bytes / RECORD_BYTES);
        let half = records.len() / 2;
        let mut last = None;
        let is_good = |record: &[u8]| match Moment::decode(record) {
            Some(moment) if moment.may_follow(last.as_ref()) => {
                last = Some(moment);
                true
            }
            _ => false,
        };
        let good: Vec<bool> = records.clone().map(is_good).collect();
        let is_beside_damage = |number: usize| {
            let first = number.saturating_sub(1);
            good.iter().skip(first).take(number + 2 - first).any(|good| !good)
        };
        let kept = records
            .enumerate()
            .filter(|(number, _)| *number >= half || number % 2 == 0 || is_beside_damage(*number));
        kept.flat_map(|(_, record)| record.to_vec()).collect()
    }
}
