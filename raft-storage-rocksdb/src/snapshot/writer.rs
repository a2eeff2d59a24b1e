//! One snapshot that is being written: appended block by block, found again after a crash, verified, finished by a rename.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::traits::{SnapshotStoreError, SnapshotWriter};
use raft_core::types::GroupId;

use super::file::{failed, read_block, read_header};
use crate::files::sync_directory;
use crate::format::snapshot::{
    BLOCK_BYTES, CHECKSUM_BYTES, Header, block_at, block_checksum, encode_header, encode_trailer,
};
use crate::worker::Workers;

/// So much is written at most before it is synced: one sync of all of a large snapshot would keep the disk from the log for
/// seconds, and one of 8 MiB keeps a core in the kernel for up to 5 ms at a time, where a heartbeat may wait for it.
const UNSYNCED_BYTES_MAX: u64 = 1 << 20;

/// The unfinished files that some writer has open.
pub(crate) type InUse = Arc<Mutex<BTreeSet<PathBuf>>>;

/// Takes a file for one writer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    in_use: InUse,
    path: PathBuf,
}

impl Claim {
    pub(crate) fn take(in_use: &InUse, path: &Path) -> Result<Claim, SnapshotStoreError> {
        let taken = in_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_path_buf());
        if !taken {
            let cause = format!(
                "{}: this snapshot is being written already; try again later",
                path.display()
            );
            return Err(SnapshotStoreError::Io(cause.into()));
        }
        Ok(Claim {
            in_use: Arc::clone(in_use),
            path: path.to_path_buf(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.in_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.path);
    }
}

/// The two names of a snapshot's file.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) unfinished: PathBuf,
    pub(crate) finished: PathBuf,
}

/// A file without an end.
#[derive(Debug)]
pub(crate) struct Unfinished {
    file: File,
    path: PathBuf,
    finished: PathBuf,
    header: Header,
    /// What the content is to be, if it is known beforehand.
    expected: Option<SnapshotContent>,
    /// What the content is so far.
    content: SnapshotContent,
    /// How much of the content is certainly on disk.
    synced_bytes: u64,
    /// The checksum of the last block so far; it is on disk behind the block's content.
    block_checksum: u32,
    /// A write failed: what is on disk is verified by the next `begin`.
    broken: bool,
    _claim: Claim,
}

impl Unfinished {
    /// Goes on with the unfinished file if it has the same header and its content is known, else begins it.
    pub(crate) fn begin(
        in_use: &InUse,
        paths: Paths,
        group: GroupId,
        meta: &SnapshotMeta,
        expected: Option<SnapshotContent>,
    ) -> Result<Unfinished, SnapshotStoreError> {
        let path = &paths.unfinished;
        let claim = Claim::take(in_use, path)?;
        let (bytes, header) = encode_header(group, meta);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.map_err(|error| failed(path, &error))?;
        let resumes = match read_header(&file, path) {
            Ok(found) => expected.is_some() && found == header,
            Err(SnapshotStoreError::Corrupt(_)) => false,
            Err(error) => return Err(error),
        };
        let mut unfinished = Unfinished {
            file,
            path: paths.unfinished,
            finished: paths.finished,
            header,
            expected,
            content: SnapshotContent::default(),
            synced_bytes: 0,
            block_checksum: block_checksum(0),
            broken: false,
            _claim: claim,
        };
        if resumes {
            unfinished.verify()?;
        } else {
            let begun = unfinished
                .file
                .set_len(0)
                .and_then(|()| unfinished.file.write_all_at(&bytes, 0));
            begun.map_err(|error| failed(&unfinished.path, &error))?;
        }
        Ok(unfinished)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds out how much of the content is there and right, and cuts the rest off.
    fn verify(&mut self) -> Result<(), SnapshotStoreError> {
        let io = |error: io::Error| failed(&self.path, &error);
        let file_bytes = self.file.metadata().map_err(io)?.len();
        let mut block = Vec::new();
        for number in 0.. {
            let rest = file_bytes.saturating_sub(block_at(&self.header, number));
            let rest = usize::try_from(rest)
                .unwrap_or(usize::MAX)
                .min(BLOCK_BYTES + CHECKSUM_BYTES);
            let Some(content_bytes) = rest.checked_sub(CHECKSUM_BYTES).filter(|bytes| *bytes > 0) else {
                break;
            };
            match read_block(
                &self.file,
                &self.path,
                &self.header,
                number,
                content_bytes,
                &mut block,
            ) {
                Ok(()) => {}
                // A torn end is what a crash leaves; its bytes are asked for again.
                Err(SnapshotStoreError::Corrupt(_)) => break,
                Err(error) => return Err(error),
            }
            self.content.bytes += content_bytes as u64;
            self.content.checksum = crc32c::crc32c_append(self.content.checksum, &block);
            self.block_checksum = crc32c::crc32c_append(block_checksum(number), &block);
            if content_bytes < BLOCK_BYTES {
                break;
            }
        }
        self.file.set_len(self.end()).map_err(io)
    }

    /// Where the file ends, the checksum of the last block included.
    fn end(&self) -> u64 {
        let blocks = self.content.bytes.div_ceil(BLOCK_BYTES as u64);
        self.header.bytes as u64 + self.content.bytes + blocks * CHECKSUM_BYTES as u64
    }

    /// Appends to the content. The checksum of a block moves along with its end, so that the file can be resumed after
    /// every chunk.
    fn append(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        while !chunk.is_empty() {
            let (number, filled) = (
                self.content.bytes / BLOCK_BYTES as u64,
                self.content.bytes % BLOCK_BYTES as u64,
            );
            if filled == 0 {
                self.block_checksum = block_checksum(number);
            }
            let room =
                BLOCK_BYTES - usize::try_from(filled).expect("a block is smaller than the address space");
            let (part, rest) = chunk.split_at(room.min(chunk.len()));
            let at = block_at(&self.header, number) + filled;
            let checksum = crc32c::crc32c_append(self.block_checksum, part);
            self.file.write_all_at(part, at)?;
            self.file
                .write_all_at(&checksum.to_le_bytes(), at + part.len() as u64)?;
            self.block_checksum = checksum;
            self.content.checksum = crc32c::crc32c_append(self.content.checksum, part);
            self.content.bytes += part.len() as u64;
            chunk = rest;
        }
        Ok(())
    }

    fn write(&mut self, chunk: &[u8]) -> Result<u64, SnapshotStoreError> {
        self.usable()?;
        if let Err(error) = self.append(chunk) {
            self.broken = true;
            return Err(failed(&self.path, &error));
        }
        if self.content.bytes - self.synced_bytes >= UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        Ok(self.content.bytes)
    }

    /// Waits until the disk has everything.
    fn sync(&mut self) -> Result<(), SnapshotStoreError> {
        if let Err(error) = self.file.sync_all() {
            // After a failed sync the page cache may hold what the disk does not, and would pass every check.
            self.throw_away();
            return Err(failed(&self.path, &error));
        }
        self.synced_bytes = self.content.bytes;
        Ok(())
    }

    /// Makes sure that nobody goes on with what was written.
    fn throw_away(&mut self) {
        self.broken = true;
        // What cannot be removed begins anew or is found to be damaged, too.
        let _ = fs::remove_file(&self.path);
    }

    fn usable(&self) -> Result<(), SnapshotStoreError> {
        if self.broken {
            let cause = format!(
                "{}: an earlier write failed; begin the snapshot again",
                self.path.display()
            );
            return Err(SnapshotStoreError::Io(cause.into()));
        }
        Ok(())
    }

    /// Compares the content with what it is to be, ends the file, syncs it, gives it its name, and makes the name durable
    /// (R54, R74).
    fn finish(&mut self) -> Result<(), SnapshotStoreError> {
        self.usable()?;
        if self.expected.is_some_and(|expected| expected != self.content) {
            self.throw_away();
            return Err(SnapshotStoreError::Corrupt(format!(
                "the snapshot {} did not arrive as it was sent; it is sent again from the start",
                self.path.display()
            )));
        }
        let end = encode_trailer(&self.header, self.content);
        if let Err(error) = self.file.write_all_at(&end, self.end()) {
            self.throw_away();
            return Err(failed(&self.path, &error));
        }
        self.sync()?;
        let renamed = fs::rename(&self.path, &self.finished).and_then(|()| match self.finished.parent() {
            Some(directory) => sync_directory(directory),
            None => Ok(()),
        });
        self.broken = true;
        renamed.map_err(|error| failed(&self.finished, &error))
    }

    fn abort(&mut self) -> Result<(), SnapshotStoreError> {
        self.broken = true;
        fs::remove_file(&self.path).map_err(|error| failed(&self.path, &error))
    }
}

/// The [`SnapshotWriter`] of [`FileSnapshotStore`](crate::FileSnapshotStore).
#[derive(Debug)]
pub(crate) struct FileSnapshotWriter {
    unfinished: Arc<Mutex<Unfinished>>,
    workers: Arc<Workers>,
    offset: u64,
}

impl FileSnapshotWriter {
    pub(crate) fn new(unfinished: Unfinished, workers: Arc<Workers>) -> FileSnapshotWriter {
        FileSnapshotWriter {
            offset: unfinished.content.bytes,
            unfinished: Arc::new(Mutex::new(unfinished)),
            workers,
        }
    }

    /// Runs `job` on a disk thread. The file stays with it when the caller stops waiting.
    async fn run<T, F>(&self, job: F) -> Result<T, SnapshotStoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Unfinished) -> Result<T, SnapshotStoreError> + Send + 'static,
    {
        let unfinished = Arc::clone(&self.unfinished);
        let job = move || job(&mut unfinished.lock().unwrap_or_else(PoisonError::into_inner));
        self.workers
            .run(job)
            .await
            .map_err(|error| SnapshotStoreError::Io(Box::new(error)))?
    }
}

#[async_trait]
impl SnapshotWriter for FileSnapshotWriter {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        self.offset = self.run(move |unfinished| unfinished.write(&chunk)).await?;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.run(Unfinished::finish).await
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.run(Unfinished::abort).await
    }
}
