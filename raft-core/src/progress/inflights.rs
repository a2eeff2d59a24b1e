//! The window of unacknowledged AppendEntries of one follower.

use std::collections::VecDeque;

use crate::codec::recorded;
use crate::mutants::{self, Mutant};
use crate::types::Index;

/// Messages with entries that were sent and not acknowledged, bounded by count and bytes.
///
/// The byte bound is soft: a message passes when the window is empty, however large it is (R18).
#[derive(Clone, Debug, Hash)]
pub struct Inflights {
    messages_max: usize,
    bytes_max: usize,
    /// (last index, payload bytes) of each message, ascending.
    messages: VecDeque<(Index, usize)>,
    bytes: usize,
}

impl Inflights {
    /// An empty window.
    #[must_use]
    pub fn new(messages_max: usize, bytes_max: usize) -> Inflights {
        Inflights {
            messages_max,
            bytes_max,
            messages: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Whether nothing more may be sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let is_full = self.messages.len() >= self.messages_max
            || (self.bytes >= self.bytes_max && !self.messages.is_empty());
        is_full && !mutants::is(Mutant::WindowIgnored)
    }

    /// How many messages are unacknowledged.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// How many payload bytes are unacknowledged.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A message was sent whose last entry is at `last`.
    pub fn add(&mut self, last: Index, bytes: usize) {
        debug_assert!(self.messages.back().is_none_or(|message| message.0 < last));
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// Everything up to `index` was acknowledged.
    pub fn free_to(&mut self, index: Index) {
        while self.messages.front().is_some_and(|message| message.0 <= index) {
            let (_, bytes) = self.messages.pop_front().expect("the loop saw it");
            self.bytes -= bytes;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }
}

recorded!(struct Inflights { messages_max, bytes_max, messages, bytes });

#[cfg(test)]
mod tests {
    use super::*;

    /// R18: the window counts bytes too, and one message always passes when it is empty.
    #[test]
    fn a_huge_message_passes_an_empty_window_only() {
        let mut window = Inflights::new(10, 100);
        assert!(!window.is_full());
        window.add(Index(1), 5_000);
        assert!(window.is_full());
        window.free_to(Index(1));
        assert!(!window.is_full());
        assert_eq!((window.messages(), window.bytes()), (0, 0));
    }

    #[test]
    fn an_acknowledgement_frees_every_message_it_covers() {
        let mut window = Inflights::new(3, usize::MAX);
        for last in [2, 4, 6] {
            window.add(Index(last), 10);
        }
        assert!(window.is_full());
        window.free_to(Index(5));
        assert_eq!((window.messages(), window.bytes()), (1, 10));
    }
}
