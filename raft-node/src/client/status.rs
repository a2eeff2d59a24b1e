//! The state of every node, as the nodes themselves tell it.

use std::collections::BTreeSet;
use std::time::Duration;

use http_body_util::BodyExt;
use serde::Serialize;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tower_service::Service;

use super::endpoints::{self, Endpoint, EndpointUrl};
use super::error::{ClientError, Failed, reason};
use super::membership::{self, Configuration, MemberProgress};
use super::peers::{self, PeerPath};
use super::why::{self, About};
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::{MemberListRequest, StatusRequest, StatusResponse};
use crate::why::Why;

/// What is known about one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Where it was asked.
    pub endpoint: String,
    /// Its id; absent if it did not answer and nobody else knows it.
    pub id: Option<u64>,
    /// What it said.
    #[serde(flatten)]
    pub answer: Option<NodeAnswer>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeAnswer {
    /// `leader`, `follower`, `candidate`, `pre-candidate` or `learner`.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// The leader it knows; 0 if none.
    pub leader: u64,
    /// The last index of its log.
    pub appended: Option<u64>,
    /// The last index that is synced to its disk.
    pub durable: Option<u64>,
    /// The last index it knows to be committed.
    pub commit: u64,
    /// The last index applied to its store.
    pub applied: u64,
    /// The revision of its store.
    pub revision: i64,
    /// How many bytes its store takes on disk.
    pub db_size: i64,
    /// The version of the API it speaks.
    pub version: String,
    /// The latest configuration in its log; absent if it does not tell.
    pub configuration: Option<Configuration>,
    /// How far the other members are, if it leads.
    pub progress: Vec<MemberProgress>,
    /// What it knows about its way to each peer, sorted by id; empty if it does not tell.
    pub peers: Vec<PeerPath>,
    /// What of its past it can make again; absent if it has no archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restorable: Option<Restorable>,
    /// What is wrong as it sees it; absent if nothing is, or if it does not tell.
    pub trouble: Option<Why>,
}

/// What `raft-node restore` can make again of a node's past, up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restorable {
    /// From this index on.
    pub first_index: u64,
    /// The first time that can be asked for, in seconds since 1970; absent if none is noted.
    pub first_unix_seconds: Option<u64>,
    /// The last index of which is noted when it was applied.
    pub last_index: Option<u64>,
    /// When that was.
    pub last_unix_seconds: Option<u64>,
}

impl Restorable {
    fn of_page(metrics: &str) -> Option<Restorable> {
        Some(Restorable {
            first_index: gauge(metrics, "raft_restorable_first_index")?,
            first_unix_seconds: gauge(metrics, "raft_restorable_first_timestamp_seconds"),
            last_index: gauge(metrics, "raft_restorable_last_index"),
            last_unix_seconds: gauge(metrics, "raft_restorable_last_timestamp_seconds"),
        })
    }
}

/// Asks `urls`, and every member that they name besides, each for at most `timeout`; sorted by id.
///
/// # Errors
/// If nobody answers at all.
pub async fn gather(urls: &[EndpointUrl], timeout: Duration) -> Result<Vec<NodeStatus>, ClientError> {
    let mut nodes = ask_all(urls, timeout).await?;
    if nodes.iter().all(|node| node.answer.is_none()) {
        return Err(ClientError::NoAnswer(nodes.into_iter().map(failed).collect()));
    }
    let known: BTreeSet<u64> = nodes.iter().filter_map(|node| node.id).collect();
    let members = endpoints::first_answer(&endpoints::open(urls)?, timeout, |channel| async move {
        ClusterClient::new(channel)
            .member_list(MemberListRequest { linearizable: false })
            .await
    })
    .await;
    // Who cannot list the members has still told about himself.
    for member in members.map(|response| response.members).unwrap_or_default() {
        let url = member
            .client_urls
            .first()
            .and_then(|url| url.parse::<EndpointUrl>().ok());
        let (false, Some(url)) = (known.contains(&member.id), url) else {
            continue;
        };
        if let Some(silent) = nodes.iter_mut().find(|node| node.endpoint == url.0) {
            silent.id = Some(member.id);
            continue;
        }
        for mut node in ask_all(&[url], timeout).await? {
            node.id = node.id.or(Some(member.id));
            nodes.push(node);
        }
    }
    nodes.sort_by_key(|node| node.id.unwrap_or(u64::MAX));
    nodes.dedup_by_key(|node| (node.id, node.id.is_none().then(|| node.endpoint.clone())));
    Ok(nodes)
}

fn failed(node: NodeStatus) -> Failed {
    Failed {
        endpoint: node.endpoint,
        reason: node.error.unwrap_or_default(),
    }
}

async fn ask_all(urls: &[EndpointUrl], timeout: Duration) -> Result<Vec<NodeStatus>, ClientError> {
    let mut asked: JoinSet<NodeStatus> = JoinSet::new();
    for endpoint in endpoints::open(urls)? {
        asked.spawn(async move { ask(endpoint, timeout).await });
    }
    Ok(asked.join_all().await)
}

async fn ask(endpoint: Endpoint, timeout: Duration) -> NodeStatus {
    match answer(&endpoint, timeout).await {
        Ok(status) => {
            let metrics = tokio::time::timeout(timeout, metrics(endpoint.channel()));
            let asked = [endpoint.clone()];
            let members = membership::describe(&asked, false, timeout);
            let why = why::ask(&endpoint, About::Now, timeout);
            let (metrics, members, why) = tokio::join!(metrics, members, why);
            let mut answer = node_answer(&status, &metrics.unwrap_or_default());
            // Who does not tell the members has still told about himself.
            if let Ok(members) = members {
                answer.configuration = Some(members.configuration);
                answer.progress = members.progress;
            }
            answer.trouble = why.why.filter(|why| why.severity > 0);
            NodeStatus {
                endpoint: endpoint.url().to_owned(),
                id: status.header.as_ref().map(|header| header.member_id),
                answer: Some(answer),
                error: None,
            }
        }
        Err(status) => NodeStatus {
            endpoint: endpoint.url().to_owned(),
            id: None,
            answer: None,
            error: Some(reason(&status)),
        },
    }
}

/// The node's own short account.
pub(super) async fn answer(endpoint: &Endpoint, timeout: Duration) -> Result<StatusResponse, tonic::Status> {
    endpoints::answer(endpoint, timeout, |channel| async move {
        MaintenanceClient::new(channel).status(StatusRequest {}).await
    })
    .await
}

fn node_answer(status: &StatusResponse, metrics: &str) -> NodeAnswer {
    let header = status.header.as_ref();
    let is_leader = header.is_some_and(|header| header.member_id == status.leader);
    let role = match (role(metrics), is_leader) {
        (Some("follower") | None, _) if status.is_learner => "learner",
        (Some(role), _) => role,
        (None, true) => "leader",
        (None, false) => "follower",
    };
    NodeAnswer {
        role: role.to_owned(),
        term: status.raft_term,
        leader: status.leader,
        appended: gauge(metrics, "raft_appended_index"),
        durable: gauge(metrics, "raft_durable_index"),
        commit: status.raft_index,
        applied: status.raft_applied_index,
        revision: header.map_or(0, |header| header.revision),
        db_size: status.db_size,
        version: status.version.clone(),
        configuration: None,
        progress: Vec::new(),
        peers: peers::of_page(metrics),
        restorable: Restorable::of_page(metrics),
        trouble: None,
    }
}

/// The page of figures of the node behind `channel`; empty if it has none.
async fn metrics(mut channel: Channel) -> String {
    let mut request = http::Request::new(tonic::body::Body::empty());
    *request.uri_mut() = http::Uri::from_static("/metrics");
    if std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .is_err()
    {
        return String::new();
    }
    let Ok(response) = channel.call(request).await else {
        return String::new();
    };
    if response.status() != http::StatusCode::OK {
        return String::new();
    }
    match response.into_body().collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    }
}

/// The value of the gauge `name` in a Prometheus page.
fn gauge(page: &str, name: &str) -> Option<u64> {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// The role whose gauge is 1.
fn role(page: &str) -> Option<&str> {
    page.lines().find_map(|line| {
        let (role, value) = line.strip_prefix("raft_role{role=\"")?.split_once("\"}")?;
        (value.trim() == "1").then_some(role)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP raft_role x\nraft_role{role=\"follower\"} 0\nraft_role{role=\"leader\"} 1\n\
                        raft_appended_index 12\nraft_appended_index_total 9\n";

    #[test]
    fn figures_are_found_in_a_page() {
        assert_eq!(gauge(PAGE, "raft_appended_index"), Some(12));
        assert_eq!(gauge(PAGE, "raft_appended"), None);
        assert_eq!(role(PAGE), Some("leader"));
        assert_eq!(role(""), None);
    }

    #[test]
    fn what_can_be_restored_is_in_the_page_of_a_node_with_an_archive() {
        assert_eq!(Restorable::of_page(PAGE), None);
        let page = "raft_restorable_first_index 0\nraft_restorable_last_index 9\n\
                    raft_restorable_last_timestamp_seconds 86400\n";
        let expected = Restorable {
            first_index: 0,
            first_unix_seconds: None,
            last_index: Some(9),
            last_unix_seconds: Some(86_400),
        };
        assert_eq!(Restorable::of_page(page), Some(expected));
    }

    #[test]
    fn a_node_without_the_page_is_described_from_its_answer() {
        let mut status = StatusResponse {
            leader: 2,
            raft_term: 3,
            raft_index: 7,
            ..StatusResponse::default()
        };
        status.header.get_or_insert_default().member_id = 1;
        let answer = node_answer(&status, "");
        assert_eq!(
            (answer.role.as_str(), answer.commit, answer.appended),
            ("follower", 7, None)
        );
        status.leader = 1;
        assert_eq!(node_answer(&status, "").role, "leader");
        status.leader = 2;
        status.is_learner = true;
        let follows = "raft_role{role=\"follower\"} 1\n";
        assert_eq!(node_answer(&status, follows).role, "learner");
        assert_eq!(
            node_answer(&status, PAGE).role,
            "leader",
            "until it has stepped down"
        );
    }
}
