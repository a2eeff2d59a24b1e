//! The bytes of every entry and state that raft-engine keeps for us, and the chain of hashes through a log.
//!
//! All integers are little-endian. An entry is a header and the payload:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | kind of the payload, [`raft_core::wire::payload_kind`] |
//! | 2 | zero |
//! | 4 | length of the payload |
//! | 8 | term |
//! | 8 | index |
//! | 8 | chain value of the entry before it |
//! | 4 | CRC-32C of the group, of the bytes above and of the payload |
//! | n | the payload |
//!
//! The checksum covers the group, so that an entry of another group does not pass. The chain value of an entry is XXH3-64
//! over its header, seeded with XXH3-64 over its payload, seeded with the chain value before it: two calls, because header and
//! payload do not lie together before they are copied into the batch. A log begins with [`chain_origin`]. A checksum
//! proves that an entry is whole; the chain proves that it is *this* log's entry: a stale copy has a right checksum
//! and breaks the chain at the next entry.

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::message::SnapshotMeta;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_core::wire;
use thiserror::Error;
use twox_hash::XxHash3_64;

/// The version in every entry and state.
pub(crate) const VERSION: u8 = 1;
/// The bytes of an entry in front of its payload.
pub(crate) const HEADER_BYTES: usize = 36;
const CHECKSUM_AT: usize = 32;
/// The kind of a command's payload, see [`raft_core::wire::payload_kind`].
pub(crate) const COMMAND: u8 = 1;

/// An entry's header.
pub(crate) type Header = [u8; HEADER_BYTES];

/// An entry's place in the chain: its identity, and the chain value that the next entry must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: EntryId,
    pub(crate) chain: u64,
}

/// A state of a group; the number is its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum StateKind {
    /// The entry right before the first one: a group exists if and only if it has this record.
    Purged = 1,
    /// Term, vote, commit and trust, as one record (R32).
    HardState = 2,
    /// The snapshot in force.
    Snapshot = 3,
}

/// Why bytes are not a record.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    #[error("version {0} is unknown")]
    Version(u8),
    #[error("{0}")]
    Damaged(String),
}

impl RecordError {
    pub(crate) fn damaged(what: impl Into<String>) -> RecordError {
        RecordError::Damaged(what.into())
    }
}

/// The chain value before the first entry of a log that begins after `purged` without an entry there to continue:
/// a new log, or one that begins after an installed snapshot.
pub(crate) fn chain_origin(group: GroupId, purged: EntryId) -> u64 {
    let mut origin = [0; 24];
    origin[..8].copy_from_slice(&group.0.to_le_bytes());
    origin[8..16].copy_from_slice(&purged.term.0.to_le_bytes());
    origin[16..].copy_from_slice(&purged.index.0.to_le_bytes());
    XxHash3_64::oneshot(&origin)
}

fn chain_next(previous: u64, header: &Header, payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot_with_seed(previous, payload), header)
}

/// The header of `entry`, which follows an entry with the chain value `previous`, and its payload, which for a command is
/// the very bytes of the caller; and the entry's place.
pub(crate) fn encode_entry(group: GroupId, entry: &Entry, previous: u64) -> (Header, Bytes, Link) {
    let payload = match &entry.payload {
        Payload::Command(command) => command.clone(),
        other => {
            let mut bytes = Vec::new();
            wire::encode_payload(other, &mut bytes);
            Bytes::from(bytes)
        }
    };
    let length = u32::try_from(payload.len()).expect("limits keep an entry below 4 GiB");
    let mut header = [0; HEADER_BYTES];
    header[0] = VERSION;
    header[1] = wire::payload_kind(&entry.payload);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&entry.term().0.to_le_bytes());
    header[16..24].copy_from_slice(&entry.index().0.to_le_bytes());
    header[24..32].copy_from_slice(&previous.to_le_bytes());
    let checksum = checksum(group, &header, &payload);
    header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    let link = Link {
        id: entry.id,
        chain: chain_next(previous, &header, &payload),
    };
    (header, payload, link)
}

fn checksum(group: GroupId, header: &Header, payload: &[u8]) -> u32 {
    let checksum = crc32c::crc32c(&group.0.to_le_bytes());
    let checksum = crc32c::crc32c_append(checksum, &header[..CHECKSUM_AT]);
    crc32c::crc32c_append(checksum, payload)
}

/// The index that a header names; not verified.
pub(crate) fn index_of(header: &Header) -> Index {
    Index(u64_at(header, 16))
}

/// An entry whose checksum was verified; the payload is not decoded yet.
#[derive(Debug)]
pub(crate) struct EntryView<'a> {
    pub(crate) link: Link,
    /// The chain value that the entry before this one must have.
    pub(crate) previous: u64,
    pub(crate) kind: u8,
    payload: &'a Bytes,
}

impl<'a> EntryView<'a> {
    /// Verifies everything about the entry that does not need its neighbours.
    pub(crate) fn verify(
        group: GroupId,
        index: Index,
        header: &Header,
        payload: &'a Bytes,
    ) -> Result<EntryView<'a>, RecordError> {
        if header[0] != VERSION {
            return Err(RecordError::Version(header[0]));
        }
        if usize::try_from(u32_at(header, 4)) != Ok(payload.len()) {
            return Err(RecordError::damaged(format!(
                "its payload has {} bytes and should have {}",
                payload.len(),
                u32_at(header, 4)
            )));
        }
        let (found, expected) = (checksum(group, header, payload), u32_at(header, CHECKSUM_AT));
        if found != expected {
            return Err(RecordError::damaged(format!(
                "its checksum is {found:#010x} and should be {expected:#010x}"
            )));
        }
        if index_of(header) != index {
            return Err(RecordError::damaged(format!(
                "entry {} stands in its place",
                index_of(header)
            )));
        }
        let previous = u64_at(header, 24);
        Ok(EntryView {
            link: Link {
                id: EntryId::new(Term(u64_at(header, 8)), index),
                chain: chain_next(previous, header, payload),
            },
            previous,
            kind: header[1],
            payload,
        })
    }

    /// Checks that this entry follows `link` in one log.
    pub(crate) fn follows(&self, link: &Link) -> Result<(), RecordError> {
        if self.previous != link.chain {
            return Err(RecordError::damaged(format!(
                "it does not continue the chain of entry {}: one of the two is a stale or foreign copy",
                link.id
            )));
        }
        if self.link.id.term < link.id.term {
            return Err(RecordError::damaged(format!(
                "its term is below that of entry {} before it",
                link.id
            )));
        }
        Ok(())
    }

    /// The payload; a command shares the bytes.
    pub(crate) fn decode(&self) -> Result<Payload, RecordError> {
        wire::decode_payload(self.kind, self.payload.clone())
            .map_err(|error| RecordError::damaged(error.to_string()))
    }
}

/// Where a log begins.
pub(crate) fn encode_purged(group: GroupId, purged: &Link) -> Vec<u8> {
    seal(group, StateKind::Purged, |out| {
        put_id(out, purged.id);
        out.extend_from_slice(&purged.chain.to_le_bytes());
    })
}

pub(crate) fn decode_purged(group: GroupId, value: &[u8]) -> Result<Link, RecordError> {
    let body: &[u8; 24] = exact(unseal(group, StateKind::Purged, value)?)?;
    Ok(Link {
        id: id_at(body, 0),
        chain: u64_at(body, 16),
    })
}

pub(crate) fn encode_hard_state(group: GroupId, hard_state: &HardState) -> Vec<u8> {
    seal(group, StateKind::HardState, |out| {
        out.extend_from_slice(&hard_state.term.0.to_le_bytes());
        out.extend_from_slice(&node_number(hard_state.vote).to_le_bytes());
        out.extend_from_slice(&hard_state.commit.0.to_le_bytes());
        out.push(trust_number(hard_state.trust));
    })
}

pub(crate) fn decode_hard_state(group: GroupId, value: &[u8]) -> Result<HardState, RecordError> {
    let body: &[u8; 25] = exact(unseal(group, StateKind::HardState, value)?)?;
    Ok(HardState {
        term: Term(u64_at(body, 0)),
        vote: vote_from(u64_at(body, 8)),
        commit: Index(u64_at(body, 16)),
        trust: trust_from(body[24])
            .ok_or_else(|| RecordError::damaged(format!("{} is no state of trust", body[24])))?,
    })
}

/// Node 0 does not exist and stands for no vote.
pub(crate) fn vote_from(node: u64) -> Option<NodeId> {
    (node != 0).then_some(NodeId(node))
}

pub(crate) fn node_number(vote: Option<NodeId>) -> u64 {
    vote.map_or(0, |node| node.0)
}

pub(crate) fn trust_number(trust: Trust) -> u8 {
    match trust {
        Trust::Trusted => 0,
        Trust::Founder => 1,
        Trust::Suspect => 2,
    }
}

pub(crate) fn trust_from(number: u8) -> Option<Trust> {
    [Trust::Trusted, Trust::Founder, Trust::Suspect]
        .get(usize::from(number))
        .copied()
}

pub(crate) fn encode_snapshot(group: GroupId, meta: &SnapshotMeta) -> Vec<u8> {
    seal(group, StateKind::Snapshot, |out| {
        put_id(out, meta.last);
        wire::encode_membership(&meta.membership, out);
    })
}

pub(crate) fn decode_snapshot(group: GroupId, value: &[u8]) -> Result<SnapshotMeta, RecordError> {
    let body = unseal(group, StateKind::Snapshot, value)?;
    let Some((id, membership)) = body.split_first_chunk::<16>() else {
        return Err(RecordError::damaged(
            "it ends in the middle of the identity of a snapshot",
        ));
    };
    Ok(SnapshotMeta {
        last: id_at(id, 0),
        membership: wire::decode_membership(Bytes::copy_from_slice(membership))
            .map_err(|error| RecordError::damaged(error.to_string()))?,
    })
}

/// A state record: version, checksum of group, kind, version and body, body.
fn seal(group: GroupId, kind: StateKind, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![VERSION, 0, 0, 0, 0];
    body(&mut out);
    let checksum = state_checksum(group, kind, &out);
    out[1..5].copy_from_slice(&checksum.to_le_bytes());
    out
}

fn unseal(group: GroupId, kind: StateKind, value: &[u8]) -> Result<&[u8], RecordError> {
    if value.len() < 5 {
        return Err(RecordError::damaged(format!("it has only {} bytes", value.len())));
    }
    if value[0] != VERSION {
        return Err(RecordError::Version(value[0]));
    }
    if state_checksum(group, kind, value) != u32_at(value, 1) {
        return Err(RecordError::damaged("its checksum does not match"));
    }
    Ok(&value[5..])
}

fn state_checksum(group: GroupId, kind: StateKind, value: &[u8]) -> u32 {
    let checksum = crc32c::crc32c(&group.0.to_le_bytes());
    let checksum = crc32c::crc32c_append(checksum, &[kind as u8, value[0]]);
    crc32c::crc32c_append(checksum, &value[5..])
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], RecordError> {
    bytes
        .try_into()
        .map_err(|_| RecordError::damaged(format!("it has {} bytes instead of {N}", bytes.len())))
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    out.extend_from_slice(&id.term.0.to_le_bytes());
    out.extend_from_slice(&id.index.0.to_le_bytes());
}

fn id_at(bytes: &[u8], at: usize) -> EntryId {
    EntryId::new(Term(u64_at(bytes, at)), Index(u64_at(bytes, at + 8)))
}

/// The caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// The caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(3);

    fn encoded(term: u64, index: u64, previous: u64) -> (Header, Bytes, Link) {
        let entry = Entry::command(Term(term), Index(index), Bytes::from_static(b"payload"));
        encode_entry(GROUP, &entry, previous)
    }

    fn verify(group: GroupId, index: u64, header: &Header, payload: &Bytes) -> Result<Link, RecordError> {
        EntryView::verify(group, Index(index), header, payload).map(|entry| entry.link)
    }

    #[test]
    fn an_entry_follows_its_predecessor_and_no_other() {
        let (header, payload, link) = encoded(4, 9, 77);
        let first = EntryView::verify(GROUP, Index(9), &header, &payload).unwrap();
        assert_eq!(first.link, link);
        assert_eq!(
            first.decode().unwrap(),
            Payload::Command(Bytes::from_static(b"payload"))
        );
        let follows = |term, previous| {
            let (header, payload, _) = encoded(term, 10, previous);
            let entry = EntryView::verify(GROUP, Index(10), &header, &payload).unwrap();
            entry.follows(&link).is_ok()
        };
        assert!(follows(4, link.chain) && follows(5, link.chain));
        assert!(!follows(3, link.chain), "terms never fall");
        assert!(!follows(4, link.chain ^ 1), "the chain is broken");
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_noticed() {
        let (header, payload, _) = encoded(4, 9, 77);
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            // The two bytes that are zero are covered as well.
            assert!(verify(GROUP, 9, &damaged, &payload).is_err(), "bit {bit}");
        }
        for bit in 0..payload.len() * 8 {
            let mut damaged = payload.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(GROUP, 9, &header, &damaged.into()).is_err(), "bit {bit}");
        }
        for bytes in 0..payload.len() {
            assert!(verify(GROUP, 9, &header, &payload.slice(..bytes)).is_err());
        }
        assert!(verify(GROUP, 8, &header, &payload).is_err());
        assert!(verify(GroupId(2), 9, &header, &payload).is_err());
    }

    #[test]
    fn a_state_record_belongs_to_its_group_and_kind() {
        let hard_state = HardState {
            term: Term(5),
            vote: None,
            commit: Index(3),
            trust: Trust::Suspect,
        };
        let value = encode_hard_state(GROUP, &hard_state);
        assert_eq!(decode_hard_state(GROUP, &value).unwrap(), hard_state);
        assert!(decode_hard_state(GroupId(4), &value).is_err());
        assert!(decode_purged(GROUP, &value).is_err());
        for bytes in 0..value.len() {
            assert!(decode_hard_state(GROUP, &value[..bytes]).is_err());
        }
        let mut newer = value;
        newer[0] = VERSION + 1;
        assert!(matches!(
            decode_hard_state(GROUP, &newer),
            Err(RecordError::Version(version)) if version == VERSION + 1
        ));
    }
}
