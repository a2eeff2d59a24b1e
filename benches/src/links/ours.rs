//! Two transports of ours: 1 sends, 2 receives, and answers what asks for it.

use std::sync::Arc;
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
    };
    let here = Counter {
        arrivals: link.answered.clone(),
        answer_with: None,
    };
    let there = Counter {
        arrivals: link.arrived.clone(),
        answer_with: Some(link.receiver.clone()),
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
        let payload = Bytes::from(vec![7; load.payload_bytes]);
        for _ in 0..load.round_trips {
            let answers = self.answered.count();
            let begin = Instant::now();
            self.sender.send(NodeId(2), vec![message(&payload, ANSWER_ME)]);
            self.answered.reach(answers + 1).await;
            latencies.push(begin.elapsed());
        }
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

/// Counts what arrives, and sends back what asks for it if it has a transport for that.
struct Counter {
    arrivals: Arc<Arrivals>,
    answer_with: Option<Arc<dyn Transport>>,
}

#[async_trait]
impl Inbound for Counter {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        let count = messages.len() as u64;
        if let Some(transport) = &self.answer_with {
            let asking = messages.into_iter().filter(|message| message.term == ANSWER_ME);
            let answers: Vec<Message> = asking
                .map(|message| Message {
                    from: message.to,
                    to: from,
                    ..message
                })
                .collect();
            if !answers.is_empty() {
                transport.send(from, answers);
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
