//! Why a recording is not replayed, or not to its end.

use std::io;
use std::path::PathBuf;

use raft_core::record::{ExportError, RecordError, ReplayError, StateHash};
use raft_core::types::{GroupId, NodeId};
use thiserror::Error;

/// How a replay fails. Steps are numbered as they are shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(in crate::cli) enum ReplayFailure {
    /// A file or a directory cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is nothing to replay.
    #[error("{path} has no recording; `raft-node start --record DIR` makes them", path = .0.display())]
    NoRecording(PathBuf),
    /// A file is no recording, or is damaged.
    #[error("{path}: {source}; the replay ended at step {step}", path = .path.display())]
    Recording {
        /// Which.
        path: PathBuf,
        /// The last step before it.
        step: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// Two replicas have their recordings in one place.
    #[error(
        "{path} is of node {} of group {}, and the files before it are of node {} of group {}; name one file, or keep the recordings \
         of each node in a directory of their own",
        .found.0, .found.1, .expected.0, .expected.1, path = .path.display()
    )]
    OtherReplica {
        /// The file.
        path: PathBuf,
        /// Whose the files before it are.
        expected: (NodeId, GroupId),
        /// Whose it is.
        found: (NodeId, GroupId),
    },
    /// The replica does something else than when it was recorded.
    #[error(
        "the replay diverges at step {step}: the recorded state is {recorded}, and the replayed one {replayed}; they were equal after \
         step {equal_until}. Replay with the program that made the recording; if this is it, its protocol depends on something that \
         is not recorded, and that is a defect"
    )]
    Diverged {
        /// The step after which the states were compared.
        step: u64,
        /// The last step after which they were equal.
        equal_until: u64,
        /// The recorded state.
        recorded: StateHash,
        /// The state now.
        replayed: StateHash,
    },
    /// The recording tells something that cannot be.
    #[error("after step {step}: {source}")]
    Replay {
        /// The last step.
        step: u64,
        /// What is wrong.
        source: ReplayError,
    },
    /// The step violates an invariant.
    #[error("step {0} violates an invariant of the protocol, as it did when it was recorded: {1}")]
    Panicked(u64, String),
    /// It becomes no test.
    #[error("cannot make a test of it: {0}")]
    Export(#[from] ExportError),
    /// A result cannot be written.
    #[error("cannot write {path}: {source}", path = .path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The answer of whoever steps through it cannot be read.
    #[error("cannot read from standard input: {0}")]
    Input(#[source] io::Error),
}

impl ReplayFailure {
    /// Whether a file is damaged.
    pub(in crate::cli) fn is_damage(&self) -> bool {
        matches!(
            self,
            ReplayFailure::Recording {
                source: RecordError::Checksum { .. },
                ..
            }
        )
    }
}
