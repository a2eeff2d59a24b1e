//! A recording as a test: Rust source that takes the recorded steps and demands what the replica did.
//!
//! The test is made of the public types, so it survives what changes the format of recordings, and a change of what the protocol
//! does shows itself as the line that differs. Only if it does not begin with the start of the replica, it begins with a state in the
//! format of recordings.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use bytes::Bytes;
use thiserror::Error;

use super::describe::{describe_effect, describe_input, describe_state};
use super::format::{Header, Record, WallTime, put_record};
use super::replay::{Replay, ReplayError, Replayed};
use super::source::{Source, number};
use crate::codec::{Detail, Writer};
use crate::effect::Effect;
use crate::input::Input;
use crate::types::Time;

/// Why a recording does not become a test.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// It has none of the steps that were asked for.
    #[error("the recording has no step from {first} to {last}")]
    NoSteps {
        /// The first step asked for.
        first: u64,
        /// The last one.
        last: u64,
    },
}

/// What a test may have to import, by the module that has it.
const IMPORTS: &[(&str, &[&str])] = &[
    ("config", &["Config"]),
    (
        "entry",
        &[
            "Entry",
            "Payload",
            "SessionCommand",
            "SessionEntry",
            "SessionRequest",
        ],
    ),
    (
        "input",
        &[
            "ChangeRequest",
            "Input",
            "LogRead",
            "LogReadResult",
            "LogReader",
            "Proposal",
            "Proposed",
        ],
    ),
    (
        "membership",
        &["Contact", "MemberChange", "Membership", "MembershipParts"],
    ),
    (
        "message",
        &[
            "AppendEntries",
            "AppendEntriesResponse",
            "AppendResult",
            "Body",
            "EntriesLost",
            "InstallSnapshot",
            "Leadership",
            "Message",
            "Pulse",
            "PulseId",
            "RequestPreVote",
            "RequestPreVoteResponse",
            "RequestVote",
            "RequestVoteResponse",
            "SnapshotMeta",
            "TimeoutNow",
            "TrustRestored",
            "VoteRefusal",
        ],
    ),
    ("raft", &["Raft"]),
    (
        "record",
        &["Records", "Replay", "describe_effect", "describe_state"],
    ),
    ("traits", &["Recovered"]),
    (
        "types",
        &[
            "EntryId",
            "GroupId",
            "HardState",
            "Index",
            "NodeId",
            "Round",
            "Sequence",
            "SessionId",
            "Term",
            "Ticket",
            "Time",
            "Trust",
            "WriteSeq",
        ],
    ),
];

/// The source of a test that takes the recorded `steps`, of the last start of the replica that the records tell of: a whole
/// file for a folder of tests. `rustfmt` makes it readable.
pub fn source_of(
    header: &Header,
    records: impl IntoIterator<Item = Record>,
    steps: RangeInclusive<u64>,
) -> Result<String, ExportError> {
    let mut test = Test::new(*steps.start());
    for record in records {
        if test.replay.steps() >= *steps.end() && !matches!(record, Record::Start { .. }) {
            continue;
        }
        test.take(header, record)?;
    }
    if test.taken.is_none() {
        let (first, last) = steps.into_inner();
        return Err(ExportError::NoSteps { first, last });
    }
    Ok(test.into_source(header))
}

/// A test that is being written.
struct Test {
    replay: Replay,
    first: u64,
    /// What makes the replica.
    start: String,
    steps: String,
    /// The first and the last step.
    taken: Option<(u64, u64)>,
    end: String,
}

impl Test {
    fn new(first: u64) -> Test {
        Test {
            replay: Replay::default(),
            first,
            start: String::new(),
            steps: String::new(),
            taken: None,
            end: String::new(),
        }
    }

    fn take(&mut self, header: &Header, record: Record) -> Result<(), ExportError> {
        let mut effects = Vec::new();
        match &record {
            Record::Start {
                config,
                recovered,
                applied,
                at,
                ..
            } => {
                *self = Test::new(self.first);
                let mut source = String::from("let config = ");
                config.source(&mut source);
                source.push_str(";\nlet recovered = ");
                recovered.source(&mut source);
                source.push_str(";\nlet mut raft = Raft::new(config, recovered, ");
                applied.source(&mut source);
                source.push_str(", ");
                at.source(&mut source);
                source.push_str(").expect(\"it started\");\n");
                self.start = source;
            }
            Record::Step { at, inputs } if self.replay.steps() + 1 >= self.first => {
                if self.taken.is_none() && (self.replay.steps() > 0 || self.start.is_empty()) {
                    self.start = self.resume(header)?;
                }
                let (at, step, text) = (*at, self.replay.steps() + 1, step_source(inputs));
                self.replay.take(record, &mut effects)?;
                self.add(step, at, &text, &effects);
                return Ok(());
            }
            _ => {}
        }
        let replayed = self.replay.take(record, &mut effects)?;
        if matches!(replayed, Replayed::Resumed { .. }) {
            // What came before leads nowhere.
            (self.start, self.steps, self.taken) = (String::new(), String::new(), None);
        }
        Ok(())
    }

    /// Begins in the middle.
    fn resume(&self, header: &Header) -> Result<String, ExportError> {
        let raft = self.replay.raft().ok_or(ReplayError::NoState)?;
        let mut out = Writer::new(Detail::Lengths);
        let checkpoint = Record::Checkpoint {
            steps: self.replay.steps(),
            at: Time::ZERO,
            wall: WallTime(0),
            raft: Box::new(raft.clone()),
        };
        put_record(&mut out, &checkpoint);
        let mut source = String::from(
            "// A state in the format of recordings, which no other version reads.\nlet state = ",
        );
        Bytes::from(header.before(&out.bytes)).source(&mut source);
        source.push_str(";\nlet mut replay = Replay::default();\n");
        source.push_str("for record in Records::new(state).expect(\"it is a recording\") {\n");
        source.push_str("    let record = record.expect(\"it is whole\");\n");
        source.push_str("    replay.take(record, &mut Vec::new()).expect(\"it is the first state\");\n}\n");
        source.push_str("let mut raft = replay.raft().expect(\"it holds a state\").clone();\n");
        Ok(source)
    }

    fn add(&mut self, step: u64, at: Time, inputs: &str, effects: &[Effect]) {
        let first = self.taken.map_or(step, |taken| taken.0);
        self.taken = Some((first, step));
        let at = number(at.as_nanos());
        write!(self.steps, "// Step {step}\nstep(\n    {at},\n{inputs}    &[\n")
            .expect("a string takes everything");
        for effect in effects {
            writeln!(self.steps, "        {:?},", describe_effect(effect))
                .expect("a string takes everything");
        }
        self.steps.push_str("    ],\n);\n");
        self.end = self.replay.raft().map(describe_state).unwrap_or_default();
    }

    fn into_source(self, header: &Header) -> String {
        let (first, last) = self.taken.unwrap_or_default();
        let body = format!(
            "{}let mut effects = Vec::new();\n\
             let mut step = |nanos, inputs: Vec<Input>, expected: &[&str]| {{\n    \
             raft.step_all(Time::from_nanos(nanos), inputs, &mut effects);\n    \
             let found: Vec<String> = effects.drain(..).map(|effect| describe_effect(&effect)).collect();\n    \
             assert_eq!(found, expected, \"at {{nanos}} ns\");\n}};\n{}assert_eq!(describe_state(&raft), {:?});\n",
            self.start, self.steps, self.end,
        );
        let mut source = format!(
            "//! Recorded by node {} of group {}: steps {first} to {last}.\n\n{}\n#[test]\n\
             #[allow(clippy::too_many_lines, reason = \"a recording is as long as what happened\")]\nfn steps_{first}_to_{last}() {{\n",
            header.node,
            header.group,
            imports(&body),
        );
        for line in body.lines() {
            writeln!(source, "    {line}").expect("a string takes everything");
        }
        source.push_str("}\n");
        source
    }
}

/// The inputs of a step, one in a line, each after what it means.
fn step_source(inputs: &[Input]) -> String {
    let mut source = String::from("    vec![\n");
    for input in inputs {
        write!(source, "        // {}\n        ", describe_input(input)).expect("a string takes everything");
        input.source(&mut source);
        source.push_str(",\n");
    }
    source.push_str("    ],\n");
    source
}

/// What of [`IMPORTS`] stands in `body`, as it is imported.
fn imports(body: &str) -> String {
    let code = without_text(body);
    let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut source = String::new();
    for (word, line) in [
        ("BTreeMap", "use std::collections::BTreeMap;\n"),
        ("Arc", "use std::sync::Arc;\n"),
        ("Duration", "use std::time::Duration;\n"),
        ("Bytes", "\nuse bytes::Bytes;\n"),
    ] {
        if words.contains(&word) {
            source.push_str(line);
        }
    }
    source = source.trim_start().to_owned();
    for (module, names) in IMPORTS {
        let used: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| words.contains(name))
            .collect();
        match used.as_slice() {
            [] => {}
            [one] => writeln!(source, "use raft_core::{module}::{one};").expect("a string takes everything"),
            several => writeln!(source, "use raft_core::{module}::{{{}}};", several.join(", "))
                .expect("a string takes everything"),
        }
    }
    source
}

/// The source without its comments and what stands between quotes.
fn without_text(body: &str) -> String {
    let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut code = String::new();
    for line in lines {
        let mut is_text = false;
        let mut escaped = false;
        for c in line.chars() {
            match c {
                '"' if !escaped => is_text = !is_text,
                _ if !is_text => code.push(c),
                _ => {}
            }
            escaped = is_text && c == '\\' && !escaped;
        }
        code.push('\n');
    }
    code
}
