//! The directory of a store: who may use it, and which of the databases in it is the one.
//!
//! ```text
//! DIR/LOCK            held as long as the store is open
//! DIR/STATE           names the database in force, with a checksum
//! DIR/db-7/           that database
//! DIR/db-8/           one that a restore is unpacking, or the one it replaced: removed at the next start
//! DIR/checkpoint-…/   the files of a snapshot that is being read: removed with its reader, or at the next start
//! ```
//!
//! The switch from one database to another is the rename of STATE, followed by a sync of the directory (R54, R74):
//! before it the old database is in force, after it the new one, and nothing in between exists. This module removes
//! only what carries one of its own names, and only while it holds the lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::OpenError;
use crate::layout::FORMAT;

const LOCK: &str = "LOCK";
const STATE: &str = "STATE";
const STATE_NEW: &str = "STATE.new";
const DATABASE_PREFIX: &str = "db-";
const CHECKPOINT_PREFIX: &str = "checkpoint-";

/// A locked directory. Clones share the lock; it is released with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: Arc<File>,
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct RemoveOnDrop(pub(crate) PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Directory {
    /// Creates the directory if there is none, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Directory, OpenError> {
        let fail = |source| OpenError::from_io(path, source);
        create_directory(path, &mut sync_directory).map_err(fail)?;
        refuse_foreign(path)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory {
                path: path.to_owned(),
                _lock: Arc::new(lock),
            }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the database in force; `None` if there never was one.
    pub(crate) fn active(&self) -> Result<Option<u64>, OpenError> {
        match fs::read_to_string(self.path.join(STATE)) {
            Ok(text) => self.parse_state(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.adopt(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.damaged("STATE is not text".into()))
            }
            Err(error) => Err(OpenError::from_io(&self.path.join(STATE), error)),
        }
    }

    /// Without STATE the first start was interrupted: then there is at most the first database, and it is used as it
    /// is. Any other says that STATE was lost.
    fn adopt(&self) -> Result<Option<u64>, OpenError> {
        let fail = |source| OpenError::from_io(&self.path, source);
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(DATABASE_PREFIX));
            if number.is_some_and(|number| number != "1") {
                return Err(self.damaged(format!("STATE is missing, but there is {name:?}")));
            }
        }
        Ok(None)
    }

    fn parse_state(&self, text: &str) -> Result<u64, OpenError> {
        let fail = || {
            self.damaged(format!(
                "STATE reads {:?}",
                text.chars().take(80).collect::<String>()
            ))
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [
            "raft-kv",
            "format",
            format,
            "database",
            database,
            "crc32c",
            checksum,
        ] = words[..]
        else {
            return Err(fail());
        };
        let format: u32 = format.parse().map_err(|_| fail())?;
        if format != FORMAT {
            return Err(OpenError::Format {
                path: self.path.clone(),
                found: format,
                supported: FORMAT,
            });
        }
        let number: u64 = database.parse().map_err(|_| fail())?;
        let expected = format!("{:08x}", crc32c::crc32c(state_body(number).as_bytes()));
        if checksum != expected {
            return Err(fail());
        }
        Ok(number)
    }

    /// Where the database `number` is.
    pub(crate) fn database(&self, number: u64) -> PathBuf {
        self.path.join(format!("{DATABASE_PREFIX}{number}"))
    }

    /// A name for a checkpoint that no other of this process or of one before it has.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        self.path
            .join(format!("{CHECKPOINT_PREFIX}{}-{count}", std::process::id()))
    }

    /// Makes `number` the database in force, durably. After an error either may be in force after a restart, and the
    /// caller must not go on with the old one.
    pub(crate) fn activate(&self, number: u64) -> io::Result<()> {
        let body = state_body(number);
        let new = self.path.join(STATE_NEW);
        let mut file = File::create(&new)?;
        writeln!(file, "{body} crc32c {:08x}", crc32c::crc32c(body.as_bytes()))?;
        file.sync_all()?;
        // STATE must never name a database whose own name could still be lost.
        sync_directory(&self.path)?;
        fs::rename(&new, self.path.join(STATE))?;
        sync_directory(&self.path)
    }

    /// Removes what an interrupted restore or snapshot left behind; everything of ours but database `active`.
    pub(crate) fn remove_leftovers(&self, active: u64) -> Result<(), OpenError> {
        let fail = |source| OpenError::from_io(&self.path, source);
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let database = name.starts_with(DATABASE_PREFIX) && entry.path() != self.database(active);
            if database || name.starts_with(CHECKPOINT_PREFIX) {
                fs::remove_dir_all(entry.path()).map_err(fail)?;
            } else if name == STATE_NEW {
                fs::remove_file(entry.path()).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn damaged(&self, reason: String) -> OpenError {
        OpenError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }
}

/// Makes the names in a directory durable (R74).
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory and those above it, durably: also one that was made right before the process was killed, and whose name
/// nobody has synced yet (R74). Without it power loss could take the whole state, which the log does not have any more.
fn create_directory(path: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    // The root, and where the process stands, are there.
    let parent = path.parent().map(|parent| match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    });
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        create_directory(parent, sync)?;
    }
    match fs::create_dir(path) {
        Err(_) if path.is_dir() => {}
        created => created?,
    }
    parent.map_or(Ok(()), sync)
}

fn state_body(number: u64) -> String {
    format!("raft-kv format {FORMAT} database {number}")
}

/// A directory without STATE must hold nothing but what a first start makes, or it is somebody else's.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let fail = |source| OpenError::from_io(path, source);
    if path.join(STATE).try_exists().map_err(fail)? {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let ours = name.to_str().is_some_and(|name| {
            let prefixes = [DATABASE_PREFIX, CHECKPOINT_PREFIX];
            [LOCK, STATE_NEW, "lost+found"].contains(&name)
                || prefixes.iter().any(|prefix| name.starts_with(prefix))
        });
        if !ours {
            return Err(OpenError::Foreign {
                path: path.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R74: the name of every directory is synced that was missing, and that of the last one also if it was there.
    #[test]
    fn new_directories_are_durable_from_the_top_down() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let mut synced = Vec::new();
        let mut note = |directory: &Path| {
            synced.push(directory.to_owned());
            sync_directory(directory)
        };
        create_directory(&path("a/b"), &mut note).unwrap();
        create_directory(&path("a/b"), &mut note).unwrap();
        assert_eq!(synced, [path(""), path("a"), path("a")]);
    }
}
