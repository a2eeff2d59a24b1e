//! A snapshot as a stream: the files of a checkpoint, one after the other.
//!
//! ```text
//! "raft-kv\x01"                                                       8 bytes, the last one is the version
//! 1, name length (u16), name, content length (u64), CRC-32C of these   per file
//!    content, CRC-32C of the content
//! 2, number of files (u32), CRC-32C of all bytes before                the end
//! ```
//!
//! Integers are little-endian. The reader of an archive believes nothing: names cannot leave the directory, lengths
//! allocate nothing, every checksum is checked, and nothing may follow the end. What was unpacked is synced, names
//! included, before `unpack` returns (R54, R74).

mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub(crate) use pack::ArchiveReader;
pub(crate) use unpack::unpack;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

const MAGIC: &[u8; 8] = b"raft-kv\x01";
const TAG_FILE: u8 = 1;
const TAG_END: u8 = 2;
const NAME_BYTES_MAX: usize = 128;
/// How much of a file is in memory at once.
const CHUNK_BYTES: usize = 128 << 10;

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
fn valid_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}
