//! The only source of randomness: everything that a run does follows from its seed.

use std::ops::Range;

/// SplitMix64 (Steele, Lea and Flood, 2014).
///
/// Whoever draws has a generator of its own, [derived](Random::fork) by name: so one fault less changes nothing of what the
/// others draw, and a failure can be made smaller.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A generator of its own for whatever has this name.
    #[must_use]
    pub fn fork(seed: u64, name: &str) -> Random {
        let mut state = Random(seed);
        for byte in name.bytes() {
            state.0 ^= u64::from(byte);
            state.0 = state.next_u64();
        }
        state
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high bits of the product: no division, and less bias than a remainder.
        let product = u128::from(self.next_u64()) * u128::from(limit);
        (product >> 64) as u64
    }

    /// A position in a list of this length; 0 if it is empty.
    pub fn position(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number within a range, whose end is excluded.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < u64::from(chance)
    }

    /// True so many times in a million.
    pub fn per_million(&mut self, chance: u32) -> bool {
        self.below(1_000_000) < u64::from(chance)
    }

    /// One of these, all equally likely; none if there are none.
    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.position(list.len()))
    }

    /// A random amount with this mean: small ones often, large ones seldom, at most 16 times the mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // Halvings until a coin shows tails, and a uniform part between: exact integers, equal on every machine.
        let bits = self.next_u64();
        let halvings = u64::from((bits | 1 << 15).trailing_zeros());
        let fraction = bits >> 32;
        let scaled = (halvings << 32) + fraction;
        // The mean of `halvings` is 1 and that of the fraction one half.
        let product = u128::from(mean) * u128::from(scaled) * 2 / 3;
        (product >> 32) as u64
    }

    /// Exchanges the places of all in a list.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for place in (1..list.len()).rev() {
            list.swap(place, self.position(place + 1));
        }
    }
}
