//! The one versioned, checksummed codec for entries and messages.
//!
//! Integers are little-endian and of fixed size, or, in what small messages are made of, of seven bits in each byte, in their
//! shortest form. Decoding never panics, never allocates more than it was given
//! bytes for, and shares payloads with the buffer instead of copying them.
//!
//! Encoding copies small payloads; a batch of messages for a stream shares large ones: [`encode_messages_frame`].
//!
//! A frame is what crosses a network:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, [`VERSION`] |
//! | 1 | what the body is: [`FrameKind`] |
//! | 2 | zero |
//! | 4 | length of the body |
//! | 4 | CRC-32C of the body |
//! | n | the body |

mod chain;
mod decode;
mod decode_request;
mod encode;
mod encode_request;
mod frame;

pub use chain::{SHARED_BYTES_MIN, encode_messages_frame};
pub use decode::{decode_install_snapshot, decode_membership, decode_messages, decode_payload};
pub use encode::{encode_install_snapshot, encode_membership, encode_messages, encode_payload, payload_kind};
pub use frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, VERSION, decode_frame_body, encode_frame};

use thiserror::Error;

use crate::entry::LogSliceError;
use crate::membership::MembershipError;

/// Why bytes are not what they should be. What was decoded so far is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end too early.
    #[error("the bytes end in the middle of {0}")]
    Truncated(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes are left over")]
    Trailing(usize),
    /// A version this code does not know.
    #[error("version {0} is unknown; this side speaks version {VERSION}")]
    Version(u8),
    /// A tag this code does not know.
    #[error("{what} has the unknown tag {tag}")]
    Tag {
        /// What was decoded.
        what: &'static str,
        /// The tag.
        tag: u8,
    },
    /// A term or an index that no group reaches: arithmetic on it could overflow.
    #[error("{0} is out of range for a term or an index")]
    OutOfRange(u64),
    /// Bytes that should be UTF-8 text are not.
    #[error("{0} is not UTF-8 text")]
    NotText(&'static str),
    /// A frame is larger than allowed.
    #[error("a frame of {bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// The size that the frame claims.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The checksum does not match.
    #[error("the checksum is {found:#010x} and should be {expected:#010x}: the bytes were damaged")]
    Checksum {
        /// The checksum that was sent.
        expected: u32,
        /// The checksum of what arrived.
        found: u32,
    },
    /// Entries that are not a slice of a log.
    #[error(transparent)]
    LogSlice(#[from] LogSliceError),
    /// Nodes that are not a configuration.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}
