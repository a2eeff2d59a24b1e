//! Frames off a stream.
//!
//! Small frames are read many at a time into a buffer that is used again and again, and are copied out at their exact
//! size: a command that stays in memory for long never pins more than its own frame. The rest of a large frame is read
//! straight into its own memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use raft_core::wire::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, WireError, decode_frame_body};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::carrier::{Closed, StreamReceiver};

/// How much is read at once before the size of a frame is known.
const SCRATCH_BYTES: usize = 8 * 1024;

/// The slowest that the body of a frame may come, in bytes per second, beside its time-out.
const FRAME_BYTES_PER_SECOND_MIN: u32 = 64 * 1024;

/// Why there is no next frame.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    /// The other side finished or reset the stream, or the connection ended.
    #[error("the stream ended: {0}")]
    Ended(String),
    /// The bytes are no frame, or a frame over the limit.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// A frame of another kind belongs here.
    #[error("a frame of kind {0:?} does not belong here")]
    Unexpected(FrameKind),
    /// A frame began and did not end in time.
    #[error("a frame was not complete after {0:?}")]
    TooSlow(Duration),
    /// No frame began in time.
    #[error("nothing arrived for {0:?}")]
    Silent(Duration),
}

impl FrameError {
    pub(crate) fn ended(closed: &Closed) -> FrameError {
        FrameError::Ended(closed.to_string())
    }
}

/// Reads frames off one stream.
pub(crate) struct FrameReader<R> {
    stream: R,
    /// What arrived and belongs to no frame yet.
    scratch: BytesMut,
    frame_timeout: Duration,
    /// How often something arrived.
    heard: Arc<AtomicU64>,
}

impl<R: StreamReceiver> FrameReader<R> {
    pub(crate) fn new(stream: R, frame_timeout: Duration) -> FrameReader<R> {
        FrameReader {
            stream,
            scratch: BytesMut::with_capacity(SCRATCH_BYTES),
            frame_timeout,
            heard: Arc::default(),
        }
    }

    /// A number that grows whenever something arrives.
    pub(crate) fn heard(&self) -> Arc<AtomicU64> {
        self.heard.clone()
    }

    /// The stream, to stop it.
    pub(crate) fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The body of the next frame, which must be of `kind` and of at most `bytes_max` bytes. Waits for ever for its first
    /// byte, but not for its last.
    pub(crate) async fn next(&mut self, kind: FrameKind, bytes_max: usize) -> Result<Bytes, FrameError> {
        if self.scratch.is_empty() {
            self.fill().await?;
        }
        if let Some(header) = self.buffered_header(kind, bytes_max)?
            && self.scratch.len() >= FRAME_HEADER_BYTES + header.body_bytes
        {
            return self.take_buffered(&header);
        }
        let deadline = Instant::now() + self.frame_timeout;
        let timeout = self.frame_timeout;
        let header = tokio::time::timeout_at(deadline, self.finish_header(kind, bytes_max))
            .await
            .map_err(|_| FrameError::TooSlow(timeout))??;
        // A large frame is given the time that it takes on a slow way, or it would be sent again for ever.
        let slow = Duration::from_secs(header.body_bytes as u64) / FRAME_BYTES_PER_SECOND_MIN;
        tokio::time::timeout_at(deadline + slow, self.finish_body(&header))
            .await
            .map_err(|_| FrameError::TooSlow(timeout + slow))?
    }

    /// The same, but the frame must begin within `silence_max`.
    pub(crate) async fn next_within(
        &mut self,
        kind: FrameKind,
        bytes_max: usize,
        silence_max: Duration,
    ) -> Result<Bytes, FrameError> {
        if self.scratch.is_empty() {
            tokio::time::timeout(silence_max, self.fill())
                .await
                .map_err(|_| FrameError::Silent(silence_max))??;
        }
        self.next(kind, bytes_max).await
    }

    async fn finish_header(&mut self, kind: FrameKind, bytes_max: usize) -> Result<FrameHeader, FrameError> {
        loop {
            if let Some(header) = self.buffered_header(kind, bytes_max)? {
                return Ok(header);
            }
            self.fill().await?;
        }
    }

    async fn finish_body(&mut self, header: &FrameHeader) -> Result<Bytes, FrameError> {
        if self.scratch.len() >= FRAME_HEADER_BYTES + header.body_bytes {
            return self.take_buffered(header);
        }
        self.scratch.advance(FRAME_HEADER_BYTES);
        let mut body = BytesMut::with_capacity(header.body_bytes);
        body.extend_from_slice(&self.scratch);
        self.scratch.clear();
        while body.len() < header.body_bytes {
            let missing = header.body_bytes - body.len();
            let mut limited = (&mut self.stream).take(missing as u64);
            ended_at_zero(limited.read_buf(&mut body).await)?;
            self.heard.fetch_add(1, Ordering::Relaxed);
        }
        Ok(decode_frame_body(header, body.freeze())?)
    }

    /// The header of the frame at the front, checked, if all of it is here.
    fn buffered_header(&self, kind: FrameKind, bytes_max: usize) -> Result<Option<FrameHeader>, FrameError> {
        let Some(header) = self.scratch.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(header, bytes_max)?;
        if header.kind != kind {
            return Err(FrameError::Unexpected(header.kind));
        }
        Ok(Some(header))
    }

    fn take_buffered(&mut self, header: &FrameHeader) -> Result<Bytes, FrameError> {
        self.scratch.advance(FRAME_HEADER_BYTES);
        let body = Bytes::copy_from_slice(&self.scratch[..header.body_bytes]);
        self.scratch.advance(header.body_bytes);
        Ok(decode_frame_body(header, body)?)
    }

    async fn fill(&mut self) -> Result<(), FrameError> {
        // Nothing else refers to this memory, so it is moved to the front, not allocated anew.
        self.scratch.reserve(SCRATCH_BYTES / 2);
        ended_at_zero(self.stream.read_buf(&mut self.scratch).await)?;
        self.heard.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn ended_at_zero(read: std::io::Result<usize>) -> Result<(), FrameError> {
    match read {
        Ok(0) => Err(FrameError::Ended("the other side finished it".to_string())),
        Ok(_) => Ok(()),
        Err(error) => Err(FrameError::Ended(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use raft_core::wire::encode_frame;
    use tokio::io::{AsyncRead, ReadBuf};

    use super::*;
    use crate::close_code::CloseCode;

    const BYTES_MAX: usize = 40_000;

    /// A stream that arrives in pieces and then ends.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(into.remaining()));
                into.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl StreamReceiver for Pieces {
        fn stop(&mut self, _: CloseCode) {}
    }

    /// `bytes`, cut after each of `sizes` in turn.
    fn cut(bytes: &[u8], sizes: &[usize]) -> VecDeque<Vec<u8>> {
        let mut pieces = VecDeque::new();
        let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
        while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            pieces.push_back(piece.to_vec());
            rest = later;
        }
        pieces
    }

    /// The frames that are read, and whether what follows them is the end of the stream between two frames or within one.
    fn read(pieces: VecDeque<Vec<u8>>) -> (Vec<Bytes>, FrameError) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime starts").block_on(async {
            let mut reader = FrameReader::new(Pieces(pieces), Duration::from_secs(600));
            let mut frames = Vec::new();
            loop {
                match reader.next(FrameKind::Messages, BYTES_MAX).await {
                    Ok(frame) => frames.push(frame),
                    Err(error) => return (frames, error),
                }
            }
        })
    }

    fn written(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            encode_frame(FrameKind::Messages, &mut bytes, |out| out.extend_from_slice(body));
        }
        bytes
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let small = prop::collection::vec(any::<u8>(), 0..40);
        let large = prop::collection::vec(any::<u8>(), 8_000..20_000);
        prop::collection::vec(prop_oneof![4 => small, 1 => large], 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn wherever_a_stream_is_cut_its_frames_are_the_same(
            bodies in bodies(),
            sizes in prop::collection::vec(prop_oneof![1usize..20, 1usize..9_000], 1..6),
        ) {
            let (frames, end) = read(cut(&written(&bodies), &sizes));
            prop_assert_eq!(frames, bodies);
            prop_assert!(matches!(end, FrameError::Ended(_)), "{}", end);
        }

        #[test]
        fn a_damaged_stream_gives_true_frames_and_then_an_error(
            bodies in bodies(),
            sizes in prop::collection::vec(1usize..9_000, 1..6),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut bytes = written(&bodies);
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let (frames, _) = read(cut(&bytes, &sizes));
            prop_assert!(frames.len() < bodies.len());
            prop_assert_eq!(&frames[..], &bodies[..frames.len()]);
        }
    }
}
