//! Where logs are measured: a directory on a real disk.
//!
//! A sync in memory costs nothing, so a benchmark of syncs there would say nothing, and nobody would notice.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, statfs};
use tempfile::TempDir;

/// The variable that names a directory to measure in.
pub const VARIABLE: &str = "BENCH_DIR";

const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;

/// A directory on a disk, in which every log gets a directory of its own.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    /// What is on the disk: a name, or the number that the kernel calls it.
    file_system: String,
}

impl Place {
    /// The directory that [`VARIABLE`] names, or else `fallback`.
    ///
    /// # Panics
    /// If it is no directory, or is kept in memory.
    #[must_use]
    pub fn find(fallback: &Path) -> Place {
        let dir = std::env::var_os(VARIABLE).map_or_else(|| fallback.to_owned(), PathBuf::from);
        let found = statfs(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        // The kernel's numbers have 32 bits; the type of the field differs between platforms.
        let kind = found.f_type as u32;
        assert!(
            kind != TMPFS && kind != RAMFS,
            "{} is kept in memory, where a sync costs nothing; name a directory on a disk with {VARIABLE}",
            dir.display(),
        );
        let file_system = match kind {
            0xef53 => "ext4".to_owned(),
            0x5846_5342 => "xfs".to_owned(),
            0x9123_683e => "btrfs".to_owned(),
            0x794c_7630 => "overlay".to_owned(),
            other => format!("file system {other:#x}"),
        };
        Place { dir, file_system }
    }

    /// A new directory, deleted with the value.
    ///
    /// # Panics
    /// If it cannot be created.
    #[must_use]
    pub fn new_dir(&self) -> TempDir {
        tempfile::tempdir_in(&self.dir).expect("a new directory")
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.dir.display(), self.file_system)
    }
}

/// Takes the files below `dir` out of the page cache; nobody may have them open for writing. Needs no privilege, and
/// leaves the files of everybody else alone.
///
/// # Errors
/// If a file cannot be read or synced.
pub fn forget_cached(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_cached(&path)?;
            continue;
        }
        let file = std::fs::File::open(&path)?;
        // What is not on disk yet stays in the cache.
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// How many bytes this process has had fetched from a disk so far; `None` where the kernel does not tell.
#[must_use]
pub fn bytes_fetched() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_is_refused() {
        let memory = Path::new("/dev/shm");
        // Elsewhere than on Linux there is no such place to refuse.
        if memory.is_dir() && std::env::var_os(VARIABLE).is_none() {
            assert!(std::panic::catch_unwind(|| Place::find(memory)).is_err());
        }
    }

    #[test]
    fn what_was_forgotten_is_still_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("below").join("file");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "content").unwrap();
        forget_cached(dir.path()).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"content");
    }
}
