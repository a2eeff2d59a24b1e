//! Frames off a stream.
//!
//! Small frames are read many at a time into a buffer that is used again and again, and are copied out at their exact
//! size: a command that stays in memory for long never pins more than its own frame. The rest of a large frame is read
//! straight into its own memory.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use raft_core::wire::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, WireError, decode_frame_body};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::carrier::{Closed, StreamReceiver};

/// How much is read at once before the size of a frame is known.
const SCRATCH_BYTES: usize = 8 * 1024;

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
}

impl<R: StreamReceiver> FrameReader<R> {
    pub(crate) fn new(stream: R, frame_timeout: Duration) -> FrameReader<R> {
        FrameReader {
            stream,
            scratch: BytesMut::with_capacity(SCRATCH_BYTES),
            frame_timeout,
        }
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
        tokio::time::timeout_at(deadline, self.finish_frame(kind, bytes_max))
            .await
            .map_err(|_| FrameError::TooSlow(timeout))?
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

    async fn finish_frame(&mut self, kind: FrameKind, bytes_max: usize) -> Result<Bytes, FrameError> {
        let header = loop {
            if let Some(header) = self.buffered_header(kind, bytes_max)? {
                break header;
            }
            self.fill().await?;
        };
        if self.scratch.len() >= FRAME_HEADER_BYTES + header.body_bytes {
            return self.take_buffered(&header);
        }
        self.scratch.advance(FRAME_HEADER_BYTES);
        let mut body = BytesMut::with_capacity(header.body_bytes);
        body.extend_from_slice(&self.scratch);
        self.scratch.clear();
        while body.len() < header.body_bytes {
            let missing = header.body_bytes - body.len();
            let mut limited = (&mut self.stream).take(missing as u64);
            ended_at_zero(limited.read_buf(&mut body).await)?;
        }
        Ok(decode_frame_body(&header, body.freeze())?)
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
        ended_at_zero(self.stream.read_buf(&mut self.scratch).await)
    }
}

fn ended_at_zero(read: std::io::Result<usize>) -> Result<(), FrameError> {
    match read {
        Ok(0) => Err(FrameError::Ended("the other side finished it".to_string())),
        Ok(_) => Ok(()),
        Err(error) => Err(FrameError::Ended(error.to_string())),
    }
}
