//! How a command fails.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

/// How a command fails. The text is for the person who gave the command.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum CliError {
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

impl CliError {
    /// 1 for all of them; 2 is what the parser of the command line ends with.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::FAILURE
    }
}
