//! True time, and the clocks of nodes, which run too fast, too slow, jump and stand still.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use raft_core::types::Time;

/// A true instant: nanoseconds since the run began. No node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Instant(pub(crate) u64);

impl Instant {
    /// When a run begins.
    pub(crate) const ZERO: Instant = Instant(0);

    /// An instant so many milliseconds after the run began.
    #[must_use]
    pub(crate) const fn from_millis(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    /// How much time passed since `earlier`; none if that is later.
    #[must_use]
    pub(crate) fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06} s",
            self.0 / 1_000_000_000,
            self.0 / 1_000 % 1_000_000
        )
    }
}

/// What a clock runs at when it is right: parts per million.
pub(crate) const RIGHT_RATE: u64 = 1_000_000;

/// The monotonic clock of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// How fast it runs when nothing is done to it, in parts per million of true time.
    own_rate: u64,
    /// How fast it runs now; 0 while it stands still.
    rate: u64,
    /// Since when it runs so.
    since: Instant,
    /// What it showed then, in nanoseconds.
    shown: u64,
}

impl Clock {
    /// A clock that shows `shown` nanoseconds when the run begins.
    pub(crate) fn new(rate: u64, shown: u64) -> Clock {
        Clock {
            own_rate: rate,
            rate,
            since: Instant::ZERO,
            shown,
        }
    }

    /// What it shows at a true instant.
    pub(crate) fn at(&self, now: Instant) -> Time {
        let passed = u128::from(now.0.saturating_sub(self.since.0)) * u128::from(self.rate);
        Time::from_nanos(self.shown + (passed / u128::from(RIGHT_RATE)) as u64)
    }

    /// The first true instant at which it shows `time` or later; none if it stands still before.
    pub(crate) fn when(&self, time: Time) -> Option<Instant> {
        let missing = time.as_nanos().saturating_sub(self.shown);
        if missing == 0 {
            return Some(self.since);
        }
        if self.rate == 0 {
            return None;
        }
        let passed = (u128::from(missing) * u128::from(RIGHT_RATE)).div_ceil(u128::from(self.rate));
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Some(Instant(self.since.0.saturating_add(passed)))
    }

    /// From now on it runs at another rate.
    pub(crate) fn set_rate(&mut self, now: Instant, rate: u64) {
        self.shown = self.at(now).as_nanos();
        (self.since, self.rate) = (now, rate);
    }

    /// From now on it runs as it does when nothing is done to it.
    pub(crate) fn restore_rate(&mut self, now: Instant) {
        self.set_rate(now, self.own_rate);
    }

    /// It jumps ahead. A monotonic clock never jumps back.
    pub(crate) fn step(&mut self, ahead: Duration) {
        self.shown += u64::try_from(ahead.as_nanos()).unwrap_or(0);
    }
}
