//! What must happen in some state of a model, so that its silence says something.

use std::fmt;

/// Something that a model of a certain scope must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mark {
    /// A leader was elected.
    Election,
    /// Something was committed.
    Commit,
    /// A command was committed.
    Command,
    /// A replica stopped while entries were being written.
    CrashDuringWrite,
    /// A change of the members is committed.
    Change,
    /// Two replicas lead at once, in different terms.
    TwoLeaders,
    /// A leader removed an entry of another one.
    Overwritten,
    /// A read was confirmed.
    Read,
    /// A disk lost what was durable.
    Loss,
    /// A replica became a suspect.
    Suspicion,
    /// A suspect was trusted again.
    Trust,
    /// A leader holds a lease.
    Lease,
    /// A leader holds a lease in a term after the first.
    LaterLease,
}

impl Mark {
    pub(super) const ALL: [Mark; 13] = [
        Mark::Election,
        Mark::Commit,
        Mark::Command,
        Mark::CrashDuringWrite,
        Mark::Change,
        Mark::TwoLeaders,
        Mark::Overwritten,
        Mark::Read,
        Mark::Loss,
        Mark::Suspicion,
        Mark::Trust,
        Mark::Lease,
        Mark::LaterLease,
    ];

    /// What it is called among the properties of a model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mark::Election => "a leader is elected",
            Mark::Commit => "an entry is committed",
            Mark::Command => "a command is committed",
            Mark::CrashDuringWrite => "a replica crashes during a write",
            Mark::Change => "a change of the members is committed",
            Mark::TwoLeaders => "two leaders at once, in different terms",
            Mark::Overwritten => "a leader overwrites what another one wrote",
            Mark::Read => "a read is confirmed",
            Mark::Loss => "a disk loses what was durable",
            Mark::Suspicion => "a replica becomes a suspect",
            Mark::Trust => "a suspect is trusted again",
            Mark::Lease => "a leader holds a lease",
            Mark::LaterLease => "the leader of a later term holds a lease",
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u16);

impl Marks {
    pub(super) fn set(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u8;
    }

    pub(super) fn union(&mut self, other: Marks) {
        self.0 |= other.0;
    }

    pub(super) fn has(self, mark: u8) -> bool {
        self.0 & (1 << mark) != 0
    }
}
