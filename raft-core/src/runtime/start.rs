//! How a host and its groups start, and how a host ends when its parts have.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{error::Elapsed, timeout};

use super::apply::Appliers;
use super::budget::Budget;
use super::directory::{Claim, Directory};
use super::error::NodeError;
use super::group::Group;
use super::inbound::HostInbound;
use super::inbox::Inbox;
use super::lifecycle::{AllEnded, Lifecycle};
use super::options::{GroupOptions, HostOptions, NodeOptions};
use super::pace::Pace;
use super::pulses;
use super::queue::TaskQueue;
use super::recording::Recording;
use super::replica::Replica;
use super::shared::{Clock, HostShared};
use super::snapshots;
use super::worker::Worker;
use super::writer;
use crate::config::Config;
use crate::driver::Driver;
use crate::effect::LogChange;
use crate::membership::Membership;
use crate::message::{PULSE_GROUP, SnapshotMeta};
use crate::pulse::PulseSettings;
use crate::raft::Raft;
use crate::sessions::ReplicatedState;
use crate::traits::{GroupWrite, Recovered};
use crate::types::{EntryId, GroupId};

/// How long a host whose disk stands still waits for what uses that disk.
const STALLED_END_TIMEOUT: Duration = Duration::from_secs(2);

/// What the log store may have of a group that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing.
    New,
    /// Something.
    Stored,
    /// Either.
    Any,
}

/// Starts a host without groups.
pub(super) async fn start_host(options: HostOptions) -> Result<Arc<HostShared>, NodeError> {
    options.validate()?;
    let pulse = pulse_settings(&options);
    let (host, all_ended) = prepare_host(options, false);
    host.transport.start(Arc::new(HostInbound::new(&host))).await?;
    run(&host, pulse, all_ended);
    Ok(host)
}

/// Starts a host that has one group and ends with it.
pub(super) async fn start_node(options: NodeOptions) -> Result<Arc<Group>, NodeError> {
    let (host_options, group_options) = options.split();
    let id = group_options.config.group;
    let pulse = pulse_settings(&host_options);
    let (host, all_ended) = prepare_host(host_options, true);
    let claim = claim(&host, &group_options.config)?;
    // Before anybody can connect: whoever is a member must not find that nobody knows him.
    let replica = prepare_group(&host, group_options, Origin::Any).await?;
    let group = place(claim, replica)?;
    if let Err(error) = host.transport.start(Arc::new(HostInbound::new(&host))).await {
        host.appliers.close();
        drop(host.inbox_of(id).close());
        return Err(error.into());
    }
    run(&host, pulse, all_ended);
    Ok(group)
}

/// Starts a group on a host that runs. It goes on if nobody waits for it: else somebody could open the group a second time while
/// the first one restores its state.
pub(super) async fn start_group(
    host: &Arc<HostShared>,
    options: GroupOptions,
    origin: Origin,
) -> Result<Arc<Group>, NodeError> {
    let task_host = host.clone();
    let start = async move {
        let claim = claim(&task_host, &options.config)?;
        let replica = prepare_group(&task_host, options, origin).await?;
        place(claim, replica)
    };
    unless_stopping(host, start, NodeError::Panicked("state machine")).await
}

/// Ends a group, and makes sure that it never comes back. It goes on if nobody waits for its end: else the store could destroy what
/// somebody opened meanwhile.
pub(super) async fn destroy_group(host: &Arc<HostShared>, id: GroupId) -> Result<(), NodeError> {
    check_id(id)?;
    let task_host = host.clone();
    let destroy = async move { evict_and_destroy(&task_host, id).await };
    unless_stopping(host, destroy, NodeError::Panicked("log store")).await
}

/// Does `work` to its end, before which the host does not end either.
async fn unless_stopping<T: Send + 'static>(
    host: &HostShared,
    work: impl Future<Output = Result<T, NodeError>> + Send + 'static,
    if_it_panics: NodeError,
) -> Result<T, NodeError> {
    // Before anything is written.
    let Some(alive) = host.lifecycle.alive() else {
        return Err(NodeError::HostStopped);
    };
    let working = host.handle.spawn(async move {
        let _alive = alive;
        work.await
    });
    working.await.unwrap_or(Err(if_it_panics))
}

async fn evict_and_destroy(host: &HostShared, id: GroupId) -> Result<(), NodeError> {
    let (claim, running) = host.directory.evict(id)?;
    if let Some(group) = running {
        group.fail(NodeError::GroupDestroyed(id));
        // Nothing of it is under way any more, and what is late finds no group.
        drop(group.ended().await);
    }
    if let Err(error) = host.log_store.destroy(id).await {
        let error = NodeError::from(error);
        host.fail(error.clone());
        return Err(error);
    }
    host.snapshot_store.destroy(id).await?;
    drop(claim);
    Ok(())
}

fn check_id(id: GroupId) -> Result<(), NodeError> {
    if id == PULSE_GROUP {
        return Err(NodeError::GroupReserved(id));
    }
    Ok(())
}

fn claim<'a>(host: &'a HostShared, config: &Config) -> Result<Claim<'a>, NodeError> {
    config.validate()?;
    check_id(config.group)?;
    if config.id != host.id {
        return Err(NodeError::OtherNode {
            replica: config.id,
            host: host.id,
        });
    }
    host.directory.claim(config.group)
}

/// Gives the replica to its worker.
fn place(claim: Claim<'_>, replica: Replica) -> Result<Arc<Group>, NodeError> {
    let group = replica.group().clone();
    claim.fill(&group);
    let attached = group.host.inbox_of(group.config.group).attach(Box::new(replica));
    match attached {
        Ok(()) => Ok(group),
        Err(replica) => {
            drop(replica);
            Err(NodeError::HostStopped)
        }
    }
}

fn pulse_settings(options: &HostOptions) -> PulseSettings {
    PulseSettings {
        node: options.id,
        incarnation: incarnation(),
        interval: options.heartbeat_interval,
        timeout: options.election_timeout,
    }
}

fn prepare_host(options: HostOptions, is_sole: bool) -> (Arc<HostShared>, AllEnded) {
    let (lifecycle, all_ended) = Lifecycle::new();
    let workers = options.workers.max(1);
    let transfers_max = options.snapshot_transfers_max.max(1);
    let pace = || Pace::new(options.snapshot_bytes_per_second, transfers_max);
    let host = HostShared {
        id: options.id,
        clock: Clock::new(),
        directory: Directory::default(),
        inboxes: (0..workers).map(|_| Inbox::default()).collect(),
        writes: TaskQueue::new(),
        pulses: TaskQueue::new(),
        appliers: Appliers::new(options.apply_threads, workers),
        lifecycle,
        writes_here: !options.log_store.may_block(),
        budget: options
            .proposal_bytes_max
            .map(|bytes_max| Arc::new(Budget::new(bytes_max))),
        write_stall_max: options.write_stall_max,
        send_pace: pace(),
        save_pace: pace(),
        transfers: Semaphore::new(transfers_max.min(Semaphore::MAX_PERMITS)),
        handle: Handle::current(),
        is_sole,
        next_serial: AtomicU64::new(0),
        unknown_group_messages: AtomicU64::new(0),
        log_store: options.log_store,
        snapshot_store: options.snapshot_store,
        transport: options.transport,
    };
    (Arc::new(host), all_ended)
}

/// Starts the tasks of a host.
fn run(host: &Arc<HostShared>, pulse: PulseSettings, all_ended: AllEnded) {
    writer::spawn(host);
    pulses::spawn(host, pulse);
    let mut workers = JoinSet::new();
    for index in 0..host.inboxes.len() {
        workers.spawn_on(Worker::new(host, index).run(), &host.handle);
    }
    host.handle.spawn(supervise(host.clone(), workers, all_ended));
}

/// Recovers a replica, and makes everything around it but its place.
async fn prepare_group(
    host: &Arc<HostShared>,
    options: GroupOptions,
    origin: Origin,
) -> Result<Replica, NodeError> {
    let GroupOptions {
        config,
        bootstrap,
        state_machine,
    } = options;
    // A state machine that cannot be used leaves no group behind.
    let state = ReplicatedState::open(state_machine)?;
    let recovered = recover(host, config.group, bootstrap, origin).await?;
    let incarnation = incarnation();
    let config = Arc::new(Config {
        incarnation,
        // By default the seeds of two replicas differ by what the generator adds with each draw, so that one may draw what the
        // other drew before, and the two campaign at the same time for ever.
        random_seed: config.random_seed ^ incarnation.rotate_left(17),
        ..config
    });
    let state = catch_up(host, config.group, &recovered, state).await?;
    let (applied, now) = (state.last_applied(), host.clock.now());
    let recording = Recording::new(&config, &recovered, applied, now);
    let raft = Raft::new(config.clone(), recovered, applied, now)?;
    let mut driver = Driver::new(raft, config.incarnation);
    driver.observe(Box::new(recording.clone()));
    host.appliers
        .start(host, state.may_block())
        .map_err(|error| NodeError::Thread(Arc::new(error)))?;
    let status = driver.status();
    let (id, membership) = (config.group, status.membership.clone());
    let serial = host.next_serial.fetch_add(1, Ordering::Relaxed);
    let alive = Group::start(host, config, serial, state, (status, recording))?;
    host.transport.membership_changed(id, &membership);
    Ok(Replica::new(alive, driver))
}

/// Loads what is stored; begins the group if that is nothing and this node is one of its first.
async fn recover(
    host: &HostShared,
    group: GroupId,
    bootstrap: Option<Membership>,
    origin: Origin,
) -> Result<Recovered, NodeError> {
    let recovered = host.log_store.load(group).await?;
    match origin {
        Origin::New if !recovered.is_empty() => return Err(NodeError::GroupExists(group)),
        Origin::Stored if recovered.is_empty() => return Err(NodeError::GroupMissing(group)),
        _ => {}
    }
    let Some(membership) = bootstrap.filter(|_| recovered.is_empty()) else {
        return Ok(recovered);
    };
    // The first configuration is durable before anything else, as that of the empty snapshot (R32).
    let first = GroupWrite {
        group,
        hard_state: None,
        snapshot: Some(SnapshotMeta {
            last: EntryId::ZERO,
            membership,
        }),
        log: LogChange::Append(Vec::new()),
    };
    if let Err(error) = writer::make_durable(host, vec![first]).await {
        // As of any write that failed: what it left on disk is unknown (R60).
        if !matches!(error, NodeError::GroupDestroyed(_)) {
            host.fail(error.clone());
        }
        return Err(error);
    }
    Ok(host.log_store.load(group).await?)
}

/// Brings a state machine that needs entries which were purged to the snapshot in force.
async fn catch_up(
    host: &HostShared,
    group: GroupId,
    recovered: &Recovered,
    mut state: ReplicatedState,
) -> Result<ReplicatedState, NodeError> {
    if state.last_applied().index >= recovered.purged.index {
        return Ok(state);
    }
    let (meta, store) = (recovered.snapshot.clone(), &host.snapshot_store);
    // Opened once just for the error: a missing snapshot is no failure of the state machine.
    drop(store.open(group, meta.last).await?);
    let mut content = snapshots::open_stream(&host.handle, store.clone(), group, meta.last, None);
    let restored = tokio::task::spawn_blocking(move || {
        state.restore(&meta, &mut content)?;
        Ok(state)
    });
    restored
        .await
        .unwrap_or(Err(NodeError::Panicked("state machine")))
}

/// A number that differs from one start to the next. The standard library seeds its hash maps at random.
fn incarnation() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Waits until the workers end, for whatever reason, and then ends everything else.
async fn supervise(host: Arc<HostShared>, mut workers: JoinSet<()>, mut all_ended: AllEnded) {
    let end = EndOnDrop(host.clone());
    while let Some(ended) = workers.join_next().await {
        if ended.is_err() {
            host.lifecycle.fail(NodeError::Panicked("worker"));
        }
        // One never ends alone.
        host.stop();
    }
    end.close();
    host.transport.shutdown().await;
    // Nobody ever sends: this ends when the last task, thread and group is gone.
    let all_ended = all_ended.recv();
    if host.lifecycle.is_stalled() {
        // What reads or writes the same disk may never end.
        let _: Result<Option<()>, Elapsed> = timeout(STALLED_END_TIMEOUT, all_ended).await;
    } else {
        let _: Option<()> = all_ended.await;
    }
}

/// Ends the host, also if the tokio runtime is dropped under it.
struct EndOnDrop(Arc<HostShared>);

impl EndOnDrop {
    /// Lets every part end that waits for work.
    fn close(&self) {
        let host = &self.0;
        host.lifecycle.stop();
        for inbox in &host.inboxes {
            for (group, waiter) in inbox.close().into_waiters() {
                group.refuse_stopped([waiter]);
            }
        }
        host.writes.close();
        host.pulses.close();
        host.appliers.close();
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.close();
        for group in self.0.directory.groups() {
            group.end();
        }
        let id = self.0.id;
        match self.0.lifecycle.end() {
            Ok(()) => tracing::info!("node {id} stopped"),
            Err(error) => tracing::error!("node {id} stopped: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
