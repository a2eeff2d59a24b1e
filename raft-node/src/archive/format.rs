//! The bytes of a segment: a run of entries. Pure: it knows no files.
//!
//! Numbers are little-endian. A file begins with a header of [`HEADER_BYTES`]:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | `raftseg` and the version of the format |
//! | 8 | 8 | the number of the group |
//! | 16 | 20 | the place that it begins behind: term (8) and index (8) of the entry there, 0 for an unknown term, and the checksum (4) of the history up to there |
//! | 36 | 20 | the place that it ends at, in the same form |
//! | 56 | 8 | how many bytes of entries follow |
//! | 64 | 4 | the CRC-32C of all that |
//!
//! Each entry follows as: term (8), index (8), kind of the payload (1), its length (4), the payload as the log stores have it, and the
//! checksum (4) of the history up to here: the CRC-32C of all entries without their checksums, from where the history begins,
//! which is the first segment or one behind a gap. So a segment fits only behind the one that it was written after, and an
//! entry only where it is.

use std::ops::Range;

use bytes::{Buf, Bytes};
use raft_core::entry::Entry;
use raft_core::types::{EntryId, GroupId, Index, Term};
use raft_core::wire::{decode_payload, encode_payload, payload_kind};
use thiserror::Error;

/// What a segment begins with, before the version.
const MAGIC: &[u8; 7] = b"raftseg";
/// The version that is written and read.
const VERSION: u8 = 2;
/// How long the header is.
pub(crate) const HEADER_BYTES: usize = 68;
const PLACE_BYTES: usize = 20;
/// What precedes the payload of an entry.
const HEAD_BYTES: usize = 21;
pub(crate) const CHECKSUM_BYTES: usize = 4;
const SUFFIX: &str = ".entries";

/// A place in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The entry there. Its term is 0 if it is not known.
    pub(crate) id: EntryId,
    /// The checksum of the history up to and including it.
    pub(crate) checksum: u32,
}

impl Place {
    /// Where a history begins behind the entry `id`.
    pub(crate) fn beginning(id: EntryId) -> Place {
        Place { id, checksum: 0 }
    }

    /// Whether a history begins anew here: what precedes it was damaged or is in no file.
    pub(crate) fn is_beginning(self) -> bool {
        self.checksum == 0
    }

    /// Whether what begins here continues what ends at `end`.
    pub(crate) fn continues(self, end: Place) -> bool {
        let has_its_term = self.id.term == end.id.term || self.id.term == Term::ZERO;
        self == end || self.is_beginning() && self.id.index == end.id.index && has_its_term
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.term.0.to_le_bytes());
        out.extend_from_slice(&self.id.index.0.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    fn decode(mut bytes: &[u8]) -> Place {
        Place {
            id: EntryId::new(Term(bytes.get_u64_le()), Index(bytes.get_u64_le())),
            checksum: bytes.get_u32_le(),
        }
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) group: GroupId,
    /// What it begins behind.
    pub(crate) begin: Place,
    /// Its last entry.
    pub(crate) end: Place,
    /// How many bytes its entries take.
    pub(crate) entries_bytes: u64,
}

/// What is wrong with a segment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum SegmentFault {
    #[error("it is empty")]
    Empty,
    #[error("it does not begin as a segment does")]
    NoSegment,
    #[error("it has version {0} of the format, and this program reads version {VERSION}")]
    Version(u8),
    #[error("it ends at byte {0}, within its header")]
    NoHeader(usize),
    #[error("the checksum of its header, bytes 0 to {HEADER_BYTES}, is wrong")]
    Header,
    #[error("its header contradicts itself: it would hold the entries behind {begin} up to {end}")]
    Senseless { begin: Index, end: Index },
    #[error("it is of group {found}, not of group {expected}")]
    Group { found: GroupId, expected: GroupId },
    #[error("it should be called {0}")]
    Name(String),
    #[error("it is {found} bytes long and should be {expected}")]
    Length { found: u64, expected: u64 },
    #[error("at byte {at} it ends in the middle of entry {index}")]
    Cut { at: usize, index: Index },
    #[error("the checksum of entry {index}, at byte {at}, is wrong")]
    Checksum { at: usize, index: Index },
    #[error("at byte {at} is entry {found}, where one with index {expected} belongs")]
    Order {
        at: usize,
        found: EntryId,
        expected: Index,
    },
    #[error("entry {index}, at byte {at}, says nothing: {reason}")]
    Payload { at: usize, index: Index, reason: String },
    #[error("its entries end at {found} and not at {expected}, as its header says")]
    End { found: EntryId, expected: EntryId },
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it and {0} do not continue each other: one of them is of another history")]
    Seam(String),
    #[error("it holds entries that {0} holds, too")]
    Overlap(String),
}

impl Header {
    /// The first entry that it holds.
    pub(crate) fn first(&self) -> Index {
        self.begin.id.index.next()
    }

    /// How its file is called: by the first index, the last index, and the term of the last entry.
    pub(crate) fn name(&self) -> String {
        name(self.first(), self.end.id)
    }

    /// How long its file is.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.entries_bytes.saturating_add(HEADER_BYTES as u64)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.group.0.to_le_bytes());
        self.begin.encode(&mut out);
        self.end.encode(&mut out);
        out.extend_from_slice(&self.entries_bytes.to_le_bytes());
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads the header that `bytes` begin with.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, SegmentFault> {
        if bytes.is_empty() {
            return Err(SegmentFault::Empty);
        }
        if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) {
            return Err(SegmentFault::NoSegment);
        }
        if let Some(version) = bytes.get(MAGIC.len()).filter(|version| **version != VERSION) {
            return Err(SegmentFault::Version(*version));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(SegmentFault::NoHeader(bytes.len()));
        };
        let (body, mut checksum) = bytes.split_at(HEADER_BYTES - CHECKSUM_BYTES);
        if crc32c::crc32c(body) != checksum.get_u32_le() {
            return Err(SegmentFault::Header);
        }
        let mut rest = &body[MAGIC.len() + 1..];
        let group = GroupId(rest.get_u64_le());
        let (begin, rest) = rest.split_at(PLACE_BYTES);
        let (end, mut rest) = rest.split_at(PLACE_BYTES);
        let header = Header {
            group,
            begin: Place::decode(begin),
            end: Place::decode(end),
            entries_bytes: rest.get_u64_le(),
        };
        let (begin, end) = (header.begin.id.index, header.end.id.index);
        match begin < end {
            true => Ok(header),
            false => Err(SegmentFault::Senseless { begin, end }),
        }
    }
}

fn name(first: Index, last: EntryId) -> String {
    format!("{:020}-{:020}-{:020}{SUFFIX}", first.0, last.index.0, last.term.0)
}

/// What the name of a file says: its first index and its last entry; none if it is not one that a segment has.
pub(crate) fn parse_name(text: &str) -> Option<(Index, EntryId)> {
    let mut numbers = text.strip_suffix(SUFFIX)?.split('-').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (first, last, term) = (Index(next()?), Index(next()?), Term(next()?));
    let last = EntryId::new(term, last);
    (Index::ZERO < first && first <= last.index && name(first, last) == text).then_some((first, last))
}

/// The segment of `entries`, which continue each other and `begin`, and are not empty.
pub(crate) fn encode(group: GroupId, begin: Place, entries: &[Entry]) -> (Header, Vec<u8>) {
    let payloads: usize = entries.iter().map(Entry::payload_bytes).sum();
    let mut out = vec![0; HEADER_BYTES];
    out.reserve(payloads + entries.len() * 64);
    let mut end = begin;
    for entry in entries {
        let start = out.len();
        out.extend_from_slice(&entry.id.term.0.to_le_bytes());
        out.extend_from_slice(&entry.id.index.0.to_le_bytes());
        out.push(payload_kind(&entry.payload));
        out.extend_from_slice(&[0; 4]);
        encode_payload(&entry.payload, &mut out);
        let length = out.len() - start - HEAD_BYTES;
        let length = u32::try_from(length).expect("an entry is far smaller than 4 GiB");
        out[start + HEAD_BYTES - 4..start + HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        end = Place {
            id: entry.id,
            checksum: crc32c::crc32c_append(end.checksum, &out[start..]),
        };
        out.extend_from_slice(&end.checksum.to_le_bytes());
    }
    let header = Header {
        group,
        begin,
        end,
        entries_bytes: (out.len() - HEADER_BYTES) as u64,
    };
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    (header, out)
}

/// Everything that a segment holds, checked.
pub(crate) fn decode(contents: &Bytes) -> Result<(Header, Vec<Entry>), SegmentFault> {
    let header = Header::decode(contents)?;
    let mut reader = Reader {
        contents,
        at: HEADER_BYTES,
        place: header.begin,
    };
    let mut entries = Vec::new();
    while reader.at < contents.len() {
        entries.push(reader.entry()?);
    }
    if reader.place != header.end {
        return Err(SegmentFault::End {
            found: reader.place.id,
            expected: header.end.id,
        });
    }
    let (found, expected) = (contents.len() as u64, header.file_bytes());
    match found == expected {
        true => Ok((header, entries)),
        false => Err(SegmentFault::Length { found, expected }),
    }
}

/// Takes one entry after the other.
struct Reader<'a> {
    contents: &'a Bytes,
    at: usize,
    place: Place,
}

impl Reader<'_> {
    /// The bytes of `range`, counted from where the next entry begins.
    fn part(&self, range: Range<usize>) -> Option<Bytes> {
        let (start, end) = (self.at.checked_add(range.start)?, self.at.checked_add(range.end)?);
        (end <= self.contents.len()).then(|| self.contents.slice(start..end))
    }

    fn entry(&mut self) -> Result<Entry, SegmentFault> {
        let (at, index) = (self.at, self.place.id.index.next());
        let cut = || SegmentFault::Cut { at, index };
        let length = self
            .part(HEAD_BYTES - 4..HEAD_BYTES)
            .ok_or_else(cut)?
            .get_u32_le() as usize;
        let whole = HEAD_BYTES.saturating_add(length);
        let mut record = self.part(0..whole).ok_or_else(cut)?;
        let behind = whole.saturating_add(CHECKSUM_BYTES);
        let mut expected = self.part(whole..behind).ok_or_else(cut)?;
        let checksum = crc32c::crc32c_append(self.place.checksum, &record);
        if checksum != expected.get_u32_le() {
            return Err(SegmentFault::Checksum { at, index });
        }
        let id = EntryId::new(Term(record.get_u64_le()), Index(record.get_u64_le()));
        if id.index != index || id.term < self.place.id.term {
            return Err(SegmentFault::Order {
                at,
                found: id,
                expected: index,
            });
        }
        let kind = record.get_u8();
        record.advance(4);
        // Copied: one entry that is kept must not keep the whole segment in memory.
        let payload = decode_payload(kind, Bytes::copy_from_slice(&record)).map_err(|error| {
            let reason = error.to_string();
            SegmentFault::Payload { at, index, reason }
        })?;
        self.at = at.saturating_add(behind);
        self.place = Place { id, checksum };
        Ok(Entry { id, payload })
    }
}
