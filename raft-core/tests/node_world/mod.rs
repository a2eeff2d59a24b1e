//! A cluster of real nodes in this process: memory stores, an in-process network with cuts, and a counter.

// Each test binary uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::RoleKind;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::memory::{InProcessNetwork, MemoryLogStore, MemorySnapshotStore};
use raft_core::message::SnapshotMeta;
use raft_core::runtime::{Node, NodeError, NodeOptions, ProposeError};
use raft_core::status::Status;
use raft_core::traits::{StateMachine, StateMachineError};
use raft_core::types::{EntryId, GroupId, Index, NodeId};
use tokio::time::timeout;

/// Far more than anything takes, even on a busy machine; only a defect waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Adds numbers. Each response is the sum after its command; the answer to every question is the sum.
#[derive(Default)]
pub struct Counter {
    pub sum: u64,
    pub last: EntryId,
    pub gate: Gate,
    pub fault: Fault,
    /// It asks for no thread of its own.
    pub never_blocks: bool,
}

/// What is wrong with a [`Counter`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// It fails when it is to apply a command.
    Fails,
    /// It panics when it is to apply a command.
    Panics,
    /// It does not count entries without a command.
    SkipsNoops,
    /// It gives one response too many.
    ExtraResponse,
    /// It cannot answer questions.
    Mute,
}

/// Holds a state machine up while it is closed.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn close(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(closed, |closed| *closed).unwrap());
    }
}

impl StateMachine for Counter {
    fn last_applied(&self) -> EntryId {
        self.last
    }

    fn may_block(&self) -> bool {
        !self.never_blocks
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.gate.pass();
        let mut responses = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Payload::Command(command) = &entry.payload {
                match self.fault {
                    Fault::Fails => return Err(StateMachineError::new("the disk of the counter is full")),
                    Fault::Panics => panic!("the counter has a defect"),
                    _ => {}
                }
                self.sum += u64::from_le_bytes(command[..].try_into().expect("commands are eight bytes"));
            } else if self.fault == Fault::SkipsNoops {
                responses.push(Bytes::new());
                continue;
            }
            self.last = entry.id;
            responses.push(Bytes::copy_from_slice(&self.sum.to_le_bytes()));
        }
        if self.fault == Fault::ExtraResponse {
            responses.push(Bytes::new());
        }
        Ok(responses)
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        if self.fault == Fault::Mute {
            return Err(StateMachineError::new("no such question"));
        }
        Ok(Bytes::copy_from_slice(&self.sum.to_le_bytes()))
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(std::io::Cursor::new(self.sum.to_le_bytes())))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let mut bytes = [0; 8];
        content.read_exact(&mut bytes)?;
        self.sum = u64::from_le_bytes(bytes);
        self.last = meta.last;
        Ok(())
    }
}

/// Nodes 1 to n, their disks, and the network between them.
pub struct World {
    pub network: InProcessNetwork,
    pub voters: Membership,
    pub change: fn(&mut Config),
    /// What [`World::start`] tells its counters.
    pub never_blocks: bool,
    pub logs: Vec<MemoryLogStore>,
    pub snapshots: Vec<MemorySnapshotStore>,
    pub nodes: Vec<Option<Node>>,
}

impl World {
    /// Nodes that are not started yet.
    pub fn new(count: u64, change: fn(&mut Config)) -> World {
        World {
            network: InProcessNetwork::new(),
            voters: Membership::of_voters((1..=count).map(NodeId)).unwrap(),
            change,
            never_blocks: false,
            logs: (0..count).map(|_| MemoryLogStore::new()).collect(),
            snapshots: (0..count).map(|_| MemorySnapshotStore::new()).collect(),
            nodes: (0..count).map(|_| None).collect(),
        }
    }

    /// Nodes that run.
    pub async fn started(count: u64, change: fn(&mut Config)) -> World {
        let mut world = World::new(count, change);
        for id in 1..=count {
            world.start(id).await;
        }
        world
    }

    /// Starts a node on what its disks hold; its state machine begins empty.
    pub async fn start(&mut self, id: u64) {
        let counter = Counter {
            never_blocks: self.never_blocks,
            ..Counter::default()
        };
        let node = self.try_start(id, counter).await.expect("the node starts");
        self.nodes[id as usize - 1] = Some(node);
    }

    pub async fn try_start(&self, id: u64, counter: Counter) -> Result<Node, NodeError> {
        Node::start(self.options(id, counter)).await
    }

    pub fn options(&self, id: u64, counter: Counter) -> NodeOptions {
        let mut config = Config::new(GroupId(1), NodeId(id));
        config.election_timeout = Duration::from_millis(600);
        config.heartbeat_interval = Duration::from_millis(60);
        (self.change)(&mut config);
        NodeOptions {
            config,
            log_store: Arc::new(self.logs[id as usize - 1].clone()),
            snapshot_store: Arc::new(self.snapshots[id as usize - 1].clone()),
            ..NodeOptions::in_memory(NodeId(id), &self.voters, &self.network, counter)
        }
    }

    pub async fn stop(&mut self, id: u64) {
        let node = self.nodes[id as usize - 1].take().expect("the node runs");
        timeout(PATIENCE, node.shutdown())
            .await
            .expect("shutdown returns");
    }

    pub fn node(&self, id: u64) -> &Node {
        self.nodes[id as usize - 1].as_ref().expect("the node runs")
    }

    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// The leader that all `among` agree on, once they do.
    pub async fn leader_among(&self, among: &[u64]) -> u64 {
        loop {
            let mut named = Vec::new();
            for &id in among {
                let status = until(self.node(id), "a leader is known", |status| {
                    status.leader.is_some_and(|leader| among.contains(&leader.0))
                })
                .await;
                named.push((status.term, status.leader));
            }
            let leader = named[0].1.expect("a leader was waited for").0;
            let leads = self.node(leader).status().role == RoleKind::Leader;
            if leads && named.iter().all(|other| *other == named[0]) {
                return leader;
            }
            tokio::task::yield_now().await;
        }
    }

    pub async fn leader(&self) -> u64 {
        let ids: Vec<u64> = self.running().map(|node| node.status().id.0).collect();
        self.leader_among(&ids).await
    }

    /// A node that runs and does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        let mut ids = self.running().map(|node| node.status().id.0);
        ids.find(|id| *id != leader).expect("more than one node runs")
    }
}

/// Waits until the status of a node is as wanted.
pub async fn until(node: &Node, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut watch = node.watch_status();
    let waited = timeout(PATIENCE, watch.wait_for(|status| wanted(status))).await;
    match waited {
        Ok(Ok(status)) => status.clone(),
        Ok(Err(_)) => panic!("the node ended before this: {what}; {:?}", node.status()),
        Err(_) => panic!("this never happened: {what}; {:?}", node.status()),
    }
}

pub fn number(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_le_bytes())
}

pub fn value(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("the counter answers with eight bytes"))
}

/// Adds, again if it was refused: that is what a refusal allows. Returns the index and the sum.
pub async fn add(node: &Node, amount: u64) -> (Index, u64) {
    let attempts = async {
        loop {
            match node.propose(number(amount)).await {
                Ok(applied) => return (applied.index, value(&applied.response)),
                Err(ProposeError::NotApplied(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("adding {amount}: {error}"),
            }
        }
    };
    timeout(PATIENCE, attempts).await.expect("a command ends")
}

/// Reads linearizably, again if there was no answer: that is what a read allows.
pub async fn read(node: &Node) -> u64 {
    let attempts = async {
        loop {
            match node.read(Bytes::new()).await {
                Ok(answer) => return value(&answer),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, attempts).await.expect("a read ends")
}
