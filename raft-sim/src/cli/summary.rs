//! What runs did and found, as text.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::output::grouped;
use crate::plan::{FaultKind, Plan, PlannedFault};
use crate::simulation::Failure;
use crate::tally::Tally;

/// What many runs did together.
#[derive(Debug, Default)]
pub(super) struct Campaign {
    /// What they did.
    pub(super) tally: Tally,
    /// How long they took, one after the other.
    pub(super) busy: Duration,
    /// How long they took, side by side.
    pub(super) elapsed: Duration,
    /// How many found something. Nothing else of these is counted.
    pub(super) violations: u64,
}

impl Campaign {
    /// All figures, a line each.
    pub(super) fn table(&self) -> String {
        let tally = &self.tally;
        let mut table = table(["", "count", "per simulated hour"]);
        let hours = tally.simulated.as_secs_f64() / 3_600.0;
        let mut count = |name: &str, count: u64| {
            let rate = if hours > 0.0 {
                grouped((count as f64 / hours).round() as u64)
            } else {
                String::new()
            };
            table.add_row([name.to_owned(), grouped(count), rate]);
        };
        count("faults", tally.faults_total());
        for kind in FaultKind::ALL {
            let name = format!("  {}", kind.name());
            count(&name, tally.faults.get(&kind).copied().unwrap_or(0));
        }
        for (name, value) in [
            ("groups", tally.groups),
            ("groups created", tally.groups_created),
            ("groups destroyed", tally.groups_destroyed),
            ("replicas moved", tally.replicas_moved),
            ("elections", tally.elections),
            ("entries committed", tally.commits),
            ("commands acknowledged", tally.acknowledged),
            ("reads answered", tally.reads),
            ("calls without a known end", tally.unknown),
            ("calls repeated", tally.retries),
            ("snapshots taken", tally.snapshots_created),
            ("snapshots installed", tally.snapshots_installed),
            ("processes started", tally.starts),
            ("membership changes", tally.membership_changes),
            ("transfers", tally.transfers),
            ("suspects", tally.suspected),
            ("sleeps", tally.slept),
            ("suspects trusted again", tally.trust_restored),
            ("messages", tally.messages),
            ("messages lost", tally.messages_lost),
            ("messages doubled", tally.messages_duplicated),
            ("messages of another group", tally.strangers),
            ("steps, each checked", tally.steps),
            ("healed quorums without progress", tally.unavailable),
            ("groups lost, by proof", tally.lost),
            ("histories undecided", tally.undecided),
        ] {
            count(name, value);
        }
        right(&mut table, 1..3);
        format!("{table}\n{}", self.closing_line(hours))
    }

    fn closing_line(&self, hours: f64) -> String {
        let speed = self.tally.simulated.as_secs_f64() / self.busy.as_secs_f64().max(1e-9);
        let elapsed = self.elapsed.as_secs_f64();
        format!(
            "{} seeds, {hours:.2} simulated hours in {elapsed:.1} s: {speed:.0} times as fast as time on one core; \
             {} violations",
            grouped(self.tally.runs + self.violations),
            grouped(self.violations),
        )
    }
}

/// What a run is, in a few lines.
pub(super) fn of_plan(plan: &Plan) -> String {
    let mut kinds: BTreeMap<FaultKind, u64> = BTreeMap::new();
    for planned in &plan.faults {
        *kinds.entry(planned.fault.kind()).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {}", kind.name()))
        .collect();
    format!(
        "seed {:#x}: {}{} voters, {} s\n  {:?}\n  {:?}\n  {} faults planned: {}",
        plan.seed,
        match plan.groups {
            1 => String::new(),
            groups => format!("{groups} groups of "),
        },
        plan.voters,
        plan.duration_ms as f64 / 1_000.0,
        plan.settings,
        plan.network,
        plan.faults.len(),
        kinds.join(", "),
    )
}

/// The faults of a run, a line each.
pub(super) fn of_faults(plan: &Plan) -> String {
    let line = |planned: &PlannedFault| {
        let seconds = planned.at_ms as f64 / 1_000.0;
        format!("  {seconds:>7.3} s  {:?}", planned.fault)
    };
    let lines: Vec<String> = plan.faults.iter().map(line).collect();
    lines.join("\n")
}

/// What a run found.
pub(super) fn of_failure(failure: &Failure) -> String {
    format!("VIOLATION {failure}")
}

/// What a run found, on one line.
pub(super) fn of_failure_shortly(failure: &Failure) -> String {
    const LETTERS_MAX: usize = 400;
    let text = of_failure(failure);
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(LETTERS_MAX).collect();
    if short == text {
        short
    } else {
        format!("{short} …")
    }
}

/// How many runs violated which invariant, and one run for each to begin with.
pub(super) fn by_invariant<'f>(
    failures: impl Iterator<Item = &'f Failure>,
    again: impl Fn(u64) -> String,
) -> String {
    let mut kinds: BTreeMap<&str, Vec<&Failure>> = BTreeMap::new();
    for failure in failures {
        let kind = kinds.entry(&failure.violation.invariant).or_default();
        kind.push(failure);
    }
    let mut table = table(["invariant", "runs", "the first one again"]);
    for (invariant, failures) in &kinds {
        let count = grouped(failures.len() as u64);
        table.add_row([(*invariant).to_owned(), count, again(failures[0].plan.seed)]);
    }
    table.to_string()
}

/// A table with nothing in it yet.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// Numbers stand on the right of these columns.
pub(super) fn right(table: &mut Table, columns: Range<usize>) {
    for column in table.column_iter_mut().take(columns.end).skip(columns.start) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
