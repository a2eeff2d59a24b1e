//! The newest entries of a log, in memory.

use std::collections::VecDeque;

use crate::codec::{CodecError, Detail, Reader, Recorded, Writer};
use crate::entry::{self, Entry, Payload, SessionRequest};
use crate::types::{EntryId, Index};

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

/// Told as runs of entries that are alike: of those whose contents are left out, only the first says more than its size.
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
        let mut left = entries.iter().peekable();
        while let Some(head) = left.next() {
            let mut count = 1_usize;
            while out.detail == Detail::Lengths && left.next_if(|next| is_alike(head, next)).is_some() {
                count += 1;
            }
            count.put(out);
            head.id.term.put(out);
            head.payload.put(out);
        }
        0_usize.put(out);
    }

    fn take(from: &mut Reader) -> Result<Tail, CodecError> {
        let first = Index::take(from)?;
        if first.0 >> 62 != 0 {
            // Indexes count up by one: no log gets there, and nothing that follows from this one overflows.
            return Err(CodecError::Invalid("the index of an entry"));
        }
        let mut tail = Tail::new(first);
        loop {
            let count = from.size()?;
            if count == 0 {
                return Ok(tail);
            }
            let too_large = CodecError::TooLarge { what: "a log" };
            from.entries_left = from.entries_left.checked_sub(count).ok_or(too_large)?;
            let (term, payload) = (Recorded::take(from)?, Payload::take(from)?);
            for _ in 0..count {
                let index = tail.first + tail.entries.len() as u64;
                tail.append(Entry {
                    id: EntryId { term, index },
                    payload: payload.clone(),
                });
            }
        }
    }
}

/// Whether two entries differ in nothing but their index and the contents that clients gave them.
fn is_alike(one: &Entry, other: &Entry) -> bool {
    let same_kind = match (&one.payload, &other.payload) {
        (Payload::Command(_), Payload::Command(_)) => true,
        (Payload::Session(one), Payload::Session(other)) => matches!(
            (&one.request, &other.request),
            (SessionRequest::Command(_), SessionRequest::Command(_))
        ),
        _ => false,
    };
    same_kind && one.term() == other.term() && one.payload_bytes() == other.payload_bytes()
}
