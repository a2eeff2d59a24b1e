//! Opens a store for looking at it, and puts the report together.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

use raft_core::entry::Entry;
use raft_core::types::{GroupId, Index};

use super::error::InspectError;
use super::group::{Gather, extent, last_key, misfit};
use super::lock::SharedLock;
use super::report::{Finding, Inspection, Place, ScanProgress, SnapshotFile, SnapshotState};
use super::scratch::Scratch;
use super::walk::{Met, Start, walk};
use super::{snapshots, usage, watermarks};
use crate::error::OpenError;

/// Looks at the stores of a stopped node, and changes nothing of them.
///
/// A store that is open in another process is refused, and no process can open it while this lives. One that is open in
/// this very process must not be looked at: the system cannot tell the two apart.
///
/// ```
/// use raft_storage_rocksdb::inspect::LogInspector;
/// # use raft_storage_rocksdb::RocksLogStore;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let data = tempfile::tempdir()?;
/// # let (log, snapshots) = (data.path().join("log"), data.path().join("snapshots"));
/// # drop(RocksLogStore::open_default(&log)?);
/// let scratch = tempfile::tempdir()?;
/// let mut inspector = LogInspector::open(&log, &snapshots, scratch.path())?;
/// let inspection = inspector.verify(&mut |progress| println!("{} %", progress.percent()))?;
/// assert!(!inspection.is_damaged(), "{:?}", inspection.findings);
/// # Ok(())
/// # }
/// ```
pub struct LogInspector {
    log: PathBuf,
    snapshots: PathBuf,
    scratch: Option<Scratch>,
    /// What was wrong with the database and the journal when they were opened.
    findings: Vec<Finding>,
    _lock: Option<SharedLock>,
}

impl std::fmt::Debug for LogInspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogInspector")
            .field("log", &self.log)
            .field("snapshots", &self.snapshots)
            .finish_non_exhaustive()
    }
}

impl LogInspector {
    /// Opens the log store in `log` and the snapshot store in `snapshots`. `scratch` is an empty directory elsewhere, for the
    /// working copy; it is the caller's to remove. A snapshot directory that is not there is an empty one.
    ///
    /// # Errors
    /// If there is no log store, if a process has it open, or if the operating system refuses. A damaged store opens.
    pub fn open(log: &Path, snapshots: &Path, scratch: &Path) -> Result<LogInspector, InspectError> {
        let (db, marks) = (log.join("db"), log.join("watermarks"));
        if !db.is_dir() && !marks.is_dir() {
            return Err(InspectError::Missing {
                path: log.to_path_buf(),
            });
        }
        let lock = SharedLock::take(&db.join("LOCK"))?;
        let mut findings = Vec::new();
        let scratch = Scratch::open(log, scratch, &mut findings)?;
        Ok(LogInspector {
            log: log.to_path_buf(),
            snapshots: snapshots.to_path_buf(),
            scratch,
            findings,
            _lock: lock,
        })
    }

    /// Looks at every group, or at one: reads and checks its whole log, and the headers of its snapshots. Calls `report`
    /// now and then.
    ///
    /// # Errors
    /// If there is no such group, or the operating system refuses.
    pub fn inspect(
        &mut self,
        group: Option<GroupId>,
        report: &mut dyn FnMut(&ScanProgress),
    ) -> Result<Inspection, InspectError> {
        self.look(group, false, report)
    }

    /// Reads and checks everything, the content of snapshots included. Calls `report` now and then.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn verify(&mut self, report: &mut dyn FnMut(&ScanProgress)) -> Result<Inspection, InspectError> {
        self.look(None, true, report)
    }

    /// Hands the entries of `group` in `range` to `take`, in order, until it breaks off; what cannot be read is left out and
    /// comes back as findings. The range may be larger than the log, but must share an entry with it.
    ///
    /// # Errors
    /// If there is no such group, if it has no entry in `range`, or if the operating system refuses.
    pub fn entries(
        &mut self,
        group: GroupId,
        range: RangeInclusive<Index>,
        take: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<Vec<Finding>, InspectError> {
        let mut findings = self.findings.clone();
        let ids = self.group_ids(&mut findings)?;
        self.demand(group, &ids)?;
        let Some(scratch) = &self.scratch else {
            return Ok(findings);
        };
        let view = scratch.database.view();
        let mut gather = Gather {
            view: &view,
            reword: &|said| scratch.reword(said),
            findings: &mut findings,
            progress: &mut ScanProgress::default(),
            report: &mut |_| {},
        };
        let state = gather.state(group);
        let begin = state.start();
        let last = last_key(&view, group, begin.first.unwrap_or(Index::ZERO));
        let (from, to) = (*range.start(), *range.end());
        let outside = begin.first.is_some_and(|first| to < first) || last.is_none_or(|last| from > last);
        if outside || from > to {
            let there = extent(&state, last);
            return Err(InspectError::NoSuchEntries {
                group,
                from,
                to,
                there,
            });
        }
        let start = match begin.first {
            Some(first) if first >= from => begin,
            _ => Start {
                first: Some(from),
                previous: None,
            },
        };
        walk(&view, group, start, &mut |met| {
            if met.first().is_some_and(|first| first > to) {
                return ControlFlow::Break(());
            }
            findings.extend(misfit(group, &met, &|said| scratch.reword(said)));
            let Met::Entry(entry, ..) = met else {
                return ControlFlow::Continue(());
            };
            match entry.decode() {
                Ok(payload) => take(Entry {
                    id: entry.link.id,
                    payload,
                }),
                Err(error) => {
                    let index = entry.link.id.index;
                    let place = Place::Entries(group, index, Some(index));
                    findings.push(Finding::record(place, &error));
                    ControlFlow::Continue(())
                }
            }
        });
        Ok(findings)
    }

    fn look(
        &mut self,
        only: Option<GroupId>,
        contents: bool,
        report: &mut dyn FnMut(&ScanProgress),
    ) -> Result<Inspection, InspectError> {
        let mut inspection = Inspection {
            findings: self.findings.clone(),
            usage: usage::measure(&self.log, &self.snapshots)?,
            journal_records: self.scratch.as_ref().map_or(0, |scratch| scratch.journal_records),
            ..Inspection::default()
        };
        let mut ids = self.group_ids(&mut inspection.findings)?;
        if let Some(group) = only {
            self.demand(group, &ids)?;
            ids.retain(|id| *id == group);
        }
        inspection.snapshots = snapshots::list(&self.snapshots, only, &mut inspection.findings)?;
        let usage = &inspection.usage;
        inspection.read.log_bytes_total = usage.tables.bytes + usage.journal.bytes;
        if contents {
            let contents = inspection.snapshots.iter().map(|file| match file.state {
                SnapshotState::Finished { content_bytes, .. } => content_bytes,
                SnapshotState::Unfinished | SnapshotState::Damaged => 0,
            });
            inspection.read.snapshot_bytes_total = contents.sum();
        }
        self.groups(&ids, &mut inspection, report)?;
        if contents {
            snapshots::verify(
                &mut inspection.snapshots,
                &mut inspection.findings,
                &mut inspection.read,
                report,
            )?;
        }
        missing_snapshots(&mut inspection);
        report(&inspection.read);
        Ok(inspection)
    }

    /// The reports of the groups `ids`.
    fn groups(
        &self,
        ids: &BTreeSet<GroupId>,
        inspection: &mut Inspection,
        report: &mut dyn FnMut(&ScanProgress),
    ) -> Result<(), InspectError> {
        let mut marks = watermarks::read(&self.log.join("watermarks"), &mut inspection.findings)?;
        marks.retain(|group, _| ids.contains(group));
        let Some(scratch) = &self.scratch else {
            return Ok(());
        };
        let view = scratch.database.view();
        for group in ids {
            let mut ignored = Vec::new();
            let mut gather = Gather {
                view: &view,
                reword: &|said| scratch.reword(said),
                findings: &mut ignored,
                progress: &mut ScanProgress::default(),
                report: &mut |_| {},
            };
            let first = gather.state(*group).start().first.unwrap_or(Index(1));
            let last = last_key(&view, *group, first).map_or(first, Index::next);
            inspection.read.entries_total += last.entries_since(first);
        }
        for group in ids {
            let mark = marks.get(group).copied();
            let mut gather = Gather {
                view: &view,
                reword: &|said| scratch.reword(said),
                findings: &mut inspection.findings,
                progress: &mut inspection.read,
                report,
            };
            let Some(found) = gather.group(*group, mark) else {
                continue;
            };
            if mark.is_none() {
                let missing = OpenError::WatermarkMissing {
                    group: *group,
                    path: self.log.join("watermarks"),
                };
                inspection
                    .findings
                    .push(Finding::refusal(Place::Group(*group), &missing));
            }
            inspection.groups.push(found);
        }
        Ok(())
    }

    /// Every group that the database or a watermark knows.
    fn group_ids(&self, findings: &mut Vec<Finding>) -> Result<BTreeSet<GroupId>, InspectError> {
        let mut ids = BTreeSet::new();
        // What is wrong with the watermarks is said where they are used.
        ids.extend(watermarks::read(&self.log.join("watermarks"), &mut Vec::new())?.into_keys());
        if let Some(scratch) = &self.scratch {
            let (found, error) = scratch.database.groups_readable();
            ids.extend(found);
            if let Some(error) = error {
                let said = scratch.reword(error.as_ref());
                let problem = format!("RocksDB cannot read which groups there are: {said}");
                findings.push(Finding::damage(Place::File(self.log.join("db")), problem));
            }
        }
        Ok(ids)
    }

    fn demand(&self, group: GroupId, ids: &BTreeSet<GroupId>) -> Result<(), InspectError> {
        if ids.contains(&group) {
            return Ok(());
        }
        let names: Vec<String> = ids.iter().map(GroupId::to_string).collect();
        let known = match names.len() {
            0 => String::from("the store has none"),
            _ => format!("the store has {}", names.join(", ")),
        };
        Err(InspectError::UnknownGroup { group, known })
    }
}

/// Notes snapshots in force that have no file.
fn missing_snapshots(inspection: &mut Inspection) {
    for group in &inspection.groups {
        let Some(snapshot) = &group.snapshot else { continue };
        let is_it = |file: &SnapshotFile| {
            file.group == group.group
                && file.last == snapshot.last
                && matches!(file.state, SnapshotState::Finished { .. })
        };
        if snapshot.last.index > Index::ZERO && !inspection.snapshots.iter().any(is_it) {
            inspection.findings.push(Finding::notice(
                Place::Group(group.group),
                format!("the snapshot in force, {}, has no whole file", snapshot.last),
                "a state machine that has its state does not need it, and the next snapshot replaces it",
            ));
        }
    }
}
