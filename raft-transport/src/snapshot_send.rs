//! The sending side of a snapshot: a stream of its own beside the messages, which every message overtakes.
//!
//! | sender | receiver |
//! |---|---|
//! | InstallSnapshot | |
//! | | Continue (offset), or Refused |
//! | SnapshotChunk …, an empty one at the end | Continue (offset) after each that was written |
//! | | Stored, or Refused (also in the middle) |
//!
//! While its store reads again what it has, before the first Continue, or makes all of it durable, before Stored, the receiver says
//! Wait every now and then: neither takes longer than [`patience`].
//!
//! What was sent and is not written yet is bounded by what the way holds, not by what its buffers do: a queue that a snapshot fills
//! is one in which votes and heartbeats wait, whatever their priority.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft_core::message::InstallSnapshot;
use raft_core::traits::{Cause, SnapshotReader, TransportError};
use raft_core::types::NodeId;
use raft_core::wire::{FRAME_HEADER_BYTES, FrameKind, encode_frame, encode_install_snapshot};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::carrier::{Connection, StreamReceiver, StreamSender};
use crate::close_code::CloseCode;
use crate::frame_io::FrameReader;
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
    let rtt = connection.path().rtt.unwrap_or_default();
    let transfer = Transfer {
        to: header.to,
        stall: limits.snapshot_stall_timeout,
        chunk_bytes_max: limits.snapshot_chunk_bytes_max,
        window_bytes: window_bytes(rtt, limits.snapshot_window_bytes_max),
    };
    let (mut sender, receiver) = transfer.within(connection.open_snapshot()).await?;
    let mut replies = FrameReader::new(receiver, transfer.stall);
    let sent = async {
        let begun = transfer.begin(&mut sender, &mut replies, &header, content.as_mut());
        let offset = begun.await?;
        transfer
            .stream(&mut sender, &mut replies, content.as_mut(), offset)
            .await
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
    /// How much may be sent and not yet written.
    window_bytes: u64,
}

/// The least that may be under way: enough to keep both disks and the way of a local network busy.
const WINDOW_BYTES_MIN: u64 = 128 * 1024;
/// The rate that a transfer is to reach on any way, if its other end writes as fast: that of a gigabit link.
const BYTES_PER_SECOND: u64 = 125_000_000;

/// What a way with this round trip holds, measured before the transfer fills it.
fn window_bytes(rtt: Duration, bytes_max: usize) -> u64 {
    let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
    let holds = micros.saturating_mul(BYTES_PER_SECOND / 1_000_000);
    holds.max(WINDOW_BYTES_MIN).min(bytes_max as u64)
}

/// The slowest that a store may read or sync a snapshot.
const STORE_BYTES_PER_SECOND_MIN: u64 = 16 << 20;

/// How long the store of a receiver may take for a snapshot of so many bytes.
pub(crate) fn patience(stall: Duration, bytes: u64) -> Duration {
    stall + Duration::from_secs(bytes / STORE_BYTES_PER_SECOND_MIN)
}

/// How far a transfer is.
struct Way {
    written: AtomicU64,
    /// It grew, or the receiver said that it goes on.
    grew: Notify,
}

impl Transfer {
    /// Announces the snapshot and moves to where the receiver wants to go on. Returns where that is.
    async fn begin<R: StreamReceiver>(
        &self,
        sender: &mut impl StreamSender,
        replies: &mut FrameReader<R>,
        header: &InstallSnapshot,
        content: &mut dyn SnapshotReader,
    ) -> Result<u64, TransportError> {
        let first = frame(FrameKind::InstallSnapshot, 128, |out| {
            encode_install_snapshot(header, content.content(), out);
        });
        self.within(sender.write(&mut [first])).await?;
        let bytes = content.content().bytes;
        let first = timeout(patience(self.stall, bytes), self.first_reply(replies)).await;
        let offset = first.unwrap_or_else(|_| Err(self.unreachable(TransferError::Stalled(self.stall))))?;
        if offset > bytes {
            let error = TransferError::Reply(format!("it has {offset} bytes of a snapshot of {bytes}"));
            return Err(self.unreachable(error));
        }
        self.local(content.seek(offset)).await?;
        Ok(offset)
    }

    /// Where the receiver wants to go on.
    async fn first_reply<R: StreamReceiver>(
        &self,
        replies: &mut FrameReader<R>,
    ) -> Result<u64, TransportError> {
        loop {
            let reply = self.within(replies.next(FrameKind::SnapshotReply, REPLY_BYTES_MAX));
            match self.understand(reply.await?)? {
                SnapshotReply::Wait => {}
                SnapshotReply::Continue { offset } => return Ok(offset),
                _ => return Err(self.unreachable(TransferError::Reply("it began with its end".to_owned()))),
            }
        }
    }

    /// Sends the chunks, and waits for the last word. The receiver may say it at any time: it has refused then.
    async fn stream<R: StreamReceiver>(
        &self,
        sender: &mut impl StreamSender,
        replies: &mut FrameReader<R>,
        content: &mut dyn SnapshotReader,
        offset: u64,
    ) -> Result<(), TransportError> {
        let way = Way {
            written: AtomicU64::new(offset),
            grew: Notify::new(),
        };
        let mut last_word = pin!(self.listen(replies, &way));
        let sent = tokio::select! {
            biased;
            word = &mut last_word => {
                word?;
                return Err(self.unreachable(TransferError::Reply("it ended too early".to_owned())));
            }
            sent = self.send(sender, content, offset, &way) => sent,
        };
        let word = async {
            loop {
                tokio::select! {
                    biased;
                    word = &mut last_word => return Some(word),
                    silence = timeout(self.stall, way.grew.notified()) => {
                        if silence.is_err() {
                            return None;
                        }
                    }
                }
            }
        };
        let bytes = content.content().bytes;
        let word = timeout(patience(self.stall, bytes), word).await.unwrap_or(None);
        match (sent, word) {
            (Ok(()), Some(word)) => word,
            (Ok(()), None) => Err(self.unreachable(TransferError::Stalled(self.stall))),
            // A receiver that no longer reads has said why before.
            (Err(_), Some(Err(refused @ TransportError::Refused { .. }))) => Err(refused),
            (Err(error), _) => Err(error),
        }
    }

    /// Hears how far the receiver is, until its last word.
    async fn listen<R: StreamReceiver>(
        &self,
        replies: &mut FrameReader<R>,
        way: &Way,
    ) -> Result<(), TransportError> {
        loop {
            let reply = replies.next(FrameKind::SnapshotReply, REPLY_BYTES_MAX).await;
            let body = reply.map_err(|error| self.unreachable(error))?;
            match self.understand(body)? {
                SnapshotReply::Continue { offset } => {
                    way.written.store(offset, Ordering::Release);
                    way.grew.notify_one();
                }
                SnapshotReply::Wait => way.grew.notify_one(),
                _ => return Ok(()),
            }
        }
    }

    /// Sends every chunk from `offset` on, and the empty one.
    async fn send(
        &self,
        sender: &mut impl StreamSender,
        content: &mut dyn SnapshotReader,
        offset: u64,
        way: &Way,
    ) -> Result<(), TransportError> {
        let mut sent = offset;
        loop {
            let chunk = self.local(content.read_chunk(self.chunk_bytes_max)).await?;
            let last = chunk.is_empty();
            let mut frame = [frame(FrameKind::SnapshotChunk, chunk.len(), |out| {
                out.extend_from_slice(&chunk);
            })];
            self.within(sender.write(&mut frame)).await?;
            if last {
                return Ok(());
            }
            sent += chunk.len() as u64;
            self.within(async {
                while sent.saturating_sub(way.written.load(Ordering::Acquire)) >= self.window_bytes {
                    way.grew.notified().await;
                }
                Ok::<(), TransferError>(())
            })
            .await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_what_the_way_holds() {
        let window = |rtt_us| window_bytes(Duration::from_micros(rtt_us), 16 << 20);
        assert_eq!(window(0), WINDOW_BYTES_MIN, "as long as nothing is measured");
        assert_eq!(window(300), WINDOW_BYTES_MIN, "a local network");
        assert_eq!(window(10_000), 1_250_000, "a gigabit for ten milliseconds");
        assert_eq!(window(1_000_000), 16 << 20, "the limit");
        assert_eq!(window_bytes(Duration::MAX, 1 << 20), 1 << 20);
    }
}
