//! The suite that every transport must pass.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_core::conformance::{self, TransportBounds};
use raft_core::traits::Transport;
use raft_core::types::NodeId;
use raft_transport::{TransportLimits, TransportOptions};

use crate::support::{Certificates, TestNode};

/// R49, R76: whatever carries its messages, a node gets what the traits promise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_transport() {
    let limits = TransportLimits {
        queue_messages_max: 256,
        queue_bytes_max: 4 << 20,
        snapshot_stall_timeout: Duration::from_secs(2),
        ..TransportLimits::default()
    };
    let bounds = TransportBounds {
        // There are two lanes.
        queued_messages_max: 2 * limits.queue_messages_max,
        queued_bytes_max: 2 * limits.queue_bytes_max,
        snapshot_stall_timeout: limits.snapshot_stall_timeout,
    };
    let certificates = Certificates::new();
    let addresses: Mutex<BTreeMap<NodeId, SocketAddr>> = Mutex::default();
    conformance::transport(bounds, async |ids: &[NodeId]| {
        let mut addresses = addresses.lock().unwrap();
        let mut nodes = Vec::new();
        for id in ids {
            let options = certificates.options(id.0);
            let node = TestNode::bind(TransportOptions {
                listen: addresses.get(id).copied().unwrap_or(options.listen),
                limits: limits.clone(),
                ..options
            });
            addresses.insert(*id, node.address());
            nodes.push(node);
        }
        let peers = addresses.iter().map(|(id, address)| (*id, address.to_string()));
        let peers = peers.collect();
        let transports = nodes.into_iter().map(|node| {
            node.transport.set_peers(&peers).unwrap();
            node.transport as Arc<dyn Transport>
        });
        transports.collect()
    })
    .await;
}
