//! The bytes of a watermark file: two slots, each of which holds a promise. What the file is for stands in `log::watermark`.
//!
//! | bytes | field |
//! |---|---|
//! | 7 + 1 | `RFTMARK`, version 1 |
//! | 8 | sequence number: the valid slot with the higher one counts |
//! | 8 | group |
//! | 8 + 8 | term, and vote; 0 for none |
//! | 8 + 8 | the marked index, and the chain value there |
//! | 4 | CRC-32C of the above |
//!
//! All integers are little-endian.

use raft_core::types::{GroupId, HardState, Index, NodeId, Term};

use super::record::{Link, u32_at, u64_at, vote_from};

const MAGIC: [u8; 7] = *b"RFTMARK";
pub(crate) const VERSION: u8 = 1;
/// The part of a slot that says something.
pub(crate) const BODY_BYTES: usize = 60;
const CHECKSUM_AT: usize = 56;

/// What was acknowledged as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    /// Every entry up to here was durable.
    pub(crate) last: Index,
    /// The chain value of the entry at `last`. It vouches for every entry before it; what replaces the last entry
    /// of a log has no successor that would notice. It says nothing once that entry is purged.
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
}

/// What one slot holds.
pub(crate) enum Slot {
    Valid(u64, Promise),
    /// Whole, but of another version.
    Version(u8),
    Torn,
}

impl Slot {
    pub(crate) fn valid(&self) -> Option<(u64, Promise)> {
        match self {
            Slot::Valid(sequence, promise) => Some((*sequence, *promise)),
            Slot::Version(_) | Slot::Torn => None,
        }
    }
}

pub(crate) fn encode_slot(group: GroupId, sequence: u64, promise: &Promise) -> [u8; BODY_BYTES] {
    let mut slot = [0; BODY_BYTES];
    slot[..7].copy_from_slice(&MAGIC);
    slot[7] = VERSION;
    let vote = promise.vote.unwrap_or(NodeId(0)).0;
    let words = [
        sequence,
        group.0,
        promise.term.0,
        vote,
        promise.last.0,
        promise.chain,
    ];
    for (place, word) in slot[8..CHECKSUM_AT].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&slot[..CHECKSUM_AT]);
    slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    slot
}

pub(crate) fn decode_slot(group: GroupId, bytes: &[u8]) -> Slot {
    let Some(slot) = bytes.get(..BODY_BYTES) else {
        return Slot::Torn;
    };
    let whole = slot.starts_with(&MAGIC) && crc32c::crc32c(&slot[..CHECKSUM_AT]) == u32_at(slot, CHECKSUM_AT);
    if !whole || u64_at(slot, 16) != group.0 {
        return Slot::Torn;
    }
    if slot[7] != VERSION {
        return Slot::Version(slot[7]);
    }
    let promise = Promise {
        term: Term(u64_at(slot, 24)),
        vote: vote_from(u64_at(slot, 32)),
        last: Index(u64_at(slot, 40)),
        chain: u64_at(slot, 48),
    };
    Slot::Valid(u64_at(slot, 8), promise)
}
