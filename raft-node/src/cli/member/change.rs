//! Carries a change of the members out, waits for learners before it, or only says what it would do.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Options, text};
use crate::cli::error::CliError;
use crate::cli::progress::{SILENCE_MAX, with_progress};
use crate::cli::{block_on, output};
use crate::client::endpoints::{self, Endpoint};
use crate::client::membership::{self, Members, Step};
use crate::member_contact::MemberContact;

/// How often the leader is asked whether a learner has caught up.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How often that is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A change before it is known what the cluster looks like.
pub(super) enum Announced {
    /// It is complete.
    Steps(Vec<Step>),
    /// A new member, whose id is the next one.
    NextMember {
        /// How it is reached.
        contact: MemberContact,
        /// Whether it only receives the log.
        is_learner: bool,
    },
}

impl Announced {
    fn steps(self, members: &Members) -> Vec<Step> {
        match self {
            Announced::Steps(steps) => steps,
            Announced::NextMember { contact, is_learner } => {
                let id = members.configuration.highest_id.saturating_add(1);
                vec![Step::Add {
                    id,
                    contact,
                    is_learner,
                }]
            }
        }
    }
}

/// Runs a change as the options say; `wait` for learners that have not caught up.
pub(super) fn run(change: Announced, wait: bool, options: &Options) -> Result<ExitCode, CliError> {
    block_on(async {
        let nodes = endpoints::open(&options.endpoints.endpoints)?;
        let chosen = membership::choose(&nodes, options.timeout);
        let (endpoint, members) = with_progress("asking for the members", chosen).await?;
        let steps = change.steps(&members);
        if options.dry_run {
            return preview(&endpoint, &steps, options).await;
        }
        if wait {
            wait_for_learners(&endpoint, &steps, options.timeout).await?;
        }
        let work = membership::change(&endpoint, &steps, options.timeout);
        let changed = with_progress("changing the members", work).await?;
        match options.json {
            true => output::print_json(&changed)?,
            false => output::print(&text::done(&steps, &changed.configuration))?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn preview(endpoint: &Endpoint, steps: &[Step], options: &Options) -> Result<ExitCode, CliError> {
    let work = membership::preview(endpoint, steps, options.timeout);
    let preview = with_progress("asking the leader", work).await?;
    match options.json {
        true => output::print_json(&preview)?,
        false => output::print(&text::preview(&preview, steps))?,
    }
    Ok(match preview.refusal {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

/// Returns when no learner has to catch up any more, or when the time is over: then the change is refused with the reason.
async fn wait_for_learners(endpoint: &Endpoint, steps: &[Step], timeout: Duration) -> Result<(), CliError> {
    let started = Instant::now();
    let mut next_report = started + SILENCE_MAX;
    loop {
        let asked = membership::preview(endpoint, steps, timeout);
        let preview = with_progress("asking the leader", asked).await?;
        let Some(lagging) = &preview.lagging else {
            return Ok(());
        };
        let now = Instant::now();
        if now >= started + timeout {
            return Ok(());
        }
        if now >= next_report {
            next_report = now + REPORT_INTERVAL;
            output::complain(&text::waiting_for(lagging, &preview.reachable));
        }
        sleep(POLL_INTERVAL).await;
    }
}
