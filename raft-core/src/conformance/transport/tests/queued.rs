//! A transport in one process with a queue and a task for each lane of each peer, and one defect. It carries no snapshots.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::message::{InstallSnapshot, Lane, Message};
use crate::traits::{Inbound, PeerStatus, SnapshotReader, Transport, TransportError};
use crate::types::NodeId;

/// How many messages wait in each lane.
const LANE_MESSAGES_MAX: usize = 100;
/// How many messages may be under way to a receiver that is slow.
const UNDER_WAY_MAX: usize = 4;
pub(super) const MESSAGES_MAX: usize = 2 * LANE_MESSAGES_MAX;
/// The suite sends no message as large as that in bulk.
pub(super) const BYTES_MAX: usize = MESSAGES_MAX * MESSAGE_BYTES;
const MESSAGE_BYTES: usize = 32 << 10;

/// One defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    Unbounded,
    /// It does not tell, either.
    UnboundedAndHidden,
    DropsUncounted,
    CountsTwice,
    OneLane,
    OneTaskForAllPeers,
}

#[derive(Clone)]
pub(super) struct Network {
    bug: Bug,
    listeners: Arc<Mutex<BTreeMap<NodeId, Listener>>>,
}

#[derive(Clone)]
struct Listener {
    inbound: Arc<dyn Inbound>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Network {
    pub(super) fn new(bug: Bug) -> Network {
        Network {
            bug,
            listeners: Arc::default(),
        }
    }

    pub(super) fn transport(&self, id: NodeId) -> Arc<dyn Transport> {
        Arc::new(Queued {
            id,
            network: self.clone(),
            queues: Mutex::default(),
            dropped: Arc::default(),
            tasks: Arc::default(),
        })
    }

    /// A connection: a task of the receiver that takes what comes.
    fn connect(&self, from: NodeId, to: NodeId) -> Option<mpsc::Sender<Message>> {
        let listener = lock(&self.listeners).get(&to).cloned()?;
        let (sender, mut receiver) = mpsc::channel(UNDER_WAY_MAX);
        let inbound = listener.inbound;
        lock(&listener.tasks).spawn(async move {
            while let Some(message) = receiver.recv().await {
                inbound.receive(from, vec![message]);
            }
        });
        Some(sender)
    }
}

#[derive(Default)]
struct Queue {
    messages: Mutex<VecDeque<Message>>,
    ready: Notify,
}

type Dropped = Arc<Mutex<BTreeMap<NodeId, u64>>>;

struct Queued {
    id: NodeId,
    network: Network,
    queues: Mutex<BTreeMap<(NodeId, Lane), Arc<Queue>>>,
    dropped: Dropped,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Queued {
    fn queue(&self, to: NodeId, lane: Lane) -> Arc<Queue> {
        let key = match self.network.bug {
            Bug::OneLane => (to, Lane::Ordered),
            Bug::OneTaskForAllPeers => (NodeId(0), lane),
            _ => (to, lane),
        };
        let mut queues = lock(&self.queues);
        let made = || {
            let queue = Arc::new(Queue::default());
            let write = write(self.id, self.network.clone(), queue.clone(), self.dropped.clone());
            lock(&self.tasks).spawn(write);
            queue
        };
        queues.entry(key).or_insert_with(made).clone()
    }
}

/// Sends what waits, one message after the other, each over the connection of its lane.
async fn write(id: NodeId, network: Network, queue: Arc<Queue>, dropped: Dropped) {
    let mut connections = BTreeMap::new();
    loop {
        let Some(message) = lock(&queue.messages).pop_front() else {
            queue.ready.notified().await;
            continue;
        };
        let (to, lane) = (message.to, message.lane());
        if !connections.contains_key(&(to, lane))
            && let Some(connection) = network.connect(id, to)
        {
            connections.insert((to, lane), connection);
        }
        let sent = match connections.get(&(to, lane)) {
            Some(connection) => connection.send(message).await.is_ok(),
            None => false,
        };
        if !sent {
            connections.remove(&(to, lane));
            *lock(&dropped).entry(to).or_default() += 1;
        }
    }
}

#[async_trait]
impl Transport for Queued {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        let listener = Listener {
            inbound,
            tasks: self.tasks.clone(),
        };
        lock(&self.network.listeners).insert(self.id, listener);
        Ok(())
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        let bug = self.network.bug;
        let is_bounded = !matches!(bug, Bug::Unbounded | Bug::UnboundedAndHidden);
        let count = match bug {
            Bug::DropsUncounted => 0,
            Bug::CountsTwice => 2,
            _ => 1,
        };
        lock(&self.dropped).entry(to).or_default();
        for message in messages {
            let queue = self.queue(to, message.lane());
            let mut waiting = lock(&queue.messages);
            let length = waiting.iter().filter(|waiting| waiting.to == to).count();
            if is_bounded && length >= LANE_MESSAGES_MAX {
                *lock(&self.dropped).entry(to).or_default() += count;
                continue;
            }
            waiting.push_back(message);
            drop(waiting);
            queue.ready.notify_one();
        }
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        _content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        Err(TransportError::UnknownPeer(header.to))
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let is_shown = self.network.bug != Bug::UnboundedAndHidden;
        let queues: Vec<Arc<Queue>> = lock(&self.queues).values().cloned().collect();
        let waiting = |id: NodeId| -> usize {
            let of_queue = |queue: &Arc<Queue>| {
                let messages = lock(&queue.messages);
                messages.iter().filter(|message| message.to == id).count()
            };
            queues.iter().filter(|_| is_shown).map(of_queue).sum()
        };
        let dropped = lock(&self.dropped).clone();
        let describe = |(id, dropped_messages)| PeerStatus {
            id,
            connected: lock(&self.network.listeners).contains_key(&id),
            queued_messages: waiting(id),
            queued_bytes: waiting(id) * MESSAGE_BYTES,
            dropped_messages,
            ..PeerStatus::default()
        };
        dropped.into_iter().map(describe).collect()
    }

    async fn shutdown(&self) {
        lock(&self.network.listeners).remove(&self.id);
        lock(&self.queues).clear();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
