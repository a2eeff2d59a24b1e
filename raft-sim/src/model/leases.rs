//! Reads by lease (thesis §6.4.1, R42), against elections.
//!
//! Time is discrete. In a tick a clock goes on by four quarters if it is fast and by three if it is slow; the election timeout
//! is three ticks of a fast clock, and of four of a slow one. So two clocks drift apart by at most a quarter of the election
//! timeout while one of them shows that it passed, which is what the replicas are configured for. A replica may look at its
//! clock at any time, or never.
//!
//! A replica that times out before it may is told so by the protocol itself, and goes on waiting. After every step and every
//! tick each leader is asked for a read by its lease: at most one of them answers, and what it answers is not older than
//! anything that is committed. The bounds are tight: the very same model fails if the clocks drift a quarter of a tick more
//! than configured.

use super::mark::Mark;
use super::scope::{Clocks, Scope, Start};

/// The scopes of this model, from the smallest on.
#[must_use]
pub fn scopes() -> Vec<Scope> {
    vec![one_leader(), takeover(), crash(), wandering_clocks()]
}

/// Node 1 leads and has a lease; its clock is slow, and those of the others are fast.
#[must_use]
pub fn one_leader() -> Scope {
    Scope {
        start: Start::Led { late_messages: false },
        campaigners: Vec::new(),
        clocks: Some(Clocks {
            ticks: 3,
            fast: vec![0b110],
            slow_quarters: 3,
            drift_max_quarters: 3,
        }),
        expected: vec![Mark::Lease],
        ..Scope::new("leases/one-leader")
    }
}

/// The same, and another one wants to lead.
#[must_use]
pub fn takeover() -> Scope {
    Scope {
        campaigners: vec![2],
        terms_max: 2,
        expected: vec![Mark::Lease, Mark::TwoLeaders, Mark::Commit],
        name: "leases/takeover",
        ..one_leader()
    }
}

/// The same, and a replica crashes: it forgets whom it heard, and waits.
#[must_use]
pub fn crash() -> Scope {
    Scope {
        crashes: 1,
        name: "leases/crash",
        ..takeover()
    }
}

/// Two others want to lead, for longer, and any of two sets of clocks is fast in each tick.
#[must_use]
pub fn wandering_clocks() -> Scope {
    Scope {
        campaigners: vec![2, 3],
        clocks: Some(Clocks {
            ticks: 6,
            fast: vec![0b110, 0b101],
            slow_quarters: 3,
            drift_max_quarters: 3,
        }),
        expected: vec![Mark::Lease],
        name: "leases/wandering-clocks",
        ..takeover()
    }
}
