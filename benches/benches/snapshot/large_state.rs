//! A state that is large as a snapshot and takes no memory: its content is made while it is read.

use std::io::Read;

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{StateMachine, StateMachineError};
use raft_core::types::EntryId;

/// Remembers nothing but its position.
#[derive(Debug)]
pub(crate) struct LargeState {
    last: EntryId,
    bytes: u64,
}

impl LargeState {
    pub(crate) fn new(bytes: u64) -> LargeState {
        LargeState {
            last: EntryId::ZERO,
            bytes,
        }
    }
}

impl StateMachine for LargeState {
    fn last_applied(&self) -> EntryId {
        self.last
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.last = entries.last().map_or(self.last, |entry| entry.id);
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(Bytes::new())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(Content {
            left: self.bytes,
            state: self.last.index.0,
        }))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let read = std::io::copy(content, &mut std::io::sink())?;
        if read != self.bytes {
            return Err(StateMachineError::new("the content is not as long as it was"));
        }
        self.last = meta.last;
        Ok(())
    }
}

/// Bytes that no compression makes fewer.
struct Content {
    left: u64,
    state: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for chunk in buffer[..length].chunks_mut(8) {
            // SplitMix64 without its last steps: fast, and random enough for a disk.
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
        self.left -= length as u64;
        Ok(length)
    }
}
