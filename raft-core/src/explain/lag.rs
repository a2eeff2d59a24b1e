//! Why a member is behind.

use std::time::Duration;

use crate::types::{Index, NodeId};

/// What a leader knows of a member that is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The member.
    pub member: NodeId,
    /// What it has acknowledged.
    pub match_index: Index,
    /// How many entries of the leader's log it has not acknowledged.
    pub lacks: u64,
    /// For how long it has acknowledged nothing although it lacks something.
    pub stands: Option<Duration>,
    /// The window, if that is full.
    pub window: Option<FullWindow>,
    /// Why.
    pub reason: LagReason,
}

impl Lag {
    /// Whether the member is not heard from.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self.reason, LagReason::Silent { .. })
    }
}

/// A window that is full: nothing more is sent before something is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullWindow {
    /// Messages that are not acknowledged.
    pub messages: usize,
    /// How many may be.
    pub messages_max: usize,
    /// Payload bytes that are not acknowledged.
    pub bytes: usize,
    /// How many may be; one message always passes.
    pub bytes_max: usize,
    /// For how long it has been full at the end of every step.
    pub lasts: Duration,
}

impl FullWindow {
    /// Whether it is the number of messages that fills it; else it is their bytes.
    #[must_use]
    pub fn is_full_of_messages(&self) -> bool {
        self.messages >= self.messages_max
    }
}

/// Why a member is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagReason {
    /// It does not answer.
    Silent {
        /// How long ago it was heard from; none if never since this leader was elected.
        heard: Option<Duration>,
        /// For how long it was not heard from, or since the election if never.
        lasts: Duration,
    },
    /// It may have lost what it had promised, so that its acknowledgements do not count (R68).
    Suspect,
    /// It was started again, and it is not known yet which of its two incarnations runs.
    Restarted,
    /// The oldest write on it has not become durable for so long, by its own word.
    Disk(Duration),
    /// The entries that it lacks are gone: a snapshot up to this index is on its way.
    Snapshot(Index),
    /// The entries that it lacks are gone, and no snapshot is on its way yet: others come first, the last transfer failed a
    /// moment ago, or the snapshot is not durable yet.
    AwaitsSnapshot,
    /// Where its log and the leader's part is not known yet.
    Probe,
    /// The leader reads entries for it from its own log store.
    LogRead {
        /// Whether the last attempt failed.
        failed: bool,
    },
    /// Entries were sent, and not acknowledged yet.
    UnderWay,
}
