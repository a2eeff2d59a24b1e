//! The snapshots of a node: each in an extent of its own, whole or not there.

use bytes::Bytes;
use raft_core::message::SnapshotMeta;
use raft_core::types::{EntryId, GroupId, Index, Term};

use super::error::Finding;
use super::record::{Reader, put_snapshot, put_u64};

/// How many snapshots are kept at least: one that was received and is not in force yet does not displace the one that is.
const KEPT_MIN: usize = 2;

/// The snapshots, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots {
    extents: Vec<Extent>,
}

/// One snapshot. Its name says what it covers, as that of a file would.
#[derive(Clone, Debug)]
struct Extent {
    last: EntryId,
    bytes: Bytes,
}

impl Extent {
    fn age(&self) -> (Index, Term) {
        age(self.last)
    }
}

/// The order of age. The order of [`EntryId`] is another one, by term first.
fn age(last: EntryId) -> (Index, Term) {
    (last.index, last.term)
}

impl Snapshots {
    /// Saves one, in the place of one of the same name.
    pub(super) fn save(&mut self, group: GroupId, meta: &SnapshotMeta, content: &[u8]) {
        let extent = Extent {
            last: meta.last,
            bytes: encode(group, meta, content),
        };
        match self.extents.binary_search_by_key(&age(meta.last), Extent::age) {
            Ok(position) => self.extents[position] = extent,
            Err(position) => self.extents.insert(position, extent),
        }
    }

    /// One of them, verified.
    pub(super) fn load(&self, group: GroupId, last: EntryId) -> Result<(SnapshotMeta, Bytes), Finding> {
        let position = self
            .extents
            .binary_search_by_key(&age(last), Extent::age)
            .map_err(|_| Finding::SnapshotMissing(last))?;
        let decoded = decode(group, &self.extents[position].bytes);
        decoded
            .filter(|(meta, _)| meta.last == last)
            .ok_or(Finding::SnapshotDamaged(last))
    }

    /// What can be read, the newest first.
    pub(super) fn intact(&self, group: GroupId) -> impl Iterator<Item = SnapshotMeta> {
        let newest_first = self.extents.iter().rev();
        newest_first.filter_map(move |extent| self.load(group, extent.last).ok().map(|(meta, _)| meta))
    }

    /// Whether there is one of this name, whatever its content is.
    pub(super) fn has(&self, last: EntryId) -> bool {
        self.extents.iter().any(|extent| extent.last == last)
    }

    /// Removes what is older than `keep`, but not the newest ones that can be read.
    pub(super) fn remove_older(&mut self, group: GroupId, keep: EntryId) {
        let kept: Vec<EntryId> = self.intact(group).take(KEPT_MIN).map(|meta| meta.last).collect();
        self.extents
            .retain(|extent| extent.age() >= age(keep) || kept.contains(&extent.last));
    }

    /// The names of all.
    pub(super) fn names(&self) -> Vec<EntryId> {
        self.extents.iter().map(|extent| extent.last).collect()
    }

    /// Changes the bytes of one.
    pub(super) fn alter(&mut self, last: EntryId, alter: impl FnOnce(&mut [u8])) {
        if let Some(extent) = self.extents.iter_mut().find(|extent| extent.last == last) {
            let mut bytes = extent.bytes.to_vec();
            alter(&mut bytes);
            extent.bytes = bytes.into();
        }
    }
}

/// Checksum of the rest, group, what the snapshot covers, its content.
fn encode(group: GroupId, meta: &SnapshotMeta, content: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(content.len() + 128);
    put_u64(0, &mut bytes);
    put_u64(group.0, &mut bytes);
    put_snapshot(meta, &mut bytes);
    bytes.extend_from_slice(content);
    let checksum = u64::from(crc32c::crc32c(&bytes[8..]));
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

fn decode(group: GroupId, bytes: &Bytes) -> Option<(SnapshotMeta, Bytes)> {
    let mut reader = Reader(bytes);
    if reader.u64()? != u64::from(crc32c::crc32c(reader.0)) || reader.u64()? != group.0 {
        return None;
    }
    let meta = reader.snapshot()?;
    let content_at = bytes.len() - reader.0.len();
    Some((meta, bytes.slice(content_at..)))
}
