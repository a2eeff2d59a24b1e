//! Segments: a run of entries in one file.
//!
//! Numbers are little-endian. A file begins with [`MAGIC`] and the number of the group (8 bytes). Each entry follows as: term (8),
//! index (8), kind of the payload (1), its length (4), the payload as the log stores have it, and the CRC-32C (4) of all of that.
//! The name says what the file holds: first index, last index, term of the last entry.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use raft_core::entry::Entry;
use raft_core::types::{EntryId, GroupId, Index, Term};
use raft_core::wire::{decode_payload, encode_payload, payload_kind};

use super::error::ArchiveError;
use crate::durable_file;

const SUFFIX: &str = ".entries";
/// What a segment begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"raftseg\x01";
const HEADER_BYTES: usize = 16;
/// What precedes the payload of an entry.
const HEAD_BYTES: usize = 21;
const CHECKSUM_BYTES: usize = 4;

/// One file of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: Index,
    pub(super) last: EntryId,
    pub(super) bytes: u64,
}

impl Segment {
    /// What the name of a file says; none if it is no segment's.
    pub(super) fn of_file(path: &Path, bytes: u64) -> Option<Segment> {
        let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        let mut numbers = name.split('-').map(|number| number.parse::<u64>().ok());
        let (first, last, term) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let is_whole = numbers.next().is_none() && 0 < first && first <= last;
        is_whole.then(|| Segment {
            path: path.to_owned(),
            first: Index(first),
            last: EntryId::new(Term(term), Index(last)),
            bytes,
        })
    }

    /// Writes entries, which are not empty and continue each other and `prev`, durably into a file of `directory`.
    pub(super) fn write(
        directory: &Path,
        group: GroupId,
        prev: EntryId,
        entries: &[Entry],
    ) -> Result<Segment, ArchiveError> {
        let (first, last) = (prev.index.next(), entries.last().map_or(prev, |entry| entry.id));
        let path = directory.join(format!(
            "{:020}-{:020}-{:020}{SUFFIX}",
            first.0, last.index.0, last.term.0
        ));
        let contents = encode(group, entries);
        durable_file::replace(&path, &contents, 0o600).map_err(ArchiveError::io("write", &path))?;
        let bytes = contents.len() as u64;
        Ok(Segment {
            path,
            first,
            last,
            bytes,
        })
    }

    /// All of its entries, checked.
    pub(super) fn read(&self, group: GroupId) -> Result<Vec<Entry>, ArchiveError> {
        let contents = fs::read(&self.path).map_err(ArchiveError::io("read", &self.path))?;
        self.decode(group, contents.into())
            .map_err(|reason| ArchiveError::Damaged {
                path: self.path.clone(),
                reason,
                first: self.first,
                last: self.last.index,
            })
    }

    fn decode(&self, group: GroupId, mut contents: Bytes) -> Result<Vec<Entry>, String> {
        if contents.len() < HEADER_BYTES || contents.split_to(MAGIC.len()) != MAGIC[..] {
            return Err("it is no segment of this version".to_owned());
        }
        let found = contents.get_u64_le();
        if found != group.0 {
            return Err(format!("it is of group {found}"));
        }
        let mut entries: Vec<Entry> = Vec::new();
        while !contents.is_empty() {
            let entry = take_entry(&mut contents)?;
            let before = entries.last().map_or(self.first.previous(), Entry::index);
            if entry.index() != before.next() {
                return Err(format!("after index {before} comes {}", entry.id));
            }
            entries.push(entry);
        }
        if entries.last().map(|entry| entry.id) == Some(self.last) {
            return Ok(entries);
        }
        Err("it does not hold what its name says".to_owned())
    }
}

fn take_entry(contents: &mut Bytes) -> Result<Entry, String> {
    let cut = || "it ends in the middle of an entry".to_owned();
    let length = contents.get(HEAD_BYTES - 4..HEAD_BYTES).ok_or_else(cut)?;
    let length = u32::from_le_bytes(length.try_into().map_err(|_| cut())?) as usize;
    let whole = HEAD_BYTES.saturating_add(length);
    if contents.len() < whole.saturating_add(CHECKSUM_BYTES) {
        return Err(cut());
    }
    let mut record = contents.split_to(whole);
    let (expected, found) = (contents.get_u32_le(), crc32c::crc32c(&record));
    if expected != found {
        return Err(format!(
            "the checksum of an entry is {found:08x} and should be {expected:08x}"
        ));
    }
    let id = EntryId::new(Term(record.get_u64_le()), Index(record.get_u64_le()));
    let kind = record.get_u8();
    record.advance(4);
    // Copied: one entry that is kept must not keep the whole segment in memory.
    let payload = decode_payload(kind, Bytes::copy_from_slice(&record)).map_err(|error| error.to_string())?;
    Ok(Entry { id, payload })
}

fn encode(group: GroupId, entries: &[Entry]) -> Vec<u8> {
    let payloads: usize = entries.iter().map(Entry::payload_bytes).sum();
    let mut out = Vec::with_capacity(HEADER_BYTES + payloads + entries.len() * 64);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&group.0.to_le_bytes());
    for entry in entries {
        let start = out.len();
        out.extend_from_slice(&entry.id.term.0.to_le_bytes());
        out.extend_from_slice(&entry.id.index.0.to_le_bytes());
        out.push(payload_kind(&entry.payload));
        out.extend_from_slice(&[0; 4]);
        encode_payload(&entry.payload, &mut out);
        let length = out.len() - start - HEAD_BYTES;
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        out[start + HEAD_BYTES - 4..start + HEAD_BYTES].copy_from_slice(&length);
        let checksum = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }
    out
}
