//! Takes the recorded steps again, one after the other, and has them shown.

use std::io::{self, BufRead};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use raft_core::effect::Effect;
use raft_core::record::{
    Header, Record, Records, Replay, ReplayError, Replayed, WallTime, describe_state, source_of,
};

use super::ReplayArguments;
use super::error::{Place, ReplayFailure};
use super::moment::{Clock, Moment};
use super::place::{Opened, Recordings};
use super::show::{Ending, Show, Step};
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::progress::SILENCE_MAX;

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    On,
    NoFurther,
}

/// A replay that is shown.
pub(super) struct Player<'a> {
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
    /// The record that is taken.
    place: Place,
    /// The first step at which the state is the recorded one, behind the last step that was taken.
    next_verified: Option<u64>,
    /// The step and its time before which --until stopped the replay.
    stopped_before: Option<(u64, Option<WallTime>)>,
    /// The time of the last step.
    wall: Option<WallTime>,
    progress: Progress,
}

impl<'a> Player<'a> {
    pub(super) fn new(arguments: &'a ReplayArguments, bytes: u64) -> Player<'a> {
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
            place: Place::default(),
            next_verified: None,
            stopped_before: None,
            wall: None,
            progress: Progress::new(bytes),
        }
    }

    /// The record that was taken last.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// How many records were taken.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// How many steps had been taken when the first one was shown.
    pub(super) fn shown_from(&self) -> u64 {
        self.shown_from
    }

    /// How it is shown.
    pub(super) fn show(&self) -> Show {
        self.show
    }

    /// The number of the last step, as it is shown.
    fn step(&self) -> u64 {
        // A recording may say anything.
        self.steps_before.saturating_add(self.replay.steps())
    }

    pub(super) fn play(&mut self, opened: Opened) -> Result<Goes, CliError> {
        let Opened {
            path,
            mut records,
            bytes_before,
        } = opened;
        if let (None, Some(header)) = (&self.header, records.header()) {
            self.show.header(header)?;
            self.header = Some(header.clone());
        }
        self.place.path.clone_from(&path);
        loop {
            self.place.byte = records.position();
            let Some(record) = records.next() else {
                break;
            };
            if record.is_err() && self.is_at_until() {
                return Ok(Goes::NoFurther);
            }
            let (step, path) = (Some(self.step()), path.clone());
            let record = record.map_err(|source| ReplayFailure::Recording { path, step, source })?;
            if self.is_behind_until(&record) {
                self.check_behind(record, records)?;
                return Ok(Goes::NoFurther);
            }
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
        match self.replay_record(record)? {
            Replayed::Started => {
                let (number, clock) = (self.replay.starts(), Clock(started));
                self.note(&format!(
                    "start {number}: the replica is made of what its store has, {clock}"
                ))?;
            }
            Replayed::Resumed { missing } => {
                self.missing = self.missing.saturating_add(missing.unwrap_or(0));
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
        let (at, inputs, number) = (*at, inputs.clone(), self.step().saturating_add(1));
        let wall = self.replay.wall(at);
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
        self.replay_record(record)?;
        (self.records, self.steps) = (self.records + 1, self.steps + 1);
        self.wall = wall;
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
        let makes_more = self.arguments.trace.is_some() || self.arguments.export.is_some();
        if output::reader_is_gone() && !makes_more {
            return Ok(Goes::NoFurther);
        }
        if self.arguments.step { ask() } else { Ok(Goes::On) }
    }

    fn replay_record(&mut self, record: Record) -> Result<Replayed, ReplayFailure> {
        let number = self.step().saturating_add(1);
        let replayed = catch_unwind(AssertUnwindSafe(|| self.replay.take(record, &mut self.effects)));
        let replayed = replayed.map_err(|cause| ReplayFailure::Panicked {
            at: self.place.clone(),
            step: number,
            reason: text_of(&*cause),
        })?;
        replayed.map_err(|error| self.failure(error))
    }

    /// Whether the last step that was taken is the one that --until names: damage behind it is no concern of who stops there.
    fn is_at_until(&self) -> bool {
        matches!(self.arguments.until, Some(Moment::Step(until)) if until <= self.step())
    }

    /// Whether --until ends the replay before this record.
    fn is_behind_until(&mut self, record: &Record) -> bool {
        let (Record::Step { at, .. }, Some(until)) = (record, self.arguments.until) else {
            return false;
        };
        let (number, wall) = (self.step().saturating_add(1), self.replay.wall(*at));
        let is_behind = until.is_before(number, wall);
        if is_behind {
            self.stopped_before = Some((number, wall));
        }
        is_behind
    }

    /// The recording tells the state now and then only. Goes on from `record` to where it does, so that the one at --until is known to be
    /// right, and leaves the replay where it is. Damage or a failure there is no concern of who stops before.
    fn check_behind(&mut self, record: Record, records: Records) -> Result<(), ReplayFailure> {
        if self.verified == Some(self.step()) {
            return Ok(());
        }
        // It may be the step in which the recorded node failed.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let kept = self.replay.clone();
        let mut effects = std::mem::take(&mut self.effects);
        for record in std::iter::once(record).chain(records.map_while(Result::ok)) {
            let replayed = self.replay_record(record);
            self.effects.clear();
            match replayed {
                Ok(Replayed::Verified { .. } | Replayed::Ended { .. }) => {
                    self.next_verified = Some(self.step());
                    break;
                }
                Ok(Replayed::Stepped { .. }) => {}
                Err(diverged @ ReplayFailure::Diverged { .. }) => return Err(diverged),
                Ok(Replayed::Resumed { .. } | Replayed::Started | Replayed::Header) | Err(_) => break,
            }
        }
        panic::set_hook(hook);
        self.replay = kept;
        std::mem::swap(&mut self.effects, &mut effects);
        Ok(())
    }

    /// What --from and --until ask for and the recording does not have.
    pub(super) fn say_what_is_not_shown(&self) {
        let ReplayArguments { from, until, .. } = self.arguments;
        let (last, wall) = (self.step(), Clock(self.wall));
        match (until, self.stopped_before) {
            (Some(until), Some((first, wall))) if self.steps == 0 => output::complain(&format!(
                "--until {until} is before everything: the recording begins with step {first}, {}",
                Clock(wall)
            )),
            (Some(until), None) if until.is_after(last, self.wall) && self.steps > 0 => output::complain(
                &format!("the recording ends before --until {until}: with step {last}, {wall}"),
            ),
            _ => {}
        }
        if let Some(from) = from
            && !self.is_shown
            && self.steps > 0
        {
            output::complain(&format!(
                "nothing is at or behind --from {from}: the replay ends with step {last}, {wall}"
            ));
        }
    }

    /// The same with the numbers that are shown.
    fn failure(&self, error: ReplayError) -> ReplayFailure {
        let at = self.place.clone();
        match error {
            ReplayError::Diverged {
                step,
                equal_until,
                recorded,
                replayed,
            } => ReplayFailure::Diverged {
                at,
                step: self.steps_before.saturating_add(step),
                equal_until: self.steps_before.saturating_add(equal_until),
                recorded,
                replayed,
            },
            source => ReplayFailure::Replay {
                at,
                step: self.step(),
                source,
            },
        }
    }

    pub(super) fn ending(&self) -> Ending {
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
            next_verified_step: self.next_verified,
            equal: self.verified == Some(self.step()),
        }
    }

    /// A test of the last start, or of what was shown of it.
    pub(super) fn export(&self, recordings: &Recordings) -> Result<String, ReplayFailure> {
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
