//! Leadership: replication (paper §5.3), the commit rule (paper §5.4.2), and when to give up (thesis §6.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::common::Common;
use super::lease::Lease;
use super::machine::NEVER;
use super::quiescence::Sleep;
use super::reads::Reads;
use super::replication::{ask_in_order, send_append, send_entries, send_heartbeat};
use super::transfer::Transfer;
use crate::codec::recorded;
use crate::effect::Effect;
use crate::entry::{self, Entry, Payload, SessionEntry};
use crate::fingerprint::Fingerprint;
use crate::input::{LogReadResult, Proposal, Proposed};
use crate::log::TermAt;
use crate::message::{AppendEntriesResponse, AppendResult};
use crate::mutants::{self, Mutant};
use crate::progress::{ColdRead, Progress, ProgressState};
use crate::request::RefusalReason;
use crate::types::{EntryId, Index, NodeId, Round, Ticket, Time};

/// What only a leader has.
///
/// Invariants:
/// - it never truncates its own log (I4);
/// - its own match is what is durable on its own disk, never more (R58);
/// - `uncommitted_bytes` counts entries above `term_start` only (R19).
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// Every other member, and those that left a moment ago.
    pub(super) progress: BTreeMap<NodeId, Progress>,
    /// Members that left, and until when they are still told so; none before that is committed.
    pub(super) departing: BTreeMap<NodeId, Option<Time>>,
    /// Who waits for the change of the members that is under way.
    pub(super) change: Option<Ticket>,
    pub(super) transfer: Option<Transfer>,
    pub(super) reads: Reads,
    pub(super) lease: Lease,
    pub(super) heartbeat_due: Time,
    /// The no-op that began this leadership: committing it commits the inherited tail (R2).
    pub(super) term_start: Index,
    uncommitted_bytes: usize,
    pub(super) elected_at: Time,
    /// Followers must hear of a new commit index.
    commit_advanced: bool,
    pub(super) sleep: Sleep,
}

impl Leader {
    /// Begins a leadership: appends the no-op, before anything else and exempt from every quota (R2).
    pub(super) fn new(common: &mut Common) -> Leader {
        common.timeouts_without_leader = 0;
        let term_start = common.log.last().index.next();
        common.append(Entry::noop(common.term, term_start));
        let mut leader = Leader {
            progress: BTreeMap::new(),
            departing: BTreeMap::new(),
            change: None,
            transfer: None,
            reads: Reads::default(),
            lease: Lease::default(),
            heartbeat_due: common.now + common.config.heartbeat_interval,
            term_start,
            uncommitted_bytes: 0,
            elected_at: common.now,
            commit_advanced: false,
            sleep: Sleep::new(common.now),
        };
        if common.config.quiesce_after.is_some() {
            // What answers no round has number 0, and is told from what answers one.
            leader.reads.begin_bare_round();
        }
        leader.sync_members(common);
        leader.remember_former_members(common);
        leader
    }

    // ---- proposals ----

    /// Appends commands in order; each is answered by `Proposed` or `Refused`.
    pub(super) fn propose(&mut self, common: &mut Common, proposals: Vec<Proposal>) {
        for Proposal { ticket, command } in proposals {
            let bytes = command.bytes();
            let bytes_max = common.config.entry_bytes_max;
            let refusal = if let Some(Transfer { to, .. }) = self.transfer {
                Some(RefusalReason::Transferring { to })
            } else if !common.membership().is_voter(common.id()) {
                // A leader on its way out takes nothing that it would leave behind undecided (R64).
                Some(RefusalReason::NotLeader { leader: None })
            } else if bytes > bytes_max {
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
            let payload = self.payload(common.now, command);
            common.append(Entry { id, payload });
            common.effects.push(Effect::Proposed { ticket, id });
        }
    }

    /// What a proposal becomes in the log. Sessions get the time that passed since the election: the time at which they
    /// are applied differs from replica to replica, and must decide nothing.
    fn payload(&self, now: Time, command: Proposed) -> Payload {
        match command {
            Proposed::Command(command) => Payload::Command(command),
            Proposed::Session(request) => {
                let elapsed = now.since(self.elected_at).as_millis();
                Payload::Session(Arc::new(SessionEntry {
                    elapsed_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
                    request,
                }))
            }
        }
    }

    /// The payload bytes that this leadership appended and has not committed.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    // ---- replication ----

    /// Sends to every follower what may be sent now.
    fn replicate(&mut self, common: &mut Common) {
        let commit_advanced = std::mem::take(&mut self.commit_advanced);
        self.count_snapshot_transfers(common);
        let round = self.reads.round();
        for (&to, progress) in &mut self.progress {
            let mut must_send = commit_advanced && progress.state() == ProgressState::Replicate;
            // One acknowledgement can free several places: send until paused (R17).
            while !progress.is_paused() && send_append(common, to, progress, round, must_send) {
                must_send = false;
            }
            let lacks = progress.match_index() < common.log.last().index;
            let is_full = progress.state() == ProgressState::Replicate && progress.inflights().is_full();
            progress.arrears.stepped(lacks, is_full, common.now);
        }
    }

    /// Contacts every follower: an AppendEntries without entries (mission row S9). What a heartbeat cannot ask is asked in
    /// order behind it; `asks_all` asks everybody that something is under way to whether it arrived, so that lost messages
    /// are noticed even if a window is full or the only probe was lost (R14), and asks everybody to sleep if it is time for that.
    fn broadcast_heartbeat(&mut self, common: &mut Common, asks_all: bool) {
        let round = self.reads.round();
        if common.config.lease_drift_max.is_some() {
            self.lease.round_sent(round, common.now);
        }
        self.count_snapshot_transfers(common);
        let sleep = asks_all && self.sleep.is_asking();
        for (&to, progress) in &mut self.progress {
            if asks_all {
                progress.resume_probe();
            }
            let asked = send_heartbeat(common, to, progress, round, sleep);
            if (asks_all || asked == EntryId::ZERO) && progress.has_open_question() {
                ask_in_order(common, to, progress, round);
            }
        }
    }

    /// Begins a round for nobody's read and tells everyone. Returns its number.
    pub(super) fn begin_round(&mut self, common: &mut Common) -> Round {
        self.reads.begin_bare_round();
        self.broadcast_heartbeat(common, false);
        self.reads.round()
    }

    /// How many followers may be sent a snapshot beside those that are.
    fn count_snapshot_transfers(&self, common: &mut Common) {
        let in_transfer = |progress: &&Progress| matches!(progress.state(), ProgressState::Snapshot { .. });
        let count = self.progress.values().filter(in_transfer).count();
        common.snapshot_transfers_left = common.config.snapshot_transfers_max.saturating_sub(count);
    }

    /// Time passed. Returns false if no quorum was heard from for an election timeout (R36).
    pub(super) fn tick(&mut self, common: &mut Common) -> bool {
        if common.now.since(self.quorum_contact(common)) >= common.election_timeout {
            return false;
        }
        if common.now >= self.heartbeat_due {
            self.heartbeat_due = common.now + common.config.heartbeat_interval;
            common.retry_cold_read();
            let asks = self.asks_for_sleep(common);
            if asks || common.config.lease_drift_max.is_some() {
                self.reads.begin_bare_round();
            }
            if asks {
                self.ask_for_sleep(common);
            }
            self.broadcast_heartbeat(common, true);
        }
        self.expire_transfer(common);
        true
    }

    /// When time alone will change something: a heartbeat is due, a quorum was silent for too long, the own disk or state
    /// machine stood still for too long (R35), or a transfer took too long.
    pub(super) fn next_deadline(&self, common: &Common) -> Time {
        if self.is_asleep() {
            return NEVER;
        }
        let give_up = self.quorum_contact(common) + common.election_timeout;
        let stall_max = common.config.election_timeout;
        let stalled = common.waits_since(self.elected_at).map(|since| since + stall_max);
        let stalled = stalled.filter(|_| self.has_successor(common));
        let transfer = self.transfer.map(|transfer| transfer.deadline);
        let others = [stalled, transfer].into_iter().flatten();
        others.fold(self.heartbeat_due.min(give_up), Time::min)
    }

    /// The newest time at which a quorum had been heard from.
    pub(super) fn quorum_contact(&self, common: &Common) -> Time {
        if mutants::is(Mutant::CheckQuorumOff) {
            return common.now;
        }
        let own_id = common.id();
        Time::from_nanos(common.membership().reached_by_quorum(|voter| {
            if voter == own_id {
                common.now.as_nanos()
            } else {
                self.progress
                    .get(&voter)
                    .filter(|progress| !progress.is_suspect)
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
        if !self.same_incarnation(common, from, response.incarnation, response.round) {
            return;
        }
        let contradicts = |progress: &Progress| {
            progress.is_suspect != response.suspect && response.round < progress.suspicion_since
        };
        if self.progress.get(&from).is_some_and(contradicts) {
            // A late answer, from before it was a suspect, or from when it still was one.
            return;
        }
        self.heed_suspicion(common, from, response.suspect);
        let Some(progress) = self.progress.get_mut(&from) else {
            // Never: a stranger has no incarnation above.
            return;
        };
        progress.last_contact = common.now;
        progress.was_heard = true;
        progress.lease = Duration::from_millis(u64::from(response.lease_ms));
        if response.round <= self.reads.round() {
            // A round that was never begun here is none.
            progress.round = progress.round.max(response.round);
        }
        let answers_heartbeat = response.prev_acknowledged;
        let disk_waits = Duration::from_millis(u64::from(response.disk_waits_ms));
        match response.result {
            // A follower cannot match beyond the log here; one that says so lost its mind or its disk.
            AppendResult::Accepted { match_index } if match_index > common.log.last().index => return,
            AppendResult::Accepted { match_index } => {
                let last = common.log.last().index;
                progress.catch_up.acknowledged(match_index, last, common.now);
                let moved = progress.accepted(match_index, common.log.first_index(), answers_heartbeat);
                progress.arrears.answered(moved, disk_waits, common.now);
                if moved {
                    self.advance_commit(common);
                }
            }
            AppendResult::Rejected { prev_index, hint } => {
                // Skip the terms that the follower cannot have (R8).
                let own = common.log.last_at_or_below(hint.index, hint.term);
                progress.rejected(prev_index, own.index);
                progress.arrears.answered(false, disk_waits, common.now);
                let is_match = mutants::is(Mutant::MatchFromRejection);
                if is_match && progress.accepted(prev_index, common.log.first_index(), answers_heartbeat) {
                    self.advance_commit(common);
                }
                self.report_loss(common, from, hint.index);
            }
        }
        self.restore_trust(common, from);
        self.confirm_reads(common);
        if response.sleeps {
            self.agreed_to_sleep(common, from, response.round);
        }
    }

    /// Commits what a quorum has made durable, if it is of the current term (paper §5.4.2, Figure 8: R1).
    pub(super) fn advance_commit(&mut self, common: &mut Common) {
        let own_id = common.id();
        let quorum = common.membership().committed_index(|voter| {
            if voter == own_id && mutants::is(Mutant::LeaderCountsUnsynced) {
                common.log.last().index
            } else if voter == own_id {
                // The own disk counts like any other (R58).
                common.log.durable()
            } else {
                self.progress
                    .get(&voter)
                    .map_or(Index::ZERO, Progress::counted_match_index)
            }
        });
        let is_of_own_term =
            common.log.term(quorum) == TermAt::Known(common.term) || mutants::is(Mutant::PriorTermCommit);
        if quorum <= common.commit || !is_of_own_term {
            return;
        }
        let counted_from = common.commit.next().max(self.term_start);
        let freed = common.log.payload_bytes(counted_from, quorum);
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(freed);
        common.commit_to(quorum);
        self.commit_advanced = true;
    }

    /// Entries for a follower arrived from the log store; nothing is sent if the read failed (R12).
    pub(super) fn log_read_for_peer(&mut self, common: &mut Common, to: NodeId, mut result: LogReadResult) {
        // A store counts payloads only; whatever does not fit is read again when its turn comes.
        let count = entry::fitting(&result.entries, common.config.append_bytes_max);
        result.entries.truncate(count);
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

    /// A snapshot was streamed to a follower, or could not be (R49). After a failure the others come first for a while.
    pub(super) fn snapshot_sent(&mut self, common: &Common, to: NodeId, last: EntryId, delivered: bool) {
        if !delivered && mutants::is(Mutant::SnapshotFailureForgotten) {
            return;
        }
        if let Some(progress) = self.progress.get_mut(&to)
            && progress.state() == (ProgressState::Snapshot { index: last.index })
        {
            progress.snapshot_ended(delivered);
            if !delivered {
                progress.snapshot_retry_at = common.now + common.config.heartbeat_interval * 2;
            }
        }
    }

    /// The index above which the log must stay for followers that were sent a snapshot (R53): until they reach the
    /// newest one, or are not heard from any more. While a snapshot is in transfer, the transport says how it ends.
    pub(super) fn pinned(&mut self, common: &Common) -> Option<Index> {
        let newest = common.log.snapshot_durable().index;
        let timeout = common.election_timeout;
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
            if self.may_read_by_lease(common) {
                let index = common.commit;
                common.effects.push(Effect::ReadConfirmed { ticket, index });
            } else if self.reads.pending() >= common.config.reads_max {
                common.effects.push(Effect::Refused {
                    ticket,
                    reason: RefusalReason::Busy,
                });
            } else {
                self.reads.add(ticket);
            }
        }
    }

    /// Whether a lease is enabled and valid, and what it would read is up to date (R40, R42).
    fn may_read_by_lease(&self, common: &Common) -> bool {
        let voters = self
            .progress
            .iter()
            .filter(|(id, _)| common.membership().is_voter(**id));
        let promises = voters.map(|(_, progress)| progress.lease);
        let timeout = promises.fold(common.config.election_timeout, Duration::min);
        let is_valid = |drift_max| {
            self.lease.is_valid(common.now, timeout, drift_max) || mutants::is(Mutant::LeaseFromCheckQuorum)
        };
        common.commit >= self.term_start && common.config.lease_drift_max.is_some_and(is_valid)
    }

    /// Confirms the reads whose round a quorum answered, and moves the lease.
    pub(super) fn confirm_reads(&mut self, common: &mut Common) {
        let own_id = common.id();
        let own_round = self.reads.round();
        let confirmed = common.membership().reached_by_quorum(|voter| {
            if voter == own_id {
                own_round.0
            } else {
                let progress = self.progress.get(&voter).filter(|progress| progress.counts());
                progress.map_or(0, |progress| progress.round.0)
            }
        });
        self.lease.confirm(Round(confirmed));
        let effects = &mut common.effects;
        self.reads.confirm(Round(confirmed), |ticket, index| {
            effects.push(Effect::ReadConfirmed { ticket, index });
        });
    }

    /// Begins the next round of reads once an entry of this term is committed (R40).
    fn begin_reads(&mut self, common: &mut Common) {
        let may_confirm =
            common.commit >= self.term_start || mutants::is(Mutant::ReadIndexWithoutOwnTermCommit);
        while may_confirm && self.reads.begin_round(common.commit) {
            self.broadcast_heartbeat(common, false);
            self.confirm_reads(common);
        }
    }

    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let Leader {
            progress,
            departing,
            change,
            transfer,
            reads,
            lease,
            heartbeat_due,
            term_start,
            uncommitted_bytes,
            elected_at,
            commit_advanced,
            sleep,
        } = self;
        fingerprint.feed(&(term_start, uncommitted_bytes, commit_advanced, change, reads));
        fingerprint.feed(&(progress.len(), departing.len(), transfer.is_some()));
        for (id, progress) in progress {
            fingerprint.feed(id);
            progress.fingerprint(fingerprint);
        }
        for (id, until) in departing {
            fingerprint.feed(id);
            fingerprint.feed_deadline(*until);
        }
        transfer
            .iter()
            .for_each(|transfer| transfer.fingerprint(fingerprint));
        lease.fingerprint(fingerprint);
        fingerprint.feed_deadline(*heartbeat_due);
        sleep.fingerprint(fingerprint);
        // Log time counts from here.
        fingerprint.feed_past_exactly(*elected_at);
    }

    /// Ends a step: everything that follows from the new state.
    pub(super) fn flush(&mut self, common: &mut Common) {
        self.advance_membership(common);
        self.append_barrier(common);
        self.forget_departed(common);
        self.replicate(common);
        self.begin_reads(common);
        self.advance_transfer(common);
        self.heed_work(common);
    }
}

recorded!(struct Leader {
    progress, departing, change, transfer, reads, lease, heartbeat_due, term_start, uncommitted_bytes, elected_at,
    commit_advanced, sleep,
});
