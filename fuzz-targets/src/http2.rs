//! The look that the server takes at the frames of a client, before the HTTP/2 library does.

use bytes::BytesMut;

#[allow(dead_code, reason = "the server uses the rest")]
#[path = "../../raft-node/src/server/lenient/frames.rs"]
mod frames;
#[path = "../../raft-node/src/server/lenient/hpack.rs"]
mod hpack;
#[path = "../../raft-node/src/server/lenient/huffman.rs"]
mod huffman;

use frames::Frames;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte says in how large pieces the rest arrives. How it is cut into pieces changes nothing, and everything
/// that arrives is passed on, whole, or with an authority of the same number of characters.
///
/// # Panics
/// If that does not hold.
pub fn http2(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    let at_once = passed(stream, stream.len().max(1));
    assert_eq!(
        at_once,
        passed(stream, usize::from(piece).max(1)),
        "pieces change nothing"
    );
    let (out, _) = at_once;
    // Looking at what came out finds nothing more to replace.
    assert_eq!(
        passed(&out, out.len().max(1)).0,
        out,
        "a second look changes nothing"
    );
    let _ = hpack::find_authority(stream);
    let _ = huffman::decode(stream);
}

/// What comes out, and whether the connection is still looked at.
fn passed(stream: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let (mut frames, mut out) = (Frames::default(), BytesMut::new());
    let mut given = 0;
    for bytes in stream.chunks(piece) {
        given += bytes.len();
        if !frames.push(bytes, &mut out) {
            frames.finish(&mut out);
            out.extend_from_slice(&stream[given..]);
            return (out.to_vec(), false);
        }
    }
    frames.finish(&mut out);
    (out.to_vec(), true)
}

/// Connections with a proper authority and with improper ones, in every form of a literal.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    };
    let literal = |text: &[u8]| [&[0x83, 0x41, text.len() as u8], text, &[0x86]].concat();
    let settings = frame(4, 0, &[0; 6]);
    let huffman = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let padded = [&[2, 0, 0, 0, 0, 9][..], &literal(b"#initially=[a;b]"), &[0, 0]].concat();
    let connection = |frames: &[Vec<u8>]| {
        let mut seed = [&[5], PREFACE, &settings].concat();
        seed.extend(frames.concat());
        seed
    };
    vec![
        connection(&[frame(1, 4, &literal(b"127.0.0.1:2379"))]),
        connection(&[frame(1, 4, &literal(b"http://a:1")), frame(0, 1, &[0; 5])]),
        connection(&[frame(1, 4 | 0x28, &padded), frame(1, 4, &literal(b"[::1]:1"))]),
        connection(&[frame(1, 4, huffman)]),
        [&[1], &b"GET / HTTP/1.1\r\n\r\n"[..]].concat(),
    ]
}
