//! Several groups on the same machines.

use raft_core::types::GroupId;
use raft_sim::plan::{Fault, Plan};
use raft_sim::simulation::{Failure, Report, Simulation, run_plan, trace_plan};
use raft_sim::workload::{KeyValue, KeyValueWorkload};

const GROUPS: u64 = 4;

fn plan(seed: u64) -> Plan {
    Simulation::new(seed).groups(GROUPS).seconds(10).plan()
}

fn run(plan: &Plan) -> Result<Report, Failure> {
    run_plan(plan, KeyValue::new, KeyValueWorkload::new)
}

/// I27, I30: groups go on while others are created, moved and destroyed beside them, whatever else goes wrong.
#[test]
fn groups_come_move_and_go() {
    let (mut created, mut moved, mut destroyed) = (0, 0, 0);
    for seed in 0x70..0x73 {
        let report = run(&plan(seed)).unwrap();
        let tally = &report.tally;
        assert_eq!(tally.groups, GROUPS + tally.groups_created, "seed {seed:#x}");
        assert!(tally.acknowledged > 0, "seed {seed:#x}");
        created += tally.groups_created;
        moved += tally.replicas_moved;
        destroyed += tally.groups_destroyed;
    }
    assert!(
        created > 0 && moved > 0 && destroyed > 0,
        "{created} groups created, {moved} replicas moved, {destroyed} groups destroyed"
    );
}

/// I28: the same seed gives the same run, whatever is recorded of it, and any group can be.
#[test]
fn one_group_of_many_is_recorded_and_nothing_changes() {
    let plan = plan(0x77);
    let hash = run(&plan).unwrap().trace_hash;
    assert_eq!(run(&plan).unwrap().trace_hash, hash);
    let recorded = |group| {
        let traced = trace_plan(&plan, GroupId(group), None, KeyValue::new, KeyValueWorkload::new);
        assert_eq!(traced.result.unwrap().trace_hash, hash, "group {group}");
        traced.trace.events
    };
    let (first, last) = (recorded(1), recorded(GROUPS));
    assert!(first.len() > 100 && last.len() > 100, "each group does something");
    assert_ne!(first, last);
    assert_eq!(recorded(1_000), [], "there is no such group");
}

/// Most seeds have one group, and draw for it what they drew before there were several.
#[test]
fn most_seeds_have_one_group() {
    let of_groups = |fault: &Fault| {
        matches!(
            fault,
            Fault::CreateGroup { .. } | Fault::DestroyGroup { .. } | Fault::MoveReplica { .. }
        )
    };
    let mut several = 0;
    for seed in 0..1_000 {
        let plan = Simulation::new(seed).plan();
        if plan.groups == 1 {
            assert_eq!(plan, Simulation::new(seed).groups(1).plan());
            assert!(!plan.faults.iter().any(|planned| of_groups(&planned.fault)));
        } else {
            several += 1;
            let mut others = plan.faults.iter().filter(|planned| !of_groups(&planned.fault));
            let alone = Simulation::new(seed).groups(1).plan();
            assert!(others.by_ref().eq(alone.faults.iter()), "seed {seed:#x}");
        }
    }
    assert!(
        (20..=90).contains(&several),
        "{several} of 1,000 seeds have several groups"
    );
}
