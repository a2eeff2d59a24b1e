//! The file where a node notes what it had applied at what time, by its own clock.
//!
//! A record is added once a second while the index moves, and is on the disk before the next one. A clock that steps back is taken
//! to stand still until it is past the last record. A file of a million records is thinned out: of its older half every
//! second one stays. [`moments`](super::moments) has its bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft_core::types::Index;

use super::moments::{Moment, Moments, RECORD_BYTES};
use crate::durable_file;

/// About twelve days at full resolution, and 20 MB.
const RECORDS_MAX: usize = 1 << 20;

/// The file of times, open to add to it.
#[derive(Debug)]
pub struct Times {
    path: PathBuf,
    file: File,
    last: Option<Moment>,
    records: usize,
}

impl Times {
    /// Opens the file at `path`, and makes it if there is none. What a crash left of a record is cut off, and nothing else: what is
    /// damaged stays, and says that something is not known (R77).
    pub fn open(path: &Path) -> io::Result<Times> {
        let moments = read(path)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.open(path)?;
        let whole = moments.bytes as u64;
        if file.metadata()?.len() != whole {
            file.set_len(whole)?;
        }
        // The name of a new file, too, is to survive.
        durable_file::sync_directory(path.parent().unwrap_or(Path::new("")))?;
        if let Some(damage) = moments.damages.first() {
            tracing::warn!(
                "{} is damaged at byte {}: `raft-node restore --at-time` does not know some times",
                path.display(),
                damage.at
            );
        }
        Ok(Times {
            path: path.to_owned(),
            file,
            last: moments.list.last().copied(),
            records: moments.bytes / RECORD_BYTES,
        })
    }

    /// The last moment that was noted.
    #[must_use]
    pub fn last(&self) -> Option<Moment> {
        self.last
    }

    /// Notes that everything up to `applied` is applied at `now`, durably. Nothing is noted if that was so before.
    pub fn note(&mut self, now: SystemTime, applied: Index) -> io::Result<()> {
        if self.last.is_some_and(|last| last.applied >= applied) {
            return Ok(());
        }
        let now = unix_ms(now);
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
        let contents = fs::read(&self.path)?;
        let kept = Moments::decode(&contents).thinned(&contents);
        durable_file::replace(&self.path, &kept, 0o600)?;
        *self = Times::open(&self.path)?;
        Ok(())
    }
}

/// What the file at `path` says; nothing if there is no file.
pub fn read(path: &Path) -> io::Result<Moments> {
    match fs::read(path) {
        Ok(contents) => Ok(Moments::decode(&contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Moments::default()),
        Err(error) => Err(error),
    }
}

/// A time as a file of times has it.
#[must_use]
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
