//! Bugs in the protocol, and for each a scenario that shows the rule which it breaks: with the bug the scenario ends in
//! another way, or stops at one of the world's invariants.

use raft_core::mutants::{self, Mutant};

use crate::scenario_world::holds;

/// Each mutant that scenarios can show, with one that does.
const SHOWN_BY: &[(Mutant, &str)] = &[
    (Mutant::PriorTermCommit, "commit/figure_8"),
    (Mutant::QuorumMinusOne, "elections/three_nodes"),
    (
        Mutant::UnsortedProgress,
        "commit/quorum_is_computed_from_sorted_matches",
    ),
    (Mutant::LeaderCountsUnsynced, "commit/single_node"),
    (
        Mutant::CommitBeyondVerified,
        "commit/follower_never_passes_what_it_verified",
    ),
    (
        Mutant::TruncateOnStaleAppend,
        "replication/late_append_truncates_nothing",
    ),
    (
        Mutant::PrevTermUnchecked,
        "figure_2/append_entries_2_no_such_entry",
    ),
    (Mutant::GapAccepted, "figure_2/append_entries_2_no_such_entry"),
    (Mutant::AckBeyondMatch, "commit/heartbeat_never_passes_match"),
    (
        Mutant::MatchFromRejection,
        "figure_2/leaders_send_from_next_index",
    ),
];

fn holds_with(mutant: Option<Mutant>, scenario: &str) -> bool {
    mutants::choose(mutant);
    let holds = holds(scenario);
    mutants::choose(None);
    holds
}

/// I1–I27: whoever breaks a rule on purpose is seen by the scenario that shows it.
#[test]
fn a_mutant_is_seen_by_the_scenario_of_its_rule() {
    for &(mutant, scenario) in SHOWN_BY {
        let mutant_name = mutant.name();
        assert!(
            !holds_with(Some(mutant), scenario),
            "{scenario} does not see {mutant_name}"
        );
        assert!(
            holds_with(None, scenario),
            "{scenario} fails without {mutant_name}"
        );
    }
}

/// No mutant is left out.
#[test]
fn every_mutant_is_shown() {
    for mutant in Mutant::ALL {
        let count = SHOWN_BY.iter().filter(|(shown, _)| shown == mutant).count();
        assert_eq!(count, 1, "{}", mutant.name());
    }
}
