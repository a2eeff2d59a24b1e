//! Small files that are there whole or not at all.
//!
//! A rename without a sync of the directory can lose the file (R74), and a write without a sync can leave it empty.
//! Everything small that this crate stores on disk goes through here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Replaces the file at `path` by `contents`, durably: after a crash there is either the old file or the new one.
///
/// The file has the permissions `mode` from its first moment on. The directory must exist.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    replace_all(&[NewFile { path, contents, mode }])
}

/// A file that [`replace_all`] writes.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    /// Where it will be.
    pub path: &'a Path,
    /// What it will contain.
    pub contents: &'a [u8],
    /// Its permissions from the first moment on.
    pub mode: u32,
}

impl<'a> NewFile<'a> {
    /// A file that nobody else may read.
    #[must_use]
    pub fn secret(path: &'a Path, contents: &'a [u8]) -> NewFile<'a> {
        let mode = 0o600;
        NewFile { path, contents, mode }
    }

    /// A file that everybody may read.
    #[must_use]
    pub fn public(path: &'a Path, contents: &'a [u8]) -> NewFile<'a> {
        let mode = 0o644;
        NewFile { path, contents, mode }
    }
}

/// Replaces several files that belong together, each durably. All are on the disk before the first takes its place, so that
/// only renames lie between the first and the last: whoever reads meanwhile may see some old and some new ones, in the order
/// of `files`, and must be able to tell. Each stays with the user that owned the old one: what root renews, the node must be able
/// to read.
pub fn replace_all(files: &[NewFile<'_>]) -> io::Result<()> {
    let written = files
        .iter()
        .try_for_each(|file| {
            let new = write_new(&temporary_path(file.path), file.contents, file.mode)?;
            keep_owner(file.path, &new)
        })
        .and_then(|()| {
            files
                .iter()
                .try_for_each(|file| fs::rename(temporary_path(file.path), file.path))
        });
    if written.is_err() {
        for file in files {
            // The error that the caller gets matters more than one about a leftover, which the next call replaces.
            let _ = fs::remove_file(temporary_path(file.path));
        }
    }
    written?;
    let mut directories: Vec<&Path> = files
        .iter()
        .map(|file| file.path.parent().unwrap_or(Path::new(".")))
        .collect();
    directories.dedup();
    directories.into_iter().try_for_each(sync_directory)
}

/// Gives `new` to whoever owns `old`, if that is somebody else. By its handle: what has its name by now may be another file.
fn keep_owner(old: &Path, new: &File) -> io::Result<()> {
    let owner = match fs::metadata(old) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if owner.uid() == new.metadata()?.uid() {
        return Ok(());
    }
    fchown(new, Some(owner.uid()), Some(owner.gid()))?;
    new.sync_all()
}

/// Makes the directory at `path` with all those above it that are missing, with the permissions `mode`, durably: also one that
/// an earlier start made right before the power failed.
pub fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    create_directory_with(path, mode, &mut sync_directory)
}

fn create_directory_with(
    path: &Path,
    mode: u32,
    sync: &mut impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if !path.is_dir() {
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            create_directory_with(parent, mode, sync)?;
        }
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
                return Err(error);
            }
            _ => {}
        }
    }
    match path.parent() {
        Some(parent) => sync(parent),
        // The root is always there.
        None => Ok(()),
    }
}

/// Makes the entries of `directory` durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    File::open(directory)?.sync_all()
}

/// Where [`replace`] writes before it renames.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// R74: the file is replaced whole, and nothing is left beside it.
    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        fs::write(temporary_path(&path), "left by a crash").unwrap();
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_file_stays_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        replace(&path, b"one", 0o600).unwrap();
        let own = fs::metadata(&path).unwrap().uid();
        // Only root can give a file away; for everybody else the owner is the same anyway.
        let owner = if own == 0 { 12_345 } else { own };
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), owner);
    }

    /// R74: a failed replacement of several leaves nothing beside them, and those that come first are new.
    #[test]
    fn several_files_are_replaced_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (first, second) = (path("key"), path("certificate"));
        let write = |contents: &[u8]| {
            replace_all(&[
                NewFile::secret(&first, contents),
                NewFile::public(&second, contents),
            ])
        };
        write(b"one").unwrap();
        fs::remove_file(&second).unwrap();
        fs::create_dir(&second).unwrap();
        assert!(write(b"two").is_err(), "a directory is in the way");
        assert_eq!(fs::read(&first).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        fs::remove_dir(&second).unwrap();
        write(b"three").unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"three");
    }

    /// R74: every new directory is durable in the one above it, the upper ones first; the last one also if it was there.
    #[test]
    fn new_directories_are_durable_from_the_top_down() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        let mut synced = Vec::new();
        let mut note = |directory: &Path| {
            synced.push(directory.to_owned());
            sync_directory(directory)
        };
        create_directory_with(&path("a/b/c"), 0o700, &mut note).unwrap();
        create_directory_with(&path("a/b/c"), 0o700, &mut note).unwrap();
        assert_eq!(synced, [path(""), path("a"), path("a/b"), path("a/b")]);
        for name in ["a", "a/b", "a/b/c"] {
            assert_eq!(
                fs::metadata(path(name)).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
        let refused = create_directory_with(&path("x/y"), 0o700, &mut |_| Err(io::ErrorKind::Other.into()));
        assert!(refused.is_err(), "a directory that is not durable is none");
    }

    /// R74: a failed replacement leaves the old file and no other.
    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"one", 0o600).is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
