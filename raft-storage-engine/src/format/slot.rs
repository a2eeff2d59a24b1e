//! The bytes of a file with two slots. What such files are for stands in `log::watermark`.
//!
//! | bytes | field |
//! |---|---|
//! | 7 + 1 | `RFTENGM`, version 1 |
//! | 8 | sequence number: the valid slot with the higher one counts |
//! | 8 | whose: the group, or [`STORE`] |
//! | 8 × 4 | what it says |
//! | 4 | CRC-32C of the above |
//!
//! All integers are little-endian. A group's slot says its term, vote (0 for none), marked index, and the chain value
//! there; the store's slot says which file of raft-engine exists at least.

use raft_core::types::{GroupId, HardState, Index, NodeId, Term};

use super::record::{Link, node_number, u32_at, u64_at, vote_from};

pub(crate) const SLOT_BYTES: usize = 4096;
/// The part of a slot that says something.
pub(crate) const BODY_BYTES: usize = 60;
pub(crate) const VERSION: u8 = 1;
/// Stands for the whole store where a group may stand.
pub(crate) const STORE: u64 = u64::MAX;
const MAGIC: [u8; 7] = *b"RFTENGM";
const CHECKSUM_AT: usize = 56;

/// What a slot says.
pub(crate) type Words = [u64; 4];

/// What a group acknowledged as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    /// Every entry up to here was durable.
    pub(crate) last: Index,
    /// The chain value of the entry at `last`. It says nothing once that entry is purged.
    pub(crate) chain: u64,
}

impl Promise {
    /// The largest promise that `hard_state` and a durable log up to `last` keep.
    pub(crate) fn of(hard_state: &HardState, last: &Link) -> Promise {
        Promise {
            term: hard_state.term,
            vote: hard_state.vote,
            last: last.id.index,
            chain: last.chain,
        }
    }

    /// Takes back what is promised above `floor`.
    pub(crate) fn lowered(self, floor: &Link) -> Promise {
        if self.last <= floor.id.index {
            return self;
        }
        Promise {
            last: floor.id.index,
            chain: floor.chain,
            ..self
        }
    }

    pub(crate) fn words(&self) -> Words {
        [self.term.0, node_number(self.vote), self.last.0, self.chain]
    }

    pub(crate) fn from_words(words: &Words) -> Promise {
        Promise {
            term: Term(words[0]),
            vote: vote_from(words[1]),
            last: Index(words[2]),
            chain: words[3],
        }
    }
}

/// What one slot holds.
pub(crate) enum Slot {
    Valid(u64, Words),
    /// Whole, but of another version.
    Version(u8),
    Torn,
}

impl Slot {
    pub(crate) fn valid(&self) -> Option<(u64, Words)> {
        match self {
            Slot::Valid(sequence, words) => Some((*sequence, *words)),
            Slot::Version(_) | Slot::Torn => None,
        }
    }
}

pub(crate) fn slot_at(sequence: u64) -> usize {
    if sequence.is_multiple_of(2) { 0 } else { SLOT_BYTES }
}

pub(crate) fn encode_slot(owner: u64, sequence: u64, words: &Words) -> [u8; BODY_BYTES] {
    let mut slot = [0; BODY_BYTES];
    slot[..7].copy_from_slice(&MAGIC);
    slot[7] = VERSION;
    let all = [sequence, owner].into_iter().chain(words.iter().copied());
    for (place, word) in slot[8..CHECKSUM_AT].chunks_exact_mut(8).zip(all) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&slot[..CHECKSUM_AT]);
    slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    slot
}

pub(crate) fn decode_slot(owner: u64, bytes: &[u8]) -> Slot {
    let Some(slot) = bytes.get(..BODY_BYTES) else {
        return Slot::Torn;
    };
    let whole = slot.starts_with(&MAGIC) && crc32c::crc32c(&slot[..CHECKSUM_AT]) == u32_at(slot, CHECKSUM_AT);
    if !whole || u64_at(slot, 16) != owner {
        return Slot::Torn;
    }
    if slot[7] != VERSION {
        return Slot::Version(slot[7]);
    }
    let words = [0, 1, 2, 3].map(|word| u64_at(slot, 24 + 8 * word));
    Slot::Valid(u64_at(slot, 8), words)
}

/// The owner's number of a group.
pub(crate) fn owner_of(group: GroupId) -> u64 {
    group.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_and_every_flipped_bit_is_noticed() {
        let promise = Promise {
            term: Term(7),
            vote: Some(NodeId(3)),
            last: Index(99),
            chain: 0x1234_5678_9abc,
        };
        let slot = encode_slot(5, 8, &promise.words());
        let found = decode_slot(5, &slot).valid().unwrap();
        assert_eq!((found.0, Promise::from_words(&found.1)), (8, promise));
        assert!(decode_slot(6, &slot).valid().is_none(), "another owner's");
        for bit in 0..BODY_BYTES * 8 {
            let mut damaged = slot;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_slot(5, &damaged).valid().is_none(), "bit {bit}");
        }
        for bytes in 0..BODY_BYTES {
            assert!(decode_slot(5, &slot[..bytes]).valid().is_none());
        }
    }
}
