//! The connections to all endpoints, and which of them to use next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use super::super::endpoints::EndpointUrl;
use super::super::error::ClientError;
use super::connection::Connection;

/// For how long an endpoint that broke a connection is passed over.
const REST: Duration = Duration::from_millis(200);

/// The connections to all endpoints.
#[derive(Debug)]
pub(super) struct Pool {
    nodes: Vec<PooledNode>,
    started: Instant,
}

#[derive(Debug)]
struct PooledNode {
    connections: Vec<Connection>,
    /// Milliseconds after `started` until which the node is passed over.
    rests_until_ms: AtomicU64,
}

impl Pool {
    /// `connections` connections to each of `urls`.
    pub(super) fn new(urls: &[EndpointUrl], connections: usize) -> Result<Pool, ClientError> {
        let mut nodes = Vec::new();
        for EndpointUrl(url) in urls {
            let put_uri: Uri =
                format!("{url}/etcdserverpb.KV/Put")
                    .parse()
                    .map_err(|error: http::uri::InvalidUri| ClientError::Endpoint {
                        endpoint: url.clone(),
                        reason: error.to_string(),
                    })?;
            let address = url.trim_start_matches("http://").to_owned();
            nodes.push(PooledNode {
                connections: (0..connections.max(1))
                    .map(|_| Connection::new(address.clone(), put_uri.clone()))
                    .collect(),
                rests_until_ms: AtomicU64::new(0),
            });
        }
        Ok(Pool {
            nodes,
            started: Instant::now(),
        })
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The connection that `client` uses for its `turn`-th attempt: the endpoints take turns, and those that rest are
    /// passed over unless all do. The number names the endpoint.
    pub(super) fn choose(&self, client: usize, turn: usize) -> (usize, &Connection) {
        let now_ms = self.elapsed_ms();
        let awake = (0..self.nodes.len())
            .map(|step| (turn + step) % self.nodes.len())
            .find(|node| self.nodes[*node].rests_until_ms.load(Ordering::Relaxed) <= now_ms);
        let node = awake.unwrap_or(turn % self.nodes.len());
        let connections = &self.nodes[node].connections;
        (node, &connections[client % connections.len()])
    }

    /// Passes `node` over for a moment.
    pub(super) fn rest(&self, node: usize) {
        let until = self.elapsed_ms() + u64::try_from(REST.as_millis()).unwrap_or(0);
        self.nodes[node].rests_until_ms.store(until, Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(pool: &Pool, turns: std::ops::Range<usize>) -> Vec<usize> {
        turns.map(|turn| pool.choose(0, turn).0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_take_turns_and_rest() {
        let urls: Vec<EndpointUrl> = ["a:1", "b:1", "c:1"]
            .iter()
            .map(|url| url.parse().unwrap())
            .collect();
        let pool = Pool::new(&urls, 2).unwrap();
        assert_eq!(chosen(&pool, 0..4), [0, 1, 2, 0]);
        pool.rest(1);
        assert_eq!(chosen(&pool, 0..3), [0, 2, 2]);
        pool.rest(0);
        pool.rest(2);
        assert_eq!(chosen(&pool, 0..3), [0, 1, 2]);
        tokio::time::advance(REST).await;
        assert_eq!(chosen(&pool, 1..3), [1, 2]);
    }
}
