//! A firewall on the way forgets one of a connection's sockets: nothing crosses it any more, and no end is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_core::entry::Entry;
use raft_core::message::{AppendEntries, Body, Message};
use raft_core::traits::Transport;
use raft_core::types::{EntryId, Index, NodeId, Round, Term};
use raft_transport_tcp::TransportLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::sockets::{Recorder, bind, is_connected, message};
use crate::support::{Certificates, wait_until};

/// The sockets of a connection.
const SOCKETS: usize = 3;

/// One socket through the firewall.
#[derive(Default)]
struct Passage {
    bytes_there: AtomicU64,
    bytes_back: AtomicU64,
    is_forgotten: AtomicBool,
}

impl Passage {
    /// How many bytes crossed, in each direction.
    fn counts(&self) -> [u64; 2] {
        [&self.bytes_there, &self.bytes_back].map(|bytes| bytes.load(Ordering::Relaxed))
    }
}

/// Lets sockets through to one address.
struct Firewall {
    address: SocketAddr,
    passages: Arc<Mutex<Vec<Arc<Passage>>>>,
}

impl Firewall {
    async fn before(node: SocketAddr) -> Firewall {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let firewall = Firewall {
            address: listener.local_addr().unwrap(),
            passages: Arc::default(),
        };
        let passages = firewall.passages.clone();
        tokio::spawn(async move {
            loop {
                let (outside, _) = listener.accept().await.unwrap();
                let inside = TcpStream::connect(node).await.unwrap();
                let passage = Arc::new(Passage::default());
                passages.lock().unwrap().push(passage.clone());
                let ((from_there, to_there), (from_here, to_here)) =
                    (inside.into_split(), outside.into_split());
                let there = passage.clone();
                tokio::spawn(async move { pass(from_here, to_there, &there, &there.bytes_there).await });
                tokio::spawn(async move { pass(from_there, to_here, &passage, &passage.bytes_back).await });
            }
        });
        firewall
    }

    fn passages(&self) -> Vec<Arc<Passage>> {
        self.passages.lock().unwrap().clone()
    }
}

/// Passes on what comes. What comes after the passage was forgotten is lost, and nobody hears of it.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passage: &Passage, count: &AtomicU64) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        if passage.is_forgotten.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
        count.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    if passage.is_forgotten.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// A message for the other lane than the one of [`message`].
fn append(from: u64, to: u64) -> Message {
    let body = Body::AppendEntries(AppendEntries {
        prev: EntryId::ZERO,
        prev_acknowledged: false,
        entries: vec![Entry::noop(Term(1), Index(1))],
        leader_commit: Index::ZERO,
        round: Round(1),
        sleep: false,
    });
    Message {
        body,
        ..message(from, to)
    }
}

/// R76: whichever socket is forgotten, the connection is made anew, and messages of both lanes cross it in both directions. Until
/// then the idle connection stays as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_a_firewall_forgot_is_noticed() {
    for forgotten in 0..SOCKETS {
        let limits = TransportLimits {
            keep_alive_interval: Duration::from_millis(100),
            silence_max: Duration::from_millis(200),
            idle_timeout: Duration::from_millis(800),
            ..TransportLimits::default()
        };
        let certificates = Certificates::new();
        let nodes = [1, 2].map(|id| bind(&certificates, id, &limits));
        let firewall = Firewall::before(nodes[1].local_addr()).await;
        // Node 2 does not find node 1: where a knock came from, there would be a way around the firewall.
        let nowhere = "127.0.0.1:1".to_owned();
        let contacts = [(NodeId(2), firewall.address.to_string()), (NodeId(1), nowhere)];
        let inbounds = <[Arc<Recorder>; 2]>::default();
        for ((node, inbound), contact) in nodes.iter().zip(&inbounds).zip(contacts) {
            node.set_peers(&[contact].into()).unwrap();
            node.start(inbound.clone()).await.unwrap();
        }
        let connected = || nodes.iter().all(|node| is_connected(node));
        wait_until("both are connected", connected).await;

        let before = firewall.passages();
        let standing = &before[before.len() - SOCKETS..];
        let counts = || standing.iter().flat_map(|passage| passage.counts());
        let at_first: Vec<u64> = counts().collect();
        // A frame or a record of the control socket takes some 40 bytes with what TLS adds: for longer than `idle_timeout`.
        let grew = |(now, first): (u64, &u64)| now > first + 600;
        wait_until("signs of life cross each socket", || {
            counts().zip(&at_first).all(grew)
        })
        .await;
        assert_eq!(firewall.passages().len(), before.len(), "nothing was made anew");

        standing[forgotten].is_forgotten.store(true, Ordering::Relaxed);
        wait_until("the connection is made anew", || {
            firewall.passages().len() >= before.len() + SOCKETS && connected()
        })
        .await;
        for (from, to) in [(1, 2), (2, 1)] {
            nodes[from - 1].send(
                NodeId(to as u64),
                vec![message(from as u64, to as u64), append(from as u64, to as u64)],
            );
            wait_until("messages arrive", || inbounds[to - 1].count() == 2).await;
        }
        for node in nodes {
            node.shutdown().await;
        }
    }
}
