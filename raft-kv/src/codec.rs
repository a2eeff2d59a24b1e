//! The one encoding of commands, questions and answers: a version byte, then postcard.
//!
//! Owns the version. New variants of an enum go to its end and keep the version; any other change of a type that
//! crosses this module needs a new version, because old logs hold the old bytes. Decoding never panics and never
//! allocates more than it was given bytes for.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The version of the encoding that this code writes, and the only one it reads.
pub const ENCODING_VERSION: u8 = 1;

/// Why bytes are not the value that they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// There is nothing at all.
    #[error("{what} is empty")]
    Empty {
        /// What was decoded.
        what: &'static str,
    },
    /// The version is unknown.
    #[error("{what} has encoding version {found}, but this program knows only {ENCODING_VERSION}; update it")]
    Version {
        /// What was decoded.
        what: &'static str,
        /// The version that the bytes carry.
        found: u8,
    },
    /// The bytes are not an encoding.
    #[error("{what} is malformed: its {bytes} bytes do not decode")]
    Malformed {
        /// What was decoded.
        what: &'static str,
        /// How many bytes there are.
        bytes: usize,
    },
    /// Bytes are left over behind the value.
    #[error("{what} has {bytes} bytes too many")]
    Trailing {
        /// What was decoded.
        what: &'static str,
        /// How many bytes are left over.
        bytes: usize,
    },
}

/// Encodes `value` behind a version byte.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut out = Vec::with_capacity(64);
    out.push(ENCODING_VERSION);
    Bytes::from(append(value, out))
}

/// Decodes what [`encode`] wrote; `what` names it in errors.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    let Some((&found, body)) = bytes.split_first() else {
        return Err(CodecError::Empty { what });
    };
    if found != ENCODING_VERSION {
        return Err(CodecError::Version { what, found });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(CodecError::Trailing {
            what,
            bytes: rest.len(),
        }),
        Err(_) => Err(CodecError::Malformed {
            what,
            bytes: bytes.len(),
        }),
    }
}

/// Appends `value`, without a version, to `out`.
pub(crate) fn append<T: Serialize>(value: &T, out: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, out)
        .expect("memory takes every byte, and no type here has a sequence of unknown length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_names_what_is_wrong() {
        let what = "a pair";
        let encoded = encode(&(1u64, true));
        assert_eq!(decode::<(u64, bool)>(what, &encoded), Ok((1, true)));
        assert_eq!(decode::<(u64, bool)>(what, &[]), Err(CodecError::Empty { what }));
        assert_eq!(
            decode::<(u64, bool)>(what, &[9, 1, 1]),
            Err(CodecError::Version { what, found: 9 })
        );
        assert_eq!(
            decode::<(u64, bool)>(what, &[1, 1]),
            Err(CodecError::Malformed { what, bytes: 2 })
        );
        assert_eq!(
            decode::<(u64, bool)>(what, &[1, 1, 1, 0, 0]),
            Err(CodecError::Trailing { what, bytes: 2 })
        );
    }

    /// A length that lies must not make the decoder allocate it.
    #[test]
    fn a_lying_length_is_refused() {
        let lying = [1u8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(decode::<Bytes>("bytes", &lying).is_err());
        assert!(decode::<Vec<u64>>("numbers", &lying).is_err());
    }
}
