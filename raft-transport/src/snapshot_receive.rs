//! The receiving side of snapshots: one task for each stream, as many at once as there are permits.
//!
//! Whatever goes wrong with a snapshot ends its stream. Only a forged or malformed frame ends the connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use raft_core::message::{InstallSnapshot, SnapshotContent};
use raft_core::traits::{Inbound, SnapshotWriter};
use raft_core::wire::{FrameKind, decode_install_snapshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::carrier::{Carrier, Connection, StreamReceiver, StreamSender};
use crate::close_code::CloseCode;
use crate::connection::{Ends, LinkError};
use crate::frame_io::{FrameError, FrameReader};
use crate::protocol::SnapshotReply;
use crate::shared::Shared;
use crate::snapshot_send::patience;

/// How a snapshot stream ended badly.
enum StreamError {
    /// The sender shall know why.
    Refuse(String),
    /// The sender gave up or is silent: there is nobody to tell.
    Gone(String),
    /// The connection must end.
    Connection(LinkError),
}

/// Serves the peer's snapshot streams until the connection ends.
pub(crate) async fn accept_snapshots<C: Carrier>(
    shared: Arc<Shared<C>>,
    connection: C::Connection,
    ends: Ends,
    inbound: Arc<dyn Inbound>,
) -> Result<Infallible, LinkError> {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = streams.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(panic) => return Err(LinkError::Task(panic.to_string())),
            },
            accepted = connection.accept_snapshot() => {
                let (sender, receiver) = accepted.map_err(|error| FrameError::ended(&error))?;
                let serve = serve(shared.clone(), ends, inbound.clone(), sender, receiver);
                // The set ends it with the connection; the tracker makes `shutdown` wait until it has ended.
                streams.spawn(shared.tasks.track_future(serve));
            }
        }
    }
}

async fn serve<C: Carrier, S: StreamSender, R: StreamReceiver>(
    shared: Arc<Shared<C>>,
    ends: Ends,
    inbound: Arc<dyn Inbound>,
    mut sender: S,
    receiver: R,
) -> Result<(), LinkError> {
    let stall = shared.limits.snapshot_stall_timeout;
    let mut stream = Stream {
        frames: FrameReader::new(receiver, stall),
        stall,
        frame_bytes_max: shared.limits.frame_bytes_max,
    };
    let reply = match stream.receive(&shared, ends, inbound, &mut sender).await {
        Ok(()) => SnapshotReply::Stored,
        Err(StreamError::Refuse(reason)) => {
            tracing::warn!(peer = %ends.peer, %reason, "snapshot refused");
            SnapshotReply::Refused { reason }
        }
        Err(StreamError::Gone(reason)) => {
            tracing::info!(peer = %ends.peer, %reason, "snapshot transfer ended early");
            sender.reset(CloseCode::SnapshotAborted);
            return Ok(());
        }
        Err(StreamError::Connection(error)) => return Err(error),
    };
    // Nobody is harmed if the sender no longer listens.
    let _ = timeout(stall, sender.write(&mut [reply.encode()])).await;
    sender.finish();
    // After the reply, so that a sender which notices the stop finds it.
    stream.frames.stream_mut().stop(CloseCode::SnapshotAborted);
    Ok(())
}

struct Stream<R> {
    frames: FrameReader<R>,
    stall: Duration,
    frame_bytes_max: usize,
}

impl<R: StreamReceiver> Stream<R> {
    async fn receive<C: Carrier>(
        &mut self,
        shared: &Shared<C>,
        ends: Ends,
        inbound: Arc<dyn Inbound>,
        sender: &mut impl StreamSender,
    ) -> Result<(), StreamError> {
        let (header, identity) = self.header(ends).await?;
        let Ok(permit) = shared.snapshot_permits.clone().try_acquire_owned() else {
            let count = shared.limits.inbound_snapshots_max;
            return Err(StreamError::Refuse(format!(
                "busy: {count} snapshots are being received already"
            )));
        };
        let begun = self.while_it_waits(sender, inbound.begin_snapshot(&header, identity));
        let begun = timeout(patience(self.stall, identity.bytes), begun).await;
        let begun = begun.map_err(|_| self.store_stalled())??;
        let mut content = begun.map_err(|error| StreamError::Refuse(error.to_string()))?;
        self.go_on(content.offset(), sender).await?;
        self.store(content.as_mut(), identity.bytes, sender).await?;
        // What is written becomes durable and known even if the sender no longer waits, or the connection ends.
        let stop = shared.stop.clone();
        let finish = shared.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                finished = inbound.finish_snapshot(header, content) => finished.map_err(|error| error.to_string()),
                () = stop.cancelled() => Err("this node stops".to_owned()),
            }
        });
        let finished = self.while_it_waits(sender, finish).await?;
        finished
            .unwrap_or_else(|panic| Err(panic.to_string()))
            .map_err(StreamError::Refuse)
    }

    /// Tells the sender now and then that the store is at work.
    async fn while_it_waits<T>(
        &self,
        sender: &mut impl StreamSender,
        work: impl Future<Output = T>,
    ) -> Result<T, StreamError> {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = timeout(self.stall / 4, &mut work).await {
                return Ok(done);
            }
            self.say(&SnapshotReply::Wait, sender).await?;
        }
    }

    async fn header(&mut self, ends: Ends) -> Result<(InstallSnapshot, SnapshotContent), StreamError> {
        let body = self
            .frames
            .next_within(FrameKind::InstallSnapshot, self.frame_bytes_max, self.stall)
            .await
            .map_err(stream_error)?;
        let (header, identity) =
            decode_install_snapshot(body).map_err(|error| StreamError::Connection(LinkError::Wire(error)))?;
        ends.check(header.from, header.to)
            .map_err(StreamError::Connection)?;
        Ok((header, identity))
    }

    /// Takes chunks until the empty one, `bytes` in all. Dropping the writer on the way keeps what it has, for the next attempt.
    async fn store(
        &mut self,
        content: &mut dyn SnapshotWriter,
        bytes: u64,
        sender: &mut impl StreamSender,
    ) -> Result<(), StreamError> {
        loop {
            let chunk = self
                .frames
                .next_within(FrameKind::SnapshotChunk, self.frame_bytes_max, self.stall)
                .await
                .map_err(stream_error)?;
            if chunk.is_empty() {
                return Ok(());
            }
            if content.offset().saturating_add(chunk.len() as u64) > bytes {
                return Err(StreamError::Refuse(format!(
                    "more arrives than the {bytes} bytes that were announced"
                )));
            }
            timeout(self.stall, content.write_chunk(chunk))
                .await
                .map_err(|_| self.store_stalled())?
                .map_err(|error| StreamError::Refuse(error.to_string()))?;
            self.go_on(content.offset(), sender).await?;
        }
    }

    /// Tells the sender that everything up to `offset` is written.
    async fn go_on(&self, offset: u64, sender: &mut impl StreamSender) -> Result<(), StreamError> {
        self.say(&SnapshotReply::Continue { offset }, sender).await
    }

    async fn say(&self, reply: &SnapshotReply, sender: &mut impl StreamSender) -> Result<(), StreamError> {
        timeout(self.stall, sender.write(&mut [reply.encode()]))
            .await
            .map_err(|_| StreamError::Gone("the sender does not read".to_string()))?
            .map_err(|error| StreamError::Gone(error.to_string()))
    }

    fn store_stalled(&self) -> StreamError {
        StreamError::Refuse(format!(
            "the receiver's store did not answer for {:?}",
            self.stall
        ))
    }
}

fn stream_error(error: FrameError) -> StreamError {
    match error {
        FrameError::Ended(_) | FrameError::TooSlow(_) | FrameError::Silent(_) => {
            StreamError::Gone(error.to_string())
        }
        FrameError::Malformed(_) | FrameError::Unexpected(_) => {
            StreamError::Connection(LinkError::Frame(error))
        }
    }
}
