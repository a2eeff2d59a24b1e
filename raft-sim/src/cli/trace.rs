//! `--trace`: one run, recorded in files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use raft_core::types::GroupId;

use super::error::CliError;
use super::output;
use super::runs::{self, Ended, Variant};
use crate::plan::Plan;
use crate::trace;

/// Where files go if nothing else is said.
const DIRECTORY: &str = "target/raft-sim";

/// Whether and how a run is recorded.
#[derive(Clone, Debug, Args)]
pub(super) struct TraceArguments {
    /// Write what happens to FILE, and beside it a page that shows it; by default target/raft-sim/SEED.trace.json
    #[arg(long, value_name = "FILE")]
    trace: Option<Option<PathBuf>>,

    /// Keep only so many seconds before the end
    #[arg(long, value_name = "S", requires = "trace", value_parser = clap::value_parser!(u64).range(1..))]
    trace_seconds: Option<u64>,

    /// Of several groups, record this one
    #[arg(long, value_name = "N", requires = "trace", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    trace_group: u64,
}

impl TraceArguments {
    /// Whether a run is to be recorded.
    pub(super) fn is_wanted(&self) -> bool {
        self.trace.is_some()
    }

    /// Runs a plan; records it if that is wanted.
    pub(super) fn run(&self, plan: &Plan, variant: Variant) -> Result<Ended, CliError> {
        let Some(file) = &self.trace else {
            return Ok(runs::run(plan, variant));
        };
        let window = self.trace_seconds.map(Duration::from_secs);
        let (ended, trace) = runs::trace(plan, variant, GroupId(self.trace_group), window);
        let usual = || Path::new(DIRECTORY).join(format!("{:#x}.trace.json", plan.seed));
        let file = file.clone().unwrap_or_else(usual);
        let page = trace::write(&file, &trace).map_err(|cause| CliError::Write {
            path: file.display().to_string(),
            cause,
        })?;
        output::print(&format!(
            "trace: {}, and to look at: {}",
            file.display(),
            page.display()
        ))?;
        Ok(ended)
    }
}
