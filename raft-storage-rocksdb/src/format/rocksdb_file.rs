//! The framing of RocksDB's own log files (the MANIFEST, and its write-ahead logs, which stay empty), as far as one has to
//! look at it before RocksDB does.
//!
//! Such a file consists of blocks of 32 KiB, and a block of records with a header of 7 bytes: checksum (4), length (2), type
//! (1). Types 1 to 4 are the pieces of a record; 0 fills a block. Others are of features that this store does not
//! use, so they are damage. RocksDB's reader (11.8) does not get past some of them: it reads the same header again
//! for ever.

use crc32c::{crc32c, crc32c_append};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const TYPE_AT: usize = 6;
const TYPE_MAX: u8 = 4;
/// The types of a record in one piece, and of the last piece of one.
const LAST_TYPES: [u8; 2] = [1, 4];
/// RocksDB stores a checksum rotated by 15 bits, and with this added.
const MASK: u32 = 0xa282_ead8;
/// What RocksDB appends between two syncs of a MANIFEST is less: the few tables that one flush or compaction made.
const UNSYNCED_BYTES_MAX: usize = 16 << 10;

/// Where the end of a MANIFEST begins that a loss of power may have torn: right behind the last record that is whole.
/// `None` if the file ends with a whole record, or if what is wrong is so far from the end that it must have been synced.
pub(crate) fn torn_end(file: &[u8]) -> Option<usize> {
    let (mut at, mut end) = (0, 0);
    while at < file.len() {
        let left = BLOCK_BYTES - at % BLOCK_BYTES;
        if left < HEADER_BYTES {
            at += left;
            continue;
        }
        let block_end = file.len().min(at + left);
        let Some((kind, bytes)) = whole_piece(&file[at..block_end]) else {
            break;
        };
        at += bytes;
        if LAST_TYPES.contains(&kind) {
            end = at;
        }
    }
    let is_torn = at < file.len() || !is_filler(&file[end..], end);
    (is_torn && end > 0 && file.len() - end <= UNSYNCED_BYTES_MAX).then_some(end)
}

/// Whether what follows the last record is only what fills its block.
fn is_filler(rest: &[u8], at: usize) -> bool {
    rest.len() < HEADER_BYTES && (rest.is_empty() || (at + rest.len()).is_multiple_of(BLOCK_BYTES))
}

/// The type and the size of the piece at the beginning of `block`, if all of it is there.
fn whole_piece(block: &[u8]) -> Option<(u8, usize)> {
    let (header, content) = block.split_first_chunk::<HEADER_BYTES>()?;
    let [a, b, c, d, low, high, kind] = *header;
    let content = content.get(..usize::from(u16::from_le_bytes([low, high])))?;
    let expected = u32::from_le_bytes([a, b, c, d])
        .wrapping_sub(MASK)
        .rotate_left(15);
    let sum = crc32c_append(crc32c(&[kind]), content);
    ((1..=TYPE_MAX).contains(&kind) && sum == expected).then_some((kind, HEADER_BYTES + content.len()))
}

/// Where the first record stands that RocksDB must not be shown, and its type.
pub(crate) fn foreign_record(file: &[u8]) -> Option<(usize, u8)> {
    file.chunks(BLOCK_BYTES).enumerate().find_map(|(number, block)| {
        let (at, kind) = foreign_record_in(block)?;
        Some((number * BLOCK_BYTES + at, kind))
    })
}

fn foreign_record_in(block: &[u8]) -> Option<(usize, u8)> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_BYTES) {
        if header[TYPE_AT] > TYPE_MAX {
            return Some((at, header[TYPE_AT]));
        }
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        if header[TYPE_AT] == 0 && length == 0 {
            // The reader goes on with the next block.
            return None;
        }
        at += HEADER_BYTES + length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, bytes: usize) -> Vec<u8> {
        let length = u16::try_from(bytes).unwrap().to_le_bytes();
        [&[0; 4][..], &length, &[kind], &vec![9; bytes]].concat()
    }

    #[test]
    fn what_rocksdb_writes_passes_and_other_records_do_not() {
        let sound = [record(1, 10), record(2, 0), record(4, 300)].concat();
        assert_eq!(foreign_record(&sound), None);
        assert_eq!(foreign_record(&sound[..sound.len() - 5]), None, "a torn end");
        for kind in [5, 8, 9, 11, 131, 255] {
            let damaged = [&sound[..], &record(kind, 10)].concat();
            assert_eq!(foreign_record(&damaged), Some((sound.len(), kind)));
        }
        let mut second_block = record(1, 100);
        second_block.resize(BLOCK_BYTES, 0);
        second_block.extend_from_slice(&record(6, 3));
        assert_eq!(foreign_record(&second_block), Some((BLOCK_BYTES, 6)));
    }

    fn whole_record(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut record = record(kind, content.len());
        record[HEADER_BYTES..].copy_from_slice(content);
        let sum = crc32c(&record[TYPE_AT..]).rotate_right(15).wrapping_add(MASK);
        record[..4].copy_from_slice(&sum.to_le_bytes());
        record
    }

    #[test]
    fn every_tear_of_the_last_record_is_cut_off_behind_the_one_before() {
        let sound = [
            whole_record(1, b"one"),
            whole_record(2, b"two"),
            whole_record(4, b"end"),
        ]
        .concat();
        assert_eq!(torn_end(&sound), None);
        let whole = [&sound[..], &whole_record(1, &[7; 100])].concat();
        assert_eq!(torn_end(&whole), None);
        for cut in sound.len() + 1..whole.len() {
            assert_eq!(torn_end(&whole[..cut]), Some(sound.len()), "cut at {cut}");
            let mut zeroed = whole.clone();
            zeroed[cut..].fill(0);
            assert_eq!(torn_end(&zeroed), Some(sound.len()), "zeros from {cut} on");
            let mut hole = whole.clone();
            hole[sound.len()..cut].fill(0);
            assert_eq!(torn_end(&hole), Some(sound.len()), "zeros up to {cut}");
        }
        let half = [&sound[..], &whole_record(2, b"without an end")].concat();
        assert_eq!(torn_end(&half), Some(sound.len()));
    }

    /// What was synced is damaged, not torn (R77): RocksDB shall see it and refuse.
    #[test]
    fn a_flaw_far_from_the_end_is_no_tear() {
        let mut file = whole_record(1, b"first");
        let first = file.len();
        file.extend_from_slice(&whole_record(1, b"second"));
        for _ in 0..20 {
            file.extend_from_slice(&whole_record(1, &[3; 1000]));
        }
        assert_eq!(torn_end(&file), None);
        file[first + 2] ^= 1;
        assert_eq!(torn_end(&file), None);
        assert_eq!(torn_end(&file[..first + 5_000]), Some(first));
        assert_eq!(torn_end(&file[1..]), None, "nothing before it is whole");
    }

    #[test]
    fn what_fills_a_block_is_no_tear() {
        let mut file = whole_record(1, &[5; BLOCK_BYTES - HEADER_BYTES - 4]);
        assert_eq!(torn_end(&file), None);
        file.extend_from_slice(&[0; 4]);
        assert_eq!(torn_end(&file), None);
        file.extend_from_slice(&whole_record(1, b"next"));
        assert_eq!(torn_end(&file), None);
        file.pop();
        assert_eq!(torn_end(&file), Some(BLOCK_BYTES - 4));
    }

    #[test]
    fn no_bytes_panic() {
        for byte in 0..=255 {
            let _found = (foreign_record(&[byte; 100]), torn_end(&[byte; 100]));
        }
    }
}
