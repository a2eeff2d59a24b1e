//! One file of the journal: of a fixed size, every block of it written before it is used.
//!
//! A file that grows costs a sync of the file system's own journal with each sync of the data, and its size is lost when power
//! is. A segment has its size and its blocks from the beginning, so a sync is a write of data and nothing else, and
//! a segment that is shorter than its head says has been cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::files::sync_parent;
use crate::format::journal::{Place, SECTOR_BYTES, SegmentHead, TWINS_AT, disk_bytes};

/// The largest twin slot. A record that does not fit has no twin: its acknowledgement waits for a write of the
/// control file instead, which costs a second sync, but little beside so much data.
const TWIN_BYTES_MAX: u64 = 128 << 10;
/// Zeros are written in pieces of this size. The page cache keeps the pieces as they were written, and a later write goes through
/// all the buffers of the piece it falls into: with pieces of 1 MiB a small record costs a third more of the processor.
const ZEROS_BYTES: usize = 64 << 10;

/// A segment that is being appended to.
#[derive(Debug)]
pub(crate) struct Segment {
    file: File,
    path: PathBuf,
    pub(crate) head: SegmentHead,
    /// Where the next record goes.
    pub(crate) at: u64,
}

/// The size of a twin slot in segments of `file_bytes`.
fn twin_bytes(file_bytes: u64) -> u64 {
    let sector = SECTOR_BYTES as u64;
    (file_bytes / 16 / sector * sector).min(TWIN_BYTES_MAX)
}

/// The size of a segment that is meant to have `file_bytes` and must hold a record with a body of `body_bytes`.
pub(crate) fn size_for(file_bytes: u64, body_bytes: usize) -> u64 {
    // Not less than two twin slots of one sector, and a few records.
    let file_bytes = file_bytes.max(64 << 10).next_multiple_of(TWINS_AT);
    let needed = TWINS_AT + 2 * TWIN_BYTES_MAX + disk_bytes(body_bytes) as u64;
    if disk_bytes(body_bytes) as u64 <= file_bytes - TWINS_AT - 2 * twin_bytes(file_bytes) {
        file_bytes
    } else {
        needed.next_multiple_of(TWINS_AT)
    }
}

pub(crate) fn file_name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number of the segment with this file name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?;
    let number = (number.len() == 20).then(|| number.parse().ok()).flatten();
    // Larger ones were never given.
    number.filter(|number| *number < u64::MAX / 2)
}

/// Writes a file of `file_bytes` zeros, synced: the raw material of a segment. Its name is not durable yet.
pub(crate) fn write_zeros(path: &Path, file_bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let zeros = vec![0; ZEROS_BYTES.min(usize::try_from(file_bytes).unwrap_or(ZEROS_BYTES))];
    let mut left = file_bytes;
    while left > 0 {
        let piece = zeros.len().min(usize::try_from(left).unwrap_or(zeros.len()));
        file.write_all(&zeros[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()
}

impl Segment {
    /// Makes the file at `raw`, which has blocks for all its bytes, the segment `number` in `dir`. When this returns,
    /// it is there durably, and empty.
    pub(crate) fn begin(
        dir: &Path,
        raw: &Path,
        store: u64,
        number: u64,
        begin: Place,
    ) -> io::Result<Segment> {
        let file = OpenOptions::new().read(true).write(true).open(raw)?;
        let file_bytes = file.metadata()?.len();
        let head = SegmentHead {
            store,
            number,
            file_bytes,
            twin_bytes: twin_bytes(file_bytes),
            begin,
        };
        file.write_all_at(&head.encode(), 0)?;
        file.sync_data()?;
        let path = dir.join(file_name(number));
        fs::rename(raw, &path)?;
        sync_parent(&path)?;
        Ok(Segment {
            file,
            path,
            head,
            at: head.records_at(),
        })
    }

    /// A segment that was read before, to be continued at `at`.
    pub(crate) fn reopen(path: PathBuf, head: SegmentHead, at: u64) -> io::Result<Segment> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Segment { file, path, head, at })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a record of so many sectors' bytes fits behind the others.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.at + bytes as u64 <= self.head.file_bytes
    }

    /// Whether a record of so many sectors' bytes has a twin.
    pub(crate) fn has_twin(&self, bytes: usize) -> bool {
        bytes as u64 <= self.head.twin_bytes
    }

    /// Writes the sectors of record `sequence`, and its twin if that fits; one sync for both.
    pub(crate) fn append(&mut self, sequence: u64, sectors: &[u8]) -> io::Result<()> {
        self.file.write_all_at(sectors, self.at)?;
        if self.has_twin(sectors.len()) {
            self.file.write_all_at(sectors, self.head.twin_at(sequence))?;
        }
        self.file.sync_data()?;
        self.at += sectors.len() as u64;
        Ok(())
    }

    /// Writes `bytes` somewhere, to mend what a crash left; durable after [`sync`](Segment::sync).
    pub(crate) fn put(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Makes everything in the file durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
