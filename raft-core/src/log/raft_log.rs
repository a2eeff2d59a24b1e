//! The façade over the term table and the tail, and the account of what is durable.

use std::collections::VecDeque;

use super::tail::Tail;
use super::term_table::{TermAt, TermTable};
use crate::codec::recorded;
use crate::effect::LogChange;
use crate::entry::Entry;
use crate::fingerprint::Fingerprint;
use crate::message::SnapshotMeta;
use crate::mutants::{self, Mutant};
use crate::traits::Recovered;
use crate::types::{EntryId, Index, WriteSeq};

/// The log of one replica.
///
/// Invariants:
/// - `purged ≤ snapshot.last ≤ last` by index, once a received snapshot is in place (I12);
/// - every entry above `durable`, and every entry not yet handed to a write, is in the tail (R57);
/// - `durable` never covers an entry whose write has not completed: completions name write numbers, and a truncation
///   lowers what earlier writes can still vouch for (R56, R57).
#[derive(Clone, Debug)]
pub struct RaftLog {
    terms: TermTable,
    tail: Tail,
    snapshot: SnapshotMeta,
    snapshot_durable: EntryId,
    durable: Index,
    /// The first entry that no write holds yet.
    unwritten: Index,
    reset_unwritten: bool,
    snapshot_unwritten: bool,
    in_flight: VecDeque<InFlightWrite>,
}

/// A write that has not completed.
#[derive(Clone, Debug)]
struct InFlightWrite {
    seq: WriteSeq,
    /// The last entry that its completion proves durable; lowered by truncations that came after it.
    durable_to: Index,
    snapshot: Option<EntryId>,
}

/// What the next write has to hold.
#[derive(Debug)]
pub struct Unwritten {
    /// The snapshot in force, if it changed.
    pub snapshot: Option<SnapshotMeta>,
    /// The entries.
    pub log: LogChange,
}

impl RaftLog {
    /// The log that a store recovered.
    #[must_use]
    pub fn new(recovered: &Recovered) -> RaftLog {
        let mut terms = TermTable::new(recovered.purged);
        for (position, &(first, term)) in recovered.term_runs.iter().enumerate() {
            let end = recovered
                .term_runs
                .get(position + 1)
                .map_or(recovered.last_index, |next| next.0.previous());
            terms.append_run(first, end, term);
        }
        let next = recovered.last_index.next();
        RaftLog {
            terms,
            tail: Tail::new(next),
            snapshot: recovered.snapshot.clone(),
            snapshot_durable: recovered.snapshot.last,
            durable: recovered.last_index,
            unwritten: next,
            reset_unwritten: false,
            snapshot_unwritten: false,
            in_flight: VecDeque::new(),
        }
    }

    /// Gives back memory that is not needed now.
    pub(crate) fn shrink(&mut self) {
        self.in_flight.shrink_to_fit();
        self.tail.shrink();
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.terms.last()
    }

    /// The index of the first entry that is still there.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.terms.purged().index.next()
    }

    /// The entry right before the first one.
    #[must_use]
    pub fn purged(&self) -> EntryId {
        self.terms.purged()
    }

    /// The last index that is durable here.
    #[must_use]
    pub fn durable(&self) -> Index {
        self.durable
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// The term at `index`.
    #[must_use]
    pub fn term(&self, index: Index) -> TermAt {
        self.terms.term(index)
    }

    /// Whether the log has exactly this entry.
    #[must_use]
    pub fn matches(&self, id: EntryId) -> bool {
        self.terms.matches(id)
    }

    /// See [`TermTable::last_at_or_below`].
    #[must_use]
    pub fn last_at_or_below(&self, index: Index, term: crate::types::Term) -> EntryId {
        self.terms.last_at_or_below(index, term)
    }

    /// Whether the entry at `index` is in memory.
    #[must_use]
    pub fn in_memory(&self, index: Index) -> bool {
        index >= self.tail.first() && index <= self.last().index
    }

    /// The last index that is no longer in memory: what is below it is durable, and can only be read back (R57).
    #[must_use]
    pub fn last_cold(&self) -> Index {
        self.tail.first().previous()
    }

    /// The payload bytes in memory.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.tail.payload_bytes()
    }

    /// See [`Tail::slice`].
    #[must_use]
    pub fn slice(&self, from: Index, through: Index, bytes_max: usize) -> Vec<Entry> {
        self.tail.slice(from, through, bytes_max)
    }

    /// The payload bytes of the entries from `from` to `through`, as far as they are in memory.
    #[must_use]
    pub fn payload_bytes(&self, from: Index, through: Index) -> usize {
        self.tail.range(from, through).map(Entry::payload_bytes).sum()
    }

    /// Adds the next entry.
    pub fn append(&mut self, entry: Entry) {
        self.terms.append(entry.id);
        self.tail.append(entry);
    }

    /// Drops every entry at or above `index`, which must be above the snapshot (R51).
    pub fn truncate_from(&mut self, index: Index) {
        assert!(
            index > self.snapshot.last.index,
            "what a snapshot covers is committed"
        );
        self.terms.truncate_from(index);
        self.tail.truncate_from(index);
        self.unwritten = self.unwritten.min(index);
        self.lower_durable(index.previous());
    }

    /// Replaces the whole log by a snapshot that it does not match (R46). Until that is durable the disk vouches for no
    /// more than what was `committed` before: above it the old log may hold something else.
    pub fn reset(&mut self, snapshot: SnapshotMeta, committed: Index) {
        self.terms = TermTable::new(snapshot.last);
        self.tail = Tail::new(snapshot.last.index.next());
        self.unwritten = snapshot.last.index.next();
        self.lower_durable(committed.min(snapshot.last.index.previous()));
        self.snapshot = snapshot;
        self.reset_unwritten = true;
        self.snapshot_unwritten = true;
    }

    /// Puts a newer snapshot of the same log in force; the entries stay.
    pub fn set_snapshot(&mut self, snapshot: SnapshotMeta) {
        assert!(
            snapshot.last.index > self.snapshot.last.index,
            "snapshots only advance"
        );
        self.snapshot = snapshot;
        self.snapshot_unwritten = true;
    }

    fn lower_durable(&mut self, index: Index) {
        self.durable = self.durable.min(index);
        for write in &mut self.in_flight {
            write.durable_to = write.durable_to.min(index);
        }
    }

    /// Whether there is something for the next write.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.unwritten <= self.last().index || self.reset_unwritten || self.snapshot_unwritten
    }

    /// What write `seq` has to hold; from now on it is in flight.
    pub fn take_unwritten(&mut self, seq: WriteSeq) -> Unwritten {
        let last = self.last().index;
        let entries = self.slice(self.unwritten, last, usize::MAX);
        let log = if self.reset_unwritten {
            LogChange::Reset(entries)
        } else {
            LogChange::Append(entries)
        };
        let snapshot = self.snapshot_unwritten.then(|| self.snapshot.clone());
        self.unwritten = last.next();
        self.reset_unwritten = false;
        self.snapshot_unwritten = false;
        let in_force = snapshot.as_ref().map(|snapshot| snapshot.last);
        self.in_flight.push_back(InFlightWrite {
            seq,
            durable_to: last,
            snapshot: in_force,
        });
        Unwritten { snapshot, log }
    }

    /// Write `seq` and all before it completed.
    pub fn persisted(&mut self, seq: WriteSeq) {
        while self.in_flight.front().is_some_and(|write| write.seq <= seq) {
            let write = self.in_flight.pop_front().expect("the loop saw it");
            self.durable = self.durable.max(write.durable_to);
            if let Some(snapshot) = write.snapshot {
                self.snapshot_durable = snapshot;
            }
        }
    }

    /// The last entry of the newest snapshot whose record in the log store is durable.
    #[must_use]
    pub fn snapshot_durable(&self) -> EntryId {
        self.snapshot_durable
    }

    /// Forgets the entries up to and including `through`, which a durable snapshot covers.
    pub fn purge(&mut self, through: EntryId) {
        assert!(
            through.index <= self.snapshot_durable.index || mutants::is(Mutant::PurgeBeyondSnapshot),
            "only what a durable snapshot covers is purged"
        );
        self.terms.purge(through);
        while self.tail.first() <= through.index && self.in_memory(self.tail.first()) {
            self.tail.evict_first();
        }
    }

    /// Drops entries at or below `keep_above` from memory until at most `bytes_max` payload bytes are left.
    pub fn evict(&mut self, keep_above: Index, bytes_max: usize) {
        let limit = keep_above.min(self.durable);
        while self.tail.payload_bytes() > bytes_max && self.tail.first() <= limit {
            self.tail.evict_first();
        }
    }

    /// Tells it apart from others by all that decides anything. Writes in flight are known by what they prove; one that
    /// proves no more than the one before it is left out.
    pub(crate) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let RaftLog {
            terms,
            tail,
            snapshot,
            snapshot_durable,
            durable,
            unwritten,
            reset_unwritten,
            snapshot_unwritten,
            in_flight,
        } = self;
        fingerprint.feed(&(terms, tail, snapshot, snapshot_durable, durable));
        fingerprint.feed(&(unwritten, reset_unwritten, snapshot_unwritten));
        let mut proven = None;
        for write in in_flight {
            if write.snapshot.is_some() || proven.is_none_or(|proven| write.durable_to > proven) {
                fingerprint.feed(&(write.durable_to, write.snapshot));
                proven = proven.max(Some(write.durable_to));
            }
        }
    }
}

recorded!(struct RaftLog {
    terms, tail, snapshot, snapshot_durable, durable, unwritten, reset_unwritten, snapshot_unwritten, in_flight,
});
recorded!(struct InFlightWrite { seq, durable_to, snapshot });

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::Term;

    fn entry(index: u64, term: u64) -> Entry {
        Entry::command(Term(term), Index(index), Bytes::from_static(b"x"))
    }

    /// R56: entries A are overwritten by B and then by an identical A; the completion of the first write of A must not
    /// vouch for the last.
    #[test]
    fn a_late_completion_does_not_vouch_for_an_overwritten_entry() {
        let mut log = RaftLog::new(&Recovered::default());
        log.append(entry(1, 1));
        log.take_unwritten(WriteSeq(1));
        log.truncate_from(Index(1));
        log.append(entry(1, 2));
        log.take_unwritten(WriteSeq(2));
        log.truncate_from(Index(1));
        log.append(entry(1, 2));
        log.take_unwritten(WriteSeq(3));
        log.persisted(WriteSeq(1));
        assert_eq!(log.durable(), Index(0));
        log.persisted(WriteSeq(2));
        assert_eq!(log.durable(), Index(0));
        log.persisted(WriteSeq(3));
        assert_eq!(log.durable(), Index(1));
    }

    /// R57: truncation lowers the durable mark, and what is above it stays in memory.
    #[test]
    fn truncation_lowers_the_durable_mark() {
        let mut log = RaftLog::new(&Recovered::default());
        for index in 1..=4 {
            log.append(entry(index, 1));
        }
        log.take_unwritten(WriteSeq(1));
        log.persisted(WriteSeq(1));
        assert_eq!(log.durable(), Index(4));
        log.truncate_from(Index(3));
        assert_eq!(log.durable(), Index(2));
        log.append(entry(3, 2));
        log.evict(Index(4), 0);
        assert!(log.in_memory(Index(3)) && !log.in_memory(Index(2)));
    }

    /// R46, R55: what stood above the commit index of the old log is not what the snapshot covers there. Found by
    /// simulation.
    #[test]
    fn a_reset_vouches_for_committed_entries_only() {
        let mut log = RaftLog::new(&Recovered::default());
        for index in 1..=4 {
            log.append(entry(index, 1));
        }
        log.take_unwritten(WriteSeq(1));
        log.append(entry(5, 1));
        log.take_unwritten(WriteSeq(2));
        log.persisted(WriteSeq(1));
        let snapshot = SnapshotMeta {
            last: EntryId::new(Term(2), Index(9)),
            ..SnapshotMeta::default()
        };
        log.reset(snapshot, Index(2));
        assert_eq!(log.durable(), Index(2));
        log.persisted(WriteSeq(2));
        assert_eq!(log.durable(), Index(2));
        log.take_unwritten(WriteSeq(3));
        log.persisted(WriteSeq(3));
        assert_eq!(log.durable(), Index(9));
    }

    #[test]
    fn a_recovered_log_knows_its_terms_without_its_entries() {
        let log = RaftLog::new(&Recovered {
            purged: EntryId::new(Term(1), Index(10)),
            term_runs: vec![(Index(11), Term(2)), (Index(14), Term(5))],
            last_index: Index(15),
            ..Recovered::default()
        });
        assert_eq!(log.last(), EntryId::new(Term(5), Index(15)));
        assert_eq!(log.term(Index(13)), TermAt::Known(Term(2)));
        assert_eq!(log.first_index(), Index(11));
        assert!(!log.in_memory(Index(15)));
    }
}
