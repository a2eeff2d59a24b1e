//! One run, told in detail.

use std::process::ExitCode;

use super::error::CliError;
use super::output;
use super::runs::Variant;
use super::summary::{self, Campaign};
use super::trace::TraceArguments;
use crate::plan::Plan;

/// Runs a plan and prints what it is, and what it did or found.
pub(super) fn run(plan: &Plan, variant: Variant, trace: &TraceArguments) -> Result<ExitCode, CliError> {
    output::print(&summary::of_plan(plan))?;
    let ended = trace.run(plan, variant)?;
    let report = match &ended.result {
        Ok(report) => report,
        Err(failure) => {
            output::print(&summary::of_failure(failure))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let campaign = Campaign {
        tally: report.tally.clone(),
        busy: ended.took,
        elapsed: ended.took,
        violations: 0,
    };
    output::print(&campaign.table())?;
    output::print(&format!("trace hash {:#018x}", report.trace_hash))?;
    Ok(ExitCode::SUCCESS)
}
