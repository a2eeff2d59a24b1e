//! Directories that survive power loss.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes the names in a directory durable: without it a rename or a new file can be lost (R74).
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the name of the file or directory at `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_directory(parent.unwrap_or(Path::new(".")))
}

/// Creates a directory and those above it, durably: also one that was made right before the process was killed, and whose
/// name nobody has synced yet.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    create_directory_with(path, &mut sync_parent)
}

fn create_directory_with(
    path: &Path,
    sync_parent: &mut impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        create_directory_with(parent, sync_parent)?;
    }
    match fs::create_dir(path) {
        Err(_) if path.is_dir() => {}
        created => created?,
    }
    sync_parent(path)
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
        let mut note = |path: &Path| {
            synced.push(path.to_owned());
            sync_parent(path)
        };
        create_directory_with(&path("a/b"), &mut note).unwrap();
        create_directory_with(&path("a/b"), &mut note).unwrap();
        assert_eq!(synced, [path("a"), path("a/b"), path("a/b")]);
        let refused = create_directory_with(&path("x"), &mut |_| Err(io::ErrorKind::Other.into()));
        assert!(refused.is_err(), "a directory that is not durable is none");
    }
}
