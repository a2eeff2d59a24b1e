//! Segments: a run of entries in one file, which is never changed.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use raft_core::entry::Entry;
use raft_core::types::{GroupId, Index};

use super::disk::{Disk, write_durably};
use super::error::{ArchiveError, Unusable};
use super::format::{self, HEADER_BYTES, Header, Place, SegmentFault, parse_name};

/// One file of entries, of which the header and the length were found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: Header,
}

impl Segment {
    /// Writes entries, which are not empty, durably into a file of `directory`.
    pub(super) fn write(
        disk: &dyn Disk,
        directory: &Path,
        group: GroupId,
        begin: Place,
        entries: &[Entry],
    ) -> Result<Segment, ArchiveError> {
        let mut after = begin.id;
        for entry in entries {
            if entry.index() != after.index.next() || entry.id.term < after.term {
                let found = entry.id;
                return Err(ArchiveError::NotContiguous { after, found });
            }
            after = entry.id;
        }
        let (header, contents) = format::encode(group, begin, entries);
        let path = directory.join(header.name());
        write_durably(disk, &path, &contents).map_err(ArchiveError::io("write", &path))?;
        Ok(Segment { path, header })
    }

    /// What the file at `path` is; none if its name is not a segment's.
    pub(super) fn find(path: &Path, group: GroupId) -> Option<Result<Segment, Unusable>> {
        let (first, last) = parse_name(path.file_name()?.to_str()?)?;
        let header = look_into(path, group);
        Some(match header {
            Ok(header) => Ok(Segment {
                path: path.to_owned(),
                header,
            }),
            Err(fault) => Err(Unusable {
                path: path.to_owned(),
                fault,
                first,
                last: last.index,
            }),
        })
    }

    /// The first entry.
    pub(super) fn first(&self) -> Index {
        self.header.first()
    }

    /// The last entry.
    pub(super) fn last(&self) -> Index {
        self.header.end.id.index
    }

    /// How many bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.header.file_bytes()
    }

    /// It, for a reason that speaks against it.
    pub(super) fn unusable(&self, fault: SegmentFault) -> Unusable {
        Unusable {
            path: self.path.clone(),
            fault,
            first: self.first(),
            last: self.last(),
        }
    }

    /// All of its entries, checked.
    pub(super) fn read(&self) -> Result<Vec<Entry>, ArchiveError> {
        let contents = fs::read(&self.path).map_err(ArchiveError::io("read", &self.path))?;
        match format::decode(&contents.into()) {
            Ok((header, entries)) if header == self.header => Ok(entries),
            Ok((header, _)) => Err(self.unusable(SegmentFault::Name(header.name())).into()),
            Err(fault) => Err(self.unusable(fault).into()),
        }
    }
}

/// Checks what can be checked without reading the entries.
fn look_into(path: &Path, group: GroupId) -> Result<Header, SegmentFault> {
    let unreadable = |error: std::io::Error| SegmentFault::Unreadable(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?.len();
    let mut head = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    let header = Header::decode(&head)?;
    let (expected, name) = (header.file_bytes(), header.name());
    if header.group != group {
        return Err(SegmentFault::Group {
            found: header.group,
            expected: group,
        });
    }
    if path.file_name() != Some(name.as_ref()) {
        return Err(SegmentFault::Name(name));
    }
    match found == expected {
        true => Ok(header),
        false => Err(SegmentFault::Length { found, expected }),
    }
}
