//! Compares every acknowledged key on every node.
//!
//! First the whole list is read once as a linearizable read, which any acknowledged write must be visible to. Then every
//! node is asked for its own copy, after it has applied everything that the cluster had committed by then.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use super::acked_file::Acked;
use super::endpoints::{self, Endpoint, EndpointUrl};
use super::error::{ClientError, Failed, reason};
use super::key_value::key_after;
use super::status;
use crate::proto::etcdserverpb::RangeRequest;
use crate::proto::etcdserverpb::kv_client::KvClient;

/// How many keys one request asks for at most.
const PAGE_KEYS: usize = 1000;
/// How many bytes of keys and values one request asks for at most, as far as the list tells; one key always fits.
const PAGE_BYTES: usize = 1 << 20;
/// How often a node that is behind is asked again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How many differences are kept per node; the rest is only counted.
const DIFFERENCES_KEPT: usize = 20;

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many keys were compared.
    pub keys: usize,
    /// How many nodes were compared.
    pub nodes: usize,
    /// What differs, per reader.
    pub differences: Vec<Differences>,
}

/// What one reader returned otherwise than it was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Who was asked and how, such as `http://127.0.0.1:2379 (its own copy)`.
    pub reader: String,
    /// How many keys differ.
    pub count: usize,
    /// The first of them, in words.
    pub first: Vec<String>,
}

impl Verified {
    /// Whether everything was found as it was acknowledged.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_same() {
            return write!(f, "verified {} keys on {} nodes", self.keys, self.nodes);
        }
        write!(f, "of {} acknowledged keys on {} nodes:", self.keys, self.nodes)?;
        for Differences { reader, count, first } in &self.differences {
            write!(f, "\n{reader}: {count} keys differ")?;
            for difference in first {
                write!(f, "\n  {difference}")?;
            }
            if *count > first.len() {
                write!(f, "\n  and {} more", count - first.len())?;
            }
        }
        Ok(())
    }
}

/// Compares `acked` on each of `urls`. Everything that has to be waited for is waited for during at most `timeout`.
///
/// # Errors
/// If a node cannot be read, or does not catch up in time. Differences are a result, not an error.
pub async fn verify(urls: &[EndpointUrl], acked: &Acked, timeout: Duration) -> Result<Verified, ClientError> {
    let nodes = endpoints::open(urls)?;
    let deadline = Instant::now() + timeout;
    let mut differences = Vec::new();
    let mut compare = |reader: String, found: &Found| {
        let different = differences_between(acked, found);
        if different.count > 0 {
            differences.push(Differences { reader, ..different });
        }
    };
    let (reader, found) = read_linearizable(&nodes, acked, deadline).await?;
    compare(format!("{} (linearizable)", reader.url()), &found);
    // The leader had committed everything acknowledged before it could serve that read, so the largest commit index
    // that is reported from now on covers all of it.
    let target = largest_commit(&nodes, deadline).await?;
    for node in &nodes {
        wait_until_applied(node, target, deadline, timeout).await?;
        let found = read_all(node, acked, true, deadline).await?;
        compare(format!("{} (its own copy)", node.url()), &found);
    }
    Ok(Verified {
        keys: acked.len(),
        nodes: nodes.len(),
        differences,
    })
}

type Found = BTreeMap<Bytes, Bytes>;

/// Reads the list on the first node that serves it; right after an election none may for a moment.
async fn read_linearizable<'a>(
    nodes: &'a [Endpoint],
    acked: &Acked,
    deadline: Instant,
) -> Result<(&'a Endpoint, Found), ClientError> {
    loop {
        let mut last_error = ClientError::NoAnswer(Vec::new());
        for node in nodes {
            match read_all(node, acked, false, deadline).await {
                Ok(found) => return Ok((node, found)),
                Err(error) => last_error = error,
            }
        }
        if Instant::now() + POLL_INTERVAL >= deadline {
            return Err(last_error);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn largest_commit(nodes: &[Endpoint], deadline: Instant) -> Result<u64, ClientError> {
    let mut largest = 0;
    for node in nodes {
        largest = largest.max(poll_status(node, deadline).await?.raft_index);
    }
    Ok(largest)
}

async fn wait_until_applied(
    node: &Endpoint,
    target: u64,
    deadline: Instant,
    timeout: Duration,
) -> Result<(), ClientError> {
    loop {
        let applied = poll_status(node, deadline).await?.raft_applied_index;
        if applied >= target {
            return Ok(());
        }
        if Instant::now() + POLL_INTERVAL >= deadline {
            return Err(ClientError::Behind {
                endpoint: node.url().to_owned(),
                applied,
                target,
                seconds: timeout.as_secs(),
            });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The status of `node`, asked for until it answers: a node that was just started may not listen yet.
async fn poll_status(
    node: &Endpoint,
    deadline: Instant,
) -> Result<crate::proto::etcdserverpb::StatusResponse, ClientError> {
    loop {
        match status::answer(node, remaining(deadline)).await {
            Ok(status) => return Ok(status),
            Err(error) if Instant::now() + POLL_INTERVAL >= deadline => {
                return Err(ClientError::NoAnswer(vec![Failed {
                    endpoint: node.url().to_owned(),
                    reason: reason(&error),
                }]));
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

fn remaining(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(POLL_INTERVAL)
}

/// Reads every key of the list from `node`, page by page.
async fn read_all(
    node: &Endpoint,
    acked: &Acked,
    serializable: bool,
    deadline: Instant,
) -> Result<Found, ClientError> {
    let mut client = KvClient::new(node.channel()).max_decoding_message_size(usize::MAX);
    let mut found = Found::new();
    for (first, last) in pages(acked) {
        let end = key_after(last);
        let mut next = Bytes::copy_from_slice(first);
        loop {
            let request = RangeRequest {
                key: next.clone(),
                range_end: end.clone(),
                limit: PAGE_KEYS as i64,
                serializable,
                ..RangeRequest::default()
            };
            let response = tokio::time::timeout(remaining(deadline), client.range(request))
                .await
                .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer in time")))
                .map_err(|error| {
                    ClientError::NoAnswer(vec![Failed {
                        endpoint: node.url().to_owned(),
                        reason: reason(&error),
                    }])
                })?
                .into_inner();
            if let Some(last) = response.kvs.last() {
                next = key_after(&last.key);
            }
            let is_last = !response.more || response.kvs.is_empty();
            // Other people's keys in between are read over.
            let ours = response
                .kvs
                .into_iter()
                .filter(|pair| acked.contains_key(&pair.key[..]));
            found.extend(ours.map(|pair| (pair.key, pair.value)));
            if is_last {
                break;
            }
        }
    }
    Ok(found)
}

/// Cuts the list into pages; each is its first and its last key.
fn pages(acked: &Acked) -> Vec<(&[u8], &[u8])> {
    let mut pages: Vec<(&[u8], &[u8])> = Vec::new();
    let (mut keys, mut bytes) = (0, 0);
    for (key, value) in acked {
        keys += 1;
        bytes += key.len() + value.len();
        match pages.last_mut() {
            Some(page) if keys <= PAGE_KEYS && bytes <= PAGE_BYTES => page.1 = key,
            _ => {
                pages.push((key, key));
                (keys, bytes) = (1, key.len() + value.len());
            }
        }
    }
    pages
}

fn differences_between(acked: &Acked, found: &Found) -> Differences {
    let mut differences = Differences::default();
    for (key, value) in acked {
        let difference = match found.get(&key[..]) {
            Some(found) if found == value => continue,
            Some(found) => format!("is {:?} and was acknowledged as {:?}", short(found), short(value)),
            None => "is missing".to_owned(),
        };
        differences.count += 1;
        if differences.first.len() < DIFFERENCES_KEPT {
            differences
                .first
                .push(format!("{} {difference}", String::from_utf8_lossy(key)));
        }
    }
    differences
}

fn short(value: &[u8]) -> String {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(&value[..value.len().min(SHOWN)]).into_owned();
    if value.len() > SHOWN { text + "…" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(pairs: &[(&str, &str)]) -> Acked {
        let bytes = |text: &str| text.as_bytes().to_vec();
        pairs
            .iter()
            .map(|(key, value)| (bytes(key), bytes(value)))
            .collect()
    }

    #[test]
    fn pages_cover_every_key_once() {
        let list: Acked = (0..2500_u32)
            .map(|n| (n.to_be_bytes().to_vec(), vec![0; 10]))
            .collect();
        let pages = pages(&list);
        assert_eq!(pages.len(), 3);
        let in_pages: usize = pages
            .iter()
            .map(|(first, last)| list.range(first.to_vec()..=last.to_vec()).count())
            .sum();
        assert_eq!(in_pages, list.len());
        let large: Acked = (0..4_u8).map(|n| (vec![n], vec![0; PAGE_BYTES])).collect();
        assert_eq!(super::pages(&large).len(), 4);
        assert!(super::pages(&Acked::new()).is_empty());
    }

    #[test]
    fn what_is_missing_or_different_is_named() {
        let found: Found = [("a", "1"), ("b", "x")]
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let differences = differences_between(&acked(&[("a", "1"), ("b", "2"), ("c", "3")]), &found);
        assert_eq!(differences.count, 2);
        assert_eq!(
            differences.first,
            ["b is \"x\" and was acknowledged as \"2\"", "c is missing"]
        );
        let verified = Verified {
            keys: 3,
            nodes: 1,
            differences: vec![differences],
        };
        assert!(!verified.is_same());
        assert!(verified.to_string().contains("2 keys differ"), "{verified}");
    }

    #[test]
    fn many_differences_are_counted_and_the_first_are_shown() {
        let list: Acked = (0..50_u8).map(|n| (vec![b'k', n], vec![1])).collect();
        let differences = differences_between(&list, &Found::new());
        assert_eq!(
            (differences.count, differences.first.len()),
            (50, DIFFERENCES_KEPT)
        );
    }
}
