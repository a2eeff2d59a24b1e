//! Mutations of inputs by a seed: what a fuzzer does when it knows nothing of the program.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
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
    pub fn below(&mut self, limit: usize) -> usize {
        match limit as u64 {
            0 => 0,
            limit => (self.next_u64() % limit) as usize,
        }
    }
}

/// Integers at the edges of what decoders check.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_fffe,
    0xffff_ffff,
    (1 << 62) - 1,
    1 << 62,
    i64::MAX as u64,
    u64::MAX,
];

/// The longest input that mutation makes of shorter ones.
const BYTES_MAX: usize = 4_096;

/// An input made of one of `corpus`: flipped, cut, spliced, with lengths that lie. The same seed makes the same one.
#[must_use]
pub fn mutant(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let Some(first) = corpus.get(random.below(corpus.len())) else {
        let length = random.below(64);
        return (0..length).map(|_| random.next_u64() as u8).collect();
    };
    let mut input = first.clone();
    for _ in 0..=random.below(4) {
        mutate(&mut input, corpus, &mut random);
    }
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(9) {
        0 => input.truncate(at),
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next_u64() as u8;
            }
        }
        3 => {
            let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
            overwrite(input, at, &edge[..1 << random.below(4)]);
        }
        4 => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            overwrite(input, at, &edge[8 - (1 << random.below(4))..]);
        }
        5 => {
            let end = (at + random.below(32)).min(input.len());
            input.drain(at..end);
        }
        6 => {
            let end = (at + random.below(64)).min(input.len());
            let piece = input[at..end].to_vec();
            insert(input, random.below(at + 1), &piece);
        }
        7 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let end = (from + random.below(128)).min(other.len());
            insert(input, at, &other[from..end]);
        }
        _ => {
            let piece: Vec<u8> = (0..random.below(16)).map(|_| random.next_u64() as u8).collect();
            insert(input, at, &piece);
        }
    }
    input.truncate(BYTES_MAX.max(corpus.iter().map(Vec::len).max().unwrap_or(0)));
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
