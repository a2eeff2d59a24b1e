//! Why a configuration is refused.

use std::io;
use std::path::PathBuf;

use raft_core::types::NodeId;
use thiserror::Error;

use super::addresses::UrlError;

/// Why a configuration is refused. Every variant names the input and the remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file of `--config` cannot be read.
    #[error("cannot read the configuration file {path}: {source}; check --config", path = .path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{path}, line {line}: {message}", path = .path.display())]
    FileSyntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file has a key that is not a setting.
    #[error("{path}, line {line}: unknown key `{key}`; {remedy}", path = .path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The key.
        key: String,
        /// Which key was meant, or which ones exist.
        remedy: String,
    },
    /// A setting without a default stands nowhere.
    #[error(
        "`{setting}` is not set; give --{setting}, the environment variable {variable}, or `{setting} = …` in the file of --config"
    )]
    Missing {
        /// The name of the setting.
        setting: &'static str,
        /// Its environment variable.
        variable: String,
    },
    /// A value is out of its range.
    #[error("`{setting}` is {value}: {reason}")]
    Invalid {
        /// The name of the setting.
        setting: &'static str,
        /// The refused value.
        value: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A URL in one of the maps.
    #[error("`{setting}`, node {id}: {source}")]
    Url {
        /// The name of the setting.
        setting: &'static str,
        /// The node whose URL it is.
        id: NodeId,
        /// What is wrong with it.
        source: UrlError,
    },
    /// This node is missing from one of the maps.
    #[error(
        "node {id} is not in `{setting}`, which names {present}. To begin a new cluster with this node add `{id}=URL` to it, \
         on every node. To add the node to a cluster that runs, start it with --join and say where it is reached with \
         --peer-url and --client-url. Otherwise correct `id`"
    )]
    NotListed {
        /// The name of the setting.
        setting: &'static str,
        /// This node.
        id: NodeId,
        /// The nodes that the map names.
        present: String,
    },
    /// Two nodes have one URL.
    #[error("`{setting}`: nodes {first} and {second} both have {url}; every node needs its own")]
    SameUrl {
        /// The name of the setting.
        setting: &'static str,
        /// One node.
        first: NodeId,
        /// The other.
        second: NodeId,
        /// What they share.
        url: String,
    },
    /// A node that joins does not say where it is reached.
    #[error("node {id} joins, and nothing says where it is reached; give --{setting}, such as {example}")]
    NoUrl {
        /// The name of the setting.
        setting: &'static str,
        /// This node.
        id: NodeId,
        /// What such a URL looks like.
        example: &'static str,
    },
    /// A setting that the protocol core refuses.
    #[error("{0}; see `raft-node start --help`")]
    Core(#[from] raft_core::config::ConfigError),
}
