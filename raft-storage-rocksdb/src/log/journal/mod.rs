//! The journal: every batch is here, synced, before it is acknowledged and before RocksDB hears of it.
//!
//! RocksDB has a write-ahead log of its own, which is switched off. It grows with each write, so that each sync is a
//! sync of the file system's metadata, too, and no recovery mode of it can tell a torn record from a damaged one, or
//! notice that its end is missing. The journal's files have their blocks from the beginning, and every one of their sectors says
//! what it belongs to; see [`format::journal`](crate::format::journal) for the bytes.
//!
//! A record is written twice under one sync: behind the one before it, and into one of two twin slots at the head of the
//! segment. Whatever happens to one of the two places afterwards (a write that the disk lost, a bad sector), the last record,
//! of which no later record could bear witness, is still there.
//!
//! - `Journal` appends; one thread owns it;
//! - `files`: segments begin and end, under the control file;
//! - `segment`: one file;
//! - `openings`: notices a journal of an earlier time;
//! - `recovery`: what a journal that was found holds, and whether it holds all it ever acknowledged.

mod files;
mod openings;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use files::Files;
pub(crate) use recovery::{Findings, Recovery};
use segment::Segment;

use crate::error::DiskError;
use crate::format::journal::{Place, disk_bytes, encode_record};

/// A journal that is appended to.
#[derive(Debug)]
pub(crate) struct Journal {
    files: Arc<Files>,
    segment: Segment,
    place: Place,
    /// The sectors of one record; kept for its memory.
    sectors: Vec<u8>,
}

impl Journal {
    fn new(files: Files, segment: Segment, place: Place) -> Journal {
        Journal {
            files: Arc::new(files),
            segment,
            place,
            sectors: Vec::new(),
        }
    }

    /// What the housekeeping works on.
    pub(crate) fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    /// The sequence number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.place.next
    }

    /// Whether a record with a body of so many bytes begins a new segment.
    pub(crate) fn is_full_for(&self, body_bytes: usize) -> bool {
        !self.segment.has_room(disk_bytes(body_bytes))
    }

    /// Appends a record. When this returns, it survives power loss. After an error nothing may be appended any more (R60).
    pub(crate) fn append(&mut self, body: &[u8]) -> Result<(), DiskError> {
        if self.is_full_for(body.len()) {
            self.segment = self.files.rotate(&self.segment, self.place, body.len())?;
        }
        let sequence = self.place.next;
        let after = encode_record(self.segment.head.store, self.place, body, &mut self.sectors);
        let appended = self.segment.append(sequence, &self.sectors);
        appended.map_err(|error| DiskError::file(self.segment.path(), &error))?;
        if !self.segment.has_twin(self.sectors.len()) {
            self.files.mark(sequence)?;
        }
        self.place = after;
        Ok(())
    }
}
