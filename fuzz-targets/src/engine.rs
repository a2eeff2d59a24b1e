//! What the log store on raft-engine reads off a disk itself.
//!
//! As in `storage`, each input is also taken as what a checksum covers.

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};

#[allow(dead_code, reason = "the store uses the rest")]
#[path = "../../raft-storage-engine/src/format/mod.rs"]
mod format;

use format::record::{self, EntryView, HEADER_BYTES, Header, Link, StateKind};
use format::slot::{BODY_BYTES, Promise, Slot, decode_slot, encode_slot};
use format::tail::damage;

const GROUP: GroupId = GroupId(3);
/// Where the entries of the inputs stand.
const INDEX: Index = Index(9);
/// Whose the slots of the inputs are.
const OWNER: u64 = 3;
/// The number of the file that the inputs are.
const FILE: u64 = 2;
const CHECKSUM_BYTES: usize = 4;
/// In the first byte: the checksum is to be made right.
const SEALED: u8 = 0x80;
/// The header of one of raft-engine's files, version 2.
const FILE_HEADER: &[u8] =
    b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";

/// The first byte says what the rest is (an entry, a state, a slot, a file), and whether its checksum is to be made right.
///
/// # Panics
/// If decoding panics, or if what decodes is written otherwise than it was read.
pub fn engine_log(data: &[u8]) {
    let Some((&form, bytes)) = data.split_first() else {
        return;
    };
    let is_sealed = form & SEALED != 0;
    match usize::from(form & !SEALED) % 6 {
        0 => entry(bytes, is_sealed),
        1 => state(StateKind::Purged, bytes, is_sealed),
        2 => state(StateKind::HardState, bytes, is_sealed),
        3 => state(StateKind::Snapshot, bytes, is_sealed),
        4 => slot(bytes, is_sealed),
        _ => file(bytes, is_sealed),
    }
}

fn entry(bytes: &[u8], is_sealed: bool) {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let payload = Bytes::copy_from_slice(payload);
    let header = if is_sealed {
        sealed(header, &payload)
    } else {
        *header
    };
    let Ok(view) = EntryView::verify(GROUP, INDEX, &header, &payload) else {
        return;
    };
    let link = Link {
        id: view.link.id,
        chain: view.previous,
    };
    let _ = view.follows(&link);
    let Ok(decoded) = view.decode() else { return };
    let written = Entry {
        id: view.link.id,
        payload: decoded,
    };
    let (again, payload, link) = record::encode_entry(GROUP, &written, view.previous);
    let view = EntryView::verify(GROUP, INDEX, &again, &payload).expect("what was written is read");
    assert_eq!(view.link, link);
    let decoded = view.decode().expect("what was written is read");
    assert_eq!(decoded, written.payload);
}

/// The header with the right version, place, length and checksum.
fn sealed(header: &Header, payload: &[u8]) -> Header {
    let mut header = *header;
    header[0] = record::VERSION;
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[16..24].copy_from_slice(&INDEX.0.to_le_bytes());
    let covered = HEADER_BYTES - CHECKSUM_BYTES;
    let checksum = crc32c::crc32c(&GROUP.0.to_le_bytes());
    let checksum = crc32c::crc32c_append(checksum, &header[..covered]);
    let checksum = crc32c::crc32c_append(checksum, payload);
    header[covered..].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn state(kind: StateKind, bytes: &[u8], is_sealed: bool) {
    let sealed;
    let value = if is_sealed {
        let checksum = crc32c::crc32c(&GROUP.0.to_le_bytes());
        let checksum = crc32c::crc32c_append(checksum, &[kind as u8, record::VERSION]);
        let checksum = crc32c::crc32c_append(checksum, bytes);
        sealed = [&[record::VERSION], &checksum.to_le_bytes()[..], bytes].concat();
        &sealed[..]
    } else {
        bytes
    };
    let written = match kind {
        StateKind::Purged => record::decode_purged(GROUP, value)
            .ok()
            .map(|purged| record::encode_purged(GROUP, &purged)),
        StateKind::HardState => record::decode_hard_state(GROUP, value)
            .ok()
            .map(|hard_state| record::encode_hard_state(GROUP, &hard_state)),
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

fn slot(bytes: &[u8], is_sealed: bool) {
    let mut whole = encode_slot(OWNER, 0, &[0; 4]);
    let bytes = if is_sealed {
        let covered = BODY_BYTES - CHECKSUM_BYTES;
        for (place, byte) in whole[7..covered].iter_mut().zip(bytes) {
            *place = *byte;
        }
        let checksum = crc32c::crc32c(&whole[..covered]);
        whole[covered..].copy_from_slice(&checksum.to_le_bytes());
        &whole[..]
    } else {
        bytes
    };
    match decode_slot(OWNER, bytes) {
        Slot::Valid(sequence, words) => {
            let again = encode_slot(OWNER, sequence, &words);
            assert_eq!(again, bytes[..BODY_BYTES], "a slot has one form");
            assert_eq!(Promise::from_words(&words).words(), words);
        }
        Slot::Version(version) => assert_eq!(bytes[7], version),
        Slot::Torn => {}
    }
}

/// A file of raft-engine, as it is, or with a right header in front and a whole record at the end: whatever stands between
/// them is damage then, or records.
fn file(bytes: &[u8], is_sealed: bool) {
    if !is_sealed {
        let _ = damage(bytes, FILE);
        return;
    }
    let found = damage(&[FILE_HEADER, bytes].concat(), FILE);
    let whole = damage(&[FILE_HEADER, bytes, &whole_record()].concat(), FILE);
    let is_clean = damage(&[FILE_HEADER, &whole_record(), &[0; 700]].concat(), FILE);
    assert_eq!(is_clean, None);
    if found.is_some_and(|text| text.contains("a whole one behind it")) {
        assert!(whole.is_some(), "a record more hides no damage");
    }
}

/// A record without entries.
fn whole_record() -> Vec<u8> {
    let items = b"\x01\x07\x03\x01\x01k\x01v";
    let length = (16 + items.len() + CHECKSUM_BYTES) as u64;
    let mut record = [(length << 8).to_be_bytes(), 16_u64.to_be_bytes()].concat();
    record.extend_from_slice(items);
    record.extend((crc32fast::hash(items) ^ FILE as u32).to_le_bytes());
    record
}

/// One of each kind, whole and without its checksum.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
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
    let voters = Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]).expect("three voters are fine");
    let meta = SnapshotMeta {
        last: link.id,
        membership: voters.clone(),
    };
    let states = [
        record::encode_purged(GROUP, &link),
        record::encode_hard_state(GROUP, &hard_state),
        record::encode_snapshot(GROUP, &meta),
    ];
    let mut seeds = Vec::new();
    for (value, kind) in states.iter().zip(1_u8..) {
        seeds.push([&[kind], &value[..]].concat());
        seeds.push([&[kind | SEALED], &value[5..]].concat());
    }
    let payloads = [
        Payload::Command(Bytes::from_static(b"put")),
        Payload::Membership(voters),
    ];
    let entries = payloads.map(|payload| Entry {
        id: EntryId::new(Term(2), INDEX),
        payload,
    });
    for entry in &entries {
        let (header, payload, _) = record::encode_entry(GROUP, entry, 5);
        seeds.push([&[0], &header[..], &payload].concat());
        seeds.push([&[SEALED], &header[..], &payload].concat());
    }
    let promise = Promise {
        term: Term(3),
        vote: Some(NodeId(2)),
        last: Index(11),
        chain: 12,
    };
    let slot = encode_slot(OWNER, 4, &promise.words());
    seeds.push([&[4], &slot[..]].concat());
    seeds.push([&[4 | SEALED], &slot[7..]].concat());
    let record = whole_record();
    seeds.push([&[5], FILE_HEADER, &record, &record, &[0; 40]].concat());
    seeds.push([&[5 | SEALED], &record[..], &record, &[0; 40]].concat());
    seeds
}
