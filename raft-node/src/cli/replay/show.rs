//! What a replay prints: lines for people, or one JSON object for each step and one at the end.

use raft_core::effect::Effect;
use raft_core::input::Input;
use raft_core::record::{Header, StateHash, WallTime, describe_effect, describe_input};
use raft_core::types::Time;
use serde::Serialize;

use super::moment::Clock;
use crate::cli::error::CliError;
use crate::cli::output;

/// How steps are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Only what the end is.
    End,
}

/// One step that was taken again.
pub(super) struct Step<'a> {
    pub(super) number: u64,
    pub(super) start: u64,
    pub(super) at: Time,
    pub(super) wall: Option<WallTime>,
    pub(super) before: String,
    pub(super) inputs: &'a [Input],
    pub(super) effects: &'a [Effect],
}

#[derive(Serialize)]
struct StepJson {
    step: u64,
    start: u64,
    time: String,
    at_ns: u64,
    before: String,
    inputs: Vec<String>,
    effects: Vec<String>,
}

/// How a replay ended.
#[derive(Debug, Serialize)]
pub(super) struct Ending {
    pub(super) node: u64,
    pub(super) group: u64,
    /// The last step.
    pub(super) step: u64,
    /// How many steps were taken, and from how many starts.
    pub(super) steps: u64,
    pub(super) starts: u64,
    /// How many steps are known to be missing.
    pub(super) missing: u64,
    /// How many bytes at the ends of files are no whole record.
    pub(super) torn_bytes: usize,
    /// The state after the last step.
    pub(super) state: Option<String>,
    /// The last step after which the recording tells the state, which was the same.
    pub(super) verified_step: Option<u64>,
    /// The first step behind the last one after which the recording tells the state, which comes out the same.
    pub(super) next_verified_step: Option<u64>,
    /// Whether the recording tells the state after the last step, and it is the same.
    pub(super) equal: bool,
}

impl Show {
    pub(super) fn header(self, header: &Header) -> Result<(), CliError> {
        match self {
            Show::Text => output::print(&format!(
                "node {} of group {}, recorded by raft-core {}",
                header.node, header.group, header.made_by
            )),
            Show::Json | Show::End => Ok(()),
        }
    }

    /// Something beside the steps.
    pub(super) fn note(self, text: &str) -> Result<(), CliError> {
        match self {
            Show::Text => output::print(&format!("—— {text} ——")),
            Show::Json | Show::End => Ok(()),
        }
    }

    pub(super) fn step(self, step: Step<'_>) -> Result<(), CliError> {
        let clock = Clock(step.wall);
        let inputs = step.inputs.iter().map(describe_input);
        let effects = step.effects.iter().map(describe_effect);
        match self {
            Show::Text => {
                let mut lines = vec![
                    format!("step {}  {clock}", step.number),
                    format!("  state   {}", step.before),
                ];
                lines.extend(inputs.map(|input| format!("  input   {input}")));
                lines.extend(effects.map(|effect| format!("  effect  {effect}")));
                output::print(&lines.join("\n"))
            }
            Show::Json => output::print_json(&StepJson {
                step: step.number,
                start: step.start,
                time: clock.to_string(),
                at_ns: step.at.as_nanos(),
                before: step.before,
                inputs: inputs.collect(),
                effects: effects.collect(),
            }),
            Show::End => Ok(()),
        }
    }

    pub(super) fn end(self, ending: &Ending) -> Result<(), CliError> {
        match self {
            Show::Json => output::print_json(ending),
            Show::Text | Show::End => output::print(&ending.text()),
        }
    }
}

impl Ending {
    pub(super) fn state(hash: Option<StateHash>) -> Option<String> {
        hash.map(|hash| hash.to_string())
    }

    fn text(&self) -> String {
        let Ending {
            step, steps, starts, ..
        } = self;
        let Some(state) = &self.state else {
            return "nothing is recorded yet".to_owned();
        };
        let from = match starts {
            0 => "from the middle of a run".to_owned(),
            1 => "from 1 start".to_owned(),
            starts => format!("from {starts} starts"),
        };
        let missing = match self.missing {
            0 => String::new(),
            missing => format!(", {missing} more are missing"),
        };
        let compared = match (self.verified_step, self.next_verified_step) {
            _ if self.equal => "which is the recorded state".to_owned(),
            (Some(verified), Some(next)) => {
                format!("between steps {verified} and {next}, after both of which it is the recorded state")
            }
            (None, Some(next)) => format!("which becomes the recorded state after step {next}"),
            (Some(verified), None) => {
                format!("and the recording tells it up to step {verified} only, where it was equal")
            }
            (None, None) => "and the recording tells no state to compare it with".to_owned(),
        };
        format!("{steps} steps {from}{missing}; after step {step} the state is {state}, {compared}")
    }
}
