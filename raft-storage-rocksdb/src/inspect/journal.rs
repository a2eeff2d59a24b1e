//! Looks for further damage in a journal that lost something.
//!
//! Recovery stops at the first loss, since nothing behind it may be used. Each segment says in its head where it begins, so that it
//! can be checked by itself. Within one segment the first misfit hides what follows: a record can only be told
//! by the one before it.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::InspectError;
use super::report::{Finding, Place as At};
use crate::error::LOSS_REMEDY;
use crate::format::journal::{
    Found, HeadError, Place, SECTOR_BYTES, SegmentHead, Stamp, decode_record, is_later, stamp,
};

/// A segment whose head is whole.
struct Checked {
    number: u64,
    begin: Place,
    /// Where its records end.
    end: Place,
    /// Why they end there, if they should not.
    broken: Option<String>,
    path: PathBuf,
}

/// Everything that is wrong with the segments `paths`, which are sorted, beyond `known`: what recovery said about the
/// first loss.
pub(super) fn further(paths: &[PathBuf], known: &str) -> Result<Vec<Finding>, InspectError> {
    let mut findings = Vec::new();
    let mut before: Option<Checked> = None;
    for path in paths {
        let checked = match check(path)? {
            Ok(checked) => checked,
            Err(problem) => {
                findings.push(damage(path, problem));
                before = None;
                continue;
            }
        };
        if let Some(before) = &before {
            findings.extend(between(before, &checked));
        }
        before = Some(checked);
    }
    if let Some(last) = before
        && let Some(problem) = &last.broken
    {
        let problem = format!("record {} {problem}", last.end.next);
        findings.push(damage(&last.path, problem));
    }
    findings.retain(|finding| !is_known(finding, known));
    Ok(findings)
}

/// What is wrong where one segment ends and the next one begins.
fn between(before: &Checked, after: &Checked) -> Option<Finding> {
    if after.number != before.number + 1 {
        let missing = before.number + 1;
        let path = after.path.with_file_name(format!("{missing:020}.seg"));
        return Some(damage(
            &path,
            String::from("missing, though there are later ones"),
        ));
    }
    if before.end == after.begin {
        return None;
    }
    let problem = match &before.broken {
        Some(problem) => format!("record {} {problem}, but there are later ones", before.end.next),
        None => format!(
            "it ends before record {}, and the next one begins with record {}",
            before.end.next, after.begin.next
        ),
    };
    Some(damage(&before.path, problem))
}

/// Reads a segment by itself; the inner error says why it is none.
fn check(path: &Path) -> Result<Result<Checked, String>, InspectError> {
    let bytes = fs::read(path).map_err(|error| InspectError::read(path, error))?;
    let head = match SegmentHead::decode(&bytes) {
        Ok(head) => head,
        Err(HeadError::Damaged) => return Ok(Err(String::from("its head is damaged"))),
        Err(HeadError::Version(found)) => return Ok(Err(format!("its format version {found} is unknown"))),
    };
    if bytes.len() as u64 != head.file_bytes {
        let problem = format!("it has {} bytes instead of {}", bytes.len(), head.file_bytes);
        return Ok(Err(problem));
    }
    let (end, broken) = records(&head, &bytes);
    Ok(Ok(Checked {
        number: head.number,
        begin: head.begin,
        end,
        broken,
        path: path.to_path_buf(),
    }))
}

/// Where the records of a segment end, and why, if something that was written stands there.
fn records(head: &SegmentHead, bytes: &[u8]) -> (Place, Option<String>) {
    let (mut place, mut at) = (
        head.begin,
        usize::try_from(head.records_at()).unwrap_or(usize::MAX),
    );
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let twin_at = usize::try_from(head.twin_at(place.next)).unwrap_or(usize::MAX);
        let twin_end = twin_at.saturating_add(usize::try_from(head.twin_bytes).unwrap_or(usize::MAX));
        let twin = bytes.get(twin_at..twin_end).unwrap_or_default();
        let found = decode_record(head.store, place, rest);
        let step = match (&found, decode_record(head.store, place, twin)) {
            (
                Found::Whole {
                    disk_bytes, after, ..
                },
                _,
            ) => Some((*disk_bytes, *after)),
            (
                _,
                Found::Whole {
                    disk_bytes, after, ..
                },
            ) if disk_bytes <= rest.len() => Some((disk_bytes, after)),
            _ => None,
        };
        if let Some((disk_bytes, after)) = step {
            at += disk_bytes;
            place = after;
            continue;
        }
        let sectors = bytes.len() / SECTOR_BYTES;
        let goes_on = rest.chunks_exact(SECTOR_BYTES).any(|sector| {
            matches!(stamp(head.store, sector), Stamp::Of(other) if is_later(other, place.next, sectors))
        });
        return (place, problem(&found, goes_on));
    }
}

fn problem(found: &Found, goes_on: bool) -> Option<String> {
    match found {
        Found::Damaged(detail) => Some(format!("is damaged: {detail}")),
        Found::Torn { some: true } if goes_on => {
            Some(String::from("is incomplete, but there are later ones"))
        }
        _ if goes_on => Some(String::from("is missing, but there are later ones")),
        _ => None,
    }
}

fn damage(path: &Path, problem: String) -> Finding {
    Finding {
        remedy: String::from(LOSS_REMEDY),
        ..Finding::damage(At::File(path.to_path_buf()), problem)
    }
}

/// Whether recovery named this already: by the file, or by the number of the segment.
fn is_known(finding: &Finding, known: &str) -> bool {
    let At::File(path) = &finding.place else {
        return false;
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let number = name.trim_end_matches(".seg").trim_start_matches('0');
    known.contains(name) || known.contains(&format!("its segment {number} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::journal::encode_record;

    const FILE_BYTES: usize = 64 << 10;

    /// Five segments of three records each, as a crash before any was released leaves them.
    fn segments(dir: &Path) -> Vec<PathBuf> {
        let mut place = Place { next: 1, chain: 0 };
        let mut paths = Vec::new();
        for number in 1..=5 {
            let head = SegmentHead {
                store: 77,
                number,
                file_bytes: FILE_BYTES as u64,
                twin_bytes: 512,
                begin: place,
            };
            let mut bytes = head.encode().to_vec();
            bytes.resize(FILE_BYTES, 0);
            let mut at = head.records_at() as usize;
            for _ in 0..3 {
                let mut sectors = Vec::new();
                place = encode_record(77, place, &[9; 1_000], &mut sectors);
                bytes[at..at + sectors.len()].copy_from_slice(&sectors);
                at += sectors.len();
            }
            let path = dir.join(format!("{number:020}.seg"));
            fs::write(&path, bytes).unwrap();
            paths.push(path);
        }
        paths
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// R77: behind the first loss, which ends what can be used, the others are named, too.
    #[test]
    fn every_damaged_segment_is_named_but_the_one_that_is_known() {
        const RECORDS_AT: usize = 4096 + 2 * 512;
        let dir = tempfile::tempdir().unwrap();
        let paths = segments(dir.path());
        assert_eq!(further(&paths, "").unwrap(), []);

        flip(&paths[0], RECORDS_AT + 100);
        flip(&paths[1], RECORDS_AT + 1_536 + 100);
        flip(&paths[3], 20);
        flip(&paths[4], RECORDS_AT + 2 * 1_536 + 100);
        let found = further(&paths, "record 1 in 00000000000000000001.seg is damaged").unwrap();
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 3, "{texts:#?}");
        for (text, parts) in texts.iter().zip([
            [
                "00000000000000000002.seg: record 5 is damaged",
                "but there are later ones",
            ],
            ["00000000000000000004.seg: its head is damaged", "as a suspect"],
            ["00000000000000000005.seg: record 15 is damaged", "as a suspect"],
        ]) {
            assert!(
                parts.iter().all(|part| text.contains(part)),
                "{parts:?} in {text}"
            );
        }
    }

    #[test]
    fn a_missing_and_a_cut_segment_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = segments(dir.path());
        let gone = paths.remove(2);
        fs::write(&paths[0], &fs::read(&paths[0]).unwrap()[..5_000]).unwrap();
        let texts: Vec<String> = further(&paths, "")
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts.len(), 2, "{texts:#?}");
        assert!(
            texts[0].contains("it has 5000 bytes instead of 65536"),
            "{texts:#?}"
        );
        assert!(
            texts[1].contains(&format!("{}: missing", gone.display())),
            "{texts:#?}"
        );
        assert_eq!(further(&paths, "its segment 3 is missing").unwrap().len(), 1);
    }
}
