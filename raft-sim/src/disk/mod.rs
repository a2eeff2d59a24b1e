#![allow(missing_docs, dead_code)]
mod error;
mod image;
use crate::random::Random;
use bytes::Bytes;
pub use error::*;
pub use image::LogImage;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::*;
use std::collections::BTreeMap;
#[derive(Debug)]
pub enum Opened {
    Sound(Recovered),
    Suspect(Recovered, Finding),
    Refused(Finding),
}
#[derive(Debug)]
pub struct SyncMark;
#[derive(Debug, Clone, Copy)]
pub enum Damage {
    BitRot,
    SnapshotRot,
    LostWrite,
    Misdirected,
    CutTail,
    StaleSector,
    Wipe,
}
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Eio,
}
#[derive(Debug, Default)]
pub struct Storage {
    durable: LogImage,
    entries: Vec<Entry>,
    pending: Vec<GroupWrite>,
    snaps: BTreeMap<EntryId, (SnapshotMeta, Bytes)>,
}
impl Storage {
    pub fn new(_: GroupId) -> Storage {
        Storage::default()
    }
    pub fn open(&mut self) -> Opened {
        let d = &self.durable;
        let mut runs: Vec<(Index, Term)> = vec![];
        for id in &d.ids {
            if runs.last().is_none_or(|r| r.1 != id.term) {
                runs.push((id.index, id.term));
            }
        }
        Opened::Sound(Recovered {
            hard_state: d.hard_state,
            snapshot: d.snapshot.clone(),
            purged: d.purged,
            term_runs: runs,
            last_index: d.last().index,
            memberships: d.memberships.iter().cloned().collect(),
            lost: false,
        })
    }
    pub fn write(&mut self, c: &GroupWrite) -> Result<usize, DiskError> {
        self.pending.push(c.clone());
        Ok(0)
    }
    pub fn begin_sync(&mut self) -> SyncMark {
        SyncMark
    }
    pub fn end_sync(&mut self, _: SyncMark) -> Result<(), DiskError> {
        for c in self.pending.drain(..) {
            self.durable.apply(&c);
            let es = match &c.log {
                LogChange::Append(e) => e,
                LogChange::Reset(e) => {
                    self.entries.clear();
                    e
                }
            };
            if let Some(f) = es.first() {
                self.entries.retain(|e| e.index() < f.index());
                self.entries.extend(es.iter().cloned());
            }
        }
        Ok(())
    }
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.end_sync(SyncMark)
    }
    pub fn read(&self, f: Index, l: Index, b: usize) -> Result<Vec<Entry>, DiskError> {
        let es: Vec<Entry> = self
            .entries
            .iter()
            .filter(|e| e.index() >= f && e.index() <= l)
            .cloned()
            .collect();
        let n = raft_core::entry::fitting(&es, b);
        if n == 0 {
            return Err(DiskError::Io);
        }
        Ok(es[..n].to_vec())
    }
    pub fn compact(&mut self, t: EntryId) {
        self.durable.compact(t);
        self.entries.retain(|e| e.index() > t.index);
    }
    pub fn save_snapshot(&mut self, m: &SnapshotMeta, c: Bytes) -> Result<(), DiskError> {
        self.snaps.insert(m.last, (m.clone(), c));
        Ok(())
    }
    pub fn snapshot(&self, l: EntryId) -> Result<(SnapshotMeta, Bytes), Finding> {
        self.snaps.get(&l).cloned().ok_or(Finding::SnapshotMissing(l))
    }
    pub fn remove_snapshots_older(&mut self, _: EntryId) {}
    pub fn crash(&mut self, _: &mut Random) {
        self.pending.clear();
    }
    pub fn damage(&mut self, _: Damage, _: &mut Random) -> Option<String> {
        None
    }
    pub fn arm(&mut self, _: Fault) {}
    pub fn disarm(&mut self) {}
    pub fn full(&mut self, _: bool) {}
    pub fn durable(&self) -> &LogImage {
        &self.durable
    }
    pub fn is_intact(&self) -> bool {
        true
    }
}
