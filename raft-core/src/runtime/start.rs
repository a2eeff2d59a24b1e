//! How a node starts, and how it ends when its parts have.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{error::Elapsed, timeout};

use super::apply::{self, Job, Jobs};
use super::consensus::{self, Clock};
use super::error::NodeError;
use super::inbound::NodeInbound;
use super::inbox::Inbox;
use super::lifecycle::{AllEnded, Lifecycle};
use super::options::NodeOptions;
use super::pace::Pace;
use super::queue::TaskQueue;
use super::recording::Recording;
use super::shared::Shared;
use super::snapshots;
use super::waiters::{Waiter, Waiters};
use super::writer;
use crate::config::Config;
use crate::driver::Driver;
use crate::effect::LogChange;
use crate::message::SnapshotMeta;
use crate::raft::Raft;
use crate::request::RefusalReason;
use crate::sessions::ReplicatedState;
use crate::traits::{GroupWrite, Recovered, SnapshotStore};
use crate::types::{EntryId, GroupId};

/// How long a node whose disk stands still waits for what uses that disk.
const STALLED_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts all parts of a node.
pub(super) async fn start(options: NodeOptions) -> Result<Arc<Shared>, NodeError> {
    options.config.validate()?;
    let recovered = recover(&options).await?;
    let config = Config {
        incarnation: incarnation(),
        ..options.config
    };
    let group = config.group;
    let state = ReplicatedState::open(options.state_machine)?;
    let state = catch_up(&options.snapshot_store, group, &recovered, state).await?;
    let clock = Clock::new();
    let (applied, now) = (state.last_applied(), clock.now());
    let recording = Recording::new(&config, &recovered, applied, now);
    let raft = Raft::new(config.clone(), recovered, applied, now)?;
    let mut driver = Driver::new(raft, config.incarnation);
    driver.observe(Box::new(recording.clone()));
    let (lifecycle, all_ended) = Lifecycle::new();
    let shared = Arc::new(Shared {
        inbox: Inbox::new(&config),
        waiters: Waiters::default(),
        writes: TaskQueue::new(),
        jobs: Jobs::new(state.may_block()),
        status: watch::Sender::new(driver.status()),
        lifecycle,
        log_store: options.log_store,
        snapshot_store: options.snapshot_store,
        transport: options.transport,
        send_pace: Pace::new(&config),
        save_pace: Pace::new(&config),
        recording,
        handle: Handle::current(),
        config,
    });
    // Before anybody can connect: whoever is a member must not find that nobody knows him.
    let membership = driver.status().membership;
    shared.transport.membership_changed(group, &membership);
    shared
        .transport
        .start(Arc::new(NodeInbound::new(&shared)))
        .await?;
    if let Err(error) = apply::spawn(&shared, state) {
        shared.transport.shutdown().await;
        return Err(NodeError::Thread(Arc::new(error)));
    }
    writer::spawn(&shared);
    shared
        .handle
        .spawn(supervise(shared.clone(), driver, clock, all_ended));
    Ok(shared)
}

/// Loads what is stored; begins the group if that is nothing and this node is one of its first.
async fn recover(options: &NodeOptions) -> Result<Recovered, NodeError> {
    let group = options.config.group;
    let recovered = options.log_store.load(group).await?;
    let Some(membership) = options.bootstrap.clone().filter(|_| recovered.is_empty()) else {
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
    options.log_store.write(vec![first]).await?;
    Ok(options.log_store.load(group).await?)
}

/// Brings a state machine that needs entries which were purged to the snapshot in force.
async fn catch_up(
    store: &Arc<dyn SnapshotStore>,
    group: GroupId,
    recovered: &Recovered,
    mut state: ReplicatedState,
) -> Result<ReplicatedState, NodeError> {
    if state.last_applied().index >= recovered.purged.index {
        return Ok(state);
    }
    let meta = recovered.snapshot.clone();
    // Opened once just for the error: a missing snapshot is no failure of the state machine.
    drop(store.open(group, meta.last).await?);
    let mut content = snapshots::open_stream(&Handle::current(), store.clone(), group, meta.last, None);
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

/// Waits until the consensus task ends, for whatever reason, and then ends everything else.
async fn supervise(shared: Arc<Shared>, driver: Driver, clock: Clock, mut all_ended: AllEnded) {
    let end = EndOnDrop(shared.clone());
    let consensus = consensus::run(shared.clone(), driver, clock);
    if shared.handle.spawn(consensus).await.is_err() {
        shared.lifecycle.fail(NodeError::Panicked("consensus task"));
    }
    end.close();
    shared.transport.shutdown().await;
    // Nobody ever sends: this ends when the last task and thread is gone.
    let all_ended = all_ended.recv();
    if shared.lifecycle.is_stalled() {
        // What reads or writes the same disk may never end.
        let _: Result<Option<()>, Elapsed> = timeout(STALLED_END_TIMEOUT, all_ended).await;
    } else {
        let _: Option<()> = all_ended.await;
    }
}

/// Ends the node, also if the tokio runtime is dropped under it.
struct EndOnDrop(Arc<Shared>);

impl EndOnDrop {
    /// Lets every part end that waits for work.
    fn close(&self) {
        let shared = &self.0;
        shared.lifecycle.stop();
        let left = shared.inbox.close();
        shared.waiters.refuse(left.into_waiters(), RefusalReason::Stopped);
        shared.writes.close();
        for job in shared.jobs.close() {
            if let Job::Ask(questions) = job {
                let waiters = questions.into_iter().map(Waiter::Query);
                shared.waiters.refuse(waiters, RefusalReason::Stopped);
            }
        }
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.close();
        self.0.waiters.resolve_all_stopped();
        let id = self.0.config.id;
        match self.0.lifecycle.end() {
            Ok(()) => tracing::info!("node {id} stopped"),
            Err(error) => tracing::error!("node {id} stopped: {error}"),
        }
    }
}
