//! Reads the watermark files of a store.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use raft_core::types::GroupId;

use super::error::InspectError;
use super::report::{Finding, Place, WatermarkReport};
use crate::format::watermark::{Promise, Slot, decode_slot};
use crate::log::watermark::group_of;
use crate::slots;

/// What the file of one group says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) promise: Promise,
    pub(super) report: WatermarkReport,
}

/// Everything in the directory of the watermarks; `None` for a file that says nothing, which is a finding.
pub(super) fn read(
    dir: &Path,
    findings: &mut Vec<Finding>,
) -> Result<BTreeMap<GroupId, Option<Mark>>, InspectError> {
    let mut marks = BTreeMap::new();
    let files = match fs::read_dir(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(marks),
        Err(error) => return Err(InspectError::read(dir, error)),
    };
    for file in files {
        let path = file.map_err(|error| InspectError::read(dir, error))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(group) = group_of(name) else {
            let (problem, remedy) = if name.ends_with(".tmp") {
                ("a watermark that was not finished", "the next start removes it")
            } else {
                (
                    "this is no watermark",
                    "the store does not look at it; move it elsewhere",
                )
            };
            findings.push(Finding::notice(Place::File(path), problem, remedy));
            continue;
        };
        let slots = slots::read(&path).map_err(|error| InspectError::read(&path, error))?;
        marks.insert(group, decode(group, &path, &slots, findings));
    }
    Ok(marks)
}

fn decode(group: GroupId, path: &Path, slots: &[Vec<u8>; 2], findings: &mut Vec<Finding>) -> Option<Mark> {
    let place = || Place::File(path.to_path_buf());
    let slots = [0, 1].map(|slot| decode_slot(group, &slots[slot]));
    for slot in &slots {
        if let Slot::Version(found) = slot {
            let mut finding = Finding::damage(place(), format!("its format version {found} is unknown"));
            finding.remedy = String::from("use the build that wrote it");
            findings.push(finding);
            return None;
        }
    }
    let whole: Vec<(u64, Promise)> = slots.iter().filter_map(Slot::valid).collect();
    let Some((sequence, promise)) = whole.iter().max_by_key(|(sequence, _)| *sequence).copied() else {
        findings.push(Finding::damage(
            place(),
            format!("neither of the two copies is a whole watermark of group {group}"),
        ));
        return None;
    };
    if whole.len() == 1 {
        findings.push(Finding::notice(
            place(),
            "one of the two copies is torn, as a crash leaves it",
            "the other one counts; the next write replaces it",
        ));
    }
    let report = WatermarkReport {
        sequence,
        term: promise.term,
        vote: promise.vote,
        last: promise.last,
        copies: whole.len(),
    };
    Some(Mark { promise, report })
}
