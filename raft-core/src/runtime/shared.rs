//! What the tasks and threads of one node share.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::apply::Jobs;
use super::error::NodeError;
use super::inbox::Inbox;
use super::lifecycle::Lifecycle;
use super::pace::Pace;
use super::queue::TaskQueue;
use super::recording::Recording;
use super::waiters::Waiters;
use crate::config::Config;
use crate::effect::Write;
use crate::input::Input;
use crate::message::Message;
use crate::status::Status;
use crate::traits::{LogStore, SnapshotStore, Transport};
use crate::types::NodeId;

/// Shared by all parts of one node.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) inbox: Inbox,
    pub(super) waiters: Waiters,
    /// To the log writer. Bounded by the windows of the protocol and by the driver's limit on unwritten bytes.
    pub(super) writes: TaskQueue<Write>,
    /// To the state machine. Bounded by `apply_bytes_max` and `reads_max`.
    pub(super) jobs: Jobs,
    pub(super) status: watch::Sender<Status>,
    pub(super) lifecycle: Lifecycle,
    pub(super) log_store: Arc<dyn LogStore>,
    pub(super) snapshot_store: Arc<dyn SnapshotStore>,
    pub(super) transport: Arc<dyn Transport>,
    /// How fast snapshots are sent; none if there is no limit.
    pub(super) send_pace: Option<Arc<Pace>>,
    /// How fast the own snapshot is saved; none if there is no limit.
    pub(super) save_pace: Option<Arc<Pace>>,
    pub(super) recording: Recording,
    pub(super) handle: Handle,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.config.id)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Stops the node because of `error`, unless it is stopping already.
    pub(super) fn fail(&self, error: NodeError) {
        self.lifecycle.fail(error);
        self.inbox.stop();
    }

    /// Runs `work` as a task that ends when the node stops.
    pub(super) fn spawn(self: &Arc<Shared>, work: impl Future<Output = ()> + Send + 'static) {
        let Some(alive) = self.lifecycle.alive() else {
            return;
        };
        let shared = self.clone();
        self.handle.spawn(async move {
            let _alive = alive;
            tokio::select! {
                () = shared.lifecycle.stopping() => {}
                () = work => {}
            }
        });
    }

    /// Sends messages, one batch per peer.
    pub(super) fn send_all(&self, messages: &mut Vec<Message>) {
        // A stable sort keeps the order of each peer's messages.
        messages.sort_by_key(|message| message.to);
        let mut batch: Vec<Message> = Vec::new();
        let mut to = NodeId(0);
        for message in messages.drain(..) {
            if message.to != to && !batch.is_empty() {
                self.transport.send(to, std::mem::take(&mut batch));
            }
            to = message.to;
            batch.push(message);
        }
        if !batch.is_empty() {
            self.transport.send(to, batch);
        }
    }
}

/// The answer that a task owes to the replica. Given also when the task fails, panics or is cancelled: a replica that
/// never hears of a transfer again would wait for ever (R49).
pub(super) struct Answer {
    shared: Arc<Shared>,
    answer: Option<Input>,
}

impl Answer {
    /// An answer that is `failure` unless the task [succeeds](Answer::succeed).
    pub(super) fn new(shared: &Arc<Shared>, failure: Input) -> Answer {
        Answer {
            shared: shared.clone(),
            answer: Some(failure),
        }
    }

    pub(super) fn succeed(mut self, success: Input) {
        self.answer = Some(success);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.shared.inbox.complete(self.answer.take());
    }
}

/// Stops the node if the part that holds it panics.
pub(super) struct PanicGuard {
    pub(super) shared: Arc<Shared>,
    pub(super) part: &'static str,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(NodeError::Panicked(self.part));
        }
    }
}
