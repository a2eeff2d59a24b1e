//! What the two ends of a connection say besides messages: hello, and the replies of a snapshot stream.
//!
//! | frame | body |
//! |---|---|
//! | Hello | version of this format (2 bytes), lane (1: 0 urgent, 1 ordered), id (8), incarnation (8), port (2), name of the cluster (the rest, UTF-8) |
//! | SnapshotReply | 1, offset up to which everything is written (8) |
//! | SnapshotReply | 2: the snapshot is stored |
//! | SnapshotReply | 3, the reason of the refusal (the rest, UTF-8) |
//! | SnapshotReply | 4: the store is at work, wait |
//!
//! Integers are little-endian. Decoding never panics. The fuzz targets compile this file alone, so it imports nothing of the
//! other modules.

use bytes::{Buf, Bytes};
use raft_core::message::Lane;
use raft_core::types::NodeId;
use raft_core::wire::{FrameKind, encode_frame};

/// The version of what this transport says on its streams.
pub(crate) const FORMAT_VERSION: u16 = 2;

/// No honest hello is longer: a cluster's name has at most 63 bytes.
pub(crate) const HELLO_BYTES_MAX: usize = 128;

/// A reason is a sentence, not a document.
pub(crate) const REASON_BYTES_MAX: usize = 1024;

/// No honest reply is longer.
pub(crate) const REPLY_BYTES_MAX: usize = REASON_BYTES_MAX + 16;

/// The first frame on each stream of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    /// Which of the sender's streams of messages this is.
    pub(crate) lane: Lane,
    pub(crate) id: NodeId,
    /// Random, and new with every start of the transport: tells a restarted peer from the same one.
    pub(crate) incarnation: u64,
    /// The port at which the sender listens.
    pub(crate) port: u16,
    pub(crate) cluster: String,
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(HELLO_BYTES_MAX);
        encode_frame(FrameKind::Hello, &mut out, |out| {
            out.extend_from_slice(&self.version.to_le_bytes());
            out.push(match self.lane {
                Lane::Urgent => 0,
                Lane::Ordered => 1,
            });
            out.extend_from_slice(&self.id.0.to_le_bytes());
            out.extend_from_slice(&self.incarnation.to_le_bytes());
            out.extend_from_slice(&self.port.to_le_bytes());
            out.extend_from_slice(self.cluster.as_bytes());
        });
        Bytes::from(out)
    }

    pub(crate) fn decode(mut body: Bytes) -> Option<Hello> {
        let version = body.try_get_u16_le().ok()?;
        let lane = match body.try_get_u8().ok()? {
            0 => Lane::Urgent,
            1 => Lane::Ordered,
            _ => return None,
        };
        let id = NodeId(body.try_get_u64_le().ok()?);
        let incarnation = body.try_get_u64_le().ok()?;
        let port = body.try_get_u16_le().ok()?;
        let cluster = std::str::from_utf8(&body).ok()?.to_string();
        Some(Hello {
            version,
            lane,
            id,
            incarnation,
            port,
            cluster,
        })
    }
}

/// What the receiver of a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotReply {
    /// Go on from this byte.
    Continue { offset: u64 },
    /// The snapshot is durable and was offered to the replica.
    Stored,
    /// No, and why.
    Refused { reason: String },
    /// The store reads again what it has of the snapshot, or makes it durable: the next word comes later.
    Wait,
}

impl SnapshotReply {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        encode_frame(FrameKind::SnapshotReply, &mut out, |out| match self {
            SnapshotReply::Continue { offset } => {
                out.push(1);
                out.extend_from_slice(&offset.to_le_bytes());
            }
            SnapshotReply::Stored => out.push(2),
            SnapshotReply::Refused { reason } => {
                out.push(3);
                let end = reason.floor_char_boundary(REASON_BYTES_MAX);
                out.extend_from_slice(&reason.as_bytes()[..end]);
            }
            SnapshotReply::Wait => out.push(4),
        });
        Bytes::from(out)
    }

    pub(crate) fn decode(mut body: Bytes) -> Option<SnapshotReply> {
        match body.try_get_u8().ok()? {
            1 => {
                let offset = body.try_get_u64_le().ok()?;
                body.is_empty().then_some(SnapshotReply::Continue { offset })
            }
            2 => body.is_empty().then_some(SnapshotReply::Stored),
            3 => Some(SnapshotReply::Refused {
                reason: String::from_utf8_lossy(&body).into_owned(),
            }),
            4 => body.is_empty().then_some(SnapshotReply::Wait),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::wire::{FRAME_HEADER_BYTES, FrameHeader, decode_frame_body};

    use super::*;

    fn body_of(frame: &Bytes, limit: usize) -> Bytes {
        let header: [u8; FRAME_HEADER_BYTES] = frame[..FRAME_HEADER_BYTES].try_into().unwrap();
        let header = FrameHeader::decode(&header, limit).unwrap();
        decode_frame_body(&header, frame.slice(FRAME_HEADER_BYTES..)).unwrap()
    }

    #[test]
    fn the_longest_hello_is_read_back() {
        let hello = Hello {
            version: FORMAT_VERSION,
            lane: Lane::Ordered,
            id: NodeId(u64::MAX),
            incarnation: 7,
            port: 2380,
            cluster: "x".repeat(63),
        };
        let body = body_of(&hello.encode(), HELLO_BYTES_MAX);
        assert_eq!(Hello::decode(body), Some(hello));
    }

    #[test]
    fn replies_are_read_back_and_long_reasons_cut() {
        for reply in [
            SnapshotReply::Continue { offset: 1 << 40 },
            SnapshotReply::Stored,
            SnapshotReply::Wait,
            SnapshotReply::Refused {
                reason: "no room".to_string(),
            },
        ] {
            let body = body_of(&reply.encode(), REPLY_BYTES_MAX);
            assert_eq!(SnapshotReply::decode(body), Some(reply));
        }
        let long = SnapshotReply::Refused {
            reason: "ä".repeat(REASON_BYTES_MAX),
        };
        let body = body_of(&long.encode(), REPLY_BYTES_MAX);
        assert!(matches!(
            SnapshotReply::decode(body),
            Some(SnapshotReply::Refused { reason }) if reason.len() == REASON_BYTES_MAX
        ));
    }

    #[test]
    fn truncated_bodies_are_nothing() {
        let hello = Bytes::from_static(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(Hello::decode(hello), None);
        for body in [&b""[..], b"\x01\x00", b"\x02\x00", b"\x04\x00", b"\x05"] {
            assert_eq!(SnapshotReply::decode(Bytes::copy_from_slice(body)), None);
        }
    }
}
