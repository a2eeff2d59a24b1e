//! The first bytes inside the TLS of each socket: to which connection it belongs, and what for.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `rafttcp1` |
//! | 8 | the connection, a random number of the end that dialled |
//! | 1 | 0 control, 1 urgent lane, 2 ordered lane, 3 a snapshot of the end that dialled, 4 one that the other end asked for |
//! | 8 | which one it asked for; otherwise 0 |
//!
//! Integers are little-endian. Decoding never panics.

use raft_core::message::Lane;

/// The size of a preamble.
pub(crate) const PREAMBLE_BYTES: usize = 25;

const MAGIC: [u8; 8] = *b"rafttcp1";

/// What the end that dialled says first on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    /// Random, the same on all sockets of a connection.
    pub(crate) connection: u64,
    pub(crate) purpose: Purpose,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Control,
    Lane(Lane),
    /// A snapshot of the end that dialled.
    Snapshot,
    /// A snapshot of the other end, which asked for a socket under this number.
    AskedFor(u64),
}

impl Preamble {
    pub(crate) fn encode(self) -> [u8; PREAMBLE_BYTES] {
        let (tag, number) = match self.purpose {
            Purpose::Control => (0, 0),
            Purpose::Lane(Lane::Urgent) => (1, 0),
            Purpose::Lane(Lane::Ordered) => (2, 0),
            Purpose::Snapshot => (3, 0),
            Purpose::AskedFor(number) => (4, number),
        };
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.connection.to_le_bytes());
        bytes[16] = tag;
        bytes[17..].copy_from_slice(&u64::to_le_bytes(number));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; PREAMBLE_BYTES]) -> Option<Preamble> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (connection, rest) = rest.split_first_chunk::<8>()?;
        let (tag, rest) = rest.split_first()?;
        let number = u64::from_le_bytes(*rest.first_chunk::<8>()?);
        let purpose = match (tag, number) {
            (0, 0) => Purpose::Control,
            (1, 0) => Purpose::Lane(Lane::Urgent),
            (2, 0) => Purpose::Lane(Lane::Ordered),
            (3, 0) => Purpose::Snapshot,
            (4, number) => Purpose::AskedFor(number),
            _ => return None,
        };
        (*magic == MAGIC).then_some(Preamble {
            connection: u64::from_le_bytes(*connection),
            purpose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_is_read_back() {
        for purpose in [
            Purpose::Control,
            Purpose::Lane(Lane::Urgent),
            Purpose::Lane(Lane::Ordered),
            Purpose::Snapshot,
            Purpose::AskedFor(u64::MAX),
        ] {
            let preamble = Preamble {
                connection: 0x0123_4567_89ab_cdef,
                purpose,
            };
            assert_eq!(Preamble::decode(&preamble.encode()), Some(preamble));
        }
    }

    #[test]
    fn whatever_is_read_is_written_as_it_was() {
        let whole = Preamble {
            connection: 7,
            purpose: Purpose::Snapshot,
        };
        for at in 0..PREAMBLE_BYTES {
            for value in 0..=u8::MAX {
                let mut bytes = whole.encode();
                bytes[at] = value;
                if let Some(read) = Preamble::decode(&bytes) {
                    assert_eq!(read.encode(), bytes);
                }
            }
        }
        assert_eq!(Preamble::decode(&[0; PREAMBLE_BYTES]), None);
    }
}
