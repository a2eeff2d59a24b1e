//! A state machine that writes down what it applies, on a disk of its own that survives crashes.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::message::SnapshotMeta;
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{SessionChanges, StateMachine, StateMachineError};
use raft_core::types::EntryId;

/// What is left after a crash.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    applied: Vec<Entry>,
    sessions: BTreeMap<Bytes, Bytes>,
    /// The machine stops right before the next commit.
    stops: bool,
}

/// The state machine: each response is its command.
struct Recorder {
    disk: Disk,
    last: EntryId,
    uncommitted: Vec<Entry>,
}

impl Disk {
    /// The state machine, with its sessions, as a restart finds it.
    pub(crate) fn open(&self) -> ReplicatedState {
        let recorder = Recorder {
            disk: self.clone(),
            last: self.last(),
            uncommitted: Vec::new(),
        };
        ReplicatedState::open(Box::new(recorder)).expect("state and sessions are of one moment")
    }

    pub(crate) fn last(&self) -> EntryId {
        self.stored()
            .applied
            .last()
            .map_or(EntryId::ZERO, |entry| entry.id)
    }

    pub(crate) fn applied(&self) -> Vec<Entry> {
        self.stored().applied.clone()
    }

    /// Lets the machine stop right before its next commit.
    pub(crate) fn stop_before_commit(&self) {
        self.stored().stops = true;
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl StateMachine for Recorder {
    fn last_applied(&self) -> EntryId {
        self.last
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.uncommitted.extend(entries.iter().cloned());
        self.last = entries.last().map_or(self.last, |entry| entry.id);
        let response = |entry: &Entry| match &entry.payload {
            Payload::Command(command) => command.clone(),
            _ => Bytes::new(),
        };
        Ok(entries.iter().map(response).collect())
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Err(StateMachineError::new("nobody asks"))
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Err(StateMachineError::new("there are no snapshots here"))
    }

    fn restore(&mut self, _meta: &SnapshotMeta, _content: &mut dyn Read) -> Result<(), StateMachineError> {
        Err(StateMachineError::new("there are no snapshots here"))
    }

    fn commit(&mut self, changes: &SessionChanges) -> Result<(), StateMachineError> {
        let mut stored = self.disk.stored();
        if std::mem::take(&mut stored.stops) {
            return Err(StateMachineError::new("the machine stopped"));
        }
        stored.applied.append(&mut self.uncommitted);
        for (key, value) in changes.records.clone() {
            match value {
                Some(value) => stored.sessions.insert(key, value),
                None => stored.sessions.remove(&key),
            };
        }
        Ok(())
    }

    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        Ok(self.disk.stored().sessions.clone().into_iter().collect())
    }
}
