//! How a command fails.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use crate::ledger::LedgerError;

/// How a command fails. The text is for the person who gave the command.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum CliError {
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// A file cannot be written.
    #[error("cannot write {path}: {cause}")]
    Write {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// An entry of the ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A command has nothing to do.
    #[error("{0}")]
    Nothing(String),
}

impl CliError {
    /// 1 for all of them; 2 is what the parser of the command line ends with.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::FAILURE
    }
}
