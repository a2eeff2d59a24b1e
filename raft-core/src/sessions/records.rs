//! The table as records: what a state machine stores beside its data, and what stands at the beginning of a snapshot.
//!
//! Three kinds of records, told apart by the first byte of the key; numbers in keys are big-endian, in values little-endian:
//!
//! | key | value |
//! |---|---|
//! | 1 | version, applied entry, log time, log time of the last election, last entry of a session |
//! | 2, session | time to live, last use, entry of the last use, acknowledged below |
//! | 3, session, sequence | index, response |

use std::io::{self, Read};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::table::{Kept, Session, SessionTable};
use crate::traits::SessionChanges;
use crate::types::{EntryId, Index, Sequence, SessionId, Term};

const VERSION: u8 = 1;
const KIND_TABLE: u8 = 1;
const KIND_SESSION: u8 = 2;
const KIND_REPLY: u8 = 3;

/// How the part of a snapshot begins that holds the sessions. The length of the records follows, then the records, then a
/// CRC-32C of all of it; then the state machine's own stream.
const MAGIC: [u8; 8] = *b"raftses\x01";

/// Stored sessions that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionsDamaged {
    /// A record is not what was written.
    #[error("the stored sessions are damaged: {0}")]
    Record(&'static str),
    /// They are of another moment than the data.
    #[error(
        "the state machine has applied {applied}, but its sessions are those at {sessions}; a state machine whose state \
         survives a restart must store what `commit` gives it with the state, and return it from `sessions`"
    )]
    OtherPosition {
        /// What the state machine has applied.
        applied: EntryId,
        /// What the sessions are the result of.
        sessions: EntryId,
    },
    /// A snapshot does not begin with sessions.
    #[error("the snapshot does not begin with the sessions of this version")]
    NotASnapshot,
    /// A snapshot ends in the middle of its sessions, or its checksum is wrong.
    #[error("the sessions at the beginning of the snapshot are damaged")]
    Snapshot,
}

impl SessionTable {
    /// What changed since the last call, to be stored with the state after `applied`.
    pub(super) fn take_changes(&mut self, applied: EntryId) -> SessionChanges {
        let dirty = std::mem::take(&mut self.dirty);
        let mut records = vec![(
            Bytes::from_static(&[KIND_TABLE]),
            Some(self.table_record(applied)),
        )];
        for id in dirty.sessions {
            let value = self.sessions.get(&id).map(Session::record);
            records.push((session_key(id), value));
        }
        for (id, sequence) in dirty.replies {
            let session = self.sessions.get(&id);
            let kept = session.and_then(|session| session.replies.get(&sequence));
            records.push((reply_key(id, sequence), kept.map(Kept::record)));
        }
        SessionChanges {
            replaces_all: false,
            records,
        }
    }

    /// The whole table, to be stored with the state after `applied` instead of whatever was stored before.
    pub(super) fn all_changes(&self, applied: EntryId) -> SessionChanges {
        let records = self.records(applied).into_iter();
        SessionChanges {
            replaces_all: true,
            records: records.map(|(key, value)| (key, Some(value))).collect(),
        }
    }

    /// The whole table as records.
    fn records(&self, applied: EntryId) -> Vec<(Bytes, Bytes)> {
        let mut records = vec![(Bytes::from_static(&[KIND_TABLE]), self.table_record(applied))];
        for (&id, session) in &self.sessions {
            records.push((session_key(id), session.record()));
            let replies = session.replies.iter();
            records.extend(replies.map(|(&sequence, kept)| (reply_key(id, sequence), kept.record())));
        }
        records
    }

    /// The table that was stored as these records with the state after `applied`.
    pub(super) fn from_records(
        records: impl IntoIterator<Item = (Bytes, Bytes)>,
        applied: EntryId,
    ) -> Result<SessionTable, SessionsDamaged> {
        let mut table = SessionTable::default();
        let mut sessions_at = EntryId::ZERO;
        let mut records: Vec<_> = records.into_iter().collect();
        // A session comes before its replies.
        records.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (mut key, mut value) in records {
            match key.try_get_u8() {
                Ok(KIND_TABLE) => sessions_at = table.read_table_record(&mut value)?,
                Ok(KIND_SESSION) => table.read_session(&mut key, &mut value)?,
                Ok(KIND_REPLY) => table.read_reply(&mut key, &mut value)?,
                _ => return Err(SessionsDamaged::Record("a key is unknown")),
            }
            if key.has_remaining() || value.has_remaining() {
                return Err(SessionsDamaged::Record("a record is too long"));
            }
        }
        if sessions_at != applied {
            return Err(SessionsDamaged::OtherPosition {
                applied,
                sessions: sessions_at,
            });
        }
        for (id, session) in std::mem::take(&mut table.sessions) {
            table.insert(id, session);
        }
        table.dirty = Default::default();
        Ok(table)
    }

    fn table_record(&self, applied: EntryId) -> Bytes {
        let mut value = BytesMut::with_capacity(49);
        value.put_u8(VERSION);
        for number in [
            applied.term.0,
            applied.index.0,
            self.log_time_ms,
            self.elected_at_ms,
            self.last.term.0,
            self.last.index.0,
        ] {
            value.put_u64_le(number);
        }
        value.freeze()
    }

    fn read_table_record(&mut self, value: &mut Bytes) -> Result<EntryId, SessionsDamaged> {
        if value.try_get_u8() != Ok(VERSION) {
            return Err(SessionsDamaged::Record("their version is unknown"));
        }
        let applied = EntryId::new(Term(number(value)?), Index(number(value)?));
        self.log_time_ms = number(value)?;
        self.elected_at_ms = number(value)?;
        self.last = EntryId::new(Term(number(value)?), Index(number(value)?));
        Ok(applied)
    }

    fn read_session(&mut self, key: &mut Bytes, value: &mut Bytes) -> Result<(), SessionsDamaged> {
        let id = SessionId(key_number(key)?);
        let session = Session {
            ttl_ms: number(value)?,
            last_used_ms: number(value)?,
            used_at: Index(number(value)?),
            acknowledged_below: Sequence(number(value)?),
            ..Session::default()
        };
        self.sessions.insert(id, session);
        Ok(())
    }

    fn read_reply(&mut self, key: &mut Bytes, value: &mut Bytes) -> Result<(), SessionsDamaged> {
        let (id, sequence) = (SessionId(key_number(key)?), Sequence(key_number(key)?));
        let index = Index(number(value)?);
        // A copy: the response shall not hold on to all that was read with it.
        let response = Some(Bytes::copy_from_slice(value));
        value.clear();
        let session = self.sessions.get_mut(&id);
        let session = session.ok_or(SessionsDamaged::Record("a reply has no session"))?;
        session.replies.insert(sequence, Kept { index, response });
        Ok(())
    }

    /// The bytes with which a snapshot of the state after `applied` begins.
    pub(super) fn snapshot_header(&self, applied: EntryId) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.put_u64_le(0);
        for (key, value) in self.records(applied) {
            for part in [key, value] {
                // Sizes of entries and their replies are far below.
                out.put_u32_le(u32::try_from(part.len()).expect("a reply is smaller than 4 GiB"));
                out.put_slice(&part);
            }
        }
        let length = (out.len() - MAGIC.len() - 8) as u64;
        out[MAGIC.len()..MAGIC.len() + 8].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c(&out);
        out.put_u32_le(checksum);
        out
    }

    /// Reads the table off the front of a snapshot of the state after `applied`. No more is allocated than the stream holds.
    pub(super) fn read_snapshot_header(content: &mut dyn Read, applied: EntryId) -> io::Result<SessionTable> {
        let mut head = [0; MAGIC.len() + 8];
        content
            .read_exact(&mut head)
            .map_err(|error| truncated(error, SessionsDamaged::NotASnapshot))?;
        let (magic, mut length) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged(SessionsDamaged::NotASnapshot));
        }
        let length = length.get_u64_le();
        let mut records = Vec::new();
        content.take(length).read_to_end(&mut records)?;
        let mut checksum = [0; 4];
        content
            .read_exact(&mut checksum)
            .map_err(|error| truncated(error, SessionsDamaged::Snapshot))?;
        let found = crc32c::crc32c_append(crc32c::crc32c(&head), &records);
        if records.len() as u64 != length || u32::from_le_bytes(checksum) != found {
            return Err(damaged(SessionsDamaged::Snapshot));
        }
        split(Bytes::from(records))
            .and_then(|records| SessionTable::from_records(records, applied))
            .map_err(damaged)
    }
}

impl Session {
    fn record(&self) -> Bytes {
        let mut value = BytesMut::with_capacity(32);
        for number in [
            self.ttl_ms,
            self.last_used_ms,
            self.used_at.0,
            self.acknowledged_below.0,
        ] {
            value.put_u64_le(number);
        }
        value.freeze()
    }
}

impl Kept {
    fn record(&self) -> Bytes {
        let response = self
            .response
            .as_ref()
            .expect("a batch is stored when it was applied");
        let mut value = BytesMut::with_capacity(8 + response.len());
        value.put_u64_le(self.index.0);
        value.put_slice(response);
        value.freeze()
    }
}

fn session_key(id: SessionId) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(KIND_SESSION);
    key.put_u64(id.0);
    key.freeze()
}

fn reply_key(id: SessionId, sequence: Sequence) -> Bytes {
    let mut key = BytesMut::with_capacity(17);
    key.put_u8(KIND_REPLY);
    key.put_u64(id.0);
    key.put_u64(sequence.0);
    key.freeze()
}

fn number(value: &mut Bytes) -> Result<u64, SessionsDamaged> {
    value
        .try_get_u64_le()
        .map_err(|_| SessionsDamaged::Record("a value is too short"))
}

fn key_number(key: &mut Bytes) -> Result<u64, SessionsDamaged> {
    key.try_get_u64()
        .map_err(|_| SessionsDamaged::Record("a key is too short"))
}

/// Takes the records of a snapshot apart.
fn split(mut bytes: Bytes) -> Result<Vec<(Bytes, Bytes)>, SessionsDamaged> {
    fn part(bytes: &mut Bytes) -> Result<Bytes, SessionsDamaged> {
        match bytes.try_get_u32_le() {
            Ok(length) if length as usize <= bytes.len() => Ok(bytes.split_to(length as usize)),
            _ => Err(SessionsDamaged::Snapshot),
        }
    }
    let mut records = Vec::new();
    while bytes.has_remaining() {
        records.push((part(&mut bytes)?, part(&mut bytes)?));
    }
    Ok(records)
}

fn damaged(why: SessionsDamaged) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A stream that ends too early is damaged; what else fails is the reader's.
fn truncated(error: io::Error, why: SessionsDamaged) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(why),
        _ => error,
    }
}
