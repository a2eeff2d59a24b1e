//! What the tests share: short names for writes, and ways to look at and damage what is on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{GroupWrite, LogStore};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_storage_rocksdb::{RocksLogOptions, RocksLogStore};

pub(crate) const G: GroupId = GroupId(7);

pub(crate) fn command(term: u64, index: u64) -> Entry {
    Entry::command(
        Term(term),
        Index(index),
        Bytes::from(format!("command {index} of term {term}")),
    )
}

pub(crate) fn commands(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    indexes.map(|index| command(term, index)).collect()
}

pub(crate) fn append(group: GroupId, entries: Vec<Entry>) -> GroupWrite {
    GroupWrite {
        group,
        hard_state: None,
        snapshot: None,
        log: LogChange::Append(entries),
    }
}

pub(crate) fn vote(group: GroupId, term: u64, vote: Option<u64>) -> GroupWrite {
    GroupWrite {
        hard_state: Some(HardState {
            term: Term(term),
            vote: vote.map(NodeId),
            commit: Index::ZERO,
            trust: Trust::Trusted,
        }),
        ..append(group, Vec::new())
    }
}

pub(crate) fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

pub(crate) fn meta(term: u64, index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: id(term, index),
        membership: Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]).unwrap(),
    }
}

pub(crate) fn reset(group: GroupId, term: u64, index: u64, entries: Vec<Entry>) -> GroupWrite {
    GroupWrite {
        group,
        hard_state: None,
        snapshot: Some(meta(term, index)),
        log: LogChange::Reset(entries),
    }
}

pub(crate) async fn write(store: &RocksLogStore, write: GroupWrite) {
    store.write(vec![write]).await.unwrap();
}

pub(crate) async fn read(store: &RocksLogStore, group: GroupId, first: u64, last: u64) -> Vec<Entry> {
    store
        .read(group, Index(first), Index(last), usize::MAX)
        .await
        .unwrap()
}

/// Small segments, so that they begin, end and are released; a small cache, so that both memory and tables are read.
pub(crate) fn options() -> RocksLogOptions {
    RocksLogOptions {
        segment_bytes: 256 << 10,
        cache_bytes_max: 2_000,
        ..RocksLogOptions::default()
    }
}

pub(crate) fn open(dir: &Path) -> RocksLogStore {
    RocksLogStore::open(dir, options()).unwrap()
}

/// The segments of the journal, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files = files_of(&dir.join("journal"), "seg");
    files.sort();
    files
}

/// The segment that is appended to.
pub(crate) fn live_segment(dir: &Path) -> PathBuf {
    segments(dir).pop().unwrap()
}

/// Where the records of a segment begin: after its head and its two twin slots, whose size the head names.
pub(crate) fn records_at(segment: &Path) -> usize {
    let bytes = fs::read(segment).unwrap();
    let twin_bytes = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
    4096 + 2 * twin_bytes as usize
}

pub(crate) fn files_of(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

pub(crate) fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(bytes)
        .unwrap();
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    try_copy_dir(from, to).unwrap();
}

/// The files of an open store as they are at one moment, as a crash leaves them. RocksDB removes and renames files in threads of
/// its own, so all are copied again until none came, went or changed meanwhile.
pub(crate) fn copy_open_dir(from: &Path, to: &Path) {
    for _ in 0..100 {
        let before = listing(from);
        let copied = try_copy_dir(from, to);
        if let (Ok(before), Ok(()), Ok(after)) = (before, copied, listing(from))
            && before == after
        {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
    panic!("the files of {} never rest", from.display());
}

/// Every file below `dir`, its size and when it was changed.
fn listing(dir: &Path) -> io::Result<BTreeMap<PathBuf, (u64, SystemTime)>> {
    let mut files = BTreeMap::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            files.append(&mut listing(&file.path())?);
        } else {
            let metadata = file.metadata()?;
            files.insert(file.path(), (metadata.len(), metadata.modified()?));
        }
    }
    Ok(files)
}

fn try_copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            try_copy_dir(&file.path(), &target)?;
        } else {
            fs::copy(file.path(), target)?;
        }
    }
    Ok(())
}

/// A small generator of reproducible numbers (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }
}
