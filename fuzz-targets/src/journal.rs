//! What the journal of the log store reads off a disk: records in their sectors, batches, heads of segments, and the control file.

use crate::storage::format::batch::{Operation, Operations};
use crate::storage::format::journal::{
    CONTROL_BYTES, Control, Found, Place, SECTOR_BYTES, SegmentHead, decode_openings, decode_record,
    encode_openings, encode_record, stamp,
};

const STORE: u64 = 0x5eed;
const PLACE: Place = Place { next: 9, chain: 77 };

/// The first byte says what the rest is: sectors where a record is looked for, the body of a record, or a head.
///
/// # Panics
/// If decoding panics, if what was written is not read, or if what decodes is written otherwise than it was read.
pub fn journal(data: &[u8]) {
    let Some((&form, bytes)) = data.split_first() else {
        return;
    };
    match form % 3 {
        0 => sectors(bytes),
        1 => body(bytes),
        _ => heads(bytes),
    }
}

fn sectors(bytes: &[u8]) {
    for sector in bytes.chunks_exact(SECTOR_BYTES) {
        let _ = stamp(STORE, sector);
    }
    if let Found::Whole {
        body,
        disk_bytes,
        after,
    } = decode_record(STORE, PLACE, bytes)
    {
        let mut again = Vec::new();
        assert_eq!(encode_record(STORE, PLACE, &body, &mut again), after);
        // What stands behind the body in its last sector says nothing.
        assert_eq!(again.len(), disk_bytes);
    }
}

fn body(bytes: &[u8]) {
    let mut sectors = Vec::new();
    let after = encode_record(STORE, PLACE, bytes, &mut sectors);
    let expected = Found::Whole {
        body: bytes.to_vec(),
        disk_bytes: sectors.len(),
        after,
    };
    assert_eq!(
        decode_record(STORE, PLACE, &sectors),
        expected,
        "what was written is read"
    );
    let mut taken = 0;
    for operation in Operations::of(bytes) {
        taken += match operation {
            Ok(Operation::PutEntry { key, value }) => 1 + key.len() + 4 + value.len(),
            Ok(Operation::DeleteEntry { key }) => 1 + key.len(),
            Ok(Operation::DeleteEntries { .. }) => 1 + 8,
            Ok(Operation::PutState { key, value }) => 1 + key.len() + 4 + value.len(),
            Ok(Operation::DeleteState { key }) => 1 + key.len(),
            Err(_) => return,
        };
    }
    assert_eq!(taken, bytes.len(), "every byte belongs to one operation");
}

fn heads(bytes: &[u8]) {
    if let Ok(head) = SegmentHead::decode(bytes) {
        assert!(bytes.starts_with(&head.encode()[..60]), "a head has one form");
        assert!(head.records_at() <= head.file_bytes);
    }
    if let Ok((sequence, count)) = decode_openings(bytes) {
        let again = encode_openings(sequence, count);
        assert!(bytes.starts_with(&again), "a slot has one form");
    }
    if let Ok((sequence, control)) = Control::decode(bytes) {
        assert_eq!(
            control.encode(sequence),
            bytes[..CONTROL_BYTES],
            "a slot has one form"
        );
    }
}

/// A record, a torn one, a batch, a head and a slot.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let batch = [
        &[1][..],
        &[7; 16],
        &5_u32.to_le_bytes(),
        b"value",
        &[2],
        &[7; 16],
        &[5],
        &[7; 9],
        &[3],
        &[7; 8],
    ]
    .concat();
    let mut record = Vec::new();
    encode_record(STORE, PLACE, &[3; 600], &mut record);
    let head = SegmentHead {
        store: STORE,
        number: 2,
        file_bytes: 1 << 20,
        twin_bytes: 65_536,
        begin: PLACE,
    };
    let control = Control {
        store: STORE,
        first_segment: 1,
        last_segment: 2,
        durable: 8,
        openings: 4,
        closed: 3,
    };
    vec![
        [&[0], &record[..]].concat(),
        [&[0], &record[..SECTOR_BYTES], &[0; SECTOR_BYTES][..]].concat(),
        [&[1], &batch[..]].concat(),
        [&[2], &head.encode()[..]].concat(),
        [&[2], &control.encode(3)[..]].concat(),
        [&[2], &encode_openings(3, 7)[..]].concat(),
    ]
}
