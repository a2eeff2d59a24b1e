//! Makes a run that found something smaller: fewer faults, a shorter time, a calmer network, fewer clients, plainer settings,
//! as long as it violates the same invariant. What is left is what a person has to understand.
//!
//! Faults are left out by delta debugging (Zeller and Hildebrandt, 2002): in large parts first, then in ever smaller ones. It
//! works because whoever draws within a run has a generator of its own, so that one fault less changes little of the rest.

use crate::plan::{Fault, NetworkFaults, Plan, PlannedFault, Settings};
use crate::violation::Violation;

/// A run that was made smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimised {
    /// The run.
    pub plan: Plan,
    /// What it violates.
    pub violation: Violation,
    /// How many runs it took to find it.
    pub runs: u64,
}

/// Looks for a smaller plan that violates the same invariant as `plan` does, in at most `runs_max` runs. Whoever is
/// interested is told about every plan that is smaller than the one before.
pub fn minimise(
    plan: &Plan,
    violation: &Violation,
    runs_max: u64,
    run: &mut dyn FnMut(&Plan) -> Result<(), Violation>,
    tell: &mut dyn FnMut(&Minimised),
) -> Minimised {
    let best = Minimised {
        plan: plan.clone(),
        violation: violation.clone(),
        runs: 0,
    };
    let mut search = Search {
        best,
        runs_max,
        run,
        tell,
    };
    loop {
        let before = search.best.plan.clone();
        search.shorten();
        search.leave_faults_out();
        search.calm();
        search.simplify_faults();
        if search.best.plan == before || search.is_over() {
            return search.best;
        }
    }
}

/// Whether two violations are of one kind. Of two panics, the first lines must agree but for numbers.
fn is_same(one: &Violation, other: &Violation) -> bool {
    let place = |violation: &Violation| -> String {
        let first = violation.seen.lines().next().unwrap_or_default();
        first.chars().filter(|letter| !letter.is_ascii_digit()).collect()
    };
    one.invariant == other.invariant && (one.invariant != "panic" || place(one) == place(other))
}

struct Search<'r> {
    best: Minimised,
    runs_max: u64,
    run: &'r mut dyn FnMut(&Plan) -> Result<(), Violation>,
    tell: &'r mut dyn FnMut(&Minimised),
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.best.runs >= self.runs_max
    }

    /// Keeps a plan if it violates the same.
    fn attempt(&mut self, plan: Plan) -> bool {
        if self.is_over() || plan == self.best.plan {
            return false;
        }
        self.best.runs += 1;
        match (self.run)(&plan) {
            Err(violation) if is_same(&violation, &self.best.violation) => {
                self.best.plan = plan;
                self.best.violation = violation;
                (self.tell)(&self.best);
                true
            }
            _ => false,
        }
    }

    /// The best plan with something changed.
    fn attempt_with(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.plan.clone();
        change(&mut plan);
        self.attempt(plan)
    }

    // ---- time ----

    /// Ends the faults as early as possible: right when the invariant was violated, or ever so much earlier.
    fn shorten(&mut self) {
        let violated_ms = self.best.violation.at_nanos / 1_000_000 + 1;
        if violated_ms < self.best.plan.duration_ms {
            self.end_at(violated_ms);
        }
        let mut step = self.best.plan.duration_ms / 2;
        while step >= 100 && !self.is_over() {
            let end = self.best.plan.duration_ms.saturating_sub(step).max(1);
            if !self.end_at(end) {
                step /= 2;
            }
        }
    }

    fn end_at(&mut self, duration_ms: u64) -> bool {
        self.attempt_with(|plan| {
            plan.duration_ms = duration_ms;
            plan.faults.retain(|planned| planned.at_ms < duration_ms);
        })
    }

    // ---- faults ----

    fn leave_faults_out(&mut self) {
        let mut parts = 2;
        while !self.best.plan.faults.is_empty() && !self.is_over() {
            let count = self.best.plan.faults.len();
            let length = count.div_ceil(parts);
            // Late ones first: what led up to the violation more often stands before it.
            let starts: Vec<usize> = (0..count).step_by(length).collect();
            let found = starts.into_iter().rev().any(|start| {
                self.attempt_with(|plan| {
                    plan.faults.drain(start..(start + length).min(count));
                })
            });
            if found {
                parts = parts.saturating_sub(1).max(2);
            } else if length == 1 {
                return;
            } else {
                parts = (2 * parts).min(count);
            }
        }
    }

    /// Makes every fault that lasts shorter.
    fn simplify_faults(&mut self) {
        for position in 0..self.best.plan.faults.len() {
            loop {
                let mut planned: PlannedFault = self.best.plan.faults[position].clone();
                let Some(lasts) = duration_of(&mut planned.fault) else {
                    break;
                };
                *lasts /= 2;
                if !self.attempt_with(|plan| plan.faults[position] = planned) {
                    break;
                }
            }
        }
    }

    // ---- everything else ----

    /// Puts everything in order that need not be out of order.
    fn calm(&mut self) {
        while self.best.plan.groups > 1 && self.attempt_with(|plan| plan.groups -= 1) {}
        while self.best.plan.voters > 1 && self.attempt_with(|plan| plan.voters -= 1) {}
        while self.best.plan.settings.clients > 1 && self.attempt_with(|plan| plan.settings.clients -= 1) {}
        for calmer in NETWORK {
            self.attempt_with(|plan| calmer(&mut plan.network));
        }
        for plainer in SETTINGS {
            self.attempt_with(|plan| plainer(&mut plan.settings));
        }
    }
}

/// What can be calmer about the network, one at a time.
const NETWORK: &[fn(&mut NetworkFaults)] = &[
    |network| network.loss_ppm = 0,
    |network| network.duplicate_ppm = 0,
    |network| network.reorder = false,
    |network| network.ordered_behind_us = None,
    |network| network.strangers_ppm = 0,
    |network| network.capacity = 4_096,
    |network| network.jitter_us = network.jitter_us.min(100),
    |network| network.delay_us = network.delay_us.min(1_000),
];

/// What can be plainer about the replicas and clients, one at a time.
const SETTINGS: &[fn(&mut Settings)] = &[
    |settings| settings.leases = false,
    |settings| settings.election_timeout_max_ms = None,
    |settings| settings.clock_error_ppm = 0,
    |settings| settings.priorities = false,
    |settings| settings.durable_state = false,
    |settings| settings.session_percent = 0,
    |settings| settings.snapshot_entries = settings.snapshot_entries.max(400),
    |settings| settings.append_bytes_max = settings.append_bytes_max.max(100_000),
    |settings| settings.inflight_messages_max = settings.inflight_messages_max.max(64),
    |settings| settings.tail_bytes_max = settings.tail_bytes_max.max(1_000_000),
    |settings| settings.sync_us = settings.sync_us.min(1_000),
    |settings| settings.apply_us = settings.apply_us.min(10),
    |settings| settings.think_ms = settings.think_ms.max(300),
];

/// For how long a fault lasts, in milliseconds, if it lasts.
fn duration_of(fault: &mut Fault) -> Option<&mut u64> {
    match fault {
        Fault::Crash { down_ms: ms, .. }
        | Fault::CrashAll { down_ms: ms }
        | Fault::Pause { ms, .. }
        | Fault::Isolate { ms, .. }
        | Fault::CutLink { ms, .. }
        | Fault::Partition { ms, .. }
        | Fault::Clog { ms, .. }
        | Fault::DiskStall { ms, .. }
        | Fault::ApplyStall { ms, .. }
        | Fault::DiskError { down_ms: ms, .. }
        | Fault::DiskFull { ms, .. }
        | Fault::Damage { down_ms: ms, .. }
        | Fault::ClockStep { ms, .. }
        | Fault::ClockRate { ms, .. } => Some(ms),
        Fault::Campaign { .. }
        | Fault::ChangeMembers { .. }
        | Fault::Transfer { .. }
        | Fault::CreateGroup { .. }
        | Fault::DestroyGroup { .. }
        | Fault::MoveReplica { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Target;
    use crate::simulation::Simulation;

    fn violation(invariant: &str, seen: &str) -> Violation {
        Violation {
            invariant: invariant.to_owned(),
            statement: String::new(),
            seen: seen.to_owned(),
            group: 1,
            at_nanos: 50_000_000_000,
        }
    }

    /// A plan with the faults that a violation needs among a hundred others.
    fn plan() -> Plan {
        let mut plan = Simulation::new(3).nodes(5).plan();
        plan.duration_ms = 60_000;
        plan.settings.leases = true;
        plan.faults = (0..100)
            .map(|number| {
                let target = Target::Node(number);
                let fault = if number == 30 || number == 31 || number == 80 {
                    Fault::Crash {
                        target,
                        down_ms: 1_000,
                    }
                } else {
                    Fault::Pause { target, ms: 1_000 }
                };
                let at_ms = number * 500;
                PlannedFault { at_ms, fault }
            })
            .collect();
        plan
    }

    /// Needs the crashes of the nodes 30 and 80, the second one for 100 ms, three voters and leases.
    fn run(plan: &Plan) -> Result<(), Violation> {
        let crashes = |number: u64, least: u64| {
            plan.faults.iter().any(|planned| match planned.fault {
                Fault::Crash { target, down_ms } => target == Target::Node(number) && down_ms >= least,
                _ => false,
            })
        };
        if crashes(30, 0) && crashes(80, 100) && plan.voters >= 3 && plan.settings.leases {
            return Err(violation("I7", "seen"));
        }
        // Another mistake, which must not be taken for the first one.
        if crashes(31, 0) {
            return Err(violation("I1", "seen"));
        }
        Ok(())
    }

    #[test]
    fn what_is_left_is_what_is_needed() {
        let first = violation("I7", "seen");
        let mut told = 0;
        let small = minimise(&plan(), &first, 2_000, &mut run, &mut |_| told += 1);
        let faults: Vec<&Fault> = small.plan.faults.iter().map(|planned| &planned.fault).collect();
        let crash = |number, down_ms| Fault::Crash {
            target: Target::Node(number),
            down_ms,
        };
        assert_eq!(faults, [&crash(30, 0), &crash(80, 125)]);
        assert_eq!(small.plan.voters, 3);
        assert_eq!(small.plan.settings.clients, 1);
        assert!(small.plan.settings.leases);
        assert!(!small.plan.settings.priorities);
        // The fault at 40 s is needed.
        assert!((40_001..40_200).contains(&small.plan.duration_ms));
        assert_eq!(small.violation.invariant, "I7");
        assert!(told > 10);
    }

    #[test]
    fn it_stops_when_it_has_run_enough() {
        let first = violation("I7", "seen");
        let mut runs = 0;
        let mut counted = |plan: &Plan| {
            runs += 1;
            run(plan)
        };
        let small = minimise(&plan(), &first, 10, &mut counted, &mut |_| {});
        assert_eq!((small.runs, runs), (10, 10));
    }

    #[test]
    fn panics_at_different_places_differ() {
        let at = |seen| violation("panic", seen);
        assert!(is_same(
            &at("index 3 is out of 2, at a.rs:1:2"),
            &at("index 7 is out of 5, at a.rs:1:2")
        ));
        assert!(!is_same(
            &at("index 3 is out of 2, at a.rs:1:2"),
            &at("none, at b.rs:1:2")
        ));
        assert!(!is_same(&at("none"), &violation("I1", "none")));
    }
}
