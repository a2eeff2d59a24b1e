//! The newest entries of one group, in memory: what RocksDB does not have yet, and what is read most.
//!
//! Invariants: the entries are contiguous and end with the last one of the log; every entry of the log that is not here
//! is in RocksDB. So an entry leaves only when RocksDB has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft_core::entry::Entry;
use raft_core::types::Index;

use crate::format::record::Link;

/// Bytes that an entry takes here beside its payload, about.
const ENTRY_OVERHEAD_BYTES: usize = 80;

/// How much memory the caches of a store take.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// The cache of one group.
#[derive(Debug)]
pub(crate) struct TailCache {
    budget: Arc<Budget>,
    entries: VecDeque<Cached>,
    bytes: usize,
}

#[derive(Debug)]
struct Cached {
    entry: Entry,
    chain: u64,
    /// The record of the journal that holds it.
    sequence: u64,
}

/// What one read collected, from RocksDB and from here.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) entries: Vec<Entry>,
    bytes: usize,
    /// An entry did not fit.
    pub(crate) is_full: bool,
}

impl Taken {
    /// Adds an entry, if it is the first one or fits into `bytes_max` payload bytes with the others. Whether it did.
    pub(crate) fn take(&mut self, bytes_max: usize, entry: Entry) -> bool {
        self.bytes = self.bytes.saturating_add(entry.payload_bytes());
        if self.bytes > bytes_max && !self.entries.is_empty() {
            self.is_full = true;
            return false;
        }
        self.entries.push(entry);
        true
    }
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Budget {
        Budget {
            bytes_max,
            bytes: AtomicUsize::new(0),
        }
    }
}

impl Cached {
    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.entry.payload_bytes()
    }
}

impl TailCache {
    pub(crate) fn new(budget: Arc<Budget>) -> TailCache {
        TailCache {
            budget,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The first index that is here; `None` if nothing is.
    pub(crate) fn first(&self) -> Option<Index> {
        self.entries.front().map(|cached| cached.entry.index())
    }

    /// Forgets the entries above `last`.
    pub(crate) fn truncate(&mut self, last: Index) {
        while let Some(cached) = self.entries.pop_back_if(|cached| cached.entry.index() > last) {
            self.release(&cached);
        }
    }

    /// Adds an entry that follows the last one here.
    pub(crate) fn push(&mut self, entry: Entry, chain: u64, sequence: u64) {
        let cached = Cached {
            entry,
            chain,
            sequence,
        };
        self.bytes += cached.bytes();
        self.budget.bytes.fetch_add(cached.bytes(), Ordering::Relaxed);
        self.entries.push_back(cached);
    }

    /// Forgets the oldest entries that RocksDB has, which is up to record `applied`, while all caches together are too
    /// large; and those that are purged.
    pub(crate) fn evict(&mut self, applied: u64, purged: Index) {
        while let Some(cached) = self.entries.pop_front_if(|cached| {
            let too_much = self.budget.bytes.load(Ordering::Relaxed) > self.budget.bytes_max;
            cached.sequence <= applied && (too_much || cached.entry.index() <= purged)
        }) {
            self.release(&cached);
        }
    }

    fn release(&mut self, cached: &Cached) {
        self.bytes -= cached.bytes();
        self.budget.bytes.fetch_sub(cached.bytes(), Ordering::Relaxed);
    }

    /// Adds the entries from `first`, which is here, to `last` to `taken`.
    pub(crate) fn read(&self, first: Index, last: Index, bytes_max: usize, taken: &mut Taken) {
        let Some(begin) = self.first() else { return };
        let skipped = usize::try_from(first.entries_since(begin)).unwrap_or(usize::MAX);
        for cached in self.entries.iter().skip(skipped) {
            if cached.entry.index() > last || !taken.take(bytes_max, cached.entry.clone()) {
                return;
            }
        }
    }

    /// The place of the entry at `index`, if it is here.
    pub(crate) fn link(&self, index: Index) -> Option<Link> {
        let begin = self.first().filter(|begin| *begin <= index)?;
        let offset = usize::try_from(index.entries_since(begin)).ok()?;
        self.entries.get(offset).map(|cached| Link {
            id: cached.entry.id,
            chain: cached.chain,
        })
    }
}

impl Drop for TailCache {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::Term;

    use super::*;

    fn entry(index: u64) -> Entry {
        Entry::command(Term(1), Index(index), Bytes::from(vec![7; 20]))
    }

    fn cache(bytes_max: usize, indexes: std::ops::RangeInclusive<u64>) -> TailCache {
        let mut cache = TailCache::new(Arc::new(Budget::new(bytes_max)));
        for index in indexes {
            cache.push(entry(index), index * 10, index);
        }
        cache
    }

    fn read(cache: &TailCache, first: u64, last: u64, bytes_max: usize) -> (Vec<Entry>, bool) {
        let mut taken = Taken::default();
        cache.read(Index(first), Index(last), bytes_max, &mut taken);
        (taken.entries, !taken.is_full)
    }

    #[test]
    fn reads_are_cut_by_bytes_but_never_empty() {
        let cache = cache(usize::MAX, 5..=9);
        assert_eq!(
            read(&cache, 6, 8, usize::MAX),
            (vec![entry(6), entry(7), entry(8)], true)
        );
        assert_eq!(read(&cache, 6, 8, 40), (vec![entry(6), entry(7)], false));
        assert_eq!(read(&cache, 6, 8, 0), (vec![entry(6)], false));
        assert_eq!(cache.link(Index(7)).map(|link| link.chain), Some(70));
        assert_eq!((cache.link(Index(4)), cache.link(Index(10))), (None, None));
    }

    /// What RocksDB does not have stays, however little room there is.
    #[test]
    fn only_what_is_applied_leaves() {
        let mut cache = cache(0, 5..=9);
        cache.evict(6, Index(0));
        assert_eq!(cache.first(), Some(Index(7)));
        cache.evict(100, Index(0));
        assert_eq!(cache.first(), None);
        assert_eq!(cache.budget.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_purged_leaves_and_what_is_truncated() {
        let mut cache = cache(usize::MAX, 5..=9);
        cache.evict(100, Index(6));
        cache.truncate(Index(8));
        assert_eq!(read(&cache, 7, 8, usize::MAX).0, [entry(7), entry(8)]);
        let budget = Arc::clone(&cache.budget);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 200);
        drop(cache);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 0);
    }
}
