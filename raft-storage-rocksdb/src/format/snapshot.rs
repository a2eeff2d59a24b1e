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

use raft_core::message::{SnapshotContent, SnapshotMeta};
use raft_core::types::GroupId;

use super::record::{RecordError, decode_meta, encode_meta, u32_at, u64_at};

/// The content of a full block.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// A checksum follows each block.
pub(crate) const CHECKSUM_BYTES: usize = 4;
/// Length, checksum of the content, checksum of the trailer.
pub(crate) const TRAILER_BYTES: usize = 16;

const MAGIC: [u8; 7] = *b"RFTSNAP";
const VERSION: u8 = 1;
/// The part of a header whose length is known: magic, version, group, length.
pub(crate) const PREFIX_BYTES: usize = 20;
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

/// Verifies the first bytes of a header, and says how many it has in all.
pub(crate) fn header_bytes(prefix: &[u8; PREFIX_BYTES]) -> Result<usize, RecordError> {
    if prefix[..7] != MAGIC {
        return Err(RecordError::damaged("it does not begin like a snapshot"));
    }
    if prefix[7] != VERSION {
        return Err(RecordError::damaged(format!(
            "it has format version {}, this build reads version {VERSION}",
            prefix[7]
        )));
    }
    match u32_at(prefix, 16) as usize {
        length if length > META_BYTES_MAX => Err(RecordError::damaged(
            "its header claims to be larger than any header is",
        )),
        length => Ok(PREFIX_BYTES + length + CHECKSUM_BYTES),
    }
}

/// Decodes the header that is all of `bytes`, which are as many as [`header_bytes`] says.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, RecordError> {
    let (Some(body), Some(meta)) = (
        bytes.len().checked_sub(CHECKSUM_BYTES),
        bytes.get(PREFIX_BYTES..bytes.len().saturating_sub(CHECKSUM_BYTES)),
    ) else {
        return Err(RecordError::damaged("it ends in the middle of its header"));
    };
    let checksum = crc32c::crc32c(&bytes[..body]);
    if checksum != u32_at(bytes, body) {
        return Err(RecordError::damaged("the checksum of its header does not match"));
    }
    Ok(Header {
        group: GroupId(u64_at(bytes, 8)),
        meta: decode_meta(meta)?,
        bytes: bytes.len(),
        checksum,
    })
}

/// The end of a finished file, which says what its content is.
pub(crate) fn encode_trailer(header: &Header, content: SnapshotContent) -> [u8; TRAILER_BYTES] {
    let mut bytes = [0; TRAILER_BYTES];
    bytes[..8].copy_from_slice(&content.bytes.to_le_bytes());
    bytes[8..12].copy_from_slice(&content.checksum.to_le_bytes());
    let checksum = crc32c::crc32c_append(header.checksum, &bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Decodes the end of a finished file of `file_bytes` bytes, and verifies that the file is as long as it says.
pub(crate) fn decode_trailer(
    header: &Header,
    file_bytes: u64,
    bytes: &[u8; TRAILER_BYTES],
) -> Result<SnapshotContent, RecordError> {
    let content = SnapshotContent {
        bytes: u64_at(bytes, 0),
        checksum: u32_at(bytes, 8),
    };
    if encode_trailer(header, content) != *bytes {
        return Err(RecordError::damaged("the checksum of its end does not match"));
    }
    let blocks = content.bytes.div_ceil(BLOCK_BYTES as u64);
    let all_bytes = blocks
        .checked_mul(CHECKSUM_BYTES as u64)
        .and_then(|checksums| checksums.checked_add(content.bytes))
        .and_then(|blocks| blocks.checked_add((header.bytes + TRAILER_BYTES) as u64));
    if all_bytes != Some(file_bytes) {
        return Err(RecordError::damaged("its length is not what its end says"));
    }
    Ok(content)
}

/// Where in the file a block begins.
pub(crate) fn block_at(header: &Header, number: u64) -> u64 {
    header.bytes as u64 + number * (BLOCK_BYTES + CHECKSUM_BYTES) as u64
}

/// The checksum of a block before any of its content.
pub(crate) fn block_checksum(number: u64) -> u32 {
    crc32c::crc32c(&number.to_le_bytes())
}

/// Verifies block `number`, and cuts its checksum off.
pub(crate) fn verify_block(number: u64, block: &mut Vec<u8>) -> Result<(), RecordError> {
    let Some(content_bytes) = block.len().checked_sub(CHECKSUM_BYTES) else {
        return Err(RecordError::damaged("it ends in the middle of a block"));
    };
    let expected = u32_at(block, content_bytes);
    block.truncate(content_bytes);
    if crc32c::crc32c_append(block_checksum(number), block) != expected {
        let offset = number.saturating_mul(BLOCK_BYTES as u64);
        return Err(RecordError::damaged(format!(
            "the checksum of the content from byte {offset} on does not match"
        )));
    }
    Ok(())
}
