//! The reading half of an archive. What it wrote is not made durable here: it is looked at and removed.

use std::io;
use std::path::Path;

#[allow(dead_code, reason = "the writing half uses the rest")]
#[path = "../../../raft-kv/src/archive/format.rs"]
mod format;
#[path = "../../../raft-kv/src/archive/unpack.rs"]
mod unpack;

use format::{MAGIC, TAG_END, TAG_FILE};
pub(crate) use unpack::unpack;

fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// An archive with right checksums. `described` holds for each file the length of its name in one byte, the name, the
/// length of its content in one byte, and the content.
pub(crate) fn sealed(mut described: &[u8]) -> Vec<u8> {
    let mut archive = MAGIC.to_vec();
    let mut count = 0_u32;
    while !described.is_empty() {
        let name = part(&mut described);
        let content = part(&mut described);
        let begin = archive.len();
        archive.push(TAG_FILE);
        archive.extend((name.len() as u16).to_le_bytes());
        archive.extend_from_slice(name);
        archive.extend((content.len() as u64).to_le_bytes());
        let checksum = crc32c::crc32c(&archive[begin..]);
        archive.extend(checksum.to_le_bytes());
        archive.extend_from_slice(content);
        archive.extend(crc32c::crc32c(content).to_le_bytes());
        count += 1;
    }
    archive.push(TAG_END);
    archive.extend(count.to_le_bytes());
    let checksum = crc32c::crc32c(&archive);
    archive.extend(checksum.to_le_bytes());
    archive
}

/// Takes a part off the front that begins with its length in one byte.
fn part<'a>(described: &mut &'a [u8]) -> &'a [u8] {
    let Some((&length, rest)) = described.split_first() else {
        return &[];
    };
    let (part, rest) = rest.split_at(usize::from(length).min(rest.len()));
    *described = rest;
    part
}
