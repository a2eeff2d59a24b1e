//! The exhaustive models, in scopes that a debug build takes in seconds.
#![cfg(feature = "model")]

use raft_sim::model::{Ended, Outcome, Scope, check, leases, replication, suspects};

/// Explores a scope: every invariant holds, and everything happens that should.
fn explore(scope: Scope, states_max: usize) -> Outcome {
    let scope = Scope { states_max, ..scope };
    let outcome = check(scope, &mut |_| {});
    assert_eq!(outcome.failures().count(), 0, "{outcome}");
    outcome
}

/// I1, I2, I3, I5, I7, I8, I11: every course of the first election with one candidate, and many of those with two.
#[test]
fn the_first_election() {
    let outcome = explore(replication::one_candidate(), usize::MAX);
    assert_eq!(outcome.ended, Ended::Exhausted);
    assert_eq!(outcome.states, outcome.expanded);
    let outcome = explore(replication::two_candidates(), 20_000);
    assert_eq!(outcome.ended, Ended::StatesMax);
    assert!(outcome.states >= 20_000, "{outcome}");
}

/// R1, I6, I7: what a leader inherits is committed with an entry of its own, in every course.
#[test]
fn an_inherited_command() {
    let outcome = explore(replication::inherited_command(), usize::MAX);
    assert_eq!(outcome.ended, Ended::Exhausted);
}

/// The same scope gives the same states in the same order.
#[test]
fn a_check_repeats_itself() {
    let twice = [(); 2].map(|()| explore(replication::inherited_command(), usize::MAX));
    assert_eq!(twice[0], twice[1]);
}

/// R68, I6, I23: disks that lose what they had, and nobody is elected that lacks what is committed.
#[test]
fn lost_disks() {
    explore(suspects::wiped_voter(), 30_000);
}

/// R42, I18: one leader's lease in every course of three ticks.
#[test]
fn leases_with_one_leader() {
    let outcome = explore(leases::one_leader(), usize::MAX);
    assert_eq!(outcome.ended, Ended::Exhausted);
}

/// R42, I18: the bound on drift is tight. If replicas are configured for less than the clocks do, a leader reads what is stale.
#[test]
fn clocks_that_drift_too_far_are_noticed() {
    let mut scope = leases::takeover();
    if let Some(clocks) = &mut scope.clocks {
        clocks.drift_max_quarters -= 1;
    }
    let outcome = check(scope, &mut |_| {});
    assert_eq!(outcome.ended, Ended::Violated, "{outcome}");
    let broken = outcome.failures().find(|verdict| verdict.is_invariant);
    let broken = broken.expect("an invariant is broken");
    assert!(broken.property.starts_with("I18"), "{outcome}");
    assert!(broken.path.len() < 20, "the shortest way: {outcome}");
}
