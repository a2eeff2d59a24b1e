//! Makes the state again as it was at an index: from the nearest snapshot below, and the entries after it.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{GroupWrite, LogStore, Recovered, SnapshotReader, SnapshotStore, StateMachineError};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Trust};
use tokio::runtime::Handle;

use super::error::{ArchiveError, RestoreError};
use super::files::{Archive, Window, term_in};

/// How much is read or applied at once.
const PIECE_BYTES: usize = 1 << 20;

/// What a stopped node has of its past.
pub struct Past {
    /// The group.
    pub group: GroupId,
    /// The log.
    pub log: Arc<dyn LogStore>,
    /// What the log was found to hold.
    pub recovered: Recovered,
    /// The node's own snapshots.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Its archive, if it has one.
    pub archive: Option<Archive>,
    /// The last index that is known to be committed.
    pub commit: Index,
}

/// A state to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Base {
    meta: SnapshotMeta,
    place: Place,
}

/// Where a base is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere: it is the empty state, from before the first entry.
    Nowhere,
    Node,
    Archive,
}

/// How a state is made again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The index of the state.
    pub target: Index,
    base: Base,
}

impl Plan {
    /// The snapshot that it begins with; [`EntryId::ZERO`] if with nothing.
    #[must_use]
    pub fn base(&self) -> EntryId {
        self.base.meta.last
    }
}

impl Past {
    /// Everything that the state can be restored at, in order, up to the last index known to be committed.
    pub async fn windows(&self) -> Result<Vec<Window>, RestoreError> {
        let bases = self.bases().await?.into_iter().map(|base| base.meta.last.index);
        Ok(windows(bases, &self.runs(), self.commit))
    }

    /// How the state at `target` is made again.
    pub async fn plan(&self, target: Index) -> Result<Plan, RestoreError> {
        if target > self.commit {
            return Err(RestoreError::NotCommitted {
                index: target,
                commit: self.commit,
            });
        }
        let runs = self.runs();
        let reaches = |base: &Base| {
            let first = base.meta.last.index;
            let leads = |run: &Window| run.first <= first.next() && target <= run.last;
            first == target || (first < target && runs.iter().any(leads))
        };
        // The nearest one has the least to apply.
        match self.bases().await?.into_iter().rfind(reaches) {
            Some(base) => Ok(Plan { target, base }),
            None => Err(self.obstacle(target).await?),
        }
    }

    /// Makes the state again in `state`, which must be empty, and tells `progress` now and then up to where it is. Returns it with
    /// its last entry.
    pub async fn replay(
        &self,
        plan: &Plan,
        mut state: ReplicatedState,
        mut progress: impl FnMut(Index),
    ) -> Result<(ReplicatedState, EntryId), RestoreError> {
        let mut last = plan.base.meta.last;
        if let Some(content) = self.open(&plan.base).await? {
            let (handle, meta) = (Handle::current(), plan.base.meta.clone());
            let mut content = Content {
                handle,
                content,
                chunk: Bytes::new(),
            };
            let restore = move || state.restore(&meta, &mut content).map(|()| state);
            state = tokio::task::spawn_blocking(restore).await??;
        }
        while last.index < plan.target {
            let entries = self.entries(last, plan.target).await?;
            last = entries.last().map_or(last, |entry| entry.id);
            let apply = move || state.apply(&entries).map(|_| state);
            state = tokio::task::spawn_blocking(apply).await??;
            progress(last.index);
        }
        Ok((state, last))
    }

    /// Entries after `last`, at least one, and none beyond `target`. Checked to continue it.
    async fn entries(&self, last: EntryId, target: Index) -> Result<Vec<Entry>, RestoreError> {
        let first = last.index.next();
        let is_in_log = self.recovered.purged.index < first && first <= self.recovered.last_index;
        let archived = match &self.archive {
            Some(archive) if !is_in_log => archive.read_behind(last)?,
            _ => None,
        };
        let (place, before, mut entries) = match archived {
            Some(behind) => (behind.path.display().to_string(), behind.before, behind.entries),
            None => {
                let entries = self.log.read(self.group, first, target, PIECE_BYTES).await?;
                let term = term_in(&self.recovered, last.index).filter(|_| last != EntryId::ZERO);
                let before = term.map(|term| EntryId::new(term, last.index));
                ("the log".to_owned(), before, entries)
            }
        };
        let broken = |after, found| {
            let place = place.clone();
            RestoreError::Broken { place, after, found }
        };
        if let Some(found) = before.filter(|before| *before != last) {
            return Err(broken(last, found));
        }
        entries.retain(|entry| entry.index() <= target);
        let mut after = last;
        for entry in &entries {
            if entry.index() != after.index.next() || entry.id.term < after.term {
                return Err(broken(after, entry.id));
            }
            after = entry.id;
        }
        match after == last {
            true => Err(broken(after, EntryId::ZERO)),
            false => Ok(entries),
        }
    }

    async fn open(&self, base: &Base) -> Result<Option<Box<dyn SnapshotReader>>, RestoreError> {
        let store = match (base.place, &self.archive) {
            (Place::Nowhere, _) => return Ok(None),
            (Place::Archive, Some(archive)) => archive.base_store(),
            _ => &self.snapshots,
        };
        Ok(Some(store.open(self.group, base.meta.last).await?))
    }

    /// All states to begin with, the oldest first.
    async fn bases(&self) -> Result<Vec<Base>, RestoreError> {
        let at = |place: Place| move |meta: SnapshotMeta| Base { meta, place };
        let mut bases = vec![at(Place::Nowhere)(SnapshotMeta::default())];
        if let Some(archive) = &self.archive {
            bases.extend(archive.bases().await?.into_iter().map(at(Place::Archive)));
        }
        let own = self.snapshots.list(self.group).await?;
        // A snapshot that was received and never came into force may be of what this node does not know to be committed.
        let own = own.into_iter().filter(|meta| meta.last.index <= self.commit);
        bases.extend(own.map(at(Place::Node)));
        bases.sort_by_key(|base| base.meta.last.index);
        // Nothing leads on from the empty state unless the first entry is there.
        let begins = self.runs().first().is_some_and(|run| run.first == Index(1));
        bases.retain(|base| base.place != Place::Nowhere || begins);
        Ok(bases)
    }

    /// The runs of entries without a gap, in the archive and in the log together.
    fn runs(&self) -> Vec<Window> {
        let mut all = self.archive.as_ref().map(Archive::runs).unwrap_or_default();
        let (first, last) = (self.recovered.purged.index.next(), self.recovered.last_index);
        if first <= last {
            all.push(Window { first, last });
        }
        Window::merged(all)
    }

    /// Why no base leads to `target`.
    async fn obstacle(&self, target: Index) -> Result<RestoreError, RestoreError> {
        let window = describe(&self.windows().await?);
        let outside = RestoreError::OutsideWindow {
            index: target,
            window: window.clone(),
        };
        let bases = self.bases().await?;
        let nearest = bases.iter().rfind(|base| base.meta.last.index <= target);
        let Some(archive) = &self.archive else {
            return Ok(outside);
        };
        let Some(nearest) = nearest else {
            let file = archive.missed().find(|file| file.first <= target);
            return Ok(file.map_or(outside, |file| ArchiveError::from(file.clone()).into()));
        };
        let runs = self.runs();
        // From the base on up to the first entry that is nowhere, and then up to the next one that is somewhere.
        let begin = nearest.meta.last.index.next();
        let holding = runs.iter().find(|run| run.first <= begin && begin <= run.last);
        let first = holding.map_or(begin, |run| run.last.next());
        let next = runs.iter().find(|run| run.first > first);
        let last = next.map_or(target, |run| run.first.previous());
        let mut missed = archive.missed();
        if let Some(file) = missed.find(|file| file.first <= last && first <= file.last) {
            return Ok(ArchiveError::from(file.clone()).into());
        }
        Ok(RestoreError::Hole {
            index: target,
            first,
            last,
            archive: archive.directory().to_owned(),
            window,
        })
    }
}

/// What can be restored from `bases`, in order, and the entries in `runs`, up to `commit`.
pub(super) fn windows(bases: impl Iterator<Item = Index>, runs: &[Window], commit: Index) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for first in bases {
        let run = runs
            .iter()
            .find(|run| run.first <= first.next() && first < run.last);
        let last = run.map_or(first, |run| run.last.min(commit));
        match windows.last_mut() {
            Some(window) if first <= window.last.next() => window.last = window.last.max(last),
            _ => windows.push(Window { first, last }),
        }
    }
    windows
}

/// What can be restored, as the end of a sentence.
#[must_use]
pub fn describe(windows: &[Window]) -> String {
    if windows.is_empty() {
        return "nothing can be restored from what is kept here".to_owned();
    }
    let windows: Vec<String> = windows.iter().map(ToString::to_string).collect();
    format!("what is kept here leads to the indexes {}", windows.join(", "))
}

/// Begins a new group of one voter with `state`, whose last entry is `last`: its snapshot, and then its log, which is empty.
pub async fn found_group(
    group: GroupId,
    voter: NodeId,
    last: EntryId,
    state: &mut ReplicatedState,
    snapshots: &dyn SnapshotStore,
    log: &dyn LogStore,
) -> Result<(), RestoreError> {
    let membership = Membership::of_voters([voter]).map_err(StateMachineError::new)?;
    let meta = SnapshotMeta { last, membership };
    let mut content = state.snapshot()?;
    let mut writer = snapshots.begin(group, &meta, None).await?;
    loop {
        let mut chunk = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut content).take(PIECE_BYTES as u64).read_to_end(&mut chunk);
        if read.map_err(StateMachineError::from)? == 0 {
            break;
        }
        writer.write_chunk(chunk.into()).await?;
    }
    writer.finish().await?;
    let first = GroupWrite {
        group,
        hard_state: Some(HardState {
            term: last.term,
            vote: None,
            commit: last.index,
            trust: Trust::Trusted,
        }),
        snapshot: Some(meta),
        log: LogChange::Reset(Vec::new()),
    };
    Ok(log.write(vec![first]).await?)
}

/// A snapshot as a stream that blocks.
struct Content {
    handle: Handle,
    content: Box<dyn SnapshotReader>,
    chunk: Bytes,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            let read = self.content.read_chunk(PIECE_BYTES);
            self.chunk = self.handle.block_on(read).map_err(io::Error::other)?;
        }
        let count = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
