//! The body of a journal's record: what one group commit changes, in the order in which it does.
//!
//! | bytes | operation |
//! |---|---|
//! | 1, group (8), index (8), length (4), value | puts an entry |
//! | 2, group (8), index (8) | deletes an entry |
//! | 3, group (8) | deletes all entries of a group |
//! | 4, group (8), kind (1), length (4), value | puts a state record |
//! | 5, group (8), kind (1) | deletes a state record |
//!
//! Groups and indexes are big-endian, as in the keys; lengths are little-endian. The values are those of
//! [`record`](super::record), which have checksums of their own, so that what RocksDB returns later is verified by the
//! same means.

use raft_core::entry::Entry;
use raft_core::types::{GroupId, Index};

use super::record::{ENTRY_KEY_BYTES, RecordError, StateKind, encode_entry, entry_key, state_key, u32_at};

const PUT_ENTRY: u8 = 1;
const DELETE_ENTRY: u8 = 2;
const DELETE_ENTRIES: u8 = 3;
const PUT_STATE: u8 = 4;
const DELETE_STATE: u8 = 5;

const STATE_KEY_BYTES: usize = 9;

/// A batch under construction.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
}

/// One change, as it is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    PutEntry {
        key: &'a [u8; ENTRY_KEY_BYTES],
        value: &'a [u8],
    },
    DeleteEntry {
        key: &'a [u8; ENTRY_KEY_BYTES],
    },
    DeleteEntries {
        group: GroupId,
    },
    PutState {
        key: &'a [u8; STATE_KEY_BYTES],
        value: &'a [u8],
    },
    DeleteState {
        key: &'a [u8; STATE_KEY_BYTES],
    },
}

impl Batch {
    /// An empty batch with room for `bytes`: growing step by step would copy every payload once more.
    pub(crate) fn with_capacity(bytes: usize) -> Batch {
        Batch {
            bytes: Vec::with_capacity(bytes),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What the journal stores.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds an entry that follows one with the chain value `previous`; returns its own chain value. The payload is copied
    /// once, into its place.
    pub(crate) fn put_entry(&mut self, group: GroupId, entry: &Entry, previous: u64) -> u64 {
        let key = entry_key(group, entry.index());
        self.bytes.push(PUT_ENTRY);
        self.bytes.extend_from_slice(&key);
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let chain = encode_entry(&key, entry, previous, &mut self.bytes);
        self.seal_length(length_at);
        chain
    }

    pub(crate) fn delete_entry(&mut self, group: GroupId, index: Index) {
        self.bytes.push(DELETE_ENTRY);
        self.bytes.extend_from_slice(&entry_key(group, index));
    }

    pub(crate) fn delete_entries(&mut self, group: GroupId) {
        self.bytes.push(DELETE_ENTRIES);
        self.bytes.extend_from_slice(&group.0.to_be_bytes());
    }

    pub(crate) fn put_state(&mut self, group: GroupId, kind: StateKind, value: &[u8]) {
        self.bytes.push(PUT_STATE);
        self.bytes.extend_from_slice(&state_key(group, kind));
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(value);
        self.seal_length(length_at);
    }

    pub(crate) fn delete_state(&mut self, group: GroupId, kind: StateKind) {
        self.bytes.push(DELETE_STATE);
        self.bytes.extend_from_slice(&state_key(group, kind));
    }

    /// Deletes everything of a group.
    pub(crate) fn delete_group(&mut self, group: GroupId) {
        for kind in [
            StateKind::Purged,
            StateKind::HardState,
            StateKind::Snapshot,
            StateKind::Deleted,
        ] {
            self.delete_state(group, kind);
        }
        self.delete_entries(group);
    }

    fn seal_length(&mut self, length_at: usize) {
        let length = self.bytes.len() - length_at - 4;
        let length = u32::try_from(length).expect("limits keep a value below 4 GiB");
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// The operations in the body of a record, in order. After an error there are no more.
#[derive(Clone, Debug)]
pub(crate) struct Operations<'a> {
    rest: &'a [u8],
}

impl<'a> Operations<'a> {
    pub(crate) fn of(body: &'a [u8]) -> Operations<'a> {
        Operations { rest: body }
    }

    fn parse(&mut self) -> Result<Operation<'a>, RecordError> {
        let kind = self.take::<1>()?[0];
        Ok(match kind {
            PUT_ENTRY => Operation::PutEntry {
                key: self.take()?,
                value: self.value()?,
            },
            DELETE_ENTRY => Operation::DeleteEntry { key: self.take()? },
            DELETE_ENTRIES => Operation::DeleteEntries {
                group: GroupId(u64::from_be_bytes(*self.take()?)),
            },
            PUT_STATE => Operation::PutState {
                key: self.take()?,
                value: self.value()?,
            },
            DELETE_STATE => Operation::DeleteState { key: self.take()? },
            other => {
                return Err(RecordError::damaged(format!(
                    "{other} is no operation of a batch"
                )));
            }
        })
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], RecordError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(RecordError::damaged("a batch ends in the middle of an operation"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn value(&mut self) -> Result<&'a [u8], RecordError> {
        let length = u32_at(self.take::<4>()?, 0) as usize;
        let Some((value, rest)) = self.rest.split_at_checked(length) else {
            return Err(RecordError::damaged("a batch ends in the middle of a value"));
        };
        self.rest = rest;
        Ok(value)
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let operation = self.parse();
        if operation.is_err() {
            self.rest = &[];
        }
        Some(operation)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::Term;

    use super::*;
    use crate::format::record::EntryView;

    const G: GroupId = GroupId(3);

    fn batch() -> Batch {
        let mut batch = Batch::with_capacity(100);
        let entry = Entry::command(Term(2), Index(9), Bytes::from_static(b"payload"));
        batch.put_entry(G, &entry, 77);
        batch.delete_entry(G, Index(10));
        batch.put_state(G, StateKind::HardState, b"state");
        batch.delete_state(G, StateKind::Deleted);
        batch.delete_entries(GroupId(4));
        batch
    }

    #[test]
    fn operations_come_back_in_order() {
        let batch = batch();
        let operations: Vec<_> = Operations::of(batch.bytes()).map(Result::unwrap).collect();
        let Operation::PutEntry { key, value } = operations[0] else {
            panic!("{operations:?}");
        };
        assert_eq!(*key, entry_key(G, Index(9)));
        assert_eq!(EntryView::verify(G, Index(9), value).unwrap().previous, 77);
        assert_eq!(
            operations[1..],
            [
                Operation::DeleteEntry {
                    key: &entry_key(G, Index(10))
                },
                Operation::PutState {
                    key: &state_key(G, StateKind::HardState),
                    value: b"state"
                },
                Operation::DeleteState {
                    key: &state_key(G, StateKind::Deleted)
                },
                Operation::DeleteEntries { group: GroupId(4) },
            ]
        );
    }

    #[test]
    fn no_cut_and_no_foreign_byte_panics() {
        let batch = batch();
        let whole = Operations::of(batch.bytes()).count();
        for bytes in 0..batch.bytes().len() {
            let read = Operations::of(&batch.bytes()[..bytes]);
            let sound = read.clone().filter(Result::is_ok).count();
            assert!(sound < whole && read.count() <= sound + 1);
        }
        for at in 0..batch.bytes().len() {
            let mut damaged = batch.bytes().to_vec();
            damaged[at] = 0xff;
            let _count = Operations::of(&damaged).count();
        }
    }
}
