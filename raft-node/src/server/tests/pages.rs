//! The pages for probes and Prometheus.

use raft_core::explain::{Case, Explanation, Question};
use raft_core::types::{Index, NodeId};
use raft_kv::{Header, PutResponse, RangeResponse, Response};

use super::port::get;
use super::{FakeNode, Reply, Server};
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::{MemberRemoveRequest, PutRequest, RangeRequest};
use crate::server::backend::Failure;

/// Status line and body of a page.
async fn page(server: &Server, path: &str) -> (String, String) {
    let answer = get(server, path).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
    let status = head.lines().next().expect("an answer has a status");
    (status.to_owned(), body.to_owned())
}

const OK: &str = "HTTP/1.1 200 OK";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable";

async fn assert_page(server: &Server, path: &str, status: &str, body: &str) {
    assert_eq!(
        page(server, path).await,
        (status.to_owned(), body.to_owned()),
        "{path}"
    );
}

#[tokio::test]
async fn a_healthy_node_says_so() {
    let server = Server::start(FakeNode::new()).await;
    assert_page(&server, "/health", OK, r#"{"health":"true","reason":""}"#).await;
    assert_page(&server, "/livez", OK, "ok\n").await;
    assert_page(&server, "/readyz", OK, "ok\n").await;
    assert_page(
        &server,
        "/readyz?verbose",
        OK,
        "[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
    )
    .await;
    assert_page(&server, "/readyz/linearizable_read", OK, "ok\n").await;
}

#[tokio::test]
async fn a_node_without_a_leader_is_alive_but_not_ready() {
    let server = Server::start(FakeNode::new().without_leader()).await;
    let no_leader = r#"{"health":"false","reason":"RAFT NO LEADER"}"#;
    assert_page(&server, "/health", UNAVAILABLE, no_leader).await;
    let healthy = r#"{"health":"true","reason":""}"#;
    assert_page(&server, "/health?serializable=true", OK, healthy).await;
    assert_page(&server, "/livez", OK, "ok\n").await;
    assert_page(
        &server,
        "/readyz",
        UNAVAILABLE,
        "[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n",
    )
    .await;
    assert_page(&server, "/readyz?exclude=linearizable_read", OK, "ok\n").await;
    assert_page(&server, "/livez?exclude=no_such_check", OK, "ok\n").await;
}

#[tokio::test]
async fn a_node_that_cannot_confirm_reads_is_not_healthy() {
    let node = FakeNode::new().confirming(|| Reply::With(Err(Failure::Busy)));
    let server = Server::start(node).await;
    let reason = r#"{"health":"false","reason":"RANGE ERROR:etcdserver: too many requests"}"#;
    assert_page(&server, "/health", UNAVAILABLE, reason).await;
}

#[tokio::test]
async fn the_version_page_names_the_api_and_the_program() {
    let server = Server::start(FakeNode::new()).await;
    let (status, body) = page(&server, "/version").await;
    assert_eq!(status, OK);
    let versions: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(versions["etcdserver"], "3.5.0");
    assert_eq!(versions["etcdcluster"], "3.5.0");
    assert_eq!(versions["raft-node"], "1.2.3");
}

#[tokio::test]
async fn a_node_explains_itself() {
    let server = Server::start(FakeNode::new()).await;
    let (status, body) = page(&server, "/why").await;
    assert_eq!(status, OK);
    assert!(
        body.starts_with("All is well as far as node 1 knows: it follows node 2"),
        "{body}"
    );
    let (_, metrics) = page(&server, "/metrics").await;
    assert!(metrics.contains("raft_trouble{cause=\"none\"} 1"), "{metrics}");

    let node = FakeNode::new().explaining(|question| {
        (question == Question::NotApplied(Index(5))).then(|| Explanation {
            by: NodeId(1),
            case: Case::LeaderSilent {
                leader: NodeId(2),
                lasts: std::time::Duration::from_millis(700),
            },
            causes: Vec::new(),
        })
    });
    let server = Server::start(node).await;
    let (status, body) = page(&server, "/why?index=5&format=json").await;
    assert_eq!(status, OK);
    let why: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(why["cause"], "leader_silent");
    assert_eq!(
        (&why["severity"], &why["silent"][0]),
        (&4.into(), &2.into()),
        "{body}"
    );
    assert_eq!(page(&server, "/why").await.0, UNAVAILABLE);
    for bad in ["/why?index=x", "/why?member=-1", "/why?what"] {
        assert_eq!(page(&server, bad).await.0, "HTTP/1.1 400 Bad Request", "{bad}");
    }
}

#[tokio::test]
async fn unknown_pages_name_the_known_ones() {
    let server = Server::start(FakeNode::new()).await;
    for path in ["/", "/v2/keys", "/readyz/no_such_check"] {
        let (status, body) = page(&server, path).await;
        assert_eq!(status, "HTTP/1.1 404 Not Found", "{path}");
        assert!(body.contains("/health"), "{body}");
    }
}

#[tokio::test]
async fn the_metrics_page_has_replica_transport_store_and_requests() {
    let node = FakeNode::new()
        .proposing(|_| {
            Reply::With(Ok(Ok(Response::Put(PutResponse {
                header: Header { revision: 2 },
                prev_kv: None,
            }))))
        })
        .reading(|_| Ok(RangeResponse::default()));
    let server = Server::start(node).await;
    let mut kv = server.kv().await;
    let put = PutRequest {
        key: "k".into(),
        ..Default::default()
    };
    kv.put(put).await.unwrap();
    let read = RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    kv.range(read).await.unwrap();
    let mut cluster = ClusterClient::new(server.channel().await);
    let remove = MemberRemoveRequest { id: 9 };
    cluster.member_remove(remove).await.unwrap_err();
    let (status, body) = page(&server, "/metrics").await;
    assert_eq!(status, OK);
    let lines: Vec<&str> = body.lines().collect();
    for line in [
        "raft_role{role=\"follower\"} 1",
        "raft_role{role=\"leader\"} 0",
        "raft_term 7",
        "raft_leader_id 2",
        "raft_appended_index 14",
        "raft_durable_index 13",
        "raft_commit_index 12",
        "raft_applied_index 11",
        "raft_voters 2",
        "raft_learners 1",
        "raft_membership_joint 0",
        "etcd_server_has_leader 1",
        "raft_peer_connected{peer=\"2\"} 1",
        "raft_peer_rtt_seconds{peer=\"2\"} 0.00025",
        "raft_peer_congestion_window_bytes{peer=\"2\"} 14720",
        "raft_peer_sent_packets_total{peer=\"2\"} 200",
        "raft_peer_lost_packets_total{peer=\"2\"} 4",
        "raft_peer_queued_messages{peer=\"2\"} 3",
        "raft_peer_queued_bytes{peer=\"2\"} 768",
        "raft_peer_dropped_messages_total{peer=\"2\"} 9",
        "kv_revision 41",
        "raft_node_proposals_total{result=\"ok\"} 1",
        "raft_node_proposals_total{result=\"unknown\"} 0",
        "raft_node_linearizable_reads_total{result=\"ok\"} 1",
        "raft_node_proposal_duration_seconds_count 1",
        "raft_node_proposal_duration_seconds_bucket{le=\"+Inf\"} 1",
        "raft_node_membership_changes_total{result=\"refused\"} 1",
        "raft_node_leadership_transfers_total{result=\"ok\"} 0",
        "# EOF",
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{body}");
    }
}
