//! The state machine, in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_core::entry::{Entry, Payload};
use raft_core::message::SnapshotMeta;
use raft_core::traits::{StateMachine, StateMachineError};
use raft_core::types::EntryId;

use super::command::{Command, Response, Status};
use super::versioned::{Trail, Versioned};
use crate::fingerprint::Fingerprint;

/// Keys and values.
///
/// Invariant: `hash` is the sum of the hashes of all pairs, so that it depends on the state only, not on how it came about,
/// and a write changes it in constant time (I10).
#[derive(Clone, Debug, Default)]
pub struct KeyValue {
    last_applied: EntryId,
    values: BTreeMap<Bytes, Versioned>,
    hash: u64,
}

impl KeyValue {
    /// One without keys.
    #[must_use]
    pub fn new() -> KeyValue {
        KeyValue::default()
    }

    /// The hash of all keys and values.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.hash
    }

    /// What a key holds.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Versioned {
        self.values.get(key).cloned().unwrap_or_default()
    }

    fn run(&mut self, command: &Command) -> Response {
        let found = self.get(command.key());
        let (next, status) = command.apply(&found);
        if status == Status::Done {
            self.put(command.key().clone(), next);
        }
        Response { status, found }
    }

    fn put(&mut self, key: Bytes, next: Versioned) {
        self.hash = self.hash.wrapping_add(Fingerprint::of(&(&key, &next)));
        // Keys and values are copied out of the log: a slice would keep the whole command alive.
        let next = Versioned {
            value: Bytes::copy_from_slice(&next.value),
            ..next
        };
        if let Some(value) = self.values.get_mut(&key) {
            let previous = std::mem::replace(value, next);
            let hash = Fingerprint::of(&(&key, &previous));
            self.hash = self.hash.wrapping_sub(hash);
        } else {
            self.values.insert(Bytes::copy_from_slice(&key), next);
        }
    }
}

impl StateMachine for KeyValue {
    fn last_applied(&self) -> EntryId {
        self.last_applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        let mut responses = Vec::with_capacity(entries.len());
        for entry in entries {
            responses.push(match &entry.payload {
                Payload::Command(bytes) => match Command::decode(bytes.clone()) {
                    Some(command) => self.run(&command).encode(),
                    None => malformed().encode(),
                },
                Payload::Noop | Payload::Membership(_) | Payload::Session(_) => Bytes::new(),
            });
            self.last_applied = entry.id;
        }
        Ok(responses)
    }

    /// The question is a key.
    fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> {
        let response = Response {
            status: Status::Done,
            found: self.get(question),
        };
        Ok(response.encode())
    }

    /// How many keys (u64), and for each, in order, the lengths of key, trail and value (u32 each), the revision (u64)
    /// and the three. All little-endian; equal states have equal bytes.
    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        let mut bytes = BytesMut::new();
        bytes.put_u64_le(self.values.len() as u64);
        for (key, versioned) in &self.values {
            let parts = [&key[..], versioned.trail.bytes(), &versioned.value[..]];
            for part in parts {
                bytes.put_u32_le(part.len() as u32);
            }
            bytes.put_u64_le(versioned.revision);
            for part in parts {
                bytes.put_slice(part);
            }
        }
        Ok(Box::new(Cursor::new(bytes.freeze())))
    }

    fn may_block(&self) -> bool {
        false
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        let restored = decode(Bytes::from(bytes));
        *self = restored
            .ok_or_else(|| StateMachineError::new("the snapshot is not one of these keys and values"))?;
        self.last_applied = meta.last;
        Ok(())
    }
}

/// The state of a snapshot's bytes, if they are one.
fn decode(mut bytes: Bytes) -> Option<KeyValue> {
    let mut state = KeyValue::new();
    for _ in 0..bytes.try_get_u64_le().ok()? {
        let mut lengths = [0; 3];
        for length in &mut lengths {
            *length = bytes.try_get_u32_le().ok()? as usize;
        }
        let revision = bytes.try_get_u64_le().ok()?;
        let mut part = |length| (length <= bytes.len()).then(|| bytes.split_to(length));
        let key = part(lengths[0])?;
        let trail = Trail::from_bytes(part(lengths[1])?)?;
        let value = part(lengths[2])?;
        state.put(
            key,
            Versioned {
                revision,
                trail,
                value,
            },
        );
    }
    bytes.is_empty().then_some(state)
}

fn malformed() -> Response {
    Response {
        status: Status::Malformed,
        found: Versioned::default(),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::membership::Membership;
    use raft_core::types::{Index, Term};

    use super::*;
    use crate::random::Random;

    fn random_command(random: &mut Random) -> Command {
        let key = Bytes::from(format!("key-{}", random.below(20)));
        let value = Bytes::from(random.next_u64().to_string());
        match random.below(3) {
            0 => Command::Put { key, value },
            1 => Command::Append { key, value },
            _ => Command::CompareAndSet {
                key,
                revision: random.below(5),
                value,
            },
        }
    }

    fn applied(seed: u64, count: u64) -> KeyValue {
        let mut random = Random::new(seed);
        let mut state = KeyValue::new();
        for index in 1..=count {
            let command = random_command(&mut random).encode();
            let entry = Entry::command(Term(1), Index(index), command);
            state.apply(&[entry]).unwrap();
        }
        state
    }

    fn bytes_of(state: &mut KeyValue) -> Vec<u8> {
        let mut bytes = Vec::new();
        state.snapshot().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn restored(bytes: &[u8]) -> Result<KeyValue, StateMachineError> {
        let mut state = applied(99, 10);
        let meta = SnapshotMeta {
            last: EntryId::new(Term(1), Index(500)),
            membership: Membership::default(),
        };
        state.restore(&meta, &mut &bytes[..])?;
        Ok(state)
    }

    /// I10: the hash follows from the state, whichever way it came about; I21: a snapshot stands for its prefix.
    #[test]
    fn the_hash_is_that_of_the_state() {
        let mut hashes = std::collections::BTreeSet::new();
        for count in 0..200 {
            let mut state = applied(7, count);
            let mut again = restored(&bytes_of(&mut state)).unwrap();
            assert_eq!(again.state_hash(), state.state_hash());
            assert_eq!(bytes_of(&mut again), bytes_of(&mut state));
            assert_eq!(again.last_applied(), EntryId::new(Term(1), Index(500)));
            hashes.insert(state.state_hash());
        }
        // A compare-and-set that does not match changes nothing.
        assert!(hashes.len() > 120, "only {} states of 200 differ", hashes.len());
    }

    #[test]
    fn a_write_answers_with_what_it_found() {
        let mut state = KeyValue::new();
        let (key, value) = (Bytes::from("k"), Bytes::from("v"));
        let put = Command::Put {
            key: key.clone(),
            value: value.clone(),
        };
        assert_eq!(state.run(&put).found, Versioned::default());
        let found = state.run(&put).found;
        assert_eq!((found.revision, found.value), (1, value));
        let refused = state.run(&Command::CompareAndSet {
            key: key.clone(),
            revision: 1,
            value: Bytes::from("w"),
        });
        assert_eq!(refused.status, Status::Mismatch);
        assert_eq!(state.get(&key).revision, 2);
        let answer = Response::decode(state.query(&key).unwrap());
        assert_eq!(answer.map(|response| response.found), Some(state.get(&key)));
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let bytes = bytes_of(&mut applied(3, 50));
        for length in 0..bytes.len() {
            assert!(restored(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(restored(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn bytes_that_are_no_command_change_nothing() {
        let mut state = KeyValue::new();
        let entry = Entry::command(Term(1), Index(1), Bytes::from("?"));
        let responses = state.apply(&[entry]).unwrap();
        assert_eq!(responses, [malformed().encode()]);
        assert_eq!(state.state_hash(), KeyValue::new().state_hash());
        assert_eq!(state.last_applied(), EntryId::new(Term(1), Index(1)));
    }
}
