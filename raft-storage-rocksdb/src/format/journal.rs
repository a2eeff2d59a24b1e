//! The bytes of the journal: records in sectors, the head of a segment, and the slots of the control file.
//!
//! # A record
//!
//! A record is a header and a body (see [`batch`](super::batch)), cut into pieces of 504 bytes. Each piece
//! goes into a sector of 512 bytes behind a stamp:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | the low half of the record's sequence number |
//! | 4 | CRC-32C of the store's id and of these four bytes |
//! | 504 | a piece of the record; the last one ends with zeros |
//!
//! The header:
//!
//! | bytes | field |
//! |---|---|
//! | 1 + 3 | version, 1, and zeros |
//! | 4 | length of the body |
//! | 8 | sequence number: counts the records of a store |
//! | 8 | chain value of the record before it |
//! | 8 | chain value of this record: XXH3-64 over the body, seeded with the one before |
//! | 4 | CRC-32C of the above |
//!
//! The stamps are what makes the end of a journal a matter of fact. A disk that loses power while it writes a record
//! has written any of its sectors and not the others; a sector itself is written or not. So each sector of the last
//! record carries the record's stamp, or it still is what it was before: zeros, or the stamp of an older record (segments are
//! used again). A record with such a sector was never whole, hence never acknowledged: it is torn. A record all of
//! whose sectors have arrived and whose hash is wrong was whole once: it is damaged, wherever it stands (R77).
//!
//! # The head of a segment
//!
//! One sector: `RFTSEGM` and version 1 (8 bytes); then 8 bytes each: store id, number of the segment, size of the
//! file, size of a twin slot, sequence number of the first record, chain value before it; CRC-32C (4). At 4 KiB follow the two
//! twin slots, then the records.
//!
//! # A slot of the control file
//!
//! `RFTCTRL` and version 1 (8 bytes); then 8 bytes each: sequence number of the slot, store id, first and last segment, a
//! sequence number up to which every record was acknowledged, how often the store was opened, and which of these openings ended
//! regularly last; CRC-32C (4).
//!
//! # A slot of the file that counts openings
//!
//! `RFTOPEN` and version 1 (8 bytes); then 8 bytes each: sequence number of the slot, and the count; CRC-32C (4).
//!
//! All integers are little-endian.

use twox_hash::XxHash3_64;

use super::record::{u32_at, u64_at};

/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// Where the twin slots of a segment begin.
pub(crate) const TWINS_AT: u64 = 4096;
pub(crate) const VERSION: u8 = 1;

const STAMP_BYTES: usize = 8;
const PIECE_BYTES: usize = SECTOR_BYTES - STAMP_BYTES;
const HEADER_BYTES: usize = 36;
const HEADER_CHECKSUM_AT: usize = 32;
const SEGMENT_MAGIC: [u8; 7] = *b"RFTSEGM";
const SEGMENT_HEAD_BYTES: usize = 60;
const CONTROL_MAGIC: [u8; 7] = *b"RFTCTRL";
/// The part of a control slot that says something.
pub(crate) const CONTROL_BYTES: usize = 68;
const OPENINGS_MAGIC: [u8; 7] = *b"RFTOPEN";
const OPENINGS_BYTES: usize = 28;

/// Where the journal stands between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The sequence number of the record that comes next; the first one ever is 1.
    pub(crate) next: u64,
    /// The chain value of the record before it.
    pub(crate) chain: u64,
}

/// What stands where a record is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The record, verified: its body, the bytes it takes on disk, and the place after it.
    Whole {
        body: Vec<u8>,
        disk_bytes: usize,
        after: Place,
    },
    /// At least one of its sectors never arrived; with `some`, another one did.
    Torn { some: bool },
    /// It was whole once, and is not any more.
    Damaged(String),
}

/// What one sector says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Never written.
    Empty,
    /// A piece of the record with this low half of a sequence number.
    Of(u32),
    /// Neither.
    Damaged,
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) store: u64,
    pub(crate) number: u64,
    pub(crate) file_bytes: u64,
    pub(crate) twin_bytes: u64,
    /// What the first record follows.
    pub(crate) begin: Place,
}

/// The content of the control file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    /// Names this journal: what stands in the files of another one never passes for a part of it.
    pub(crate) store: u64,
    pub(crate) first_segment: u64,
    pub(crate) last_segment: u64,
    /// Every record up to this sequence number was acknowledged.
    pub(crate) durable: u64,
    /// How often the store was opened.
    pub(crate) openings: u64,
    /// The last opening that ended as it should.
    pub(crate) closed: u64,
}

/// Why a head or a slot is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    Version(u8),
    Damaged,
}

impl SegmentHead {
    /// Where the records begin.
    pub(crate) fn records_at(&self) -> u64 {
        TWINS_AT + 2 * self.twin_bytes
    }

    /// Where the twin of record `sequence` stands: neighbours take turns.
    pub(crate) fn twin_at(&self, sequence: u64) -> u64 {
        TWINS_AT + (sequence % 2) * self.twin_bytes
    }

    pub(crate) fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let words = [
            self.store,
            self.number,
            self.file_bytes,
            self.twin_bytes,
            self.begin.next,
            self.begin.chain,
        ];
        seal(&mut sector[..SEGMENT_HEAD_BYTES], SEGMENT_MAGIC, &words);
        sector
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHead, HeadError> {
        let head = unseal(bytes.get(..SEGMENT_HEAD_BYTES), SEGMENT_MAGIC)?;
        let word = |position: usize| u64_at(head, 8 + 8 * position);
        let head = SegmentHead {
            store: word(0),
            number: word(1),
            file_bytes: word(2),
            twin_bytes: word(3),
            begin: Place {
                next: word(4),
                chain: word(5),
            },
        };
        let sane = head.twin_bytes.is_multiple_of(SECTOR_BYTES as u64)
            && head.twin_bytes < 1 << 40
            && head.records_at() <= head.file_bytes;
        if sane { Ok(head) } else { Err(HeadError::Damaged) }
    }
}

impl Control {
    pub(crate) fn encode(&self, sequence: u64) -> [u8; CONTROL_BYTES] {
        let mut slot = [0; CONTROL_BYTES];
        let words = [
            sequence,
            self.store,
            self.first_segment,
            self.last_segment,
            self.durable,
            self.openings,
            self.closed,
        ];
        seal(&mut slot, CONTROL_MAGIC, &words);
        slot
    }

    /// The slot's sequence number and content.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, Control), HeadError> {
        let slot = unseal(bytes.get(..CONTROL_BYTES), CONTROL_MAGIC)?;
        let word = |position: usize| u64_at(slot, 8 + 8 * position);
        let control = Control {
            store: word(1),
            first_segment: word(2),
            last_segment: word(3),
            durable: word(4),
            openings: word(5),
            closed: word(6),
        };
        Ok((word(0), control))
    }
}

pub(crate) fn encode_openings(sequence: u64, count: u64) -> [u8; OPENINGS_BYTES] {
    let mut slot = [0; OPENINGS_BYTES];
    seal(&mut slot, OPENINGS_MAGIC, &[sequence, count]);
    slot
}

/// The slot's sequence number, and how often the store was opened.
pub(crate) fn decode_openings(bytes: &[u8]) -> Result<(u64, u64), HeadError> {
    let slot = unseal(bytes.get(..OPENINGS_BYTES), OPENINGS_MAGIC)?;
    Ok((u64_at(slot, 8), u64_at(slot, 16)))
}

fn seal(out: &mut [u8], magic: [u8; 7], words: &[u64]) {
    out[..7].copy_from_slice(&magic);
    out[7] = VERSION;
    let checksum_at = out.len() - 4;
    for (place, word) in out[8..checksum_at].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&out[..checksum_at]);
    out[checksum_at..].copy_from_slice(&checksum.to_le_bytes());
}

fn unseal(bytes: Option<&[u8]>, magic: [u8; 7]) -> Result<&[u8], HeadError> {
    let bytes = bytes.ok_or(HeadError::Damaged)?;
    let checksum_at = bytes.len() - 4;
    if !bytes.starts_with(&magic) || crc32c::crc32c(&bytes[..checksum_at]) != u32_at(bytes, checksum_at) {
        return Err(HeadError::Damaged);
    }
    match bytes[7] {
        VERSION => Ok(bytes),
        other => Err(HeadError::Version(other)),
    }
}

/// The low half of a sequence number, as it stands in stamps.
pub(crate) fn low(sequence: u64) -> u32 {
    (sequence & u64::from(u32::MAX)) as u32
}

/// Whether `stamp` is of a later record than `sequence`, in a file of `sectors` sectors: it has room for so many records and not
/// more. What is left of older records looks far ahead when the low half of the numbers has begun again.
pub(crate) fn is_later(stamp: u32, sequence: u64, sectors: usize) -> bool {
    let ahead = stamp.wrapping_sub(low(sequence));
    ahead != 0 && usize::try_from(ahead).is_ok_and(|ahead| ahead <= sectors)
}

fn stamp_checksum(store: u64, sequence: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&store.to_le_bytes()), &sequence.to_le_bytes())
}

/// What the first bytes of `sector`, which has [`SECTOR_BYTES`], say.
pub(crate) fn stamp(store: u64, sector: &[u8]) -> Stamp {
    let sequence = u32_at(sector, 0);
    if stamp_checksum(store, sequence) == u32_at(sector, 4) {
        return Stamp::Of(sequence);
    }
    if sector.iter().all(|byte| *byte == 0) {
        return Stamp::Empty;
    }
    Stamp::Damaged
}

/// The bytes that a record with a body of `body_bytes` takes on disk.
pub(crate) fn disk_bytes(body_bytes: usize) -> usize {
    (HEADER_BYTES + body_bytes).div_ceil(PIECE_BYTES) * SECTOR_BYTES
}

/// Replaces `out` by the sectors of the record with `body` that follows `place`; returns the place after it.
pub(crate) fn encode_record(store: u64, place: Place, body: &[u8], out: &mut Vec<u8>) -> Place {
    let length = u32::try_from(body.len()).expect("limits keep a batch below 4 GiB");
    let chain = XxHash3_64::oneshot_with_seed(place.chain, body);
    let mut header = [0; HEADER_BYTES];
    header[0] = VERSION;
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&place.next.to_le_bytes());
    header[16..24].copy_from_slice(&place.chain.to_le_bytes());
    header[24..32].copy_from_slice(&chain.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..HEADER_CHECKSUM_AT]);
    header[HEADER_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());

    let mut stamp = [0; STAMP_BYTES];
    stamp[..4].copy_from_slice(&low(place.next).to_le_bytes());
    stamp[4..].copy_from_slice(&stamp_checksum(store, low(place.next)).to_le_bytes());
    out.clear();
    out.reserve(disk_bytes(body.len()));
    let (in_first, rest) = body.split_at(body.len().min(PIECE_BYTES - HEADER_BYTES));
    out.extend_from_slice(&stamp);
    out.extend_from_slice(&header);
    out.extend_from_slice(in_first);
    for piece in rest.chunks(PIECE_BYTES) {
        out.extend_from_slice(&stamp);
        out.extend_from_slice(piece);
    }
    out.resize(disk_bytes(body.len()), 0);
    Place {
        next: place.next + 1,
        chain,
    }
}

/// Looks for the record that follows `place` at the beginning of `bytes`, which end where the file or the slot does.
pub(crate) fn decode_record(store: u64, place: Place, bytes: &[u8]) -> Found {
    let Some(first) = bytes.get(..SECTOR_BYTES) else {
        return Found::Torn { some: false };
    };
    let expected = Stamp::Of(low(place.next));
    match stamp(store, first) {
        found if found == expected => {}
        Stamp::Empty | Stamp::Of(_) => {
            // The others may have arrived without the first one; how many there should be is not known then.
            let some = bytes
                .chunks_exact(SECTOR_BYTES)
                .any(|sector| stamp(store, sector) == expected);
            return Found::Torn { some };
        }
        Stamp::Damaged => return Found::Damaged(String::from("its first sector is no sector of a journal")),
    }
    let header = &first[STAMP_BYTES..STAMP_BYTES + HEADER_BYTES];
    if crc32c::crc32c(&header[..HEADER_CHECKSUM_AT]) != u32_at(header, HEADER_CHECKSUM_AT) {
        return Found::Damaged(String::from("the checksum of its header is wrong"));
    }
    let (sequence, previous, chain) = (u64_at(header, 8), u64_at(header, 16), u64_at(header, 24));
    if header[0] != VERSION {
        return Found::Damaged(format!("its format version {} is unknown", header[0]));
    }
    if (sequence, previous) != (place.next, place.chain) {
        return Found::Damaged(String::from(
            "it does not continue the chain of the record before it",
        ));
    }
    let body_bytes = u32_at(header, 4) as usize;
    let Some(sectors) = bytes.get(..disk_bytes(body_bytes)) else {
        return Found::Damaged(String::from("it is longer than its place"));
    };
    let mut body = Vec::with_capacity(body_bytes);
    for (position, sector) in sectors.chunks_exact(SECTOR_BYTES).enumerate() {
        match stamp(store, sector) {
            found if found == expected => {}
            Stamp::Empty | Stamp::Of(_) => return Found::Torn { some: true },
            Stamp::Damaged => {
                return Found::Damaged(format!("its sector {position} is no sector of a journal"));
            }
        }
        let skipped = if position == 0 { HEADER_BYTES } else { 0 };
        let piece = &sector[STAMP_BYTES + skipped..];
        let wanted = piece.len().min(body_bytes - body.len());
        body.extend_from_slice(&piece[..wanted]);
    }
    if XxHash3_64::oneshot_with_seed(previous, &body) != chain {
        return Found::Damaged(String::from("its hash is wrong"));
    }
    Found::Whole {
        disk_bytes: sectors.len(),
        body,
        after: Place {
            next: sequence + 1,
            chain,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: u64 = 0x5eed;
    const PLACE: Place = Place { next: 9, chain: 77 };

    fn record(body: &[u8]) -> (Vec<u8>, Place) {
        let mut sectors = Vec::new();
        let after = encode_record(STORE, PLACE, body, &mut sectors);
        (sectors, after)
    }

    fn body(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|position| (position % 251) as u8).collect()
    }

    #[test]
    fn a_record_comes_back_at_every_length() {
        for bytes in [0, 1, 467, 468, 469, 971, 972, 973, 5000] {
            let (mut sectors, after) = record(&body(bytes));
            assert_eq!(sectors.len(), disk_bytes(bytes));
            sectors.extend_from_slice(&[0; 1024]);
            let expected = Found::Whole {
                body: body(bytes),
                disk_bytes: disk_bytes(bytes),
                after,
            };
            assert_eq!(decode_record(STORE, PLACE, &sectors), expected, "{bytes} bytes");
        }
    }

    /// R77: any subset of the sectors of a record is torn, never damaged, and never whole.
    #[test]
    fn a_record_of_which_a_sector_is_missing_is_torn() {
        let (sectors, _) = record(&body(1800));
        let count = sectors.len() / SECTOR_BYTES;
        assert_eq!(count, 4);
        let (stale, _) = {
            let mut out = Vec::new();
            let after = encode_record(STORE, Place { next: 5, chain: 1 }, &body(1800), &mut out);
            (out, after)
        };
        for before in [vec![0; sectors.len()], stale] {
            for arrived in 0..(1_u32 << count) - 1 {
                let mut disk = before.clone();
                for sector in (0..count).filter(|sector| arrived & (1 << sector) != 0) {
                    let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                    disk[range.clone()].copy_from_slice(&sectors[range]);
                }
                let found = decode_record(STORE, PLACE, &disk);
                assert_eq!(found, Found::Torn { some: arrived != 0 }, "sectors {arrived:b}");
            }
        }
    }

    /// R77: a flipped bit in a record that had arrived is damage, wherever it is.
    #[test]
    fn a_flipped_bit_is_damage_and_never_a_torn_record() {
        let (sectors, _) = record(&body(700));
        for bit in 0..sectors.len() * 8 {
            let mut damaged = sectors.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let padding = bit / 8 >= 512 + 8 + (700 - 468);
            match decode_record(STORE, PLACE, &damaged) {
                Found::Damaged(_) => assert!(!padding, "bit {bit}"),
                Found::Whole { .. } => assert!(padding, "bit {bit}"),
                torn @ Found::Torn { .. } => panic!("bit {bit}: {torn:?}"),
            }
        }
    }

    #[test]
    fn a_record_of_another_store_or_place_does_not_pass() {
        let (sectors, _) = record(&body(700));
        assert!(matches!(decode_record(1, PLACE, &sectors), Found::Damaged(_)));
        let later = Place { next: 10, ..PLACE };
        assert_eq!(decode_record(STORE, later, &sectors), Found::Torn { some: false });
        let other = Place { chain: 78, ..PLACE };
        assert!(matches!(decode_record(STORE, other, &sectors), Found::Damaged(_)));
        for bytes in 0..sectors.len() {
            assert!(!matches!(
                decode_record(STORE, PLACE, &sectors[..bytes]),
                Found::Whole { .. }
            ));
        }
    }

    #[test]
    fn later_is_a_matter_of_distance() {
        assert!(is_later(10, 9, 100) && !is_later(9, 9, 100) && !is_later(8, 9, 100));
        assert!(is_later(1, u64::from(u32::MAX), 100), "the low half begins again");
        assert!(!is_later(u32::MAX, 1 << 32, 100));
        assert!(!is_later(1 << 31, 9, 100), "a residue of very long ago");
    }

    #[test]
    fn heads_and_slots_come_back_and_notice_every_flipped_bit() {
        let head = SegmentHead {
            store: STORE,
            number: 3,
            file_bytes: 1 << 20,
            twin_bytes: 4096,
            begin: PLACE,
        };
        let control = Control {
            store: STORE,
            first_segment: 2,
            last_segment: 3,
            durable: 8,
            openings: 4,
            closed: 3,
        };
        let (sector, slot) = (head.encode(), control.encode(7));
        assert_eq!(SegmentHead::decode(&sector), Ok(head));
        assert_eq!(Control::decode(&slot), Ok((7, control)));
        assert_eq!(decode_openings(&encode_openings(5, 9)), Ok((5, 9)));
        assert_eq!(decode_openings(&slot), Err(HeadError::Damaged));
        assert_eq!(SegmentHead::decode(&sector[..59]), Err(HeadError::Damaged));
        assert_eq!(Control::decode(&slot[..67]), Err(HeadError::Damaged));
        for bit in 0..SEGMENT_HEAD_BYTES * 8 {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHead::decode(&damaged),
                Err(HeadError::Damaged),
                "bit {bit}"
            );
        }
        for bit in 0..CONTROL_BYTES * 8 {
            let mut damaged = slot;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Control::decode(&damaged), Err(HeadError::Damaged), "bit {bit}");
        }
    }
}
