//! `raft-node replay`: takes recorded steps again, shows them, and makes other things of them.

mod error;
mod moment;
mod place;
mod show;

use std::io::{self, BufRead};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use raft_core::effect::Effect;
use raft_core::record::{Header, Record, Replay, ReplayError, Replayed, describe_state, source_of};

pub(super) use self::error::ReplayFailure;
use self::moment::{Clock, Moment};
use self::place::{Opened, Recordings};
use self::show::{Ending, Show, Step};
use super::error::CliError;
use super::output;
use super::progress::SILENCE_MAX;

/// Do again what a recorded node did, step by step
///
/// Takes every recorded input in its order and shows for each step the state before it, the inputs, and what the node did
/// about them. Steps are numbered over all files of the directory. Whenever the recording tells the state, the replayed one is compared
/// with it; the end says the state's hash and whether it is the recorded one.
///
/// Nothing is read but the recording, and nothing is sent: it needs no cluster and no data directory.
///
/// The exit code is 0 if the replay came to the same states, 1 if it diverged or cannot be made, and 4 if a file is damaged. An end
/// that is torn off, as that of a node that was killed, is no damage.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node replay /var/lib/raft-node/recording                            everything that is recorded
  raft-node replay recording --quiet                                       only whether it comes to the same states
  raft-node replay recording --until 2026-01-31T12:30:00Z | tail -n 40     what happened right before that
  raft-node replay recording --from 1500 --step                            from there on, step by step at the keyboard
  raft-node replay recording --from 1500 --until 1520 --json               as JSON, an object for each step
  raft-node replay recording --until 1520 --trace trace.json               a page that shows it: trace.html
  raft-node replay recording --until 1520 --export tests/what_happened.rs  a test that does it again
  curl -o last.raftrec http://127.0.0.1:2379/debug/recording               what a running node has in its memory")]
pub(super) struct ReplayArguments {
    /// A directory that a node recorded in, or one file of it
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// Show nothing before this step, or this time
    #[arg(long, value_name = "STEP|TIME")]
    from: Option<Moment>,

    /// Stop after this step, or with the last one at this time
    #[arg(long, value_name = "STEP|TIME")]
    until: Option<Moment>,

    /// Wait after each step that is shown: Enter shows the next one, q ends
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    step: bool,

    /// Show no step, only the end
    #[arg(long)]
    quiet: bool,

    /// Print one JSON object for each step, and one at the end
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Write a trace to this file, and the page that shows it beside it
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Write a test in Rust to this file: it takes the steps from --from to --until, and demands what the node did
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: ReplayArguments) -> Result<ExitCode, CliError> {
    let recordings = Recordings::find(&arguments.path)?;
    let mut player = Player::new(&arguments, recordings.bytes);
    for opened in recordings.open() {
        if player.play(opened?)? == Goes::NoFurther {
            break;
        }
    }
    let ending = player.ending();
    if let Some(path) = &arguments.export {
        let source = player.export(&recordings)?;
        write(path, |path| std::fs::write(path, source))?;
        output::complain(&format!(
            "wrote {}: a test; `rustfmt {0}` makes it readable",
            path.display()
        ));
    }
    if let Some(path) = &arguments.trace {
        let records = recordings.first(player.records);
        let from = player.shown_from;
        let trace = raft_sim::trace::of_recording(records, from).map_err(|source| ReplayFailure::Replay {
            step: ending.step,
            source,
        })?;
        let page = write(path, |path| raft_sim::trace::write(path, &trace))?;
        output::complain(&format!(
            "wrote {} and {}; open that in a browser",
            path.display(),
            page.display()
        ));
    }
    player.show.end(&ending)?;
    Ok(ExitCode::SUCCESS)
}

fn write<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, ReplayFailure> {
    work(path).map_err(|source| {
        let path = path.to_owned();
        ReplayFailure::Write { path, source }
    })
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    NoFurther,
}

/// A replay that is shown.
struct Player<'a> {
    arguments: &'a ReplayArguments,
    show: Show,
    replay: Replay,
    header: Option<Header>,
    /// The steps of the starts before.
    steps_before: u64,
    /// How many records were taken, and how many of them were steps.
    records: u64,
    steps: u64,
    missing: u64,
    torn_bytes: usize,
    /// The last step after which the state was the recorded one, as it is shown.
    verified: Option<u64>,
    /// How many steps had been taken when the first one was shown.
    shown_from: u64,
    is_shown: bool,
    effects: Vec<Effect>,
    progress: Progress,
}

impl<'a> Player<'a> {
    fn new(arguments: &'a ReplayArguments, bytes: u64) -> Player<'a> {
        let show = match (arguments.json, arguments.quiet) {
            (true, _) => Show::Json,
            (_, true) => Show::End,
            _ => Show::Text,
        };
        Player {
            arguments,
            show,
            replay: Replay::default(),
            header: None,
            steps_before: 0,
            records: 0,
            steps: 0,
            missing: 0,
            torn_bytes: 0,
            verified: None,
            shown_from: 0,
            is_shown: false,
            effects: Vec::new(),
            progress: Progress::new(bytes),
        }
    }

    /// The number of the last step, as it is shown.
    fn step(&self) -> u64 {
        self.steps_before + self.replay.steps()
    }

    fn play(&mut self, opened: Opened) -> Result<Goes, CliError> {
        let Opened {
            path,
            mut records,
            bytes_before,
        } = opened;
        if self.header.is_none() {
            self.show.header(records.header())?;
            self.header = Some(records.header().clone());
        }
        while let Some(record) = records.next() {
            let (step, path) = (self.step(), path.clone());
            let record = record.map_err(|source| ReplayFailure::Recording { path, step, source })?;
            if self.take(record)? == Goes::NoFurther {
                return Ok(Goes::NoFurther);
            }
            self.progress
                .report(bytes_before + records.position() as u64, self.step());
        }
        let torn = records.torn_bytes();
        if torn > 0 {
            self.torn_bytes += torn;
            let path = path.display();
            output::complain(&format!(
                "the last {torn} bytes of {path} are no whole record: the node ended while it wrote them"
            ));
        }
        Ok(Goes::On)
    }

    fn take(&mut self, record: Record) -> Result<Goes, CliError> {
        if let Record::Step { .. } = record {
            return self.take_step(record);
        }
        let started = match &record {
            Record::Start { wall, .. } => {
                self.steps_before = self.step();
                Some(*wall)
            }
            _ => None,
        };
        let replayed = self.replay.take(record, &mut self.effects);
        match replayed.map_err(|error| self.failure(error))? {
            Replayed::Started => {
                let (number, clock) = (self.replay.starts(), Clock(started));
                self.note(&format!(
                    "start {number}: the replica is made of what its store has, {clock}"
                ))?;
            }
            Replayed::Resumed { missing } => {
                self.missing += missing.unwrap_or(0);
                let why = match missing {
                    Some(missing) => {
                        format!("{missing} steps are missing: the disk of the recording was too slow")
                    }
                    None => "the recording begins here".to_owned(),
                };
                self.note(&why)?;
            }
            Replayed::Verified { .. } | Replayed::Ended { .. } => self.verified = Some(self.step()),
            Replayed::Header | Replayed::Stepped { .. } => {}
        }
        self.records += 1;
        Ok(Goes::On)
    }

    fn note(&self, text: &str) -> Result<(), CliError> {
        let is_before = self
            .arguments
            .from
            .is_some_and(|from| from.is_after(self.step(), None));
        if is_before { Ok(()) } else { self.show.note(text) }
    }

    fn take_step(&mut self, record: Record) -> Result<Goes, CliError> {
        let Record::Step { at, inputs } = &record else {
            return Ok(Goes::On);
        };
        let (at, inputs, number) = (*at, inputs.clone(), self.step() + 1);
        let wall = self.replay.wall(at);
        if self
            .arguments
            .until
            .is_some_and(|until| until.is_before(number, wall))
        {
            return Ok(Goes::NoFurther);
        }
        let is_early = self
            .arguments
            .from
            .is_some_and(|from| from.is_after(number, wall));
        let is_shown = self.show != Show::End && !is_early;
        if !is_early && !self.is_shown {
            (self.is_shown, self.shown_from) = (true, self.steps);
        }
        let before = if is_shown {
            self.replay.raft().map(describe_state).unwrap_or_default()
        } else {
            String::new()
        };
        self.effects.clear();
        let replayed = catch_unwind(AssertUnwindSafe(|| self.replay.take(record, &mut self.effects)));
        let replayed = replayed.map_err(|cause| ReplayFailure::Panicked(number, text_of(&*cause)))?;
        replayed.map_err(|error| self.failure(error))?;
        (self.records, self.steps) = (self.records + 1, self.steps + 1);
        if !is_shown {
            return Ok(Goes::On);
        }
        self.show.step(Step {
            number,
            start: self.replay.starts(),
            at,
            wall,
            before,
            inputs: &inputs,
            effects: &self.effects,
        })?;
        if self.arguments.step { ask() } else { Ok(Goes::On) }
    }

    /// The same with the numbers that are shown.
    fn failure(&self, error: ReplayError) -> ReplayFailure {
        match error {
            ReplayError::Diverged {
                step,
                equal_until,
                recorded,
                replayed,
            } => ReplayFailure::Diverged {
                step: self.steps_before + step,
                equal_until: self.steps_before + equal_until,
                recorded,
                replayed,
            },
            source => ReplayFailure::Replay {
                step: self.step(),
                source,
            },
        }
    }

    fn ending(&self) -> Ending {
        let header = self.header.as_ref();
        Ending {
            node: header.map_or(0, |header| header.node.0),
            group: header.map_or(0, |header| header.group.0),
            step: self.step(),
            steps: self.steps,
            starts: self.replay.starts(),
            missing: self.missing,
            torn_bytes: self.torn_bytes,
            state: Ending::state(self.replay.hash()),
            verified_step: self.verified,
            equal: self.verified == Some(self.step()),
        }
    }

    /// A test of the last start, or of what was shown of it.
    fn export(&self, recordings: &Recordings) -> Result<String, ReplayFailure> {
        let Some(header) = &self.header else {
            return Err(ReplayFailure::NoRecording(self.arguments.path.clone()));
        };
        let last = self.replay.steps();
        let first = match self.arguments.from {
            None => 1,
            Some(Moment::Step(from)) => from.saturating_sub(self.steps_before),
            // As many as were shown.
            Some(Moment::Time(_)) => last + 1 - (self.steps - self.shown_from).min(last),
        };
        let records = recordings.first(self.records);
        Ok(source_of(header, records, first.max(1)..=last)?)
    }
}

/// Waits for whoever steps through it.
fn ask() -> Result<Goes, CliError> {
    let mut line = String::new();
    let read = io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(ReplayFailure::Input)?;
    let ends = read == 0 || line.trim() == "q";
    Ok(if ends { Goes::NoFurther } else { Goes::On })
}

/// What a panic says.
fn text_of(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "it does not say which".to_owned())
}

/// Says now and then how far a long replay is.
struct Progress {
    bytes: u64,
    started: Instant,
    due: Duration,
}

impl Progress {
    fn new(bytes: u64) -> Progress {
        Progress {
            bytes,
            started: Instant::now(),
            due: SILENCE_MAX,
        }
    }

    fn report(&mut self, done: u64, step: u64) {
        let elapsed = self.started.elapsed();
        if elapsed < self.due {
            return;
        }
        self.due = elapsed + SILENCE_MAX;
        let percent = done * 100 / self.bytes.max(1);
        output::complain(&format!("step {step}, {percent} % of the recording"));
    }
}
