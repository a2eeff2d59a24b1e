//! The whole state of a replica, as bytes and as a hash.

use std::fmt;

use crate::codec::{Detail, Recorded, Writer, recorded};
use crate::raft::Raft;

/// A hash of the whole state of a replica, but for what the entries in memory hold: two replicas that have taken the same inputs
/// have the same, and two that have not hardly ever do.
///
/// It is worth something within one version of this crate only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateHash(pub u64);

recorded!(number StateHash);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The hash of the state between two steps.
#[must_use]
pub fn state_hash(raft: &Raft) -> StateHash {
    hash_with(raft, &mut Writer::new(Detail::Summary))
}

/// The same, with memory that is used again; `out` must be one for summaries.
pub(super) fn hash_with(raft: &Raft, out: &mut Writer) -> StateHash {
    debug_assert_eq!(out.detail, Detail::Summary);
    out.bytes.clear();
    raft.put(out);
    StateHash(hash(&out.bytes))
}

/// Eight bytes at a time, multiplied and folded. Not for anybody who wants to deceive.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(FACTOR);
        hash ^ (hash >> 32)
    };
    let mut words = bytes.chunks_exact(8);
    let mut hash = mix(FACTOR, bytes.len() as u64);
    for word in &mut words {
        hash = mix(
            hash,
            u64::from_le_bytes(word.try_into().expect("chunks have eight bytes")),
        );
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    mix(mix(hash, u64::from_le_bytes(last)), FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte that differs anywhere makes another hash.
    #[test]
    fn every_byte_counts() {
        let bytes: Vec<u8> = (0..100).collect();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(hash(&bytes), hash(&other), "byte {at}");
            assert_ne!(hash(&bytes), hash(&bytes[..at]), "length {at}");
        }
    }
}
