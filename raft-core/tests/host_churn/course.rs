//! One course: what exists, what happens next, and what must be true after it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_core::config::Config;
use raft_core::membership::Membership;
use raft_core::memory::{InProcessNetwork, MemoryLogStore, MemorySnapshotStore};
use raft_core::message::Message;
use raft_core::runtime::{GroupOptions, Host, HostOptions, NodeError};
use raft_core::traits::Inbound;
use raft_core::types::{GroupId, NodeId};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::node_world::{Counter, add, number, until};
use crate::watched::{Notes, Stuck, WatchedStore, WatchedTransport};

const NODES: u64 = 3;
/// A group that nobody ever creates.
const STRANGE: GroupId = GroupId(1_000_000);
/// How long a client waits: some groups cannot commit any more.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(20);
/// How long a destruction goes on that does not end.
const BREAK_OFF: Duration = Duration::from_millis(20);

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub created: u64,
    pub destroyed: u64,
    pub restarts: u64,
    pub broken_off_before: u64,
    pub broken_off_after: u64,
    /// Creations of a group that was destroyed.
    pub refused: u64,
    /// Messages for a replica that was destroyed.
    pub late: u64,
    /// Messages of a group that nobody created.
    pub strange: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Done) {
        self.created += other.created;
        self.destroyed += other.destroyed;
        self.restarts += other.restarts;
        self.broken_off_before += other.broken_off_before;
        self.broken_off_after += other.broken_off_after;
        self.refused += other.refused;
        self.late += other.late;
        self.strange += other.strange;
    }
}

/// A node over all its lives.
struct Machine {
    store: WatchedStore,
    snapshots: MemorySnapshotStore,
    inbound: Arc<Mutex<Option<Arc<dyn Inbound>>>>,
    host: Host,
    /// The groups that run here.
    running: BTreeSet<GroupId>,
}

pub struct Course {
    random: u64,
    network: InProcessNetwork,
    notes: Notes,
    machines: BTreeMap<NodeId, Machine>,
    /// The first members of a group that have not created it yet.
    missing: Vec<(NodeId, GroupId)>,
    groups: u64,
    wrong: Vec<String>,
    pub done: Done,
}

impl Course {
    /// Three nodes without groups. If the log stores `forget`, there is something to be found.
    pub async fn begin(seed: u64, forget: bool) -> Course {
        let (network, notes) = (InProcessNetwork::new(), Notes::default());
        let mut machines = BTreeMap::new();
        for node in (1..=NODES).map(NodeId) {
            let store = WatchedStore {
                node,
                inner: MemoryLogStore::new(),
                notes: notes.clone(),
                stuck: Arc::default(),
                ends: watch::Sender::default(),
                forgets: forget,
                afresh: MemoryLogStore::new(),
            };
            let (snapshots, inbound) = (MemorySnapshotStore::new(), Arc::default());
            let host = start(&network, &store, &snapshots, &inbound).await;
            let running = BTreeSet::new();
            machines.insert(
                node,
                Machine {
                    store,
                    snapshots,
                    inbound,
                    host,
                    running,
                },
            );
        }
        let mut course = Course {
            random: seed,
            network,
            notes,
            machines,
            missing: Vec::new(),
            groups: 0,
            wrong: Vec::new(),
            done: Done::default(),
        };
        // From here on there are messages that can come again.
        course.commit_in_new_group().await;
        course
    }

    /// Does one thing, and looks whether exactly those groups run that should.
    pub async fn act(&mut self) {
        match self.below(20) {
            0 | 1 => self.new_group().await,
            2..=6 => self.create_missing().await,
            7..=9 => self.propose().await,
            10..=12 => self.deliver_old(),
            13 => self.deliver_strange(),
            14 | 15 => self.destroy().await,
            16 | 17 => self.create_again().await,
            18 => self.restart_any().await,
            _ => self.break_off_destruction().await,
        }
        for (node, machine) in &self.machines {
            let expected: Vec<GroupId> = machine.running.iter().copied().collect();
            let found = machine.host.groups();
            if found != expected {
                self.wrong
                    .push(format!("on node {node} run {found:?}, not {expected:?}"));
            }
        }
    }

    /// What should not have happened.
    pub fn violations(&self) -> Vec<String> {
        let seen = self.notes.lock();
        self.wrong.iter().chain(&seen.violations).cloned().collect()
    }

    /// After everything, a new group still commits; then the nodes stop.
    pub async fn end(&mut self) {
        self.commit_in_new_group().await;
        for machine in self.machines.values() {
            machine.host.stop().await;
        }
    }

    /// Creates a group on all nodes, and waits until it has a leader and commits.
    async fn commit_in_new_group(&mut self) {
        self.new_group().await;
        let newest = GroupId(self.groups);
        while self.missing.iter().any(|(_, group)| *group == newest) {
            self.create_missing().await;
        }
        let node = self.machines[&NodeId(1)]
            .host
            .group(newest)
            .expect("it was created");
        until(&node, "a leader is known", |status| status.leader.is_some()).await;
        assert_eq!(add(&node, 3).await.1, 3);
    }

    // ---- what happens ----

    async fn new_group(&mut self) {
        self.groups += 1;
        let group = GroupId(self.groups);
        let first = NodeId(1 + self.below(NODES));
        let others = (1..=NODES).map(NodeId).filter(|node| *node != first);
        self.missing.extend(others.map(|node| (node, group)));
        self.create(first, group).await;
    }

    async fn create_missing(&mut self) {
        if !self.missing.is_empty() {
            let place = self.place(self.missing.len());
            let (node, group) = self.missing.swap_remove(place);
            self.create(node, group).await;
        }
    }

    async fn create(&mut self, node: NodeId, group: GroupId) {
        let machine = self.machines.get_mut(&node).unwrap();
        let created = machine.host.create_group(options(node, group)).await;
        created.expect("it never was here");
        machine.running.insert(group);
        self.done.created += 1;
    }

    async fn propose(&mut self) {
        if let Some((node, group)) = self.any_running() {
            let handle = self.machines[&node].host.group(group).expect("it runs");
            // Whether it is done is not the question here; that messages are under way is.
            drop(timeout(CLIENT_TIMEOUT, handle.propose(number(1))).await);
        }
    }

    /// Messages of any age arrive once more.
    fn deliver_old(&mut self) {
        for _ in 0..20 {
            let count = self.notes.lock().old.len();
            if count == 0 {
                return;
            }
            let place = self.place(count);
            let message = self.notes.lock().old[place].clone();
            let is_late = self.notes.lock().destroyed.contains(&(message.to, message.group));
            self.done.late += u64::from(is_late);
            self.deliver(message);
        }
    }

    fn deliver_strange(&mut self) {
        let old = self.notes.lock().old.last().cloned();
        if let Some(message) = old {
            self.done.strange += 1;
            self.deliver(Message {
                group: STRANGE,
                ..message
            });
        }
    }

    fn deliver(&self, message: Message) {
        let inbound = self.machines[&message.to].inbound.lock().unwrap().clone();
        inbound
            .expect("it was started")
            .receive(message.from, vec![message]);
    }

    /// Destroys a replica that runs, or one that was never created here.
    async fn destroy(&mut self) {
        let missing =
            (!self.missing.is_empty() && self.below(4) == 0).then(|| self.place(self.missing.len()));
        let found = match missing {
            Some(place) => Some(self.missing.swap_remove(place)),
            None => self.any_running(),
        };
        if let Some((node, group)) = found {
            let machine = self.machines.get_mut(&node).unwrap();
            machine.host.destroy_group(group).await.expect("it is destroyed");
            machine.running.remove(&group);
            self.notes.lock().destroyed.insert((node, group));
            self.done.destroyed += 1;
        }
    }

    /// Whoever was destroyed is neither created nor opened again.
    async fn create_again(&mut self) {
        let destroyed: Vec<_> = self.notes.lock().destroyed.iter().copied().collect();
        if destroyed.is_empty() {
            return;
        }
        let (node, group) = destroyed[self.place(destroyed.len())];
        let host = &self.machines[&node].host;
        for again in [
            host.create_group(options(node, group)).await,
            host.open_group(options(node, group)).await,
        ] {
            match again {
                Err(NodeError::GroupDestroyed(id)) if id == group => self.done.refused += 1,
                other => self
                    .wrong
                    .push(format!("group {group} again on node {node}: {other:?}")),
            }
        }
    }

    async fn restart_any(&mut self) {
        let node = NodeId(1 + self.below(NODES));
        self.restart(node).await;
        let running = self.machines[&node].running.clone();
        for group in running {
            let opened = self.machines[&node].host.open_group(options(node, group)).await;
            opened.expect("what was created is opened");
        }
    }

    async fn restart(&mut self, node: NodeId) {
        let machine = self.machines.get_mut(&node).unwrap();
        machine.host.stop().await;
        machine.host = start(
            &self.network,
            &machine.store,
            &machine.snapshots,
            &machine.inbound,
        )
        .await;
        self.done.restarts += 1;
    }

    /// The process ends within a destruction, which was done then, or not begun.
    async fn break_off_destruction(&mut self) {
        let Some((node, lost)) = self.any_running() else {
            return;
        };
        let stuck = [Stuck::Before, Stuck::After][self.place(2)];
        let machine = &self.machines[&node];
        *machine.store.stuck.lock().unwrap() = Some(stuck);
        let broken_off = timeout(BREAK_OFF, machine.host.destroy_group(lost)).await;
        assert!(broken_off.is_err(), "nothing ends it: {broken_off:?}");
        // It may not have come as far as the log store within that time.
        let store = machine.store.clone();
        store.ends.send_replace(true);
        self.restart(node).await;
        store.ends.send_replace(false);
        *store.stuck.lock().unwrap() = None;
        let running = self.machines[&node].running.clone();
        for group in running {
            let opened = self.machines[&node].host.open_group(options(node, group)).await;
            match opened {
                Ok(_) => self.done.broken_off_before += u64::from(group == lost),
                Err(NodeError::GroupDestroyed(id))
                    if id == lost && group == lost && stuck == Stuck::After =>
                {
                    self.machines.get_mut(&node).unwrap().running.remove(&group);
                    self.notes.lock().destroyed.insert((node, group));
                    self.done.broken_off_after += 1;
                }
                Err(error) => panic!("group {group} of node {node}, {stuck:?}: {error}"),
            }
        }
    }

    // ---- what is drawn ----

    fn any_running(&mut self) -> Option<(NodeId, GroupId)> {
        let of = |(node, machine): (&NodeId, &Machine)| {
            let pairs: Vec<_> = machine.running.iter().map(|group| (*node, *group)).collect();
            pairs
        };
        let all: Vec<_> = self.machines.iter().flat_map(of).collect();
        (!all.is_empty()).then(|| all[self.place(all.len())])
    }

    fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }

    /// SplitMix64.
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

async fn start(
    network: &InProcessNetwork,
    store: &WatchedStore,
    snapshots: &MemorySnapshotStore,
    inbound: &Arc<Mutex<Option<Arc<dyn Inbound>>>>,
) -> Host {
    let transport = WatchedTransport {
        node: store.node,
        inner: network.transport(store.node),
        notes: store.notes.clone(),
        inbound: inbound.clone(),
    };
    let options = HostOptions::new(
        store.node,
        Arc::new(store.clone()),
        Arc::new(snapshots.clone()),
        Arc::new(transport),
    );
    Host::start(options).await.expect("the host starts")
}

fn options(node: NodeId, group: GroupId) -> GroupOptions {
    let mut config = Config::new(group, node);
    config.election_timeout = Duration::from_millis(100);
    config.heartbeat_interval = Duration::from_millis(10);
    GroupOptions {
        config,
        bootstrap: Some(Membership::of_voters((1..=NODES).map(NodeId)).unwrap()),
        state_machine: Box::new(Counter {
            never_blocks: true,
            ..Counter::default()
        }),
    }
}
