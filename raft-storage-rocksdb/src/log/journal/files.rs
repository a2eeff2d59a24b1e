//! The files of a journal and its control file: which segments there are, and up to where all is known to be durable.
//!
//! Shared by the writer, which begins segments, and the housekeeping, which prepares and releases them. The order of
//! steps makes a false alarm impossible, at whichever of them the power goes:
//! - a segment is there durably before the control file names it;
//! - the control file stops naming a segment before its file is removed or used again;
//! - the mark is raised only to records that are durable.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::segment::{self, Segment, file_name, size_for, write_zeros};
use crate::error::DiskError;
use crate::files::sync_directory;
use crate::format::journal::{Control, Place};
use crate::log::group::lock;
use crate::slots::Slots;

/// A file with blocks that waits to become a segment.
const SPARE: &str = "spare";
/// One that is not written completely.
const UNFINISHED: &str = "spare.tmp";
/// One that the writer itself had to make, because none was ready or none is large enough.
const URGENT: &str = "urgent.tmp";
const CONTROL: &str = "control";
/// The size of the first segment. Each one is four times as large as the one before it, up to what was configured: a store that is
/// hardly used stays small.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

/// The files of a journal.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    /// The size of a segment in the long run.
    segment_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: Slots,
    control: Control,
    /// Segments before the last one: their number, size, and last record.
    full: VecDeque<Full>,
    /// The size of the segment after the last one.
    next_bytes: u64,
    /// A file of that size is ready.
    has_spare: bool,
    /// It could not be made; the next attempt comes with the next segment.
    spare_failed: bool,
}

/// A segment that takes no more records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    pub(crate) number: u64,
    pub(crate) file_bytes: u64,
    pub(crate) last: u64,
}

pub(crate) fn control_path(dir: &Path) -> PathBuf {
    dir.join(CONTROL)
}

/// Removes what was not finished when the process died. A spare file may be a whole segment that was released.
pub(crate) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for name in [UNFINISHED, URGENT, SPARE, "control.tmp"] {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Files {
    /// Begins a journal with one empty segment. Replaces the control file last.
    pub(crate) fn create(
        dir: &Path,
        segment_bytes: u64,
        store: u64,
        number: u64,
        begin: Place,
        openings: u64,
    ) -> io::Result<(Files, Segment)> {
        let raw = dir.join(URGENT);
        write_zeros(&raw, size_for(segment_bytes.min(FIRST_SEGMENT_BYTES), 0))?;
        let segment = Segment::begin(dir, &raw, store, number, begin)?;
        let control = Control {
            store,
            first_segment: number,
            last_segment: number,
            durable: begin.next - 1,
            openings,
            closed: 0,
        };
        let slots = Slots::create(control_path(dir), |sequence| control.encode(sequence).to_vec())?;
        let files = Files::opened(dir, segment_bytes, slots, control, VecDeque::new(), &segment);
        Ok((files, segment))
    }

    /// The files of a journal that was read.
    pub(crate) fn opened(
        dir: &Path,
        segment_bytes: u64,
        slots: Slots,
        control: Control,
        full: VecDeque<Full>,
        last: &Segment,
    ) -> Files {
        Files {
            dir: dir.to_path_buf(),
            segment_bytes,
            state: Mutex::new(State {
                slots,
                control,
                full,
                next_bytes: next_bytes(segment_bytes, last),
                has_spare: false,
                spare_failed: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins the segment after `segment`, which is full and durable, with room for a body of `body_bytes`.
    pub(crate) fn rotate(
        &self,
        segment: &Segment,
        begin: Place,
        body_bytes: usize,
    ) -> Result<Segment, DiskError> {
        let mut state = self.state();
        let wanted = size_for(state.next_bytes, body_bytes);
        let raw = if state.has_spare && wanted == state.next_bytes {
            state.has_spare = false;
            self.dir.join(SPARE)
        } else {
            let raw = self.dir.join(URGENT);
            write_zeros(&raw, wanted).map_err(|error| DiskError::file(&raw, &error))?;
            raw
        };
        let number = segment.head.number + 1;
        let next = Segment::begin(&self.dir, &raw, state.control.store, number, begin)
            .map_err(|error| DiskError::file(&raw, &error))?;
        state.full.push_back(Full {
            number: segment.head.number,
            file_bytes: segment.head.file_bytes,
            last: begin.next - 1,
        });
        let control = Control {
            last_segment: number,
            durable: begin.next - 1,
            ..state.control
        };
        state.store(control)?;
        let next_bytes = next_bytes(self.segment_bytes, &next);
        // A spare file that was not used has another size than the one that will be.
        state.has_spare &= state.next_bytes == next_bytes;
        state.next_bytes = next_bytes;
        state.spare_failed = false;
        Ok(next)
    }

    /// Makes a spare file ready, if there is none. If that fails nothing is lost: the writer tries again when it needs one.
    pub(crate) fn prepare(&self) {
        if let Err(error) = self.try_prepare() {
            tracing::warn!(%error, "no file for the next segment of the journal could be prepared");
            self.state().spare_failed = true;
            // A full disk needs the room.
            let _ = fs::remove_file(self.dir.join(UNFINISHED));
        }
    }

    fn try_prepare(&self) -> Result<(), DiskError> {
        let next_bytes = {
            let state = self.state();
            if state.has_spare || state.spare_failed {
                return Ok(());
            }
            state.next_bytes
        };
        // Without the lock: the writer must not wait for this. Only the housekeeping makes spare files.
        let unfinished = self.dir.join(UNFINISHED);
        let made = write_zeros(&unfinished, next_bytes);
        made.map_err(|error| DiskError::file(&unfinished, &error))?;
        let mut state = self.state();
        let spare = self.dir.join(SPARE);
        if state.has_spare || state.next_bytes != next_bytes {
            let removed = fs::remove_file(&unfinished);
            return removed.map_err(|error| DiskError::file(&unfinished, &error));
        }
        fs::rename(&unfinished, &spare).map_err(|error| DiskError::file(&spare, &error))?;
        state.has_spare = true;
        Ok(())
    }

    /// Lets go of the segments whose records all have a number up to `through`: the tables of RocksDB have them, durably.
    pub(crate) fn release(&self, through: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        let count = state.full.iter().take_while(|full| full.last <= through).count();
        if count == 0 {
            return Ok(());
        }
        let released: Vec<Full> = state.full.drain(..count).collect();
        let first_segment = state
            .full
            .front()
            .map_or(state.control.last_segment, |full| full.number);
        let control = Control {
            first_segment,
            ..state.control
        };
        // In both slots: neither names a file that is gone.
        state.store(control)?;
        state.store(control)?;
        for full in released {
            let path = self.dir.join(file_name(full.number));
            let gone = if state.has_spare || full.file_bytes != state.next_bytes {
                fs::remove_file(&path)
            } else {
                state.has_spare = true;
                fs::rename(&path, self.dir.join(SPARE))
            };
            gone.map_err(|error| DiskError::file(&path, &error))?;
        }
        sync_directory(&self.dir).map_err(|error| DiskError::file(&self.dir, &error))
    }

    /// Notes what recovery found: `last` is the last segment, which the control file may not know yet, and every
    /// record up to `durable` will be built upon. It is the opening number `openings`.
    pub(crate) fn settle(&self, last: &Segment, durable: u64, openings: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        let control = Control {
            last_segment: last.head.number,
            durable: durable.max(state.control.durable),
            openings,
            ..state.control
        };
        // Also if nothing changes: what was read may never have reached the disk. And in both slots: the older one would tell of
        // an earlier opening if the newer one were damaged.
        state.store(control)?;
        state.store(control)
    }

    /// Notes that every record up to `durable` was acknowledged, and that nothing more comes.
    pub(crate) fn close(&self, durable: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        let control = Control {
            durable: durable.max(state.control.durable),
            closed: state.control.openings,
            ..state.control
        };
        state.store(control)
    }

    /// Notes that every record up to `durable` was acknowledged; nothing if that is known.
    pub(crate) fn mark(&self, durable: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        if durable <= state.control.durable {
            return Ok(());
        }
        let control = Control {
            durable,
            ..state.control
        };
        state.store(control)
    }

    /// The records that full segments hold beside what was released.
    pub(crate) fn has_full_segments(&self) -> bool {
        !self.state().full.is_empty()
    }
}

impl State {
    fn store(&mut self, control: Control) -> Result<(), DiskError> {
        let written = self.slots.write(|sequence| control.encode(sequence).to_vec());
        written.map_err(|error| DiskError::file(self.slots.path(), &error))?;
        self.control = control;
        Ok(())
    }
}

/// The size of the segment after `last`.
fn next_bytes(segment_bytes: u64, last: &Segment) -> u64 {
    size_for(segment_bytes.min(last.head.file_bytes.saturating_mul(4)), 0)
}

/// The segment files in `dir`, ascending.
pub(crate) fn segments_in(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        if let Some(number) = name.to_str().and_then(segment::number_of) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
