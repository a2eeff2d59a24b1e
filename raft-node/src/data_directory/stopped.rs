//! The data directory of a stopped node, to be looked at and nothing else.
//!
//! Unlike [`DataDirectory`](super::directory::DataDirectory) it makes no file and writes none, also not into the lock, and it
//! takes a directory as it is: a damaged identity and a node that was removed are things to be shown.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::directory::{LOCK, read_identity};
use super::error::DataDirectoryError;
use super::identity::Identity;

/// The data directory of a node that does not run, and will not start while this lives.
#[derive(Debug)]
pub struct StoppedDirectory {
    path: PathBuf,
    identity: Result<Option<Identity>, DataDirectoryError>,
    _lock: Option<File>,
}

impl StoppedDirectory {
    /// Takes the directory at `path`, unless a node runs on it.
    pub fn open(path: &Path) -> Result<StoppedDirectory, DataDirectoryError> {
        let identity = read_identity(path);
        let directory = StoppedDirectory {
            path: path.to_owned(),
            identity,
            _lock: share_lock(path)?,
        };
        match &directory.identity {
            Ok(None) if !directory.log().is_dir() => Err(DataDirectoryError::Missing {
                path: path.to_owned(),
            }),
            _ => Ok(directory),
        }
    }

    /// Whose it is; none if it does not say so.
    pub fn identity(&self) -> Result<Option<&Identity>, &DataDirectoryError> {
        self.identity.as_ref().map(Option::as_ref)
    }

    /// Where the log store lives.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the snapshot store lives.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Shares the lock that a running node has alone; none if no node ever ran here.
fn share_lock(directory: &Path) -> Result<Option<File>, DataDirectoryError> {
    let path = directory.join(LOCK);
    let failed = |source| DataDirectoryError::io("read the lock file", path.clone(), source);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds the lock is a courtesy of the message; it stands without it.
            let _ = file.read_to_string(&mut holder);
            Err(DataDirectoryError::Running {
                path: directory.to_owned(),
                process: holder.trim().parse().ok(),
            })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use raft_core::types::NodeId;

    use super::*;
    use crate::config::log_store::LogStoreKind;
    use crate::data_directory::directory::DataDirectory;

    #[test]
    fn a_running_nodes_directory_is_refused_and_a_stopped_ones_kept_from_starting() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = "demo".parse().unwrap();
        let running =
            DataDirectory::open(directory.path(), &cluster, NodeId(3), LogStoreKind::Rocksdb).unwrap();
        let error = StoppedDirectory::open(directory.path()).unwrap_err().to_string();
        let process = std::process::id();
        assert!(
            error.contains("runs") && error.contains(&format!("kill {process}")),
            "{error}"
        );
        drop(running);
        let stopped = StoppedDirectory::open(directory.path()).unwrap();
        assert_eq!(stopped.identity().unwrap().unwrap().node(), NodeId(3));
        assert!(matches!(
            DataDirectory::open(directory.path(), &cluster, NodeId(3), LogStoreKind::Rocksdb),
            Err(DataDirectoryError::InUse { .. })
        ));
    }

    #[test]
    fn what_is_no_data_directory_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path().to_owned(), directory.path().join("none")] {
            let error = StoppedDirectory::open(&path).unwrap_err();
            assert!(matches!(error, DataDirectoryError::Missing { .. }), "{error}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        // A damaged identity hides nothing else.
        fs::write(directory.path().join("IDENTITY"), "?").unwrap();
        let damaged = StoppedDirectory::open(directory.path()).unwrap();
        assert!(matches!(
            damaged.identity(),
            Err(DataDirectoryError::DamagedIdentity { .. })
        ));
    }
}
