//! A node with a past.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, SnapshotStore};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_kv::{Command, DeleteRangeRequest, KvOptions, KvStateMachine, KvStore, PutRequest, StateHash};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogOptions, RocksLogStore};
use tempfile::TempDir;

use crate::archive::disk::{Disk, OwnDisk};
use crate::archive::error::{ArchiveError, RestoreError};
use crate::archive::files::{Archive, ArchiveOptions, Window};
use crate::archive::log_store::ArchivingLogStore;
use crate::archive::restore::Past;

pub(super) const GROUP: GroupId = GroupId(1);

/// The past of a node that no consensus disturbs: entries are committed when they are written.
pub(super) struct Scene {
    pub(super) directory: TempDir,
    pub(super) log: ArchivingLogStore,
    pub(super) inner: Arc<dyn LogStore>,
    pub(super) snapshots: Arc<FileSnapshotStore>,
    pub(super) state: ReplicatedState,
    pub(super) store: Arc<KvStore>,
    pub(super) last: EntryId,
}

pub(super) fn options(bytes_max: u64) -> ArchiveOptions {
    ArchiveOptions {
        owner: "node 1 of cluster test".to_owned(),
        group: GROUP,
        bytes_max,
        retention: None,
    }
}

pub(super) fn open_bases(directory: &Path) -> Arc<FileSnapshotStore> {
    Arc::new(FileSnapshotStore::open(Archive::bases_directory(directory)).unwrap())
}

pub(super) fn open_archive(directory: &Path, bytes_max: u64) -> Archive {
    Archive::open(directory, options(bytes_max), open_bases(directory)).unwrap()
}

pub(super) fn open_kv(directory: &Path) -> (ReplicatedState, Arc<KvStore>) {
    std::fs::create_dir_all(directory).unwrap();
    let (machine, store) = KvStateMachine::open(directory, KvOptions::default()).unwrap();
    (ReplicatedState::open(Box::new(machine)).unwrap(), store)
}

impl Scene {
    pub(super) async fn new(archive_bytes_max: u64) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for part in ["log", "snapshots"] {
            std::fs::create_dir(at(part)).unwrap();
        }
        let inner: Arc<dyn LogStore> =
            Arc::new(RocksLogStore::open(at("log"), RocksLogOptions::default()).unwrap());
        let snapshots = Arc::new(FileSnapshotStore::open(at("snapshots")).unwrap());
        let archive = open_archive(&at("archive"), archive_bytes_max);
        let (state, store) = open_kv(&at("kv"));
        let first = SnapshotMeta {
            last: EntryId::ZERO,
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
        };
        let scene = Scene {
            log: ArchivingLogStore::new(inner.clone(), snapshots.clone(), archive),
            inner,
            snapshots,
            state,
            store,
            last: EntryId::ZERO,
            directory,
        };
        scene.write(Some(first), LogChange::Append(Vec::new())).await;
        scene
    }

    /// As if the node had been started again.
    pub(super) fn reopen(&mut self) {
        self.try_reopen(Arc::new(OwnDisk)).unwrap();
    }

    /// The same, with an archive on `disk`.
    pub(super) fn try_reopen(&mut self, disk: Arc<dyn Disk>) -> Result<(), ArchiveError> {
        self.reopen_with(disk, options(u64::MAX))
    }

    pub(super) fn reopen_with(
        &mut self,
        disk: Arc<dyn Disk>,
        options: ArchiveOptions,
    ) -> Result<(), ArchiveError> {
        let directory = self.archive_directory();
        let archive = Archive::open_on(disk, &directory, options, open_bases(&directory))?;
        self.log = ArchivingLogStore::new(self.inner.clone(), self.snapshots.clone(), archive);
        Ok(())
    }

    pub(super) async fn write(&self, snapshot: Option<SnapshotMeta>, log: LogChange) {
        let hard_state = HardState {
            term: Term(9),
            vote: None,
            commit: self.last.index,
            trust: Trust::Trusted,
        };
        let write = GroupWrite {
            group: GROUP,
            hard_state: Some(hard_state),
            snapshot,
            log,
        };
        self.log.write(vec![write]).await.unwrap();
    }

    /// Commits and applies `count` puts, of keys that come again.
    pub(super) async fn put(&mut self, count: u64) {
        self.commit(count, 1).await;
    }

    /// The same, but only one of `share` commands changes something.
    pub(super) async fn commit(&mut self, count: u64, share: u64) {
        let entries: Vec<Entry> = (1..=count)
            .map(|step| {
                let index = self.last.index.0 + step;
                let command = if index.is_multiple_of(share) {
                    Command::Put(PutRequest {
                        key: Bytes::from(format!("key {}", index * 7_919 % 1_009)),
                        value: Bytes::from(format!("value {index}")),
                        ..PutRequest::default()
                    })
                } else {
                    // It changes nothing: the log grows, and the state does not.
                    Command::DeleteRange(DeleteRangeRequest {
                        key: Bytes::from(format!("nobody {index:0>200}")),
                        ..DeleteRangeRequest::default()
                    })
                };
                // A term now and then.
                Entry::command(Term(1 + index / 1_000), Index(index), command.encode())
            })
            .collect();
        self.last = entries.last().unwrap().id;
        self.write(None, LogChange::Append(entries.clone())).await;
        self.state.apply(&entries).unwrap();
    }

    pub(super) fn archive_directory(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    /// The files of entries, by index.
    pub(super) fn segment_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.archive_directory().join("entries")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    pub(super) fn hash(&self) -> StateHash {
        self.store.hash(0).unwrap()
    }

    /// Takes a snapshot, and forgets the log up to `kept` entries below it.
    pub(super) async fn compact(&mut self, kept: u64) {
        self.try_compact(kept).await.unwrap();
    }

    pub(super) async fn try_compact(&mut self, kept: u64) -> Result<(), LogStoreError> {
        let meta = self.snapshot().await;
        self.write(Some(meta.clone()), LogChange::Append(Vec::new()))
            .await;
        let through = Index(self.last.index.0.saturating_sub(kept));
        let term = Term(1 + through.0 / 1_000);
        self.log.compact(GROUP, EntryId::new(term, through)).await?;
        self.snapshots.remove_older(GROUP, meta.last).await.unwrap();
        Ok(())
    }

    pub(super) async fn snapshot(&mut self) -> SnapshotMeta {
        let meta = SnapshotMeta {
            last: self.last,
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
        };
        let mut content = Vec::new();
        std::io::copy(&mut self.state.snapshot().unwrap(), &mut content).unwrap();
        let mut writer = self.snapshots.begin(GROUP, &meta, None).await.unwrap();
        writer.write_chunk(content.into()).await.unwrap();
        writer.finish().await.unwrap();
        meta
    }

    /// What `raft-node restore` finds.
    pub(super) async fn past(&self, with_archive: bool) -> Past {
        let directory = self.archive_directory();
        let archive = Archive::open_existing(&directory, options(u64::MAX), open_bases(&directory)).unwrap();
        Past {
            group: GROUP,
            recovered: self.inner.load(GROUP).await.unwrap(),
            log: self.inner.clone(),
            snapshots: self.snapshots.clone(),
            archive: with_archive.then_some(archive),
            commit: self.last.index,
        }
    }

    pub(super) async fn restored_hash(&self, past: &Past, index: u64) -> StateHash {
        self.try_restore(past, index).await.unwrap()
    }

    pub(super) async fn try_restore(&self, past: &Past, index: u64) -> Result<StateHash, RestoreError> {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap();
        let (state, store) = open_kv(directory.path());
        let plan = past.plan(Index(index)).await?;
        let (state, last) = past.replay(&plan, state, |_| {}).await?;
        assert_eq!((last.index, state.last_applied()), (Index(index), last));
        Ok(store.hash(0).unwrap())
    }

    /// Everything since the first entry leads to the state as it is, without a snapshot.
    pub(super) async fn restore_from_the_start(&self) {
        let none = tempfile::tempdir().unwrap();
        let mut past = self.past(true).await;
        past.snapshots = Arc::new(FileSnapshotStore::open(none.path()).unwrap());
        let windows = past.windows().await.unwrap();
        let (first, last) = (Index::ZERO, self.last.index);
        assert_eq!(windows, [Window { first, last }]);
        assert_eq!(past.plan(last).await.unwrap().base(), EntryId::ZERO);
        assert_eq!(self.restored_hash(&past, last.0).await, self.hash());
    }

    /// Keeps the newest snapshot as a base of the archive.
    pub(super) async fn keep_base(&self) {
        let archive = open_archive(&self.archive_directory(), 1);
        let newest = self.snapshots.list(GROUP).await.unwrap().pop().unwrap();
        archive.copy_base(&*self.snapshots, &newest).await.unwrap();
    }

    /// Applies entries up to index `last` that are not in the log.
    pub(super) async fn apply_unseen(&mut self, last: u64) {
        let entries: Vec<Entry> = (self.last.index.0 + 1..=last)
            .map(|index| Entry::noop(Term(1), Index(index)))
            .collect();
        self.last = entries.last().unwrap().id;
        self.state.apply(&entries).unwrap();
    }
}
