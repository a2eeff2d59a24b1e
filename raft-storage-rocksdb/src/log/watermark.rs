//! The second copy of what a replica must never forget, outside the journal and RocksDB.
//!
//! A journal and tables that are gone, or are those of an earlier time, are sound in themselves. So each group has a small file of its own that says how much there must be:
//! the term and vote, and a mark: "every entry up to this index was durable, and the last of them had this chain value".
//! On open, anything less or other than that is an error.
//!
//! One file for each group, because then groups share nothing: no index of slots, no growth, no compaction, and a
//! group's file is created once, lives as long as its group, and is found by its name. It has two [slots](crate::slots).
//!
//! The order of writes, which makes a false alarm impossible:
//! - the copy of term and vote is written *after* the journal has synced them and before they are acknowledged: it is
//!   never ahead of the log;
//! - the mark is raised only to what the journal has synced, lazily, because each raise costs a sync of its own;
//! - the mark is lowered *before* a truncation that reaches below it.
//!
//! What is acknowledged between two raises of the mark is not covered by it: see
//! [`RocksLogOptions::mark_entries_max`](crate::RocksLogOptions).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use raft_core::types::{GroupId, HardState, Index};

use crate::error::OpenError;
use crate::files::{create_directory, sync_directory};
use crate::format::journal::HeadError;
use crate::format::watermark::{Promise, Slot, VERSION, decode_slot, encode_slot};
use crate::slots::{self, Slots};

/// What the files of a destroyed group end with.
const GRAVE: &str = "destroyed";
const TWIN: &str = "destroyed-twin";

impl Promise {
    /// Compares what was recovered with what was promised (R11).
    pub(crate) fn check(&self, group: GroupId, hard_state: &HardState, last: Index) -> Result<(), OpenError> {
        let vote_lost = hard_state.term == self.term && self.vote.is_some() && hard_state.vote != self.vote;
        if hard_state.term < self.term || vote_lost {
            return Err(OpenError::HardStateLost {
                group,
                recovered_term: hard_state.term,
                recovered_vote: hard_state.vote,
                acknowledged_term: self.term,
                acknowledged_vote: self.vote,
            });
        }
        if last < self.last {
            return Err(OpenError::LogLost {
                group,
                recovered: last,
                acknowledged: self.last,
            });
        }
        Ok(())
    }
}

/// The directory with the watermark files of a store.
#[derive(Clone, Debug)]
pub(crate) struct WatermarkDir {
    path: PathBuf,
}

/// The watermark of one group.
#[derive(Debug)]
pub(crate) struct Watermark {
    slots: Slots,
    group: GroupId,
    promise: Promise,
}

impl WatermarkDir {
    /// Uses or creates the directory.
    pub(crate) fn open(path: PathBuf) -> Result<WatermarkDir, OpenError> {
        create_directory(&path).map_err(|error| OpenError::directory(&path, error))?;
        Ok(WatermarkDir { path })
    }

    pub(crate) fn file(&self, group: GroupId) -> PathBuf {
        self.path.join(format!("group-{:020}.mark", group.0))
    }

    /// The groups that have a file, ascending. Files that were not finished when the process died are removed.
    pub(crate) fn groups(&self) -> Result<Vec<GroupId>, OpenError> {
        let failed = |error| OpenError::directory(&self.path, error);
        let mut groups = Vec::new();
        for file in fs::read_dir(&self.path).map_err(failed)? {
            let file = file.map_err(failed)?;
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(".tmp") {
                fs::remove_file(file.path()).map_err(failed)?;
            } else if let Some(group) = group_of(name) {
                groups.push(group);
            }
        }
        groups.sort_unstable();
        Ok(groups)
    }

    /// Creates the file of a new group, durably, with a promise of nothing.
    pub(crate) fn create(&self, group: GroupId) -> io::Result<Watermark> {
        let promise = Promise::default();
        let slots = Slots::create(self.file(group), |sequence| {
            encode_slot(group, sequence, &promise).to_vec()
        })?;
        Ok(Watermark {
            slots,
            group,
            promise,
        })
    }

    /// Reads the file of `group`.
    pub(crate) fn load(&self, group: GroupId) -> Result<Watermark, OpenError> {
        let path = self.file(group);
        let what = format!("the watermark file {} of group {group}", path.display());
        let newest = slots::newest(&path, &what, VERSION, |slot| match decode_slot(group, slot) {
            Slot::Valid(sequence, promise) => Ok((sequence, promise)),
            Slot::Version(found) => Err(HeadError::Version(found)),
            Slot::Torn => Err(HeadError::Damaged),
        })?;
        let Some((slots, promise)) = newest else {
            return Err(OpenError::WatermarkMissing { group, path });
        };
        Ok(Watermark {
            slots,
            group,
            promise,
        })
    }

    /// Notes that `group` is destroyed, durably and for ever.
    pub(crate) fn bury(&self, group: GroupId) -> io::Result<()> {
        // Two files: one that is lost must not bring the group back.
        let grave = self.grave(group);
        for file in [grave.with_extension(TWIN), grave] {
            fs::File::create(file)?.sync_all()?;
        }
        sync_directory(&self.path)
    }

    /// The groups that are destroyed. Something of one may be left: a crash came in between. A file that is missing beside its twin
    /// is put back.
    pub(crate) fn buried(&self) -> Result<BTreeSet<GroupId>, OpenError> {
        let failed = |error| OpenError::directory(&self.path, error);
        let mut files = BTreeMap::new();
        for file in fs::read_dir(&self.path).map_err(failed)? {
            let name = file.map_err(failed)?.file_name();
            if let Some(group) = name.to_str().and_then(buried_of) {
                *files.entry(group).or_insert(0) += 1;
            }
        }
        for (group, _) in files.iter().filter(|(_, count)| **count < 2) {
            self.bury(*group).map_err(failed)?;
        }
        Ok(files.into_keys().collect())
    }

    pub(crate) fn grave(&self, group: GroupId) -> PathBuf {
        self.path.join(format!("group-{:020}.{GRAVE}", group.0))
    }

    /// Removes the file of a destroyed group.
    pub(crate) fn remove(&self, group: GroupId) -> io::Result<()> {
        match fs::remove_file(self.file(group)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => sync_directory(&self.path),
        }
    }
}

impl Watermark {
    pub(crate) fn promise(&self) -> Promise {
        self.promise
    }

    pub(crate) fn path(&self) -> &Path {
        self.slots.path()
    }

    /// Replaces the promise, durably; does nothing if it stays the same.
    pub(crate) fn store(&mut self, promise: Promise) -> io::Result<()> {
        if promise == self.promise {
            return Ok(());
        }
        self.rewrite(promise)
    }

    /// The same, also if it stays the same.
    pub(crate) fn rewrite(&mut self, promise: Promise) -> io::Result<()> {
        let group = self.group;
        self.slots
            .write(|sequence| encode_slot(group, sequence, &promise).to_vec())?;
        self.promise = promise;
        Ok(())
    }
}

/// The group that a file of this name says to be destroyed.
fn buried_of(name: &str) -> Option<GroupId> {
    let (number, kind) = name.strip_prefix("group-")?.split_once('.')?;
    let is_grave = kind == GRAVE || kind == TWIN;
    number.parse().ok().map(GroupId).filter(|_| is_grave)
}

/// The group whose file has this name.
pub(crate) fn group_of(name: &str) -> Option<GroupId> {
    let number = name.strip_prefix("group-")?.strip_suffix(".mark")?;
    number.parse().ok().map(GroupId)
}

#[cfg(test)]
mod tests {
    use raft_core::types::{NodeId, Term, Trust};

    use super::*;
    use crate::format::watermark::BODY_BYTES;
    use crate::slots::{SLOT_BYTES, slot_at};

    fn promise(term: u64, last: u64) -> Promise {
        Promise {
            term: Term(term),
            vote: Some(NodeId(2)),
            last: Index(last),
            chain: term * last,
        }
    }

    /// What is destroyed stays so, and its file is taken for no watermark.
    #[test]
    fn a_destroyed_group_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let marks = WatermarkDir::open(dir.path().join("marks")).unwrap();
        marks.create(GroupId(7)).unwrap();
        marks.bury(GroupId(7)).unwrap();
        marks.bury(GroupId(7)).unwrap();
        marks.bury(GroupId(9)).unwrap();
        assert_eq!(marks.buried().unwrap(), BTreeSet::from([GroupId(7), GroupId(9)]));
        assert_eq!(marks.groups().unwrap(), [GroupId(7)]);
        marks.remove(GroupId(7)).unwrap();
        assert_eq!(marks.buried().unwrap().len(), 2);
        for file in [
            marks.grave(GroupId(7)),
            marks.grave(GroupId(9)).with_extension(TWIN),
        ] {
            fs::remove_file(file).unwrap();
            assert_eq!(marks.buried().unwrap().len(), 2, "its twin remembers");
        }
        assert!(marks.grave(GroupId(7)).exists(), "it was put back");
    }

    #[test]
    fn the_newest_promise_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let marks = WatermarkDir::open(dir.path().join("marks")).unwrap();
        let mut mark = marks.create(GroupId(7)).unwrap();
        for term in 1..6 {
            mark.store(promise(term, 10 * term)).unwrap();
            assert_eq!(
                marks.load(GroupId(7)).unwrap().promise(),
                promise(term, 10 * term)
            );
        }
        assert_eq!(marks.groups().unwrap(), [GroupId(7)]);
    }

    #[test]
    fn a_torn_slot_leaves_the_promise_before_it_and_two_torn_slots_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let marks = WatermarkDir::open(dir.path().to_path_buf()).unwrap();
        let mut mark = marks.create(GroupId(1)).unwrap();
        mark.store(promise(1, 10)).unwrap();
        mark.store(promise(2, 20)).unwrap();
        let path = marks.file(GroupId(1));
        let whole = fs::read(&path).unwrap();
        // The slot of the third write: the first two are written when the file is created.
        let newest = slot_at(3);
        for cut in 0..BODY_BYTES {
            let mut torn = whole.clone();
            torn[newest + cut] ^= 0x40;
            fs::write(&path, &torn).unwrap();
            assert_eq!(
                marks.load(GroupId(1)).unwrap().promise(),
                promise(1, 10),
                "byte {cut}"
            );
            torn[SLOT_BYTES - newest + cut] ^= 0x40;
            fs::write(&path, &torn).unwrap();
            assert!(
                matches!(marks.load(GroupId(1)), Err(OpenError::Corrupt { .. })),
                "byte {cut}"
            );
        }
        fs::write(&path, &whole[..100]).unwrap();
        assert!(marks.load(GroupId(1)).is_ok() || newest == 0);
        fs::write(&path, b"").unwrap();
        assert!(matches!(marks.load(GroupId(1)), Err(OpenError::Corrupt { .. })));
    }

    #[test]
    fn a_file_of_another_group_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let marks = WatermarkDir::open(dir.path().to_path_buf()).unwrap();
        marks.create(GroupId(1)).unwrap();
        fs::rename(marks.file(GroupId(1)), marks.file(GroupId(2))).unwrap();
        assert!(matches!(marks.load(GroupId(2)), Err(OpenError::Corrupt { .. })));
        assert!(matches!(
            marks.load(GroupId(1)),
            Err(OpenError::WatermarkMissing { .. })
        ));
    }

    /// R11: a recovered state is checked against every part of the promise.
    #[test]
    fn less_than_promised_is_an_error() {
        let promised = promise(3, 10);
        let hard_state = |term, vote: Option<u64>| HardState {
            term: Term(term),
            vote: vote.map(NodeId),
            commit: Index(0),
            trust: Trust::Trusted,
        };
        let check = |hard_state, last| promised.check(GroupId(1), &hard_state, Index(last));
        assert!(check(hard_state(3, Some(2)), 10).is_ok());
        assert!(check(hard_state(4, None), 11).is_ok());
        assert!(matches!(
            check(hard_state(3, Some(2)), 9),
            Err(OpenError::LogLost { .. })
        ));
        assert!(matches!(
            check(hard_state(2, Some(2)), 10),
            Err(OpenError::HardStateLost { .. })
        ));
        assert!(matches!(
            check(hard_state(3, None), 10),
            Err(OpenError::HardStateLost { .. })
        ));
        assert!(matches!(
            check(hard_state(3, Some(1)), 10),
            Err(OpenError::HardStateLost { .. })
        ));
    }
}
