//! The sending side of a snapshot: a stream of its own beside the messages, which every message overtakes.
//!
//! | sender | receiver |
//! |---|---|
//! | InstallSnapshot | |
//! | | Continue (offset), or Refused |
//! | SnapshotChunk …, an empty one at the end | |
//! | | Stored, or Refused (also in the middle) |

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use raft_core::message::InstallSnapshot;
use raft_core::traits::{Cause, SnapshotReader, TransportError};
use raft_core::types::NodeId;
use raft_core::wire::{FRAME_HEADER_BYTES, FrameKind, encode_frame, encode_install_snapshot};
use thiserror::Error;
use tokio::time::timeout;

use crate::carrier::{Connection, StreamReceiver, StreamSender};
use crate::close_code::CloseCode;
use crate::frame_io::{FrameError, FrameReader};
use crate::options::TransportLimits;
use crate::protocol::{REPLY_BYTES_MAX, SnapshotReply};

/// What went wrong on the way.
#[derive(Debug, Error)]
enum TransferError {
    #[error("the snapshot transfer made no progress for {0:?}")]
    Stalled(Duration),
    #[error("the receiver's reply makes no sense: {0}")]
    Reply(String),
}

/// Streams a snapshot; returns when the receiver has stored it, has refused it, or makes no progress. Dropping the future
/// gives the transfer up. Either way the receiver keeps what it has for the next attempt.
pub(crate) async fn send_snapshot<N: Connection>(
    connection: N,
    header: InstallSnapshot,
    mut content: Box<dyn SnapshotReader>,
    limits: &TransportLimits,
) -> Result<(), TransportError> {
    let transfer = Transfer {
        to: header.to,
        stall: limits.snapshot_stall_timeout,
        chunk_bytes_max: limits.snapshot_chunk_bytes_max,
    };
    let (mut sender, receiver) = transfer.within(connection.open_snapshot()).await?;
    let mut replies = FrameReader::new(receiver, transfer.stall);
    let sent = async {
        transfer
            .begin(&mut sender, &mut replies, &header, content.as_mut())
            .await?;
        transfer.stream(&mut sender, &mut replies, content.as_mut()).await
    };
    let result = sent.await;
    if result.is_err() {
        sender.reset(CloseCode::SnapshotAborted);
        replies.stream_mut().stop(CloseCode::SnapshotAborted);
    }
    result
}

/// One transfer, apart from its stream.
struct Transfer {
    to: NodeId,
    stall: Duration,
    chunk_bytes_max: usize,
}

impl Transfer {
    /// Announces the snapshot and moves to where the receiver wants to go on.
    async fn begin<R: StreamReceiver>(
        &self,
        sender: &mut impl StreamSender,
        replies: &mut FrameReader<R>,
        header: &InstallSnapshot,
        content: &mut dyn SnapshotReader,
    ) -> Result<(), TransportError> {
        let first = frame(FrameKind::InstallSnapshot, 128, |out| {
            encode_install_snapshot(header, content.content(), out);
        });
        self.within(sender.write(&mut [first])).await?;
        let reply = self.within(replies.next(FrameKind::SnapshotReply, REPLY_BYTES_MAX));
        let SnapshotReply::Continue { offset } = self.understand(reply.await?)? else {
            return Err(self.unreachable(TransferError::Reply("it began with its end".to_owned())));
        };
        let bytes = content.content().bytes;
        if offset > bytes {
            let error = TransferError::Reply(format!("it has {offset} bytes of a snapshot of {bytes}"));
            return Err(self.unreachable(error));
        }
        self.local(content.seek(offset)).await
    }

    /// Sends the chunks, and waits for the last word. The receiver may say it at any time: it has refused then.
    async fn stream<R: StreamReceiver>(
        &self,
        sender: &mut impl StreamSender,
        replies: &mut FrameReader<R>,
        content: &mut dyn SnapshotReader,
    ) -> Result<(), TransportError> {
        let mut last_word = pin!(replies.next(FrameKind::SnapshotReply, REPLY_BYTES_MAX));
        loop {
            let chunk = self.local(content.read_chunk(self.chunk_bytes_max)).await?;
            let last = chunk.is_empty();
            let mut frame = [frame(FrameKind::SnapshotChunk, chunk.len(), |out| {
                out.extend_from_slice(&chunk);
            })];
            let written = tokio::select! {
                biased;
                word = &mut last_word => return Err(self.too_early(word)),
                written = self.within(sender.write(&mut frame)) => written,
            };
            if let Err(error) = written {
                // A receiver that no longer reads has said why before.
                let word = timeout(self.stall, last_word).await;
                return Err(match word {
                    Ok(Ok(word)) => self.too_early(Ok(word)),
                    _ => error,
                });
            }
            if last {
                break;
            }
        }
        let word = self.within(last_word).await?;
        match self.understand(word)? {
            SnapshotReply::Stored => Ok(()),
            reply => Err(self.unreachable(TransferError::Reply(format!("{reply:?} at the end")))),
        }
    }

    /// What the receiver said while the sender was not done.
    fn too_early(&self, word: Result<Bytes, FrameError>) -> TransportError {
        let reply = match word {
            Ok(body) => self.understand(body),
            Err(error) => return self.unreachable(error),
        };
        match reply {
            Ok(reply) => self.unreachable(TransferError::Reply(format!("{reply:?} came too early"))),
            Err(refused) => refused,
        }
    }

    /// A reply that is no refusal.
    fn understand(&self, body: Bytes) -> Result<SnapshotReply, TransportError> {
        match SnapshotReply::decode(body) {
            Some(SnapshotReply::Refused { reason }) => Err(TransportError::Refused { to: self.to, reason }),
            Some(reply) => Ok(reply),
            None => Err(self.unreachable(TransferError::Reply("it is malformed".to_owned()))),
        }
    }

    /// A step with the receiver.
    async fn within<T, E: Into<Cause>>(
        &self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, TransportError> {
        match timeout(self.stall, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.unreachable(error)),
            Err(_) => Err(self.unreachable(TransferError::Stalled(self.stall))),
        }
    }

    /// A step with this side's own store.
    async fn local<T, E: Into<Cause>>(
        &self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, TransportError> {
        match timeout(self.stall, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(TransportError::Io(error.into())),
            Err(_) => Err(TransportError::Io(TransferError::Stalled(self.stall).into())),
        }
    }

    fn unreachable(&self, cause: impl Into<Cause>) -> TransportError {
        TransportError::Unreachable {
            to: self.to,
            cause: cause.into(),
        }
    }
}

fn frame(kind: FrameKind, body_bytes: usize, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + body_bytes);
    encode_frame(kind, &mut out, body);
    Bytes::from(out)
}
