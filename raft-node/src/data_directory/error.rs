//! Why a data directory is refused.

use std::io;
use std::path::PathBuf;

use raft_core::types::NodeId;
use thiserror::Error;

use crate::config::cluster_name::ClusterName;
use crate::config::log_store::LogStoreKind;

/// Why a data directory is refused. Nothing in it was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataDirectoryError {
    /// It belongs to another node or cluster.
    #[error(
        "the data directory {path} belongs to node {found_node} of cluster {found_cluster}, and this is node \
         {node} of cluster {cluster}; correct --data-dir, --id or --cluster",
        path = .path.display()
    )]
    OtherIdentity {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found_node: NodeId,
        /// Of which cluster.
        found_cluster: ClusterName,
        /// Who wanted it.
        node: NodeId,
        /// Of which cluster.
        cluster: ClusterName,
    },
    /// Its log is in another store.
    #[error(
        "the log of node {node} in {path} is in the store {found}, and this start asks for {asked}; a log does not move from \
         one store to another: start the node with --log-store {found}, or remove it from the cluster and add it again \
         under a new id with an empty data directory and --log-store {asked}",
        path = .path.display()
    )]
    OtherLogStore {
        /// The directory.
        path: PathBuf,
        /// This node.
        node: NodeId,
        /// The store that it was made with.
        found: LogStoreKind,
        /// The store that was asked for.
        asked: LogStoreKind,
    },
    /// The log was in memory.
    #[error(
        "node {node} of cluster {cluster} kept its log in memory and has forgotten its votes and entries, so it must not run \
         again: it could vote twice, and the cluster lose acknowledged writes. Remove node {node} from the cluster, delete its \
         data directory {path}, and add it again under a new id; to survive restarts, with --log-store rocksdb or \
         raft-engine",
        path = .path.display()
    )]
    ForgottenLog {
        /// The directory.
        path: PathBuf,
        /// This node.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterName,
    },
    /// There is none.
    #[error(
        "there is no data of a node in {path}; correct --data-dir or --id",
        path = .path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The identity cannot be read.
    #[error(
        "the file {path} is damaged: {reason}; restore it from a backup, or remove this node from the cluster and \
         add it again under a new id with an empty data directory",
        path = .path.display()
    )]
    DamagedIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It holds something, but no identity.
    #[error(
        "the data directory {path} is not empty and has no IDENTITY file (it contains {found}); give an empty or new \
         directory with --data-dir",
        path = .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// The log is gone, the identity says it was there.
    #[error(
        "the log of node {node} in {path} is missing or empty, though this node has taken part in cluster {cluster}; \
         starting without it could lose acknowledged writes. Restore the directory, or remove this node from the \
         cluster and add it again under a new id with an empty data directory",
        path = .path.display()
    )]
    LostLog {
        /// The directory of the log.
        path: PathBuf,
        /// This node.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterName,
    },
    /// The node was removed from its cluster.
    #[error(
        "node {node} was removed from cluster {cluster}, so it does not run any more; its data directory {path} can be \
         deleted, and its id must not be used again. To use this machine in the cluster, add it under a new id",
        path = .path.display()
    )]
    Removed {
        /// The directory.
        path: PathBuf,
        /// This node.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterName,
    },
    /// Another process uses it.
    #[error("the data directory {path} is in use by another process{holder}; stop it, or correct --data-dir", path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// ` (process 123)` if it is known, else nothing.
        holder: String,
    },
    /// A node runs on it, and it can only be looked at when none does.
    #[error(
        "the node of the data directory {path} runs{}; stop it first (Ctrl-C in its terminal, or {}), then look again",
        .process.map(|process| format!(" as process {process}")).unwrap_or_default(),
        .process.map_or_else(|| String::from("its service manager"), |process| format!("kill {process}")),
        path = .path.display()
    )]
    Running {
        /// The directory.
        path: PathBuf,
        /// The process that runs it, if it is known.
        process: Option<u32>,
    },
    /// The operating system refuses.
    #[error("cannot {action} {path}: {source}; {remedy}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
}

impl DataDirectoryError {
    /// The error for a failed `action` on `path`, with the remedy that fits the reason.
    #[must_use]
    pub fn io(action: &'static str, path: PathBuf, source: io::Error) -> DataDirectoryError {
        let remedy = match source.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "--data-dir must name a directory, and a file is in the way"
            }
            io::ErrorKind::PermissionDenied => {
                "give the user of this process write access to the data directory, or choose another --data-dir"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "mount the file system for writing, or choose another --data-dir"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space, or choose another --data-dir"
            }
            _ => "check --data-dir",
        };
        DataDirectoryError::Io {
            action,
            path,
            source,
            remedy,
        }
    }
}
