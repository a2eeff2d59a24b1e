//! One snapshot that is being written: appended block by block, found again after a crash, finished by a rename.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{SnapshotStoreError, SnapshotWriter};
use raft_core::types::GroupId;

use super::file::{failed, read_block, read_header};
use crate::files::sync_directory;
use crate::format::snapshot::{
    BLOCK_BYTES, CHECKSUM_BYTES, Header, Trailer, block_at, block_checksum, encode_header, encode_trailer,
};
use crate::worker::Workers;

/// The unfinished files that some writer has open.
pub(crate) type InUse = Arc<Mutex<BTreeSet<PathBuf>>>;

/// Takes a file for one writer, until it is dropped.
#[derive(Debug)]
struct Claim {
    in_use: InUse,
    path: PathBuf,
}

impl Claim {
    fn take(in_use: &InUse, path: &Path) -> Result<Claim, SnapshotStoreError> {
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

/// A file without an end.
#[derive(Debug)]
pub(crate) struct Unfinished {
    file: File,
    path: PathBuf,
    header: Header,
    content_bytes: u64,
    content_checksum: u32,
    /// The checksum of the last block so far; it is on disk behind the block's content.
    block_checksum: u32,
    /// A write failed: what is on disk is verified by the next `begin`.
    broken: bool,
    _claim: Claim,
}

impl Unfinished {
    /// Goes on with the file at `path` if it has the same header, else begins it.
    pub(crate) fn begin(
        in_use: &InUse,
        path: &Path,
        group: GroupId,
        meta: &SnapshotMeta,
    ) -> Result<Unfinished, SnapshotStoreError> {
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
            Ok(found) => found == header,
            Err(SnapshotStoreError::Corrupt(_)) => false,
            Err(error) => return Err(error),
        };
        let mut unfinished = Unfinished {
            file,
            path: path.to_path_buf(),
            header,
            content_bytes: 0,
            content_checksum: 0,
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
            begun.map_err(|error| failed(path, &error))?;
        }
        Ok(unfinished)
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
            self.content_bytes += content_bytes as u64;
            self.content_checksum = crc32c::crc32c_append(self.content_checksum, &block);
            self.block_checksum = crc32c::crc32c_append(block_checksum(number), &block);
            if content_bytes < BLOCK_BYTES {
                break;
            }
        }
        self.file.set_len(self.end()).map_err(io)
    }

    /// Where the file ends, the checksum of the last block included.
    fn end(&self) -> u64 {
        let blocks = self.content_bytes.div_ceil(BLOCK_BYTES as u64);
        self.header.bytes as u64 + self.content_bytes + blocks * CHECKSUM_BYTES as u64
    }

    /// Appends to the content. The checksum of a block moves along with its end, so that the file can be resumed after
    /// every chunk.
    fn append(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        while !chunk.is_empty() {
            let (number, filled) = (
                self.content_bytes / BLOCK_BYTES as u64,
                self.content_bytes % BLOCK_BYTES as u64,
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
            self.content_checksum = crc32c::crc32c_append(self.content_checksum, part);
            self.content_bytes += part.len() as u64;
            chunk = rest;
        }
        Ok(())
    }

    fn write(&mut self, chunk: &[u8]) -> Result<u64, SnapshotStoreError> {
        self.usable()?;
        match self.append(chunk) {
            Ok(()) => Ok(self.content_bytes),
            Err(error) => {
                self.broken = true;
                Err(failed(&self.path, &error))
            }
        }
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

    /// Ends the file, syncs it, gives it its name, and makes the name durable (R54, R74).
    fn finish(&mut self) -> Result<(), SnapshotStoreError> {
        self.usable()?;
        let trailer = Trailer {
            content_bytes: self.content_bytes,
            content_checksum: self.content_checksum,
        };
        let end = encode_trailer(&self.header, &trailer);
        let synced = self
            .file
            .write_all_at(&end, self.end())
            .and_then(|()| self.file.sync_all());
        if let Err(error) = synced {
            // After a failed sync the page cache may hold what the disk does not, and would pass every check.
            self.broken = true;
            let _ = fs::remove_file(&self.path);
            return Err(failed(&self.path, &error));
        }
        let finished = self.path.with_extension("snap");
        let renamed = fs::rename(&self.path, &finished).and_then(|()| match finished.parent() {
            Some(directory) => sync_directory(directory),
            None => Ok(()),
        });
        self.broken = true;
        renamed.map_err(|error| failed(&finished, &error))
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
            offset: unfinished.content_bytes,
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
