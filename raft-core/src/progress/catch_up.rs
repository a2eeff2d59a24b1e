//! Whether a learner has caught up (thesis §4.2.1, R71).

use std::time::Duration;

use crate::codec::recorded;
use crate::fingerprint::Fingerprint;
use crate::types::{Index, Time};

/// Measures rounds of replication. A round begins with the leader's last index at that moment as its target, and ends
/// when the follower has it; the next begins at once. The entries that arrive during one round are the work of the
/// next, so rounds become short as a follower catches up.
///
/// A follower has caught up when its last round took less than an election timeout and the current one has not lasted
/// longer: after a promotion, the group then waits for it no longer than for an election.
#[derive(Clone, Copy, Debug)]
pub struct CatchUp {
    target: Index,
    began: Time,
    last_round: Option<Duration>,
}

impl CatchUp {
    /// Begins the first round, whose target is `last`.
    #[must_use]
    pub fn new(last: Index, now: Time) -> CatchUp {
        CatchUp {
            target: last,
            began: now,
            last_round: None,
        }
    }

    /// The follower has everything up to `matched`; the leader's log now ends at `last`.
    pub fn acknowledged(&mut self, matched: Index, last: Index, now: Time) {
        if matched >= self.target {
            *self = CatchUp {
                target: last,
                began: now,
                last_round: Some(now.since(self.began)),
            };
        }
    }

    /// Whether the follower has caught up.
    #[must_use]
    pub fn is_caught_up(&self, now: Time, election_timeout: Duration) -> bool {
        self.last_round.is_some_and(|round| round < election_timeout)
            && now.since(self.began) < election_timeout
    }

    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let CatchUp {
            target,
            began,
            last_round,
        } = self;
        fingerprint.feed(&(target, last_round.is_some()));
        fingerprint.feed_past(*began);
        fingerprint.feed_duration(last_round.unwrap_or_default());
    }
}

recorded!(struct CatchUp { target, began, last_round });

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(1_000);

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// R71: the first round copies the whole log and is too long; the second, of what was written meanwhile, is not.
    #[test]
    fn rounds_become_short() {
        let mut catch_up = CatchUp::new(Index(1_000), at(0));
        catch_up.acknowledged(Index(999), Index(1_500), at(4_000));
        assert!(!catch_up.is_caught_up(at(4_000), TIMEOUT), "no round is complete");
        catch_up.acknowledged(Index(1_000), Index(1_500), at(5_000));
        assert!(
            !catch_up.is_caught_up(at(5_000), TIMEOUT),
            "that round took five seconds"
        );
        catch_up.acknowledged(Index(1_500), Index(1_550), at(5_900));
        assert!(catch_up.is_caught_up(at(5_900), TIMEOUT));
    }

    /// R71: who falls silent has not caught up, however fast it was before.
    #[test]
    fn a_silent_learner_has_not_caught_up() {
        let mut catch_up = CatchUp::new(Index(10), at(0));
        catch_up.acknowledged(Index(10), Index(20), at(10));
        assert!(catch_up.is_caught_up(at(1_009), TIMEOUT));
        assert!(!catch_up.is_caught_up(at(1_010), TIMEOUT));
    }
}
