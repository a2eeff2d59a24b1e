//! One run with what the program brings: the key-value service, and a note of where a panic came from.

use std::cell::{Cell, RefCell};
use std::panic;
use std::time::{Duration, Instant};

use clap::Args;

use crate::plan::Plan;
use crate::simulation::{Failure, Report, run_plan};
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
    variant.choose();
    IS_RUNNING.set(true);
    PANICKED_AT.set(None);
    let mut result = run_plan(plan, KeyValue::new, KeyValueWorkload::new);
    IS_RUNNING.set(false);
    if let (Err(failure), Some(place)) = (&mut result, PANICKED_AT.take()) {
        failure.violation.seen.push_str(&format!(", at {place}"));
    }
    Ended {
        result,
        took: begun.elapsed(),
    }
}
