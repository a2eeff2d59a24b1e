//! What a journal that was found holds, and whether that is all it ever acknowledged.
//!
//! Every record from the first segment's first one on is verified and handed over in order. Where they end is decided
//! so, for the first place that does not hold the record that should follow:
//!
//! | what stands there | decision |
//! |---|---|
//! | anything, but the twin slot has the record | it is put back, with a warning |
//! | anything, and a later record or segment exists | lost: a later one is written only after this one was acknowledged (R77) |
//! | a record that was whole once and is not now | lost: it may have been acknowledged |
//! | a record of which a sector never arrived, and the control file does not know it as acknowledged | the torn end of a crash: it is wiped |
//! | nothing, and the control file does not know more | the end |
//! | a torn record, or nothing, and the control file knows more | lost |
//!
//! Beside that, lost is: a segment that the control file names and that is missing, has another size or another head
//! than it was given, or does not begin where the one before it ends; records that RocksDB's tables have and the journal has
//! not, or that lie between the two. So is a control file that is missing although there are records; one without a valid slot refuses.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::files::{Full, control_path, remove_unfinished, segments_in};
use super::openings::Openings;
use super::segment::{Segment, file_name};
use super::{Files, Journal};
use crate::error::OpenError;
use crate::files::{create_directory, sync_directory};
use crate::format::journal::{
    Control, Found, HeadError, Place, SECTOR_BYTES, SegmentHead, Stamp, TWINS_AT, VERSION, decode_record,
    is_later, low, stamp,
};
use crate::log::options::OnLoss;
use crate::slots::{self, Slots};

/// The first record of a new journal.
const ORIGIN: Place = Place { next: 1, chain: 0 };

/// Takes a record: its number and its body.
pub(crate) type Apply<'a> = dyn FnMut(u64, &[u8]) -> Result<(), OpenError> + 'a;

/// Reads a journal.
pub(crate) struct Recovery<'a> {
    pub(crate) dir: &'a Path,
    /// The file beside `dir` that counts openings.
    pub(crate) openings: &'a Path,
    pub(crate) segment_bytes: u64,
    pub(crate) on_loss: OnLoss,
    /// The last record that RocksDB's tables have; `None` if they have never had one.
    pub(crate) applied: Option<u64>,
    /// Takes each record that the tables do not have, in order.
    pub(crate) apply: &'a mut Apply<'a>,
}

/// What was found.
pub(crate) enum Findings {
    /// All that was ever acknowledged. The journal is ready for more. `was_unclean` if it has records behind its mark: the
    /// process before this one did not end as it should.
    Sound { journal: Journal, was_unclean: bool },
    /// Something acknowledged is lost; what was handed over is sound. Only with [`OnLoss::Suspect`].
    Lost { reason: String, restart: Restart },
}

/// How a journal that lost records goes on: with new files, once RocksDB's tables have what is left.
pub(crate) struct Restart {
    dir: PathBuf,
    segment_bytes: u64,
    number: u64,
    begin: Place,
    openings: Openings,
}

/// The segments that should be there, with what their heads say.
struct Listed {
    number: u64,
    path: PathBuf,
    head: SegmentHead,
}

/// The walk through the records.
struct Walk {
    store: u64,
    /// Every record up to this one is known to be durable.
    durable: u64,
    place: Place,
    full: VecDeque<Full>,
    /// The place and length of the last record in the segment at hand, and its number.
    last_record: Option<(usize, usize, u64)>,
    /// The records behind `durable`, which RocksDB must not have before they are durable.
    unproven: Vec<(u64, Vec<u8>)>,
}

/// Why the walk ended early.
enum Stop {
    Lost(String),
    Failed(OpenError),
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Stop {
        Stop::Failed(error)
    }
}

fn lost<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Lost(reason.into()))
}

impl Recovery<'_> {
    /// Opens the journal, or creates it if there never was one.
    ///
    /// # Errors
    /// [`OpenError::JournalLost`] if something acknowledged is lost and that is refused; otherwise what the files did not
    /// allow.
    pub(crate) fn run(mut self) -> Result<Findings, OpenError> {
        let dir = self.dir;
        let io = |error| OpenError::directory(dir, error);
        create_directory(dir).map_err(io)?;
        remove_unfinished(dir).map_err(io)?;
        let numbers = segments_in(dir).map_err(io)?;
        let openings = Openings::read(self.openings)?;
        let Some((slots, control)) = self.read_control()? else {
            return self.without_control(&numbers, openings);
        };
        let mut walk = Walk {
            store: control.store,
            durable: control.durable,
            place: ORIGIN,
            full: VecDeque::new(),
            last_record: None,
            unproven: Vec::new(),
        };
        let sound = match self.on_loss {
            // Nothing is touched then.
            OnLoss::Refuse => not_earlier(&control, &openings),
            OnLoss::Suspect => Ok(()),
        };
        let walked = sound.and_then(|()| self.walk(&control, &numbers, &mut walk));
        let walked = walked.and_then(|end| not_earlier(&control, &openings).map(|()| end));
        match walked {
            Ok((segment, place)) => {
                let count = control.openings.saturating_add(1);
                let was_unclean = control.closed != control.openings || place.next - 1 > control.durable;
                let files = Files::opened(dir, self.segment_bytes, slots, control, walk.full, &segment);
                segment.sync().map_err(io)?;
                sync_directory(dir).map_err(io)?;
                let settled = files.settle(&segment, place.next - 1, count);
                settled.map_err(|error| OpenError::disk(dir, error))?;
                let noted = openings.note(count);
                noted.map_err(|error| OpenError::directory(self.openings, error))?;
                self.apply_all(walk.unproven)?;
                let journal = Journal::new(files, segment, place);
                Ok(Findings::Sound { journal, was_unclean })
            }
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Lost(reason)) => {
                if self.on_loss == OnLoss::Suspect {
                    // The tables will be written before this journal is given up.
                    self.apply_all(walk.unproven)?;
                }
                let last = numbers.last().copied().unwrap_or_default();
                let last = last.max(control.last_segment);
                self.lost(reason, last, walk.place.next, openings)
            }
        }
    }

    /// Something is lost: what is left ends before record `next`, and the last segment had the number `last`.
    fn lost(&self, reason: String, last: u64, next: u64, openings: Openings) -> Result<Findings, OpenError> {
        if self.on_loss == OnLoss::Refuse {
            return Err(OpenError::JournalLost {
                path: self.dir.to_path_buf(),
                reason,
            });
        }
        let after_tables = self.applied.map_or(1, |applied| applied + 1);
        Ok(Findings::Lost {
            reason,
            restart: Restart {
                dir: self.dir.to_path_buf(),
                segment_bytes: self.segment_bytes,
                number: last + 1,
                begin: Place {
                    next: next.max(after_tables),
                    chain: 0,
                },
                openings,
            },
        })
    }

    /// Without a control file nothing was ever acknowledged: then there is no record, either.
    fn without_control(&self, numbers: &[u64], openings: Openings) -> Result<Findings, OpenError> {
        let io = |error| OpenError::directory(self.dir, error);
        let mut has_records = self.applied.is_some() || openings.count() > 0;
        for number in numbers {
            let bytes = read(&self.dir.join(file_name(*number)))?;
            let used = bytes.get(TWINS_AT as usize..).unwrap_or_default();
            has_records |= used.iter().any(|byte| *byte != 0);
        }
        if has_records {
            let reason = String::from("its control file is missing although the log is not empty");
            let last = numbers.last().copied().unwrap_or_default();
            return self.lost(reason, last, ORIGIN.next, openings);
        }
        for number in numbers {
            fs::remove_file(self.dir.join(file_name(*number))).map_err(io)?;
        }
        Ok(Findings::Sound {
            journal: create(self.dir, self.segment_bytes, 1, ORIGIN, openings).map_err(io)?,
            was_unclean: false,
        })
    }

    /// The control file; `None` if there is none.
    fn read_control(&self) -> Result<Option<(Slots, Control)>, OpenError> {
        let path = control_path(self.dir);
        let what = format!("the control file {} of the journal", path.display());
        slots::newest(&path, &what, VERSION, Control::decode)
    }

    /// Goes through all records; the last segment, ready to be appended to, and the place there.
    fn walk(
        &mut self,
        control: &Control,
        numbers: &[u64],
        walk: &mut Walk,
    ) -> Result<(Segment, Place), Stop> {
        let (listed, gap) = self.list(control, numbers)?;
        let Some((last, before)) = listed.split_last() else {
            return lost(gap.unwrap_or_else(|| String::from("it has no segment")));
        };
        let begin = before.first().unwrap_or(last).head.begin;
        let next_of_tables = self.applied.unwrap_or_default() + 1;
        if begin.next > next_of_tables {
            return lost(format!(
                "it begins with record {}, but RocksDB's tables end before record {next_of_tables}",
                begin.next
            ));
        }
        walk.place = begin;
        for (position, segment) in before.iter().enumerate() {
            let next = listed.get(position + 1).map(|next| next.head.begin);
            self.full_segment(walk, segment, next)?;
        }
        if let Some(gap) = gap {
            let mut bytes = read(&last.path)?;
            // As much as there is; it is not the end, whatever stands there.
            let _end = self.records(walk, last, &mut bytes, None)?;
            return lost(gap);
        }
        let segment = self.last_segment(walk, last, control)?;
        if walk.place.next < next_of_tables {
            let reason = format!(
                "it ends before record {}, but RocksDB's tables have everything before record {next_of_tables}",
                walk.place.next
            );
            return lost(reason);
        }
        Ok((segment, walk.place))
    }

    /// The segments that the control file names, and the one after them if it was begun, as far as they are there without a
    /// gap, and what is wrong behind them. Removes what is left over.
    fn list(&self, control: &Control, numbers: &[u64]) -> Result<(Vec<Listed>, Option<String>), Stop> {
        let mut listed: Vec<Listed> = Vec::new();
        for number in numbers {
            let path = self.dir.join(file_name(*number));
            let head = read_head(&path)?;
            let of_another_journal = head.is_some_and(|head| head.store != control.store);
            let is_after = *number > control.last_segment;
            if *number < control.first_segment || (is_after && of_another_journal) {
                fs::remove_file(&path).map_err(|error| OpenError::directory(&path, error))?;
                continue;
            }
            let expected = control.first_segment + listed.len() as u64;
            let gap = match head {
                _ if *number != expected => format!("its segment {expected} is missing"),
                None => format!("the head of {} is damaged", path.display()),
                Some(head) if head.store != control.store || head.number != *number => {
                    format!("{} is a segment of another place", path.display())
                }
                Some(head) => {
                    listed.push(Listed {
                        number: *number,
                        path,
                        head,
                    });
                    continue;
                }
            };
            return Ok((listed, Some(gap)));
        }
        let end = control.first_segment + listed.len() as u64;
        let gap = if end <= control.last_segment {
            Some(format!("its segment {end} is missing"))
        } else if end > control.last_segment + 2 {
            Some(format!("it has segment {}, which was never begun", end - 1))
        } else {
            None
        };
        Ok((listed, gap))
    }

    /// A segment with another one after it: every record up to that one is there.
    fn full_segment(&mut self, walk: &mut Walk, segment: &Listed, next: Option<Place>) -> Result<(), Stop> {
        let mut bytes = read(&segment.path)?;
        let end = next.map(|next| next.next);
        if let Err((_, found)) = self.records(walk, segment, &mut bytes, end)? {
            return lost(format!(
                "record {} in {} {}, but there are later ones",
                walk.place.next,
                segment.path.display(),
                said(&found)
            ));
        }
        check_size(segment, &bytes)?;
        if next != Some(walk.place) {
            return lost(format!(
                "the segment after {} does not continue it",
                segment.path.display()
            ));
        }
        walk.full.push_back(Full {
            number: segment.number,
            file_bytes: segment.head.file_bytes,
            last: walk.place.next - 1,
        });
        Ok(())
    }

    /// The segment that is appended to: finds where its records end, and why.
    fn last_segment(
        &mut self,
        walk: &mut Walk,
        segment: &Listed,
        control: &Control,
    ) -> Result<Segment, Stop> {
        let mut bytes = read(&segment.path)?;
        let (at, found) = match self.records(walk, segment, &mut bytes, None)? {
            Ok(at) => (at, Found::Torn { some: false }),
            Err(end) => end,
        };
        check_size(segment, &bytes)?;
        let next = walk.place.next;
        let rest = at.max(TWINS_AT as usize);
        let twins = TWINS_AT as usize..segment.head.records_at() as usize;
        let areas = [twins, rest..bytes.len()];
        let (mut residue, mut is_torn) = (Vec::new(), false);
        let twin_mended = mend_twin(walk, segment, &mut bytes);
        for sector_at in areas.into_iter().flat_map(|area| area.step_by(SECTOR_BYTES)) {
            let Some(sector) = bytes.get(sector_at..sector_at + SECTOR_BYTES) else {
                continue;
            };
            match stamp(walk.store, sector) {
                Stamp::Of(later) if is_later(later, next, bytes.len() / SECTOR_BYTES) => {
                    return lost(format!(
                        "record {next} in {} {}, but there are later ones",
                        segment.path.display(),
                        said(&found)
                    ));
                }
                Stamp::Of(this) if this == low(next) => {
                    is_torn = true;
                    residue.push(sector_at);
                }
                Stamp::Damaged => residue.push(sector_at),
                Stamp::Empty | Stamp::Of(_) => {}
            }
        }
        if let Found::Damaged(_) = found {
            return lost(format!(
                "the last record, {next}, in {} {}",
                segment.path.display(),
                said(&found)
            ));
        }
        if control.durable >= next {
            return lost(format!(
                "it ends before record {next}, but every record up to {} was acknowledged",
                control.durable
            ));
        }
        let io = |error| Stop::Failed(OpenError::directory(&segment.path, error));
        let reopened = Segment::reopen(segment.path.clone(), segment.head, at as u64).map_err(io)?;
        if next - 1 > walk.durable || twin_mended {
            let twins = &bytes[TWINS_AT as usize..segment.head.records_at() as usize];
            reopened.put(TWINS_AT, twins).map_err(io)?;
        }
        if is_torn {
            tracing::info!(
                record = next,
                "the last record of the journal is torn, as after a crash; it was never acknowledged"
            );
        }
        if !residue.is_empty() {
            for sector_at in residue {
                reopened.put(sector_at as u64, &[0; SECTOR_BYTES]).map_err(io)?;
            }
        }
        Ok(reopened)
    }

    fn apply_all(&mut self, records: Vec<(u64, Vec<u8>)>) -> Result<(), OpenError> {
        records
            .into_iter()
            .try_for_each(|(sequence, body)| (self.apply)(sequence, &body))
    }

    /// Hands over the records of a segment, up to record `end` exclusive; where they end, or what stood in the way.
    fn records(
        &mut self,
        walk: &mut Walk,
        segment: &Listed,
        bytes: &mut [u8],
        end: Option<u64>,
    ) -> Result<Result<usize, (usize, Found)>, Stop> {
        let mut at = segment.head.records_at() as usize;
        walk.last_record = None;
        while end.is_none_or(|end| walk.place.next < end) {
            let found = decode_record(walk.store, walk.place, bytes.get(at..).unwrap_or_default());
            let (body, disk_bytes, after) = match found {
                Found::Whole {
                    body,
                    disk_bytes,
                    after,
                } => (body, disk_bytes, after),
                found => match twin(walk, segment, bytes, at) {
                    Some((sectors, body, after)) => {
                        tracing::warn!(
                            record = walk.place.next,
                            path = %segment.path.display(),
                            "the record {}; it is put back from its twin", said(&found)
                        );
                        let sectors = sectors.to_vec();
                        bytes[at..at + sectors.len()].copy_from_slice(&sectors);
                        rewrite(segment, at, &sectors)?;
                        (body, sectors.len(), after)
                    }
                    None => return Ok(Err((at, found))),
                },
            };
            let sequence = walk.place.next;
            let is_wanted = self.applied.is_none_or(|applied| sequence > applied);
            if sequence > walk.durable {
                rewrite(segment, at, &bytes[at..at + disk_bytes])?;
                walk.unproven.extend(is_wanted.then_some((sequence, body)));
            } else if is_wanted {
                (self.apply)(sequence, &body)?;
            }
            walk.place = after;
            walk.last_record = Some((at, disk_bytes, sequence));
            at += disk_bytes;
        }
        Ok(Ok(at))
    }
}

impl Restart {
    /// Takes the number of the next record, for a batch that goes to the tables alone.
    pub(crate) fn take_number(&mut self) -> u64 {
        self.begin.next += 1;
        self.begin.next - 1
    }

    /// Begins a new journal in the place of the old one, and removes that.
    pub(crate) fn begin(self) -> Result<Journal, OpenError> {
        let dir = self.dir;
        let io = |error| OpenError::directory(&dir, error);
        let old = segments_in(&dir).map_err(io)?;
        let journal = create(&dir, self.segment_bytes, self.number, self.begin, self.openings).map_err(io)?;
        for number in old {
            fs::remove_file(dir.join(file_name(number))).map_err(io)?;
        }
        sync_directory(&dir).map_err(io)?;
        Ok(journal)
    }
}

/// Makes the twin of the last record what that is, if it is not. Whether it was not.
fn mend_twin(walk: &Walk, segment: &Listed, bytes: &mut [u8]) -> bool {
    let Some((at, length, sequence)) = walk.last_record else {
        return false;
    };
    let slot_at = segment.head.twin_at(sequence) as usize;
    if length as u64 > segment.head.twin_bytes || bytes[slot_at..slot_at + length] == bytes[at..at + length] {
        return false;
    }
    tracing::warn!(
        record = sequence,
        path = %segment.path.display(),
        "the twin of the last record is damaged or missing; it is put back from the record"
    );
    bytes.copy_within(at..at + length, slot_at);
    true
}

/// A journal of an earlier time is sound in itself.
fn not_earlier(control: &Control, openings: &Openings) -> Result<(), Stop> {
    if control.openings >= openings.count() {
        return Ok(());
    }
    lost(format!(
        "it is as it was when the store had been opened {} times, and that was {} times",
        control.openings,
        openings.count()
    ))
}

fn create(
    dir: &Path,
    segment_bytes: u64,
    number: u64,
    begin: Place,
    openings: Openings,
) -> io::Result<Journal> {
    // Any number that no other journal has will do.
    let mut store = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut store)?;
    let store = u64::from_le_bytes(store);
    let count = openings.count().saturating_add(1);
    let (files, segment) = Files::create(dir, segment_bytes, store, number, begin, count)?;
    openings.note(count)?;
    Ok(Journal::new(files, segment, begin))
}

/// The record that follows `walk.place` in its twin slot, if it is whole there: its sectors, body, and the place after it.
fn twin<'b>(walk: &Walk, segment: &Listed, bytes: &'b [u8], at: usize) -> Option<(&'b [u8], Vec<u8>, Place)> {
    let slot_at = segment.head.twin_at(walk.place.next) as usize;
    let slot = bytes.get(slot_at..slot_at + segment.head.twin_bytes as usize)?;
    match decode_record(walk.store, walk.place, slot) {
        Found::Whole {
            body,
            disk_bytes,
            after,
        } if at + disk_bytes <= bytes.len() => Some((&slot[..disk_bytes], body, after)),
        _ => None,
    }
}

/// Writes what stands in the file, or should, once more. The next sync then makes it durable, whatever became of the one before:
/// after a failed sync the system takes pages for written that are not.
fn rewrite(segment: &Listed, at: usize, sectors: &[u8]) -> Result<(), Stop> {
    let opened = Segment::reopen(segment.path.clone(), segment.head, at as u64);
    let written = opened.and_then(|file| file.put(at as u64, sectors));
    written.map_err(|error| Stop::Failed(OpenError::directory(&segment.path, error)))
}

fn check_size(segment: &Listed, bytes: &[u8]) -> Result<(), Stop> {
    if bytes.len() as u64 == segment.head.file_bytes {
        return Ok(());
    }
    lost(format!(
        "{} has {} bytes instead of {}: it was cut or replaced",
        segment.path.display(),
        bytes.len(),
        segment.head.file_bytes
    ))
}

fn said(found: &Found) -> String {
    match found {
        Found::Whole { .. } => String::from("is whole"),
        Found::Torn { some: false } => String::from("is missing"),
        Found::Torn { some: true } => String::from("is incomplete"),
        Found::Damaged(detail) => format!("is damaged: {detail}"),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    fs::read(path).map_err(|error| OpenError::directory(path, error))
}

/// The head of a segment; `None` if it is damaged.
fn read_head(path: &Path) -> Result<Option<SegmentHead>, OpenError> {
    let mut sector = Vec::with_capacity(SECTOR_BYTES);
    let opened = File::open(path).and_then(|file| file.take(SECTOR_BYTES as u64).read_to_end(&mut sector));
    opened.map_err(|error| OpenError::directory(path, error))?;
    match SegmentHead::decode(&sector) {
        Ok(head) => Ok(Some(head)),
        Err(HeadError::Damaged) => Ok(None),
        Err(HeadError::Version(found)) => Err(version(path, found)),
    }
}

fn version(path: &Path, found: u8) -> OpenError {
    OpenError::Version {
        what: format!("the journal's file {}", path.display()),
        found,
        known: VERSION,
    }
}
