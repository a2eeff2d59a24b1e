//! The suite that every transport must pass.

use std::sync::Arc;

use raft_core::conformance;
use raft_core::traits::Transport;
use raft_core::types::NodeId;
use raft_transport_tcp::TransportLimits;

use crate::support::Certificates;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_transport() {
    let certificates = Certificates::new();
    conformance::transport(async |ids: &[NodeId]| {
        let nodes = certificates.cluster(ids, &TransportLimits::default());
        nodes.into_iter().map(|node| node as Arc<dyn Transport>).collect()
    })
    .await;
}
