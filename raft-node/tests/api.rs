//! The client API over three real nodes in one process, with logs in memory and a network that can be cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::membership::Membership;
use raft_core::memory::InProcessNetwork;
use raft_core::runtime::{Node, NodeOptions};
use raft_core::traits::Transport;
use raft_core::types::NodeId;
use raft_kv::{KvOptions, KvStateMachine};
use raft_node::proto::etcdserverpb::cluster_client::ClusterClient;
use raft_node::proto::etcdserverpb::kv_client::KvClient;
use raft_node::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use raft_node::proto::etcdserverpb::{
    DeleteRangeRequest, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MoveLeaderRequest, PutRequest, RangeRequest, StatusRequest,
};
use raft_node::server::{MemberUrls, REQUEST_BYTES_MAX, ServeError, ServerOptions, cluster_id, serve};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request};

const ELECTION_TIMEOUT: Duration = Duration::from_millis(300);

struct Member {
    node: Node,
    channel: Channel,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
    _directory: TempDir,
}

impl Member {
    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    async fn put(&self, key: &'static str, value: &'static str) -> Result<i64, tonic::Status> {
        let request = PutRequest {
            key: key.into(),
            value: value.into(),
            ..Default::default()
        };
        let response = self.kv().put(request).await?.into_inner();
        Ok(response.header.unwrap().revision)
    }

    async fn value(&self, key: &'static str) -> Option<String> {
        let request = RangeRequest {
            key: key.into(),
            ..Default::default()
        };
        let response = self.kv().range(request).await.unwrap().into_inner();
        let pair = response.kvs.into_iter().next()?;
        Some(String::from_utf8(pair.value.to_vec()).unwrap())
    }
}

struct Cluster {
    network: InProcessNetwork,
    members: BTreeMap<NodeId, Member>,
}

impl Cluster {
    async fn start() -> Cluster {
        let network = InProcessNetwork::new();
        let ids = [1, 2, 3].map(NodeId);
        let voters = Membership::of_voters(ids).unwrap();
        let mut members = BTreeMap::new();
        for id in ids {
            members.insert(id, start_member(id, Some(&voters), &network).await);
        }
        let cluster = Cluster { network, members };
        for member in cluster.members.values() {
            let mut status = member.node.watch_status();
            status.wait_for(|status| status.leader.is_some()).await.unwrap();
        }
        cluster
    }

    fn member(&self, id: u64) -> &Member {
        &self.members[&NodeId(id)]
    }

    fn leader(&self) -> NodeId {
        let status = self.member(1).node.status();
        status.leader.expect("the cluster has a leader")
    }

    async fn stop(self) {
        for (_, member) in self.members {
            member.stop.send(()).unwrap();
            drop(member.channel);
            member.server.await.unwrap().unwrap();
            member.node.shutdown().await;
        }
    }
}

/// Starts one of the first members, or one that joins them.
async fn start_member(id: NodeId, first: Option<&Membership>, network: &InProcessNetwork) -> Member {
    let directory = tempfile::tempdir().unwrap();
    let (state_machine, store) = KvStateMachine::open(directory.path(), KvOptions::default()).unwrap();
    let mut options = NodeOptions::in_memory(id, &Membership::empty(), network, state_machine);
    options.bootstrap = first.cloned();
    options.config.election_timeout = ELECTION_TIMEOUT;
    options.config.heartbeat_interval = ELECTION_TIMEOUT / 10;
    options.config.entry_bytes_max = REQUEST_BYTES_MAX;
    let transport: std::sync::Arc<dyn Transport> = options.transport.clone();
    let node = Node::start(options).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let options = ServerOptions {
        listener,
        node: node.clone(),
        store,
        transport,
        cluster: "api".to_owned(),
        id,
        members: (1..=3).map(|id| (NodeId(id), urls(NodeId(id)))).collect(),
        election_timeout: ELECTION_TIMEOUT,
        archive: None,
        certificates: std::sync::Arc::default(),
        version: "0.0.0".to_owned(),
    };
    let server = tokio::spawn(serve(options, async {
        // A test that fails drops the sender, and the server ends as well.
        let _ = stopped.await;
    }));
    let channel = Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    Member {
        node,
        channel,
        stop,
        server,
        _directory: directory,
    }
}

fn urls(id: NodeId) -> MemberUrls {
    MemberUrls {
        peer: vec![format!("quic://peer-{id}:2380")],
        client: vec![format!("http://client-{id}:2379")],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_serves_every_request() {
    let cluster = Cluster::start().await;
    for (number, id) in [1, 2, 3].into_iter().enumerate() {
        // An empty store has revision 1.
        let revision = cluster.member(id).put("key", "value").await.unwrap();
        assert_eq!(revision, 2 + number as i64);
    }
    cluster.member(1).put("key", "newest").await.unwrap();
    for id in 1..=3 {
        assert_eq!(cluster.member(id).value("key").await.as_deref(), Some("newest"));
    }
    let request = RangeRequest {
        key: "key".into(),
        revision: 2,
        ..Default::default()
    };
    let response = cluster.member(2).kv().range(request).await.unwrap().into_inner();
    let header = response.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id), (cluster_id("api"), 2));
    assert_eq!(header.revision, 5);
    assert_eq!(header.raft_term, cluster.member(2).node.status().term.0);
    assert_eq!(response.kvs[0].value, "value");
    assert_eq!((response.kvs[0].mod_revision, response.kvs[0].version), (2, 1));

    let request = DeleteRangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        prev_kv: true,
    };
    let deleted = cluster
        .member(3)
        .kv()
        .delete_range(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (deleted.deleted, &deleted.prev_kvs[0].value[..]),
        (1, &b"newest"[..])
    );
    assert_eq!(cluster.member(1).value("key").await, None);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_the_store_reach_the_client() {
    let cluster = Cluster::start().await;
    let mut kv = cluster.member(1).kv();
    let cases = [
        (
            PutRequest {
                key: "missing".into(),
                ignore_value: true,
                ..Default::default()
            },
            Code::InvalidArgument,
            "etcdserver: key not found",
        ),
        (
            PutRequest {
                key: "k".into(),
                lease: 123,
                ..Default::default()
            },
            Code::NotFound,
            "etcdserver: requested lease not found",
        ),
    ];
    for (request, code, text) in cases {
        let status = kv.put(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, text));
    }
    let request = RangeRequest {
        key: "k".into(),
        revision: 100,
        ..Default::default()
    };
    let status = kv.range(request).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision"
        )
    );
    // Etcd takes almost 1.5 MiB, and so do all three nodes here.
    let large = PutRequest {
        key: "large".into(),
        value: vec![b'x'; REQUEST_BYTES_MAX - 512].into(),
        ..Default::default()
    };
    for id in 1..=3 {
        cluster.member(id).kv().put(large.clone()).await.unwrap();
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_status_are_those_of_the_cluster() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader();
    let mut members = ClusterClient::new(cluster.member(3).channel.clone());
    let request = MemberListRequest { linearizable: true };
    let list = members.member_list(request).await.unwrap().into_inner().members;
    let names: Vec<_> = list.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    assert_eq!(list[0].peer_urls, ["quic://peer-1:2380"]);
    assert_eq!(list[0].client_urls, ["http://client-1:2379"]);
    for id in 1..=3 {
        let mut maintenance = MaintenanceClient::new(cluster.member(id).channel.clone());
        let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!(status.header.unwrap().member_id, id);
        assert_eq!(status.leader, leader.0);
        assert!(status.errors.is_empty());
    }
    cluster.stop().await;
}

/// A node joins, catches up, votes and leads, and another one leaves: all through nodes that do not lead. R71: the
/// learner votes only when it has caught up. R68: the next member gets another id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_the_leader_change_through_any_node() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader();
    let follower = cluster.members.keys().copied().find(|&id| id != leader).unwrap();
    cluster.members[&follower].put("key", "before").await.unwrap();
    let mut members = ClusterClient::new(cluster.members[&follower].channel.clone());
    let request = MemberAddRequest {
        peer_urls: vec!["quic://peer-4:2380".to_owned()],
        is_learner: true,
    };
    let added = members.member_add(request).await.unwrap().into_inner();
    let member = added.member.unwrap();
    assert_eq!((member.id, member.is_learner), (4, true));
    assert_eq!(added.members.len(), 4);

    let four = MemberPromoteRequest { id: 4 };
    let refused = members.member_promote(four).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader"
        )
    );
    let joined = start_member(NodeId(4), None, &cluster.network).await;
    cluster.members.insert(NodeId(4), joined);
    // It takes some rounds of replication until it is known to keep up.
    while let Err(status) = members.member_promote(four).await {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        cluster.member(4).put("key", "meanwhile").await.unwrap();
    }

    let mut maintenance = MaintenanceClient::new(cluster.members[&follower].channel.clone());
    let nobody = maintenance.move_leader(MoveLeaderRequest { target_id: 9 }).await;
    let nobody = nobody.unwrap_err();
    assert_eq!(
        (nobody.code(), nobody.message()),
        (Code::FailedPrecondition, "etcdserver: bad leader transferee")
    );
    maintenance
        .move_leader(MoveLeaderRequest { target_id: 4 })
        .await
        .unwrap();
    let mut status = cluster.member(4).node.watch_status();
    status
        .wait_for(|status| status.leader == Some(NodeId(4)))
        .await
        .unwrap();
    let removed = MemberRemoveRequest { id: leader.0 };
    let left = members.member_remove(removed).await.unwrap().into_inner();
    assert_eq!(left.members.len(), 3);
    let gone = members.member_remove(removed).await.unwrap_err();
    assert_eq!(gone.message(), "etcdserver: member not found");
    cluster.members[&follower].put("key", "after").await.unwrap();
    assert_eq!(cluster.member(4).value("key").await.as_deref(), Some("after"));
    let request = MemberAddRequest {
        peer_urls: vec!["quic://peer-5:2380".to_owned()],
        is_learner: true,
    };
    let added = members.member_add(request).await.unwrap().into_inner();
    assert_eq!(added.member.unwrap().id, 5);
    cluster.stop().await;
}

/// R45: a write that a lost leader had taken is never acknowledged. R36: the others go on, and what they write is what
/// the lost one reads once it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_leader_acknowledges_nothing() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader();
    cluster.members[&leader].put("key", "before").await.unwrap();
    cluster.network.isolate(leader);
    let status = cluster.members[&leader].put("key", "lost").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(
        status.message().starts_with("etcdserver: request timed out"),
        "{status:?}"
    );

    let other = cluster.members.keys().copied().find(|&id| id != leader).unwrap();
    let mut status = cluster.members[&other].node.watch_status();
    status
        .wait_for(|status| status.leader.is_some_and(|new| new != leader))
        .await
        .unwrap();
    cluster.members[&other].put("key", "after").await.unwrap();
    // Without a quorum the isolated node answers no linearizable read, not even with what it has.
    let mut request = Request::new(RangeRequest {
        key: "key".into(),
        ..Default::default()
    });
    request.set_timeout(ELECTION_TIMEOUT * 2);
    let status = cluster.members[&leader].kv().range(request).await.unwrap_err();
    assert_ne!(status.code(), Code::Ok);
    // It still answers a serializable one, from the past.
    let request = RangeRequest {
        key: "key".into(),
        serializable: true,
        ..Default::default()
    };
    let stale = cluster.members[&leader]
        .kv()
        .range(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stale.kvs[0].value, "before");

    cluster.network.heal();
    assert_eq!(
        cluster.members[&leader].value("key").await.as_deref(),
        Some("after")
    );
    cluster.stop().await;
}
