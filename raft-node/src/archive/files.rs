//! [`Archive`]: the files of an archive, and how entries come into them.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_core::entry::Entry;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{LogStore, LogStoreError, Recovered, SnapshotStore};
use raft_core::types::{EntryId, GroupId, Index, Term};

use super::disk::{Disk, OwnDisk};
use super::error::{ArchiveError, Unusable};
use super::format::Place;
use super::inventory::Inventory;
use super::segment::Segment;
use crate::durable_file;

const OWNER: &str = "ARCHIVE";
/// So many payload bytes share a segment.
const SEGMENT_BYTES: usize = 8 << 20;
/// How much is read from the log at once.
pub(super) const READ_BYTES: usize = 1 << 20;

/// Whose past an archive keeps, and how much of it.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// Who owns it, in words: a node of a cluster.
    pub owner: String,
    /// The group whose entries it keeps.
    pub group: GroupId,
    /// How many bytes it may have, segments and bases together. Two bases and what follows them are kept at least.
    pub bytes_max: u64,
    /// How far back it is to reach; as far as it has room if nothing is said.
    pub retention: Option<Retention>,
}

/// How far back an archive is to reach.
#[derive(Clone, Debug)]
pub struct Retention {
    /// So far.
    pub time: Duration,
    /// The node's file of times.
    pub times: PathBuf,
}

/// An archive that is open.
#[derive(Debug)]
pub struct Archive {
    pub(super) directory: PathBuf,
    pub(super) options: ArchiveOptions,
    pub(super) bases: Arc<dyn SnapshotStore>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) inventory: Inventory,
    /// A change of the files was begun and is not known to have ended well: what is there has to be looked at again.
    pub(super) is_uncertain: bool,
}

/// Indexes that follow each other, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first index.
    pub first: Index,
    /// The last index.
    pub last: Index,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

impl Window {
    /// Those of `windows` that touch each other as one, in order.
    #[must_use]
    pub fn merged(mut windows: Vec<Window>) -> Vec<Window> {
        windows.sort_by_key(|window| window.first);
        let mut merged: Vec<Window> = Vec::new();
        for next in windows {
            match merged.last_mut() {
                Some(last) if next.first <= last.last.next() => last.last = last.last.max(next.last),
                _ => merged.push(next),
            }
        }
        merged
    }
}

impl Archive {
    /// Opens the archive in `directory`, and makes it if there is none. `bases` is a snapshot store in its directory
    /// [`bases`](Archive::bases_directory). What a crash left unfinished is removed.
    pub fn open(
        directory: &Path,
        options: ArchiveOptions,
        bases: Arc<dyn SnapshotStore>,
    ) -> Result<Archive, ArchiveError> {
        Archive::open_on(Arc::new(OwnDisk), directory, options, bases)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: ArchiveOptions,
        bases: Arc<dyn SnapshotStore>,
    ) -> Result<Archive, ArchiveError> {
        let entries = directory.join("entries");
        durable_file::create_directory(&entries, 0o700).map_err(ArchiveError::io("make", &entries))?;
        if owner(directory)?.is_none() {
            let mut files = fs::read_dir(&entries).map_err(ArchiveError::io("list", &entries))?;
            if files.next().is_some() {
                return Err(ArchiveError::NoOwner {
                    path: directory.join(OWNER),
                    own: options.owner,
                });
            }
            let (path, text) = (directory.join(OWNER), format!("{}\n", options.owner));
            durable_file::replace(&path, text.as_bytes(), 0o600).map_err(ArchiveError::io("write", &path))?;
        }
        remove_unfinished(&*disk, &entries)?;
        settle(&*disk, &entries)?;
        settle_below(&*disk, &Archive::bases_directory(directory))?;
        Archive::find(disk, directory, options, bases)
    }

    /// Opens the archive in `directory` to read it. One that is not there is not made.
    pub fn open_existing(
        directory: &Path,
        options: ArchiveOptions,
        bases: Arc<dyn SnapshotStore>,
    ) -> Result<Archive, ArchiveError> {
        Archive::check_existence(directory)?;
        Archive::find(Arc::new(OwnDisk), directory, options, bases)
    }

    /// Refuses a `directory` that is no archive.
    pub fn check_existence(directory: &Path) -> Result<(), ArchiveError> {
        let none = || ArchiveError::NoArchive(directory.to_owned());
        owner(directory)?.map(|_| ()).ok_or_else(none)
    }

    fn find(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: ArchiveOptions,
        bases: Arc<dyn SnapshotStore>,
    ) -> Result<Archive, ArchiveError> {
        let found = owner(directory)?.unwrap_or_default();
        if found != options.owner {
            return Err(ArchiveError::OtherOwner {
                path: directory.to_owned(),
                found,
                own: options.owner,
            });
        }
        Ok(Archive {
            inventory: Inventory::of(&directory.join("entries"), options.group)?,
            directory: directory.to_owned(),
            options,
            bases,
            disk,
            is_uncertain: false,
        })
    }

    /// Where the bases of an archive in `directory` are.
    #[must_use]
    pub fn bases_directory(directory: &Path) -> PathBuf {
        directory.join("bases")
    }

    /// Where the archive is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn entries_directory(&self) -> PathBuf {
        self.directory.join("entries")
    }

    /// The group whose entries it keeps.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.options.group
    }

    /// The last entry that is archived; [`EntryId::ZERO`] if none is.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.inventory.end().id
    }

    /// The bytes of all segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.inventory.bytes()
    }

    /// The snapshots that the state can be made from, the oldest first.
    pub async fn bases(&self) -> Result<Vec<SnapshotMeta>, ArchiveError> {
        Ok(self.bases.list(self.options.group).await?)
    }

    /// The store of the bases.
    #[must_use]
    pub fn base_store(&self) -> &Arc<dyn SnapshotStore> {
        &self.bases
    }

    /// The runs of entries without a gap: the first and the last index of each.
    #[must_use]
    pub fn runs(&self) -> Vec<Window> {
        self.inventory.runs()
    }

    /// The files that cannot be used and hold entries that no other one has, by index.
    pub fn missed(&self) -> impl Iterator<Item = &Unusable> {
        self.inventory.missed()
    }

    #[cfg(test)]
    pub(super) fn unusable(&self) -> &[Unusable] {
        &self.inventory.unusable
    }

    /// Refuses to go on if `log` is of another history than what is archived.
    pub fn check_history(&self, log: &Recovered) -> Result<(), ArchiveError> {
        let (archived, last) = (self.last(), log.last_index);
        if archived == EntryId::ZERO {
            return Ok(());
        }
        let reason = match term_in(log, archived.index) {
            _ if last < archived.index => {
                format!("it ends with entry {archived}, and the log with index {last}")
            }
            Some(term) if term != archived.term => {
                format!("it ends with entry {archived}, and the log has that with term {term}")
            }
            _ => return Ok(()),
        };
        Err(ArchiveError::OtherHistory {
            path: self.directory.clone(),
            reason,
        })
    }

    /// The entries behind `last` from one segment; none if no segment has the next one.
    pub fn read_behind(&self, last: EntryId) -> Result<Option<Behind>, ArchiveError> {
        let first = last.index.next();
        let Some(segment) = self.inventory.holding(first) else {
            return Ok(None);
        };
        let mut entries = segment.read()?;
        let at = entries.partition_point(|entry| entry.index() < first);
        let before = match at.checked_sub(1) {
            Some(before) => entries.get(before).map(|entry| entry.id),
            // Behind a gap the term may be unknown.
            None => Some(segment.header.begin.id).filter(|before| before.term != Term::ZERO),
        };
        entries.drain(..at);
        Ok(Some(Behind {
            path: segment.path.clone(),
            before: before.filter(|_| last != EntryId::ZERO),
            entries,
        }))
    }

    /// Archives what `log` has up to and including `through` and the archive has not, before the log forgets it. `snapshots`
    /// are those of the node.
    pub async fn keep(
        &mut self,
        log: &dyn LogStore,
        snapshots: &dyn SnapshotStore,
        through: Index,
    ) -> Result<(), ArchiveError> {
        self.ascertain().await?;
        let mut begin = self.inventory.end();
        while begin.id.index < through {
            match self.next_entries(log, begin.id, through).await {
                Err(ArchiveError::Log(LogStoreError::Missing { first, .. }))
                    if first > begin.id.index.next() =>
                {
                    begin = self.bridge(snapshots, begin.id.index, first.previous()).await?;
                }
                read => begin = self.write(begin, read?).await?,
            }
        }
        Ok(())
    }

    /// Looks at the files again if a change of them did not end well. What is then there is durable.
    pub(super) async fn ascertain(&mut self) -> Result<(), ArchiveError> {
        if !self.is_uncertain {
            return Ok(());
        }
        let (disk, entries, group) = (self.disk.clone(), self.entries_directory(), self.options.group);
        let found = tokio::task::spawn_blocking(move || {
            settle(&*disk, &entries)?;
            Inventory::of(&entries, group)
        });
        self.inventory = found.await??;
        self.is_uncertain = false;
        Ok(())
    }

    /// The entries of the next segment, behind `prev`.
    async fn next_entries(
        &self,
        log: &dyn LogStore,
        prev: EntryId,
        through: Index,
    ) -> Result<Vec<Entry>, ArchiveError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut last = prev;
        while last.index < through && bytes < SEGMENT_BYTES {
            let first = last.index.next();
            let read = log.read(self.options.group, first, through, READ_BYTES).await?;
            last = match read.last() {
                Some(read) if read.index() > last.index => read.id,
                _ => return Err(ArchiveError::NoEntries(last)),
            };
            bytes += read.iter().map(Entry::payload_bytes).sum::<usize>();
            entries.extend(read);
        }
        Ok(entries)
    }

    /// Makes a segment of `entries`. Returns where it ends.
    async fn write(&mut self, begin: Place, entries: Vec<Entry>) -> Result<Place, ArchiveError> {
        let (disk, directory, group) = (self.disk.clone(), self.entries_directory(), self.options.group);
        // Also if nobody waits for it to the end.
        self.is_uncertain = true;
        let write = move || Segment::write(&*disk, &directory, group, begin, &entries);
        let segment = tokio::task::spawn_blocking(write).await??;
        let end = segment.header.end;
        self.inventory.add(segment);
        self.is_uncertain = false;
        Ok(end)
    }

    /// The log was replaced: keeps the snapshot that leads to its first entry, and goes on there. Returns what precedes that.
    async fn bridge(
        &self,
        snapshots: &dyn SnapshotStore,
        archived: Index,
        purged: Index,
    ) -> Result<Place, ArchiveError> {
        let all = snapshots.list(self.options.group).await?;
        let gap = ArchiveError::Gap { archived, purged };
        let base = all
            .into_iter()
            .find(|meta| meta.last.index >= purged)
            .ok_or(gap)?;
        self.copy_base(snapshots, &base).await?;
        // The term of a purged entry is known if the snapshot ends there; else nobody asks for it.
        let term = if base.last.index == purged {
            base.last.term
        } else {
            Term::ZERO
        };
        Ok(Place::beginning(EntryId::new(term, purged)))
    }

    /// Copies one of `snapshots` into the archive.
    pub(super) async fn copy_base(
        &self,
        snapshots: &dyn SnapshotStore,
        meta: &SnapshotMeta,
    ) -> Result<(), ArchiveError> {
        if self.bases().await?.contains(meta) {
            return Ok(());
        }
        let mut content = snapshots.open(self.options.group, meta.last).await?;
        let known = Some(content.content());
        let mut base = self.bases.begin(self.options.group, meta, known).await?;
        content.seek(base.offset()).await?;
        loop {
            let chunk = content.read_chunk(READ_BYTES).await?;
            if chunk.is_empty() {
                break;
            }
            base.write_chunk(chunk).await?;
        }
        Ok(base.finish().await?)
    }
}

/// Entries of a segment, from some place in it on.
#[derive(Debug)]
pub struct Behind {
    /// The segment.
    pub path: PathBuf,
    /// The entry before them, if it is known and there is one.
    pub before: Option<EntryId>,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// The term of the entry at `index`, if `log` says it.
pub(super) fn term_in(log: &Recovered, index: Index) -> Option<Term> {
    if index == log.purged.index {
        return Some(log.purged.term);
    }
    if index < log.purged.index || index > log.last_index {
        return None;
    }
    let run = log.term_runs.partition_point(|(first, _)| *first <= index);
    log.term_runs.get(run.checked_sub(1)?).map(|(_, term)| *term)
}

/// Whose archive is in `directory`; none if there is none.
fn owner(directory: &Path) -> Result<Option<String>, ArchiveError> {
    let path = directory.join(OWNER);
    match fs::read(&path) {
        Ok(found) => Ok(Some(String::from_utf8_lossy(&found).trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ArchiveError::io("read", &path)(error)),
    }
}

/// Removes what was being written when the node stopped.
fn remove_unfinished(disk: &dyn Disk, directory: &Path) -> Result<(), ArchiveError> {
    for file in fs::read_dir(directory).map_err(ArchiveError::io("list", directory))? {
        let path = file.map_err(ArchiveError::io("list", directory))?.path();
        if path.extension() == Some(OsStr::new("tmp")) {
            disk.remove(&path).map_err(ArchiveError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes durable what names a directory has: a file may have got its name right before the process was killed (R74).
fn settle(disk: &dyn Disk, directory: &Path) -> Result<(), ArchiveError> {
    disk.sync_directory(directory)
        .map_err(ArchiveError::io("sync", directory))
}

/// The same with a directory, if it is there, and those in it.
fn settle_below(disk: &dyn Disk, directory: &Path) -> Result<(), ArchiveError> {
    let files = match fs::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ArchiveError::io("list", directory)(error)),
    };
    for file in files {
        let path = file.map_err(ArchiveError::io("list", directory))?.path();
        if path.is_dir() {
            settle(disk, &path)?;
        }
    }
    settle(disk, directory)
}
