//! Frames in pieces: large payloads go from the entry to the stream without a copy.

use bytes::Bytes;

use super::encode::put_messages;
use super::frame::{FRAME_HEADER_BYTES, FrameKind, encode_header};
use crate::entry::{Entry, Payload};
use crate::message::{Body, Message};

/// Payloads from this size on are pieces of their own, shared with the entry. Smaller ones are copied: one more piece costs an
/// allocation, a place in the stream's list of pieces, which is searched from its beginning for every packet, and a part of a
/// vectored write; to copy less than this costs less than that.
pub const SHARED_BYTES_MIN: usize = 8 * 1024;

/// Where messages are written to.
pub(super) trait Sink {
    /// What is copied is appended here.
    fn copied(&mut self) -> &mut Vec<u8>;

    /// Appends `bytes`, copied or shared.
    fn put_shared(&mut self, bytes: &Bytes);

    /// How much was appended, copied or shared.
    fn written(&self) -> usize;
}

impl Sink for Vec<u8> {
    fn copied(&mut self) -> &mut Vec<u8> {
        self
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        self.extend_from_slice(bytes);
    }

    fn written(&self) -> usize {
        self.len()
    }
}

/// What is copied, and what goes where in between.
struct Chain {
    copied: Vec<u8>,
    /// Each with the number of copied bytes before it.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
}

impl Sink for Chain {
    fn copied(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.copied.extend_from_slice(bytes);
        } else {
            self.shared.push((self.copied.len(), bytes.clone()));
            self.shared_bytes += bytes.len();
        }
    }

    fn written(&self) -> usize {
        self.copied.len() + self.shared_bytes
    }
}

/// The frame of a batch of messages, in pieces that follow each other: byte for byte what [`encode_frame`](super::encode_frame)
/// writes with [`encode_messages`](super::encode_messages). `bytes` is how large it will be, about. Without payloads of
/// [`SHARED_BYTES_MIN`] there is one piece.
///
/// # Panics
/// If the body exceeds 4 GiB, which the limits on entries and batches exclude.
#[must_use]
pub fn encode_messages_frame(messages: &[Message], bytes: usize) -> Vec<Bytes> {
    let mut chain = Chain {
        copied: Vec::with_capacity(bytes.saturating_sub(shared_bytes(messages))),
        shared: Vec::new(),
        shared_bytes: 0,
    };
    chain.copied.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    put_messages(messages, &mut chain);
    let body_bytes = chain.written() - FRAME_HEADER_BYTES;
    let checksum = chain.checksum();
    let header = encode_header(FrameKind::Messages, body_bytes, checksum);
    chain.copied[..FRAME_HEADER_BYTES].copy_from_slice(&header);
    chain.into_pieces()
}

/// How much of `messages` is not copied.
fn shared_bytes(messages: &[Message]) -> usize {
    let entry_bytes = |entry: &Entry| match &entry.payload {
        Payload::Command(command) => command.len(),
        Payload::Session(entry) => entry.request.command_bytes(),
        Payload::Noop | Payload::Membership(_) => 0,
    };
    let is_shared = |bytes: &usize| *bytes >= SHARED_BYTES_MIN;
    let message_bytes = |message: &Message| match &message.body {
        Body::AppendEntries(request) => request.entries.iter().map(entry_bytes).filter(is_shared).sum(),
        // A forwarded one is alone in its message; if it is counted as copied, some memory is asked for in vain.
        _ => 0,
    };
    messages.iter().map(message_bytes).sum()
}

impl Chain {
    /// Of the body.
    fn checksum(&self) -> u32 {
        let (mut checksum, mut at) = (0, FRAME_HEADER_BYTES);
        for (place, bytes) in &self.shared {
            checksum = crc32c::crc32c_append(checksum, &self.copied[at..*place]);
            checksum = crc32c::crc32c_append(checksum, bytes);
            at = *place;
        }
        crc32c::crc32c_append(checksum, &self.copied[at..])
    }

    fn into_pieces(self) -> Vec<Bytes> {
        let mut copied = Bytes::from(self.copied);
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut at = 0;
        for (place, bytes) in self.shared {
            let before = copied.split_to(place - at);
            pieces.extend([before, bytes].into_iter().filter(|piece| !piece.is_empty()));
            at = place;
        }
        if !copied.is_empty() {
            pieces.push(copied);
        }
        pieces
    }
}
