//! The bytes of a snapshot file. All integers are little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 7 + 1 | `RFTSNAP`, version 1 |
//! | 8 | group |
//! | 4 | length of the next field |
//! | n | last entry and membership |
//! | 4 | CRC-32C of the above |
//! | … | blocks: 256 KiB of content (the last one less), then the CRC-32C of the block's number and content |
//! | 8 | length of the content |
//! | 4 | CRC-32C of the content |
//! | 4 | CRC-32C of the header's checksum and the two fields above |
//!
//! The blocks have checksums of their own for two reasons. A transfer that goes on after a power loss must know which of
//! the bytes that are there are the ones that were written; and a reader that begins in the middle must not pass damage on.
//! The checksum of the whole content, which a read from the start verifies, also covers the order of the blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use raft_core::message::SnapshotMeta;
use raft_core::traits::SnapshotStoreError;
use raft_core::types::GroupId;

use crate::error::DiskError;
use crate::log::record::{decode_meta, encode_meta, u32_at, u64_at};

/// The content of a full block.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// A checksum follows each block.
pub(crate) const CHECKSUM_BYTES: usize = 4;
/// Length, checksum of the content, checksum of the trailer.
pub(crate) const TRAILER_BYTES: usize = 16;

const MAGIC: [u8; 7] = *b"RFTSNAP";
const VERSION: u8 = 1;
/// Magic, version, group, length.
const PREFIX_BYTES: usize = 20;
/// Some hundred thousand members: more is damage.
const META_BYTES_MAX: usize = 1 << 22;

/// A header, and where the blocks begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) group: GroupId,
    pub(crate) meta: SnapshotMeta,
    pub(crate) bytes: usize,
    pub(crate) checksum: u32,
}

/// What the end of a finished file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) content_bytes: u64,
    pub(crate) content_checksum: u32,
}

/// The header's bytes, and the header as reading it back would give it.
pub(crate) fn encode_header(group: GroupId, meta: &SnapshotMeta) -> (Vec<u8>, Header) {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&group.0.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    encode_meta(meta, &mut bytes);
    let length = u32::try_from(bytes.len() - PREFIX_BYTES).expect("a membership fits into 4 GiB");
    bytes[16..PREFIX_BYTES].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let header = Header {
        group,
        meta: meta.clone(),
        bytes: bytes.len(),
        checksum,
    };
    (bytes, header)
}

/// Reads and verifies the header of the file at `path`.
pub(crate) fn read_header(file: &File, path: &Path) -> Result<Header, SnapshotStoreError> {
    let mut bytes = vec![0; PREFIX_BYTES];
    read_exact(file, path, &mut bytes, 0, "its header")?;
    if bytes[..7] != MAGIC {
        return Err(damaged(path, "it does not begin like a snapshot"));
    }
    if bytes[7] != VERSION {
        let reason = format!(
            "it has format version {}, this build reads version {VERSION}",
            bytes[7]
        );
        return Err(damaged(path, &reason));
    }
    let length = u32_at(&bytes, 16) as usize;
    if length > META_BYTES_MAX {
        return Err(damaged(path, "its header claims to be larger than any header is"));
    }
    bytes.resize(PREFIX_BYTES + length + CHECKSUM_BYTES, 0);
    read_exact(
        file,
        path,
        &mut bytes[PREFIX_BYTES..],
        PREFIX_BYTES as u64,
        "its header",
    )?;
    let body = PREFIX_BYTES + length;
    let checksum = crc32c::crc32c(&bytes[..body]);
    if checksum != u32_at(&bytes, body) {
        return Err(damaged(path, "the checksum of its header does not match"));
    }
    Ok(Header {
        group: GroupId(u64_at(&bytes, 8)),
        meta: decode_meta(&bytes[PREFIX_BYTES..body]).map_err(|error| damaged(path, &error.to_string()))?,
        bytes: bytes.len(),
        checksum,
    })
}

pub(crate) fn encode_trailer(header: &Header, trailer: &Trailer) -> [u8; TRAILER_BYTES] {
    let mut bytes = [0; TRAILER_BYTES];
    bytes[..8].copy_from_slice(&trailer.content_bytes.to_le_bytes());
    bytes[8..12].copy_from_slice(&trailer.content_checksum.to_le_bytes());
    let checksum = crc32c::crc32c_append(header.checksum, &bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads and verifies the end of a finished file, and that the file is as long as it says.
pub(crate) fn read_trailer(file: &File, path: &Path, header: &Header) -> Result<Trailer, SnapshotStoreError> {
    let file_bytes = file.metadata().map_err(|error| failed(path, &error))?.len();
    let Some(at) = file_bytes
        .checked_sub(TRAILER_BYTES as u64)
        .filter(|at| *at >= header.bytes as u64)
    else {
        return Err(damaged(path, "it ends before its content"));
    };
    let mut bytes = [0; TRAILER_BYTES];
    read_exact(file, path, &mut bytes, at, "its end")?;
    let trailer = Trailer {
        content_bytes: u64_at(&bytes, 0),
        content_checksum: u32_at(&bytes, 8),
    };
    if encode_trailer(header, &trailer) != bytes {
        return Err(damaged(path, "the checksum of its end does not match"));
    }
    let blocks = trailer.content_bytes.div_ceil(BLOCK_BYTES as u64);
    let checksums = blocks.saturating_mul(CHECKSUM_BYTES as u64);
    if trailer.content_bytes.checked_add(checksums) != at.checked_sub(header.bytes as u64) {
        return Err(damaged(path, "its length is not what its end says"));
    }
    Ok(trailer)
}

/// Where in the file a block begins.
pub(crate) fn block_at(header: &Header, number: u64) -> u64 {
    header.bytes as u64 + number * (BLOCK_BYTES + CHECKSUM_BYTES) as u64
}

/// The checksum of a block before any of its content.
pub(crate) fn block_checksum(number: u64) -> u32 {
    crc32c::crc32c(&number.to_le_bytes())
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
    let expected = u32_at(block, content_bytes);
    block.truncate(content_bytes);
    if crc32c::crc32c_append(block_checksum(number), block) != expected {
        let offset = number * BLOCK_BYTES as u64;
        return Err(damaged(
            path,
            &format!("the checksum of the content from byte {offset} on does not match"),
        ));
    }
    Ok(())
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
