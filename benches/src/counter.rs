//! The smallest state machine: it counts commands.

use std::io::{Cursor, Read};

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{StateMachine, StateMachineError};
use raft_core::types::EntryId;

/// Counts applied entries; its response is empty, so that nothing but consensus is measured.
#[derive(Debug, Default)]
pub struct Counter {
    last: EntryId,
    applied: u64,
}

impl StateMachine for Counter {
    fn last_applied(&self) -> EntryId {
        self.last
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.applied += entries.len() as u64;
        self.last = entries.last().map_or(self.last, |entry| entry.id);
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(Bytes::copy_from_slice(&self.applied.to_le_bytes()))
    }

    fn may_block(&self) -> bool {
        false
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(Cursor::new(self.applied.to_le_bytes())))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let mut applied = [0; 8];
        content.read_exact(&mut applied)?;
        self.applied = u64::from_le_bytes(applied);
        self.last = meta.last;
        Ok(())
    }
}
