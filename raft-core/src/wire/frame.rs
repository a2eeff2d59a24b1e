//! Frames: a header that can be checked before anything is allocated, and a body with a checksum.

use bytes::Bytes;

use super::WireError;

/// The version of the format. A receiver refuses any other.
pub const VERSION: u8 = 1;

/// The size of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 12;

/// What the body of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Who the sender is; its meaning belongs to the transport.
    Hello = 1,
    /// A batch of messages: [`encode_messages`](super::encode_messages).
    Messages = 2,
    /// The header of a snapshot stream: [`encode_install_snapshot`](super::encode_install_snapshot).
    InstallSnapshot = 3,
    /// A piece of a snapshot; empty at its end.
    SnapshotChunk = 4,
    /// What the receiver of a snapshot says; its meaning belongs to the transport.
    SnapshotReply = 5,
}

/// A frame's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the body is.
    pub kind: FrameKind,
    /// The size of the body.
    pub body_bytes: usize,
    checksum: u32,
}

impl FrameHeader {
    /// Decodes a header, and refuses a body of more than `bytes_max` bytes before anything is allocated for it.
    pub fn decode(header: &[u8; FRAME_HEADER_BYTES], bytes_max: usize) -> Result<FrameHeader, WireError> {
        let [version, kind, zero_a, zero_b, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        if zero_a != 0 || zero_b != 0 {
            return Err(WireError::Tag {
                what: "the padding of a frame",
                tag: zero_a | zero_b,
            });
        }
        let kind = match kind {
            1 => FrameKind::Hello,
            2 => FrameKind::Messages,
            3 => FrameKind::InstallSnapshot,
            4 => FrameKind::SnapshotChunk,
            5 => FrameKind::SnapshotReply,
            tag => return Err(WireError::Tag { what: "a frame", tag }),
        };
        let body_bytes = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if body_bytes > bytes_max {
            return Err(WireError::TooLarge {
                bytes: body_bytes,
                bytes_max,
            });
        }
        Ok(FrameHeader {
            kind,
            body_bytes,
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
        })
    }
}

/// Checks a body against its header.
pub fn decode_frame_body(header: &FrameHeader, body: Bytes) -> Result<Bytes, WireError> {
    if body.len() != header.body_bytes {
        return Err(WireError::Truncated("a frame"));
    }
    let found = crc32c::crc32c(&body);
    if found != header.checksum {
        return Err(WireError::Checksum {
            expected: header.checksum,
            found,
        });
    }
    Ok(body)
}

/// Appends a frame to `out`; `body` writes its body.
///
/// # Panics
/// If the body exceeds 4 GiB, which the limits on entries and batches exclude.
pub fn encode_frame(kind: FrameKind, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    body(out);
    let body_start = start + FRAME_HEADER_BYTES;
    let checksum = crc32c::crc32c(&out[body_start..]);
    let header = encode_header(kind, out.len() - body_start, checksum);
    out[start..body_start].copy_from_slice(&header);
}

/// The header before a body of this length and checksum.
pub(super) fn encode_header(kind: FrameKind, body_bytes: usize, checksum: u32) -> [u8; FRAME_HEADER_BYTES] {
    let length = u32::try_from(body_bytes).expect("limits keep frames below 4 GiB");
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..2].copy_from_slice(&[VERSION, kind as u8]);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..].copy_from_slice(&checksum.to_le_bytes());
    header
}
