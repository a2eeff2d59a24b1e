//! The changes that an archive makes on a disk, one by one, so that tests can let each of them fail or be the last.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::durable_file;

/// What changes files.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Makes a file anew, in the place of another one if there is one.
    fn create(&self, path: &Path, contents: &[u8]) -> io::Result<File>;

    /// Waits until what is in a file is on the disk.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Waits until the names in a directory are on the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Debug)]
pub(super) struct OwnDisk;

impl Disk for OwnDisk {
    fn create(&self, path: &Path, contents: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path)?;
        file.write_all(contents)?;
        Ok(file)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        durable_file::sync_directory(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Makes a file durably that is there whole or not at all (R54, R74). If that fails, neither is the new one there nor anything beside
/// it, as far as the disk still allows that: what could not be synced once is not believed after a second try, but written anew.
pub(super) fn write_durably(disk: &dyn Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    let unfinished = durable_file::temporary_path(path);
    let renamed = disk
        .create(&unfinished, contents)
        .and_then(|file| disk.sync(&file, &unfinished))
        .and_then(|()| disk.rename(&unfinished, path));
    // The first error is the one that matters; who opens the archive next removes what is left.
    if let Err(error) = renamed {
        let _ = disk.remove(&unfinished);
        return Err(error);
    }
    let settled = disk.sync_directory(path.parent().unwrap_or(Path::new(".")));
    if settled.is_err() {
        let _ = disk.remove(path);
    }
    settled
}
