//! What a follower does with AppendEntries (paper §5.3) and with snapshots (paper §7).

use std::time::Duration;

use super::common::Common;
use super::quiescence::Nap;
use crate::codec::recorded;
use crate::effect::FatalReason;
use crate::entry::{Entry, LogSlice};
use crate::log::TermAt;
use crate::message::{AppendEntries, AppendEntriesResponse, AppendResult, Body, InstallSnapshot};
use crate::mutants::{self, Mutant};
use crate::types::{EntryId, Index, NodeId, Round, Time};

/// What only a follower has.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    /// The leader of the current term, once it made itself known.
    pub(super) leader: Option<NodeId>,
    /// When it campaigns, unless it sleeps.
    pub(super) election_deadline: Time,
    pub(super) nap: Nap,
}

/// Which request an answer is for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    by: NodeId,
    round: Round,
    prev_acknowledged: bool,
    /// Whether this replica sleeps from now on, as the request asks.
    sleeps: bool,
}

impl Asked {
    /// An answer to something that belongs to no round.
    fn outside_rounds(by: NodeId) -> Asked {
        Asked {
            by,
            round: Round::default(),
            prev_acknowledged: false,
            sleeps: false,
        }
    }
}

impl Common {
    /// Stores what a leader of the current term sent, and answers; `sleeps` tells it that this replica sleeps from now on.
    pub(super) fn append_entries(&mut self, from: NodeId, request: AppendEntries, sleeps: bool) {
        let AppendEntries {
            prev,
            prev_acknowledged,
            entries,
            leader_commit,
            round,
            sleep: _,
        } = request;
        let asked = Asked {
            by: from,
            round,
            prev_acknowledged,
            sleeps,
        };
        let Ok(slice) = LogSlice::new(prev, entries) else {
            return;
        };
        self.meet_the_past(prev, leader_commit);
        if self.conflicts_with_committed(from, prev) || self.conflicts_with_committed(from, slice.last()) {
            return;
        }
        if slice.last().index <= self.commit && prev.index < self.commit {
            // Everything in it is committed here already; the leader has it, too (R6).
            self.acknowledge(asked, self.commit);
            return;
        }
        let Some(slice) = self.above_commit(from, slice) else {
            return;
        };
        if mutants::is(Mutant::GapAccepted) {
            self.fill_gap(slice.prev());
        }
        if !self.has_predecessor(slice.prev()) {
            self.reject(asked, slice.prev());
            return;
        }
        let last = slice.last();
        let is_heartbeat = slice.entries().is_empty();
        self.store_above_match(slice);
        let own_last = self.log.last().index;
        // Never beyond what this very message verified (R3): the own log may be longer and wrong.
        let verified = if mutants::is(Mutant::CommitBeyondVerified) {
            own_last
        } else {
            last.index
        };
        self.commit_to(leader_commit.min(verified).max(self.commit));
        let matched = if mutants::is(Mutant::AckBeyondMatch) {
            own_last
        } else {
            last.index
        };
        if is_heartbeat {
            // While a leader is heard no timer fires here, so its heartbeats are the clock of what is tried again.
            self.retry_cold_read();
            // A heartbeat is answered at once, whatever the disk does; it vouches only for what is durable.
            self.acknowledge(asked, matched.min(self.log.durable()));
        } else {
            self.acknowledge(asked, matched);
        }
    }

    /// Whether the log has the entry that new ones follow (paper §5.3).
    fn has_predecessor(&self, prev: EntryId) -> bool {
        if mutants::is(Mutant::PrevTermUnchecked) {
            return self.log.term(prev.index) != TermAt::Beyond;
        }
        self.log.matches(prev)
    }

    /// Makes the log long enough for an entry after `prev`, as only a mutant does.
    fn fill_gap(&mut self, prev: EntryId) {
        while self.log.last().index < prev.index && self.log.last().term <= prev.term {
            self.append(Entry::noop(prev.term, self.log.last().index.next()));
        }
    }

    /// Cuts off the entries at or below the commit index, which must be the ones committed here.
    fn above_commit(&mut self, from: NodeId, slice: LogSlice) -> Option<LogSlice> {
        if slice.prev().index >= self.commit {
            return Some(slice);
        }
        let count = usize::try_from(self.commit.entries_since(slice.prev().index)).unwrap_or(usize::MAX);
        let mut entries = slice.into_entries();
        let above = entries.split_off(count.min(entries.len()));
        let prev = entries.last().map(|entry| entry.id)?;
        if self.conflicts_with_committed(from, prev) {
            return None;
        }
        LogSlice::new(prev, above).ok()
    }

    /// Whether `received` contradicts a committed entry: then a replica lost what it had promised (R5, R11).
    fn conflicts_with_committed(&mut self, from: NodeId, received: EntryId) -> bool {
        match self.log.term(received.index) {
            TermAt::Known(term) if term != received.term && received.index <= self.commit => {
                let committed = EntryId::new(term, received.index);
                self.fail(FatalReason::CommittedEntryConflict {
                    committed,
                    received,
                    from,
                });
                true
            }
            _ => false,
        }
    }

    /// Stores the entries that are not in the log yet, all of them above the commit index. Truncates only from the first
    /// entry that conflicts: a delayed or short message never removes what is fine (R5).
    fn store_above_match(&mut self, slice: LogSlice) {
        let entries: Vec<Entry> = slice.into_entries();
        let is_new =
            |entry: &Entry| !self.log.matches(entry.id) || mutants::is(Mutant::TruncateOnStaleAppend);
        let Some(new) = entries.iter().position(is_new) else {
            return;
        };
        let first_new = entries[new].index();
        assert!(first_new > self.commit, "what is committed is never truncated");
        if self.log.term(first_new) != TermAt::Beyond {
            self.truncate_from(first_new);
        }
        for entry in entries.into_iter().skip(new) {
            self.append(entry);
        }
    }

    /// Says that the log matches up to `match_index`, as soon as it is durable up to there.
    fn acknowledge(&mut self, asked: Asked, match_index: Index) {
        let result = AppendResult::Accepted { match_index };
        let body = self.append_response(asked, result);
        if match_index <= self.log.durable() {
            self.send_now_or_when_durable(asked.by, body);
        } else {
            self.send_when_durable(asked.by, body);
        }
    }

    /// Says that there is no entry like `prev`, and where the logs could begin to agree (R8).
    fn reject(&mut self, asked: Asked, prev: EntryId) {
        let hint = self.log.last_at_or_below(prev.index.previous(), prev.term);
        let result = AppendResult::Rejected {
            prev_index: prev.index,
            hint,
        };
        let body = self.append_response(asked, result);
        self.send_when_durable(asked.by, body);
    }

    /// The time for which this replica votes for nobody else once it heard a leader.
    fn lease_ms(&self) -> u32 {
        let promise = self
            .config
            .lease_drift_max
            .map(|_| self.config.election_timeout.as_millis());
        u32::try_from(promise.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// How long the oldest write waits, in whole heartbeat intervals: less is no news.
    fn disk_waits_ms(&self) -> u32 {
        let waits = self
            .disk_waits_since()
            .map_or(Duration::ZERO, |since| self.now.since(since));
        let interval = self.config.heartbeat_interval;
        let intervals = waits.as_nanos() / interval.as_nanos().max(1);
        let waited = interval.as_millis().saturating_mul(intervals);
        u32::try_from(waited).unwrap_or(u32::MAX)
    }

    fn append_response(&self, asked: Asked, result: AppendResult) -> Body {
        Body::AppendEntriesResponse(AppendEntriesResponse {
            round: asked.round,
            prev_acknowledged: asked.prev_acknowledged,
            incarnation: self.config.incarnation,
            suspect: self.is_suspect(),
            lease_ms: self.lease_ms(),
            sleeps: asked.sleeps,
            disk_waits_ms: self.disk_waits_ms(),
            result,
        })
    }

    /// Tells members that this replica waits to hear from a leader, and where its log agrees with any: nowhere, as far as it
    /// says. It answers nothing that was asked.
    pub(super) fn make_itself_known(&mut self) {
        let own_id = self.id();
        for member in self.membership().members() {
            if member != own_id {
                let nothing = AppendResult::Accepted {
                    match_index: Index::ZERO,
                };
                let body = self.append_response(Asked::outside_rounds(member), nothing);
                self.send_now_or_when_durable(member, body);
            }
        }
    }

    /// Answers a leader of an older term, so that it learns the current one (R24). The answer is of the current term, so it
    /// answers no round of the older one: that leader may lead again by now, and has begun a round of the same number (R41).
    pub(super) fn reject_old_leader(&mut self, to: NodeId, prev: EntryId) {
        self.reject(Asked::outside_rounds(to), prev);
    }

    /// Takes over a snapshot from the leader of the current term, which is durable in the snapshot store.
    pub(super) fn receive_snapshot(&mut self, header: InstallSnapshot) {
        let InstallSnapshot { from, meta, .. } = header;
        let replaces_anything = mutants::is(Mutant::SnapshotOverNewerLog);
        if meta.last.index <= self.commit && !replaces_anything {
            // Nothing new in it (R47).
            self.acknowledge(Asked::outside_rounds(from), self.commit);
            return;
        }
        // A configuration without this node, from after its id was given out: the group has gone on without it (R47). One
        // from before that is only older than its membership, and entries that follow the snapshot make it a member.
        if meta.membership.is_former_member(self.id()) {
            return;
        }
        self.meet_the_past(meta.last, meta.last.index);
        if self.log.matches(meta.last) && !replaces_anything {
            // The log has all of it and more: only the commit index was missing (R46).
            self.commit_to(meta.last.index);
        } else {
            self.install_snapshot(meta.clone());
        }
        self.acknowledge(Asked::outside_rounds(from), meta.last.index);
    }
}

recorded!(struct Follower { leader, election_deadline, nap });
