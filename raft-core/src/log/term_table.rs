//! The terms of a log as runs of equal terms.

use crate::codec::recorded;
use crate::types::{EntryId, Index, Term};

/// What is known about the term at an index. Out of range is an answer of its own, never a term (R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermAt {
    /// The log has (or had, at its very end towards the purged part) an entry of this term there.
    Known(Term),
    /// The log was purged beyond this index.
    Compacted,
    /// The log ends before this index.
    Beyond,
}

/// The term of every index of a log, run-length encoded.
///
/// Invariants:
/// - `runs` holds (first index, term), both strictly ascending;
/// - the first run begins at `purged.index + 1`, unless the log is empty;
/// - terms are at least `purged.term`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TermTable {
    purged: EntryId,
    runs: Vec<(Index, Term)>,
    last: Index,
}

impl TermTable {
    /// The table of a log that holds nothing after `purged`.
    #[must_use]
    pub fn new(purged: EntryId) -> TermTable {
        TermTable {
            purged,
            runs: Vec::new(),
            last: purged.index,
        }
    }

    /// The entry right before the first one.
    #[must_use]
    pub fn purged(&self) -> EntryId {
        self.purged
    }

    /// The last entry; `purged` if there is none.
    #[must_use]
    pub fn last(&self) -> EntryId {
        EntryId::new(self.runs.last().map_or(self.purged.term, |run| run.1), self.last)
    }

    /// The term at `index`.
    #[must_use]
    pub fn term(&self, index: Index) -> TermAt {
        if index > self.last {
            TermAt::Beyond
        } else if index < self.purged.index {
            TermAt::Compacted
        } else if index == self.purged.index {
            TermAt::Known(self.purged.term)
        } else {
            TermAt::Known(self.runs[self.run_of(index)].1)
        }
    }

    /// Whether the log has exactly this entry.
    #[must_use]
    pub fn matches(&self, id: EntryId) -> bool {
        self.term(id.index) == TermAt::Known(id.term)
    }

    /// The last entry at or below `index` whose term is at most `term`: where a log that ends with that term can begin
    /// to agree with this one, whole terms skipped (R8). `purged` if there is none.
    #[must_use]
    pub fn last_at_or_below(&self, index: Index, term: Term) -> EntryId {
        let index = index.min(self.last);
        if index <= self.purged.index {
            return self.purged;
        }
        let runs = &self.runs[..=self.run_of(index)];
        match runs.partition_point(|run| run.1 <= term) {
            0 => self.purged,
            count if count == runs.len() => EntryId::new(runs[count - 1].1, index),
            count => EntryId::new(runs[count - 1].1, runs[count].0.previous()),
        }
    }

    /// Adds the next entry.
    ///
    /// # Panics
    /// If `id` does not follow the last entry: the log checks slices before it gets here.
    pub fn append(&mut self, id: EntryId) {
        assert_eq!(id.index, self.last.next(), "a log has no gaps");
        assert!(id.term >= self.last().term, "terms never fall within a log");
        if self.runs.last().is_none_or(|run| run.1 != id.term) {
            self.runs.push((id.index, id.term));
        }
        self.last = id.index;
    }

    /// Adds the entries from `first` to `last`, all of `term`, at once.
    pub fn append_run(&mut self, first: Index, last: Index, term: Term) {
        assert!(first <= last, "a run holds an entry");
        self.append(EntryId::new(term, first));
        self.last = last;
    }

    /// Drops every entry at or above `index`.
    pub fn truncate_from(&mut self, index: Index) {
        assert!(index > self.purged.index, "a purged entry cannot be truncated");
        let kept = self.runs.partition_point(|run| run.0 < index);
        self.runs.truncate(kept);
        self.last = self.last.min(index.previous());
    }

    /// Forgets every entry up to and including `through`, which must be in the log.
    pub fn purge(&mut self, through: EntryId) {
        assert!(self.matches(through), "only an entry of the log can be purged to");
        if through.index == self.purged.index {
            return;
        }
        let run = self.run_of(through.index);
        self.runs.drain(..run);
        let first = through.index.next();
        if self.last < first || self.runs.get(1).is_some_and(|next| next.0 == first) {
            self.runs.remove(0);
        } else {
            self.runs[0].0 = first;
        }
        self.purged = through;
    }

    /// The position in `runs` of the run that holds `index`, which lies in (purged, last].
    fn run_of(&self, index: Index) -> usize {
        self.runs.partition_point(|run| run.0 <= index) - 1
    }
}

recorded!(struct TermTable { purged, runs, last });

#[cfg(test)]
mod tests {
    use super::*;

    fn table(purged: (u64, u64), terms: &[u64]) -> TermTable {
        let mut table = TermTable::new(EntryId::new(Term(purged.1), Index(purged.0)));
        for &term in terms {
            table.append(EntryId::new(Term(term), table.last().index.next()));
        }
        table
    }

    /// R7: an unknown index is never term 0.
    #[test]
    fn out_of_range_is_a_distinct_answer() {
        let table = table((3, 2), &[2, 2, 5]);
        assert_eq!(table.term(Index(2)), TermAt::Compacted);
        assert_eq!(table.term(Index(3)), TermAt::Known(Term(2)));
        assert_eq!(table.term(Index(5)), TermAt::Known(Term(2)));
        assert_eq!(table.term(Index(6)), TermAt::Known(Term(5)));
        assert_eq!(table.term(Index(7)), TermAt::Beyond);
    }

    /// Every operation against a plain list of terms.
    #[test]
    fn agrees_with_a_plain_list() {
        let terms = [1, 1, 2, 4, 4, 4, 7];
        for purge in 0..=terms.len() {
            for cut in purge..=terms.len() {
                let mut table = table((0, 0), &terms);
                if purge > 0 {
                    table.purge(EntryId::new(Term(terms[purge - 1]), Index(purge as u64)));
                }
                table.truncate_from(Index(cut as u64 + 1));
                assert_eq!(table.last().index, Index(cut as u64));
                for index in 0..=terms.len() {
                    let expected = if index < purge {
                        TermAt::Compacted
                    } else if index > cut {
                        TermAt::Beyond
                    } else {
                        TermAt::Known(Term(if index == 0 { 0 } else { terms[index - 1] }))
                    };
                    assert_eq!(
                        table.term(Index(index as u64)),
                        expected,
                        "purge {purge} cut {cut} at {index}"
                    );
                }
                for index in purge..=cut + 1 {
                    for term in 0..8 {
                        let expected = (purge + 1..=index.min(cut)).rev().find(|i| terms[i - 1] <= term);
                        let found = table.last_at_or_below(Index(index as u64), Term(term));
                        assert_eq!(found.index.0, expected.unwrap_or(purge) as u64);
                    }
                }
            }
        }
    }

    #[test]
    fn appends_continue_after_everything_was_purged() {
        let mut table = table((0, 0), &[1, 2]);
        table.purge(EntryId::new(Term(2), Index(2)));
        // Again: nothing is left to be purged.
        table.purge(EntryId::new(Term(2), Index(2)));
        assert_eq!(table.last(), EntryId::new(Term(2), Index(2)));
        table.append(EntryId::new(Term(2), Index(3)));
        assert_eq!(table.term(Index(3)), TermAt::Known(Term(2)));
    }
}
