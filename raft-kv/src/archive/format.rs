//! What both directions of an archive know: its constants, its names and its errors.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub(super) const MAGIC: &[u8; 8] = b"raft-kv\x01";
pub(super) const TAG_FILE: u8 = 1;
pub(super) const TAG_END: u8 = 2;
pub(super) const NAME_BYTES_MAX: usize = 128;
/// How much of a file is in memory at once.
pub(super) const CHUNK_BYTES: usize = 128 << 10;

/// Why a stream is not an archive, or cannot be unpacked.
#[derive(Debug, Error)]
pub(crate) enum ArchiveError {
    /// The stream could not be read.
    #[error("the snapshot could not be read after {offset} bytes: {source}")]
    Read { offset: u64, source: io::Error },
    /// What it holds could not be written.
    #[error("{path}: the snapshot could not be unpacked: {source}; check the free space")]
    Write { path: PathBuf, source: io::Error },
    /// The stream ends too early or is not an archive.
    #[error("the snapshot is damaged near byte {offset}: {reason}; let the node fetch it again")]
    Damaged { offset: u64, reason: String },
}

/// RocksDB's file names are short and plain; no other name is written or accepted.
pub(super) fn valid_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}
