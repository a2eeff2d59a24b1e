//! Opening and locking a data directory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use raft_core::types::NodeId;

use super::error::DataDirectoryError;
use super::identity::Identity;
use crate::config::cluster_name::ClusterName;
use crate::config::log_store::LogStoreKind;
use crate::durable_file;

const IDENTITY: &str = "IDENTITY";
const LOCK: &str = "LOCK";
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

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes `path` with all its parents, for this user only, and syncs the new entry.
fn make_directory(path: &Path) -> Result<(), DataDirectoryError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| durable_file::sync_directory(path.parent().unwrap_or(Path::new("."))))
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
fn read_identity(directory: &Path) -> Result<Option<Identity>, DataDirectoryError> {
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
mod tests {
    use super::*;

    fn open(path: &Path, cluster: &str, node: u64) -> Result<DataDirectory, DataDirectoryError> {
        open_with(path, cluster, node, LogStoreKind::default())
    }

    fn open_with(
        path: &Path,
        cluster: &str,
        node: u64,
        log_store: LogStoreKind,
    ) -> Result<DataDirectory, DataDirectoryError> {
        DataDirectory::open(path, &cluster.parse().unwrap(), NodeId(node), log_store)
    }

    /// R68: a directory belongs to one node of one cluster for ever, and the refusal names both.
    #[test]
    fn another_node_and_another_cluster_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        drop(open(&path, "demo", 1).unwrap());
        drop(open(&path, "demo", 1).unwrap());
        let other = open(&path, "demo", 2).unwrap_err().to_string();
        assert!(
            other.contains("node 1 of cluster demo") && other.contains("node 2 of cluster demo"),
            "{other}"
        );
        let other = open(&path, "test", 1).unwrap_err().to_string();
        assert!(
            other.contains("cluster demo") && other.contains("cluster test"),
            "{other}"
        );
    }

    #[test]
    fn another_log_store_is_refused_and_both_are_named() {
        let directory = tempfile::tempdir().unwrap();
        drop(open_with(directory.path(), "demo", 1, LogStoreKind::RaftEngine).unwrap());
        for asked in [LogStoreKind::Rocksdb, LogStoreKind::Memory] {
            let error = open_with(directory.path(), "demo", 1, asked)
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("asks for {asked}")), "{error}");
            assert!(
                error.contains("start the node with --log-store raft-engine"),
                "{error}"
            );
        }
        // Who does not know the store is told.
        let found = DataDirectory::open_existing(directory.path(), None, None).unwrap();
        assert_eq!(found.log_store(), LogStoreKind::RaftEngine);
    }

    /// R68: a node that kept its log in memory has forgotten its votes; one that never ran has none to forget.
    #[test]
    fn a_log_in_memory_is_refused_after_its_node_ran() {
        let directory = tempfile::tempdir().unwrap();
        let open = || open_with(directory.path(), "demo", 2, LogStoreKind::Memory);
        drop(open().unwrap());
        open().unwrap().note_log_written().unwrap();
        let error = open().unwrap_err();
        assert!(matches!(
            error,
            DataDirectoryError::ForgottenLog { node: NodeId(2), .. }
        ));
        assert!(error.to_string().contains("under a new id"), "{error}");
        let recovery = DataDirectory::open_existing(directory.path(), None, None);
        assert!(matches!(recovery, Err(DataDirectoryError::ForgottenLog { .. })));
    }

    #[test]
    fn an_existing_directory_says_whose_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let missing = DataDirectory::open_existing(&path, None, None);
        assert!(matches!(missing, Err(DataDirectoryError::Missing { .. })));
        assert!(!path.exists(), "nothing is made");
        drop(open(&path, "demo", 3).unwrap());
        let found = DataDirectory::open_existing(&path, None, None).unwrap();
        assert_eq!((found.node(), found.cluster().as_str()), (NodeId(3), "demo"));
        drop(found);
        let cluster = "demo".parse().unwrap();
        let other = DataDirectory::open_existing(&path, Some(&cluster), Some(NodeId(2)));
        assert!(matches!(other, Err(DataDirectoryError::OtherIdentity { .. })));
    }

    #[test]
    fn two_processes_cannot_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path(), "demo", 1).unwrap();
        let error = open(directory.path(), "demo", 1).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        open(directory.path(), "demo", 1).unwrap();
    }

    #[test]
    fn a_directory_with_something_else_in_it_is_refused_untouched() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.tex"), "x").unwrap();
        let error = open(directory.path(), "demo", 1).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        assert!(!directory.path().join(IDENTITY).exists());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::write(&path, "x").unwrap();
        let error = open(&path, "demo", 1).unwrap_err().to_string();
        assert!(
            error.contains("data") && error.contains("must name a directory"),
            "{error}"
        );
        let error = open(&path.join("below"), "demo", 1).unwrap_err().to_string();
        assert!(error.contains("must name a directory"), "{error}");
    }

    #[test]
    fn a_damaged_identity_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path(), "demo", 1).unwrap());
        fs::write(directory.path().join(IDENTITY), [0xff, 0xfe]).unwrap();
        let error = open(directory.path(), "demo", 1).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        fs::write(directory.path().join(IDENTITY), "").unwrap();
        assert!(open(directory.path(), "demo", 1).is_err());
    }

    /// R11, R68: a log that was there and is gone stops the node.
    #[test]
    fn a_lost_log_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut data = open(directory.path(), "demo", 1).unwrap();
        data.check_log(true).unwrap();
        data.note_log_written().unwrap();
        drop(data);
        let data = open(directory.path(), "demo", 1).unwrap();
        data.check_log(false).unwrap();
        assert!(matches!(
            data.check_log(true),
            Err(DataDirectoryError::LostLog { .. })
        ));
        fs::remove_dir(data.log()).unwrap();
        drop(data);
        assert!(matches!(
            open(directory.path(), "demo", 1),
            Err(DataDirectoryError::LostLog { .. })
        ));
    }

    /// R68: the directory of a node that was removed is not used again, and the refusal says what can be done.
    #[test]
    fn a_removed_nodes_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut data = open(directory.path(), "demo", 4).unwrap();
        data.note_log_written().unwrap();
        data.note_removed().unwrap();
        drop(data);
        let error = open(directory.path(), "demo", 4).unwrap_err().to_string();
        assert!(
            error.contains("node 4 was removed from cluster demo") && error.contains("can be deleted"),
            "{error}"
        );
    }

    /// What joined once never begins a cluster, whatever the flags of a later start say; what has a log goes on with it.
    #[test]
    fn a_node_that_joins_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let mut data = open(directory.path(), "demo", 4).unwrap();
        assert!(!data.joins());
        data.note_joins().unwrap();
        drop(data);
        assert!(open(directory.path(), "demo", 4).unwrap().joins());
        let other = tempfile::tempdir().unwrap();
        let mut data = open(other.path(), "demo", 1).unwrap();
        data.note_log_written().unwrap();
        data.note_joins().unwrap();
        assert!(!data.joins());
    }

    /// R11, R68: a note that could not be written is written when it is made again.
    #[test]
    fn a_note_that_failed_is_not_taken_for_written() {
        type Note = fn(&mut DataDirectory) -> Result<(), DataDirectoryError>;
        type IsNoted = fn(&Identity) -> bool;
        let notes: [(Note, IsNoted); 3] = [
            (DataDirectory::note_joins, |identity| identity.joins),
            (DataDirectory::note_log_written, |identity| identity.log_written),
            (DataDirectory::note_removed, |identity| identity.removed),
        ];
        let directory = tempfile::tempdir().unwrap();
        let mut data = open(directory.path(), "demo", 4).unwrap();
        // Where the new identity is written first.
        let in_the_way = durable_file::temporary_path(&directory.path().join(IDENTITY));
        for (note, is_noted) in notes {
            let on_disk = || is_noted(&read_identity(directory.path()).unwrap().unwrap());
            fs::create_dir(&in_the_way).unwrap();
            for _ in 0..2 {
                assert!(matches!(note(&mut data), Err(DataDirectoryError::Io { .. })));
                assert!(!is_noted(&data.identity) && !on_disk());
            }
            fs::remove_dir(&in_the_way).unwrap();
            note(&mut data).unwrap();
            assert!(is_noted(&data.identity) && on_disk());
        }
    }

    #[test]
    fn a_full_and_a_read_only_disk_have_their_remedies() {
        let message =
            |kind: io::ErrorKind| DataDirectoryError::io("write", "d".into(), kind.into()).to_string();
        assert!(message(io::ErrorKind::StorageFull).contains("free some space"));
        assert!(message(io::ErrorKind::ReadOnlyFilesystem).contains("mount the file system for writing"));
        assert!(message(io::ErrorKind::PermissionDenied).contains("write access"));
    }
}
