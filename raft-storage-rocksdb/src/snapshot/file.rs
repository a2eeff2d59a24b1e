//! Reads the parts of a snapshot file; `format::snapshot` says what they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use raft_core::message::SnapshotContent;
use raft_core::traits::SnapshotStoreError;

use crate::error::DiskError;
use crate::format::snapshot::{
    CHECKSUM_BYTES, Header, PREFIX_BYTES, TRAILER_BYTES, block_at, decode_header, decode_trailer,
    header_bytes, verify_block,
};

/// Reads and verifies the header of the file at `path`.
pub(crate) fn read_header(file: &File, path: &Path) -> Result<Header, SnapshotStoreError> {
    let mut prefix = [0; PREFIX_BYTES];
    read_exact(file, path, &mut prefix, 0, "its header")?;
    let length = header_bytes(&prefix).map_err(|error| damaged(path, &error.to_string()))?;
    let mut bytes = vec![0; length];
    read_exact(file, path, &mut bytes, 0, "its header")?;
    decode_header(&bytes).map_err(|error| damaged(path, &error.to_string()))
}

/// Reads and verifies the end of a finished file, and that the file is as long as it says. Returns what the content is.
pub(crate) fn read_trailer(
    file: &File,
    path: &Path,
    header: &Header,
) -> Result<SnapshotContent, SnapshotStoreError> {
    let file_bytes = file.metadata().map_err(|error| failed(path, &error))?.len();
    let Some(at) = file_bytes
        .checked_sub(TRAILER_BYTES as u64)
        .filter(|at| *at >= header.bytes as u64)
    else {
        return Err(damaged(path, "it ends before its content"));
    };
    let mut bytes = [0; TRAILER_BYTES];
    read_exact(file, path, &mut bytes, at, "its end")?;
    decode_trailer(header, file_bytes, &bytes).map_err(|error| damaged(path, &error.to_string()))
}

/// Reads block `number`, with `content_bytes` bytes of content, into `block`, and verifies it.
pub(crate) fn read_block(
    file: &File,
    path: &Path,
    header: &Header,
    number: u64,
    content_bytes: usize,
    block: &mut Vec<u8>,
) -> Result<(), SnapshotStoreError> {
    block.resize(content_bytes + CHECKSUM_BYTES, 0);
    read_exact(file, path, block, block_at(header, number), "a block")?;
    verify_block(number, block).map_err(|error| damaged(path, &error.to_string()))
}

fn read_exact(
    file: &File,
    path: &Path,
    bytes: &mut [u8],
    at: u64,
    what: &str,
) -> Result<(), SnapshotStoreError> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(damaged(path, &format!("it ends in the middle of {what}")))
        }
        result => result.map_err(|error| failed(path, &error)),
    }
}

pub(crate) fn damaged(path: &Path, reason: &str) -> SnapshotStoreError {
    SnapshotStoreError::Corrupt(format!(
        "the snapshot {} is damaged: {reason}; remove the file, so that an older one or the leader's is used",
        path.display()
    ))
}

pub(crate) fn failed(path: &Path, error: &io::Error) -> SnapshotStoreError {
    SnapshotStoreError::Io(Box::new(DiskError::file(path, error)))
}
