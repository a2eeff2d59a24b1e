//! The replicated service.

use std::io::Read;

use bytes::Bytes;
use thiserror::Error;

use super::Cause;
use crate::entry::Entry;
use crate::message::SnapshotMeta;
use crate::types::EntryId;

/// The service that is replicated: a deterministic function of the committed log (mission row S2).
///
/// All methods are called one at a time, on threads that may block (but see [`may_block`](StateMachine::may_block)): on one
/// thread of its own, but for [`restore`](StateMachine::restore), in a node that has one group; on whichever of the host's
/// threads is free in a host with many. An error or a panic stops the replica, but for an error of
/// [`query`](StateMachine::query): that is the answer to whoever asked.
///
/// Invariants that every implementation keeps:
/// - the applied position, the applied data and the sessions are stored together: after a crash all of them are there, or
///   none (R72);
/// - `apply` depends on nothing but the state and the entries: no clock, no randomness, no iteration order of a hash map.
pub trait StateMachine: Send + 'static {
    /// The last entry whose effect is part of the state; [`EntryId::ZERO`] for the empty state. After a restart: of
    /// the state that was recovered.
    fn last_applied(&self) -> EntryId;

    /// Applies committed entries in order and returns one response for each. Entries without a command change nothing
    /// but [`last_applied`](StateMachine::last_applied); their response is ignored. [`commit`](StateMachine::commit)
    /// follows before anything else.
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError>;

    /// Answers a question about the state without changing it.
    fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError>;

    /// A stream of the whole state as it is now. Called between two batches; should return fast (a checkpoint, a
    /// reference-counted copy): the stream itself is read on another thread, while entries are applied.
    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError>;

    /// Whether a method other than [`restore`](StateMachine::restore) may wait for a disk or a lock, or compute for long
    /// (say, a millisecond). If not, the state machine needs no thread: it is called where the replica runs, which
    /// spares every request two changes of thread. Asked once, at the start.
    fn may_block(&self) -> bool {
        true
    }

    /// Replaces the state by what `content` holds; afterwards `last_applied` is `meta.last`. A crash in between leaves
    /// either state, or a state whose `last_applied` is below `meta.last`.
    ///
    /// [`commit`](StateMachine::commit) follows before anything else.
    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError>;

    /// Stores, as one atom, what was applied or restored since the last commit, together with the sessions of the
    /// clients as they changed by it. It need not wait for the disk: the log replays what a crash took, but never half
    /// of an atom.
    ///
    /// A state machine that keeps its state in memory has nothing to do here. One whose `last_applied` survives a
    /// restart must implement this and [`sessions`](StateMachine::sessions); otherwise it is refused at its next start.
    fn commit(&mut self, _sessions: &SessionChanges) -> Result<(), StateMachineError> {
        Ok(())
    }

    /// All records of the sessions that [`commit`](StateMachine::commit) stored, in any order.
    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        Ok(Vec::new())
    }
}

/// How the records of sessions change, which a state machine stores beside its data. What they say is not its business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionChanges {
    /// Whether every record goes that was stored before.
    pub replaces_all: bool,
    /// Keys, each at most once, with their new values; none for a record that goes.
    pub records: Vec<(Bytes, Option<Bytes>)>,
}

/// Why a state machine cannot go on.
#[derive(Debug, Error)]
#[error("the state machine failed: {0}")]
pub struct StateMachineError(#[source] pub Cause);

impl StateMachineError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<Cause>) -> StateMachineError {
        StateMachineError(cause.into())
    }
}

impl From<std::io::Error> for StateMachineError {
    fn from(error: std::io::Error) -> StateMachineError {
        StateMachineError::new(error)
    }
}
