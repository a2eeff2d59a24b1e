//! Frames: the header that is checked before anything is allocated, and the checksum of the body.

use bytes::Bytes;
use raft_core::wire::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, VERSION, WireError, decode_frame_body, encode_frame,
};

fn frame(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(kind, &mut out, |out| out.extend_from_slice(body));
    out
}

fn split(frame: &[u8]) -> ([u8; FRAME_HEADER_BYTES], Bytes) {
    let (header, body) = frame.split_at(FRAME_HEADER_BYTES);
    (
        header.try_into().expect("the split is right behind the header"),
        Bytes::copy_from_slice(body),
    )
}

#[test]
fn frames_survive() {
    let kinds = [
        FrameKind::Hello,
        FrameKind::Messages,
        FrameKind::InstallSnapshot,
        FrameKind::SnapshotChunk,
        FrameKind::SnapshotReply,
    ];
    for kind in kinds {
        for body in [&b""[..], b"a body"] {
            let (header, bytes) = split(&frame(kind, body));
            let header = FrameHeader::decode(&header, body.len()).unwrap();
            assert_eq!((header.kind, header.body_bytes), (kind, body.len()));
            assert_eq!(decode_frame_body(&header, bytes).unwrap(), body);
        }
    }
    // Frames follow each other in one buffer.
    let mut two = frame(FrameKind::Hello, b"one");
    encode_frame(FrameKind::Messages, &mut two, |out| out.extend_from_slice(b"two"));
    assert_eq!(
        two,
        [
            frame(FrameKind::Hello, b"one"),
            frame(FrameKind::Messages, b"two")
        ]
        .concat()
    );
}

/// A body that is too large is refused from its header alone: N bytes pass, N + 1 and 4 GiB do not.
#[test]
fn frames_that_are_too_large_are_refused() {
    let (mut header, _) = split(&frame(FrameKind::Messages, &[7; 100]));
    assert!(FrameHeader::decode(&header, 100).is_ok());
    let too_large = |bytes, bytes_max| Err(WireError::TooLarge { bytes, bytes_max });
    assert_eq!(FrameHeader::decode(&header, 99), too_large(100, 99));
    header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        FrameHeader::decode(&header, 4 << 20),
        too_large(u32::MAX as usize, 4 << 20)
    );
}

/// Every single damaged byte of a frame is noticed, in its header or in its body.
#[test]
fn every_damaged_byte_of_a_frame_is_noticed() {
    let valid = frame(FrameKind::Messages, b"some bytes that matter");
    for at in 0..valid.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = valid.clone();
            bytes[at] ^= flip;
            let (header, body) = split(&bytes);
            let found =
                FrameHeader::decode(&header, 1 << 20).and_then(|header| decode_frame_body(&header, body));
            match (at, found) {
                (0, found) => assert_eq!(found, Err(WireError::Version(VERSION ^ flip))),
                // Another kind may be a kind, too: the transport's state says which it expects.
                (1, _) => {}
                (2 | 3, found) => assert!(matches!(found, Err(WireError::Tag { .. })), "{found:?}"),
                (4..8, found) => {
                    assert!(
                        matches!(found, Err(WireError::Truncated(_) | WireError::TooLarge { .. })),
                        "{found:?}"
                    );
                }
                (_, found) => assert!(matches!(found, Err(WireError::Checksum { .. })), "{found:?}"),
            }
        }
    }
}

#[test]
fn unknown_versions_and_kinds_are_refused() {
    let (valid, _) = split(&frame(FrameKind::Hello, b""));
    for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
        let mut header = valid;
        header[0] = version;
        assert_eq!(FrameHeader::decode(&header, 10), Err(WireError::Version(version)));
    }
    for kind in [0, 6, 7, 0xff] {
        let mut header = valid;
        header[1] = kind;
        assert!(matches!(
            FrameHeader::decode(&header, 10),
            Err(WireError::Tag { .. })
        ));
    }
}

#[test]
fn a_body_of_another_length_is_refused() {
    let (header, body) = split(&frame(FrameKind::Hello, b"abc"));
    let header = FrameHeader::decode(&header, 10).unwrap();
    assert!(decode_frame_body(&header, body.slice(..2)).is_err());
    assert!(decode_frame_body(&header, Bytes::from_static(b"abcd")).is_err());
}
