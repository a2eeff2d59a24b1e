//! Reads by lease (thesis §6.4.1): a leader that a quorum heard lately knows that nobody else leads.
//!
//! The lease begins when the newest round was *sent* that a quorum of every active configuration has answered, and lasts
//! the minimum election timeout less the most that two clocks can drift apart in that time (R42): so long, each voter of
//! that quorum refuses its vote to others. Being contacted is not enough, and CheckQuorum is no lease.
//!
//! What makes it true is elsewhere: voters that know of a leader by time, whatever their role or term became since
//! (`terms`), and a restarted voter that waits as if it had just heard one (`common`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::codec::recorded;
use crate::fingerprint::Fingerprint;
use crate::types::{Round, Time};

/// How many unanswered rounds are remembered. If a quorum falls further behind, the lease lapses and reads take the way
/// of ReadIndex.
const ROUNDS_MAX: usize = 256;

/// The lease of one leadership.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease {
    /// When each round was sent that may still become the start of the lease, ascending.
    sent: VecDeque<(Round, Time)>,
    start: Option<Time>,
    is_void: bool,
}

impl Lease {
    /// A round was sent.
    pub(super) fn round_sent(&mut self, round: Round, now: Time) {
        // Rounds of one moment are one start; the later number is answered by those who answer it.
        if self.sent.back().is_some_and(|(_, at)| *at == now) {
            self.sent.pop_back();
        }
        if self.sent.len() < ROUNDS_MAX {
            self.sent.push_back((round, now));
        }
    }

    /// A quorum has answered `confirmed` or a later round.
    pub(super) fn confirm(&mut self, confirmed: Round) {
        while let Some(&(round, at)) = self.sent.front()
            && round <= confirmed
        {
            self.start = Some(at);
            self.sent.pop_front();
        }
    }

    /// This leadership was idle: rounds of before that prove nothing any more.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
        self.start = None;
    }

    /// TimeoutNow was sent: from now on a voter may vote while it hears this leader, for all of this leadership (R33).
    pub(super) fn void(&mut self) {
        self.is_void = true;
    }

    /// Whether nobody else can lead now, if clocks drift apart by at most `drift_max` in `election_timeout`.
    pub(super) fn is_valid(&self, now: Time, election_timeout: Duration, drift_max: Duration) -> bool {
        let length = election_timeout.saturating_sub(drift_max);
        !self.is_void && self.start.is_some_and(|start| now.since(start) < length)
    }

    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let Lease { sent, start, is_void } = self;
        fingerprint.feed(&(is_void, sent.len()));
        for (round, at) in sent {
            fingerprint.feed(round);
            fingerprint.feed_past(*at);
        }
        fingerprint.feed_past(*start);
    }
}

recorded!(struct Lease { sent, start, is_void });

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn is_valid(lease: &Lease, now: Time) -> bool {
        lease.is_valid(now, Duration::from_millis(1_000), Duration::from_millis(100))
    }

    /// R42: the lease counts from when the answered round was sent, not from when the answers came.
    #[test]
    fn it_begins_when_the_round_was_sent() {
        let mut lease = Lease::default();
        assert!(!is_valid(&lease, at(0)));
        lease.round_sent(Round(1), at(0));
        lease.round_sent(Round(2), at(500));
        lease.confirm(Round(1));
        assert!(is_valid(&lease, at(899)));
        assert!(!is_valid(&lease, at(900)));
        lease.confirm(Round(2));
        assert!(is_valid(&lease, at(1_399)));
    }

    /// R33: once TimeoutNow was sent there is no lease any more, whatever is confirmed later.
    #[test]
    fn it_is_void_for_good() {
        let mut lease = Lease::default();
        lease.round_sent(Round(1), at(0));
        lease.confirm(Round(1));
        lease.void();
        lease.round_sent(Round(2), at(10));
        lease.confirm(Round(2));
        assert!(!is_valid(&lease, at(11)));
    }

    /// Memory is bounded while no quorum answers.
    #[test]
    fn unanswered_rounds_are_bounded() {
        let mut lease = Lease::default();
        for round in 0..10_000 {
            lease.round_sent(Round(round), at(round));
        }
        assert_eq!(lease.sent.len(), ROUNDS_MAX);
    }
}
