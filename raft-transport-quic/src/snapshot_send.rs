//! The sending side of a snapshot: a stream of its own beside the messages, at a lower priority.
//!
//! | sender | receiver |
//! |---|---|
//! | InstallSnapshot | |
//! | | Continue (offset), or Refused |
//! | SnapshotChunk …, an empty one at the end | |
//! | | Stored, or Refused (also in the middle) |

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, SendStream, WriteError};
use raft_core::message::InstallSnapshot;
use raft_core::traits::{Cause, SnapshotReader, TransportError};
use raft_core::types::NodeId;
use raft_core::wire::{FRAME_HEADER_BYTES, FrameKind, encode_frame, encode_install_snapshot};
use thiserror::Error;

use crate::close_code::CloseCode;
use crate::frame_io::{FrameError, FrameReader};
use crate::options::QuicLimits;
use crate::protocol::{REPLY_BYTES_MAX, SnapshotReply};

/// Below the messages, whose streams have priority 0.
const PRIORITY: i32 = -1;

/// What went wrong on the way.
#[derive(Debug, Error)]
enum TransferError {
    #[error("the snapshot transfer made no progress for {0:?}")]
    Stalled(Duration),
    #[error("the receiver's reply makes no sense: {0}")]
    Reply(String),
}

/// Streams a snapshot; returns when the receiver has stored it, has refused it, or makes no progress.
pub(crate) async fn send_snapshot(
    connection: Connection,
    header: InstallSnapshot,
    content: Box<dyn SnapshotReader>,
    limits: &QuicLimits,
) -> Result<(), TransportError> {
    let to = header.to;
    let stall = limits.snapshot_stall_timeout;
    let (sender, receiver) = within(stall, to, connection.open_bi()).await?;
    let priority = sender.set_priority(PRIORITY);
    debug_assert!(priority.is_ok(), "the stream was opened just now");
    let mut transfer = Transfer {
        to,
        stall,
        chunk_bytes_max: limits.snapshot_chunk_bytes_max,
        sender,
        replies: FrameReader::new(receiver, stall),
    };
    let result = transfer.run(&header, content).await;
    if result.is_err() {
        // The receiver keeps what it has and lets go of the rest. Both fail only if the stream is over already.
        let code = CloseCode::SnapshotAborted.code();
        let _ = transfer.sender.reset(code);
        let _ = transfer.replies.stream_mut().stop(code);
    }
    result
}

struct Transfer {
    to: NodeId,
    stall: Duration,
    chunk_bytes_max: usize,
    sender: SendStream,
    replies: FrameReader,
}

impl Transfer {
    async fn run(
        &mut self,
        header: &InstallSnapshot,
        mut content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        let first = frame(FrameKind::InstallSnapshot, 128, |out| {
            encode_install_snapshot(header, content.content(), out);
        });
        self.write(first).await?;
        match self.reply().await? {
            SnapshotReply::Continue { offset } => self.seek(content.as_mut(), offset).await?,
            reply => return Err(self.not_now(reply)),
        }
        loop {
            let chunk = self.read(content.as_mut()).await?;
            let last = chunk.is_empty();
            self.write(frame(FrameKind::SnapshotChunk, chunk.len(), |out| {
                out.extend_from_slice(&chunk);
            }))
            .await?;
            if last {
                break;
            }
        }
        match self.reply().await? {
            SnapshotReply::Stored => Ok(()),
            reply => Err(self.not_now(reply)),
        }
    }

    async fn seek(&self, content: &mut dyn SnapshotReader, offset: u64) -> Result<(), TransportError> {
        let bytes = content.content().bytes;
        if offset > bytes {
            let error = TransferError::Reply(format!("it has {offset} bytes of a snapshot of {bytes}"));
            return Err(unreachable(self.to, error));
        }
        local(self.stall, content.seek(offset)).await
    }

    async fn read(&self, content: &mut dyn SnapshotReader) -> Result<Bytes, TransportError> {
        local(self.stall, content.read_chunk(self.chunk_bytes_max)).await
    }

    /// A receiver that stops the stream has said why before.
    async fn write(&mut self, frame: Bytes) -> Result<(), TransportError> {
        match tokio::time::timeout(self.stall, self.sender.write_chunk(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(WriteError::Stopped(_))) => {
                let reply = self.reply().await?;
                Err(self.not_now(reply))
            }
            Ok(Err(error)) => Err(unreachable(self.to, error)),
            Err(_) => Err(unreachable(self.to, TransferError::Stalled(self.stall))),
        }
    }

    async fn reply(&mut self) -> Result<SnapshotReply, TransportError> {
        let reply = self
            .replies
            .next_within(FrameKind::SnapshotReply, REPLY_BYTES_MAX, self.stall)
            .await;
        let body = reply.map_err(|error| match error {
            FrameError::Silent(stall) | FrameError::TooSlow(stall) => {
                unreachable(self.to, TransferError::Stalled(stall))
            }
            error => unreachable(self.to, error),
        })?;
        SnapshotReply::decode(body)
            .ok_or_else(|| unreachable(self.to, TransferError::Reply("it is malformed".to_string())))
    }

    fn not_now(&self, reply: SnapshotReply) -> TransportError {
        match reply {
            SnapshotReply::Refused { reason } => TransportError::Refused { to: self.to, reason },
            reply => unreachable(self.to, TransferError::Reply(format!("{reply:?} came too early"))),
        }
    }
}

/// A step with the receiver.
async fn within<T, E: Into<Cause>>(
    stall: Duration,
    to: NodeId,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(stall, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(unreachable(to, error)),
        Err(_) => Err(unreachable(to, TransferError::Stalled(stall))),
    }
}

/// A step with this side's own store.
async fn local<T, E: Into<Cause>>(
    stall: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(stall, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(TransportError::Io(error.into())),
        Err(_) => Err(TransportError::Io(TransferError::Stalled(stall).into())),
    }
}

fn unreachable(to: NodeId, cause: impl Into<Cause>) -> TransportError {
    TransportError::Unreachable {
        to,
        cause: cause.into(),
    }
}

fn frame(kind: FrameKind, body_bytes: usize, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + body_bytes);
    encode_frame(kind, &mut out, body);
    Bytes::from(out)
}
