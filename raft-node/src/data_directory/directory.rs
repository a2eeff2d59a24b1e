//! Opening and locking a data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use raft_core::types::NodeId;

use super::error::DataDirectoryError;
use super::identity::Identity;
use crate::config::cluster_name::ClusterName;
use crate::config::log_store::LogStoreKind;
use crate::durable_file;

const IDENTITY: &str = "IDENTITY";
pub(super) const LOCK: &str = "LOCK";
const TIMES: &str = "TIMES";
const PARTS: [&str; 3] = ["log", "snapshots", "kv"];

/// A data directory that this process holds the lock of. The lock ends with the value, or with the process.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl DataDirectory {
    /// Opens the directory at `path` for node `node` of `cluster`, whose log is in `log_store`, and makes it if there is none.
    pub fn open(
        path: &Path,
        cluster: &ClusterName,
        node: NodeId,
        log_store: LogStoreKind,
    ) -> Result<DataDirectory, DataDirectoryError> {
        make_directory(path)?;
        let lock = lock(path)?;
        let identity = match read_identity(path)? {
            Some(identity) => identity,
            None => stamp(path, Identity::new(cluster.clone(), node, log_store))?,
        };
        let directory = DataDirectory::locked(path, lock, identity, Some(cluster), Some(node))?;
        if directory.log_store() != log_store {
            return Err(DataDirectoryError::OtherLogStore {
                path: path.to_owned(),
                node,
                found: directory.log_store(),
                asked: log_store,
            });
        }
        Ok(directory)
    }

    /// Opens the directory at `path` of a node that was started before. `cluster` and `node` are whose it must be, as far as
    /// the caller knows. A directory that is not there is not made.
    pub fn open_existing(
        path: &Path,
        cluster: Option<&ClusterName>,
        node: Option<NodeId>,
    ) -> Result<DataDirectory, DataDirectoryError> {
        let missing = || DataDirectoryError::Missing {
            path: path.to_owned(),
        };
        // Looked at first, because locking makes a file.
        read_identity(path)?.ok_or_else(missing)?;
        let lock = lock(path)?;
        let identity = read_identity(path)?.ok_or_else(missing)?;
        DataDirectory::locked(path, lock, identity, cluster, node)
    }

    /// Makes the finished parts at `path` the data of node `node` of `cluster`, whose log is in `log_store`. Before, nothing there
    /// says whose they are, and no node starts from it.
    pub fn adopt(
        path: &Path,
        cluster: &ClusterName,
        node: NodeId,
        log_store: LogStoreKind,
    ) -> Result<(), DataDirectoryError> {
        let mut identity = Identity::new(cluster.clone(), node, log_store);
        identity.log_written = true;
        write_identity(path, &identity)
    }

    /// Where the parts of a directory at `path` are.
    #[must_use]
    pub fn paths(path: &Path) -> Paths {
        Paths {
            log: path.join("log"),
            snapshots: path.join("snapshots"),
            kv: path.join("kv"),
        }
    }

    fn locked(
        path: &Path,
        lock: File,
        identity: Identity,
        cluster: Option<&ClusterName>,
        node: Option<NodeId>,
    ) -> Result<DataDirectory, DataDirectoryError> {
        let (cluster, node) = (
            cluster.unwrap_or(&identity.cluster),
            node.unwrap_or(identity.node()),
        );
        if identity.node() != node || identity.cluster != *cluster {
            return Err(DataDirectoryError::OtherIdentity {
                path: path.to_owned(),
                found_node: identity.node(),
                cluster: cluster.clone(),
                found_cluster: identity.cluster,
                node,
            });
        }
        let directory = DataDirectory {
            path: path.to_owned(),
            identity,
            _lock: lock,
        };
        if directory.identity.removed {
            return Err(directory.removed());
        }
        if directory.log_store() == LogStoreKind::Memory && directory.identity.log_written {
            return Err(DataDirectoryError::ForgottenLog {
                path: directory.path,
                node,
                cluster: directory.identity.cluster,
            });
        }
        directory.check_parts()?;
        Ok(directory)
    }

    /// A part may be missing only from a directory whose log was never written.
    fn check_parts(&self) -> Result<(), DataDirectoryError> {
        let log = self.log();
        if self.identity.log_written && !log.is_dir() {
            return Err(self.lost_log());
        }
        for part in PARTS {
            make_directory(&self.path.join(part))?;
        }
        Ok(())
    }

    /// Refuses an empty log if this node ever had one. To be called with what the log store found, before the node
    /// starts.
    pub fn check_log(&self, is_empty: bool) -> Result<(), DataDirectoryError> {
        if is_empty && self.identity.log_written {
            Err(self.lost_log())
        } else {
            Ok(())
        }
    }

    /// Notes durably that the log was written, so that its loss is noticed from now on.
    pub fn note_log_written(&mut self) -> Result<(), DataDirectoryError> {
        if self.identity.log_written {
            return Ok(());
        }
        self.note(|identity| identity.log_written = true)
    }

    /// Notes durably that this node joins a cluster that runs, unless it has a log already: it shall never begin one.
    pub fn note_joins(&mut self) -> Result<(), DataDirectoryError> {
        if self.identity.log_written || self.identity.joins {
            return Ok(());
        }
        self.note(|identity| identity.joins = true)
    }

    /// Whether this node was first started to join a cluster that runs.
    #[must_use]
    pub fn joins(&self) -> bool {
        self.identity.joins
    }

    /// Notes durably that this node was removed from its cluster: the directory is refused from now on.
    pub fn note_removed(&mut self) -> Result<(), DataDirectoryError> {
        self.note(|identity| identity.removed = true)
    }

    /// Changes the identity, first on disk: what could not be written is not taken for written by the next attempt.
    fn note(&mut self, change: impl FnOnce(&mut Identity)) -> Result<(), DataDirectoryError> {
        let mut identity = self.identity.clone();
        change(&mut identity);
        write_identity(&self.path, &identity)?;
        self.identity = identity;
        Ok(())
    }

    /// Says that this node was removed from its cluster.
    #[must_use]
    pub fn removed(&self) -> DataDirectoryError {
        DataDirectoryError::Removed {
            path: self.path.clone(),
            node: self.identity.node(),
            cluster: self.identity.cluster.clone(),
        }
    }

    fn lost_log(&self) -> DataDirectoryError {
        DataDirectoryError::LostLog {
            path: self.log(),
            node: self.identity.node(),
            cluster: self.identity.cluster.clone(),
        }
    }

    /// Whose data it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.identity.node()
    }

    /// Of which cluster.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.identity.cluster
    }

    /// In which store the log is.
    #[must_use]
    pub fn log_store(&self) -> LogStoreKind {
        self.identity.log_store
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

    /// Where the state machine lives.
    #[must_use]
    pub fn kv(&self) -> PathBuf {
        self.path.join("kv")
    }

    /// Where it is noted what was applied when.
    #[must_use]
    pub fn times(&self) -> PathBuf {
        DataDirectory::times_in(&self.path)
    }

    /// The same, of the data directory at `path`.
    #[must_use]
    pub fn times_in(path: &Path) -> PathBuf {
        path.join(TIMES)
    }

    /// Puts what the state machine has out of the way, under a name of its own, which is returned: somebody may want to look
    /// at it. The state machine must be closed; it begins with nothing.
    pub fn set_kv_aside(&self) -> Result<PathBuf, DataDirectoryError> {
        let failed = |path: &Path, error| DataDirectoryError::io("set aside", path.to_owned(), error);
        let mut number = 1;
        let aside = loop {
            let aside = self.path.join(format!("kv.set-aside-{number}"));
            if !aside.try_exists().map_err(|error| failed(&aside, error))? {
                break aside;
            }
            number += 1;
        };
        fs::rename(self.kv(), &aside)
            .and_then(|()| durable_file::sync_directory(&self.path))
            .map_err(|error| failed(&self.kv(), error))?;
        make_directory(&self.kv())?;
        Ok(aside)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where the parts of a data directory are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The log store.
    pub log: PathBuf,
    /// The snapshot store.
    pub snapshots: PathBuf,
    /// The state machine.
    pub kv: PathBuf,
}

/// Makes `path` with all its parents, for this user only, durably.
fn make_directory(path: &Path) -> Result<(), DataDirectoryError> {
    durable_file::create_directory(path, 0o700)
        .map_err(|source| DataDirectoryError::io("make the directory", path.to_owned(), source))
}

/// Takes the lock and writes this process into it, which also proves that the directory can be written to.
fn lock(directory: &Path) -> Result<File, DataDirectoryError> {
    let path = directory.join(LOCK);
    let failed = |source| DataDirectoryError::io("write the lock file", path.clone(), source);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds the lock is a courtesy of the message; it stands without it.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(process) => format!(" (process {process})"),
                Err(_) => String::new(),
            };
            return Err(DataDirectoryError::InUse {
                path: directory.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok(file)
}

/// Makes a new directory this node's own. What a crash may leave before the identity is there is allowed to be there.
fn stamp(path: &Path, identity: Identity) -> Result<Identity, DataDirectoryError> {
    if let Some(found) =
        foreign_entry(path).map_err(|error| DataDirectoryError::io("list", path.to_owned(), error))?
    {
        return Err(DataDirectoryError::Foreign {
            path: path.to_owned(),
            found,
        });
    }
    write_identity(path, &identity)?;
    Ok(identity)
}

fn foreign_entry(path: &Path) -> io::Result<Option<String>> {
    let leftover = durable_file::temporary_path(Path::new(IDENTITY));
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        // `lost+found` is what a fresh file system has in its root.
        if name != LOCK && name != leftover.as_os_str() && name != "lost+found" {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Whose data the directory holds; none if it says nothing, or is not there.
pub(super) fn read_identity(directory: &Path) -> Result<Option<Identity>, DataDirectoryError> {
    let path = directory.join(IDENTITY);
    let damaged = |reason| DataDirectoryError::DamagedIdentity {
        path: path.clone(),
        reason,
    };
    match fs::read_to_string(&path) {
        Ok(text) => Identity::decode(&text).map(Some).map_err(damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(damaged("it is not text".to_owned())),
        Err(error) => Err(DataDirectoryError::io("read", path, error)),
    }
}

fn write_identity(directory: &Path, identity: &Identity) -> Result<(), DataDirectoryError> {
    let path = directory.join(IDENTITY);
    durable_file::replace(&path, identity.encode().as_bytes(), 0o600)
        .map_err(|source| DataDirectoryError::io("write", path, source))
}

#[cfg(test)]
mod tests;
