//! Two transports of ours: 1 sends, 2 receives, and answers what asks for it.
//!
//! A message is there when [`Inbound::receive`] is called, and what follows from it is sent from there, as a raw stream's
//! reader does in its own task. Whoever wakes a task of his own in `receive` pays for that himself; if it sends at once, tokio
//! wakes a second worker for it, because it is the fourth task in a row that one woke after the other (and three may, on one
//! worker): about 30 µs on two idle cores.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::message::{AppendEntries, Body, InstallSnapshot, Message, SnapshotContent};
use raft_core::traits::{Inbound, SnapshotWriter, Transport, TransportError};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Round, Term};

use super::arrivals::Arrivals;
use super::{Link, Load};

/// A message of this term is sent back.
const ANSWER_ME: Term = Term(2);

/// Two connected transports.
pub struct Ours {
    name: &'static str,
    sender: Arc<dyn Transport>,
    receiver: Arc<dyn Transport>,
    arrived: Arc<Arrivals>,
    answered: Arc<Arrivals>,
    trips: Arc<Mutex<Trips>>,
}

/// Round trips, one at a time.
#[derive(Default)]
struct Trips {
    payload: Bytes,
    begun_at: Option<Instant>,
    latencies: Vec<Duration>,
    left: u64,
}

impl Trips {
    /// The message of the next trip, if one is left.
    fn begin(&mut self) -> Option<Message> {
        self.begun_at = None;
        self.left = self.left.checked_sub(1)?;
        let message = message(&self.payload, ANSWER_ME);
        self.begun_at = Some(Instant::now());
        Some(message)
    }

    /// One trip has ended, if one was under way.
    fn end(&mut self) -> Option<Message> {
        let begun_at = self.begun_at?;
        self.latencies.push(begun_at.elapsed());
        self.begin()
    }
}

/// Starts the two `transports`, those of nodes 1 and 2, and waits until they are connected.
///
/// # Panics
/// If there are not two, or one does not start.
pub async fn connect(name: &'static str, transports: Vec<Arc<dyn Transport>>) -> Ours {
    let [sender, receiver] = <[_; 2]>::try_from(transports).unwrap_or_else(|_| panic!("two transports"));
    let link = Ours {
        name,
        sender,
        receiver,
        arrived: Arc::new(Arrivals::new()),
        answered: Arc::new(Arrivals::new()),
        trips: Arc::default(),
    };
    let here = Counter {
        arrivals: link.answered.clone(),
        transport: link.sender.clone(),
        trips: link.trips.clone(),
    };
    let there = Counter {
        arrivals: link.arrived.clone(),
        transport: link.receiver.clone(),
        trips: Arc::default(),
    };
    let start = |transport: &Arc<dyn Transport>, counter| {
        let transport = transport.clone();
        async move { transport.start(Arc::new(counter)).await.expect("it starts") }
    };
    start(&link.sender, here).await;
    start(&link.receiver, there).await;
    let connected = |transport: &Arc<dyn Transport>| transport.peers().iter().any(|peer| peer.connected);
    while !(connected(&link.sender) && connected(&link.receiver)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    link
}

#[async_trait]
impl Link for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn round_trips(&mut self, load: Load, latencies: &mut Vec<Duration>) {
        let answers = self.answered.count();
        let first = {
            let mut trips = lock(&self.trips);
            trips.payload = Bytes::from(vec![7; load.payload_bytes]);
            trips.left = load.round_trips;
            trips.begin()
        };
        self.sender.send(NodeId(2), first.into_iter().collect());
        self.answered.reach(answers + load.round_trips).await;
        latencies.append(&mut lock(&self.trips).latencies);
    }

    async fn one_way(&mut self, load: Load) {
        let payload = Bytes::from(vec![7; load.payload_bytes]);
        let before = self.arrived.count();
        let mut sent = 0;
        while sent < load.messages {
            let messages = (0..load.batch).map(|_| message(&payload, Term(1))).collect();
            self.sender.send(NodeId(2), messages);
            sent += load.batch;
            if before + sent > self.arrived.count() + load.window {
                self.arrived.reach(before + sent - load.window / 2).await;
            }
        }
        self.arrived.reach(before + sent).await;
    }

    async fn shutdown(self: Box<Self>) {
        self.sender.shutdown().await;
        self.receiver.shutdown().await;
    }
}

/// One entry for the followers, as a leader sends it.
fn message(payload: &Bytes, term: Term) -> Message {
    let prev = EntryId::new(Term(1), Index(1));
    let entry = Entry::command(Term(1), Index(2), payload.clone());
    let body = Body::AppendEntries(AppendEntries {
        prev,
        prev_acknowledged: false,
        entries: vec![entry],
        leader_commit: Index(1),
        round: Round(0),
        sleep: false,
    });
    Message {
        group: GroupId(1),
        from: NodeId(1),
        to: NodeId(2),
        term,
        body,
    }
}

/// Counts what arrives, begins the next round trip, and sends back what asks for it.
struct Counter {
    arrivals: Arc<Arrivals>,
    transport: Arc<dyn Transport>,
    trips: Arc<Mutex<Trips>>,
}

fn lock(trips: &Mutex<Trips>) -> std::sync::MutexGuard<'_, Trips> {
    trips.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Inbound for Counter {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        let count = messages.len() as u64;
        let next = lock(&self.trips).end();
        if let Some(next) = next {
            self.transport.send(from, vec![next]);
        } else {
            let asking = messages.into_iter().filter(|message| message.term == ANSWER_ME);
            let answers = asking.map(|message| Message {
                from: message.to,
                to: from,
                term: Term(1),
                ..message
            });
            let answers: Vec<Message> = answers.collect();
            if !answers.is_empty() {
                self.transport.send(from, answers);
            }
        }
        self.arrivals.add(count);
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        _content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        Err(refusal(header))
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        _content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        Err(refusal(&header))
    }
}

fn refusal(header: &InstallSnapshot) -> TransportError {
    TransportError::Refused {
        to: header.to,
        reason: "this node only counts".to_string(),
    }
}
