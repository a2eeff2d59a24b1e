//! Leadership: replication (paper §5.3), the commit rule (paper §5.4.2), and when to give up (thesis §6.2).

use std::collections::BTreeMap;

use super::common::Common;
use super::reads::Reads;
use crate::effect::Effect;
use crate::entry::Entry;
use crate::input::{LogRead, LogReadResult, LogReader, Proposal, RefusalReason};
use crate::log::TermAt;
use crate::message::{AppendEntries, AppendEntriesResponse, AppendResult, Body};
use crate::progress::{ColdRead, Progress, ProgressState};
use crate::types::{EntryId, Index, NodeId, Round, Ticket, Time};

/// What only a leader has.
///
/// Invariants:
/// - it never truncates its own log (I4);
/// - its own match is what is durable on its own disk, never more (R58);
/// - `uncommitted_bytes` counts entries above `term_start` only (R19).
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// Every other member.
    pub(super) progress: BTreeMap<NodeId, Progress>,
    pub(super) reads: Reads,
    pub(super) heartbeat_due: Time,
    /// The no-op that began this leadership: committing it commits the inherited tail (R2).
    term_start: Index,
    uncommitted_bytes: usize,
    elected_at: Time,
    /// Followers must hear of a new commit index.
    commit_advanced: bool,
}

impl Leader {
    /// Begins a leadership: appends the no-op, before anything else and exempt from every quota (R2).
    pub(super) fn new(common: &mut Common) -> Leader {
        let term_start = common.log.last().index.next();
        common.append(Entry::noop(common.term, term_start));
        let mut leader = Leader {
            progress: BTreeMap::new(),
            reads: Reads::default(),
            heartbeat_due: common.now + common.config.heartbeat_interval,
            term_start,
            uncommitted_bytes: 0,
            elected_at: common.now,
            commit_advanced: false,
        };
        leader.sync_members(common);
        leader
    }

    /// Makes the followers those of the latest configuration; new ones count as heard from (R31).
    fn sync_members(&mut self, common: &Common) {
        let members = common.membership().members();
        self.progress.retain(|id, _| members.binary_search(id).is_ok());
        for member in members.into_iter().filter(|member| *member != common.id()) {
            self.progress
                .entry(member)
                .or_insert_with(|| Progress::new(&common.config, self.term_start, common.now));
        }
    }

    // ---- proposals ----

    /// Appends commands in order; each is answered by `Proposed` or `Refused`.
    pub(super) fn propose(&mut self, common: &mut Common, proposals: Vec<Proposal>) {
        for Proposal { ticket, command } in proposals {
            let bytes = command.len();
            let bytes_max = common.config.entry_bytes_max;
            let refusal = if bytes > bytes_max {
                Some(RefusalReason::TooLarge { bytes, bytes_max })
            } else if bytes > 0
                && self.uncommitted_bytes > 0
                && self.uncommitted_bytes + bytes > common.config.uncommitted_bytes_max
            {
                Some(RefusalReason::Busy)
            } else {
                None
            };
            if let Some(reason) = refusal {
                common.effects.push(Effect::Refused { ticket, reason });
                continue;
            }
            let id = EntryId::new(common.term, common.log.last().index.next());
            self.uncommitted_bytes += bytes;
            common.append(Entry::command(id.term, id.index, command));
            common.effects.push(Effect::Proposed { ticket, id });
        }
    }

    // ---- replication ----

    /// Sends to every follower what may be sent now.
    fn replicate(&mut self, common: &mut Common) {
        let commit_advanced = std::mem::take(&mut self.commit_advanced);
        let round = self.reads.round();
        for (&to, progress) in &mut self.progress {
            let mut must_send = commit_advanced && progress.state() == ProgressState::Replicate;
            // One acknowledgement can free several places: send until paused (R17).
            while !progress.is_paused() && send_append(common, to, progress, round, must_send) {
                must_send = false;
            }
        }
    }

    /// Contacts every follower: an AppendEntries without entries (mission row S9). It asks about the entry right before
    /// `next_index`, so that it notices lost messages and lets one probe through when a window is full (R14).
    pub(super) fn broadcast_heartbeat(&mut self, common: &mut Common) {
        let round = self.reads.round();
        for (&to, progress) in &mut self.progress {
            progress.resume_probe();
            send_heartbeat(common, to, progress, round);
        }
    }

    /// Time passed. Returns false if no quorum was heard from for an election timeout (R36).
    pub(super) fn tick(&mut self, common: &mut Common) -> bool {
        if common.now.since(self.quorum_contact(common)) >= common.config.election_timeout {
            return false;
        }
        if common.now >= self.heartbeat_due {
            self.heartbeat_due = common.now + common.config.heartbeat_interval;
            common.retry_cold_read();
            self.broadcast_heartbeat(common);
        }
        true
    }

    /// The newest time at which a quorum had been heard from.
    pub(super) fn quorum_contact(&self, common: &Common) -> Time {
        let own_id = common.id();
        Time::from_nanos(common.membership().reached_by_quorum(|voter| {
            if voter == own_id {
                common.now.as_nanos()
            } else {
                self.progress
                    .get(&voter)
                    .map_or(self.elected_at, |progress| progress.last_contact)
                    .as_nanos()
            }
        }))
    }

    /// A follower answered AppendEntries, or acknowledged a snapshot. Unknown peers are ignored (R69).
    pub(super) fn append_entries_response(
        &mut self,
        common: &mut Common,
        from: NodeId,
        response: AppendEntriesResponse,
    ) {
        let Some(progress) = self.progress.get_mut(&from) else {
            return;
        };
        progress.last_contact = common.now;
        progress.round = progress.round.max(response.round.min(self.reads.round()));
        match response.result {
            // A follower cannot match beyond the log here; one that says so lost its mind or its disk.
            AppendResult::Accepted { match_index } if match_index > common.log.last().index => return,
            AppendResult::Accepted { match_index } => {
                if progress.accepted(match_index, common.log.first_index()) {
                    self.advance_commit(common);
                }
            }
            AppendResult::Rejected { prev_index, hint } => {
                // Skip the terms that the follower cannot have (R8).
                let own = common.log.last_at_or_below(hint.index, hint.term);
                progress.rejected(prev_index, own.index);
            }
        }
        self.confirm_reads(common);
    }

    /// Commits what a quorum has made durable, if it is of the current term (paper §5.4.2, Figure 8: R1).
    pub(super) fn advance_commit(&mut self, common: &mut Common) {
        let own_id = common.id();
        let quorum = common.membership().committed_index(|voter| {
            if voter == own_id {
                // The own disk counts like any other (R58).
                common.log.durable()
            } else {
                self.progress
                    .get(&voter)
                    .map_or(Index::ZERO, Progress::match_index)
            }
        });
        if quorum <= common.commit || common.log.term(quorum) != TermAt::Known(common.term) {
            return;
        }
        let counted_from = common.commit.next().max(self.term_start);
        let freed = common.log.payload_bytes(counted_from, quorum);
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(freed);
        common.commit_to(quorum);
        self.commit_advanced = true;
    }

    /// Entries for a follower arrived from the log store; nothing is sent if the read failed (R12).
    pub(super) fn log_read_for_peer(&mut self, common: &mut Common, to: NodeId, result: LogReadResult) {
        let round = self.reads.round();
        let Some(progress) = self.progress.get_mut(&to) else {
            return;
        };
        progress.cold_read = if result.entries.is_empty() {
            ColdRead::Failed
        } else {
            ColdRead::Idle
        };
        let first = progress.next_index();
        let fits = result.entries.first().is_some_and(|entry| entry.index() == first)
            && result.entries.iter().all(|entry| common.log.matches(entry.id));
        let TermAt::Known(prev_term) = common.log.term(first.previous()) else {
            return;
        };
        if fits && !progress.is_paused() {
            let prev = EntryId::new(prev_term, first.previous());
            send_entries(common, to, progress, prev, result.entries, round);
        }
    }

    /// A snapshot was streamed to a follower, or could not be (R49).
    pub(super) fn snapshot_sent(&mut self, to: NodeId, delivered: bool) {
        if let Some(progress) = self.progress.get_mut(&to) {
            progress.snapshot_ended(delivered);
        }
    }

    /// The index above which the log must stay for followers that were sent a snapshot (R53): until they reach the
    /// newest one, or are not heard from any more. While a snapshot is in transfer, the transport says how it ends.
    pub(super) fn pinned(&mut self, common: &Common) -> Option<Index> {
        let newest = common.log.snapshot_durable().index;
        let timeout = common.config.election_timeout;
        for progress in self.progress.values_mut() {
            let in_transfer = matches!(progress.state(), ProgressState::Snapshot { .. });
            let gone = common.now.since(progress.last_contact) >= timeout;
            if !in_transfer && (gone || progress.match_index() >= newest) {
                progress.unpin();
            }
        }
        self.progress.values().filter_map(Progress::pinned).min()
    }

    // ---- reads ----

    /// Clients want to read.
    pub(super) fn read(&mut self, common: &mut Common, tickets: Vec<Ticket>) {
        for ticket in tickets {
            if self.reads.pending() >= common.config.reads_max {
                common.effects.push(Effect::Refused {
                    ticket,
                    reason: RefusalReason::Busy,
                });
            } else {
                self.reads.add(ticket);
            }
        }
    }

    /// Confirms the reads whose round a quorum answered.
    fn confirm_reads(&mut self, common: &mut Common) {
        let own_id = common.id();
        let own_round = self.reads.round();
        let confirmed = common.membership().reached_by_quorum(|voter| {
            if voter == own_id {
                own_round.0
            } else {
                self.progress.get(&voter).map_or(0, |progress| progress.round.0)
            }
        });
        let effects = &mut common.effects;
        self.reads.confirm(Round(confirmed), |ticket, index| {
            effects.push(Effect::ReadConfirmed { ticket, index });
        });
    }

    /// Begins the next round of reads once an entry of this term is committed (R40).
    fn begin_reads(&mut self, common: &mut Common) {
        while common.commit >= self.term_start && self.reads.begin_round(common.commit) {
            self.broadcast_heartbeat(common);
            self.confirm_reads(common);
        }
    }

    /// Ends a step: everything that follows from the new state.
    pub(super) fn flush(&mut self, common: &mut Common) {
        self.replicate(common);
        self.begin_reads(common);
    }
}

/// Sends the next entries to a follower. Returns whether a message left; `must_send` sends one without entries if there
/// are none.
fn send_append(
    common: &mut Common,
    to: NodeId,
    progress: &mut Progress,
    round: Round,
    must_send: bool,
) -> bool {
    let first = progress.next_index();
    let prev = match common.log.term(first.previous()) {
        TermAt::Known(term) => EntryId::new(term, first.previous()),
        TermAt::Compacted => {
            send_snapshot(common, to, progress);
            return false;
        }
        // A probe cannot ask beyond the end: next is at most last + 1.
        TermAt::Beyond => return false,
    };
    let last = common.log.last().index;
    let in_memory = common.log.in_memory(first);
    if matches!(progress.state(), ProgressState::Probe { .. }) && !in_memory {
        // Ask first; entries that are not at hand are read once it is known that they fit.
        send_entries(common, to, progress, prev, Vec::new(), round);
        return true;
    }
    if first > last {
        if must_send {
            send_entries(common, to, progress, prev, Vec::new(), round);
        }
        return false;
    }
    if !in_memory {
        read_for_peer(common, to, progress);
        return false;
    }
    let entries = common.log.slice(first, last, common.config.append_bytes_max);
    send_entries(common, to, progress, prev, entries, round);
    true
}

fn send_entries(
    common: &mut Common,
    to: NodeId,
    progress: &mut Progress,
    prev: EntryId,
    entries: Vec<Entry>,
    round: Round,
) {
    let last = prev.index + entries.len() as u64;
    progress.sent(last, entries.iter().map(Entry::payload_bytes).sum());
    let request = AppendEntries {
        prev,
        entries,
        leader_commit: common.commit,
        round,
    };
    common.send_now(to, Body::AppendEntries(request));
}

fn send_heartbeat(common: &mut Common, to: NodeId, progress: &mut Progress, round: Round) {
    let about = progress.next_index().previous();
    let prev = match (progress.state(), common.log.term(about)) {
        // Every log begins with the empty prefix: nothing is asked about the log.
        (ProgressState::Snapshot { .. }, _) => EntryId::ZERO,
        (_, TermAt::Known(term)) => {
            // In Probe this is the probe; in Replicate it counts as nothing sent.
            progress.sent(about, 0);
            EntryId::new(term, about)
        }
        (_, TermAt::Compacted | TermAt::Beyond) => {
            // The entry to ask about is gone, so its term is not known: only a snapshot helps (R15).
            send_snapshot(common, to, progress);
            EntryId::ZERO
        }
    };
    let request = AppendEntries {
        prev,
        entries: Vec::new(),
        leader_commit: common.commit,
        round,
    };
    common.send_now(to, Body::AppendEntries(request));
}

fn send_snapshot(common: &mut Common, to: NodeId, progress: &mut Progress) {
    let meta = common.log.snapshot().clone();
    // A snapshot whose record is not durable yet could be gone after a crash here; the next heartbeat tries again.
    if meta.last == EntryId::ZERO || common.log.snapshot_durable() != meta.last {
        return;
    }
    // A follower that nobody hears is not worth a transfer with each heartbeat: its first answer brings it here again.
    if common.now.since(progress.last_contact) >= common.config.election_timeout {
        return;
    }
    progress.become_snapshot(meta.last.index);
    common.effects.push(Effect::SendSnapshot {
        to,
        term: common.term,
        meta,
    });
}

/// Asks for what left memory and nothing newer: the store does not have yet what is still being written.
fn read_for_peer(common: &mut Common, to: NodeId, progress: &mut Progress) {
    if progress.cold_read == ColdRead::Idle {
        progress.cold_read = ColdRead::Outstanding;
        let bytes_max = common.config.append_bytes_max;
        let (first, last) = (progress.next_index(), common.log.last_cold());
        common.effects.push(Effect::ReadLog(LogRead {
            reader: LogReader::Peer(to),
            first,
            last,
            bytes_max,
        }));
    }
}
