//! What the end of raft-engine's newest file shows, to be looked at before raft-engine does.
//!
//! In the only mode that opens after a crash, raft-engine takes the first record of its newest file that does not fit for the
//! torn tail, and cuts the file there, however much stands behind it. But what a crash can leave is much less, because
//! this crate syncs every record before it writes the next one, and because the file is zero behind its last record:
//! - at most one record is unfinished, and it is the last one. A whole record behind one that is not: damage;
//! - sectors of that record are missing, and a missing sector reads as zeros. A record that has no sector of zeros was
//!   written completely. If its checksum does not fit: damage;
//! - the header of a record that lies in one sector is there or not. If it is there and makes no sense: damage (R77).
//!
//! What is left is taken for a torn write and cut, by raft-engine. A record in which a whole sector was wiped, or that
//! happens to have a sector of zeros and another flaw, cannot be told from a torn one; neither can a file that was cut
//! at the end of a record. That is what the watermark is for.
//!
//! The format is that of raft-engine 0.4 (version 2 of its files): a file header, then records of
//! `length << 8 | compression (8) · offset of the footer (8) · [entries · CRC-32] · footer · CRC-32 xor file number`, the
//! first two big-endian. A file with another header is left to raft-engine, which refuses it.

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const FILE_VERSION: u64 = 2;
/// The magic bytes, a version and an alignment.
const FILE_HEADER_BYTES: usize = MAGIC.len() + 16;
const RECORD_HEADER_BYTES: usize = 16;
const SECTOR_BYTES: usize = 512;
/// More than any batch has: raft-engine takes entries of 2 GiB into one.
const BATCH_BYTES_MAX: u64 = 1 << 32;

/// What of the file with this number cannot be what a crash left.
pub(crate) fn damage(bytes: &[u8], number: u64) -> Option<String> {
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    match header(bytes) {
        FileHeader::Known => {}
        // A file that was begun and not used: its header is durable before the first record is written.
        FileHeader::Broken if used <= FILE_HEADER_BYTES => return None,
        FileHeader::Broken => {
            return Some(String::from(
                "its header is damaged, and there is something behind it",
            ));
        }
        FileHeader::Other => return None,
    }
    let mut at = FILE_HEADER_BYTES;
    loop {
        match record(bytes, at, number) {
            Found::Whole(end) => at = end,
            Found::Nothing | Found::Broken { .. } if used <= at => return None,
            broken => return broken_record(&bytes[..bytes.len().min(used + 4)], bytes, at, number, &broken),
        }
    }
}

enum FileHeader {
    Known,
    Broken,
    /// Of another version, or with aligned records.
    Other,
}

fn header(bytes: &[u8]) -> FileHeader {
    if bytes.len() < FILE_HEADER_BYTES || !bytes.starts_with(MAGIC) {
        return FileHeader::Broken;
    }
    let (version, alignment) = (word(bytes, MAGIC.len()), word(bytes, MAGIC.len() + 8));
    match (version, alignment) {
        (FILE_VERSION, 0) => FileHeader::Known,
        _ => FileHeader::Other,
    }
}

/// What stands at some place of a file.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A whole record, which ends before this place.
    Whole(usize),
    /// The file ends, or the header is zero: the record was never begun, or its first sector is missing.
    Nothing,
    /// Something else; if the header makes sense, the record ends before that place.
    Broken { end: Option<usize> },
}

fn record(bytes: &[u8], at: usize, number: u64) -> Found {
    let Some(header) = bytes.get(at..at + RECORD_HEADER_BYTES) else {
        return Found::Nothing;
    };
    if header.iter().all(|byte| *byte == 0) {
        return Found::Nothing;
    }
    let Some((footer, end)) = bounds(bytes, at) else {
        return Found::Broken { end: None };
    };
    let entries = at + RECORD_HEADER_BYTES..footer;
    let whole = ends_with_checksum(&bytes[footer..end], signature(number))
        && (entries.is_empty() || ends_with_checksum(&bytes[entries], 0));
    match whole {
        true => Found::Whole(end),
        false => Found::Broken { end: Some(end) },
    }
}

/// Where the footer of the record at `at` begins and ends, if its header makes sense.
fn bounds(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (length, compression) = (word(bytes, at) >> 8, word(bytes, at) & 0xff);
    let length = usize::try_from(length).ok()?;
    let footer = usize::try_from(word(bytes, at + 8)).ok()?;
    let end = at.checked_add(length)?;
    // Nothing is compressed here, and the header has no checksum.
    let sound = compression == 0
        && footer >= RECORD_HEADER_BYTES
        && footer.checked_add(4).is_some_and(|least| least < length)
        && end <= bytes.len();
    sound.then(|| (at + footer, end))
}

/// The number of the file is part of a footer's checksum, so that a record of another file does not pass.
fn signature(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

fn ends_with_checksum(bytes: &[u8], signature: u32) -> bool {
    let Some((content, checksum)) = bytes.split_last_chunk::<4>() else {
        return false;
    };
    crc32fast::hash(content) == u32::from_le_bytes(*checksum) ^ signature
}

/// What shows that what is broken at `at` is no torn write. `used` ends at most four bytes behind the last byte that is not
/// zero: somewhere there the last record ends, since its checksum may end in zeros.
fn broken_record(used: &[u8], bytes: &[u8], at: usize, number: u64, broken: &Found) -> Option<String> {
    let behind = (at + 1..used.len().saturating_sub(RECORD_HEADER_BYTES))
        .find(|&place| matches!(record(bytes, place, number), Found::Whole(_)));
    if let Some(behind) = behind {
        return Some(format!(
            "the record at byte {at} does not fit its checksum, and there is a whole one behind it, at byte {behind}"
        ));
    }
    let Found::Broken { end } = *broken else {
        return None;
    };
    if has_whole_footer(used, bytes, at, number) || ends_where_it_says(used, bytes, at) {
        return Some(format!(
            "the header of the last record, at byte {at}, does not fit what is there"
        ));
    }
    match end {
        Some(end) if !misses_a_sector(bytes, at, end) => Some(format!(
            "the last record, at byte {at}, does not fit its checksum, and no part of it is missing"
        )),
        None if header_is_there(bytes, at) && !goes_on_behind(bytes, at) => Some(format!(
            "the header of the last record, at byte {at}, makes no sense"
        )),
        _ => None,
    }
}

/// Whether a whole footer begins where the header at `at` says and ends where the file does, with nothing missing before it: the
/// record has another length than the header says.
fn has_whole_footer(used: &[u8], bytes: &[u8], at: usize, number: u64) -> bool {
    let footer = usize::try_from(word(used_header(used, at), 8)).ok();
    let Some(begin) = footer.and_then(|footer| at.checked_add(footer)) else {
        return false;
    };
    (used.len().saturating_sub(4)..=used.len()).any(|end| {
        let footer = used.get(begin..end);
        footer.is_some_and(|footer| {
            ends_with_checksum(footer, signature(number))
                && header_is_there(bytes, at)
                && !misses_a_sector(bytes, at + RECORD_HEADER_BYTES, begin)
        })
    })
}

/// Whether the record at `at` ends where its header says, and nothing of it is missing behind the header: a flaw in the header is
/// no missing sector then, either, even if the header begins with zeros in the sector before.
fn ends_where_it_says(used: &[u8], bytes: &[u8], at: usize) -> bool {
    let length = usize::try_from(word(used_header(used, at), 0) >> 8).ok();
    let end = length.and_then(|length| at.checked_add(length));
    end.is_some_and(|end| {
        (used.len().saturating_sub(4)..=used.len()).contains(&end)
            && at + RECORD_HEADER_BYTES < end
            && !misses_a_sector(bytes, at + RECORD_HEADER_BYTES, end)
    })
}

/// The header at `at`; zeros if the last record is shorter.
fn used_header(used: &[u8], at: usize) -> &[u8] {
    used.get(at..at + RECORD_HEADER_BYTES)
        .unwrap_or(&[0; RECORD_HEADER_BYTES])
}

/// Whether every sector that the header lies in was written, as far as that can be seen. The first three bytes of a length are
/// zero in any case.
fn header_is_there(bytes: &[u8], at: usize) -> bool {
    let end = at + RECORD_HEADER_BYTES;
    let border = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
    let is_there = |from: usize, to: usize| bytes[from..to].iter().any(|byte| *byte != 0);
    (border - at <= 3 || is_there(at, border)) && (border == end || is_there(border, end))
}

/// Whether the header at `at` is that of a record that goes on behind the end of the file: a file that was cut, or whose
/// growth was lost.
fn goes_on_behind(bytes: &[u8], at: usize) -> bool {
    let length = word(bytes, at) >> 8;
    let footer = word(bytes, at + 8);
    let in_file = (bytes.len() - at) as u64;
    length > in_file && length < BATCH_BYTES_MAX && footer >= RECORD_HEADER_BYTES as u64 && footer < length
}

/// Whether a part of a sector within `[at, end)` is all zeros.
fn misses_a_sector(bytes: &[u8], at: usize, end: usize) -> bool {
    let mut begin = at;
    while begin < end {
        let next = ((begin / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        if bytes[begin..next].iter().all(|byte| *byte == 0) {
            return true;
        }
        begin = next;
    }
    false
}

/// The caller has checked the length.
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use raft_engine::{Config, Engine, LogBatch, ReadableSize};

    use super::*;
    use crate::log::message::{Record, Records};

    /// A file of raft-engine with `records` records, each a value or an entry of `bytes` bytes, and where each begins; zeros
    /// follow.
    fn file(records: u64, bytes: usize, entries: bool) -> (Vec<u8>, Vec<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            dir: dir.path().to_str().unwrap().to_owned(),
            batch_compression_threshold: ReadableSize(0),
            enable_log_recycle: false,
            ..Config::default()
        };
        let engine = Engine::open(config).unwrap();
        let mut begins = Vec::new();
        let mut at = FILE_HEADER_BYTES;
        for number in 0..records {
            let mut batch = LogBatch::default();
            if entries {
                let mut header = [0x5a; 36];
                header[16..24].copy_from_slice(&(number + 1).to_le_bytes());
                let record = Record::new(header, vec![0xa5; bytes].into());
                batch.add_entries::<Records>(1, &[record]).unwrap();
            } else {
                batch.put(1, vec![number as u8], vec![0xa5; bytes]).unwrap();
            }
            begins.push(at);
            at += engine.write(&mut batch, true).unwrap();
        }
        let mut content = std::fs::read(dir.path().join("0000000000000001.raftlog")).unwrap();
        content.truncate(at + 4096);
        (content, begins)
    }

    #[test]
    fn records_and_the_zeros_behind_them_are_understood() {
        let (content, begins) = file(10, 700, true);
        for (begin, next) in begins.iter().zip(&begins[1..]) {
            assert_eq!(record(&content, *begin, 1), Found::Whole(*next));
            assert!(
                matches!(record(&content, *begin, 2), Found::Broken { .. }),
                "of another file"
            );
        }
        assert_eq!(damage(&content, 1), None);
        assert_eq!(damage(&content[..begins[9]], 1), None, "a file that was closed");
    }

    /// R77: damage is no torn tail, wherever the bit is.
    #[test]
    fn every_flipped_bit_is_damage() {
        for entries in [false, true] {
            let (content, begins) = file(3, 200, entries);
            let end = begins[2] + (begins[2] - begins[1]);
            // raft-engine refuses other versions and alignments by itself, or reads them.
            for bit in (0..MAGIC.len() * 8).chain(FILE_HEADER_BYTES * 8..end * 8) {
                let mut damaged = content.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    damage(&damaged, 1).is_some(),
                    "bit {bit} of {}, {entries}",
                    end * 8
                );
            }
        }
    }

    /// Numbers that no file can be as long as.
    #[test]
    fn a_header_that_points_nowhere_is_damage() {
        let (content, begins) = file(2, 700, true);
        for at in begins {
            for word in [at, at + 8] {
                for value in [u64::MAX, u64::MAX << 1, 1 << 63, u64::MAX >> 8 << 8] {
                    let mut damaged = content.clone();
                    damaged[word..word + 8].copy_from_slice(&value.to_be_bytes());
                    assert!(damage(&damaged, 1).is_some(), "{value:#x} at {word}");
                }
            }
        }
    }

    /// A file as raft-engine would write it, number 1: two records with entries and a footer of these lengths, then zeros;
    /// and where the records begin, and the second one ends.
    fn made(lengths: [(usize, usize); 2]) -> (Vec<u8>, [usize; 3]) {
        let mut content = [MAGIC, &FILE_VERSION.to_be_bytes(), &[0; 8]].concat();
        let mut places = [content.len(), 0, 0];
        for (record, (entries, footer)) in lengths.into_iter().enumerate() {
            let with_checksum = |byte: u8, length: usize, signature: u32| {
                let bytes = vec![byte; length];
                let checksum = crc32fast::hash(&bytes) ^ signature;
                [&bytes[..], &checksum.to_le_bytes()].concat()
            };
            let entries = with_checksum(0xa5, entries, 0);
            let footer = with_checksum(0x5a, footer, 1);
            let begin = (RECORD_HEADER_BYTES + entries.len()) as u64;
            let length = begin + footer.len() as u64;
            content.extend((length << 8).to_be_bytes());
            content.extend(begin.to_be_bytes());
            content.extend(entries);
            content.extend(footer);
            places[record + 1] = content.len();
        }
        content.resize(content.len() + 2000, 0);
        (content, places)
    }

    /// The last record at some offsets within a sector, and at all where its header or its footer's checksum lies in two sectors.
    fn made_at_offsets() -> impl Iterator<Item = (Vec<u8>, [usize; 3])> {
        let files = (0..SECTOR_BYTES).map(|shift| (shift, made([(900 + shift, 30), (1100, 40)])));
        files.filter_map(|(shift, (content, places))| {
            let is_split = places[1] % SECTOR_BYTES > SECTOR_BYTES - 20 || places[2] % SECTOR_BYTES < 6;
            (is_split || shift % 16 == 0).then_some((content, places))
        })
    }

    /// The last record, without every combination of its sectors, and cut everywhere: a crash can leave each of
    /// them, so none may stop a store from opening.
    #[test]
    fn missing_sectors_of_the_last_record_are_a_torn_write() {
        for (content, [first, begin, end]) in made_at_offsets() {
            assert_eq!(damage(&content, 1), None);
            let sectors: Vec<usize> = (begin / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES).collect();
            for missing in 1_u32..1 << sectors.len() {
                let mut torn = content.clone();
                for (place, sector) in sectors.iter().enumerate() {
                    if missing & (1 << place) != 0 {
                        let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
                        torn[from.max(begin)..to.min(end)].fill(0);
                    }
                }
                assert_eq!(damage(&torn, 1), None, "{missing:b} at {begin}");
            }
            for cut in (begin..end).filter(|cut| cut % 97 == 0 || *cut < begin + 20 || *cut > end - 20) {
                assert_eq!(damage(&content[..cut], 1), None, "cut at {cut} from {begin}");
            }
            // The same in the first record is none.
            let mut damaged = content;
            damaged[first + 100..first + 700].fill(0);
            assert!(damage(&damaged, 1).unwrap().contains("a whole one behind it"));
        }
    }

    /// R77: a flipped bit. The one place where it looks like a torn write is a header that lies in
    /// two sectors.
    #[test]
    fn flipped_bits_are_damage_wherever_the_last_record_begins() {
        let mut unnoticed = 0;
        for (content, [_, begin, end]) in made_at_offsets() {
            let header = (begin..begin + RECORD_HEADER_BYTES).flat_map(|at| (0..8).map(move |bit| (at, bit)));
            let rest = (begin + RECORD_HEADER_BYTES..end)
                .step_by(41)
                .map(|at| (at, at % 8));
            for (at, bit) in header.chain(rest) {
                let mut damaged = content.clone();
                damaged[at] ^= 1 << bit;
                if damage(&damaged, 1).is_none() {
                    let border = (begin / SECTOR_BYTES + 1) * SECTOR_BYTES;
                    let in_header = at < begin + RECORD_HEADER_BYTES && border < begin + RECORD_HEADER_BYTES;
                    assert!(in_header, "bit {bit} of byte {at}, record at {begin}");
                    unnoticed += 1;
                }
            }
        }
        println!("{unnoticed} flipped bits of headers in two sectors were not noticed");
        assert!(unnoticed < 300, "{unnoticed}");
    }
}
