//! Several sockets are one connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::membership::Membership;
use raft_core::memory::MemorySnapshotStore;
use raft_core::message::{Body, InstallSnapshot, Message, SnapshotContent, SnapshotMeta, TimeoutNow};
use raft_core::traits::{Inbound, SnapshotReader, SnapshotStore, SnapshotWriter, Transport, TransportError};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Term};
use raft_transport_tcp::{TcpLimits, TcpTransport, TransportLimits, TransportOptions};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::carrier::{CONTROL, ORDERED, URGENT, preamble};
use crate::intruder::{FORMAT, Intruder, hello_in, messages_frame, node_name};
use crate::support::{CLUSTER, Certificates, DEADLINE, wait_until};

const GROUP: GroupId = GroupId(1);

/// Counts messages and keeps snapshots.
#[derive(Default)]
pub(crate) struct Recorder {
    messages: Mutex<Vec<Message>>,
    snapshots: MemorySnapshotStore,
    finished: Mutex<Vec<InstallSnapshot>>,
}

impl Recorder {
    pub(crate) fn count(&self) -> usize {
        self.messages.lock().unwrap().len()
    }
}

#[async_trait]
impl Inbound for Recorder {
    fn receive(&self, _from: NodeId, messages: Vec<Message>) {
        self.messages.lock().unwrap().extend(messages);
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        let begun = self.snapshots.begin(GROUP, &header.meta, Some(content)).await;
        begun.map_err(|error| TransportError::Io(error.into()))
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        content.finish().await.unwrap();
        self.finished.lock().unwrap().push(header);
        Ok(())
    }
}

pub(crate) fn message(from: u64, to: u64) -> Message {
    Message {
        group: GROUP,
        from: NodeId(from),
        to: NodeId(to),
        term: Term(1),
        body: Body::TimeoutNow(TimeoutNow {
            last_log: EntryId::ZERO,
        }),
    }
}

/// Nodes 1 and 2, connected.
async fn pair(limits: &TransportLimits) -> (Certificates, [Arc<TcpTransport>; 2], [Arc<Recorder>; 2]) {
    let certificates = Certificates::new();
    let nodes = [1, 2].map(|id| bind(&certificates, id, limits));
    let addresses = [0, 1].map(|at| (NodeId(at as u64 + 1), nodes[at].local_addr().to_string()));
    for node in &nodes {
        node.set_peers(&addresses.clone().into()).unwrap();
    }
    let inbounds = <[Arc<Recorder>; 2]>::default();
    for (node, inbound) in nodes.iter().zip(&inbounds) {
        node.start(inbound.clone()).await.unwrap();
    }
    for node in &nodes {
        wait_until("both are connected", || is_connected(node)).await;
    }
    (certificates, nodes, inbounds)
}

pub(crate) fn is_connected(node: &TcpTransport) -> bool {
    node.peers().iter().all(|peer| peer.connected)
}

/// Node `id` at a port that the system chooses, without peers.
pub(crate) fn bind(certificates: &Certificates, id: u64, limits: &TransportLimits) -> Arc<TcpTransport> {
    let options = TransportOptions {
        limits: limits.clone(),
        ..certificates.options(id)
    };
    Arc::new(TcpTransport::bind(options, TcpLimits::default()).unwrap())
}

/// A socket to node `id` with the certificate of node `own`, after TLS.
async fn dial(certificates: &Certificates, own: u64, id: u64, to: SocketAddr) -> TlsStream<TcpStream> {
    let tls = Intruder::new(certificates, certificates.authority.issue_node(own)).tls;
    let name = ServerName::try_from(node_name(id)).unwrap();
    let stream = TcpStream::connect(to).await.unwrap();
    TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await
        .unwrap()
}

/// What the stream of `lane` begins with, and one message.
fn hello_and_message(lane: u8, from: u64, to: u64) -> Vec<u8> {
    let mut bytes = hello_in(lane, FORMAT, from, CLUSTER);
    bytes.extend(messages_frame(&[message(from, to)]));
    bytes
}

/// Whether the other end closes the socket.
async fn is_closed(socket: &mut TlsStream<TcpStream>) -> bool {
    let mut rest = Vec::new();
    timeout(DEADLINE, socket.read_to_end(&mut rest)).await.is_ok()
}

/// The control socket of a connection tells why it was closed, so the other end dials again at once and nobody waits for a
/// time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_one_node_is_known_to_the_other_at_once() {
    let limits = TransportLimits {
        idle_timeout: Duration::from_secs(600),
        ..TransportLimits::default()
    };
    let (_certificates, [one, two], _) = pair(&limits).await;
    two.shutdown().await;
    wait_until("node 1 knows that node 2 is gone", || !is_connected(&one)).await;
    one.shutdown().await;
}

/// The end that accepted cannot dial: it asks for a socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_go_in_both_directions() {
    let (_certificates, nodes, inbounds) = pair(&TransportLimits::default()).await;
    for (from, to) in [(0, 1), (1, 0), (1, 0)] {
        let store = MemorySnapshotStore::new();
        let meta = SnapshotMeta {
            last: EntryId::new(Term(1), Index(9)),
            membership: Membership::of_voters([NodeId(1), NodeId(2)]).unwrap(),
        };
        let mut writer = store.begin(GROUP, &meta, None).await.unwrap();
        writer.write_chunk(Bytes::from(vec![5; 3_000_000])).await.unwrap();
        writer.finish().await.unwrap();
        let content: Box<dyn SnapshotReader> = store.open(GROUP, meta.last).await.unwrap();
        let header = InstallSnapshot {
            group: GROUP,
            from: NodeId(from + 1),
            to: NodeId(to + 1),
            term: Term(1),
            meta: meta.clone(),
        };
        let [from, to] = [from, to].map(|at| usize::try_from(at).unwrap());
        nodes[from].send_snapshot(header.clone(), content).await.unwrap();
        assert_eq!(inbounds[to].finished.lock().unwrap().last(), Some(&header));
        let opened = inbounds[to].snapshots.open(GROUP, meta.last).await;
        let stored = opened.unwrap().read_chunk(usize::MAX).await.unwrap();
        assert_eq!(stored, vec![5; 3_000_000]);
    }
}

/// A bare client that speaks the protocol is heard, in both lanes, whichever socket comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_may_come_in_any_order() {
    let certificates = Certificates::new();
    let target = bind(&certificates, 2, &TransportLimits::default());
    let inbound = Arc::new(Recorder::default());
    target
        .set_peers(&[(NodeId(1), "127.0.0.1:1".to_owned())].into())
        .unwrap();
    target.start(inbound.clone()).await.unwrap();
    let mut sockets = Vec::new();
    for (purpose, lane) in [(ORDERED, Some(1)), (URGENT, Some(0)), (CONTROL, None)] {
        let mut socket = dial(&certificates, 1, 2, target.local_addr()).await;
        socket.write_all(&preamble(9, purpose)).await.unwrap();
        if let Some(lane) = lane {
            socket.write_all(&hello_and_message(lane, 1, 2)).await.unwrap();
        }
        socket.flush().await.unwrap();
        sockets.push(socket);
    }
    wait_until("both messages arrived", || inbound.count() == 2).await;
}

/// A speaks as B: a node with a certificate of its own, which knows the number of another node's connection, cannot add a
/// socket to it, nor can the same node add a lane twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_belongs_to_one_node_and_one_lane() {
    let certificates = Certificates::new();
    let target = bind(&certificates, 3, &TransportLimits::default());
    let inbound = Arc::new(Recorder::default());
    let nowhere = || "127.0.0.1:1".to_owned();
    target
        .set_peers(&[(NodeId(1), nowhere()), (NodeId(2), nowhere())].into())
        .unwrap();
    target.start(inbound.clone()).await.unwrap();
    let to = target.local_addr();
    let open = async |own: u64, purpose: u8, bytes: Vec<u8>| {
        let mut socket = dial(&certificates, own, 3, to).await;
        socket.write_all(&preamble(9, purpose)).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        socket.flush().await.unwrap();
        socket
    };
    let _control = open(1, CONTROL, Vec::new()).await;
    let mut foreign = open(2, URGENT, hello_and_message(0, 1, 3)).await;
    assert!(is_closed(&mut foreign).await);
    let _urgent = open(1, URGENT, hello_and_message(0, 1, 3)).await;
    let _ordered = open(1, ORDERED, hello_and_message(1, 1, 3)).await;
    wait_until("both lanes are heard", || inbound.count() == 2).await;
    for purpose in [CONTROL, URGENT, ORDERED] {
        let mut second = open(1, purpose, hello_and_message(0, 1, 3)).await;
        assert!(is_closed(&mut second).await);
    }
    assert!(
        target
            .peers()
            .iter()
            .any(|peer| peer.id == NodeId(1) && peer.connected)
    );
    assert_eq!(inbound.count(), 2);
}

/// A connection that lost one of its sockets is no connection: it ends and is made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_socket_is_the_end_of_its_connection() {
    let certificates = Certificates::new();
    let target = bind(&certificates, 2, &TransportLimits::default());
    let inbound = Arc::new(Recorder::default());
    target
        .set_peers(&[(NodeId(1), "127.0.0.1:1".to_owned())].into())
        .unwrap();
    target.start(inbound.clone()).await.unwrap();
    let mut sockets = Vec::new();
    for (purpose, lane) in [(CONTROL, None), (URGENT, Some(0)), (ORDERED, Some(1))] {
        let mut socket = dial(&certificates, 1, 2, target.local_addr()).await;
        socket.write_all(&preamble(9, purpose)).await.unwrap();
        if let Some(lane) = lane {
            socket.write_all(&hello_and_message(lane, 1, 2)).await.unwrap();
        }
        socket.flush().await.unwrap();
        sockets.push(socket);
    }
    wait_until("it is connected", || is_connected(&target)).await;
    drop(sockets.pop());
    wait_until("the connection is given up", || !is_connected(&target)).await;
    assert!(
        is_closed(&mut sockets[0]).await,
        "the control socket is closed, too"
    );
}

/// 0-RTT: a client that wants early data never gets a ticket to send any with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_early_data() {
    let certificates = Certificates::new();
    let target = bind(&certificates, 2, &TransportLimits::default());
    let inbound = Arc::new(Recorder::default());
    target
        .set_peers(&[(NodeId(1), "127.0.0.1:1".to_owned())].into())
        .unwrap();
    target.start(inbound.clone()).await.unwrap();
    let mut tls = Intruder::new(&certificates, certificates.authority.issue_node(1)).tls;
    tls.enable_early_data = true;
    let tls = Arc::new(tls);
    let name = ServerName::try_from(node_name(2)).unwrap();
    for number in 1..=3u64 {
        let mut sockets = Vec::new();
        for (purpose, lane) in [(CONTROL, None), (URGENT, Some(0)), (ORDERED, Some(1))] {
            let stream = TcpStream::connect(target.local_addr()).await.unwrap();
            let connecting = TlsConnector::from(tls.clone());
            let mut socket = connecting.connect(name.clone(), stream).await.unwrap();
            let mut bytes = preamble(number, purpose);
            if let Some(lane) = lane {
                bytes.extend(hello_and_message(lane, 1, 2));
            }
            socket.write_all(&bytes).await.unwrap();
            socket.flush().await.unwrap();
            let (_, connection) = socket.get_ref();
            assert!(!connection.is_early_data_accepted(), "at attempt {number}");
            sockets.push(socket);
        }
        // A ticket would have arrived before: it comes with the end of the handshake.
        wait_until("both messages arrived", || inbound.count() == 2 * number as usize).await;
        for socket in &mut sockets[1..] {
            // The node's own hello comes after any ticket.
            socket.read_u8().await.unwrap();
            assert_eq!(socket.get_ref().1.tls13_tickets_received(), 0);
        }
    }
}
