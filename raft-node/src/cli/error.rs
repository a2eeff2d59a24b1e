//! How a command fails.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use super::dev::DevError;
use super::log::LogError;
use super::node::NodeStartError;
use super::recover::RecoverError;
use super::replay::ReplayFailure;
use super::restore::RestoreCommandError;
use crate::certificates::error::CertificateError;
use crate::client::error::ClientError;
use crate::config::error::ConfigError;
use crate::data_directory::error::DataDirectoryError;

/// The exit code of a node that was removed from its cluster: whoever starts processes need not start it again.
pub(super) const REMOVED: u8 = 3;

/// The exit code of a look at a stopped node, or at a recording, that found damage.
pub(super) const DAMAGED: u8 = 4;

/// The exit code of a look at certificates of which one expires soon, or expired.
pub(super) const EXPIRING: u8 = 5;

/// How a command fails. The text is for the person who gave the command.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum CliError {
    /// It was configured wrongly.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate cannot be made or shown.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The cluster does not serve a request.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A node does not start, or stopped by itself.
    #[error(transparent)]
    Node(#[from] NodeStartError),
    /// A node is not recovered.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A state is not restored.
    #[error(transparent)]
    Restore(#[from] RestoreCommandError),
    /// A stopped node cannot be looked at.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A recording is not replayed, or diverges.
    #[error(transparent)]
    Replay(#[from] ReplayFailure),
    /// A local cluster does not start.
    #[error(transparent)]
    Dev(#[from] DevError),
    /// The process gets no threads or timers.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// A result cannot be put into the form that was asked for.
    #[error("cannot print the result: {0}")]
    Format(String),
}

impl CliError {
    /// 2 if the command was given wrongly, 3 if the node was removed from its cluster, 4 if a recording is damaged, else 1.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Config(_)
            | CliError::Recover(RecoverError::Unconfirmed(_))
            | CliError::Restore(RestoreCommandError::Time(_)) => ExitCode::from(2),
            CliError::Node(NodeStartError::DataDirectory(DataDirectoryError::Removed { .. })) => {
                ExitCode::from(REMOVED)
            }
            CliError::Replay(failure) if failure.is_damage() => ExitCode::from(DAMAGED),
            _ => ExitCode::FAILURE,
        }
    }
}
