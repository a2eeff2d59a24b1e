//! Puts the parts together: a node, its store and its transport become a server.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use raft_core::runtime::Node;
use raft_core::traits::Transport;
use raft_core::types::NodeId;
use raft_kv::KvStore;
use tokio::net::TcpListener;

use super::api::Api;
use super::identity::{Identity, MemberUrls, cluster_id, member_id};
use super::listener::{self, ServeError};
use super::node_backend::NodeBackend;
use crate::archive::log_store::ArchiveFigures;
use crate::certificates::figures::CertificateFigures;

/// What [`serve`] needs.
pub struct ServerOptions {
    /// Where clients connect.
    pub listener: TcpListener,
    /// The node that serves them.
    pub node: Node,
    /// The store that the node's state machine fills.
    pub store: Arc<KvStore>,
    /// The node's transport, for the figures about its peers.
    pub transport: Arc<dyn Transport>,
    /// The name of the cluster.
    pub cluster: String,
    /// This node.
    pub id: NodeId,
    /// Where each member is reached. Who is a member is the node's to say.
    pub members: BTreeMap<NodeId, MemberUrls>,
    /// The election timeout of the node: a request may outlive two elections.
    pub election_timeout: Duration,
    /// What became of the node's certificates.
    pub certificates: Arc<CertificateFigures>,
    /// How its archive is, if it has one.
    pub archive: Option<Arc<ArchiveFigures>>,
    /// The version of this program.
    pub version: String,
}

/// Serves clients until `shutdown` resolves. Then takes no more connections, lets the requests in flight finish for at
/// most five seconds, and returns.
pub async fn serve(options: ServerOptions, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let identity = Identity {
        cluster_id: cluster_id(&options.cluster),
        member_id: member_id(options.id),
        members: options.members,
        version: options.version,
    };
    let backend = NodeBackend::new(options.node, options.store, options.transport);
    let mut api = Api::new(backend, identity, options.election_timeout);
    api.metrics.certificates = options.certificates;
    api.metrics.archive = options.archive;
    listener::run(options.listener, Arc::new(api), shutdown).await
}
