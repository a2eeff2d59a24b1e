//! The bytes of the log: records, each with a checksum, each naming the one before it. Pure functions.
//!
//! A record is one write, whole (R52). All integers are little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the body |
//! | 4 | CRC-32C of all the rest |
//! | 8 | number of the record: counts up by one |
//! | 8 | chain value of the record before |
//! | 8 | kind: [`Kind`] |
//! | n | body |
//!
//! The checksum proves that a record is whole; number and chain prove that it stands where it belongs: a record of an
//! earlier time, or of another place, has a right checksum and the wrong number or the wrong chain.
//!
//! An entry has a checksum of its own, so that it can be read alone.

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_core::wire;

/// The bytes in front of a record's body.
pub(super) const HEADER_BYTES: usize = 32;
/// The bytes in front of an entry's payload.
const ENTRY_HEADER_BYTES: usize = 28;
/// Terms and indexes beyond this are nobody's, and would make arithmetic overflow.
const NUMBER_MAX: u64 = 1 << 60;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first record of a segment: what must be known to begin with it.
    Base = 1,
    /// A write.
    Change = 2,
    /// The log was purged.
    Purge = 3,
}

/// The place of a record in the chain: its number, and the value that the next one must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) chain: u64,
}

impl Link {
    /// What the first record of a group continues.
    pub(super) fn origin(group: GroupId) -> Link {
        Link {
            number: 0,
            chain: mix(group.0 ^ 0x5265_636f_7264_7321),
        }
    }
}

/// A record whose checksum is right.
pub(super) struct RecordView<'a> {
    pub(super) link: Link,
    /// The chain value of the record before.
    pub(super) previous: u64,
    pub(super) kind: Kind,
    pub(super) body: &'a [u8],
}

/// What a segment begins with.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The number of the segment: it is not at the place of another one.
    pub(super) segment: u64,
    pub(super) hard_state: HardState,
    pub(super) snapshot: SnapshotMeta,
    pub(super) purged: EntryId,
    pub(super) last: EntryId,
}

/// A write, as it stands in the log.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) hard_state: Option<HardState>,
    pub(super) snapshot: Option<SnapshotMeta>,
    pub(super) is_reset: bool,
    pub(super) entries: Vec<EntryPlace>,
    pub(super) memberships: Vec<(Index, Membership)>,
}

/// Where an entry stands in the body of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryPlace {
    pub(super) id: EntryId,
    pub(super) begin: u32,
    pub(super) end: u32,
}

/// Replaces `out` by a record that is not [sealed](seal) yet.
pub(super) fn encode(kind: Kind, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    out.extend_from_slice(&[0; HEADER_BYTES - 8]);
    put_u64(kind as u64, out);
    body(out);
}

/// Makes a record follow `previous`; returns its link.
pub(super) fn seal(previous: Link, record: &mut [u8]) -> Link {
    let number = previous.number + 1;
    let length = u32::try_from(record.len() - HEADER_BYTES).expect("limits keep a write below 4 GiB");
    record[..4].copy_from_slice(&length.to_le_bytes());
    record[8..16].copy_from_slice(&number.to_le_bytes());
    record[16..24].copy_from_slice(&previous.chain.to_le_bytes());
    let checksum = checksum(record);
    record[4..8].copy_from_slice(&checksum.to_le_bytes());
    Link {
        number,
        chain: chain(previous.chain, checksum, length),
    }
}

/// The record at the beginning of `bytes`, if there is a whole one.
pub(super) fn decode(bytes: &[u8]) -> Option<RecordView<'_>> {
    let length = u32_at(bytes, 0)?;
    let record = bytes.get(..HEADER_BYTES.checked_add(length as usize)?)?;
    let found = u32_at(record, 4)?;
    if found != checksum(record) {
        return None;
    }
    let previous = u64_at(record, 16)?;
    Some(RecordView {
        link: Link {
            number: u64_at(record, 8)?,
            chain: chain(previous, found, length),
        },
        previous,
        kind: match u64_at(record, 24)? {
            1 => Kind::Base,
            2 => Kind::Change,
            3 => Kind::Purge,
            _ => return None,
        },
        body: &record[HEADER_BYTES..],
    })
}

pub(super) fn put_base(group: GroupId, base: &Base, out: &mut Vec<u8>) {
    put_u64(group.0, out);
    put_u64(base.segment, out);
    put_hard_state(&base.hard_state, out);
    put_id(base.purged, out);
    put_id(base.last, out);
    put_snapshot(&base.snapshot, out);
}

pub(super) fn base(group: GroupId, body: &[u8]) -> Option<Base> {
    let mut reader = Reader(body);
    if reader.u64()? != group.0 {
        return None;
    }
    let base = Base {
        segment: reader.u64()?,
        hard_state: reader.hard_state()?,
        purged: reader.id()?,
        last: reader.id()?,
        snapshot: reader.snapshot()?,
    };
    reader.ends(base)
}

/// Appends the body of a write with these of its entries, and where they stand in the body.
pub(super) fn put_change(
    change: &GroupWrite,
    entries: &[Entry],
    out: &mut Vec<u8>,
    places: &mut Vec<EntryPlace>,
) {
    let flags = [
        change.hard_state.is_some(),
        change.snapshot.is_some(),
        matches!(change.log, LogChange::Reset(_)),
    ];
    out.extend(flags.map(u8::from));
    if let Some(hard_state) = &change.hard_state {
        put_hard_state(hard_state, out);
    }
    if let Some(snapshot) = &change.snapshot {
        put_snapshot(snapshot, out);
    }
    for entry in entries {
        let begin = out.len();
        put_entry(entry, out);
        places.push(EntryPlace {
            id: entry.id,
            begin: place(begin),
            end: place(out.len()),
        });
    }
}

pub(super) fn change(body: &[u8]) -> Option<Change> {
    let mut reader = Reader(body);
    let (has_hard_state, has_snapshot, is_reset) = (reader.flag()?, reader.flag()?, reader.flag()?);
    let mut change = Change {
        hard_state: if has_hard_state {
            Some(reader.hard_state()?)
        } else {
            None
        },
        snapshot: if has_snapshot {
            Some(reader.snapshot()?)
        } else {
            None
        },
        is_reset,
        entries: Vec::new(),
        memberships: Vec::new(),
    };
    let mut expected = None;
    while !reader.0.is_empty() {
        let begin = body.len() - reader.0.len();
        let length = u32_at(reader.0, 0)? as usize;
        let bytes = reader.take(ENTRY_HEADER_BYTES.checked_add(length)?)?;
        let entry = entry_view(bytes)?;
        if expected.is_some_and(|index| index != entry.id.index) {
            return None;
        }
        expected = Some(entry.id.index.next());
        // Any bytes are a command: only the others need decoding.
        if entry.kind != COMMAND
            && let Payload::Membership(membership) = entry.payload()?
        {
            change.memberships.push((entry.id.index, membership));
        }
        change.entries.push(EntryPlace {
            id: entry.id,
            begin: place(HEADER_BYTES + begin),
            end: place(HEADER_BYTES + begin + bytes.len()),
        });
    }
    Some(change)
}

pub(super) fn put_purge(through: EntryId, out: &mut Vec<u8>) {
    put_id(through, out);
}

pub(super) fn purge(body: &[u8]) -> Option<EntryId> {
    let mut reader = Reader(body);
    let id = reader.id()?;
    reader.ends(id)
}

/// The entry whose bytes these are.
pub(super) fn entry(bytes: &[u8]) -> Option<Entry> {
    let view = entry_view(bytes)?;
    Some(Entry {
        id: view.id,
        payload: view.payload()?,
    })
}

/// A number of bytes within a segment.
fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("limits keep a write below 4 GiB")
}

/// The kind of a command's payload, see [`wire::payload_kind`].
const COMMAND: u8 = 1;

struct EntryView<'a> {
    id: EntryId,
    kind: u8,
    payload: &'a [u8],
}

impl EntryView<'_> {
    fn payload(&self) -> Option<Payload> {
        wire::decode_payload(self.kind, Bytes::copy_from_slice(self.payload)).ok()
    }
}

fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[0; 12]);
    put_id(entry.id, out);
    wire::encode_payload(&entry.payload, out);
    let bytes = &mut out[begin..];
    let length = place(bytes.len() - ENTRY_HEADER_BYTES);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4] = wire::payload_kind(&entry.payload);
    let checksum = checksum_without(bytes, 8);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
}

fn entry_view(bytes: &[u8]) -> Option<EntryView<'_>> {
    let payload = bytes.get(ENTRY_HEADER_BYTES..)?;
    let is_whole = u32_at(bytes, 0)? as usize == payload.len();
    if !is_whole || u32_at(bytes, 8)? != checksum_without(bytes, 8) {
        return None;
    }
    Some(EntryView {
        id: Reader(&bytes[12..]).id()?,
        kind: bytes[4],
        payload,
    })
}

/// The checksum of a record.
fn checksum(record: &[u8]) -> u32 {
    checksum_without(record, 4)
}

/// The checksum of everything but the four bytes at `place`, which hold it.
fn checksum_without(bytes: &[u8], place: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..place]), &bytes[place + 4..])
}

fn chain(previous: u64, checksum: u32, length: u32) -> u64 {
    mix(previous.rotate_left(17) ^ (u64::from(checksum) << 32 | u64::from(length)))
}

/// Spreads every bit over the whole word.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 32)
}

pub(super) fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_id(id: EntryId, out: &mut Vec<u8>) {
    put_u64(id.term.0, out);
    put_u64(id.index.0, out);
}

pub(super) fn put_hard_state(hard_state: &HardState, out: &mut Vec<u8>) {
    put_u64(hard_state.term.0, out);
    put_u64(hard_state.vote.map_or(0, |node| node.0), out);
    put_u64(hard_state.commit.0, out);
    let trust = match hard_state.trust {
        Trust::Trusted => 0,
        Trust::Founder => 1,
        Trust::Suspect => 2,
    };
    put_u64(trust, out);
}

pub(super) fn put_snapshot(snapshot: &SnapshotMeta, out: &mut Vec<u8>) {
    put_id(snapshot.last, out);
    let length_at = out.len();
    put_u64(0, out);
    wire::encode_membership(&snapshot.membership, out);
    let length = (out.len() - length_at - 8) as u64;
    out[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    let word = bytes.get(place..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    let word = bytes.get(place..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word))
}

/// Takes values off the front of bytes that may be anything.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// `value`, if nothing is left over.
    pub(super) fn ends<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let value = u64_at(self.0, 0)?;
        self.0 = &self.0[8..];
        Some(value)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take(1)?[0] {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.u64().filter(|number| *number <= NUMBER_MAX)
    }

    pub(super) fn id(&mut self) -> Option<EntryId> {
        let term = Term(self.number()?);
        Some(EntryId::new(term, Index(self.number()?)))
    }

    pub(super) fn hard_state(&mut self) -> Option<HardState> {
        Some(HardState {
            term: Term(self.number()?),
            vote: Some(self.u64()?).filter(|node| *node != 0).map(NodeId),
            commit: Index(self.number()?),
            trust: match self.u64()? {
                0 => Trust::Trusted,
                1 => Trust::Founder,
                2 => Trust::Suspect,
                _ => return None,
            },
        })
    }

    pub(super) fn snapshot(&mut self) -> Option<SnapshotMeta> {
        let last = self.id()?;
        let length = usize::try_from(self.u64()?).ok()?;
        let bytes = Bytes::copy_from_slice(self.take(length)?);
        Some(SnapshotMeta {
            last,
            membership: wire::decode_membership(bytes).ok()?,
        })
    }
}
