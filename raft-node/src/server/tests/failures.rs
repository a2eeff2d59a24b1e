//! Every error that a client can meet: code and text are part of the protocol.

use bytes::Bytes;
use raft_kv::{KvError, RangeResponse};
use tonic::{Code, Request, Status};

use super::{FakeNode, Reply, Server};
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::lease_client::LeaseClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::watch_client::WatchClient;
use crate::proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest,
    TxnRequest, WatchRequest,
};
use crate::server::REQUEST_BYTES_MAX;
use crate::server::backend::Failure;

fn put(key: &'static str) -> PutRequest {
    PutRequest {
        key: key.into(),
        ..Default::default()
    }
}

fn range(key: &'static str) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        ..Default::default()
    }
}

fn assert_status(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test]
async fn requests_that_etcd_refuses_unseen_never_reach_the_node() {
    let node = FakeNode::new()
        .proposing(|command| panic!("proposed {command:?}"))
        .reading(|request| panic!("read {request:?}"));
    let server = Server::start(node).await;
    let mut kv = server.kv().await;
    let empty_key = "etcdserver: key is not provided";
    assert_status(
        &kv.put(put("")).await.unwrap_err(),
        Code::InvalidArgument,
        empty_key,
    );
    assert_status(
        &kv.range(range("")).await.unwrap_err(),
        Code::InvalidArgument,
        empty_key,
    );
    let delete = DeleteRangeRequest::default();
    assert_status(
        &kv.delete_range(delete).await.unwrap_err(),
        Code::InvalidArgument,
        empty_key,
    );
    let value_provided = PutRequest {
        value: "v".into(),
        ignore_value: true,
        ..put("k")
    };
    assert_status(
        &kv.put(value_provided).await.unwrap_err(),
        Code::InvalidArgument,
        "etcdserver: value is provided",
    );
    let lease_provided = PutRequest {
        lease: 1,
        ignore_lease: true,
        ..put("k")
    };
    assert_status(
        &kv.put(lease_provided).await.unwrap_err(),
        Code::InvalidArgument,
        "etcdserver: lease is provided",
    );
    let unknown_order = RangeRequest {
        sort_order: 3,
        ..range("k")
    };
    assert_status(
        &kv.range(unknown_order).await.unwrap_err(),
        Code::InvalidArgument,
        "etcdserver: invalid sort option",
    );
}

#[tokio::test]
async fn a_command_over_the_limit_is_too_large() {
    let node = FakeNode::new().proposing(|_| Reply::With(Err(Failure::Busy)));
    let server = Server::start(node).await;
    let mut kv = server.kv().await;
    let with_value_of = |bytes: usize| PutRequest {
        value: Bytes::from(vec![b'x'; bytes]),
        ..put("k")
    };
    let most = REQUEST_BYTES_MAX - 64;
    assert_eq!(
        kv.put(with_value_of(most)).await.unwrap_err().code(),
        Code::ResourceExhausted
    );
    assert_status(
        &kv.put(with_value_of(REQUEST_BYTES_MAX)).await.unwrap_err(),
        Code::InvalidArgument,
        "etcdserver: request is too large",
    );
    assert_status(
        &kv.put(with_value_of(4 * 1024 * 1024)).await.unwrap_err(),
        Code::ResourceExhausted,
        "grpc: received message larger than the server accepts",
    );
}

#[tokio::test]
async fn refusals_of_the_store_keep_their_text() {
    let cases = [
        (
            KvError::KeyNotFound,
            Code::InvalidArgument,
            "etcdserver: key not found",
        ),
        (
            KvError::LeaseNotFound,
            Code::NotFound,
            "etcdserver: requested lease not found",
        ),
        (
            KvError::Compacted { compact_revision: 9 },
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (
            KvError::FutureRevision { current_revision: 9 },
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            KvError::Storage("the disk is gone".to_owned()),
            Code::Internal,
            "raft-kv: the disk is gone",
        ),
    ];
    for (error, code, text) in cases {
        let (put_error, range_error) = (error.clone(), error);
        let node = FakeNode::new()
            .proposing(move |_| Reply::With(Ok(Err(put_error.clone()))))
            .reading(move |_| Err(Failure::Refused(range_error.clone())));
        let server = Server::start(node).await;
        let mut kv = server.kv().await;
        assert_status(&kv.put(put("k")).await.unwrap_err(), code, text);
        assert_status(&kv.range(range("k")).await.unwrap_err(), code, text);
    }
}

/// R20: refusals are told apart; R45: an unknown outcome is never a success, nor promises that nothing happened.
#[tokio::test]
async fn failures_of_the_node_have_etcds_code_and_text() {
    let cases = [
        (
            Failure::Busy,
            Code::ResourceExhausted,
            "etcdserver: too many requests",
        ),
        (
            Failure::TooLarge,
            Code::InvalidArgument,
            "etcdserver: request is too large",
        ),
        (Failure::Stopped, Code::Unavailable, "etcdserver: server stopped"),
        (
            Failure::Unknown,
            Code::Unavailable,
            "etcdserver: request timed out, possibly due to previous leader failure",
        ),
    ];
    for (failure, code, text) in cases {
        let node = FakeNode::new().proposing(move |_| Reply::With(Err(failure.clone())));
        let server = Server::start(node).await;
        assert_status(&server.kv().await.put(put("k")).await.unwrap_err(), code, text);
    }
}

#[tokio::test]
async fn a_client_that_requires_a_leader_is_refused_at_once_without_one() {
    let node = FakeNode::new()
        .without_leader()
        .reading(|_| Ok(RangeResponse::default()));
    let server = Server::start(node).await;
    let serializable = RangeRequest {
        serializable: true,
        ..range("k")
    };
    let mut kv = server.kv().await;
    kv.range(serializable.clone()).await.unwrap();
    let mut request = Request::new(serializable);
    request
        .metadata_mut()
        .insert("hasleader", "true".parse().unwrap());
    assert_status(
        &kv.range(request).await.unwrap_err(),
        Code::Unavailable,
        "etcdserver: no leader",
    );
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name() {
    let server = Server::start(FakeNode::new()).await;
    let mut kv = server.kv().await;
    assert_status(
        &kv.txn(TxnRequest::default()).await.unwrap_err(),
        Code::Unimplemented,
        "etcdserverpb.KV/Txn is not implemented",
    );
    assert_status(
        &kv.compact(CompactionRequest::default()).await.unwrap_err(),
        Code::Unimplemented,
        "etcdserverpb.KV/Compact is not implemented",
    );
    let mut lease = LeaseClient::new(server.channel().await);
    assert_status(
        &lease.lease_grant(LeaseGrantRequest::default()).await.unwrap_err(),
        Code::Unimplemented,
        "etcdserverpb.Lease/LeaseGrant is not implemented",
    );
    let mut watch = WatchClient::new(server.channel().await);
    let orders = tokio_stream::iter([WatchRequest::default()]);
    assert_status(
        &watch.watch(orders).await.unwrap_err(),
        Code::Unimplemented,
        "etcdserverpb.Watch/Watch is not implemented",
    );
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let raise = AlarmRequest {
        action: AlarmAction::Activate.into(),
        ..Default::default()
    };
    assert_status(
        &maintenance.alarm(raise).await.unwrap_err(),
        Code::Unimplemented,
        "etcdserverpb.Maintenance/Alarm with action ACTIVATE is not implemented",
    );
}

/// A service that our definitions do not even name is refused by its own name as well.
#[tokio::test]
async fn foreign_services_are_refused_by_name() {
    let server = Server::start(FakeNode::new()).await;
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Auth/AuthEnable");
    let codec = tonic_prost::ProstCodec::<TxnRequest, TxnRequest>::default();
    let request = Request::new(TxnRequest::default());
    let status = client.unary(request, path, codec).await.unwrap_err();
    assert_status(
        &status,
        Code::Unimplemented,
        "etcdserverpb.Auth/AuthEnable is not implemented",
    );
}
