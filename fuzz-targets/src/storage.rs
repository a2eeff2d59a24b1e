//! What the log store and the snapshot store read off a disk.
//!
//! Damage that a checksum notices is refused before it is decoded. So each input is also taken as what the checksum covers:
//! whatever a right checksum stands for is decoded without a panic, and what decodes is written as it was read.

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_core::wire;

#[allow(dead_code, reason = "the store uses the rest")]
#[path = "../../raft-storage-rocksdb/src/format/mod.rs"]
pub(crate) mod format;

use format::record::{
    self, ENTRY_HEADER_BYTES, EntryView, Link, StateKind, entry_key, index_of_key, state_key,
};
use format::snapshot::{
    BLOCK_BYTES, CHECKSUM_BYTES, Header, PREFIX_BYTES, TRAILER_BYTES, block_at, block_checksum,
    decode_header, decode_trailer, encode_header, encode_trailer, header_bytes, verify_block,
};
use format::watermark::{BODY_BYTES, Promise, Slot, decode_slot, encode_slot};

const GROUP: GroupId = GroupId(3);
/// Where the entries of the inputs stand.
const INDEX: Index = Index(9);

/// The first byte says which record the rest is, and whether its checksum is to be made right.
///
/// # Panics
/// If decoding panics, or if what decodes is written otherwise than it was read.
pub fn log_records(data: &[u8]) {
    let Some((&form, value)) = data.split_first() else {
        return;
    };
    let kinds = [
        StateKind::Purged,
        StateKind::HardState,
        StateKind::Snapshot,
        StateKind::Deleted,
    ];
    let kind = usize::from(form & 0x7f) % 5;
    let is_sealed = form & 0x80 != 0;
    match kinds.get(kind) {
        None if is_sealed => entry(&sealed_entry(value)),
        None => entry(value),
        Some(kind) if is_sealed => state_record(*kind, &sealed_state(*kind, value)),
        Some(kind) => state_record(*kind, value),
    }
    let _ = index_of_key(GROUP, value);
    let _ = record::group_of_state_key(value);
}

fn entry(value: &[u8]) {
    let Ok(view) = EntryView::verify(GROUP, INDEX, value) else {
        return;
    };
    let _ = view.follows(&Link {
        id: view.link.id,
        chain: view.previous,
    });
    let Ok(payload) = view.decode() else { return };
    let written = Entry {
        id: view.link.id,
        payload,
    };
    let mut again = Vec::new();
    let chain = record::encode_entry(&entry_key(GROUP, INDEX), &written, view.previous, &mut again);
    // The order of a configuration's nodes is one that a writer chooses, and the two bytes behind the kind say nothing.
    if again == value {
        assert_eq!(chain, view.link.chain);
    }
    let view = EntryView::verify(GROUP, INDEX, &again).expect("what was written is read");
    assert_eq!(view.link.id, written.id);
    let payload = view.decode().expect("what was written is read");
    assert_eq!(payload, written.payload);
}

fn state_record(kind: StateKind, value: &[u8]) {
    let written = match kind {
        StateKind::Purged => record::decode_purged(GROUP, value)
            .ok()
            .map(|purged| record::encode_purged(GROUP, &purged)),
        StateKind::HardState => record::decode_hard_state(GROUP, value)
            .ok()
            .map(|hard_state| record::encode_hard_state(GROUP, &hard_state)),
        StateKind::Deleted => record::decode_deleted(GROUP, value)
            .ok()
            .map(|through| record::encode_deleted(GROUP, through)),
        StateKind::Snapshot => {
            if let Ok(meta) = record::decode_snapshot(GROUP, value) {
                let again = record::encode_snapshot(GROUP, &meta);
                assert!(
                    again.len() <= value.len(),
                    "the form that is written is the shortest"
                );
                let again = record::decode_snapshot(GROUP, &again).expect("what was written is read");
                assert_eq!(again, meta);
            }
            None
        }
    };
    if let Some(written) = written {
        assert_eq!(written, value, "a record of kind {kind:?} has one form");
    }
}

/// An entry's value with a right length and checksum.
fn sealed_entry(value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    value.resize(value.len().max(ENTRY_HEADER_BYTES), 0);
    value[0] = record::VERSION;
    let length = (value.len() - ENTRY_HEADER_BYTES) as u32;
    value[4..8].copy_from_slice(&length.to_le_bytes());
    let checksum_at = ENTRY_HEADER_BYTES - CHECKSUM_BYTES;
    let checksum = crc32c::crc32c(&entry_key(GROUP, INDEX));
    let checksum = crc32c::crc32c_append(checksum, &value[..checksum_at]);
    let checksum = crc32c::crc32c_append(checksum, &value[ENTRY_HEADER_BYTES..]);
    value[checksum_at..ENTRY_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    value
}

/// A state record with this body and a right checksum.
fn sealed_state(kind: StateKind, body: &[u8]) -> Vec<u8> {
    let checksum = crc32c::crc32c(&state_key(GROUP, kind));
    let checksum = crc32c::crc32c_append(checksum, &[record::VERSION]);
    let checksum = crc32c::crc32c_append(checksum, body);
    [&[record::VERSION], &checksum.to_le_bytes()[..], body].concat()
}

/// A slot of a watermark file, as it is and with a right checksum.
///
/// # Panics
/// If decoding panics, or if what decodes is written otherwise than it was read.
pub fn watermark(data: &[u8]) {
    slot(data);
    let mut whole = encode_slot(GROUP, 0, &Promise::default());
    let checksum_at = BODY_BYTES - CHECKSUM_BYTES;
    for (place, byte) in whole[7..checksum_at].iter_mut().zip(data) {
        *place = *byte;
    }
    let checksum = crc32c::crc32c(&whole[..checksum_at]);
    whole[checksum_at..].copy_from_slice(&checksum.to_le_bytes());
    slot(&whole);
}

fn slot(bytes: &[u8]) {
    match decode_slot(GROUP, bytes) {
        Slot::Valid(sequence, promise) => {
            assert_eq!(
                encode_slot(GROUP, sequence, &promise),
                bytes[..BODY_BYTES],
                "a slot has one form"
            );
        }
        Slot::Version(version) => assert_eq!(bytes[7], version),
        Slot::Torn => {}
    }
}

/// The first byte says what the rest is: a whole file, or a header without a checksum, or the content of a file.
///
/// # Panics
/// If decoding panics, or if what was written is not read.
pub fn snapshot_file(data: &[u8]) {
    let Some((&form, bytes)) = data.split_first() else {
        return;
    };
    match form % 3 {
        0 => {
            file(bytes);
        }
        1 => {
            header(&sealed_header(bytes));
        }
        _ => {
            let meta = SnapshotMeta {
                last: EntryId::new(Term(2), Index(7)),
                membership: Membership::empty(),
            };
            let written = file_with(&meta, bytes);
            assert_eq!(file(&written).as_deref(), Some(bytes), "what was written is read");
        }
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    let length = header_bytes(bytes.first_chunk::<PREFIX_BYTES>()?).ok()?;
    let header = decode_header(bytes.get(..length)?).ok()?;
    let (written, expected) = encode_header(header.group, &header.meta);
    assert!(
        written.len() <= length,
        "the form that is written is the shortest"
    );
    assert_eq!(
        decode_header(&written).expect("what was written is read"),
        expected
    );
    assert_eq!((expected.group, &expected.meta), (header.group, &header.meta));
    Some(header)
}

/// Reads a file as the store does; the content, if all of it is right.
fn file(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = header(bytes)?;
    let end = bytes
        .len()
        .checked_sub(TRAILER_BYTES)
        .filter(|end| *end >= header.bytes)?;
    let trailer = decode_trailer(&header, bytes.len() as u64, bytes[end..].first_chunk()?).ok()?;
    let mut content = Vec::new();
    for number in 0..trailer.bytes.div_ceil(BLOCK_BYTES as u64) {
        let at = usize::try_from(block_at(&header, number)).expect("it is within the file");
        let block_end = (at + BLOCK_BYTES + CHECKSUM_BYTES).min(end);
        let mut block = bytes[at..block_end].to_vec();
        verify_block(number, &mut block).ok()?;
        content.extend(block);
    }
    assert_eq!(content.len() as u64, trailer.bytes);
    (crc32c::crc32c(&content) == trailer.checksum).then_some(content)
}

/// A header with this group, identity and configuration, a right length and checksum.
fn sealed_header(body: &[u8]) -> Vec<u8> {
    let (empty, _) = encode_header(GROUP, &SnapshotMeta::default());
    let mut bytes = empty[..PREFIX_BYTES].to_vec();
    let (group, meta) = body.split_at(body.len().min(8));
    bytes[8..8 + group.len()].copy_from_slice(group);
    bytes[16..PREFIX_BYTES].copy_from_slice(&(meta.len() as u32).to_le_bytes());
    bytes.extend_from_slice(meta);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

fn file_with(meta: &SnapshotMeta, content: &[u8]) -> Vec<u8> {
    let (mut bytes, header) = encode_header(GROUP, meta);
    for (number, block) in content.chunks(BLOCK_BYTES).enumerate() {
        bytes.extend_from_slice(block);
        let checksum = crc32c::crc32c_append(block_checksum(number as u64), block);
        bytes.extend(checksum.to_le_bytes());
    }
    bytes.extend(encode_trailer(&header, SnapshotContent::of(content)));
    bytes
}

fn meta() -> SnapshotMeta {
    let voters = [NodeId(1), NodeId(2), NodeId(3)];
    SnapshotMeta {
        last: EntryId::new(Term(2), Index(7)),
        membership: Membership::of_voters(voters).expect("three voters are fine"),
    }
}

/// A record of each kind, whole and without its checksum.
#[must_use]
pub fn log_record_seeds() -> Vec<Vec<u8>> {
    const SEALED: u8 = 0x80;
    let link = Link {
        id: EntryId::new(Term(2), Index(7)),
        chain: 99,
    };
    let hard_state = HardState {
        term: Term(4),
        vote: Some(NodeId(2)),
        commit: Index(8),
        trust: Trust::Suspect,
    };
    let state = [
        record::encode_purged(GROUP, &link),
        record::encode_hard_state(GROUP, &hard_state),
        record::encode_snapshot(GROUP, &meta()),
        record::encode_deleted(GROUP, Index(7)),
    ];
    let mut seeds = Vec::new();
    for (record, kind) in state.iter().zip(0u8..) {
        seeds.push([&[kind], &record[..]].concat());
        seeds.push([&[kind | SEALED], &record[5..]].concat());
    }
    let payloads = [
        Payload::Noop,
        Payload::Command(Bytes::from_static(b"put")),
        Payload::Membership(meta().membership),
    ];
    for payload in payloads {
        assert!(wire::payload_kind(&payload) < 3);
        let entry = Entry {
            id: EntryId::new(Term(2), INDEX),
            payload,
        };
        let mut value = Vec::new();
        record::encode_entry(&entry_key(GROUP, INDEX), &entry, 5, &mut value);
        seeds.push([&[4], &value[..]].concat());
        seeds.push([&[4 | SEALED], &value[..]].concat());
    }
    seeds
}

/// A slot that promises nothing, and one that promises something.
#[must_use]
pub fn watermark_seeds() -> Vec<Vec<u8>> {
    let promise = Promise {
        term: Term(3),
        vote: Some(NodeId(2)),
        last: Index(11),
        chain: 12,
    };
    let slots = [
        encode_slot(GROUP, 4, &promise),
        encode_slot(GROUP, 1, &Promise::default()),
    ];
    let mut seeds: Vec<Vec<u8>> = slots.iter().map(|slot| slot.to_vec()).collect();
    // What a right checksum is added to.
    seeds.push(slots[0][7..].to_vec());
    seeds
}

/// Whole files, a header, and content.
#[must_use]
pub fn snapshot_file_seeds() -> Vec<Vec<u8>> {
    let whole = file_with(&meta(), b"the whole state");
    let (header, _) = encode_header(GROUP, &meta());
    vec![
        [&[0], &whole[..]].concat(),
        [&[0], &file_with(&SnapshotMeta::default(), b"")[..]].concat(),
        [
            &[1],
            &header[8..16],
            &header[PREFIX_BYTES..header.len() - CHECKSUM_BYTES],
        ]
        .concat(),
        b"\x02the whole state".to_vec(),
    ]
}
