//! Tells states of a replica apart by what they can do, for programs that enumerate states.
//!
//! Every type that takes part destructures itself in full, so that a new field does not compile before somebody has
//! decided whether it matters.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::types::Time;

/// What is fed to a hasher, seen from one moment.
///
/// Times are fed as their distance from that moment: only differences of times decide anything. What is longer ago than
/// `age_max` is as good as that long ago.
pub(crate) struct Fingerprint<'a> {
    hasher: &'a mut dyn Hasher,
    now: Time,
    age_max: Duration,
}

impl<'a> Fingerprint<'a> {
    pub(crate) fn new(hasher: &'a mut dyn Hasher, now: Time, age_max: Duration) -> Fingerprint<'a> {
        Fingerprint { hasher, now, age_max }
    }

    /// Something that has nothing to do with time.
    pub(crate) fn feed(&mut self, value: &impl Hash) {
        value.hash(&mut self.hasher);
    }

    /// A moment that is only asked whether it is long ago, for at most `age_max`.
    pub(crate) fn feed_past(&mut self, at: impl Into<Option<Time>>) {
        let age = at.into().map(|at| self.now.since(at).min(self.age_max));
        self.feed(&age);
    }

    /// A duration that is only asked whether it is long, for at most `age_max`.
    pub(crate) fn feed_duration(&mut self, duration: Duration) {
        let duration = duration.min(self.age_max);
        self.feed(&duration);
    }

    /// A moment whose exact distance matters.
    pub(crate) fn feed_past_exactly(&mut self, at: impl Into<Option<Time>>) {
        let age = at.into().map(|at| self.now.since(at));
        self.feed(&age);
    }

    /// A moment that is only asked whether it has come.
    pub(crate) fn feed_deadline(&mut self, at: impl Into<Option<Time>>) {
        let left = at.into().map(|at| at.since(self.now));
        self.feed(&left);
    }
}
