//! What the ends of a connection say besides messages.

use bytes::Bytes;
use raft_core::message::Lane;
use raft_core::types::NodeId;
use raft_core::wire::{FRAME_HEADER_BYTES, FrameHeader, decode_frame_body};

#[allow(dead_code, reason = "the transport uses the rest")]
#[path = "../../raft-transport/src/protocol.rs"]
mod protocol;

use protocol::{HELLO_BYTES_MAX, Hello, REPLY_BYTES_MAX, SnapshotReply};

/// A hello and the replies of a snapshot stream: whatever decodes is written as it was read.
///
/// # Panics
/// If it is not, or if decoding panics.
pub fn transport(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Some(hello) = Hello::decode(body.clone()) {
        assert_eq!(body_of(&hello.encode(), usize::MAX), body, "a hello is canonical");
    }
    if let Some(reply) = SnapshotReply::decode(body.clone()) {
        let written = body_of(&reply.encode(), REPLY_BYTES_MAX);
        let again = SnapshotReply::decode(written.clone()).expect("what was written is read");
        assert_eq!(
            again.encode(),
            reply.encode(),
            "a reply is read as it was written"
        );
        if !matches!(reply, SnapshotReply::Refused { .. }) {
            assert_eq!(written, body, "a reply without a text is canonical");
        }
    }
}

/// The body of a frame that was written here.
fn body_of(frame: &Bytes, bytes_max: usize) -> Bytes {
    let header = frame
        .first_chunk::<FRAME_HEADER_BYTES>()
        .expect("a frame has a header");
    let header = FrameHeader::decode(header, bytes_max).expect("a frame that was written is read");
    decode_frame_body(&header, frame.slice(FRAME_HEADER_BYTES..)).expect("its checksum is right")
}

/// One of each, and a hello in each lane.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let hello = |lane| Hello {
        version: protocol::FORMAT_VERSION,
        lane,
        id: NodeId(3),
        incarnation: 7,
        port: 2380,
        cluster: "demo".to_owned(),
    };
    let replies = [
        SnapshotReply::Continue { offset: 1 << 40 },
        SnapshotReply::Stored,
        SnapshotReply::Wait,
        SnapshotReply::Refused {
            reason: "busy: 4 snapshots are being received already".to_owned(),
        },
    ];
    let hellos = [Lane::Urgent, Lane::Ordered].map(hello);
    let mut seeds: Vec<Vec<u8>> = hellos
        .iter()
        .map(|hello| body_of(&hello.encode(), HELLO_BYTES_MAX).to_vec())
        .collect();
    seeds.extend(
        replies
            .iter()
            .map(|reply| body_of(&reply.encode(), REPLY_BYTES_MAX).to_vec()),
    );
    seeds
}
