//! The bytes of every key and value in RocksDB, and the chain of hashes through a log. Pure functions: no I/O here.
//!
//! Keys are big-endian, the group first, so that RocksDB's order is (group, index) for entries and (group, kind) for
//! state. Values are little-endian like everything else of this project.
//!
//! An entry's value:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | kind of the payload, [`raft_core::wire::payload_kind`] |
//! | 2 | zero |
//! | 4 | length of the payload |
//! | 8 | term |
//! | 8 | chain value of the entry before it |
//! | 4 | CRC-32C of the key, of the bytes above and of the payload |
//! | n | the payload |
//!
//! The checksum covers the key, so that a value under a foreign key does not pass. The chain value of an entry is
//! XXH3-64 over its whole value, seeded with the chain value before it; a log begins with [`chain_origin`], which
//! names the group and the entry right before the first. A checksum proves that an entry is whole; the chain proves
//! that it is *this* log's entry: an older version of the same entry, or one of another log, has a right checksum and
//! breaks the chain at the next entry. XXH3 because the chain has to be cheap (some nanoseconds for each entry on the way to the
//! disk) and well mixed over 64 bits, which a cyclic code is not: codes of the same polynomial are linear in each
//! other. It guards against faults, not against an adversary who can write to the disk.

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::message::SnapshotMeta;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_core::wire;
use thiserror::Error;
use twox_hash::XxHash3_64;

/// The version in every value.
pub(crate) const VERSION: u8 = 2;
/// The bytes of an entry's value in front of the payload.
pub(crate) const ENTRY_HEADER_BYTES: usize = 28;
/// The bytes of an entry's key.
pub(crate) const ENTRY_KEY_BYTES: usize = 16;

const CHECKSUM_AT: usize = 24;
/// The kind of a command's payload, see [`wire::payload_kind`].
const COMMAND: u8 = 1;

/// An entry's place in the chain: its identity, and the chain value that the next entry must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: EntryId,
    pub(crate) chain: u64,
}

/// A record of the state column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum StateKind {
    /// The entry right before the first one: a group exists if and only if it has this record.
    Purged = 1,
    /// Term, vote and commit, as one record (R32).
    HardState = 2,
    /// The snapshot in force.
    Snapshot = 3,
    /// Up to where entries were physically deleted; only the purge reads it.
    Deleted = 4,
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

fn chain_next(previous: u64, value: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(previous, value)
}

pub(crate) fn entry_key(group: GroupId, index: Index) -> [u8; ENTRY_KEY_BYTES] {
    let mut key = [0; ENTRY_KEY_BYTES];
    key[..8].copy_from_slice(&group.0.to_be_bytes());
    key[8..].copy_from_slice(&index.0.to_be_bytes());
    key
}

/// The first key after every entry of `group`.
pub(crate) fn entries_end(group: GroupId) -> [u8; ENTRY_KEY_BYTES + 1] {
    let mut key = [0; ENTRY_KEY_BYTES + 1];
    key[..ENTRY_KEY_BYTES].copy_from_slice(&entry_key(group, Index(u64::MAX)));
    key
}

/// The index of an entry's key; `None` if the key is none of `group`.
pub(crate) fn index_of_key(group: GroupId, key: &[u8]) -> Option<Index> {
    let index = key.strip_prefix(&group.0.to_be_bytes())?;
    Some(Index(u64::from_be_bytes(index.try_into().ok()?)))
}

pub(crate) fn state_key(group: GroupId, kind: StateKind) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&group.0.to_be_bytes());
    key[8] = kind as u8;
    key
}

/// The group of a key of the state column family.
pub(crate) fn group_of_state_key(key: &[u8]) -> Option<GroupId> {
    let (group, kind) = key.split_first_chunk::<8>()?;
    (kind.len() == 1).then(|| GroupId(u64::from_be_bytes(*group)))
}

/// The group of a key of the entries.
pub(crate) fn group_of_entry_key(key: &[u8]) -> Option<GroupId> {
    let (group, index) = key.split_first_chunk::<8>()?;
    (index.len() == 8).then(|| GroupId(u64::from_be_bytes(*group)))
}

/// Appends the value of `entry`, which follows an entry with the chain value `previous`, to `out`; returns the chain value
/// of `entry`.
pub(crate) fn encode_entry(
    key: &[u8; ENTRY_KEY_BYTES],
    entry: &Entry,
    previous: u64,
    out: &mut Vec<u8>,
) -> u64 {
    let begin = out.len();
    out.extend_from_slice(&[VERSION, wire::payload_kind(&entry.payload), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&entry.term().0.to_le_bytes());
    out.extend_from_slice(&previous.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    wire::encode_payload(&entry.payload, out);
    let value = &mut out[begin..];
    let length = u32::try_from(value.len() - ENTRY_HEADER_BYTES).expect("limits keep an entry below 4 GiB");
    value[4..8].copy_from_slice(&length.to_le_bytes());
    let checksum = entry_checksum(key, value);
    value[CHECKSUM_AT..ENTRY_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    chain_next(previous, value)
}

fn entry_checksum(key: &[u8; ENTRY_KEY_BYTES], value: &[u8]) -> u32 {
    let checksum = crc32c::crc32c(key);
    let checksum = crc32c::crc32c_append(checksum, &value[..CHECKSUM_AT]);
    crc32c::crc32c_append(checksum, &value[ENTRY_HEADER_BYTES..])
}

/// An entry's value whose checksum was verified; the payload is not decoded yet.
#[derive(Debug)]
pub(crate) struct EntryView<'a> {
    pub(crate) link: Link,
    /// The chain value that the entry before this one must have.
    pub(crate) previous: u64,
    pub(crate) kind: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> EntryView<'a> {
    /// Verifies everything about the value that does not need its neighbours.
    pub(crate) fn verify(
        group: GroupId,
        index: Index,
        value: &'a [u8],
    ) -> Result<EntryView<'a>, RecordError> {
        if value.len() < ENTRY_HEADER_BYTES {
            return Err(RecordError::damaged(format!(
                "its value has only {} bytes",
                value.len()
            )));
        }
        if value[0] != VERSION {
            return Err(RecordError::Version(value[0]));
        }
        let payload = &value[ENTRY_HEADER_BYTES..];
        if usize::try_from(u32_at(value, 4)) != Ok(payload.len()) {
            return Err(RecordError::damaged(format!(
                "its payload has {} bytes and should have {}",
                payload.len(),
                u32_at(value, 4)
            )));
        }
        let (found, expected) = (
            entry_checksum(&entry_key(group, index), value),
            u32_at(value, CHECKSUM_AT),
        );
        if found != expected {
            return Err(RecordError::damaged(format!(
                "its checksum is {found:#010x} and should be {expected:#010x}"
            )));
        }
        let previous = u64_at(value, 16);
        Ok(EntryView {
            link: Link {
                id: EntryId::new(Term(u64_at(value, 8)), index),
                chain: chain_next(previous, value),
            },
            previous,
            kind: value[1],
            payload,
        })
    }

    /// Whether it is a command, which any bytes are.
    pub(crate) fn is_command(&self) -> bool {
        self.kind == COMMAND
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

    /// The payload; its bytes are copied out of the database.
    pub(crate) fn decode(&self) -> Result<Payload, RecordError> {
        wire::decode_payload(self.kind, Bytes::copy_from_slice(self.payload))
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
        out.extend_from_slice(&hard_state.vote.unwrap_or(NodeId(0)).0.to_le_bytes());
        out.extend_from_slice(&hard_state.commit.0.to_le_bytes());
        out.push(match hard_state.trust {
            Trust::Trusted => 0,
            Trust::Founder => 1,
            Trust::Suspect => 2,
        });
    })
}

pub(crate) fn decode_hard_state(group: GroupId, value: &[u8]) -> Result<HardState, RecordError> {
    let body: &[u8; 25] = exact(unseal(group, StateKind::HardState, value)?)?;
    Ok(HardState {
        term: Term(u64_at(body, 0)),
        vote: vote_from(u64_at(body, 8)),
        commit: Index(u64_at(body, 16)),
        trust: match body[24] {
            0 => Trust::Trusted,
            1 => Trust::Founder,
            2 => Trust::Suspect,
            other => return Err(RecordError::damaged(format!("{other} is no state of trust"))),
        },
    })
}

/// Node 0 does not exist and stands for no vote.
pub(crate) fn vote_from(node: u64) -> Option<NodeId> {
    (node != 0).then_some(NodeId(node))
}

pub(crate) fn encode_snapshot(group: GroupId, meta: &SnapshotMeta) -> Vec<u8> {
    seal(group, StateKind::Snapshot, |out| encode_meta(meta, out))
}

pub(crate) fn decode_snapshot(group: GroupId, value: &[u8]) -> Result<SnapshotMeta, RecordError> {
    decode_meta(unseal(group, StateKind::Snapshot, value)?)
}

/// A snapshot's identity, as it stands in the state record and in the header of a snapshot file.
pub(crate) fn encode_meta(meta: &SnapshotMeta, out: &mut Vec<u8>) {
    put_id(out, meta.last);
    wire::encode_membership(&meta.membership, out);
}

pub(crate) fn decode_meta(bytes: &[u8]) -> Result<SnapshotMeta, RecordError> {
    let Some((id, membership)) = bytes.split_first_chunk::<16>() else {
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

pub(crate) fn encode_deleted(group: GroupId, through: Index) -> Vec<u8> {
    seal(group, StateKind::Deleted, |out| {
        out.extend_from_slice(&through.0.to_le_bytes());
    })
}

pub(crate) fn decode_deleted(group: GroupId, value: &[u8]) -> Result<Index, RecordError> {
    let body: &[u8; 8] = exact(unseal(group, StateKind::Deleted, value)?)?;
    Ok(Index(u64_at(body, 0)))
}

/// The number of the last record of the journal that the database has.
pub(crate) fn encode_applied(sequence: u64) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&sequence.to_le_bytes());
    let checksum = crc32c::crc32c(&value[..8]);
    value[8..].copy_from_slice(&checksum.to_le_bytes());
    value
}

pub(crate) fn decode_applied(value: &[u8]) -> Result<u64, RecordError> {
    let value: &[u8; 12] = exact(value)?;
    if crc32c::crc32c(&value[..8]) != u32_at(value, 8) {
        return Err(RecordError::damaged("its checksum does not match"));
    }
    Ok(u64_at(value, 0))
}

/// A state record: version, checksum of key, version and body, body.
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
    let checksum = crc32c::crc32c(&state_key(group, kind));
    let checksum = crc32c::crc32c_append(checksum, &value[..1]);
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

    fn encoded(term: u64, index: u64, previous: u64) -> (Vec<u8>, u64) {
        let mut value = Vec::new();
        let entry = Entry::command(Term(term), Index(index), Bytes::from_static(b"payload"));
        let chain = encode_entry(&entry_key(GROUP, Index(index)), &entry, previous, &mut value);
        (value, chain)
    }

    #[test]
    fn keys_sort_by_group_then_index() {
        let mut keys = [
            entries_end(GroupId(1)).to_vec(),
            entry_key(GroupId(0), Index(u64::MAX)).to_vec(),
            entry_key(GroupId(1), Index(256)).to_vec(),
            entry_key(GroupId(1), Index(2)).to_vec(),
            entry_key(GroupId(1), Index(u64::MAX)).to_vec(),
            entry_key(GroupId(2), Index(0)).to_vec(),
        ];
        keys.sort();
        let indexes: Vec<_> = keys.iter().map(|key| index_of_key(GroupId(1), key)).collect();
        let expected = [None, Some(2), Some(256), Some(u64::MAX), None, None];
        assert_eq!(indexes, expected.map(|index| index.map(Index)));
    }

    #[test]
    fn an_entry_follows_its_predecessor_and_no_other() {
        let (first, chain) = encoded(4, 9, 77);
        let first = EntryView::verify(GROUP, Index(9), &first).unwrap();
        assert_eq!(
            (first.link.id, first.link.chain),
            (EntryId::new(Term(4), Index(9)), chain)
        );
        assert_eq!(
            first.decode().unwrap(),
            Payload::Command(Bytes::from_static(b"payload"))
        );
        let follows = |term, previous| {
            let (value, _) = encoded(term, 10, previous);
            EntryView::verify(GROUP, Index(10), &value)
                .unwrap()
                .follows(&first.link)
                .is_ok()
        };
        assert!(follows(4, chain) && follows(5, chain));
        assert!(!follows(3, chain), "terms never fall");
        assert!(!follows(4, chain ^ 1), "the chain is broken");
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_noticed_and_no_cut_panics() {
        let (value, _) = encoded(4, 9, 77);
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(EntryView::verify(GROUP, Index(9), &damaged).is_err(), "bit {bit}");
        }
        for bytes in 0..value.len() {
            assert!(EntryView::verify(GROUP, Index(9), &value[..bytes]).is_err());
        }
        assert!(EntryView::verify(GROUP, Index(8), &value).is_err());
        assert!(EntryView::verify(GroupId(2), Index(9), &value).is_err());
    }

    #[test]
    fn a_state_record_belongs_to_its_key() {
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
