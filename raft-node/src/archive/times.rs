//! What a node had applied at what time, by its own clock.
//!
//! One file of records of 20 bytes: milliseconds since 1970 (8, little-endian), applied index (8), CRC-32C of both (4). A
//! record is added once a second while the index moves, and is on the disk before the next one. A clock that steps back is taken
//! to stand still until it is past the last record. A file of a million records is thinned out: of its older half every
//! second one stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft_core::types::Index;

use crate::durable_file;

const RECORD_BYTES: usize = 20;
/// About twelve days at full resolution, and 20 MB.
const RECORDS_MAX: usize = 1 << 20;

/// At this time the node had applied everything up to this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// The last applied index.
    pub applied: Index,
}

impl Moment {
    fn encode(self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..8].copy_from_slice(&self.unix_ms.to_le_bytes());
        record[8..16].copy_from_slice(&self.applied.0.to_le_bytes());
        let checksum = crc32c::crc32c(&record[..16]);
        record[16..].copy_from_slice(&checksum.to_le_bytes());
        record
    }

    fn decode(record: &[u8]) -> Option<Moment> {
        let number = |part: &[u8]| Some(u64::from_le_bytes(part.try_into().ok()?));
        let checksum = u32::from_le_bytes(record.get(16..RECORD_BYTES)?.try_into().ok()?);
        (crc32c::crc32c(&record[..16]) == checksum).then_some(Moment {
            unix_ms: number(&record[..8])?,
            applied: Index(number(&record[8..16])?),
        })
    }
}

/// The file of times, open to add to it.
#[derive(Debug)]
pub struct Times {
    path: PathBuf,
    file: File,
    last: Option<Moment>,
    records: usize,
}

impl Times {
    /// Opens the file at `path`, and makes it if there is none. What a crash left of a record is cut off.
    pub fn open(path: &Path) -> io::Result<Times> {
        let moments = read(path)?;
        let options = || {
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o600);
            options
        };
        let file = options().open(path)?;
        let whole = (moments.len() * RECORD_BYTES) as u64;
        if file.metadata()?.len() != whole {
            file.set_len(whole)?;
        }
        Ok(Times {
            path: path.to_owned(),
            file,
            last: moments.last().copied(),
            records: moments.len(),
        })
    }

    /// Notes that everything up to `applied` is applied at `now`, durably. Nothing is noted if that was so before.
    pub fn note(&mut self, now: SystemTime, applied: Index) -> io::Result<()> {
        if self.last.is_some_and(|last| last.applied >= applied) {
            return Ok(());
        }
        let now = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let moment = Moment {
            unix_ms: self.last.map_or(now, |last| last.unix_ms.max(now)),
            applied,
        };
        if self.records >= RECORDS_MAX {
            self.thin_out()?;
        }
        self.file.write_all(&moment.encode())?;
        self.file.sync_data()?;
        self.last = Some(moment);
        self.records += 1;
        Ok(())
    }

    fn thin_out(&mut self) -> io::Result<()> {
        let moments = read(&self.path)?;
        let half = moments.len() / 2;
        let older = moments[..half].iter().step_by(2);
        let kept: Vec<u8> = older
            .chain(&moments[half..])
            .flat_map(|moment| moment.encode())
            .collect();
        durable_file::replace(&self.path, &kept, 0o600)?;
        *self = Times::open(&self.path)?;
        Ok(())
    }
}

/// All whole records of the file at `path`; none if there is no file. What follows a damaged record is not believed.
pub fn read(path: &Path) -> io::Result<Vec<Moment>> {
    let contents = match fs::read(path) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let records = contents.chunks_exact(RECORD_BYTES);
    Ok(records.map_while(Moment::decode).collect())
}

/// The last moment at or before `unix_ms`, and the one after it.
#[must_use]
pub fn find(moments: &[Moment], unix_ms: u64) -> (Option<Moment>, Option<Moment>) {
    let after = moments.partition_point(|moment| moment.unix_ms <= unix_ms);
    let before = after.checked_sub(1).and_then(|before| moments.get(before));
    (before.copied(), moments.get(after).copied())
}
