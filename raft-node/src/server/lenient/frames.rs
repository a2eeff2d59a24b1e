//! The frames of an HTTP/2 connection (RFC 9113 §4 and §6.2), as far as header blocks have to be found among them.
//!
//! Whatever it does not understand it passes on unchanged: judging is the library's business.

use bytes::{Buf, BytesMut};

use super::hpack::{self, Authority};

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length, type, flags and stream of a frame.
const FRAME_HEADER_BYTES: usize = 9;

const HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x08;
const FLAG_PRIORITY: u8 = 0x20;

/// How many bytes stand before a header block for its priority.
const PRIORITY_BYTES: usize = 5;

/// The largest payload that a peer may send unless it was told otherwise, and we tell nobody.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// Where in the stream of bytes we are.
#[derive(Default)]
pub(super) struct Frames {
    /// What arrived and was not looked at, because it is not whole.
    pending: BytesMut,
    preface_seen: bool,
    /// Whether a header block with an improper authority was seen.
    improper_seen: bool,
    /// How many bytes of a frame that is none of our business are still to come.
    skip: usize,
}

impl Frames {
    /// Takes bytes from the client and moves to `out` what can be passed on. Returns whether what follows must be
    /// looked at, too.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut BytesMut) -> bool {
        self.pending.extend_from_slice(bytes);
        if !self.preface_seen {
            let given = &self.pending[..self.pending.len().min(PREFACE.len())];
            if given != &PREFACE[..given.len()] {
                return false;
            }
            if given.len() < PREFACE.len() {
                return true;
            }
            self.preface_seen = true;
            self.pass(PREFACE.len(), out);
        }
        loop {
            let skipped = self.skip.min(self.pending.len());
            self.pass(skipped, out);
            self.skip -= skipped;
            let Some((header, rest)) = self.pending.split_first_chunk::<FRAME_HEADER_BYTES>() else {
                return true;
            };
            let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            let (kind, flags) = (header[3], header[4]);
            if kind != HEADERS || length > PAYLOAD_BYTES_MAX {
                self.skip = FRAME_HEADER_BYTES + length;
                continue;
            }
            let Some(payload) = rest.get(..length) else {
                return true;
            };
            match look_at_headers(flags, payload) {
                Verdict::Replace(payload) => {
                    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
                    out.extend_from_slice(&[high, middle, low]);
                    out.extend_from_slice(&header[3..]);
                    out.extend_from_slice(&payload);
                    self.pending.advance(FRAME_HEADER_BYTES + length);
                    self.improper_seen = true;
                }
                Verdict::Keep if self.improper_seen => self.pass(FRAME_HEADER_BYTES + length, out),
                Verdict::Keep => return false,
            }
        }
    }

    /// Whether the client has said that it speaks HTTP/2.
    pub(super) fn are_known(&self) -> bool {
        self.preface_seen
    }

    /// Moves everything that is left to `out`.
    pub(super) fn finish(&mut self, out: &mut BytesMut) {
        self.pass(self.pending.len(), out);
    }

    fn pass(&mut self, count: usize, out: &mut BytesMut) {
        out.extend_from_slice(&self.pending[..count]);
        self.pending.advance(count);
    }
}

enum Verdict {
    Keep,
    /// The new payload of the frame.
    Replace(Vec<u8>),
}

fn look_at_headers(flags: u8, payload: &[u8]) -> Verdict {
    let (start, padding) = match flags & FLAG_PADDED {
        0 => (0, 0),
        _ => (1, payload.first().copied().unwrap_or(0).into()),
    };
    let start = match flags & FLAG_PRIORITY {
        0 => start,
        _ => start + PRIORITY_BYTES,
    };
    let end = payload.len().saturating_sub(padding);
    let Some(block) = payload.get(start..end) else {
        return Verdict::Keep;
    };
    let Some(Authority::Improper { at, characters }) = hpack::find_authority(block) else {
        return Verdict::Keep;
    };
    let mut replaced = payload[..start + at.start].to_vec();
    hpack::write_placeholder(characters, &mut replaced);
    replaced.extend_from_slice(&payload[start + at.end..]);
    match replaced.len() <= PAYLOAD_BYTES_MAX {
        true => Verdict::Replace(replaced),
        false => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
        [&[high, middle, low, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn headers(flags: u8, before: &[u8], authority: &str, after: &[u8]) -> Vec<u8> {
        let literal = [
            &[0x83, 0x41, authority.len() as u8],
            authority.as_bytes(),
            &[0x86],
        ]
        .concat();
        frame(HEADERS, flags, &[before, &literal, after].concat())
    }

    /// What comes out when `bytes` arrive in pieces, and whether the connection is still looked at.
    fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let (mut frames, mut out) = (Frames::default(), BytesMut::new());
        for (number, piece) in bytes.chunks(piece).enumerate() {
            if !frames.push(piece, &mut out) {
                let rest = bytes.len().min((number + 1) * piece.len().max(1));
                frames.finish(&mut out);
                out.extend_from_slice(&bytes[rest..]);
                return (out.to_vec(), false);
            }
        }
        frames.finish(&mut out);
        (out.to_vec(), true)
    }

    #[test]
    fn improper_authorities_are_replaced_wherever_the_pieces_end() {
        let (settings, data) = (frame(4, 0, &[0; 6]), frame(0, 1, b"\x00\x00\x00\x00\x00"));
        let connection = |authority: &str| {
            [
                PREFACE,
                &settings,
                &headers(4, b"", authority, b""),
                &data,
                // Padded and with a priority.
                &headers(
                    4 | FLAG_PADDED | FLAG_PRIORITY,
                    &[3, 0, 0, 0, 0, 9],
                    authority,
                    &[0; 3],
                ),
                &data,
            ]
            .concat()
        };
        let improper = connection("http://a:1");
        let expected = (connection("xxxxxxxxxx"), true);
        for piece in 1..=improper.len() {
            assert_eq!(passed(&improper, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_connection_with_a_proper_authority_is_left_alone() {
        let bytes = [
            PREFACE,
            &headers(4, b"", "127.0.0.1:2379", b""),
            &headers(4, b"", "a/b", b""),
        ]
        .concat();
        assert_eq!(passed(&bytes, bytes.len()), (bytes.clone(), false));
        assert_eq!(passed(&bytes, 1), (bytes.clone(), false));
    }

    #[test]
    fn other_protocols_are_left_alone() {
        for bytes in ["GET / HTTP/1.1\r\n\r\n", "PRI", "POST", "\0"] {
            let (out, _) = passed(bytes.as_bytes(), bytes.len());
            assert_eq!(out, bytes.as_bytes());
        }
    }

    #[test]
    fn frames_that_lie_about_their_padding_pass_unchanged() {
        let lying = [PREFACE, &frame(HEADERS, FLAG_PADDED, &[200, 1, 2])].concat();
        assert_eq!(passed(&lying, lying.len()).0, lying);
        let empty = [PREFACE, &frame(HEADERS, FLAG_PADDED | FLAG_PRIORITY, &[])].concat();
        assert_eq!(passed(&empty, empty.len()).0, empty);
    }
}
