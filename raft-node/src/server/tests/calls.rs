//! What a call that goes well answers.

use bytes::Bytes;
use raft_kv::{Command, Header, KeyValue, Response, SortOrder, SortTarget};

use super::{FakeNode, Reply, Server};
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::range_request as wire;
use crate::proto::etcdserverpb::{
    AlarmRequest, DeleteRangeRequest, Member, MemberListRequest, PutRequest, RangeRequest, ResponseHeader,
    StatusRequest,
};
use crate::server::cluster_id;

fn header(revision: i64) -> ResponseHeader {
    ResponseHeader {
        cluster_id: cluster_id("test"),
        member_id: 1,
        revision,
        raft_term: 7,
    }
}

fn pair(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue {
        key: Bytes::from(key),
        create_revision: 3,
        mod_revision: 5,
        version: 2,
        value: Bytes::from(value),
        lease: 0,
    }
}

#[tokio::test]
async fn put_proposes_its_fields_and_returns_the_revision_of_the_write() {
    let node = FakeNode::new().proposing(|command| {
        let expected = raft_kv::PutRequest {
            key: Bytes::from("color"),
            value: Bytes::from("red"),
            prev_kv: true,
            ..Default::default()
        };
        assert_eq!(command, Command::Put(expected));
        Reply::With(Ok(Ok(Response::Put(raft_kv::PutResponse {
            header: Header { revision: 42 },
            prev_kv: Some(pair("color", "blue")),
        }))))
    });
    let server = Server::start(node).await;
    let request = PutRequest {
        key: "color".into(),
        value: "red".into(),
        prev_kv: true,
        ..Default::default()
    };
    let response = server.kv().await.put(request).await.unwrap().into_inner();
    assert_eq!(response.header, Some(header(42)));
    let previous = response.prev_kv.unwrap();
    assert_eq!(previous.value, "blue");
    assert_eq!(
        (previous.create_revision, previous.mod_revision, previous.version),
        (3, 5, 2)
    );
}

#[tokio::test]
async fn delete_range_proposes_its_fields_and_returns_what_was_deleted() {
    let node = FakeNode::new().proposing(|command| {
        let expected = raft_kv::DeleteRangeRequest {
            key: Bytes::from("a"),
            range_end: Bytes::from("c"),
            prev_kv: true,
        };
        assert_eq!(command, Command::DeleteRange(expected));
        Reply::With(Ok(Ok(Response::DeleteRange(raft_kv::DeleteRangeResponse {
            header: Header { revision: 43 },
            deleted: 2,
            prev_kvs: vec![pair("a", "1"), pair("b", "2")],
        }))))
    });
    let server = Server::start(node).await;
    let request = DeleteRangeRequest {
        key: "a".into(),
        range_end: "c".into(),
        prev_kv: true,
    };
    let response = server
        .kv()
        .await
        .delete_range(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(response.header, Some(header(43)));
    assert_eq!(response.deleted, 2);
    let keys: Vec<_> = response.prev_kvs.into_iter().map(|pair| pair.key).collect();
    assert_eq!(keys, ["a", "b"]);
}

#[tokio::test]
async fn range_passes_every_option_on() {
    let node = FakeNode::new().reading(|request| {
        let expected = raft_kv::RangeRequest {
            key: Bytes::from("a"),
            range_end: Bytes::from_static(b"\0"),
            limit: 10,
            revision: 4,
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::Mod,
            keys_only: true,
            count_only: true,
            min_mod_revision: 1,
            max_mod_revision: 2,
            min_create_revision: 3,
            max_create_revision: 4,
        };
        assert_eq!(request, expected);
        Ok(raft_kv::RangeResponse {
            header: Header { revision: 44 },
            kvs: vec![pair("a", "1")],
            more: true,
            count: 17,
        })
    });
    let server = Server::start(node).await;
    let request = RangeRequest {
        key: "a".into(),
        range_end: Bytes::from_static(b"\0"),
        limit: 10,
        revision: 4,
        sort_order: wire::SortOrder::Descend.into(),
        sort_target: wire::SortTarget::Mod.into(),
        serializable: false,
        keys_only: true,
        count_only: true,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: 4,
    };
    let response = server.kv().await.range(request).await.unwrap().into_inner();
    assert_eq!(response.header, Some(header(44)));
    assert_eq!(response.kvs[0].value, "1");
    assert_eq!((response.more, response.count), (true, 17));
}

/// R75: a serializable read asks no other node, a linearizable one never skips the barrier.
#[tokio::test]
async fn only_linearizable_reads_pass_the_barrier() {
    let (confirmed, confirmations) = std::sync::mpsc::channel();
    let node = FakeNode::new()
        .confirming(move || {
            confirmed.send(()).unwrap();
            Reply::With(Ok(()))
        })
        .reading(|_| Ok(raft_kv::RangeResponse::default()));
    let server = Server::start(node).await;
    let mut kv = server.kv().await;
    let linearizable = RangeRequest {
        key: "a".into(),
        ..Default::default()
    };
    let serializable = RangeRequest {
        serializable: true,
        ..linearizable.clone()
    };
    kv.range(serializable).await.unwrap();
    assert_eq!(confirmations.try_iter().count(), 0);
    kv.range(linearizable).await.unwrap();
    assert_eq!(confirmations.try_iter().count(), 1);
}

#[tokio::test]
async fn member_list_shows_names_addresses_and_learners() {
    let server = Server::start(FakeNode::new()).await;
    let mut cluster = ClusterClient::new(server.channel().await);
    let request = MemberListRequest { linearizable: true };
    let response = cluster.member_list(request).await.unwrap().into_inner();
    assert_eq!(response.header, Some(header(41)));
    let member = |id: u64, is_learner: bool| Member {
        id,
        name: format!("n{id}"),
        peer_urls: vec![format!("quic://10.0.0.{id}:2380")],
        client_urls: vec![format!("http://10.0.0.{id}:2379")],
        is_learner,
    };
    assert_eq!(
        response.members,
        [member(1, false), member(2, false), member(3, true)]
    );
}

#[tokio::test]
async fn status_describes_the_replica() {
    let server = Server::start(FakeNode::new()).await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let response = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(response.header, Some(header(41)));
    assert_eq!(response.version, "3.5.0");
    assert_eq!((response.db_size, response.db_size_in_use), (4096, 4096));
    assert_eq!((response.leader, response.raft_term), (2, 7));
    assert_eq!((response.raft_index, response.raft_applied_index), (12, 11));
    assert!(response.errors.is_empty());
    assert!(!response.is_learner);
}

#[tokio::test]
async fn status_without_a_leader_says_so() {
    let server = Server::start(FakeNode::new().without_leader()).await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let response = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(response.leader, 0);
    assert_eq!(response.errors, ["etcdserver: no leader"]);
}

#[tokio::test]
async fn there_are_no_alarms() {
    let server = Server::start(FakeNode::new()).await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let response = maintenance
        .alarm(AlarmRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(response.header, Some(header(41)));
    assert!(response.alarms.is_empty());
}
