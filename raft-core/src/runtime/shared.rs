//! What the groups of one host share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::apply::Appliers;
use super::budget::Budget;
use super::directory::Directory;
use super::error::NodeError;
use super::inbox::Inbox;
use super::lifecycle::Lifecycle;
use super::pace::Pace;
use super::queue::TaskQueue;
use super::writer::PendingWrite;
use crate::message::Message;
use crate::pulse::PulseInput;
use crate::traits::{LogStore, SnapshotStore, Transport};
use crate::types::{GroupId, NodeId, Time};

/// Shared by all parts of one host.
pub(super) struct HostShared {
    pub(super) id: NodeId,
    pub(super) clock: Clock,
    pub(super) directory: Directory,
    /// One for each worker. A group belongs to one of them.
    pub(super) inboxes: Vec<Inbox>,
    /// To the log writer. Bounded by the windows of the protocol and by the drivers' limits on unwritten bytes.
    pub(super) writes: TaskQueue<PendingWrite>,
    pub(super) appliers: Appliers,
    /// To the watch over other nodes. Bounded by how often replicas fall asleep, and by a limit on pulses.
    pub(super) pulses: TaskQueue<PulseInput>,
    pub(super) lifecycle: Lifecycle,
    pub(super) log_store: Arc<dyn LogStore>,
    /// The log store never waits: the workers call it themselves.
    pub(super) writes_here: bool,
    pub(super) snapshot_store: Arc<dyn SnapshotStore>,
    pub(super) transport: Arc<dyn Transport>,
    /// The bytes of commands that are not answered; none if only the groups have limits.
    pub(super) budget: Option<Arc<Budget>>,
    /// How long a write of the log may take; none if it may take for ever.
    pub(super) write_stall_max: Option<Duration>,
    /// How fast snapshots are sent; none if there is no limit.
    pub(super) send_pace: Option<Arc<Pace>>,
    /// How fast own snapshots are saved; none if there is no limit.
    pub(super) save_pace: Option<Arc<Pace>>,
    /// How many more snapshots may be sent at once.
    pub(super) transfers: Semaphore,
    pub(super) handle: Handle,
    /// The host has one group and ends with it.
    pub(super) is_sole: bool,
    /// Tells the replicas that one group had here apart.
    pub(super) next_serial: AtomicU64,
    /// Messages and snapshots of groups that are not here.
    pub(super) unknown_group_messages: AtomicU64,
}

impl fmt::Debug for HostShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostShared")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl HostShared {
    /// Which worker owns `group`.
    pub(super) fn worker_of(&self, group: GroupId) -> usize {
        if self.inboxes.len() == 1 {
            return 0;
        }
        // Groups are often numbered in steps; the upper half of the product depends on every bit.
        let mixed = u128::from(group.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * self.inboxes.len() as u128;
        usize::try_from(mixed >> 64).unwrap_or(0)
    }

    /// The inbox of the worker that owns `group`.
    pub(super) fn inbox_of(&self, group: GroupId) -> &Inbox {
        &self.inboxes[self.worker_of(group)]
    }

    /// Stops the host, and all groups with it, because of `error`, unless it is stopping already.
    pub(super) fn fail(&self, error: NodeError) {
        self.lifecycle.fail(error);
        self.stop();
    }

    /// Stops the host and all groups.
    pub(super) fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.stop();
        }
    }

    pub(super) fn count_unknown_group(&self) {
        self.unknown_group_messages.fetch_add(1, Ordering::Relaxed);
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

/// The monotonic clock of a host, as the core sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock {
            origin: Instant::now(),
        }
    }

    pub(super) fn now(self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// None if that is never.
    pub(super) fn instant(self, time: Time) -> Option<Instant> {
        self.origin.checked_add(time.since(Time::ZERO))
    }

    pub(super) fn origin(self) -> Instant {
        self.origin
    }
}
