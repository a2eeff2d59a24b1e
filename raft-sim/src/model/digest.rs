//! Fingerprints of 128 bits, equal on every machine and in every build.

use std::fmt;
use std::hash::Hasher;

/// A hasher with 128 bits of state: two lanes that mix every word by a folded multiplication, each with its own constants.
///
/// What is told apart by it is told apart for certain, for all purposes: with a hundred million values, two of them collide
/// with a probability of 10⁻²³.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest {
    left: u64,
    right: u64,
}

impl Digest {
    pub(super) fn new() -> Digest {
        Digest {
            left: 0x243f_6a88_85a3_08d3,
            right: 0x1319_8a2e_0370_7344,
        }
    }

    /// The digest of what a value shows of itself. Derived `Debug` shows everything.
    pub(super) fn of_debug(value: &impl fmt::Debug) -> u128 {
        let mut digest = Digest::new();
        fmt::write(&mut digest, format_args!("{value:?}")).expect("a digest takes everything");
        digest.value()
    }

    pub(super) fn value(self) -> u128 {
        let mut last = self;
        last.mix(0x452f_4c0d);
        u128::from(last.left) << 64 | u128::from(last.right)
    }

    fn mix(&mut self, word: u64) {
        self.left = fold(self.left ^ word, 0x9e37_79b9_7f4a_7c15).wrapping_add(self.right.rotate_left(17));
        self.right = fold(self.right ^ word, 0xd1b5_4a32_d192_ed03).wrapping_add(self.left.rotate_left(41));
    }
}

fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1 ^ one
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(u64::from_le_bytes(chunk.try_into().expect("a chunk of eight")));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            // The length keeps a short piece from looking like a longer one.
            self.mix(u64::from_le_bytes(word) ^ ((rest.len() as u64) << 56));
        }
    }

    fn finish(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "one half of the value")]
        let half = self.value() as u64;
        half
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

/// For tables whose keys are digests already, or small numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scatter(u64);

impl Hasher for Scatter {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, word: u128) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "one half of a digest is as good as the other"
        )]
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every bit of a short text changes about half of the digest: neighbours do not meet.
    #[test]
    fn neighbours_are_far_apart() {
        let base = Digest::of_debug(&[1_u64, 2, 3]);
        let mut fewest = u32::MAX;
        for value in 0..1_000_u64 {
            let other = Digest::of_debug(&[1_u64, 2, 1_000 + value]);
            fewest = fewest.min((base ^ other).count_ones());
        }
        assert!(fewest > 30, "{fewest} bits differ");
    }
}
