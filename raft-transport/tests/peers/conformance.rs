//! The suite that every transport must pass.

use std::sync::Arc;

use raft_core::conformance;
use raft_core::traits::Transport;
use raft_core::types::NodeId;

use crate::support::{Certificates, TestNode, addresses};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_transport() {
    let certificates = Certificates::new();
    conformance::transport(async |ids: &[NodeId]| {
        let nodes: Vec<_> = ids
            .iter()
            .map(|id| TestNode::bind(certificates.options(id.0)))
            .collect();
        let peers = addresses(&nodes);
        nodes
            .into_iter()
            .map(|node| {
                node.transport.set_peers(&peers).unwrap();
                node.transport as Arc<dyn Transport>
            })
            .collect()
    })
    .await;
}
