//! How a host ends: once, with one cause, and only when nothing of it runs any more, unless it stops because its disk
//! stands still: what waits for that disk may wait for ever.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::error::NodeError;

/// How a host or a group ended.
pub(super) type End = Result<(), NodeError>;

/// Where a host is between its start and its end.
#[derive(Debug)]
pub(super) struct Lifecycle {
    /// The first cause to stop.
    cause: Mutex<Option<NodeError>>,
    ended: watch::Sender<Option<End>>,
    /// Every task, thread and group holds a clone; when the last one is gone, all have ended.
    alive: Mutex<Option<mpsc::Sender<()>>>,
}

/// Held by every task, thread and group of a host for as long as it runs.
pub(super) type HostAlive = mpsc::Sender<()>;

/// Ends when every [`HostAlive`] is dropped.
pub(super) type AllEnded = mpsc::Receiver<()>;

impl Lifecycle {
    pub(super) fn new() -> (Lifecycle, AllEnded) {
        let (alive, all_ended) = mpsc::channel(1);
        let lifecycle = Lifecycle {
            cause: Mutex::new(None),
            ended: watch::Sender::new(None),
            alive: Mutex::new(Some(alive)),
        };
        (lifecycle, all_ended)
    }

    /// The licence to run; none once the host is stopping.
    pub(super) fn alive(&self) -> Option<HostAlive> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records why the host stops, unless there is a cause already.
    pub(super) fn fail(&self, error: NodeError) {
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.get_or_insert(error);
    }

    /// Why the host stops, if that is a failure.
    pub(super) fn cause(&self) -> Option<NodeError> {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.clone()
    }

    /// Whether the host stops because its disk stands still.
    pub(super) fn is_stalled(&self) -> bool {
        matches!(self.cause(), Some(NodeError::LogStalled { .. }))
    }

    /// From now on nothing begins.
    pub(super) fn stop(&self) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether nothing may begin any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Everything has ended; returns how, for the log.
    pub(super) fn end(&self) -> End {
        let end = self.cause().map_or(Ok(()), Err);
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
