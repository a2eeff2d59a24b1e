//! The newest entries of a log, in memory.

use std::collections::VecDeque;

use crate::codec::{CodecError, Detail, Reader, Recorded, Writer};
use crate::entry::recorded::{put_entries, take_entries};
use crate::entry::{self, Entry};
use crate::types::Index;

/// A contiguous run of entries that ends with the last one of the log.
///
/// Invariant: `entries[i]` has index `first + i`.
#[derive(Clone, Debug, Hash)]
pub struct Tail {
    first: Index,
    entries: VecDeque<Entry>,
    payload_bytes: usize,
}

impl Tail {
    /// An empty tail, which the entry at `first` will continue.
    #[must_use]
    pub fn new(first: Index) -> Tail {
        Tail {
            first,
            entries: VecDeque::new(),
            payload_bytes: 0,
        }
    }

    /// Gives back memory that is not needed now.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// The index of the first entry in memory, or of the next one to come.
    #[must_use]
    pub fn first(&self) -> Index {
        self.first
    }

    /// The payload bytes in memory.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Adds the next entry.
    pub fn append(&mut self, entry: Entry) {
        assert_eq!(
            entry.index(),
            self.first + self.entries.len() as u64,
            "a tail has no gaps"
        );
        self.payload_bytes += entry.payload_bytes();
        self.entries.push_back(entry);
    }

    /// Drops every entry at or above `index`.
    pub fn truncate_from(&mut self, index: Index) {
        while self.entries.back().is_some_and(|entry| entry.index() >= index) {
            self.payload_bytes -= self.entries.pop_back().map_or(0, |entry| entry.payload_bytes());
        }
        if self.entries.is_empty() {
            self.first = self.first.min(index);
        }
    }

    /// Drops the first entry, if there is one.
    pub fn evict_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.payload_bytes -= entry.payload_bytes();
            self.first = self.first.next();
        }
    }

    /// The entries from `from` to `through` inclusive, as far as they are in memory.
    pub fn range(&self, from: Index, through: Index) -> impl Iterator<Item = &Entry> {
        let offset = |index: Index| usize::try_from(index.entries_since(self.first)).unwrap_or(usize::MAX);
        let end = offset(through.next()).min(self.entries.len());
        self.entries.range(offset(from).min(end)..end)
    }

    /// The entries from `from` to `through`, cut after `bytes_max` payload bytes; the first always fits.
    #[must_use]
    pub fn slice(&self, from: Index, through: Index, bytes_max: usize) -> Vec<Entry> {
        let count = entry::fitting(self.range(from, through), bytes_max);
        self.range(from, through).take(count).cloned().collect()
    }
}

impl Recorded for Tail {
    fn put(&self, out: &mut Writer) {
        let Tail {
            first,
            entries,
            payload_bytes,
        } = self;
        first.put(out);
        if out.detail == Detail::Summary {
            entries.len().put(out);
            payload_bytes.put(out);
            entries.back().map(|entry| entry.id).put(out);
            return;
        }
        put_entries(entries.iter(), out);
    }

    fn take(from: &mut Reader) -> Result<Tail, CodecError> {
        let mut tail = Tail::new(Index::take(from)?);
        let mut is_contiguous = true;
        take_entries(from, |entry| {
            is_contiguous &= entry.index().0 == tail.first.0.wrapping_add(tail.entries.len() as u64);
            if is_contiguous {
                tail.append(entry);
            }
        })?;
        if is_contiguous {
            Ok(tail)
        } else {
            Err(CodecError::Invalid("a log with a gap"))
        }
    }
}
