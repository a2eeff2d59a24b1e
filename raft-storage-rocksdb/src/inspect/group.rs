//! What is known about one group: its state records, its log, and whether they keep what its watermark promises.

use std::ops::ControlFlow;

use raft_core::entry::Payload;
use raft_core::types::{EntryId, GroupId, HardState, Index};

use super::report::{Finding, GroupReport, Place, ScanProgress, TermRun};
use super::walk::{Met, Start, walk};
use super::watermarks::Mark;
use crate::error::OpenError;
use crate::format::record::{
    ENTRY_KEY_BYTES, EntryView, Link, RecordError, StateKind, decode_deleted, decode_hard_state,
    decode_purged, decode_snapshot,
};
use crate::log::database::View;

/// How many entries are read between two reports of progress.
const REPORT_ENTRIES: u64 = 1024;

/// Where the parts of a report are gathered.
pub(super) struct Gather<'g> {
    pub(super) view: &'g View<'g>,
    /// What RocksDB said, in words about the store instead of its working copy.
    pub(super) reword: &'g dyn Fn(&str) -> String,
    pub(super) findings: &'g mut Vec<Finding>,
    pub(super) progress: &'g mut ScanProgress,
    pub(super) report: &'g mut dyn FnMut(&ScanProgress),
}

/// The state records of a group.
pub(super) struct State {
    pub(super) purged: Option<Link>,
    pub(super) hard_state: Option<HardState>,
    pub(super) snapshot: Option<raft_core::message::SnapshotMeta>,
    /// Whether there is any record, readable or not.
    exists: bool,
}

impl State {
    /// Where the log begins.
    pub(super) fn start(&self) -> Start {
        Start {
            first: self.purged.map(|purged| purged.id.index.next()),
            previous: self.purged,
        }
    }
}

impl Gather<'_> {
    /// Everything about `group`. `mark` is what its watermark file says; the inner `None` stands for a file that says
    /// nothing, the outer one for no file.
    pub(super) fn group(&mut self, group: GroupId, mark: Option<Option<Mark>>) -> Option<GroupReport> {
        let state = self.state(group);
        let mut report = GroupReport::new(group);
        report.purged = state.purged.map(|purged| purged.id);
        report.hard_state = state.hard_state;
        report.snapshot = state.snapshot.clone();
        report.watermark = mark.flatten().map(|mark| mark.report);
        self.log(&state, mark.flatten(), &mut report);
        let exists = state.exists || report.entries > 0;
        if exists && state.purged.is_none() && !self.names(group, StateKind::Purged) {
            let problem = "there is no record of where the log begins";
            self.findings.push(Finding::damage(Place::Group(group), problem));
        }
        self.compare(&state, mark.flatten(), &report, exists);
        (exists || report.watermark.is_some_and(|mark| mark.last > Index::ZERO)).then_some(report)
    }

    /// The group's records; each that cannot be read is a finding.
    pub(super) fn state(&mut self, group: GroupId) -> State {
        let mut exists = false;
        let purged = self.record(group, StateKind::Purged, &mut exists, decode_purged);
        let hard_state = self.record(group, StateKind::HardState, &mut exists, decode_hard_state);
        let snapshot = self.record(group, StateKind::Snapshot, &mut exists, decode_snapshot);
        // Only the purge reads it; it is decoded to be checked.
        self.record(group, StateKind::Deleted, &mut exists, decode_deleted);
        State {
            purged,
            hard_state,
            snapshot,
            exists,
        }
    }

    fn record<T>(
        &mut self,
        group: GroupId,
        kind: StateKind,
        exists: &mut bool,
        decode: impl FnOnce(GroupId, &[u8]) -> Result<T, RecordError>,
    ) -> Option<T> {
        let place = Place::Record(group, record_name(kind));
        let value = match self.view.state(group, kind) {
            Ok(value) => value?,
            Err(error) => {
                *exists = true;
                let problem = (self.reword)(error.as_ref());
                self.findings.push(Finding::damage(place, problem));
                return None;
            }
        };
        *exists = true;
        match decode(group, &value) {
            Ok(decoded) => Some(decoded),
            Err(error) => {
                self.findings.push(Finding::record(place, &error));
                None
            }
        }
    }

    /// Whether a finding names this record already.
    fn names(&self, group: GroupId, kind: StateKind) -> bool {
        let place = Place::Record(group, record_name(kind));
        self.findings.iter().any(|finding| finding.place == place)
    }

    /// Walks through the log.
    fn log(&mut self, state: &State, mark: Option<Mark>, report: &mut GroupReport) {
        let group = report.group;
        let Gather {
            view,
            reword,
            findings,
            progress,
            report: tell,
        } = self;
        walk(view, group, state.start(), &mut |met| {
            if let Met::Entry(entry, value_bytes, misplaced) = &met {
                take(entry, *value_bytes, report);
                if let Some(finding) = contradiction(group, entry, misplaced.as_ref(), mark) {
                    findings.push(finding);
                }
                match decoded(group, entry) {
                    Ok(Some(membership)) => report.memberships.push(membership),
                    Ok(None) => {}
                    Err(finding) => findings.push(finding),
                }
                progress.entries += 1;
                progress.bytes += *value_bytes as u64;
                if progress.entries.is_multiple_of(REPORT_ENTRIES) {
                    tell(progress);
                }
            } else {
                findings.extend(misfit(group, &met, *reword));
            }
            ControlFlow::Continue(())
        });
    }

    /// Compares what was read with what the watermark promises, by the rules of opening.
    fn compare(&mut self, state: &State, mark: Option<Mark>, report: &GroupReport, exists: bool) {
        let group = report.group;
        let Some(mark) = mark else { return };
        let promise = mark.promise;
        if !exists && promise.check(group, &HardState::default(), Index::ZERO).is_ok() {
            self.findings.push(Finding::notice(
                Place::Group(group),
                "there is only its watermark, which promises nothing: a crash while the group was created or destroyed",
                "the next start removes it",
            ));
            return;
        }
        let hard_state = state.hard_state.unwrap_or_default();
        // A log that begins after an entry reaches to that entry.
        let begin = state.purged.map_or(Index::ZERO, |purged| purged.id.index);
        let last = report.last.map_or(begin, |last| last.index.max(begin));
        let mut refuse = |checked: Result<(), OpenError>| {
            if let Err(error) = checked {
                self.findings.push(Finding::refusal(Place::Group(group), &error));
            }
        };
        // Each half of the promise for itself: the check of both names the first one only.
        refuse(promise.check(group, &hard_state, Index(u64::MAX)));
        let kept = HardState {
            term: promise.term,
            vote: promise.vote,
            ..hard_state
        };
        refuse(promise.check(group, &kept, last));
    }
}

/// How a record of the state is called.
fn record_name(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Purged => "record of where the log begins",
        StateKind::HardState => "record of term, vote and commit",
        StateKind::Snapshot => "record of the snapshot in force",
        StateKind::Deleted => "record of how far purged entries are deleted",
    }
}

/// Counts an entry.
fn take(entry: &EntryView<'_>, value_bytes: usize, report: &mut GroupReport) {
    let id = entry.link.id;
    report.first = report.first.or(Some(id));
    report.last = Some(id);
    report.entries += 1;
    report.payload_bytes += entry.payload.len() as u64;
    report.stored_bytes += (ENTRY_KEY_BYTES + value_bytes) as u64;
    match report.terms.last_mut() {
        Some(run) if run.term == id.term => run.last = id.index,
        _ => report.terms.push(TermRun {
            term: id.term,
            first: id.index,
            last: id.index,
        }),
    }
}

/// What is wrong with the place of a whole entry.
fn contradiction(
    group: GroupId,
    entry: &EntryView<'_>,
    misplaced: Option<&RecordError>,
    mark: Option<Mark>,
) -> Option<Finding> {
    let index = entry.link.id.index;
    let place = Place::Entries(group, index, Some(index));
    if let Some(error) = misplaced {
        return Some(Finding::record(place, error));
    }
    let promise = mark?.promise;
    (promise.last == index && promise.chain != entry.link.chain).then(|| {
        let problem = "it is not the entry that the watermark knows: it, or one before it, is a stale copy";
        Finding::damage(place, problem)
    })
}

/// The configuration in an entry, if it is one. Commands need no decoding: any bytes are one.
fn decoded(
    group: GroupId,
    entry: &EntryView<'_>,
) -> Result<Option<(Index, raft_core::membership::Membership)>, Finding> {
    let index = entry.link.id.index;
    if entry.is_command() {
        return Ok(None);
    }
    match entry.decode() {
        Ok(Payload::Membership(membership)) => Ok(Some((index, membership))),
        Ok(_) => Ok(None),
        Err(error) => Err(Finding::record(Place::Entries(group, index, Some(index)), &error)),
    }
}

/// The finding for what is no whole entry.
pub(super) fn misfit(group: GroupId, met: &Met<'_>, reword: &dyn Fn(&str) -> String) -> Option<Finding> {
    let finding = match met {
        Met::Entry(entry, _, misplaced) => {
            let index = entry.link.id.index;
            return misplaced
                .as_ref()
                .map(|error| Finding::record(Place::Entries(group, index, Some(index)), error));
        }
        Met::Damaged(index, error) => Finding::record(Place::Entries(group, *index, Some(*index)), error),
        Met::Missing(first, last) => Finding::damage(
            Place::Entries(group, *first, Some(*last)),
            "missing, though there are entries above",
        ),
        Met::Unreadable(first, last, said) => Finding::damage(
            Place::Entries(group, *first, *last),
            format!("RocksDB cannot read what stands there: {}", reword(said)),
        ),
        Met::StrangeKey => Finding::damage(
            Place::Group(group),
            "a key of another shape stands among its entries",
        ),
    };
    Some(finding)
}

/// The last entry that is stored of a group, as far as its key tells.
pub(super) fn last_key(view: &View<'_>, group: GroupId, first: Index) -> Option<Index> {
    let mut entries = view.entries_from(group, first);
    entries.seek_to_last();
    let key = entries.key()?;
    crate::format::record::index_of_key(group, key)
}

/// Where the log of a group ends in words, for whoever asked for something else.
pub(super) fn extent(state: &State, last: Option<Index>) -> String {
    let begin = state.purged.map_or(EntryId::ZERO, |purged| purged.id);
    match last {
        Some(last) if last > begin.index => {
            format!("its log has entries {} to {last}", begin.index.next())
        }
        _ => format!("its log has no entries after {begin}"),
    }
}
