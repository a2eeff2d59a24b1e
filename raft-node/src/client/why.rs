//! Why something in a cluster is as it is, as its nodes explain it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http_body_util::BodyExt;
use serde::Serialize;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tower_service::Service;

use super::endpoints::{self, Endpoint, EndpointUrl};
use super::error::{ClientError, Failed, reason};
use crate::proto::etcdserverpb::MemberListRequest;
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::why::Why;

/// What a cluster is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum About {
    /// What is most worth knowing.
    #[default]
    Now,
    /// Why the entry at this index is not committed or not applied.
    Index(u64),
    /// Why this member is behind.
    Member(u64),
    /// Why the leader is another one than before.
    Leader,
}

impl About {
    /// The page of a node that answers it.
    fn path(self) -> String {
        match self {
            About::Now => "/why?format=json".to_owned(),
            About::Index(index) => format!("/why?format=json&index={index}"),
            About::Member(member) => format!("/why?format=json&member={member}"),
            About::Leader => "/why?format=json&leader".to_owned(),
        }
    }
}

/// What came of asking one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Where it was asked.
    pub endpoint: String,
    /// Its id, if anybody knows it.
    pub id: Option<u64>,
    /// What it said.
    #[serde(flatten)]
    pub why: Option<Why>,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Asks `urls`, and every member that they name besides, each for at most `timeout`; sorted by id.
///
/// # Errors
/// If nobody answers at all.
pub async fn gather(
    urls: &[EndpointUrl],
    about: About,
    timeout: Duration,
) -> Result<Vec<Answer>, ClientError> {
    let mut answers = ask_all(urls, about, timeout).await?;
    if answers.iter().all(|answer| answer.why.is_none()) {
        let failed = |answer: Answer| Failed {
            endpoint: answer.endpoint,
            reason: answer.error.unwrap_or_default(),
        };
        return Err(ClientError::NoAnswer(answers.into_iter().map(failed).collect()));
    }
    let members = members(urls, timeout).await;
    for answer in &mut answers {
        let known = members.iter().find(|(url, _)| url.0 == answer.endpoint);
        answer.id = answer.id.or(known.map(|(_, id)| *id));
    }
    let asked: BTreeSet<u64> = answers.iter().filter_map(|answer| answer.id).collect();
    let others = members.into_iter().filter(|(_, id)| !asked.contains(id));
    let others: BTreeMap<String, (EndpointUrl, u64)> =
        others.map(|(url, id)| (url.0.clone(), (url, id))).collect();
    let urls: Vec<EndpointUrl> = others.values().map(|(url, _)| url.clone()).collect();
    for mut answer in ask_all(&urls, about, timeout).await? {
        answer.id = answer.id.or(others.get(&answer.endpoint).map(|(_, id)| *id));
        answers.push(answer);
    }
    answers.sort_by_key(|answer| answer.id.unwrap_or(u64::MAX));
    answers.dedup_by_key(|answer| (answer.id, answer.id.is_none().then(|| answer.endpoint.clone())));
    Ok(answers)
}

/// Where every member is reached, as the first endpoint says that answers.
async fn members(urls: &[EndpointUrl], timeout: Duration) -> Vec<(EndpointUrl, u64)> {
    let Ok(endpoints) = endpoints::open(urls) else {
        return Vec::new();
    };
    let listed = endpoints::first_answer(&endpoints, timeout, |channel| async move {
        let request = MemberListRequest { linearizable: false };
        ClusterClient::new(channel).member_list(request).await
    });
    let members = listed.await.map(|response| response.members).unwrap_or_default();
    let members = members.into_iter().filter_map(|member| {
        let url = member.client_urls.first()?.parse::<EndpointUrl>().ok()?;
        Some((url, member.id))
    });
    members.collect()
}

async fn ask_all(urls: &[EndpointUrl], about: About, timeout: Duration) -> Result<Vec<Answer>, ClientError> {
    let mut asked: JoinSet<Answer> = JoinSet::new();
    for endpoint in endpoints::open(urls)? {
        asked.spawn(async move { ask(&endpoint, about, timeout).await });
    }
    Ok(asked.join_all().await)
}

/// Asks one node.
pub(super) async fn ask(endpoint: &Endpoint, about: About, timeout: Duration) -> Answer {
    let asked = tokio::time::timeout(timeout, page(endpoint.channel(), &about.path())).await;
    let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis())));
    let (why, error) = match answer {
        Ok(why) => (Some(why), None),
        Err(error) => (None, Some(error)),
    };
    Answer {
        endpoint: endpoint.url().to_owned(),
        id: why.as_ref().map(|why| why.node),
        why,
        error,
    }
}

async fn page(mut channel: Channel, path: &str) -> Result<Why, String> {
    let failed = |error: tonic::transport::Error| reason(&tonic::Status::from_error(error.into()));
    let mut request = http::Request::new(tonic::body::Body::empty());
    *request.uri_mut() = path
        .parse()
        .map_err(|error: http::uri::InvalidUri| error.to_string())?;
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .map_err(failed)?;
    let response = channel.call(request).await.map_err(failed)?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| reason(&error))?;
    let body = body.to_bytes();
    if status != http::StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer is no explanation: {error}"))
}

/// What matters most first: what the leader says; else what is worst. `None` if nobody answered.
#[must_use]
pub fn main_answer(answers: &[Answer]) -> Option<&Why> {
    let answers = answers.iter().filter_map(|answer| answer.why.as_ref());
    // Of equals the first one.
    answers.rev().max_by_key(|why| (why.leads, why.severity))
}

/// The paragraphs for people: what matters most, then what others say that is in trouble too, and what asking them all
/// tells that no node alone can know.
#[must_use]
pub fn paragraphs(answers: &[Answer]) -> Vec<String> {
    let Some(main) = main_answer(answers) else {
        return Vec::new();
    };
    let mut paragraphs = vec![main.text.clone()];
    let others = answers.iter().filter_map(|answer| answer.why.as_ref());
    // Who only knows that the leader knows more adds nothing once that has spoken.
    let adds = |why: &Why| why.severity > 0 && !(main.leads && why.cause == "other");
    let others = others.filter(|why| adds(why) && *why != main);
    paragraphs.extend(others.map(|why| format!("Node {} says: {}", why.node, why.text)));
    paragraphs.extend(answers.iter().filter_map(unanswered));
    paragraphs.extend(broken_links(answers));
    paragraphs
}

/// Who answers nobody does not run, or stands still.
fn unanswered(answer: &Answer) -> Option<String> {
    let error = answer.error.as_ref()?;
    let name = answer
        .id
        .map_or_else(|| "The node".to_owned(), |id| format!("Node {id}"));
    Some(format!("{name} does not answer at {}: {error}.", answer.endpoint))
}

/// Nodes that are not heard by others and answer clients run: it is the way between them that is broken, most likely.
fn broken_links(answers: &[Answer]) -> Vec<String> {
    let whys = || answers.iter().filter_map(|answer| answer.why.as_ref());
    let hears_not = |by: &Why, other: &Why| by.silent.contains(&other.node);
    let mut links = Vec::new();
    for by in whys() {
        for other in whys().filter(|other| hears_not(by, other)) {
            let (one, two) = (by.node, other.node);
            if !hears_not(other, by) {
                links.push(format!(
                    "Node {two} runs, and node {one} does not hear it: what node {two} sends to node {one} is lost, or the disk of \
                     node {two} stands still. What to do: mend the link between nodes {one} and {two}, or that disk."
                ));
            } else if one < two {
                links.push(format!(
                    "Nodes {one} and {two} both run and do not hear each other: the link between them is cut. What to do: mend that \
                     link; see whether the peer URLs of both can be reached from the other one."
                ));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(node: u64, leads: bool, severity: u8, silent: &[u64]) -> Why {
        Why {
            node,
            leads,
            severity,
            cause: "none".to_owned(),
            text: format!("told by {node}."),
            silent: silent.to_vec(),
        }
    }

    fn answer(why: Why) -> Answer {
        Answer {
            endpoint: format!("http://n{}:1", why.node),
            id: Some(why.node),
            why: Some(why),
            error: None,
        }
    }

    fn dead(id: u64) -> Answer {
        Answer {
            endpoint: format!("http://n{id}:1"),
            id: Some(id),
            why: None,
            error: Some("refused".to_owned()),
        }
    }

    #[test]
    fn the_leader_is_believed_first_and_trouble_elsewhere_is_told() {
        let cut_off = why(3, false, 4, &[1]);
        let answers = [
            answer(why(1, true, 1, &[3])),
            answer(why(2, false, 0, &[])),
            answer(cut_off),
        ];
        assert_eq!(
            paragraphs(&answers),
            [
                "told by 1.",
                "Node 3 says: told by 3.",
                "Nodes 1 and 3 both run and do not hear each other: the link between them is cut. What to do: mend that link; see \
                 whether the peer URLs of both can be reached from the other one.",
            ]
        );
    }

    #[test]
    fn one_direction_may_be_broken_alone() {
        let answers = [
            answer(why(1, true, 1, &[2, 3])),
            answer(why(2, false, 0, &[])),
            dead(3),
        ];
        assert_eq!(
            paragraphs(&answers)[1..],
            [
                "Node 3 does not answer at http://n3:1: refused.",
                "Node 2 runs, and node 1 does not hear it: what node 2 sends to node 1 is lost, or the disk of node 2 stands still. \
                 What to do: mend the link between nodes 1 and 2, or that disk.",
            ]
        );
    }

    #[test]
    fn who_would_ask_the_leader_is_silent_when_that_has_spoken() {
        let asks = Why {
            cause: "other".to_owned(),
            ..why(2, false, 3, &[])
        };
        let leader = answer(why(1, true, 3, &[]));
        assert_eq!(paragraphs(&[leader, answer(asks.clone())]), ["told by 1."]);
        let other = answer(why(3, false, 4, &[1]));
        assert_eq!(
            paragraphs(&[other, answer(asks)])[..2],
            ["told by 3.", "Node 2 says: told by 2."]
        );
    }

    #[test]
    fn without_a_leader_the_worst_counts_and_dead_nodes_are_named() {
        let answers = [dead(1), answer(why(2, false, 4, &[1, 3])), dead(3)];
        assert_eq!(
            paragraphs(&answers),
            [
                "told by 2.",
                "Node 1 does not answer at http://n1:1: refused.",
                "Node 3 does not answer at http://n3:1: refused.",
            ]
        );
        assert_eq!(main_answer(&[dead(1)]), None);
        assert!(paragraphs(&[]).is_empty());
    }
}
