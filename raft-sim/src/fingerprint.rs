//! A fast hash of 64 bits that is the same in every build and on every machine.
//!
//! It tells states and responses apart that differ by accident; it is no defence against anyone who chooses them. The hasher
//! of the standard library would do but for its promise: its values may change with the next compiler.

use std::hash::{Hash, Hasher};

/// A hasher whose values depend on what is written only: multiplication of 64 by 64 bits with both halves of the product
/// folded together, as in wyhash (Wang Yi, 2019).
#[derive(Clone, Debug)]
pub struct Fingerprint(u64);

/// An odd number without a pattern: the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Fingerprint {
    /// A hasher that was told nothing yet.
    #[must_use]
    pub fn new() -> Fingerprint {
        Fingerprint(0x2545_f491_4f6c_dd1d)
    }

    /// The hash of a value.
    #[must_use]
    pub fn of(value: &(impl Hash + ?Sized)) -> u64 {
        let mut hasher = Fingerprint::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        // The rotation keeps a word that cancels the state, whose product is 0, from erasing what came before it.
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ self.0.rotate_left(23);
    }
}

impl Default for Fingerprint {
    fn default() -> Fingerprint {
        Fingerprint::new()
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        // Else bytes would hash as the same bytes with zeros after them.
        self.mix(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_u128(&mut self, value: u128) {
        self.mix(value as u64);
        self.mix((value >> 64) as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = self.clone();
        last.mix(MULTIPLIER);
        last.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Traces that were recorded with one build are compared with those of another.
    #[test]
    fn values_never_change() {
        assert_eq!(Fingerprint::of("raft"), 1_591_570_982_802_967_303);
        assert_eq!(Fingerprint::of(&(7_u64, false)), 1_747_477_033_279_376_030);
    }

    #[test]
    fn similar_values_differ() {
        let mut bytes = BTreeSet::new();
        for length in 0..50 {
            bytes.insert(Fingerprint::of(&vec![0_u8; length]));
            bytes.insert(Fingerprint::of(&vec![1_u8; length + 1]));
        }
        assert_eq!(bytes.len(), 100);
        let mut numbers = BTreeSet::new();
        for number in 0..100_000_u64 {
            numbers.insert(Fingerprint::of(&number));
            numbers.insert(Fingerprint::of(&(number, number)));
        }
        assert_eq!(numbers.len(), 200_000);
    }

    /// Half of the bits change when one bit of the input does, give or take.
    #[test]
    fn one_bit_changes_half_of_them() {
        for bit in 0..64 {
            let changed: u32 = (0..1_000_u64)
                .map(|number| {
                    (Fingerprint::of(&number) ^ Fingerprint::of(&(number ^ (1 << bit)))).count_ones()
                })
                .sum();
            assert!(
                (28_000..36_000).contains(&changed),
                "bit {bit}: {changed} of 64,000"
            );
        }
    }
}
