//! Which snapshots there are. Must never remove one of the two newest of a group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::traits::{SnapshotReader, SnapshotStore, SnapshotStoreError, SnapshotWriter};
use raft_core::types::{EntryId, GroupId, Index, Term};

use super::file::{damaged, failed};
use super::reader::{FileSnapshotReader, Finished};
use super::writer::{Claim, FileSnapshotWriter, InUse, Paths, Unfinished};
use crate::error::OpenError;
use crate::files::{create_directory, sync_directory, sync_parent};
use crate::worker::{WorkerGone, Workers};

/// One thread may be in a long sync while the other one reads for a peer.
const THREADS: usize = 2;
const JOBS_MAX: usize = 64;
/// So many snapshots of a group always stay.
const KEPT_MIN: usize = 2;

/// Snapshots of many groups as files: a directory for each group, a file for each snapshot.
///
/// Reading and writing happens on two threads of its own, so that neither the caller's executor nor the log's writer
/// waits for a long sync.
#[derive(Debug)]
pub struct FileSnapshotStore {
    dir: PathBuf,
    in_use: InUse,
    workers: Arc<Workers>,
}

impl FileSnapshotStore {
    /// Opens the store in `dir`, or creates one there. Reads nothing yet: each snapshot is verified when it is listed
    /// (its header and its end) and when it is read (every byte).
    ///
    /// # Errors
    /// [`OpenError::Directory`] if the directory cannot be created.
    pub fn open(dir: impl AsRef<Path>) -> Result<FileSnapshotStore, OpenError> {
        let dir = dir.as_ref();
        create_directory(dir).map_err(|error| OpenError::directory(dir, error))?;
        let workers = Workers::start("raft-snapshot", THREADS, JOBS_MAX);
        Ok(FileSnapshotStore {
            dir: dir.to_path_buf(),
            in_use: InUse::default(),
            workers: Arc::new(workers.map_err(|error| OpenError::directory(dir, error))?),
        })
    }

    fn group_dir(&self, group: GroupId) -> PathBuf {
        self.dir.join(format!("group-{:020}", group.0))
    }

    async fn run<T, F>(&self, job: F) -> Result<T, SnapshotStoreError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, SnapshotStoreError> + Send + 'static,
    {
        let gone = |error: WorkerGone| SnapshotStoreError::Io(Box::new(error));
        self.workers.run(job).await.map_err(gone)?
    }
}

#[async_trait]
impl SnapshotStore for FileSnapshotStore {
    async fn begin(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        content: Option<SnapshotContent>,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotStoreError> {
        let (dir, in_use, meta) = (self.group_dir(group), Arc::clone(&self.in_use), meta.clone());
        let begun = self.run(move || {
            create_directory(&dir).map_err(|error| failed(&dir, &error))?;
            let paths = Paths {
                unfinished: dir.join(unfinished_name(meta.last, content)),
                finished: dir.join(name(meta.last, FINISHED)),
            };
            let begun = Unfinished::begin(&in_use, paths, group, &meta, content)?;
            remove_other_beginnings(&dir, meta.last, &begun, &in_use)?;
            Ok(begun)
        });
        Ok(Box::new(FileSnapshotWriter::new(
            begun.await?,
            Arc::clone(&self.workers),
        )))
    }

    async fn open(
        &self,
        group: GroupId,
        last: EntryId,
    ) -> Result<Box<dyn SnapshotReader>, SnapshotStoreError> {
        let path = self.group_dir(group).join(name(last, FINISHED));
        let opened = self.run(move || {
            let Some(finished) = Finished::open(&path)? else {
                return Err(SnapshotStoreError::NotFound { group, last });
            };
            check_identity(&finished, &path, group, last)?;
            Ok(finished)
        });
        Ok(Box::new(FileSnapshotReader::new(
            opened.await?,
            Arc::clone(&self.workers),
        )))
    }

    async fn list(&self, group: GroupId) -> Result<Vec<SnapshotMeta>, SnapshotStoreError> {
        let dir = self.group_dir(group);
        self.run(move || {
            let finished = files(&dir)?.into_iter().filter(|file| file.extension == FINISHED);
            finished
                .filter_map(|file| readable(&file, group).transpose())
                .collect()
        })
        .await
    }

    async fn remove_older(&self, group: GroupId, keep: EntryId) -> Result<(), SnapshotStoreError> {
        let dir = self.group_dir(group);
        self.run(move || remove_older(&dir, group, keep)).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), SnapshotStoreError> {
        let dir = self.group_dir(group);
        self.run(move || match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(&dir, &error)),
            Ok(()) => sync_parent(&dir).map_err(|error| failed(&dir, &error)),
        })
        .await
    }
}

/// The extension of a finished snapshot.
pub(crate) const FINISHED: &str = "snap";
const UNFINISHED: &str = "tmp";

/// The name of a snapshot's file; names sort by index.
fn name(last: EntryId, extension: &str) -> String {
    format!("snap-{:020}-{}.{extension}", last.index.0, last.term.0)
}

/// The name of a file that is being written. What is received has its content in the name, so that a transfer goes on with
/// the bytes that it began with, never with those of another sender.
fn unfinished_name(last: EntryId, content: Option<SnapshotContent>) -> String {
    match content {
        Some(SnapshotContent { bytes, checksum }) => {
            let (index, term) = (last.index.0, last.term.0);
            format!("snap-{index:020}-{term}-{bytes}-{checksum:08x}.{UNFINISHED}")
        }
        None => name(last, UNFINISHED),
    }
}

/// Removes what was begun of the same snapshot with another content, unless somebody is writing it.
fn remove_other_beginnings(
    dir: &Path,
    last: EntryId,
    begun: &Unfinished,
    in_use: &InUse,
) -> Result<(), SnapshotStoreError> {
    for file in files(dir)? {
        let is_other = file.extension == UNFINISHED && file.last == last && file.path != begun.path();
        if is_other && let Ok(_claim) = Claim::take(in_use, &file.path) {
            remove_file(&file.path)?;
        }
    }
    Ok(())
}

/// Removes a file that may be gone already.
fn remove_file(path: &Path) -> Result<(), SnapshotStoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, &error)),
        _ => Ok(()),
    }
}

/// A file whose name is a snapshot's.
pub(crate) struct Named {
    pub(crate) path: PathBuf,
    pub(crate) last: EntryId,
    pub(crate) extension: &'static str,
}

impl Named {
    fn parse(path: PathBuf) -> Option<Named> {
        let extension = [FINISHED, UNFINISHED]
            .into_iter()
            .find(|known| path.extension() == Some(known.as_ref()))?;
        let mut parts = path.file_stem()?.to_str()?.strip_prefix("snap-")?.split('-');
        let (index, term) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        match parts.count() {
            0 => {}
            // The content that is being received.
            2 if extension == UNFINISHED => {}
            _ => return None,
        }
        let last = EntryId::new(Term(term), Index(index));
        Some(Named {
            path,
            last,
            extension,
        })
    }

    /// The order of age. The order of [`EntryId`] is another one, by term first.
    fn age(&self) -> (Index, Term) {
        (self.last.index, self.last.term)
    }
}

/// The snapshot files of a group, oldest first; none if the directory is not there.
pub(crate) fn files(dir: &Path) -> Result<Vec<Named>, SnapshotStoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(dir, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(dir, &error))?.path();
        files.extend(Named::parse(path));
    }
    files.sort_by_key(Named::age);
    Ok(files)
}

/// The identity of a finished snapshot; `None` if it is damaged: such a one is passed over, never offered.
fn readable(file: &Named, group: GroupId) -> Result<Option<SnapshotMeta>, SnapshotStoreError> {
    let opened = Finished::open(&file.path).and_then(|finished| match finished {
        Some(finished) => {
            check_identity(&finished, &file.path, group, file.last)?;
            Ok(Some(finished.header.meta))
        }
        None => Ok(None),
    });
    match opened {
        Err(SnapshotStoreError::Corrupt(reason)) => {
            tracing::warn!(%group, reason, "a damaged snapshot is passed over");
            Ok(None)
        }
        result => result,
    }
}

/// A file under another's name is not what it seems.
pub(crate) fn check_identity(
    finished: &Finished,
    path: &Path,
    group: GroupId,
    last: EntryId,
) -> Result<(), SnapshotStoreError> {
    let header = &finished.header;
    if header.group != group || header.meta.last != last {
        let reason = format!(
            "it holds the snapshot of group {} at {}",
            header.group, header.meta.last
        );
        return Err(damaged(path, &reason));
    }
    Ok(())
}

fn remove_older(dir: &Path, group: GroupId, keep: EntryId) -> Result<(), SnapshotStoreError> {
    let files = files(dir)?;
    let mut kept = Vec::new();
    for file in files.iter().rev().filter(|file| file.extension == FINISHED) {
        if kept.len() < KEPT_MIN && readable(file, group)?.is_some() {
            kept.push(file.last);
        }
    }
    let mut removed = false;
    for file in files {
        let older = file.age() < (keep.index, keep.term);
        let needed = file.extension == FINISHED && kept.contains(&file.last);
        if older && !needed {
            remove_file(&file.path)?;
            removed = true;
        }
    }
    if removed {
        sync_directory(dir).map_err(|error| failed(dir, &error))?;
    }
    Ok(())
}
