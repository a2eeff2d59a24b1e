//! One finished snapshot that is being read. No byte leaves that was not verified against its block's checksum.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::traits::{SnapshotReader, SnapshotStoreError};

use super::file::{damaged, failed, read_block, read_header, read_trailer};
use crate::format::snapshot::{BLOCK_BYTES, Header};
use crate::worker::Workers;

/// A finished file whose header and end are verified.
#[derive(Debug)]
pub(crate) struct Finished {
    file: File,
    path: PathBuf,
    pub(crate) header: Header,
    /// What the content is, as the end of the file says.
    pub(crate) content: SnapshotContent,
    position: u64,
    /// The block at `position`, if it was read already.
    block: Option<(u64, Bytes)>,
    /// The checksum of everything before `position`, if it was read from the start.
    checksum: Option<u32>,
}

impl Finished {
    /// Opens the file at `path`; `None` if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Finished>, SnapshotStoreError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path, &error)),
        };
        let header = read_header(&file, path)?;
        let content = read_trailer(&file, path, &header)?;
        Ok(Some(Finished {
            file,
            path: path.to_path_buf(),
            header,
            content,
            position: 0,
            block: None,
            checksum: Some(0),
        }))
    }

    fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
        let size = self.content.bytes;
        if offset > size {
            let cause = format!(
                "{}: offset {offset} is beyond the content of {size} bytes",
                self.path.display()
            );
            return Err(SnapshotStoreError::Io(cause.into()));
        }
        if offset != self.position {
            self.position = offset;
            self.checksum = (offset == 0).then_some(0);
        }
        Ok(())
    }

    /// The next verified bytes, at most one block; none at the end.
    pub(crate) fn read(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
        if self.position == self.content.bytes {
            return match self.checksum {
                Some(checksum) if checksum != self.content.checksum => {
                    Err(damaged(&self.path, "the checksum of its content does not match"))
                }
                _ => Ok(Bytes::new()),
            };
        }
        let number = self.position / BLOCK_BYTES as u64;
        let block = match &self.block {
            Some((cached, block)) if *cached == number => block.clone(),
            _ => self.load(number)?,
        };
        let begin = usize::try_from(self.position % BLOCK_BYTES as u64).unwrap_or(BLOCK_BYTES);
        let end = begin.saturating_add(bytes_max.max(1)).min(block.len());
        let chunk = block.slice(begin..end);
        self.position += chunk.len() as u64;
        self.checksum = self
            .checksum
            .map(|checksum| crc32c::crc32c_append(checksum, &chunk));
        Ok(chunk)
    }

    fn load(&mut self, number: u64) -> Result<Bytes, SnapshotStoreError> {
        let rest = self.content.bytes - number * BLOCK_BYTES as u64;
        let content_bytes = usize::try_from(rest).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let mut block = Vec::new();
        read_block(
            &self.file,
            &self.path,
            &self.header,
            number,
            content_bytes,
            &mut block,
        )?;
        let block = Bytes::from(block);
        self.block = Some((number, block.clone()));
        Ok(block)
    }
}

/// The [`SnapshotReader`] of [`FileSnapshotStore`](crate::FileSnapshotStore). One call returns at most one block.
#[derive(Debug)]
pub(crate) struct FileSnapshotReader {
    meta: SnapshotMeta,
    content: SnapshotContent,
    finished: Arc<Mutex<Finished>>,
    workers: Arc<Workers>,
}

impl FileSnapshotReader {
    pub(crate) fn new(finished: Finished, workers: Arc<Workers>) -> FileSnapshotReader {
        FileSnapshotReader {
            meta: finished.header.meta.clone(),
            content: finished.content,
            finished: Arc::new(Mutex::new(finished)),
            workers,
        }
    }
}

#[async_trait]
impl SnapshotReader for FileSnapshotReader {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    fn content(&self) -> SnapshotContent {
        self.content
    }

    async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
        // No I/O: the block is read when it is asked for.
        self.finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .seek(offset)
    }

    async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
        let finished = Arc::clone(&self.finished);
        let job = move || {
            finished
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .read(bytes_max)
        };
        self.workers
            .run(job)
            .await
            .map_err(|error| SnapshotStoreError::Io(Box::new(error)))?
    }
}
