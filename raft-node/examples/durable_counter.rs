//! The counter of raft-core's example `counter`, on real disks and a real network: three nodes, each with its log on
//! RocksDB, its snapshots in files, and QUIC with mutual TLS between them. Compared with memory, three lines change: they are
//! marked below. The example starts the cluster, counts, stops it, starts it again and counts on.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

#[allow(dead_code, reason = "only its state machine is used here")]
#[path = "../../raft-core/examples/counter.rs"]
mod counter;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use counter::Counter;
use raft_core::config::Config;
use raft_core::membership::Membership;
use raft_core::runtime::{Node, NodeOptions};
use raft_core::types::{GroupId, NodeId};
use raft_node::certificates::{authority::Authority, holder::Holder, leaf};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogStore};
use raft_transport_quic::{ContactAddress, QuicLimits, QuicTransport, TransportLimits, TransportOptions};

type Error = Box<dyn std::error::Error>;

const CLUSTER: &str = "counter";

async fn start(
    id: NodeId,
    directory: &Path,
    addresses: &BTreeMap<NodeId, SocketAddr>,
) -> Result<Node, Error> {
    let own = directory.join(format!("n{id}"));
    let node = Node::start(NodeOptions {
        config: Config::new(GroupId(1), id),
        bootstrap: Some(Membership::of_voters(addresses.keys().copied())?),
        // The three lines that change: where the log is, where snapshots are, how the others are reached.
        log_store: Arc::new(RocksLogStore::open_default(own.join("log"))?),
        snapshot_store: Arc::new(FileSnapshotStore::open(own.join("snapshots"))?),
        transport: Arc::new(QuicTransport::bind(
            quic(id, directory, addresses),
            QuicLimits::default(),
        )?),
        // A counter in memory: the log replays it at every start. A large state machine keeps its own data, and with it
        // what `commit` gives it.
        state_machine: Box::new(Counter::default()),
    });
    Ok(node.await?)
}

fn quic(id: NodeId, directory: &Path, addresses: &BTreeMap<NodeId, SocketAddr>) -> TransportOptions {
    let peers = addresses.iter().filter(|(peer, _)| **peer != id);
    TransportOptions {
        id,
        cluster: CLUSTER.to_string(),
        listen: addresses[&id],
        peers: peers
            .map(|(&peer, address)| (peer, address.to_string()))
            .collect(),
        contact_address: ContactAddress::default(),
        certificate: directory.join(format!("n{id}.pem")),
        key: directory.join(format!("n{id}.key")),
        ca: directory.join("ca.pem"),
        limits: TransportLimits::default(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let nodes = [NodeId(1), NodeId(2), NodeId(3)];
    let authority = Authority::open_or_make(directory.path(), &CLUSTER.parse()?)?;
    leaf::make(&authority, directory.path(), &nodes.map(Holder::Node), 1, false)?;
    let addresses = free_addresses(&nodes)?;
    for round in 1..=2 {
        let mut running = Vec::new();
        for id in nodes {
            running.push(start(id, directory.path(), &addresses).await?);
        }
        for node in running.iter().cycle().take(30) {
            node.propose(Bytes::from("increment")).await?;
        }
        println!(
            "start {round}: node 3 counted {:?}",
            running[2].read(Bytes::new()).await?
        );
        for node in running {
            node.shutdown().await;
        }
    }
    Ok(())
}

/// Loopback addresses that were free a moment ago.
fn free_addresses(nodes: &[NodeId]) -> Result<BTreeMap<NodeId, SocketAddr>, Error> {
    // All sockets are open at once, so that no address is given twice.
    let sockets: Vec<UdpSocket> = nodes
        .iter()
        .map(|_| UdpSocket::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let addresses: Result<Vec<_>, _> = sockets.iter().map(UdpSocket::local_addr).collect();
    Ok(nodes.iter().copied().zip(addresses?).collect())
}
