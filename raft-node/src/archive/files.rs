//! [`Archive`]: the files of an archive, and what they cover.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_core::entry::Entry;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{LogStore, LogStoreError, SnapshotStore};
use raft_core::types::{EntryId, GroupId, Index};

use super::error::ArchiveError;
use super::segment::Segment;
use crate::durable_file;

const OWNER: &str = "ARCHIVE";
/// So many payload bytes share a segment.
const SEGMENT_BYTES: usize = 8 << 20;
/// How much is read from the log at once.
const READ_BYTES: usize = 1 << 20;
/// An archive has about so many bases, so that it never forgets more than such a part of what it may keep.
const BASES: u64 = 4;

/// Whose past an archive keeps, and how much of it.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// Who owns it, in words: a node of a cluster.
    pub owner: String,
    /// The group whose entries it keeps.
    pub group: GroupId,
    /// How many bytes it may have, segments and bases together. Two bases and what follows them are kept at least.
    pub bytes_max: u64,
}

/// An archive that is open.
#[derive(Debug)]
pub struct Archive {
    entries: PathBuf,
    options: ArchiveOptions,
    bases: Arc<dyn SnapshotStore>,
    /// By index; where the log was replaced, one begins after a gap.
    segments: Vec<Segment>,
}

/// Indexes that the state can be restored at: each of them from the first one's base.
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

impl Archive {
    /// Opens the archive in `directory`, and makes it if there is none. `bases` is a snapshot store in its directory
    /// [`bases`](Archive::bases_directory).
    pub fn open(
        directory: &Path,
        options: ArchiveOptions,
        bases: Arc<dyn SnapshotStore>,
    ) -> Result<Archive, ArchiveError> {
        let entries = directory.join("entries");
        durable_file::create_directory(&entries, 0o700).map_err(ArchiveError::io("make", &entries))?;
        let owner = directory.join(OWNER);
        match fs::read_to_string(&owner) {
            Ok(found) if found.trim_end() == options.owner => {}
            Ok(found) => {
                return Err(ArchiveError::OtherOwner {
                    path: directory.to_owned(),
                    found: found.trim_end().to_owned(),
                    own: options.owner,
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!("{}\n", options.owner);
                durable_file::replace(&owner, text.as_bytes(), 0o600)
                    .map_err(ArchiveError::io("write", &owner))?;
            }
            Err(error) => return Err(ArchiveError::io("read", &owner)(error)),
        }
        let segments = list(&entries)?;
        Ok(Archive {
            entries,
            options,
            bases,
            segments,
        })
    }

    /// Where the bases of an archive in `directory` are.
    #[must_use]
    pub fn bases_directory(directory: &Path) -> PathBuf {
        directory.join("bases")
    }

    /// The last entry that is archived; [`EntryId::ZERO`] if none is.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.segments.last().map_or(EntryId::ZERO, |segment| segment.last)
    }

    /// The bytes of all segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
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
        let mut runs: Vec<Window> = Vec::new();
        for segment in &self.segments {
            match runs.last_mut() {
                Some(run) if run.last.next() == segment.first => run.last = segment.last.index,
                _ => runs.push(Window {
                    first: segment.first,
                    last: segment.last.index,
                }),
            }
        }
        runs
    }

    /// The entries of the segment that holds `index`, from `index` on; none if no segment does.
    pub fn read_from(&self, index: Index) -> Result<Option<Vec<Entry>>, ArchiveError> {
        let holds = |segment: &&Segment| segment.first <= index && index <= segment.last.index;
        let Some(segment) = self.segments.iter().find(holds) else {
            return Ok(None);
        };
        let mut entries = segment.read(self.options.group)?;
        entries.retain(|entry| entry.index() >= index);
        Ok(Some(entries))
    }

    /// Archives what `log` has up to and including `through` and the archive has not, before the log forgets it. `snapshots`
    /// are those of the node.
    pub async fn keep(
        &mut self,
        log: &dyn LogStore,
        snapshots: &dyn SnapshotStore,
        through: Index,
    ) -> Result<(), ArchiveError> {
        let mut prev = self.last();
        while prev.index < through {
            let (before, entries) = match self.next_entries(log, prev, through).await {
                Err(ArchiveError::Log(LogStoreError::Missing { first, .. })) if first > prev.index.next() => {
                    prev = self.bridge(snapshots, prev.index, first.previous()).await?;
                    continue;
                }
                read => read?,
            };
            let segment = Segment::write(&self.entries, self.options.group, before, &entries)?;
            prev = segment.last;
            self.segments.push(segment);
        }
        self.keep_base(snapshots).await?;
        self.forget().await
    }

    /// The entries of the next segment, and the entry before them.
    async fn next_entries(
        &self,
        log: &dyn LogStore,
        prev: EntryId,
        through: Index,
    ) -> Result<(EntryId, Vec<Entry>), ArchiveError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut first = prev.index.next();
        while first <= through && bytes < SEGMENT_BYTES {
            let read = log.read(self.options.group, first, through, READ_BYTES).await?;
            let Some(last) = read.last().map(Entry::index) else {
                break;
            };
            bytes += read.iter().map(Entry::payload_bytes).sum::<usize>();
            entries.extend(read);
            first = last.next();
        }
        Ok((prev, entries))
    }

    /// The log was replaced: keeps the snapshot that leads to its first entry, and goes on there. Returns what precedes that.
    async fn bridge(
        &self,
        snapshots: &dyn SnapshotStore,
        archived: Index,
        purged: Index,
    ) -> Result<EntryId, ArchiveError> {
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
            Default::default()
        };
        Ok(EntryId::new(term, purged))
    }

    /// Copies the newest snapshot if the last base is far behind.
    async fn keep_base(&self, snapshots: &dyn SnapshotStore) -> Result<(), ArchiveError> {
        let last_base = self
            .bases()
            .await?
            .last()
            .map_or(Index::ZERO, |meta| meta.last.index);
        let since = self
            .segments
            .iter()
            .filter(|segment| segment.last.index > last_base);
        let bytes: u64 = since.map(|segment| segment.bytes).sum();
        let newest = snapshots.list(self.options.group).await?.pop();
        let Some(newest) = newest.filter(|meta| meta.last.index > last_base) else {
            return Ok(());
        };
        let size = snapshots
            .open(self.options.group, newest.last)
            .await?
            .content()
            .bytes;
        // A base as large as everything before it would only displace that.
        if bytes < size.max(self.options.bytes_max / BASES) {
            return Ok(());
        }
        self.copy_base(snapshots, &newest).await
    }

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

    /// Forgets the oldest part while there is too much, up to a base.
    async fn forget(&mut self) -> Result<(), ArchiveError> {
        let mut bases = self.bases().await?;
        while self.bytes(&bases).await? > self.options.bytes_max {
            // Up to the first base that has something before it, and another base after it: a store keeps its two newest.
            let first = self.segments.first().map_or(Index::ZERO, |segment| segment.first);
            let others = &bases[..bases.len().saturating_sub(1)];
            let is_later = |base: &&SnapshotMeta| first <= base.last.index;
            let Some(keep) = others.iter().find(is_later).map(|base| base.last) else {
                return Ok(());
            };
            let gone = self
                .segments
                .partition_point(|segment| segment.last.index <= keep.index);
            for segment in self.segments.drain(..gone) {
                fs::remove_file(&segment.path).map_err(ArchiveError::io("remove", &segment.path))?;
            }
            self.bases.remove_older(self.options.group, keep).await?;
            let count = bases.len();
            bases = self.bases().await?;
            if gone == 0 && bases.len() == count {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn bytes(&self, bases: &[SnapshotMeta]) -> Result<u64, ArchiveError> {
        let mut bytes = self.segment_bytes();
        for base in bases {
            let content = self.bases.open(self.options.group, base.last).await?.content();
            bytes += content.bytes;
        }
        Ok(bytes)
    }
}

fn list(directory: &Path) -> Result<Vec<Segment>, ArchiveError> {
    let failed = || ArchiveError::io("list", directory);
    let mut segments = Vec::new();
    for file in fs::read_dir(directory).map_err(failed())? {
        let file = file.map_err(failed())?;
        let bytes = file.metadata().map_err(failed())?.len();
        segments.extend(Segment::of_file(&file.path(), bytes));
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}
