//! Since when a follower lacks what.

use std::time::Duration;

use crate::codec::recorded;
use crate::types::Time;

/// What a leader remembers of a follower for no other purpose than to explain why that is behind. The protocol decides
/// nothing by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrears {
    stands_since: Option<Time>,
    full_since: Option<Time>,
    disk: Option<(Time, Duration)>,
}

impl Arrears {
    /// The follower answered, and says how long its oldest write waits; `moved` is whether it acknowledged something new.
    pub fn answered(&mut self, moved: bool, disk_waits: Duration, now: Time) {
        if moved {
            self.stands_since = None;
        }
        self.disk = (!disk_waits.is_zero()).then_some((now, disk_waits));
    }

    /// At the end of a step it lacks something or not, and its window is full or not.
    pub fn stepped(&mut self, lacks_something: bool, is_full: bool, now: Time) {
        let still = |since: Option<Time>, holds: bool| holds.then(|| since.unwrap_or(now));
        self.stands_since = still(self.stands_since, lacks_something);
        self.full_since = still(self.full_since, is_full);
    }

    /// Since when it has acknowledged nothing although it lacks something.
    #[must_use]
    pub fn stands_since(&self) -> Option<Time> {
        self.stands_since
    }

    /// Since when its window is full at the end of every step.
    #[must_use]
    pub fn full_since(&self) -> Option<Time> {
        self.full_since
    }

    /// For how long its oldest write has waited by its own word, if that still waits.
    #[must_use]
    pub fn disk_waits(&self, now: Time) -> Option<Duration> {
        self.disk.map(|(said, waited)| waited + now.since(said))
    }
}

recorded!(struct Arrears { stands_since, full_since, disk });
