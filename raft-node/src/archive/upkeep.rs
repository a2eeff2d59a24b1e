//! What an archive keeps beside the entries, and what it forgets.

use std::time::{Duration, SystemTime};

use raft_core::message::SnapshotMeta;
use raft_core::traits::SnapshotStore;
use raft_core::types::Index;

use super::error::ArchiveError;
use super::files::{Archive, READ_BYTES, Retention};
use super::moments::Moments;
use super::times::{self, unix_ms};

/// An archive has about so many bases, so that it never forgets more than such a part of what it may keep.
const BASES: u64 = 4;

impl Archive {
    /// Keeps a base if the last one is far behind, and forgets what is too much. `snapshots` are those of the node.
    pub async fn tidy(&mut self, snapshots: &dyn SnapshotStore) -> Result<(), ArchiveError> {
        self.ascertain().await?;
        let aged = match self.options.retention.clone() {
            Some(retention) => Some(Aged::read(retention).await?),
            None => None,
        };
        self.keep_base(snapshots, aged.as_ref()).await?;
        if let Some(aged) = &aged {
            self.forget_old(aged).await?;
        }
        self.forget(aged.as_ref()).await
    }

    /// Copies the newest snapshot if the last base is far behind, or old.
    async fn keep_base(
        &self,
        snapshots: &dyn SnapshotStore,
        aged: Option<&Aged>,
    ) -> Result<(), ArchiveError> {
        let last_base = self
            .bases()
            .await?
            .last()
            .map_or(Index::ZERO, |meta| meta.last.index);
        let newest = snapshots.list(self.options.group).await?.pop();
        let Some(newest) = newest.filter(|meta| meta.last.index > last_base) else {
            return Ok(());
        };
        let size = snapshots
            .open(self.options.group, newest.last)
            .await?
            .content()
            .bytes;
        let part = self.options.bytes_max / BASES;
        let is_old = size <= part && aged.is_some_and(|aged| aged.is_old_base(last_base));
        // A base as large as everything before it would only displace that.
        if is_old || self.bytes_since(last_base) >= size.max(part) {
            self.copy_base(snapshots, &newest).await?;
        }
        Ok(())
    }

    fn bytes_since(&self, index: Index) -> u64 {
        let segments = self.inventory.segments.iter();
        let since = segments.filter(|segment| segment.last() > index);
        since.map(|segment| segment.bytes()).sum()
    }

    /// Forgets what leads to no state that is young enough, up to a base.
    async fn forget_old(&mut self, aged: &Aged) -> Result<(), ArchiveError> {
        let Some(oldest) = aged.oldest else { return Ok(()) };
        let bases = self.bases().await?;
        let Some((keep, before)) = bases
            .iter()
            .rfind(|base| base.last.index <= oldest)
            .map(|keep| (keep, bases.first() != Some(keep)))
        else {
            return Ok(());
        };
        let first = self.inventory.segments.first();
        if before || first.is_some_and(|first| first.last() <= keep.last.index) {
            self.forget_before(keep).await?;
        }
        Ok(())
    }

    /// Forgets the oldest part while there is too much, up to a base.
    async fn forget(&mut self, aged: Option<&Aged>) -> Result<(), ArchiveError> {
        let mut bases = self.bases().await?;
        while self.bytes(&bases).await? > self.options.bytes_max {
            // Up to the first base that has something before it, and another base after it: a store keeps its two newest.
            let segments = &self.inventory.segments;
            let first = segments.first().map_or(Index::ZERO, |segment| segment.first());
            let others = &bases[..bases.len().saturating_sub(1)];
            let Some(keep) = others.iter().find(|base| first <= base.last.index).cloned() else {
                return Ok(());
            };
            let count = segments.len();
            if let Some(aged) = aged.filter(|aged| aged.oldest.is_none_or(|oldest| oldest < keep.last.index))
            {
                tracing::warn!(
                    "the archive has more than {} bytes and forgets what leads to the indexes before {}, although log-retention-time is \
                     {} s; a larger archive-bytes-max keeps that long",
                    self.options.bytes_max,
                    keep.last.index,
                    aged.retention.time.as_secs()
                );
            }
            self.forget_before(&keep).await?;
            let before = std::mem::replace(&mut bases, self.bases().await?);
            if self.inventory.segments.len() == count && before.len() == bases.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Forgets what leads to the base `keep`, which is read once more before. A crash meanwhile leaves some of it, up to where a gap
    /// follows.
    async fn forget_before(&mut self, keep: &SnapshotMeta) -> Result<(), ArchiveError> {
        let mut content = self.bases.open(self.options.group, keep.last).await?;
        while !content.read_chunk(READ_BYTES).await?.is_empty() {}
        let index = keep.last.index;
        let segments = self.inventory.segments.iter();
        let mut gone: Vec<_> = segments
            .take_while(|segment| segment.last() <= index)
            .map(|segment| segment.path.clone())
            .collect();
        let unusable = self.inventory.unusable.iter();
        gone.extend(
            unusable
                .filter(|file| file.last <= index)
                .map(|file| file.path.clone()),
        );
        let disk = self.disk.clone();
        self.is_uncertain = true;
        let remove = move || {
            for path in gone {
                disk.remove(&path).map_err(ArchiveError::io("remove", &path))?;
            }
            Ok::<(), ArchiveError>(())
        };
        tokio::task::spawn_blocking(remove).await??;
        self.inventory.segments.retain(|segment| segment.last() > index);
        self.inventory.unusable.retain(|file| file.last > index);
        self.is_uncertain = false;
        Ok(self.bases.remove_older(self.options.group, keep.last).await?)
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

/// What is old by the time that the operator chose.
struct Aged {
    retention: Retention,
    moments: Moments,
    /// By which time a base is old, in milliseconds since 1970.
    base_unix_ms: u64,
    /// What was applied when the time began that is to be kept; none if that is not known.
    oldest: Option<Index>,
}

impl Aged {
    async fn read(retention: Retention) -> Result<Aged, ArchiveError> {
        let path = retention.times.clone();
        let read =
            tokio::task::spawn_blocking(move || times::read(&path).map_err(ArchiveError::io("read", &path)));
        let moments = read.await??;
        let ago = |time: Duration| {
            unix_ms(SystemTime::now()).saturating_sub(time.as_millis().try_into().unwrap_or(u64::MAX))
        };
        // What is not known is not forgotten.
        let found = moments.find(ago(retention.time)).ok().flatten();
        Ok(Aged {
            oldest: found.map(|moment| moment.applied),
            base_unix_ms: ago(retention.time / u32::try_from(BASES).unwrap_or(1)),
            moments,
            retention,
        })
    }

    /// Whether the base at `index`, or the empty state, is so old that another one is due.
    fn is_old_base(&self, index: Index) -> bool {
        let applied = self.moments.applied(index);
        applied.is_some_and(|moment| moment.unix_ms <= self.base_unix_ms)
    }
}
