//! The table of sessions: as records beside the state, and at the beginning of a snapshot.

use std::io::{self, Cursor, Read};

use bytes::Bytes;
use raft_core::entry::{Entry, Payload, SessionCommand, SessionEntry, SessionRequest};
use raft_core::message::SnapshotMeta;
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{SessionChanges, StateMachine, StateMachineError};
use raft_core::types::{EntryId, Index, Sequence, SessionId, Term};

/// The last entry that every table here is the result of.
const APPLIED: EntryId = EntryId::new(Term(3), Index(9));
/// What a snapshot begins with: eight bytes, and the length of the records.
const MAGIC_BYTES: usize = 8;

/// A state machine without a state. It keeps the records of the sessions.
#[derive(Clone, Default)]
struct Stateless {
    applied: EntryId,
    records: Vec<(Bytes, Bytes)>,
}

impl StateMachine for Stateless {
    fn last_applied(&self) -> EntryId {
        self.applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.applied = entries.last().map_or(self.applied, |entry| entry.id);
        Ok(entries.iter().map(|_| Bytes::from_static(b"done")).collect())
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(Bytes::new())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(io::empty()))
    }

    fn restore(&mut self, meta: &SnapshotMeta, _content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.applied = meta.last;
        Ok(())
    }

    fn commit(&mut self, sessions: &SessionChanges) -> Result<(), StateMachineError> {
        if sessions.replaces_all {
            self.records.clear();
        }
        for (key, value) in &sessions.records {
            self.records.retain(|(known, _)| known != key);
            self.records
                .extend(value.clone().map(|value| (key.clone(), value)));
        }
        Ok(())
    }

    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        Ok(self.records.clone())
    }
}

/// The first byte says what the rest is: a snapshot; the records of a snapshot, without a checksum; or stored records. A
/// table that is accepted is written and read back as the same, and takes every request.
///
/// # Panics
/// If it is not, or if reading panics.
pub fn sessions(data: &[u8]) {
    let Some((&form, rest)) = data.split_first() else {
        return;
    };
    let state = match form % 3 {
        0 => restored(rest),
        1 => restored(&sealed(rest)),
        _ => ReplicatedState::open(Box::new(Stateless {
            applied: APPLIED,
            records: records(rest),
        }))
        .ok(),
    };
    let Some(mut state) = state else {
        return;
    };
    let written = snapshot_of(&mut state);
    let mut again = restored(&written).expect("a snapshot that was written is read");
    assert_eq!(again.sessions(), state.sessions(), "it is read as the same table");
    assert_eq!(snapshot_of(&mut again), written);
    use_sessions(&mut state);
}

/// Requests of sessions that may be there, and of some that are not.
fn use_sessions(state: &mut ReplicatedState) {
    let command = |session, sequence, acknowledged_below| {
        SessionRequest::Command(SessionCommand {
            session: SessionId(session),
            sequence: Sequence(sequence),
            acknowledged_below: Sequence(acknowledged_below),
            command: Bytes::from_static(b"put"),
        })
    };
    let requests = [
        SessionRequest::Open { ttl_ms: u64::MAX },
        command(4, 2, 1),
        command(4, 2, 1),
        command(4, (1 << 62) - 1, (1 << 62) - 1),
        SessionRequest::KeepAlive(SessionId(5)),
        SessionRequest::Close(SessionId(5)),
        command(10, 1, 1),
    ];
    for (position, request) in requests.into_iter().enumerate() {
        let index = APPLIED.index + 1 + position as u64;
        let entry = SessionEntry {
            elapsed_ms: if position == 6 { u64::MAX } else { 1 },
            request,
        };
        let entry = Entry {
            id: EntryId::new(Term(4), index),
            payload: Payload::Session(entry.into()),
        };
        let results = state
            .apply(&[entry])
            .expect("a state machine without a state never fails");
        assert_eq!(results.len(), 1);
    }
}

fn restored(content: &[u8]) -> Option<ReplicatedState> {
    let mut state = ReplicatedState::open(Box::new(Stateless::default())).expect("an empty table is fine");
    let meta = SnapshotMeta {
        last: APPLIED,
        ..SnapshotMeta::default()
    };
    let result = state.restore(&meta, &mut Cursor::new(content));
    result.is_ok().then_some(state)
}

fn snapshot_of(state: &mut ReplicatedState) -> Vec<u8> {
    let mut content = Vec::new();
    let mut stream = state
        .snapshot()
        .expect("a state machine without a state never fails");
    stream.read_to_end(&mut content).expect("memory is read");
    content
}

/// A snapshot with these records, and with the right length and checksum.
fn sealed(records: &[u8]) -> Vec<u8> {
    let mut state = ReplicatedState::open(Box::new(Stateless::default())).expect("an empty table is fine");
    let mut content = snapshot_of(&mut state)[..MAGIC_BYTES].to_vec();
    content.extend((records.len() as u64).to_le_bytes());
    content.extend_from_slice(records);
    let checksum = crc32c::crc32c(&content);
    content.extend(checksum.to_le_bytes());
    content
}

/// Takes pairs of a key and a value apart, each of which begins with its length in one byte.
fn records(mut data: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut part = || {
        let (&length, rest) = data.split_first()?;
        let (part, rest) = rest.split_at(usize::from(length).min(rest.len()));
        data = rest;
        Some(Bytes::copy_from_slice(part))
    };
    std::iter::from_fn(|| Some((part()?, part()?))).collect()
}

/// A table with two sessions and their replies, in all three forms.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut state = ReplicatedState::open(Box::new(Stateless::default())).expect("an empty table is fine");
    let command = |session, sequence| {
        SessionRequest::Command(SessionCommand {
            session: SessionId(session),
            sequence: Sequence(sequence),
            acknowledged_below: Sequence::FIRST,
            command: Bytes::from_static(b"put"),
        })
    };
    let open = SessionRequest::Open { ttl_ms: 60_000 };
    let requests = [
        open.clone(),
        open,
        command(4, 1),
        command(4, 2),
        command(5, 1),
        command(5, 2),
    ];
    for (request, index) in requests.into_iter().zip(4..) {
        let entry = SessionEntry {
            elapsed_ms: index,
            request,
        };
        let entry = Entry {
            id: EntryId::new(APPLIED.term, Index(index)),
            payload: Payload::Session(entry.into()),
        };
        state
            .apply(&[entry])
            .expect("a state machine without a state never fails");
    }
    let snapshot = snapshot_of(&mut state);
    let records = &snapshot[MAGIC_BYTES + 8..snapshot.len() - 4];
    let stored = stored(records);
    vec![
        [&[0], &snapshot[..]].concat(),
        [&[1], records].concat(),
        [&[2], &stored[..]].concat(),
    ]
}

/// The records of a snapshot in the form that [`records`] reads.
fn stored(mut records: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((length, rest)) = records.split_first_chunk::<4>() {
        let (part, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        out.push(part.len() as u8);
        out.extend_from_slice(part);
        records = rest;
    }
    out
}
