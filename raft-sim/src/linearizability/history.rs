//! Operations, and when they were called and returned.

use std::fmt;

use raft_core::types::Time;

use super::model::Model;

/// A moment of a run, by the clock that nobody in the simulation can read.
///
/// Of two moments at the same time the one with the lower `order` came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The true time.
    pub time: Time,
    /// The number of the event, in the order in which the simulator worked events off.
    pub order: u64,
}

impl Moment {
    /// The moment of an event.
    #[must_use]
    pub fn new(time: Time, order: u64) -> Moment {
        Moment { time, order }
    }
}

/// The time in seconds.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.time.since(Time::ZERO).as_secs_f64())
    }
}

/// One operation of a history.
///
/// One comes before another if it returned before the other was called. If that was the same moment, they are concurrent.
pub struct Call<M: Model> {
    /// Who asked; only people need to know.
    pub client: u64,
    /// What was asked.
    pub operation: M::Operation,
    /// When it was asked.
    pub called: Moment,
    /// When it was answered, and what. None if it may take effect at any later moment, or never. An operation that certainly
    /// had no effect is left out of the history.
    pub returned: Option<(Moment, M::Response)>,
}

impl<M: Model> fmt::Debug for Call<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}, {} to ", self.client, self.called)?;
        match &self.returned {
            Some((moment, response)) => write!(f, "{moment}: {:?} → {response:?}", self.operation),
            None => write!(f, "?: {:?}", self.operation),
        }
    }
}
