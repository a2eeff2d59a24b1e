//! What is written into the log, and what comes back.
//!
//! A command is a kind (u8), a revision (u64), the length of the key (u16), the key, and the value as the rest. A
//! response is a status (u8), a revision (u64), the length of the trail (u16), the trail, and the value as the rest.
//! Integers are little-endian.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::versioned::{Short, Trail, Versioned};

/// A change of one key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Write the value.
    Put {
        /// The key, at most 65,535 bytes.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Write the value if the key was written exactly so often before.
    CompareAndSet {
        /// The key, at most 65,535 bytes.
        key: Bytes,
        /// The revision that it must have; 0 for a key that was never written.
        revision: u64,
        /// Its new value.
        value: Bytes,
    },
    /// Write what was there with this behind it. Of the whole, only the last [`APPENDED_BYTES_MAX`] bytes stay.
    Append {
        /// The key, at most 65,535 bytes.
        key: Bytes,
        /// What is appended.
        value: Bytes,
    },
}

/// How long a value is at most after an append: a key that is appended to all the time must not grow all the time.
pub const APPENDED_BYTES_MAX: usize = 256;

/// The answer to a command, or to the question for a key: what was there before.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Response {
    /// Whether it was done.
    pub status: Status,
    /// What was found.
    pub found: Versioned,
}

/// Whether a command was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It was.
    Done,
    /// It was not: the key had another revision.
    Mismatch,
    /// Nobody understands it.
    Malformed,
}

/// One line for counter-examples.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = Short(self.key());
        match self {
            Command::Put { value, .. } => write!(f, "put {key:?} {:?}", Short(value)),
            Command::CompareAndSet { revision, value, .. } => {
                write!(f, "put {key:?} {:?} if at revision {revision}", Short(value))
            }
            Command::Append { value, .. } => write!(f, "append {key:?} {:?}", Short(value)),
        }
    }
}

/// One line for counter-examples.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, found {:?}", self.status, self.found)
    }
}

impl Command {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Command::Put { key, .. } | Command::CompareAndSet { key, .. } | Command::Append { key, .. } => {
                key
            }
        }
    }

    /// Its bytes.
    ///
    /// # Panics
    /// If the key has more than 65,535 bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (kind, key, revision, value) = match self {
            Command::Put { key, value } => (1, key, 0, value),
            Command::CompareAndSet { key, revision, value } => (2, key, *revision, value),
            Command::Append { key, value } => (3, key, 0, value),
        };
        let key_bytes = u16::try_from(key.len()).expect("a key has at most 65,535 bytes");
        let mut bytes = BytesMut::with_capacity(11 + key.len() + value.len());
        bytes.put_u8(kind);
        bytes.put_u64_le(revision);
        bytes.put_u16_le(key_bytes);
        bytes.put_slice(key);
        bytes.put_slice(value);
        bytes.freeze()
    }

    /// The command of these bytes, if they are one.
    #[must_use]
    pub fn decode(mut bytes: Bytes) -> Option<Command> {
        let kind = bytes.try_get_u8().ok()?;
        let revision = bytes.try_get_u64_le().ok()?;
        let key_bytes = usize::from(bytes.try_get_u16_le().ok()?);
        if bytes.len() < key_bytes {
            return None;
        }
        let key = bytes.split_to(key_bytes);
        let value = bytes;
        match kind {
            1 => Some(Command::Put { key, value }),
            2 => Some(Command::CompareAndSet { key, revision, value }),
            3 => Some(Command::Append { key, value }),
            _ => None,
        }
    }

    /// What it makes of what it finds, and what it answers. This one function is both the state machine and its model: it is
    /// the service, so it cannot be wrong; what is checked is that replication keeps it.
    #[must_use]
    pub fn apply(&self, found: &Versioned) -> (Versioned, Status) {
        let (written, value) = match self {
            Command::Put { value, .. } => (value, value.clone()),
            Command::CompareAndSet { revision, .. } if *revision != found.revision => {
                return (found.clone(), Status::Mismatch);
            }
            Command::CompareAndSet { value, .. } => (value, value.clone()),
            Command::Append { value, .. } => {
                let whole = Bytes::from([&found.value[..], &value[..]].concat());
                let kept = whole.len().saturating_sub(APPENDED_BYTES_MAX);
                (value, whole.slice(kept..))
            }
        };
        let next = Versioned {
            revision: found.revision.saturating_add(1),
            trail: found.trail.followed_by(written),
            value,
        };
        (next, Status::Done)
    }
}

impl Response {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Versioned {
            revision,
            trail,
            value,
        } = &self.found;
        let mut bytes = BytesMut::with_capacity(11 + trail.bytes().len() + value.len());
        bytes.put_u8(match self.status {
            Status::Done => 0,
            Status::Mismatch => 1,
            Status::Malformed => 2,
        });
        bytes.put_u64_le(*revision);
        bytes.put_u16_le(trail.bytes().len() as u16);
        bytes.put_slice(trail.bytes());
        bytes.put_slice(value);
        bytes.freeze()
    }

    /// The response of these bytes, if they are one.
    #[must_use]
    pub fn decode(mut bytes: Bytes) -> Option<Response> {
        let status = match bytes.try_get_u8().ok()? {
            0 => Status::Done,
            1 => Status::Mismatch,
            2 => Status::Malformed,
            _ => return None,
        };
        let revision = bytes.try_get_u64_le().ok()?;
        let trail_bytes = usize::from(bytes.try_get_u16_le().ok()?);
        if bytes.len() < trail_bytes {
            return None;
        }
        let found = Versioned {
            revision,
            trail: Trail::from_bytes(bytes.split_to(trail_bytes))?,
            value: bytes,
        };
        Some(Response { status, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Vec<Command> {
        let (key, value) = (Bytes::from("key"), Bytes::from("value"));
        vec![
            Command::Put {
                key: key.clone(),
                value: value.clone(),
            },
            Command::CompareAndSet {
                key: key.clone(),
                revision: 1 << 40,
                value: Bytes::new(),
            },
            Command::Append {
                key: Bytes::new(),
                value,
            },
        ]
    }

    #[test]
    fn commands_and_responses_come_back_from_their_bytes() {
        for command in commands() {
            assert_eq!(Command::decode(command.encode()), Some(command));
        }
        for status in [Status::Done, Status::Mismatch, Status::Malformed] {
            let found = Versioned {
                revision: 7,
                trail: Trail::default().followed_by(b"before"),
                value: Bytes::from("value"),
            };
            let response = Response { status, found };
            assert_eq!(Response::decode(response.encode()), Some(response));
        }
    }

    #[test]
    fn bytes_that_are_cut_short_are_no_command() {
        for command in commands() {
            let bytes = command.encode();
            let header = 11 + command.key().len();
            for length in 0..header {
                assert_eq!(Command::decode(bytes.slice(..length)), None);
            }
        }
        assert_eq!(Command::decode(Bytes::from(vec![9; 100])), None);
        assert_eq!(Response::decode(Bytes::from(vec![9; 100])), None);
    }

    #[test]
    fn an_append_keeps_the_newest_bytes() {
        let found = Versioned {
            revision: 4,
            trail: Trail::default(),
            value: Bytes::from(vec![b'a'; APPENDED_BYTES_MAX - 1]),
        };
        let append = Command::Append {
            key: Bytes::new(),
            value: Bytes::from("bc"),
        };
        let (next, status) = append.apply(&found);
        assert_eq!(status, Status::Done);
        assert_eq!(next.revision, 5);
        assert_eq!(next.value.len(), APPENDED_BYTES_MAX);
        assert_eq!(next.value.slice(APPENDED_BYTES_MAX - 3..), "abc");
    }
}
