//! Looks at the files of a snapshot directory.

use std::fs;
use std::io;
use std::path::Path;

use raft_core::traits::SnapshotStoreError;
use raft_core::types::GroupId;

use super::error::InspectError;
use super::report::{Finding, Place, ScanProgress, SnapshotFile, SnapshotState};
use crate::snapshot::reader::Finished;
use crate::snapshot::store::{FINISHED, Named, check_identity, files};

/// What to do about a damaged snapshot.
const SNAPSHOT_REMEDY: &str = "remove the file, so that an older snapshot or the leader's is used";

/// The files of the snapshots of all groups, or of `only`. Reads their headers and ends.
pub(super) fn list(
    dir: &Path,
    only: Option<GroupId>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<SnapshotFile>, InspectError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(InspectError::read(dir, error)),
    };
    let mut groups = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| InspectError::read(dir, error))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match name.strip_prefix("group-").and_then(|number| number.parse().ok()) {
            Some(group) => groups.push((GroupId(group), path)),
            None => findings.push(Finding::notice(
                Place::File(path),
                "this is no group's directory",
                "the store does not look at it; move it elsewhere",
            )),
        }
    }
    groups.sort_unstable();
    groups.retain(|(group, _)| only.is_none_or(|only| only == *group));
    let mut found = Vec::new();
    for (group, path) in groups {
        let named = files(&path).map_err(|error| read_error(&path, &error))?;
        for file in named {
            found.push(look(group, file, findings)?);
        }
    }
    Ok(found)
}

/// Reads and checks every byte of the finished snapshots among `files`.
pub(super) fn verify(
    files: &mut [SnapshotFile],
    findings: &mut Vec<Finding>,
    progress: &mut ScanProgress,
    report: &mut dyn FnMut(&ScanProgress),
) -> Result<(), InspectError> {
    for file in files {
        let SnapshotState::Finished { .. } = file.state else {
            continue;
        };
        let damage = read_content(file, progress, report)?;
        if let Some(problem) = damage {
            findings.push(damaged(file, problem));
            file.state = SnapshotState::Damaged;
        }
    }
    Ok(())
}

fn look(group: GroupId, named: Named, findings: &mut Vec<Finding>) -> Result<SnapshotFile, InspectError> {
    let metadata = fs::metadata(&named.path).map_err(|error| InspectError::read(&named.path, error))?;
    let mut file = SnapshotFile {
        path: named.path,
        group,
        last: named.last,
        bytes: metadata.len(),
        state: SnapshotState::Unfinished,
    };
    if named.extension != FINISHED {
        return Ok(file);
    }
    let opened = Finished::open(&file.path).and_then(|finished| {
        if let Some(finished) = &finished {
            check_identity(finished, &file.path, group, file.last)?;
        }
        Ok(finished)
    });
    file.state = match opened {
        Ok(Some(finished)) => SnapshotState::Finished {
            content_bytes: finished.content.bytes,
            membership: finished.header.meta.membership,
        },
        Ok(None) => SnapshotState::Unfinished,
        Err(SnapshotStoreError::Corrupt(reason)) => {
            findings.push(damaged(&file, problem(&file.path, &reason)));
            SnapshotState::Damaged
        }
        Err(error) => return Err(read_error(&file.path, &error)),
    };
    Ok(file)
}

/// Reads a whole snapshot; what is wrong with it, if anything.
fn read_content(
    file: &SnapshotFile,
    progress: &mut ScanProgress,
    report: &mut dyn FnMut(&ScanProgress),
) -> Result<Option<String>, InspectError> {
    let failed = |error| match error {
        SnapshotStoreError::Corrupt(reason) => Ok(Some(problem(&file.path, &reason))),
        error => Err(read_error(&file.path, &error)),
    };
    let mut finished = match Finished::open(&file.path) {
        Ok(Some(finished)) => finished,
        Ok(None) => return Ok(None),
        Err(error) => return failed(error),
    };
    loop {
        match finished.read(usize::MAX) {
            Ok(chunk) if chunk.is_empty() => return Ok(None),
            Ok(chunk) => {
                progress.bytes += chunk.len() as u64;
                progress.snapshot_bytes += chunk.len() as u64;
                report(progress);
            }
            Err(error) => return failed(error),
        }
    }
}

fn damaged(file: &SnapshotFile, problem: String) -> Finding {
    Finding {
        remedy: String::from(SNAPSHOT_REMEDY),
        ..Finding::damage(Place::File(file.path.clone()), problem)
    }
}

/// What is wrong with the file at `path`, without what a finding says anyway.
fn problem(path: &Path, reason: &str) -> String {
    let named = format!("the snapshot {} is damaged: ", path.display());
    let reason = reason.strip_prefix(&named).unwrap_or(reason);
    let (problem, _) = reason.rsplit_once("; ").unwrap_or((reason, ""));
    String::from(problem)
}

fn read_error(path: &Path, error: &SnapshotStoreError) -> InspectError {
    InspectError::read(path, io::Error::other(error.to_string()))
}
