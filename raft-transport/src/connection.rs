//! A proven connection at work: for each lane one task that reads messages and one that writes them, and one for each
//! snapshot.
//!
//! A task that reads hands what it decoded straight to the inbound, and one that writes is woken straight by `send`, if that
//! does not write itself: there is no other task or queue in between.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use raft_core::message::Lane;
use raft_core::traits::Inbound;
use raft_core::types::NodeId;
use raft_core::wire::{FrameKind, WireError, decode_messages};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::carrier::{Carrier, Connection, StreamReceiver};
use crate::close_code::CloseCode;
use crate::frame_io::{FrameError, FrameReader};
use crate::handshake::Established;
use crate::lanes::Turns;
use crate::peer::{Link, Peer};
use crate::queue::Turn;
use crate::shared::Shared;
use crate::silence::watch_silence;
use crate::snapshot_receive::accept_snapshots;

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// The other end is gone, or closed the connection, or was replaced.
    #[error("{0}")]
    Lost(String),
    /// Nothing arrives in one lane, although the other end is there.
    #[error("nothing arrived in its {0:?} lane for {1:?}, though the other end is there")]
    LaneLost(Lane, Duration),
    /// The peer sent something that no honest peer sends.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The body of a frame is no batch of messages.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A message or a snapshot does not name the two ends of the connection.
    #[error("it sent something from node {from} to node {to} over the connection of nodes {peer} and {own}")]
    Forged {
        /// Whom the message names as its sender.
        from: NodeId,
        /// Whom it names as its receiver.
        to: NodeId,
        /// Who the connection's other end is.
        peer: NodeId,
        /// This node.
        own: NodeId,
    },
    /// A task of the connection panicked.
    #[error("a task of the connection failed: {0}")]
    Task(String),
    /// The peer was removed or the transport stops.
    #[error("this side closed it")]
    Stopped,
}

impl LinkError {
    /// What to tell the other end, and whether it did something that an honest peer does not.
    fn close_code(&self) -> (CloseCode, bool) {
        match self {
            LinkError::Lost(_) | LinkError::Frame(FrameError::Ended(_)) | LinkError::Task(_) => {
                (CloseCode::Shutdown, false)
            }
            LinkError::Stopped | LinkError::LaneLost(..) => (CloseCode::Shutdown, false),
            LinkError::Frame(FrameError::TooSlow(_) | FrameError::Silent(_)) => (CloseCode::TooSlow, true),
            LinkError::Frame(_) | LinkError::Wire(_) => (CloseCode::Protocol, true),
            LinkError::Forged { .. } => (CloseCode::Forged, true),
        }
    }
}

/// Whether something names exactly the two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) own: NodeId,
    pub(crate) peer: NodeId,
}

impl Ends {
    pub(crate) fn check(self, from: NodeId, to: NodeId) -> Result<(), LinkError> {
        if from == self.peer && to == self.own {
            return Ok(());
        }
        Err(LinkError::Forged {
            from,
            to,
            peer: self.peer,
            own: self.own,
        })
    }
}

/// Installs the connection and works on it until it ends; then nothing of it is left.
pub(crate) async fn run<C: Carrier>(
    shared: Arc<Shared<C>>,
    peer: Arc<Peer<C::Connection>>,
    established: Established<C::Connection>,
) {
    let connection = established.connection.clone();
    let Some(inbound) = shared.inbound.get().cloned() else {
        // Unreachable: no task runs before `start` has set it.
        return connection.close(CloseCode::Shutdown);
    };
    let turns = peer.install(Link {
        connection: connection.clone(),
        incarnation: established.incarnation,
    });
    // The certificates may have been read again since the handshake, and this connection not been looked at: only now would it.
    if let Err(reason) = shared.accepts(&connection) {
        connection.close(CloseCode::Identity);
        peer.uninstall(&connection);
        return shared.warnings.refused(&connection.remote_address(), &reason);
    }
    tracing::info!(peer = %peer.id, address = %connection.remote_address(), "connected");
    let mut tasks = begin(&shared, &peer, established, turns, inbound);
    let error = tokio::select! {
        () = peer.stop.cancelled() => LinkError::Stopped,
        first = tasks.join_next() => match first {
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => LinkError::Task(panic.to_string()),
            Some(Ok(Ok(never))) => match never {},
            None => LinkError::Stopped,
        },
    };
    let (code, dishonest) = match &error {
        LinkError::Stopped if !shared.stop.is_cancelled() => (CloseCode::NotAPeer, false),
        error => error.close_code(),
    };
    let lost = connection.close_reason();
    connection.close(code);
    peer.uninstall(&connection);
    if dishonest {
        let who = format!("node {} at {}", peer.id, connection.remote_address());
        shared.warnings.refused(&who, &error);
    } else {
        let reason = lost.map_or_else(|| error.to_string(), |lost| lost.to_string());
        tracing::info!(peer = %peer.id, %reason, "disconnected");
    }
    tasks.shutdown().await;
}

/// Begins the tasks of a connection.
fn begin<C: Carrier>(
    shared: &Arc<Shared<C>>,
    peer: &Arc<Peer<C::Connection>>,
    established: Established<C::Connection>,
    turns: Turns,
    inbound: Arc<dyn Inbound>,
) -> JoinSet<Result<Infallible, LinkError>> {
    let Established {
        connection,
        senders,
        readers,
        ..
    } = established;
    let ends = Ends {
        own: shared.id,
        peer: peer.id,
    };
    let mut tasks = JoinSet::new();
    let heard = readers.iter().map(|(lane, reader)| (*lane, reader.heard()));
    tasks.spawn(watch_silence(
        shared.clone(),
        peer.clone(),
        connection.clone(),
        heard.collect(),
    ));
    for (_, reader) in readers {
        tasks.spawn(read_messages(shared.clone(), reader, ends, inbound.clone()));
    }
    for (lane, sender) in senders {
        tasks.spawn(write_messages(
            sender,
            lane,
            turns.of(lane),
            connection.clone(),
            peer.clone(),
        ));
    }
    tasks.spawn(accept_snapshots(
        shared.clone(),
        connection.clone(),
        ends,
        inbound,
    ));
    tasks
}

/// Delivers every frame with one call. Nothing of a frame is delivered if anything in it is wrong.
async fn read_messages<C: Carrier, R: StreamReceiver>(
    shared: Arc<Shared<C>>,
    mut reader: FrameReader<R>,
    ends: Ends,
    inbound: Arc<dyn Inbound>,
) -> Result<Infallible, LinkError> {
    let frame_bytes_max = shared.limits.frame_bytes_max;
    loop {
        let body = reader.next(FrameKind::Messages, frame_bytes_max).await?;
        let messages = decode_messages(body)?;
        for message in &messages {
            ends.check(message.from, message.to)?;
        }
        if !messages.is_empty() {
            inbound.receive(ends.peer, messages);
        }
    }
}

/// Writes everything that waits, as one frame for each wake-up as long as it fits into one.
async fn write_messages<N: Connection>(
    mut stream: N::Sender,
    lane: Lane,
    turn: Turn,
    connection: N,
    peer: Arc<Peer<N>>,
) -> Result<Infallible, LinkError> {
    let queue = peer.lanes.queue(lane);
    let mut closed = pin!(connection.closed());
    loop {
        // First whether it is closed: the messages may belong to the connection that took over.
        let mut work = tokio::select! {
            biased;
            error = &mut closed => return Err(LinkError::Lost(error.to_string())),
            work = queue.work(turn, stream) => work,
        };
        if let Err(error) = work.write().await {
            queue.count_dropped(work.batch.messages.len());
            return Err(LinkError::Lost(error.to_string()));
        }
        stream = work.stream;
    }
}
