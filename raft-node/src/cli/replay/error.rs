//! Why a recording is not replayed, or not to its end.

use std::fmt;
use std::io;
use std::path::PathBuf;

use raft_core::record::{ExportError, RecordError, ReplayError, StateHash};
use raft_core::types::{GroupId, NodeId};
use thiserror::Error;

/// Where in the recordings something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    /// The file.
    pub(super) path: PathBuf,
    /// Where the record begins.
    pub(super) byte: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, the record at byte {}", self.path.display(), self.byte)
    }
}

/// How a replay fails. Steps are numbered as they are shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(in crate::cli) enum ReplayFailure {
    /// A file or a directory cannot be read.
    #[error("cannot read {path}: {source}; see that it exists, and that this user may read it", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is named is a device, a pipe or a socket.
    #[error("{path} is neither a file nor a directory; name a recording, or the directory that it is in", path = .0.display())]
    NoFile(PathBuf),
    /// There is nothing to replay.
    #[error(
        "{path} has no recording, which is a file whose name ends in .raftrec; `raft-node start --record DIR` makes them",
        path = .0.display()
    )]
    NoRecording(PathBuf),
    /// A file is no recording, or is damaged.
    #[error("{path}: {source}; {}", remedy(.source, *.step), path = .path.display())]
    Recording {
        /// Which.
        path: PathBuf,
        /// The last step before it; none if nothing of it was read.
        step: Option<u64>,
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
        "{at}: the replay diverges at step {step}: the recorded state is {recorded}, and the replayed one {replayed}; they were equal after \
         step {equal_until}. Replay with the program that made the recording; if this is it, its protocol depends on something that \
         is not recorded, and that is a defect"
    )]
    Diverged {
        /// Where that stands.
        at: Place,
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
    #[error(
        "{at}, after step {step}: {source}; records are missing before it, or it was made by another program: replay the whole \
         directory, with the raft-node that recorded"
    )]
    Replay {
        /// Where that stands.
        at: Place,
        /// The last step.
        step: u64,
        /// What is wrong.
        source: ReplayError,
    },
    /// The step violates an invariant.
    #[error(
        "{at}: step {step} violates an invariant of the protocol: {reason}. If the recorded node stopped there, this is why; if it went \
         on, the recording was changed, or made by another program"
    )]
    Panicked {
        /// Where that stands.
        at: Place,
        /// The step.
        step: u64,
        /// What the invariant says.
        reason: String,
    },
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
                source: RecordError::Checksum { .. } | RecordError::TooLarge { .. },
                ..
            }
        )
    }
}

/// What to do with a file that cannot be read, or not any further than `step`.
fn remedy(error: &RecordError, step: Option<u64>) -> String {
    match error {
        RecordError::NotARecording => {
            "name a file that `raft-node start --record` wrote; if others are in its directory, move them away".to_owned()
        }
        RecordError::Version { .. } | RecordError::Record { .. } => {
            "replay it with the raft-node that recorded it".to_owned()
        }
        RecordError::Read { .. } => "see whether its disk is well".to_owned(),
        _ => match step {
            Some(step) => format!(
                "what is before it is whole, and `--until {step}` ends there; if the file is a copy, copy it again"
            ),
            None => "if the file is a copy, copy it again".to_owned(),
        },
    }
}
