//! One port for gRPC and pages, for HTTP/1.1 and HTTP/2 without TLS; limits and the end of service.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use raft_kv::{Header, PutResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{FakeNode, Reply, Server};
use crate::proto::etcdserverpb::{PutRequest, StatusResponse};

/// Asks for a page as a browser of old would, and returns everything that comes back.
pub(super) async fn get(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn both_versions_of_http_share_the_port() {
    let server = Server::start(FakeNode::new()).await;
    assert!(get(&server, "/version").await.starts_with("HTTP/1.1 200 OK"));

    // HTTP/2 with prior knowledge, on the same port.
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::get("http://test/version")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{"), "{body:?}");
    drop(sender);
    driving.await.unwrap().unwrap();

    // And gRPC.
    let error = server.kv().await.put(PutRequest::default()).await.unwrap_err();
    assert_eq!(error.message(), "etcdserver: key is not provided");
}

/// `etcdctl endpoint status` names a URL where an authority belongs, if it was given one as its endpoint.
#[tokio::test]
async fn a_request_with_a_url_for_its_authority_is_served() {
    let server = Server::start(FakeNode::new()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let path = "/etcdserverpb.Maintenance/Status";
    let authority = "http://127.0.0.1:2379";
    let kind = "application/grpc";
    let block = [
        // `:method POST` and `:scheme http`; the others are literals: a name by its index, a length, a text.
        &b"\x83\x86"[..],
        &[0x44, path.len() as u8],
        path.as_bytes(),
        &[0x41, authority.len() as u8],
        authority.as_bytes(),
        &[0x5f, kind.len() as u8],
        kind.as_bytes(),
    ]
    .concat();
    let request = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        // No settings.
        b"\0\0\0\x04\0\0\0\0\0",
        // The headers, whole, of stream 1.
        &[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1],
        &block,
        // The data, to their end: an empty message.
        b"\0\0\x05\0\x01\0\0\0\x01\0\0\0\0\0",
    ]
    .concat();
    stream.write_all(&request).await.unwrap();
    let message = loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        assert_ne!(header[3], 3, "the stream was reset");
        if header[3] == 0 {
            break Bytes::from(payload).slice(5..);
        }
    };
    let status = StatusResponse::decode(message).unwrap();
    assert_eq!(status.raft_term, 7);
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let node = FakeNode::new().proposing(|_| {
        Reply::With(Ok(Ok(Response::Put(PutResponse {
            header: Header { revision: 2 },
            prev_kv: None,
        }))))
    });
    let server = Server::start(node).await;
    let kv = server.kv().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let mut kv = kv.clone();
        calls.spawn(async move {
            let request = PutRequest {
                key: "k".into(),
                ..Default::default()
            };
            kv.put(request).await.unwrap();
        });
    }
    assert_eq!(calls.join_all().await.len(), 500);
    let metrics = get(&server, "/metrics").await;
    assert!(
        metrics.contains("raft_node_proposals_total{result=\"ok\"} 500"),
        "{metrics}"
    );
    assert!(metrics.contains("raft_node_requests_in_flight 0"), "{metrics}");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_server_ends() {
    let (answer, answered) = oneshot::channel();
    let (proposed, arrived) = oneshot::channel();
    let mut once = Some((proposed, answered));
    let node = FakeNode::new().proposing(move |_| {
        let (proposed, answered) = once.take().expect("one request");
        proposed.send(()).unwrap();
        Reply::Later(answered)
    });
    let server = Server::start(node).await;
    let mut kv = server.kv().await;
    let call = tokio::spawn(async move {
        let request = PutRequest {
            key: "k".into(),
            ..Default::default()
        };
        kv.put(request).await
    });
    arrived.await.unwrap();
    let address = server.address;
    let stopping = tokio::spawn(server.stop());
    // The order to stop has arrived when nobody listens any more.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    answer
        .send(Ok(Ok(Response::Put(PutResponse::default()))))
        .unwrap();
    call.await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(4), stopping)
        .await
        .expect("nothing is left to wait for")
        .unwrap()
        .unwrap();
}

/// A client that is silent does not keep the server from ending.
#[tokio::test]
async fn an_idle_connection_ends_with_the_server() {
    let server = Server::start(FakeNode::new()).await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    let _used = server.kv().await.put(PutRequest::default()).await;
    tokio::time::timeout(Duration::from_secs(4), server.stop())
        .await
        .expect("nothing is left to wait for")
        .unwrap();
}
