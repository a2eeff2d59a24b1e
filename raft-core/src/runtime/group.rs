//! What belongs to one group, and how a group ends: once, and only when nothing of it runs any more.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::apply::Applying;
use super::error::NodeError;
use super::lifecycle::{End, HostAlive};
use super::recording::Recording;
use super::shared::HostShared;
use super::waiters::{Waiter, Waiters};
use crate::config::Config;
use crate::input::Input;
use crate::request::RefusalReason;
use crate::sessions::ReplicatedState;
use crate::status::Status;
use crate::types::GroupId;

/// The replica of one group on this host: what its handles, its worker and its tasks share. The replica itself is its
/// worker's alone.
pub(super) struct Group {
    pub(super) host: Arc<HostShared>,
    pub(super) config: Arc<Config>,
    /// Tells it from an earlier one with the same id, whose completions may be late.
    pub(super) key: Key,
    pub(super) waiters: Waiters,
    /// The bytes of clients' requests that the worker has not taken yet.
    waiting_bytes: AtomicUsize,
    pub(super) applying: Applying,
    /// A snapshot is being received.
    pub(super) receiving: AtomicBool,
    pub(super) recording: Recording,
    pub(super) status: watch::Sender<Status>,
    phase: watch::Sender<Phase>,
    life: Mutex<Life>,
}

/// Names one replica for as long as its host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) group: GroupId,
    pub(super) serial: u64,
}

/// Where a group is between its start and its end.
#[derive(Clone, Debug)]
enum Phase {
    Runs,
    Stops,
    Ended(End),
}

#[derive(Debug, Default)]
struct Life {
    /// The first cause to stop.
    cause: Option<NodeError>,
    alive: Option<Alive>,
    /// It was asked to stop, maybe before its worker has the replica.
    is_stopping: bool,
}

/// Held by everything of a group that runs, for as long as it does. The group ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct Alive(Arc<Ending>);

#[derive(Debug)]
struct Ending {
    group: Arc<Group>,
    _host: HostAlive,
}

impl Deref for Alive {
    type Target = Arc<Group>;

    fn deref(&self) -> &Arc<Group> {
        &self.0.group
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.group.end();
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.config.id)
            .field("group", &self.config.group)
            .finish_non_exhaustive()
    }
}

/// The replica in a log: with its group where there may be several.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { id, group, .. } = &*self.config;
        if self.host.is_sole {
            write!(f, "node {id}")
        } else {
            write!(f, "node {id} of group {group}")
        }
    }
}

impl Group {
    /// A group that runs; nothing of it does if the host is stopping.
    pub(super) fn start(
        host: &Arc<HostShared>,
        config: Arc<Config>,
        serial: u64,
        state: ReplicatedState,
        (status, recording): (Status, Recording),
    ) -> Result<Alive, NodeError> {
        let Some(host_alive) = host.lifecycle.alive() else {
            return Err(NodeError::HostStopped);
        };
        let group = Arc::new(Group {
            host: host.clone(),
            key: Key {
                group: config.group,
                serial,
            },
            config,
            waiters: Waiters::default(),
            waiting_bytes: AtomicUsize::new(0),
            applying: Applying::new(state),
            receiving: AtomicBool::new(false),
            recording,
            status: watch::Sender::new(status),
            phase: watch::Sender::new(Phase::Runs),
            life: Mutex::default(),
        });
        let alive = Alive(Arc::new(Ending {
            group: group.clone(),
            _host: host_alive,
        }));
        group.life().alive = Some(alive.clone());
        Ok(alive)
    }

    /// The licence to run; none once the group is stopping.
    pub(super) fn alive(&self) -> Option<Alive> {
        self.life().alive.clone()
    }

    /// Stops the group because of `error`, unless it is stopping already.
    pub(super) fn fail(&self, error: NodeError) {
        if self.host.is_sole {
            self.host.fail(error);
            return;
        }
        self.life().cause.get_or_insert(error);
        self.stop();
    }

    /// Asks the worker to let go of the replica, with which the group ends.
    pub(super) fn stop(&self) {
        if self.host.is_sole {
            self.host.stop();
        } else {
            // First: a worker that gets the replica only afterwards finds this, and any other one the call.
            self.life().is_stopping = true;
            self.host.inbox_of(self.config.group).detach(self.key);
        }
    }

    /// Whether it was asked to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.life().is_stopping
    }

    /// The worker let go of the replica: nothing of the group begins from now on.
    pub(super) fn replica_stopped(&self) {
        let alive = self.life().alive.take();
        // Whoever runs sees that it shall end.
        self.phase.send_if_modified(|phase| {
            let runs = matches!(phase, Phase::Runs);
            if runs {
                *phase = Phase::Stops;
            }
            runs
        });
        if let Some(alive) = alive {
            self.applying.close(alive);
        }
    }

    /// Nothing of the group runs any more, or the host does not wait for what does.
    pub(super) fn end(&self) {
        // Dropped without the lock: this may be the last one.
        let alive = self.life().alive.take();
        drop(alive);
        if matches!(*self.phase.borrow(), Phase::Ended(_)) {
            return;
        }
        self.waiters.resolve_all_stopped();
        let own = self.life().cause.take();
        let end = own.or_else(|| self.host.lifecycle.cause()).map_or(Ok(()), Err);
        if !self.host.is_sole {
            match &end {
                Ok(()) => tracing::info!("{self} stopped"),
                Err(error) => tracing::error!("{self} stopped: {error}"),
            }
            if !self.host.lifecycle.is_stopping() {
                self.host.transport.group_left(self.config.group);
            }
        }
        // Only now: who opens the group again tells the transport its members.
        self.host.directory.ended(self);
        self.phase.send_replace(Phase::Ended(end));
    }

    /// Waits for the end: of the host, if it has only this group.
    pub(super) async fn ended(&self) -> End {
        if self.host.is_sole {
            return self.host.lifecycle.ended().await;
        }
        let mut phase = self.phase.subscribe();
        let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended(_))).await;
        match ended.as_deref() {
            Ok(Phase::Ended(end)) => end.clone(),
            // The sender lives as long as `self`.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Tells the replica what one of its tasks did; the replica may be gone.
    pub(super) fn complete(&self, inputs: impl IntoIterator<Item = Input>) {
        self.host.inbox_of(self.config.group).complete(self.key, inputs);
    }

    /// Runs `work` as a task that ends when the group stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(alive) = self.alive() else {
            return;
        };
        self.host.handle.spawn(async move {
            let mut phase = alive.phase.subscribe();
            tokio::select! {
                _ = phase.wait_for(|phase| !matches!(phase, Phase::Runs)) => {}
                () = work => {}
            }
            drop(phase);
            drop(alive);
        });
    }

    /// Makes room for a request that waits for the worker; one always passes when there are none.
    pub(super) fn admit_bytes(&self, bytes: usize) -> Result<(), RefusalReason> {
        let fits = |before: usize| {
            let after = before.saturating_add(bytes);
            (before == 0 || after <= self.config.uncommitted_bytes_max).then_some(after)
        };
        let admitted = self
            .waiting_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        admitted.map(drop).map_err(|_| RefusalReason::Busy)
    }

    /// The worker took requests, or they were refused.
    pub(super) fn release_bytes(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Answers clients whose requests this group cannot take any more.
    pub(super) fn refuse_stopped(&self, waiters: impl IntoIterator<Item = Waiter>) {
        self.waiters.refuse(waiters, RefusalReason::Stopped);
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        // No change above can stop halfway.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer that a task owes to the replica. Given also when the task fails, panics or is cancelled: a replica that
/// never hears of a transfer again would wait for ever (R49).
pub(super) struct Answer {
    group: Arc<Group>,
    answer: Option<Input>,
}

impl Answer {
    /// An answer that is `failure` unless the task [succeeds](Answer::succeed).
    pub(super) fn new(group: &Arc<Group>, failure: Input) -> Answer {
        Answer {
            group: group.clone(),
            answer: Some(failure),
        }
    }

    pub(super) fn succeed(mut self, success: Input) {
        self.answer = Some(success);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.group.complete(self.answer.take());
    }
}
