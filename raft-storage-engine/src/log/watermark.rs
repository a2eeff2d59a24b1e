//! What must never be forgotten, outside raft-engine.
//!
//! raft-engine cannot notice that its newest file was cut at a record's end or deleted: it opens with less, and says
//! nothing. So each group has a small file of its own that says how much there must be: term and vote, and
//! a mark: "every entry up to this index was durable, and the last of them had this chain value". And the store has one that
//! says which file of raft-engine was written to, so that a missing one is always noticed.
//! On open, anything less or other than that is an error.
//!
//! A file has two slots of 4 KiB, written in turn with `O_DSYNC`; the valid slot with the higher sequence number counts.
//! A torn write therefore damages only the slot that was not acknowledged.
//!
//! The order of writes, which makes a false alarm impossible:
//! - the copy of the hard state is written *after* raft-engine has synced it and before it is acknowledged: it is never
//!   ahead of the log;
//! - the mark is raised only to what is synced, lazily, because each raise costs a sync of its own;
//! - the mark is lowered *before* a truncation that reaches below it;
//! - the number of the newest file is raised after raft-engine began it and before anything in it is acknowledged.
//!
//! What is acknowledged between two raises of the mark is not covered by it: see
//! [`EngineLogOptions::mark_entries_max`](crate::EngineLogOptions).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use raft_core::types::{GroupId, HardState, Index};

use crate::error::OpenError;
use crate::files::{create_directory, sync_directory};
use crate::format::slot::{
    BODY_BYTES, Promise, SLOT_BYTES, STORE, Slot, VERSION, Words, decode_slot, encode_slot, owner_of, slot_at,
};

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
        Watermark::create(self.file(group), owner_of(group), Promise::default().words())
    }

    /// Reads the file of `group`.
    pub(crate) fn load(&self, group: GroupId) -> Result<Watermark, OpenError> {
        let path = self.file(group);
        let found = Watermark::load(path.clone(), owner_of(group))?;
        found.ok_or(OpenError::WatermarkMissing { path })
    }

    /// The file of the store itself, which says which file of raft-engine was written to; `None` if there is none.
    pub(crate) fn load_store(&self) -> Result<Option<Watermark>, OpenError> {
        Watermark::load(self.store_file(), STORE)
    }

    pub(crate) fn create_store(&self, file: u64) -> io::Result<Watermark> {
        Watermark::create(self.store_file(), STORE, file_words(file))
    }

    pub(crate) fn store_file(&self) -> PathBuf {
        self.path.join("store.mark")
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

fn file_words(file: u64) -> Words {
    [file, 0, 0, 0]
}

/// One file with two slots.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    owner: u64,
    sequence: u64,
    words: Words,
}

impl Watermark {
    fn create(path: PathBuf, owner: u64, words: Words) -> io::Result<Watermark> {
        let unfinished = path.with_extension("tmp");
        let mut content = vec![0; 2 * SLOT_BYTES];
        for sequence in 0..2 {
            let at = slot_at(sequence);
            content[at..at + BODY_BYTES].copy_from_slice(&encode_slot(owner, sequence, &words));
        }
        fs::write(&unfinished, content)?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_directory(path.parent().unwrap_or(Path::new(".")))?;
        Ok(Watermark {
            path,
            owner,
            sequence: 1,
            words,
        })
    }

    fn load(path: PathBuf, owner: u64) -> Result<Option<Watermark>, OpenError> {
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::directory(&path, error)),
        };
        let slots =
            [0, 1].map(|slot| decode_slot(owner, content.get(slot * SLOT_BYTES..).unwrap_or_default()));
        if let Some(found) = slots.iter().find_map(|slot| match slot {
            Slot::Version(found) => Some(*found),
            _ => None,
        }) {
            return Err(OpenError::Version {
                what: format!("the watermark file {}", path.display()),
                found,
                known: VERSION,
            });
        }
        let newest = slots
            .iter()
            .filter_map(Slot::valid)
            .max_by_key(|(sequence, _)| *sequence);
        let Some((sequence, words)) = newest else {
            return Err(OpenError::Corrupt {
                what: format!("the watermark file {}", path.display()),
                detail: String::from("neither of its two copies has a right checksum"),
            });
        };
        if slots.iter().any(|slot| slot.valid().is_none()) {
            tracing::warn!(path = %path.display(), "one of two watermark copies is torn; the other one counts");
        }
        Ok(Some(Watermark {
            path,
            owner,
            sequence,
            words,
        }))
    }

    /// What the file of a group says.
    pub(crate) fn promise(&self) -> Promise {
        Promise::from_words(&self.words)
    }

    /// What the file of the store says: the number of the file that was written to.
    pub(crate) fn file(&self) -> u64 {
        self.words[0]
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what a group promises, durably; does nothing if it stays the same.
    pub(crate) fn store(&mut self, promise: Promise) -> io::Result<()> {
        self.replace(promise.words())
    }

    /// Replaces the number of the file that is written to, durably.
    pub(crate) fn store_file(&mut self, file: u64) -> io::Result<()> {
        self.replace(file_words(file))
    }

    /// The file is opened for each write: with thousands of groups, descriptors would be the scarcer thing.
    fn replace(&mut self, words: Words) -> io::Result<()> {
        if words == self.words {
            return Ok(());
        }
        let sequence = self.sequence + 1;
        let mut slot = vec![0; SLOT_BYTES];
        slot[..BODY_BYTES].copy_from_slice(&encode_slot(self.owner, sequence, &words));
        // The bits are a small set of flags; the type differs between rustix and the standard library only in sign.
        let flags = rustix::fs::OFlags::DSYNC.bits().cast_signed();
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(&self.path)?;
        file.write_all_at(&slot, slot_at(sequence) as u64)?;
        self.sequence = sequence;
        self.words = words;
        Ok(())
    }
}

/// The group that a file of this name says to be destroyed.
fn buried_of(name: &str) -> Option<GroupId> {
    let (number, kind) = name.strip_prefix("group-")?.split_once('.')?;
    let is_grave = kind == GRAVE || kind == TWIN;
    number.parse().ok().map(GroupId).filter(|_| is_grave)
}

fn group_of(name: &str) -> Option<GroupId> {
    let number = name.strip_prefix("group-")?.strip_suffix(".mark")?;
    number.parse().ok().map(GroupId)
}

#[cfg(test)]
mod tests {
    use raft_core::types::{NodeId, Term, Trust};

    use super::*;

    fn promise(term: u64, last: u64) -> Promise {
        Promise {
            term: Term(term),
            vote: Some(NodeId(2)),
            last: Index(last),
            chain: term * last,
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_promise_before_it_and_two_torn_slots_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let marks = WatermarkDir::open(dir.path().join("marks")).unwrap();
        let mut mark = marks.create(GroupId(1)).unwrap();
        mark.store(promise(1, 10)).unwrap();
        mark.store(promise(2, 20)).unwrap();
        assert_eq!(marks.load(GroupId(1)).unwrap().promise(), promise(2, 20));
        assert_eq!(marks.groups().unwrap(), [GroupId(1)]);
        let path = marks.file(GroupId(1));
        let whole = fs::read(&path).unwrap();
        let newest = slot_at(mark.sequence);
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
            let error = marks.load(GroupId(1)).unwrap_err();
            assert!(matches!(error, OpenError::Corrupt { .. }), "byte {cut}: {error}");
        }
    }

    #[test]
    fn a_file_of_another_owner_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let marks = WatermarkDir::open(dir.path().to_path_buf()).unwrap();
        marks.create(GroupId(1)).unwrap();
        fs::copy(marks.file(GroupId(1)), marks.store_file()).unwrap();
        assert!(matches!(marks.load_store(), Err(OpenError::Corrupt { .. })));
        fs::rename(marks.file(GroupId(1)), marks.file(GroupId(2))).unwrap();
        assert!(matches!(marks.load(GroupId(2)), Err(OpenError::Corrupt { .. })));
        let missing = marks.load(GroupId(1)).unwrap_err();
        assert!(matches!(missing, OpenError::WatermarkMissing { .. }));
    }

    /// R11: a recovered state is checked against every part of the promise.
    #[test]
    fn less_than_promised_is_an_error() {
        let hard_state = |term, vote: Option<u64>| HardState {
            term: Term(term),
            vote: vote.map(NodeId),
            commit: Index(0),
            trust: Trust::Trusted,
        };
        let check = |hard_state, last| promise(3, 10).check(GroupId(1), &hard_state, Index(last));
        assert!(check(hard_state(3, Some(2)), 10).is_ok());
        assert!(check(hard_state(4, None), 11).is_ok());
        assert!(matches!(
            check(hard_state(3, Some(2)), 9),
            Err(OpenError::LogLost { .. })
        ));
        for lost in [
            hard_state(2, Some(2)),
            hard_state(3, None),
            hard_state(3, Some(1)),
        ] {
            assert!(matches!(check(lost, 10), Err(OpenError::HardStateLost { .. })));
        }
    }
}
