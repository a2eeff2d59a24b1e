//! One run with what the program brings: the key-value service, and a note of where a panic came from.

use std::cell::{Cell, RefCell};
use std::panic;
use std::time::{Duration, Instant};

use clap::Args;
use raft_core::types::GroupId;

use crate::plan::Plan;
use crate::simulation::{Failure, Report, Traced, run_plan, trace_plan};
use crate::trace::Trace;
use crate::workload::{KeyValue, KeyValueWorkload};

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it did, or what it found.
    pub(super) result: Result<Report, Failure>,
    /// How long it took.
    pub(super) took: Duration,
}

/// From now on a panic within a run prints nothing: it is what the run found.
pub(super) fn note_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if IS_RUNNING.get() {
            PANICKED_AT.set(info.location().map(ToString::to_string));
        } else {
            usual(info);
        }
    }));
}

/// Which core is run: the right one, unless a mutant is named.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Variant {
    /// Switch this bug of the core on
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    mutant: Option<raft_core::mutants::Mutant>,
}

impl Variant {
    /// The core with this bug.
    #[cfg(feature = "mutants")]
    pub(super) fn of(mutant: raft_core::mutants::Mutant) -> Variant {
        Variant { mutant: Some(mutant) }
    }

    /// What is to be added to a command that runs this.
    pub(super) fn arguments(self) -> String {
        #[cfg(feature = "mutants")]
        if let Some(mutant) = self.mutant {
            return format!(" --mutant {}", mutant.name());
        }
        String::new()
    }

    /// Switches it on in this thread.
    fn choose(self) {
        #[cfg(feature = "mutants")]
        raft_core::mutants::choose(self.mutant);
    }
}

/// Runs a plan with the key-value service.
pub(super) fn run(plan: &Plan, variant: Variant) -> Ended {
    let begun = Instant::now();
    let (mut result, place) = noting_panics(variant, || run_plan(plan, KeyValue::new, KeyValueWorkload::new));
    if let (Err(failure), Some(place)) = (&mut result, place) {
        failure.violation.seen.push_str(&place);
    }
    Ended {
        result,
        took: begun.elapsed(),
    }
}

/// Runs a plan with the key-value service and records a group: the last `window` before its end, or all of it.
pub(super) fn trace(
    plan: &Plan,
    variant: Variant,
    group: GroupId,
    window: Option<Duration>,
) -> (Ended, Trace) {
    let begun = Instant::now();
    let traced = || trace_plan(plan, group, window, KeyValue::new, KeyValueWorkload::new);
    let (
        Traced {
            mut result,
            mut trace,
        },
        place,
    ) = noting_panics(variant, traced);
    if let (Err(failure), Some(place)) = (&mut result, place) {
        failure.violation.seen.push_str(&place);
        trace.violation = Some(failure.violation.clone());
    }
    let took = begun.elapsed();
    (Ended { result, took }, trace)
}

/// Does it with this core; also returns where it panicked, if it did.
fn noting_panics<T>(variant: Variant, act: impl FnOnce() -> T) -> (T, Option<String>) {
    variant.choose();
    IS_RUNNING.set(true);
    PANICKED_AT.set(None);
    let done = act();
    IS_RUNNING.set(false);
    let place = PANICKED_AT.take().map(|place| format!(", at {place}"));
    (done, place)
}
