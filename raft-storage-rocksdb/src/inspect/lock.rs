//! Proves that no process has a store open, and keeps it so while it is looked at.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use super::error::InspectError;

/// A shared lock on the file that an open store has locked alone.
#[derive(Debug)]
pub(super) struct SharedLock {
    _file: File,
}

impl SharedLock {
    /// Locks the file at `path`, without writing to it; `None` if there is none, as nobody has it open then.
    ///
    /// The system keeps such locks by process, so a store that is open in this very process goes unnoticed.
    pub(super) fn take(path: &Path) -> Result<Option<SharedLock>, InspectError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(InspectError::read(path, error)),
        };
        match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(SharedLock { _file: file })),
            Err(Errno::AGAIN | Errno::ACCESS) => Err(InspectError::InUse {
                path: path.to_path_buf(),
            }),
            Err(error) => Err(InspectError::read(path, error.into())),
        }
    }
}
