//! Puts down every step before it is taken.

use std::fmt;

use super::checkpoint::hash_with;
use super::format::{Header, Record, Tag, WallTime, put_frame, put_record};
use super::ring::Ring;
use crate::codec::{Detail, Recorded, Writer};
use crate::config::Config;
use crate::input::Input;
use crate::raft::Raft;
use crate::traits::Recovered;
use crate::types::{EntryId, Time};

/// After so many steps the state is told by its hash.
const STEPS_PER_HASH: u64 = 64;

/// A segment is at least this large, so that states are not told too often.
const SEGMENT_BYTES_MIN: usize = 64 << 10;

/// Sees every step of a replica before it is taken.
pub trait StepObserver: Send + fmt::Debug {
    /// `raft` is about to take `inputs` as one step.
    fn step(&mut self, raft: &Raft, now: Time, inputs: &[Input]);

    /// `raft` stops: no step follows.
    fn finish(&mut self, raft: &Raft);
}

/// How a replica is recorded.
#[derive(Clone, Copy, Debug)]
pub struct RecorderOptions {
    /// How many bytes of the newest steps are kept in memory; none if 0.
    pub ring_bytes: usize,
    /// A new segment begins after so many bytes, and after as many as the state takes.
    pub segment_bytes: usize,
    /// Whether what clients wrote is recorded; if not, only how long it is.
    pub payloads: bool,
    /// Tells the time of day.
    pub wall: fn() -> WallTime,
}

impl RecorderOptions {
    /// The newest steps are kept in memory in `ring_bytes`, which is several segments, and payloads are left out.
    #[must_use]
    pub fn new(ring_bytes: usize, wall: fn() -> WallTime) -> RecorderOptions {
        let share = if ring_bytes == 0 { 1 << 20 } else { ring_bytes / 4 };
        RecorderOptions {
            ring_bytes,
            segment_bytes: share.max(SEGMENT_BYTES_MIN),
            payloads: false,
            wall,
        }
    }
}

/// Where a recording goes, beside the memory.
pub trait Tap: Send + fmt::Debug {
    /// Takes records, which begin a segment or go on with the last one. If it has no room it takes nothing and returns false: then
    /// it is given no more before the next segment begins.
    fn push(&mut self, records: &[u8], begins_segment: bool) -> bool;

    /// Whether it is worth beginning a new segment for it, after it had no room.
    fn has_room(&self) -> bool;
}

/// Records one replica, from its start on.
///
/// It is asked before every step, and costs what it takes to copy the inputs. Neither a ring nor a tap: then it only counts.
pub struct Recorder {
    options: RecorderOptions,
    header: Header,
    ring: Ring,
    tap: Option<Box<dyn Tap>>,
    /// The tap waits for a segment to begin.
    tap_waits: bool,
    /// How many steps were taken.
    steps: u64,
    hashed: u64,
    /// What the replica was started with, until that was put down.
    start: Option<Record>,
    segment_bytes: usize,
    checkpoint_bytes: usize,
    /// A segment begins with the next step.
    segment_is_due: bool,
    /// Used again and again.
    out: Writer,
    summary: Writer,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("header", &self.header)
            .field("steps", &self.steps)
            .field("ring_bytes", &self.ring.bytes())
            .field("tap", &self.tap)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder of a replica that is about to be made of these parts: the arguments of [`Raft::new`].
    #[must_use]
    pub fn new(
        options: RecorderOptions,
        config: &Config,
        recovered: &Recovered,
        applied: EntryId,
        at: Time,
    ) -> Recorder {
        let detail = if options.payloads {
            Detail::Whole
        } else {
            Detail::Lengths
        };
        Recorder {
            header: Header::new(config.group, config.id),
            ring: Ring::new(options.ring_bytes),
            tap: None,
            tap_waits: false,
            steps: 0,
            hashed: 0,
            start: Some(Record::Start {
                config: Box::new(config.clone()),
                recovered: Box::new(recovered.clone()),
                applied,
                at,
                wall: (options.wall)(),
            }),
            segment_bytes: 0,
            checkpoint_bytes: 0,
            segment_is_due: true,
            out: Writer::new(detail),
            summary: Writer::new(Detail::Summary),
            options,
        }
    }

    /// Whose recording it is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the memory has of it, as a recording. Empty without a ring, or before the first step.
    #[must_use]
    pub fn recording(&self) -> Option<Vec<u8>> {
        (self.ring.bytes() > 0).then(|| self.ring.recording(&self.header))
    }

    /// From now on the recording goes to `tap`, too, which is given what the memory has first, unless that is too much for it.
    /// Replaces an earlier one.
    pub fn set_tap(&mut self, mut tap: Box<dyn Tap>) {
        let taken = self.ring.bytes() > 0 && self.ring.segments().all(|segment| tap.push(segment, true));
        self.tap = Some(tap);
        self.tap_waits = !taken;
        self.segment_is_due |= !taken;
    }

    /// The recording goes to no tap any more.
    pub fn take_tap(&mut self) -> Option<Box<dyn Tap>> {
        self.tap.take()
    }

    fn begin_segment(&mut self, raft: &Raft, now: Time) {
        if let Some(start) = self.start.take() {
            put_record(&mut self.out, &start);
        }
        let (steps, wall) = (self.steps - 1, (self.options.wall)());
        put_frame(&mut self.out, |out| {
            out.bytes.push(Tag::Checkpoint as u8);
            steps.put(out);
            now.put(out);
            wall.put(out);
            raft.put(out);
        });
        self.checkpoint_bytes = self.out.bytes.len();
        self.segment_bytes = 0;
        self.hashed = steps;
    }

    fn put_state(&mut self, raft: &Raft, at: Time) {
        let (steps, wall) = (self.steps - 1, (self.options.wall)());
        let hash = hash_with(raft, &mut self.summary);
        let state = Record::State {
            steps,
            at,
            wall,
            hash,
        };
        put_record(&mut self.out, &state);
        self.hashed = steps;
    }

    fn hand_out(&mut self, begins_segment: bool) {
        let records = &self.out.bytes;
        self.segment_bytes += records.len();
        self.ring.push(records, begins_segment);
        if let Some(tap) = &mut self.tap
            && (begins_segment || !self.tap_waits)
        {
            self.tap_waits = !tap.push(records, begins_segment);
        }
    }
}

impl StepObserver for Recorder {
    fn step(&mut self, raft: &Raft, now: Time, inputs: &[Input]) {
        let tap_has_room = self.tap_waits && self.tap.as_ref().is_some_and(|tap| tap.has_room());
        self.steps += 1;
        if !self.ring.is_kept() && self.tap.is_none() {
            // A tap that comes later begins with a checkpoint.
            self.start = None;
            return;
        }
        self.out.bytes.clear();
        let begins_segment = self.segment_is_due || tap_has_room;
        if begins_segment {
            self.begin_segment(raft, now);
        } else if self.steps - 1 - self.hashed >= STEPS_PER_HASH {
            self.put_state(raft, now);
        }
        put_frame(&mut self.out, |out| {
            out.bytes.push(Tag::Step as u8);
            now.put(out);
            out.number(inputs.len() as u64);
            inputs.iter().for_each(|input| input.put(out));
        });
        self.hand_out(begins_segment);
        self.segment_is_due = self.segment_bytes >= self.options.segment_bytes.max(2 * self.checkpoint_bytes);
    }

    fn finish(&mut self, raft: &Raft) {
        if !self.ring.is_kept() && self.tap.is_none() {
            return;
        }
        self.out.bytes.clear();
        let (steps, hash) = (self.steps, hash_with(raft, &mut self.summary));
        put_record(&mut self.out, &Record::End { steps, hash });
        self.hand_out(false);
        self.tap = None;
    }
}
