//! Transports: two nodes that send each other messages.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::memory::InProcessNetwork;
use raft_core::message::{AppendEntries, Body, InstallSnapshot, Message, SnapshotContent};
use raft_core::traits::{Inbound, SnapshotWriter, Transport, TransportError};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Round, Term};
use raft_node::certificates::{authority::Authority, holder::Holder, leaf};
use raft_node::config::cluster_name::ClusterName;
use raft_transport_quic::{ContactAddress, QuicLimits, QuicTransport, TransportLimits, TransportOptions};
use tempfile::TempDir;
use tokio::sync::Notify;

/// Two connected nodes: 1 sends, 2 receives, and answers if it was asked to.
pub struct Pair {
    sender: Arc<dyn Transport>,
    receiver: Arc<dyn Transport>,
    arrived: Arc<Counter>,
    answered: Arc<Counter>,
    _certificates: Option<Certificates>,
}

/// Counts what arrives, and sends answers back if it has a transport for that.
struct Counter {
    messages: AtomicU64,
    changed: Notify,
    answer_with: Option<Arc<dyn Transport>>,
}

#[async_trait]
impl Inbound for Counter {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        let count = messages.len() as u64;
        if let Some(transport) = &self.answer_with {
            let answers = messages.into_iter().filter(|message| message.term == ANSWER_ME);
            let answers: Vec<Message> = answers
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
        self.messages.fetch_add(count, Ordering::Release);
        self.changed.notify_one();
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        _content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        Err(TransportError::Refused {
            to: header.to,
            reason: "this node only counts".to_string(),
        })
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        _content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        Err(TransportError::Refused {
            to: header.to,
            reason: "this node only counts".to_string(),
        })
    }
}

/// A message of this term is sent back.
const ANSWER_ME: Term = Term(2);

impl Counter {
    fn new(answer_with: Option<Arc<dyn Transport>>) -> Arc<Counter> {
        Arc::new(Counter {
            messages: AtomicU64::new(0),
            changed: Notify::new(),
            answer_with,
        })
    }

    async fn wait_for(&self, count: u64) {
        while self.messages.load(Ordering::Acquire) < count {
            self.changed.notified().await;
        }
    }
}

impl Pair {
    async fn connect(
        sender: Arc<dyn Transport>,
        receiver: Arc<dyn Transport>,
        certificates: Option<Certificates>,
    ) -> Pair {
        let arrived = Counter::new(Some(receiver.clone()));
        let answered = Counter::new(None);
        sender.start(answered.clone()).await.expect("the sender starts");
        receiver
            .start(arrived.clone())
            .await
            .expect("the receiver starts");
        let pair = Pair {
            sender,
            receiver,
            arrived,
            answered,
            _certificates: certificates,
        };
        while !pair.sender.peers().iter().any(|peer| peer.connected) {
            // The first message makes the connection; nothing else tells that it stands.
            pair.sender.send(NodeId(2), vec![message(&Bytes::new(), Term(1))]);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        pair
    }

    /// Sends one message and waits until it came back.
    pub async fn round_trip(&self, payload: &Bytes) {
        let answers = self.answered.messages.load(Ordering::Acquire);
        self.sender.send(NodeId(2), vec![message(payload, ANSWER_ME)]);
        self.answered.wait_for(answers + 1).await;
    }

    /// Sends `count` messages in batches, at most `window` of them unacknowledged by the benchmark itself, and waits until
    /// all have arrived.
    pub async fn stream(&self, payload: &Bytes, count: u64, batch: u64, window: u64) {
        let before = self.arrived.messages.load(Ordering::Acquire);
        let mut sent = 0;
        while sent < count {
            let messages = (0..batch).map(|_| message(payload, Term(1))).collect();
            self.sender.send(NodeId(2), messages);
            sent += batch;
            self.arrived
                .wait_for((before + sent).saturating_sub(window))
                .await;
        }
        self.arrived.wait_for(before + sent).await;
    }

    /// Closes both ends.
    pub async fn shutdown(self) {
        self.sender.shutdown().await;
        self.receiver.shutdown().await;
    }
}

fn message(payload: &Bytes, term: Term) -> Message {
    let prev = EntryId::new(Term(1), Index(1));
    let entry = Entry::command(Term(1), Index(2), payload.clone());
    let body = Body::AppendEntries(AppendEntries {
        prev,
        prev_acknowledged: false,
        entries: vec![entry],
        leader_commit: Index(1),
        round: Round(0),
    });
    Message {
        group: GroupId(1),
        from: NodeId(1),
        to: NodeId(2),
        term,
        body,
    }
}

/// Every transport of the workspace, as a connected pair.
///
/// # Panics
/// If one cannot be started on loopback.
pub async fn pairs() -> Vec<(&'static str, Pair)> {
    let network = InProcessNetwork::new();
    let in_process = Pair::connect(network.transport(NodeId(1)), network.transport(NodeId(2)), None).await;
    let certificates = Certificates::new(2);
    let [one, two] =
        <[_; 2]>::try_from(certificates.transports()).unwrap_or_else(|_| unreachable!("two nodes"));
    let quic = Pair::connect(one, two, Some(certificates)).await;
    vec![("in-process", in_process), ("quic", quic)]
}

/// Certificates of a cluster in a directory of their own, and addresses that were free a moment ago.
pub struct Certificates {
    dir: TempDir,
    addresses: BTreeMap<NodeId, SocketAddr>,
}

impl Certificates {
    /// For nodes 1 to `count`.
    ///
    /// # Panics
    /// If they cannot be made.
    #[must_use]
    pub fn new(count: u64) -> Certificates {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let nodes: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let cluster: ClusterName = "bench".parse().expect("this is a name");
        let authority = Authority::open_or_make(dir.path(), &cluster).expect("a new authority");
        let holders: Vec<Holder> = nodes.iter().copied().map(Holder::Node).collect();
        leaf::make(&authority, dir.path(), &holders, 1, false).expect("new certificates");
        // All sockets are open at once, so that no address is given twice.
        let sockets: Vec<UdpSocket> = nodes
            .iter()
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports"))
            .collect();
        let address = |socket: &UdpSocket| socket.local_addr().expect("a bound socket has an address");
        let addresses = nodes.into_iter().zip(sockets.iter().map(address)).collect();
        Certificates { dir, addresses }
    }

    /// One QUIC transport for each node.
    ///
    /// # Panics
    /// If one cannot be bound.
    #[must_use]
    pub fn transports(&self) -> Vec<Arc<dyn Transport>> {
        let transport = |(&id, &listen): (&NodeId, &SocketAddr)| {
            let peers = self.addresses.iter().filter(|(peer, _)| **peer != id);
            let options = TransportOptions {
                id,
                cluster: "bench".to_string(),
                listen,
                peers: peers
                    .map(|(&peer, address)| (peer, address.to_string()))
                    .collect(),
                contact_address: ContactAddress::default(),
                certificate: self.dir.path().join(format!("n{id}.pem")),
                key: self.dir.path().join(format!("n{id}.key")),
                ca: self.dir.path().join("ca.pem"),
                limits: TransportLimits::default(),
            };
            let transport = QuicTransport::bind(options, QuicLimits::default());
            Arc::new(transport.expect("a free loopback address")) as Arc<dyn Transport>
        };
        self.addresses.iter().map(transport).collect()
    }
}
