//! The exhaustive models find bugs, each by the invariant that it breaks.
#![cfg(all(feature = "model", feature = "mutants"))]

use raft_core::mutants::Mutant;
use raft_sim::model::{Ended, Outcome, Scope, check, leases, replication, suspects};

/// Explores a scope with a bug until an invariant breaks, which must be the one of this number.
fn find(mutant: Mutant, scope: Scope, invariant: &str) {
    let scope = Scope {
        mutant: Some(mutant),
        states_max: 60_000,
        ..scope
    };
    let outcome = check(scope, &mut |_| {});
    assert_eq!(outcome.ended, Ended::Violated, "{}: {outcome}", mutant.name());
    let found = broken(&outcome);
    assert!(found.contains(&invariant), "{}: {outcome}", mutant.name());
}

/// The invariants that a check found broken, by their numbers.
fn broken(outcome: &Outcome) -> Vec<&str> {
    let broken = outcome.failures().filter(|verdict| verdict.is_invariant);
    broken
        .map(|verdict| verdict.property.split(':').next().unwrap_or_default())
        .collect()
}

/// R13, R32, R55, R58, R72: what breaks elections and commits is found within a few steps.
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
        find(mutant, scope, invariant);
    }
}

/// R1, Figure 8: counting replicas of an entry of an older term.
#[test]
fn a_commit_of_a_prior_term_is_found() {
    find(Mutant::PriorTermCommit, replication::inherited_command(), "I7");
}

/// R13, R61, R64: what breaks changes of the members.
#[test]
fn bugs_in_changes_of_the_members_are_found() {
    find(Mutant::ChangeWhilePending, replication::change(), "I19");
    find(Mutant::LearnerCounted, replication::change(), "I7");
    find(Mutant::RemovedLeaderStays, replication::change(), "I20");
}

/// R68: a wiped node with the same id that is trusted, and suspects that vote.
#[test]
fn trust_without_memory_is_found() {
    find(Mutant::WipedNodeTrusted, suspects::lost_after_a_commit(), "I6");
    find(Mutant::SuspectVotes, suspects::damaged_voter(), "I23");
}

/// R42: a lease that begins when answers come.
#[test]
fn a_lease_from_check_quorum_is_found() {
    find(Mutant::LeaseFromCheckQuorum, leases::takeover(), "I18");
}
