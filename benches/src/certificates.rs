//! Certificates of a cluster for this process alone, and what a transport is made from.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use raft_core::traits::Transport;
use raft_core::types::NodeId;
use raft_node::certificates::{authority::Authority, holder::Holder, leaf};
use raft_node::config::cluster_name::ClusterName;
use raft_transport::{Credentials, SetupError, node_name};
use raft_transport_quic::{ContactAddress, QuicLimits, QuicTransport, TransportLimits, TransportOptions};
use raft_transport_tcp::{TcpLimits, TcpTransport};
use tempfile::TempDir;

const CLUSTER: &str = "bench";

/// Certificates of a cluster in a directory of their own, and addresses that were free a moment ago.
#[derive(Debug)]
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
        let cluster: ClusterName = CLUSTER.parse().expect("this is a name");
        let authority = Authority::open_or_make(dir.path(), &cluster).expect("a new authority");
        let holders: Vec<Holder> = nodes.iter().copied().map(Holder::Node).collect();
        leaf::make(&authority, dir.path(), &holders, 1, false).expect("new certificates");
        // All are held until the last one is chosen, so that no address is given twice.
        let held: Vec<(TcpListener, UdpSocket)> = nodes.iter().map(|_| free_port()).collect();
        let address =
            |(held, _): &(TcpListener, UdpSocket)| held.local_addr().expect("a bound socket has an address");
        let addresses = nodes.into_iter().zip(held.iter().map(address)).collect();
        Certificates { dir, addresses }
    }

    /// One QUIC transport for each node.
    ///
    /// # Panics
    /// If one cannot be bound.
    #[must_use]
    pub fn quic_transports(&self) -> Vec<Arc<dyn Transport>> {
        self.transports(|options| QuicTransport::bind(options, QuicLimits::default()))
    }

    /// One TCP transport for each node.
    ///
    /// # Panics
    /// If one cannot be bound.
    #[must_use]
    pub fn tcp_transports(&self) -> Vec<Arc<dyn Transport>> {
        self.transports(|options| TcpTransport::bind(options, TcpLimits::default()))
    }

    fn transports<T: Transport + 'static>(
        &self,
        bind: impl Fn(TransportOptions) -> Result<T, SetupError>,
    ) -> Vec<Arc<dyn Transport>> {
        let one =
            |&id| Arc::new(bind(self.options(id)).expect("a free loopback address")) as Arc<dyn Transport>;
        self.addresses.keys().map(one).collect()
    }

    /// What TLS needs at the end of `node`: the very configurations that the transports use, and its name.
    ///
    /// # Panics
    /// If the node has no certificate.
    #[must_use]
    pub fn credentials(&self, node: NodeId) -> (Credentials, String) {
        let credentials = Credentials::load(&self.options(node)).expect("certificates that were just made");
        (credentials, node_name(node, CLUSTER))
    }

    fn options(&self, id: NodeId) -> TransportOptions {
        let peers = self.addresses.iter().filter(|(peer, _)| **peer != id);
        TransportOptions {
            id,
            cluster: CLUSTER.to_string(),
            listen: self.addresses[&id],
            peers: peers
                .map(|(&peer, address)| (peer, address.to_string()))
                .collect(),
            contact_address: ContactAddress::default(),
            certificate: self.dir.path().join(format!("n{id}.pem")),
            key: self.dir.path().join(format!("n{id}.key")),
            ca: self.dir.path().join("ca.pem"),
            limits: TransportLimits::default(),
        }
    }
}

/// A port of loopback that is free for TCP and for UDP.
fn free_port() -> (TcpListener, UdpSocket) {
    const ATTEMPTS: usize = 1_000;
    let attempt = |_| {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
        Some((tcp, udp))
    };
    (0..ATTEMPTS).find_map(attempt).expect("loopback has free ports")
}
