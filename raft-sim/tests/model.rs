//! The exhaustive models, in scopes that a debug build takes in seconds.
#![cfg(feature = "model")]

use raft_sim::model::{Ended, Outcome, Scope, check, replication};

fn explore(scope: Scope) -> Outcome {
    let outcome = check(scope, &mut |_| {});
    assert_eq!(outcome.failures().count(), 0, "{outcome}");
    outcome
}

/// I1, I2, I3, I5, I7, I8, I11: every course of the first election with one candidate, and many of those with two.
#[test]
fn the_first_election() {
    let outcome = explore(replication::one_candidate());
    assert_eq!(outcome.ended, Ended::Exhausted);
    assert_eq!(outcome.states, outcome.expanded);
    let outcome = explore(Scope {
        states_max: 20_000,
        ..replication::two_candidates()
    });
    assert_eq!(outcome.ended, Ended::StatesMax);
    assert!(outcome.states >= 20_000, "{outcome}");
}
