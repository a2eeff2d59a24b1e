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

mod format;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub(crate) use pack::ArchiveReader;
pub(crate) use unpack::unpack;

use crate::directory::sync_directory;
