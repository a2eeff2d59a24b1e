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
    (Mutant::VoteTwice, "elections/split_vote"),
    (
        Mutant::VoteForShorterLog,
        "elections/newer_last_term_beats_longer_log",
    ),
    (Mutant::NoPreVote, "elections/pre_vote_isolated_node_returns"),
    (Mutant::NoStickiness, "elections/stickiness"),
    (
        Mutant::CheckQuorumOff,
        "elections/leader_without_quorum_steps_down",
    ),
    (
        Mutant::RestartResumesLeadership,
        "elections/restart_begins_a_new_term",
    ),
    (Mutant::LeaderSleepsAlone, "quiescence/all_must_agree"),
    (Mutant::FollowerSleepsBehind, "quiescence/only_with_everything"),
    (Mutant::VoteReplyBeforeSync, "durability/vote_waits_for_its_write"),
    (
        Mutant::TermAndVoteInTwoWrites,
        "durability/vote_waits_for_its_write",
    ),
    (Mutant::AckBeforeSync, "durability/what_waits_and_what_does_not"),
    (Mutant::ApplyBeforeDurable, "commit/without_the_leaders_disk"),
    (Mutant::DoubleApplyOnRestart, "figure_2/leaders_commit"),
    (
        Mutant::ReadIndexWithoutOwnTermCommit,
        "reads/wait_for_the_own_term",
    ),
    (Mutant::ReadRoundReused, "reads/lost_round"),
    (
        Mutant::LeaseFromCheckQuorum,
        "reads/lease_starts_when_the_round_was_sent",
    ),
    (
        Mutant::ChangeBeforeOwnTermCommit,
        "membership/two_changes_in_two_terms",
    ),
    (Mutant::ChangeWhilePending, "membership/leader_removes_itself"),
    (Mutant::JointByOneHalf, "membership_static/joint_quorum"),
    (Mutant::LearnerCounted, "membership_static/learner"),
    (Mutant::RemovedLeaderStays, "membership/leader_removes_itself"),
    (Mutant::WipedNodeTrusted, "trust/wiped_founder"),
    (Mutant::SuspectVotes, "trust/stays_a_suspect"),
    (Mutant::SuspectCounted, "trust/newcomer"),
    (Mutant::OldIncarnationCounted, "trust/late_acknowledgement"),
    (Mutant::SnapshotOverNewerLog, "snapshots/keeps_a_matching_tail"),
    (Mutant::PurgeBeyondSnapshot, "snapshots/failed_creation"),
    (Mutant::SnapshotFailureForgotten, "snapshots/failure_is_reported"),
    (Mutant::WindowIgnored, "flow_control/window_in_bytes"),
];

/// Those about clients and other groups, which `tests/mutants.rs` shows.
const SHOWN_ELSEWHERE: &[Mutant] = &[
    Mutant::RestartedPulseCounted,
    Mutant::EndedLeadershipNotTold,
    Mutant::ReadBeforeApply,
    Mutant::ForeignMessageHeard,
    Mutant::SessionsMissingFromSnapshot,
    Mutant::ExpiryByWallClock,
    Mutant::DuplicateCommandApplied,
    Mutant::LossToldAsRefusal,
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
    let by_scenarios = SHOWN_BY.iter().map(|(mutant, _)| *mutant);
    let mut shown: Vec<Mutant> = by_scenarios.chain(SHOWN_ELSEWHERE.iter().copied()).collect();
    shown.sort_unstable();
    assert_eq!(shown, Mutant::ALL);
}
