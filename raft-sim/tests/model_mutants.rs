//! The exhaustive models find bugs, each by the invariant that it breaks.
#![cfg(all(feature = "model", feature = "mutants"))]

use raft_core::mutants::Mutant;
use raft_sim::model::{Ended, Outcome, Scope, check, replication};

/// Explores a scope with a bug until an invariant breaks.
fn find(mutant: Mutant, scope: Scope, states_max: usize) -> Outcome {
    let scope = Scope {
        mutant: Some(mutant),
        states_max,
        ..scope
    };
    let outcome = check(scope, &mut |_| {});
    assert_eq!(outcome.ended, Ended::Violated, "{}: {outcome}", mutant.name());
    outcome
}

/// The invariants that a check found broken, by their numbers.
fn broken(outcome: &Outcome) -> Vec<&str> {
    let verdicts = outcome.verdicts.iter();
    let broken = verdicts.filter(|verdict| verdict.is_invariant && !verdict.holds);
    broken
        .map(|verdict| verdict.property.split(':').next().unwrap_or_default())
        .collect()
}

/// R1, R13, R32, R55, R58: what breaks elections and commits is found within a few steps.
#[test]
fn bugs_in_elections_and_commits_are_found() {
    let cold = Scope {
        terms_max: 2,
        ..replication::three_candidates()
    };
    for (mutant, scope, invariant) in [
        (Mutant::QuorumMinusOne, cold.clone(), "I1"),
        (Mutant::AckBeforeSync, cold.clone(), "I11"),
        (Mutant::VoteReplyBeforeSync, cold.clone(), "I3"),
        (Mutant::TermAndVoteInTwoWrites, cold, "I2"),
        (Mutant::UnsortedProgress, replication::terms(), "I7"),
        (Mutant::LeaderCountsUnsynced, replication::terms(), "I7"),
        (Mutant::ApplyBeforeDurable, replication::terms(), "I11"),
    ] {
        let outcome = find(mutant, scope, 40_000);
        let found = broken(&outcome);
        assert!(found.contains(&invariant), "{}: {outcome}", mutant.name());
    }
}
