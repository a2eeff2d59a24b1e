//! The keys and values of one load: unique among all loads, and cheap to make.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Until;

/// One key to write, its value, and their line in the file of acknowledged keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The key.
    pub(super) key: Bytes,
    /// The value.
    pub(super) value: Bytes,
}

impl Pair {
    /// The line `KEY<TAB>VALUE`.
    pub(super) fn line(&self) -> String {
        let mut line = String::with_capacity(self.key.len() + self.value.len() + 2);
        // Both are made of ASCII letters and digits below, so nothing is replaced.
        line.push_str(&String::from_utf8_lossy(&self.key));
        line.push('\t');
        line.push_str(&String::from_utf8_lossy(&self.value));
        line.push('\n');
        line
    }
}

/// Hands out the keys.
#[derive(Debug)]
pub(super) struct Keys {
    run: String,
    value_bytes: usize,
    count: u64,
    next: AtomicU64,
}

impl Keys {
    pub(super) fn new(value_bytes: usize, until: Until) -> Keys {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Keys {
            // Two loads that begin in the same millisecond are different processes.
            run: format!("{now:x}-{:x}", std::process::id()),
            value_bytes,
            count: match until {
                Until::Keys(count) => count,
                Until::Elapsed(_) => u64::MAX,
            },
            next: AtomicU64::new(0),
        }
    }

    /// The next key; `None` when all were handed out.
    pub(super) fn next(&self) -> Option<Pair> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count {
            return None;
        }
        let key = format!("load/{}/{number:012}", self.run);
        Some(Pair {
            value: value(number, self.value_bytes).into(),
            key: key.into(),
        })
    }
}

/// Letters that differ from key to key, so that neither compression nor a mix-up of values goes unnoticed.
fn value(number: u64, length: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut value = Vec::with_capacity(length + 8);
    while value.len() < length {
        // xorshift64: ten letters of six bits from each step.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value.extend((0..10).map(|place| LETTERS[(state >> (6 * place)) as usize & 63]));
    }
    value.truncate(length);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_end() {
        let keys = Keys::new(16, Until::Keys(3));
        let pairs: Vec<Pair> = std::iter::from_fn(|| keys.next()).collect();
        assert_eq!(pairs.len(), 3);
        assert!(pairs[0].key < pairs[1].key && pairs[1].key < pairs[2].key);
        assert!(pairs[0].value != pairs[1].value && pairs[0].value.len() == 16);
        assert_eq!(keys.next(), None);
    }

    #[test]
    fn values_have_the_length_that_was_asked_for_and_fit_into_a_line() {
        for length in [0, 1, 9, 10, 11, 256] {
            assert_eq!(value(7, length).len(), length);
        }
        let keys = Keys::new(100, Until::Keys(1));
        let line = keys.next().unwrap().line();
        assert_eq!(line.matches(['\t', '\n']).count(), 2);
        assert!(line.ends_with('\n'));
    }
}
