//! How far one follower is, and what may be sent to it.

use std::time::Duration;

use super::arrears::Arrears;
use super::catch_up::CatchUp;
use super::inflights::Inflights;
use crate::codec::recorded;
use crate::config::Config;
use crate::fingerprint::Fingerprint;
use crate::mutants::{self, Mutant};
use crate::types::{Index, Round, Time};

/// How a leader replicates to one follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// Where the logs part is unknown: one message at a time, until one is accepted.
    Probe {
        /// Whether a probe is outstanding; the next heartbeat sends another one (R14).
        sent: bool,
    },
    /// The logs match up to `next`: messages are pipelined within the window.
    Replicate,
    /// The follower needs entries that were compacted; a snapshot up to this index is on its way.
    Snapshot {
        /// The last index of the snapshot.
        index: Index,
    },
}

/// Whether entries for someone are being read from the log store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColdRead {
    /// No.
    #[default]
    Idle,
    /// Yes; nothing else is read for the same reader.
    Outstanding,
    /// The last read failed; it is tried again later, not at once.
    Failed,
}

/// What a leader knows about one follower.
///
/// Invariant: `match_index < next_index`, always (R9).
#[derive(Clone, Debug)]
pub struct Progress {
    match_index: Index,
    next_index: Index,
    state: ProgressState,
    inflights: Inflights,
    /// When a message of this term last arrived from it. A new follower counts as heard from (R31).
    pub last_contact: Time,
    /// Whether a message of this term ever arrived from it.
    pub was_heard: bool,
    /// Whether it keeps up with what is appended (R71).
    pub catch_up: CatchUp,
    /// Since when it lacks what, to be explained.
    pub arrears: Arrears,
    /// The newest round it answered (R41).
    pub round: Round,
    /// Whether entries for it are being read from the log store.
    pub cold_read: ColdRead,
    /// Which start of the follower answers; none before its first answer.
    pub incarnation: Option<u64>,
    /// The first round that an answer of yet another incarnation must answer: older answers are of older incarnations.
    pub incarnation_since: Round,
    /// Whether another incarnation was heard, and it is not known yet which of the two runs.
    pub is_contested: bool,
    /// What an earlier incarnation acknowledged, until the new one has as much.
    pub acknowledged_before: Option<Index>,
    /// Whether its acknowledgements do not count, because it may have lost what it had promised (R68).
    pub is_suspect: bool,
    /// The round from which on its answers say so: older ones are late if they say otherwise.
    pub suspicion_since: Round,
    /// The barrier that a suspect must have, and a quorum without suspects, before it is trusted.
    pub trusted_from: Option<Index>,
    /// For how long it votes for nobody else after it heard the leader, by its own word (R42).
    pub lease: Duration,
    /// Before this it is sent no snapshot again.
    pub snapshot_retry_at: Time,
    /// Whether it was sent a snapshot and has not caught up since: it needs the log after that snapshot (R53).
    needs_log: bool,
}

impl Progress {
    /// A follower about which nothing is known: its log is probed right before `next_index`. The leader's own log ends at
    /// `last`.
    #[must_use]
    pub fn new(config: &Config, next_index: Index, last: Index, now: Time) -> Progress {
        Progress {
            match_index: Index::ZERO,
            next_index: next_index.max(Index(1)),
            state: ProgressState::Probe { sent: false },
            inflights: Inflights::new(config.inflight_messages_max, config.inflight_bytes_max),
            last_contact: now,
            was_heard: false,
            catch_up: CatchUp::new(last, now),
            arrears: Arrears::default(),
            round: Round::default(),
            cold_read: ColdRead::Idle,
            incarnation: None,
            incarnation_since: Round::default(),
            is_contested: false,
            acknowledged_before: None,
            is_suspect: false,
            suspicion_since: Round::default(),
            trusted_from: None,
            lease: Duration::MAX,
            snapshot_retry_at: now,
            needs_log: false,
        }
    }

    /// The last index known to match, and to be durable there (matchIndex of the paper).
    #[must_use]
    pub fn match_index(&self) -> Index {
        self.match_index
    }

    /// The next index to send (nextIndex of the paper).
    #[must_use]
    pub fn next_index(&self) -> Index {
        self.next_index
    }

    /// How the follower is replicated to.
    #[must_use]
    pub fn state(&self) -> ProgressState {
        self.state
    }

    /// The window.
    #[must_use]
    pub fn inflights(&self) -> &Inflights {
        &self.inflights
    }

    /// Whether nothing may be sent now but heartbeats.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        match self.state {
            ProgressState::Probe { sent } => sent,
            ProgressState::Replicate => self.inflights.is_full(),
            ProgressState::Snapshot { .. } => true,
        }
    }

    /// Entries up to `last` were sent, or nothing if `last` is right before `next_index`.
    pub fn sent(&mut self, last: Index, bytes: usize) {
        match self.state {
            ProgressState::Probe { .. } => self.state = ProgressState::Probe { sent: true },
            ProgressState::Replicate if last >= self.next_index => {
                self.inflights.add(last, bytes);
                self.next_index = last.next();
            }
            ProgressState::Replicate | ProgressState::Snapshot { .. } => {}
        }
    }

    /// The follower matches up to `match_index`. Returns whether that moved its match.
    ///
    /// A probe is answered by any acknowledgement that reaches the entry it asked about; an acknowledgement at the old
    /// match is enough for a follower that has everything (R16). Only one that `answers_heartbeat`, which overtakes what is
    /// under way, must tell more than was known: else it would stand for the answer to a probe that is still to arrive, and
    /// the entries in that would be sent twice. A follower waiting for a snapshot goes on as soon as the log here reaches
    /// it, by whatever way it got there (R48).
    pub fn accepted(&mut self, match_index: Index, first_index: Index, answers_heartbeat: bool) -> bool {
        let moved = match_index > self.match_index;
        if self
            .acknowledged_before
            .is_some_and(|before| match_index >= before)
        {
            self.acknowledged_before = None;
        }
        self.match_index = self.match_index.max(match_index);
        self.inflights.free_to(match_index);
        match self.state {
            ProgressState::Probe { .. }
                if match_index.next() >= self.next_index && (moved || !answers_heartbeat) =>
            {
                self.become_replicate();
            }
            ProgressState::Snapshot { .. } if self.match_index.next() >= first_index => {
                self.become_replicate()
            }
            _ => {}
        }
        self.next_index = self.next_index.max(self.match_index.next());
        moved
    }

    /// The follower has no entry at `prev_index` like the leader's, and may have one at `hint`, which the leader has
    /// already looked up in its own log. Returns false for a rejection that says nothing new (R10).
    pub fn rejected(&mut self, prev_index: Index, hint: Index) -> bool {
        match self.state {
            ProgressState::Replicate if prev_index <= self.match_index => return false,
            ProgressState::Replicate => {
                self.next_index = self.match_index.next();
                self.become_probe(self.next_index);
                return true;
            }
            ProgressState::Probe { .. } if prev_index.next() != self.next_index => return false,
            // There is nothing below match to go back to: a follower that refuses there is late, or lost what it had
            // acknowledged (R11). Answering at once would repeat the same probe at the speed of the network.
            ProgressState::Probe { .. } if prev_index <= self.match_index => return false,
            ProgressState::Probe { .. } => {}
            ProgressState::Snapshot { .. } => return false,
        }
        let next = prev_index.min(hint.next()).max(self.match_index.next());
        self.become_probe(next);
        true
    }

    /// The follower was started again: what it acknowledged before counts no more, and is asked for anew. A snapshot that
    /// is on its way to it goes on.
    pub fn restarted(&mut self) {
        self.acknowledged_before = self.acknowledged_before.max(Some(self.match_index));
        let next = self.match_index.next();
        self.match_index = Index::ZERO;
        // Whether this start may have lost something, it must say itself; a word for the one before is none for it.
        self.is_suspect = false;
        self.trusted_from = None;
        if !matches!(self.state, ProgressState::Snapshot { .. }) {
            self.become_probe(next);
        }
    }

    /// Whether its answers count: it runs, and may not have lost anything (R68).
    #[must_use]
    pub fn counts(&self) -> bool {
        (!self.is_suspect || mutants::is(Mutant::SuspectCounted)) && !self.is_contested
    }

    /// The match index as far as it counts.
    #[must_use]
    pub fn counted_match_index(&self) -> Index {
        if self.counts() {
            self.match_index
        } else {
            Index::ZERO
        }
    }

    /// Whether there is something to find out that an acknowledgement at match does not tell: where a follower that is
    /// probed agrees, and whether what is in flight arrived.
    #[must_use]
    pub fn has_open_question(&self) -> bool {
        match self.state {
            ProgressState::Probe { .. } => true,
            ProgressState::Replicate => self.inflights.messages() > 0,
            ProgressState::Snapshot { .. } => false,
        }
    }

    /// Lets one more probe through, if the follower is probed (R14).
    pub fn resume_probe(&mut self) {
        if let ProgressState::Probe { sent } = &mut self.state {
            *sent = false;
        }
        if self.cold_read == ColdRead::Failed {
            self.cold_read = ColdRead::Idle;
        }
    }

    /// The index above which the log must stay, so that a snapshot that was sent is of any use (R53). None if it needs
    /// no more than any other follower.
    #[must_use]
    pub fn pinned(&self) -> Option<Index> {
        self.needs_log.then_some(match self.state {
            ProgressState::Snapshot { index } => index,
            ProgressState::Probe { .. } => self.next_index.previous(),
            ProgressState::Replicate => self.match_index,
        })
    }

    /// The follower has caught up, or is gone: the log need not wait for it any longer.
    pub fn unpin(&mut self) {
        self.needs_log = false;
    }

    /// A snapshot up to `index` is on its way.
    pub fn become_snapshot(&mut self, index: Index) {
        self.needs_log = true;
        self.inflights.clear();
        self.state = ProgressState::Snapshot { index };
    }

    /// The transfer of the snapshot ended. The pending snapshot is cleared before anything is probed (R49); the probe
    /// waits for the follower's own acknowledgement or for the next heartbeat.
    pub fn snapshot_ended(&mut self, delivered: bool) {
        let ProgressState::Snapshot { index } = self.state else {
            return;
        };
        self.needs_log = delivered;
        let next = if delivered {
            index.next().max(self.match_index.next())
        } else {
            self.match_index.next()
        };
        self.become_probe(next);
        self.state = ProgressState::Probe { sent: true };
    }

    fn become_probe(&mut self, next: Index) {
        self.inflights.clear();
        self.next_index = next;
        self.state = ProgressState::Probe { sent: false };
    }

    fn become_replicate(&mut self) {
        self.inflights.clear();
        self.next_index = self.match_index.next();
        self.state = ProgressState::Replicate;
    }

    /// Tells it apart from others by all that decides anything.
    pub(crate) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let Progress {
            match_index,
            next_index,
            state,
            inflights,
            last_contact,
            was_heard,
            catch_up,
            // Decides nothing.
            arrears: _,
            round,
            cold_read,
            incarnation,
            incarnation_since,
            is_contested,
            acknowledged_before,
            is_suspect,
            suspicion_since,
            trusted_from,
            lease,
            snapshot_retry_at,
            needs_log,
        } = self;
        fingerprint.feed(&(match_index, next_index, state, inflights));
        fingerprint.feed(&(was_heard, round, cold_read, lease, needs_log));
        fingerprint.feed(&(incarnation, incarnation_since, is_contested));
        fingerprint.feed(&(acknowledged_before, is_suspect, suspicion_since, trusted_from));
        fingerprint.feed_past(*last_contact);
        catch_up.fingerprint(fingerprint);
        fingerprint.feed_deadline(*snapshot_retry_at);
    }
}

recorded!(enum ProgressState { 0 => Probe { sent }, 1 => Replicate, 2 => Snapshot { index } });
recorded!(enum ColdRead { 0 => Idle, 1 => Outstanding, 2 => Failed });
recorded!(struct Progress {
    match_index, next_index, state, inflights, last_contact, was_heard, catch_up, arrears, round, cold_read, incarnation,
    incarnation_since, is_contested, acknowledged_before, is_suspect, suspicion_since, trusted_from, lease,
    snapshot_retry_at, needs_log,
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, NodeId};

    fn probing(next: u64) -> Progress {
        Progress::new(
            &Config::new(GroupId(1), NodeId(1)),
            Index(next),
            Index(next),
            Time::ZERO,
        )
    }

    fn replicating(matched: u64) -> Progress {
        let mut progress = probing(matched + 1);
        progress.accepted(Index(matched), Index(1), false);
        assert_eq!(progress.state(), ProgressState::Replicate);
        progress
    }

    /// R9: a reordered rejection never drives next to match or below.
    #[test]
    fn a_rejection_keeps_next_above_match() {
        let mut progress = probing(10);
        progress.accepted(Index(5), Index(1), false);
        assert!(progress.rejected(Index(9), Index(2)));
        assert_eq!(progress.next_index(), Index(6));
    }

    /// R10: a duplicated or late rejection does not reset a healthy stream.
    #[test]
    fn a_late_rejection_is_ignored() {
        let mut progress = replicating(5);
        progress.sent(Index(8), 10);
        assert!(!progress.rejected(Index(5), Index(1)));
        assert_eq!(progress.state(), ProgressState::Replicate);
        let mut progress = probing(10);
        assert!(
            !progress.rejected(Index(4), Index(1)),
            "it answers no outstanding probe"
        );
        assert_eq!(progress.next_index(), Index(10));
    }

    /// R16: an acknowledgement at match moves a caught-up follower from Probe to Replicate.
    #[test]
    fn an_acknowledgement_at_match_ends_the_probe() {
        let mut progress = replicating(5);
        assert!(progress.rejected(Index(9), Index(9)));
        assert!(matches!(progress.state(), ProgressState::Probe { .. }));
        assert!(
            !progress.accepted(Index(5), Index(1), false),
            "match did not move"
        );
        assert_eq!(progress.state(), ProgressState::Replicate);
    }

    /// R14, R16: the answer to a heartbeat that overtook a probe is not taken for the answer to that probe, which would be
    /// sent again; if it tells more than was known, it is as good as any other.
    #[test]
    fn a_heartbeat_does_not_answer_the_probe_that_it_overtook() {
        let mut progress = replicating(5);
        assert!(progress.rejected(Index(9), Index(9)));
        progress.sent(Index(8), 10);
        assert!(!progress.accepted(Index(5), Index(1), true));
        assert_eq!(progress.state(), ProgressState::Probe { sent: true });
        assert_eq!(progress.next_index(), Index(6));
        assert!(progress.accepted(Index(7), Index(1), true));
        assert_eq!(progress.state(), ProgressState::Replicate);
    }

    /// R18: an acknowledgement at match frees nothing of the window above it.
    #[test]
    fn a_heartbeat_frees_nothing_in_flight() {
        let mut progress = replicating(5);
        progress.sent(Index(8), 10);
        assert!(progress.has_open_question());
        assert!(!progress.accepted(Index(5), Index(1), true));
        assert_eq!(
            (progress.inflights().messages(), progress.next_index()),
            (1, Index(9))
        );
        assert!(progress.accepted(Index(8), Index(1), false));
        assert!(!progress.has_open_question());
    }

    /// R48: any acknowledgement that reaches the log here ends the wait for a snapshot.
    #[test]
    fn a_follower_leaves_snapshot_by_whatever_way_it_caught_up() {
        let mut progress = probing(3);
        progress.become_snapshot(Index(100));
        progress.accepted(Index(2), Index(50), false);
        assert!(matches!(progress.state(), ProgressState::Snapshot { .. }));
        progress.accepted(Index(49), Index(50), false);
        assert_eq!(progress.state(), ProgressState::Replicate);
        assert_eq!(progress.next_index(), Index(50));
    }

    /// R49: a failed snapshot leaves no pending snapshot behind; the next heartbeat probes from match.
    #[test]
    fn a_failed_snapshot_is_cleared_before_probing() {
        let mut progress = probing(3);
        progress.become_snapshot(Index(100));
        progress.snapshot_ended(false);
        assert_eq!(progress.state(), ProgressState::Probe { sent: true });
        assert_eq!(progress.next_index(), Index(1));
        progress.resume_probe();
        assert!(!progress.is_paused());
    }

    /// R49, R48: a follower that caught up in another way is not set back by the end of the transfer.
    #[test]
    fn an_end_that_nobody_waits_for_changes_nothing() {
        let mut progress = probing(3);
        progress.become_snapshot(Index(100));
        assert!(progress.accepted(Index(120), Index(90), false));
        for delivered in [true, false] {
            progress.snapshot_ended(delivered);
            assert_eq!(progress.state(), ProgressState::Replicate);
            assert_eq!(progress.next_index(), Index(121));
        }
    }
}
