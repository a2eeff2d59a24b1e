//! Scenarios: the protocol's behaviour as readable traces over the real state machine.
//!
//! Each file in `tests/scenarios` is one test: prose that says which rule it shows and why, commands, and the output
//! that the world gave to them. The format and the commands are described in `tests/scenarios/README.md`.

#[cfg(feature = "mutants")]
mod scenario_mutants;
mod scenario_world;

use scenario_world::{check, kinds_without, load_all};

macro_rules! scenarios {
    ($($folder:ident { $($name:ident)* })*) => {
        $(mod $folder {
            $(#[test]
            fn $name() {
                super::check(concat!(stringify!($folder), "/", stringify!($name)));
            })*
        })*

        /// Every scenario that is a test, sorted by name.
        const LISTED: &[&str] = &[$($(concat!(stringify!($folder), "/", stringify!($name)),)*)*];
    };
}

scenarios! {
    commit {
        figure_8
        figure_8_e
        follower_never_passes_what_it_verified
        heartbeat_never_passes_match
        noop_first
        quorum_is_computed_from_sorted_matches
        single_node
        single_voter_with_a_learner
        two_nodes
        without_the_leaders_disk
    }
    durability {
        above_the_durable_mark
        commit_is_never_stored_above_the_log
        failed_apply_read
        lost_acknowledged_entries
        overwritten_twice
        truncation_lowers_the_mark
        unsynced_writes_are_lost
        vote_waits_for_its_write
        what_waits_and_what_does_not
    }
    elections {
        a_blank_replica_remembers_its_vote
        asymmetric_partition
        candidate_meets_the_leader
        even_number_of_nodes
        figure_4
        figure_9
        higher_term_rejoins
        late_refusal_proves_nothing
        late_self_vote
        leader_crash_and_restart
        leader_without_quorum_steps_down
        lower_term_pre_vote_is_answered
        new_leader_waits_for_its_followers
        newer_last_term_beats_longer_log
        one_vote_per_peer
        only_a_granted_vote_restarts_the_timer
        partial_partition
        partial_partition_elects
        pre_candidate_forgets_its_leader
        pre_vote_changes_nothing
        pre_vote_isolated_node_returns
        promoted_learner_votes
        replies_and_terms
        restart_begins_a_new_term
        split_vote
        stickiness
        terms_from_every_message
        three_nodes
        two_leaders_stop
        votes_before_the_completion
    }
    explain {
        a_disk_keeps_from_standing
        a_follower_is_silent
        a_followers_disk_is_slow
        a_group_that_sleeps
        a_leader_that_nobody_answers
        a_leader_that_others_hear
        a_lease_keeps_from_standing
        a_read_is_refused
        a_replica_that_stopped
        a_snapshot_is_on_its_way
        a_snapshot_is_restored
        a_snapshot_keeps_from_standing
        a_snapshot_waits_for_its_turn
        a_window_is_full
        all_is_well
        an_election_is_under_way
        an_entry_of_an_earlier_term
        entries_are_read_back
        entries_to_apply_are_read_back
        founders_vote_for_founders
        no_quorum
        older_last_term
        own_disk_stands_still
        refusals
        started_again
        the_leader_changed
        the_leader_to_ask_is_silent
        the_old_half_of_a_joint_configuration
        the_state_machine_is_slow
        voters_that_may_not_vote
        votes_are_refused
        votes_given_to_another
        which_half_of_a_joint_configuration
        who_may_have_lost_its_promises
        why_a_replica_does_not_stand
    }
    figure_2 {
        all_servers_adopt_higher_terms
        all_servers_apply
        append_entries_1_old_term
        append_entries_2_no_such_entry
        append_entries_3_conflict
        append_entries_4_new_entries
        append_entries_5_commit_index
        candidates_meet_the_leader
        candidates_start_an_election
        candidates_time_out
        candidates_win
        followers_respond
        followers_time_out
        leaders_append_commands
        leaders_commit
        leaders_send_from_next_index
        leaders_send_heartbeats
        persistent_state
        request_vote_1_old_term
        request_vote_2_grants
    }
    flow_control {
        apply_window
        caught_up_probe
        cold_reads_end_where_memory_begins
        compacted_meanwhile
        compacted_while_reading
        heartbeat_overtakes_a_probe
        heartbeat_overtakes_an_append
        inherited_entries_cost_nothing
        lost_window
        refusals
        removed_while_reading
        send_until_paused
        snapshot_transfers_max
        uncommitted_quota
        window_in_bytes
    }
    leadership {
        hands_over_under_load
        late_timeout_now
        lone_voter_keeps_leading
        priority_decays
        priority_never_overrides_the_log
        priority_waits
        reads_during_a_transfer
        slow_disk_is_no_stall
        stalled_disk_hands_over
        stalled_disks_everywhere
        stalled_follower_does_not_campaign
        stalled_state_machine_hands_over
        timeout_now_is_sent_again
        transfer
        transfer_and_change
        transfer_asked_again
        transfer_done_unheard
        transfer_refusals
        transfer_times_out
        transfer_waits_for_the_target
        transfer_without_a_new_leader
        transfer_won_by_another
    }
    membership {
        change_during_a_snapshot_transfer
        figure_11_timeline
        figure_4_2_no_two_majorities
        figure_4_6_removed_leader_is_needed
        figure_4_7_removed_node_does_not_disturb
        grow_and_shrink
        ids_are_never_used_twice
        joint_leader_crashes_after_leaving
        joint_leader_crashes_before_leaving
        joint_leader_crashes_before_the_commit
        joint_leader_crashes_first
        joint_leader_removes_itself
        larger_quorum_confirms_later
        leader_demotes_itself
        leader_removes_itself
        learner_is_promoted_when_caught_up
        learners_change_without_votes
        leaving_is_decided_by_the_new_half
        new_leader_inherits_a_change
        new_member_is_probed_at_once
        one_grows_to_three_and_shrinks_to_one
        preview
        refusals
        removed_members_are_told
        removed_node_never_heard_of_it
        rolled_back_twice
        smaller_quorum_commits
        snapshot_in_a_joint_configuration
        step_down_leaves_a_change_open
        strangers_are_heard
        the_next_leader_says_goodbye
        transfer_ends_when_the_target_leaves
        two_changes_in_two_terms
        unreachable_quorum_is_refused
    }
    membership_static {
        figure_10_two_majorities
        joint_quorum
        learner
        stale_candidate
        takes_effect_when_appended
        unknown_peers
    }
    quiescence {
        a_change_wakes
        a_cut_off_sleeper
        a_deposed_sleeper
        a_learner_wakes_the_leader
        a_proposal_wakes
        a_restarted_peer_is_contacted
        a_sleeper_has_a_leader
        a_sleeper_has_no_lease
        a_transfer_wakes
        all_must_agree
        check_quorum_begins_anew
        falls_asleep
        late_answer
        late_question
        not_where_one_is_unable
        one_alone
        only_with_everything
        restarted_follower
        suspects_keep_it_awake
        the_leader_dies
    }
    reads {
        a_round_that_never_began
        a_smaller_quorum_confirms
        lease
        lease_before_the_first_commit
        lease_by_learners_is_none
        lease_forbids_shortcuts
        lease_in_a_joint_configuration
        lease_is_void_after_timeout_now
        lease_outlives_the_term
        lease_rounds_of_one_moment
        lease_starts_when_the_round_was_sent
        lost_round
        only_voters_count
        read_index
        round_of_an_earlier_term
        single_node
        stale_leader
        step_down_resolves_everything
        wait_for_the_own_term
    }
    replication {
        a_divergent_tail_costs_a_round_per_term
        append_below_commit
        conflict_inside_a_message
        conflict_with_a_committed_entry
        duplicated_rejection
        entries_that_left_memory
        failed_read_sends_nothing
        figure_6
        figure_7
        figure_7_one_follower
        heartbeat_is_an_empty_append
        impossible_entries_are_ignored
        late_answer_of_the_store
        late_append_truncates_nothing
        late_read_after_step_down
        one_command
        purged_is_not_term_zero
        rejection_at_match
        reordered_and_duplicated
        reordered_rejection
        terms_above_the_senders
    }
    snapshots {
        any_acknowledgement_ends_the_wait
        arrives_with_writes_under_way
        covers_a_configuration
        created_after_a_newer_one_arrived
        failed_creation
        failure_is_reported
        figure_12
        figure_13_new_term
        figure_13_old_term
        ignored
        keeps_a_matching_tail
        newer_one_while_restoring
        no_campaign_while_restoring
        no_entries_while_restoring
        not_a_member
        not_before_a_configuration_is_known
        older_than_a_new_member
        one_atom
        pin_is_released
        pinned_log
        replaces_the_log
    }
    trust {
        late_acknowledgement
        late_answer_of_a_former_suspect
        late_pre_vote_for_a_wiped_founder
        late_vote_for_a_wiped_founder
        learns_of_the_past_while_it_campaigns
        lost_entries
        newcomer
        stays_a_suspect
        wiped_founder
    }
}

/// Style 12: a file that is not listed would never run.
#[test]
fn every_file_is_listed() {
    let scenarios = load_all();
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        // A new file can be written down before it is listed; the listed ones do that themselves.
        let new = scenarios
            .iter()
            .filter(|scenario| !LISTED.contains(&scenario.name.as_str()));
        new.for_each(|scenario| check(&scenario.name));
    }
    let files: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let mut listed = LISTED.to_vec();
    listed.sort_unstable();
    assert_eq!(
        listed, files,
        "tests/scenarios.rs lists every file of tests/scenarios once"
    );
}

/// Style 12: a scenario opens with what it shows and why; without that nobody can judge its output.
#[test]
fn every_file_opens_with_a_rule_and_a_reason() {
    for scenario in load_all() {
        let prose = scenario.prose();
        let sentences = prose.matches(['.', ':', ';']).count();
        assert!(
            !prose.starts_with(['>', '#']) && prose.len() > 120 && sentences >= 2,
            "tests/scenarios/{}.txt does not say what it shows and why",
            scenario.name
        );
        let first = prose.lines().next().unwrap_or("");
        let cites = |prefix: &str| {
            first
                .split(prefix)
                .skip(1)
                .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        assert!(
            cites("R") || cites("S") || cites("§") || cites("Figure "),
            "the first line of tests/scenarios/{}.txt names no rule, mission row, section or figure",
            scenario.name
        );
    }
}

/// S18: every kind of answer that a replica gives about itself is shown by a scenario, with the paragraph that people read.
#[test]
fn every_kind_of_answer_has_a_scenario() {
    let scenarios = load_all();
    let lines: Vec<&str> = scenarios.iter().flat_map(|scenario| scenario.answers()).collect();
    assert!(lines.len() > 60, "the answers are found: {}", lines.len());
    let missing = kinds_without(&lines);
    assert!(missing.is_empty(), "no scenario shows {}", missing.join("; "));
    assert!(
        kinds_without(&[]).len() > 60,
        "without scenarios every kind is missing"
    );
}
