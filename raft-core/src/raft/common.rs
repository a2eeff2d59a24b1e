//! What a replica has in every role, and the order of durability.
//!
//! One rule lives here: messages that promise something durable wait for every earlier write (R55); everything else
//! leaves at once.

mod fingerprint;
mod recorded;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::apply::{ApplyState, RestoreState};
use super::recollection::Recollection;
use super::transfer::Transfer;
use crate::config::{Config, PRIORITY_MAX};
use crate::effect::{Effect, FatalReason, LogChange, Rest, SuspicionReason, Write};
use crate::entry::{Entry, Payload};
use crate::log::RaftLog;
use crate::membership::Membership;
use crate::message::{Body, Message, SnapshotMeta};
use crate::mutants::{self, Mutant};
use crate::random::Random;
use crate::traits::Recovered;
use crate::types::{EntryId, HardState, Index, NodeId, Term, Time, Trust, WriteSeq};

/// The part of a replica that does not depend on its role.
///
/// Invariants:
/// - `applied ≤ handed_out ≤ min(commit, durable)`, but for a snapshot that is being restored (I9, I12);
/// - `commit` never falls (I8);
/// - a message leaves only when its term is durable (I3).
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) config: Arc<Config>,
    pub(super) log: RaftLog,
    pub(super) term: Term,
    pub(super) vote: Option<NodeId>,
    pub(super) commit: Index,
    pub(super) random: Random,
    /// The time of the current step.
    pub(super) now: Time,
    /// Set by a violated invariant: no further input has any effect.
    pub(super) stopped: bool,
    pub(super) effects: Vec<Effect>,
    pub(super) trust: Trust,
    /// Why this replica became a suspect, until that was told.
    pub(super) suspicion: Option<SuspicionReason>,
    /// When a leader was last heard from, in whatever term.
    pub(super) leader_contact: Option<Time>,
    /// How long silence is not taken for a failure. It may grow with the round trip; it is no promise (`patience`).
    pub(super) election_timeout: Duration,
    /// How many election timeouts passed here since a leader was last heard from.
    pub(super) timeouts_without_leader: u32,
    /// A transfer that outlived the leadership in which it was asked for.
    pub(super) handed_over: Option<Transfer>,
    /// How many more followers may be sent a snapshot.
    pub(super) snapshot_transfers_left: usize,
    /// Configurations in log order; the first is that of the snapshot in force. Never empty.
    memberships: VecDeque<(Index, Membership)>,
    pub(super) stored_hard_state: HardState,
    durable_term: Term,
    last_seq: WriteSeq,
    /// Writes that have not completed.
    writes_in_flight: VecDeque<WriteInFlight>,
    /// Messages that wait for all earlier writes.
    promises: Vec<Message>,
    pub(super) apply: ApplyState,
    /// What the surroundings know about the sleep of this replica.
    pub(super) rest_told: Rest,
    pub(super) recollection: Recollection,
}

/// Why there is always a latest configuration.
const NEVER_EMPTY: &str = "the snapshot's configuration is always there";

/// A write that was begun.
#[derive(Clone, Copy, Debug)]
struct WriteInFlight {
    seq: WriteSeq,
    /// The term that it makes durable.
    term: Term,
    began: Time,
}

impl Common {
    pub(super) fn new(config: Arc<Config>, recovered: &Recovered, applied: EntryId, now: Time) -> Common {
        let log = RaftLog::new(recovered);
        let commit = recovered
            .hard_state
            .commit
            .max(recovered.snapshot.last.index)
            .max(applied.index);
        let mut memberships = VecDeque::from([(
            recovered.snapshot.last.index,
            recovered.snapshot.membership.clone(),
        )]);
        memberships.extend(recovered.memberships.iter().cloned());
        // A restarted voter forgot whether it heard a leader, so it waits as if it just had (R42).
        let may_be_leased = config.lease_drift_max.is_some() && recovered.hard_state.term > Term::ZERO;
        let begun = if mutants::is(Mutant::DoubleApplyOnRestart) {
            applied.index.previous().max(recovered.purged.index)
        } else {
            applied.index
        };
        Common {
            trust: recovered.hard_state.trust,
            suspicion: None,
            leader_contact: may_be_leased.then_some(now),
            election_timeout: config.election_timeout,
            timeouts_without_leader: 0,
            handed_over: None,
            snapshot_transfers_left: 0,
            random: Random::new(config.random_seed ^ recovered.hard_state.term.0.rotate_left(32)),
            log,
            term: recovered.hard_state.term,
            vote: recovered.hard_state.vote,
            commit,
            now,
            stopped: false,
            effects: Vec::new(),
            memberships,
            stored_hard_state: recovered.hard_state,
            durable_term: recovered.hard_state.term,
            last_seq: WriteSeq(0),
            writes_in_flight: VecDeque::new(),
            promises: Vec::new(),
            apply: ApplyState::new(begun, commit, now),
            rest_told: Rest::Awake,
            recollection: Recollection::new(now),
            config,
        }
    }

    /// Gives back the memory of what is empty, or smaller than it was.
    pub(super) fn shrink(&mut self) {
        self.effects.shrink_to_fit();
        self.memberships.shrink_to_fit();
        self.writes_in_flight.shrink_to_fit();
        self.promises.shrink_to_fit();
        self.apply.batches.shrink_to_fit();
        self.log.shrink();
    }

    pub(super) fn id(&self) -> NodeId {
        self.config.id
    }

    /// The latest configuration in the log: it counts from the moment it is appended (thesis §4.1).
    pub(super) fn membership(&self) -> &Membership {
        &self.memberships.back().expect(NEVER_EMPTY).1
    }

    /// Remembers that a message arrived.
    pub(super) fn recollect(&mut self, message: &Message) {
        let (_, membership) = self.memberships.back().expect(NEVER_EMPTY);
        self.recollection.heard(message, membership, self.now);
    }

    /// Remembers that `voter` is asked for its vote.
    pub(super) fn recollect_question(&mut self, voter: NodeId) {
        let (_, membership) = self.memberships.back().expect(NEVER_EMPTY);
        self.recollection.asks_vote(voter, membership, self.now);
    }

    /// Where that configuration stands in the log; the index of the snapshot in force if it is that one's.
    pub(super) fn membership_index(&self) -> Index {
        self.memberships.back().expect(NEVER_EMPTY).0
    }

    /// Whether this replica votes, or did until a configuration that it does not know to be committed: so long its log
    /// may be the only one that can win (thesis §4.2.2, Figure 4.6).
    pub(super) fn may_be_needed_as_voter(&self) -> bool {
        let known = self.memberships.partition_point(|m| m.0 <= self.commit);
        let mut in_force = self.memberships.range(known.saturating_sub(1)..);
        in_force.any(|(_, membership)| membership.is_voter(self.id()))
    }

    /// Who was a member before the newest change, which may have been a joint one, and is none any more.
    pub(super) fn former_members(&self) -> Vec<NodeId> {
        let earlier = self.memberships.iter().rev().skip(1).take(2);
        let mut former: Vec<NodeId> = earlier.flat_map(|(_, membership)| membership.members()).collect();
        former.retain(|node| !self.membership().contains(*node) && *node != self.config.id);
        former.sort_unstable();
        former.dedup();
        former
    }

    fn membership_changed(&mut self) {
        let membership = self.membership().clone();
        self.effects.push(Effect::MembershipChanged(membership));
    }

    /// Whether a leader was heard from within the minimum election timeout: so long nobody's vote is wanted
    /// (thesis §4.2.3). Leases rest on this (R42), so it does not change with what the network measures.
    pub(super) fn hears_leader(&self) -> bool {
        self.leader_contact
            .is_some_and(|contact| self.now.since(contact) < self.config.election_timeout)
            && !mutants::is(Mutant::NoStickiness)
    }

    /// Since when the own disk owes an answer; none if it does not.
    pub(super) fn disk_waits_since(&self) -> Option<Time> {
        self.writes_in_flight.front().map(|write| write.began)
    }

    /// Since when the own disk, or the own state machine with what it began after `elected_at`, owes an answer; none if
    /// neither does. What a state machine was slow with before its replica was elected made the last leader give up: the
    /// next one is no faster, and leadership must not go round.
    pub(super) fn waits_since(&self, elected_at: Time) -> Option<Time> {
        let state_machine = self.apply.waiting_since().filter(|since| *since >= elected_at);
        let both = [self.disk_waits_since(), state_machine];
        both.into_iter().flatten().min()
    }

    /// Whether the own disk made no progress for an election timeout (R35). A state machine that makes none does not keep
    /// a replica from leading: what is slow to apply here is slow to apply everywhere.
    pub(super) fn disk_is_stalled(&self) -> bool {
        self.is_overdue(self.disk_waits_since())
    }

    /// Whether the disk or the state machine of a leader made no progress for an election timeout.
    pub(super) fn is_stalled(&self, elected_at: Time) -> bool {
        self.is_overdue(self.waits_since(elected_at))
    }

    fn is_overdue(&self, since: Option<Time>) -> bool {
        since.is_some_and(|since| self.now.since(since) >= self.config.election_timeout)
    }

    /// How much later than others this replica campaigns, by its priority. Decays while there is no leader (R38).
    pub(super) fn priority_delay(&self) -> Duration {
        let steps = u32::from(PRIORITY_MAX.saturating_sub(self.config.priority));
        (self.election_timeout * steps) / (1 << self.timeouts_without_leader.min(31))
    }

    pub(super) fn applied(&self) -> Index {
        self.apply.applied
    }

    pub(super) fn is_ready(&self) -> bool {
        self.apply.applied >= self.apply.ready_at
    }

    /// Whether a received snapshot is not yet the state of the state machine.
    pub(super) fn is_restoring(&self) -> bool {
        self.apply.restoring.is_some()
    }

    pub(super) fn fail(&mut self, reason: FatalReason) {
        self.stopped = true;
        self.effects.push(Effect::Fatal(reason));
    }

    // ---- messages ----

    fn message(&self, to: NodeId, body: Body) -> Message {
        Message {
            group: self.config.group,
            from: self.config.id,
            to,
            term: self.term,
            body,
        }
    }

    /// Sends a message that promises nothing durable. The term of a leader or pre-candidate is durable already.
    pub(super) fn send_now(&mut self, to: NodeId, body: Body) {
        debug_assert_eq!(
            self.durable_term, self.term,
            "no message carries a term that is not durable (I3)"
        );
        let message = self.message(to, body);
        self.effects.push(Effect::Send(message));
    }

    /// Sends a message after everything that is not durable yet (R55). To itself, too: a replica's own vote counts no
    /// earlier than anybody else's (R29).
    pub(super) fn send_when_durable(&mut self, to: NodeId, body: Body) {
        let message = self.message(to, body);
        if to != self.id() && promises_too_early(&message.body) {
            self.effects.push(Effect::Send(message));
        } else {
            self.promises.push(message);
        }
    }

    /// Whether the current term is durable, so that a message which promises nothing else may leave at once.
    pub(super) fn term_is_durable(&self) -> bool {
        self.durable_term == self.term
    }

    // ---- the log and the configurations in it ----

    pub(super) fn append(&mut self, entry: Entry) {
        self.take_part_in_founding();
        if let Payload::Membership(membership) = &entry.payload {
            let is_new = membership != self.membership();
            self.memberships.push_back((entry.index(), membership.clone()));
            if is_new {
                self.membership_changed();
            }
        }
        self.log.append(entry);
    }

    pub(super) fn truncate_from(&mut self, index: Index) {
        self.log.truncate_from(index);
        let before = self.memberships.len();
        while self.memberships.len() > 1 && self.memberships.back().is_some_and(|m| m.0 >= index) {
            self.memberships.pop_back();
        }
        if self.memberships.len() < before {
            self.membership_changed();
        }
    }

    pub(super) fn commit_to(&mut self, index: Index) {
        assert!(
            index <= self.log.last().index,
            "only an entry of the log can be committed"
        );
        self.commit = self.commit.max(index);
    }

    /// Replaces log and state by a received snapshot (R46).
    pub(super) fn install_snapshot(&mut self, meta: SnapshotMeta) {
        self.memberships = VecDeque::from([(meta.last.index, meta.membership.clone())]);
        self.log.reset(meta.clone(), self.commit);
        self.commit = meta.last.index;
        self.apply.restoring = Some(RestoreState { meta, asked: false });
        self.apply.cold_entries.clear();
        self.membership_changed();
    }

    /// A snapshot of the own state is durable: it is in force from now on. None if it could not be made.
    pub(super) fn snapshot_created(&mut self, meta: Option<SnapshotMeta>) {
        self.apply.creating_snapshot = false;
        let Some(meta) = meta else {
            // At once would be as fast as the disk can fail.
            let more = (self.config.snapshot_entries / 8).max(1);
            self.apply.snapshot_retry_at = self.apply.handed_out + more;
            return;
        };
        if meta.last.index <= self.log.snapshot().last.index {
            return;
        }
        while self
            .memberships
            .get(1)
            .is_some_and(|second| second.0 <= meta.last.index)
        {
            self.memberships.pop_front();
        }
        self.memberships[0].0 = meta.last.index;
        self.log.set_snapshot(meta);
    }

    pub(super) fn membership_at(&self, index: Index) -> Membership {
        let position = self.memberships.partition_point(|m| m.0 <= index);
        self.memberships[position.saturating_sub(1)].1.clone()
    }

    // ---- durability ----

    /// A write and all before it completed.
    pub(super) fn persisted(&mut self, seq: WriteSeq) {
        while self
            .writes_in_flight
            .front()
            .is_some_and(|write| write.seq <= seq)
        {
            let write = self.writes_in_flight.pop_front().expect("the loop saw it");
            self.durable_term = self.durable_term.max(write.term);
        }
        // The next one could not begin before this one ended.
        let now = self.now;
        if let Some(write) = self.writes_in_flight.front_mut() {
            write.began = write.began.max(now);
        }
        self.log.persisted(seq);
    }

    /// Whether everything that was ever begun here is durable and applied, and no snapshot is being made.
    pub(super) fn is_done(&self) -> bool {
        let last = self.log.last().index;
        self.writes_in_flight.is_empty()
            && self.promises.is_empty()
            && self.term_is_durable()
            && self.log.durable() == last
            && self.apply.is_done(last)
    }

    /// Emits what this step left to persist, and the messages that wait for it.
    fn flush_writes(&mut self) {
        let hard_state = HardState {
            term: self.term,
            vote: self.vote,
            commit: self.commit,
            trust: self.trust,
        };
        let stored = self.stored_hard_state;
        let must_store = HardState {
            commit: stored.commit,
            ..hard_state
        } != stored;
        if !must_store && !self.log.has_unwritten() {
            self.release_promises();
            return;
        }
        self.last_seq = self.last_seq.next();
        if mutants::is(Mutant::TermAndVoteInTwoWrites) && self.term > stored.term {
            self.write_vote_alone();
        }
        let unwritten = self.log.take_unwritten(self.last_seq);
        // The commit index rides along with what needs a write anyway (R59); it is at most the last index, which this
        // write or one before it makes durable.
        let changed = stored != hard_state;
        self.stored_hard_state = hard_state;
        self.begin_write();
        self.effects.push(Effect::Persist(Write {
            seq: self.last_seq,
            hard_state: changed.then_some(hard_state),
            snapshot: unwritten.snapshot,
            log: unwritten.log,
            then: std::mem::take(&mut self.promises),
        }));
    }

    /// Writes the vote without its term, before the write that is being made, as only a mutant does.
    fn write_vote_alone(&mut self) {
        let vote = self.vote;
        self.effects.push(Effect::Persist(Write {
            seq: self.last_seq,
            hard_state: Some(HardState {
                vote,
                ..self.stored_hard_state
            }),
            snapshot: None,
            log: LogChange::Append(Vec::new()),
            then: Vec::new(),
        }));
        self.last_seq = self.last_seq.next();
    }

    /// Whether nothing was written since the start.
    pub(super) fn has_just_started(&self) -> bool {
        self.last_seq == WriteSeq(0)
    }

    fn begin_write(&mut self) {
        self.writes_in_flight.push_back(WriteInFlight {
            seq: self.last_seq,
            term: self.term,
            began: self.now,
        });
    }

    /// Lets messages go that have no write of their own: at once if everything is durable, after the last write if not.
    fn release_promises(&mut self) {
        if self.promises.is_empty() {
            return;
        }
        let own_id = self.config.id;
        if self.writes_in_flight.is_empty() && self.promises.iter().all(|message| message.to != own_id) {
            self.effects.extend(self.promises.drain(..).map(Effect::Send));
            return;
        }
        self.last_seq = self.last_seq.next();
        let empty = self.log.take_unwritten(self.last_seq);
        self.begin_write();
        self.effects.push(Effect::Persist(Write {
            seq: self.last_seq,
            hard_state: None,
            snapshot: None,
            log: empty.log,
            then: std::mem::take(&mut self.promises),
        }));
    }

    /// Ends a step: everything that follows from the new state and is the same in every role.
    pub(super) fn flush(&mut self, pinned: Option<Index>) {
        self.flush_writes();
        self.flush_applies();
        self.flush_snapshots();
        self.flush_compaction(pinned);
        let last = self.log.last().index;
        self.recollection.committed(self.commit, last, self.now);
        self.log.evict(self.apply.handed_out, self.config.tail_bytes_max);
    }
}

/// Whether a message leaves before what it promises is durable: with a mutant only.
fn promises_too_early(body: &Body) -> bool {
    match body {
        Body::RequestVoteResponse(_) => mutants::is(Mutant::VoteReplyBeforeSync),
        Body::AppendEntriesResponse(_) => mutants::is(Mutant::AckBeforeSync),
        _ => false,
    }
}
