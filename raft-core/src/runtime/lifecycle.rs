//! How a node ends: once, with one cause, and only when nothing of it runs any more, unless it stops because its disk
//! stands still: what waits for that disk may wait for ever.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::error::NodeError;

/// How a node ended.
pub(super) type End = Result<(), NodeError>;

/// Where a node is between its start and its end.
#[derive(Debug)]
pub(super) struct Lifecycle {
    /// The first cause to stop.
    cause: Mutex<Option<NodeError>>,
    stopping: watch::Sender<bool>,
    ended: watch::Sender<Option<End>>,
    /// Every task and thread holds a clone; when the last one is gone, all have ended.
    alive: Mutex<Option<mpsc::Sender<()>>>,
}

/// Held by every task and thread of a node for as long as it runs.
pub(super) type Alive = mpsc::Sender<()>;

/// Ends when every [`Alive`] is dropped.
pub(super) type AllEnded = mpsc::Receiver<()>;

impl Lifecycle {
    pub(super) fn new() -> (Lifecycle, AllEnded) {
        let (alive, all_ended) = mpsc::channel(1);
        let lifecycle = Lifecycle {
            cause: Mutex::new(None),
            stopping: watch::Sender::new(false),
            ended: watch::Sender::new(None),
            alive: Mutex::new(Some(alive)),
        };
        (lifecycle, all_ended)
    }

    /// The licence to run; none once the node is stopping.
    pub(super) fn alive(&self) -> Option<Alive> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records why the node stops, unless there is a cause already.
    pub(super) fn fail(&self, error: NodeError) {
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.get_or_insert(error);
    }

    /// Whether the node stops because its disk stands still.
    pub(super) fn is_stalled(&self) -> bool {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*cause, Some(NodeError::LogStalled { .. }))
    }

    /// Tells every task to end; from now on none begins.
    pub(super) fn stop(&self) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.stopping.send_replace(true);
    }

    /// Waits for [`Lifecycle::stop`].
    pub(super) async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }

    /// Everything has ended; returns how, for the log.
    pub(super) fn end(&self) -> End {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let end = cause.map_or(Ok(()), Err);
        self.ended.send_replace(Some(end.clone()));
        end
    }

    /// Waits for [`Lifecycle::end`].
    pub(super) async fn ended(&self) -> End {
        let mut ended = self.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await;
        end.ok().and_then(|end| end.clone()).unwrap_or(Ok(()))
    }
}
