//! Who leads, in which term: looked at every second.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft_node::client::endpoints::EndpointUrl;
use raft_node::client::status;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

const INTERVAL: Duration = Duration::from_secs(1);
/// How long one node may take to answer, and all to agree on a first leader.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const AGREE_WITHIN: Duration = Duration::from_secs(60);

/// What the nodes said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The highest term of all.
    pub(crate) term: u64,
    /// The leader that the nodes in it know; 0 while none knows one.
    pub(crate) leader: u64,
    /// How often another leader was seen than before.
    pub(crate) changes: u64,
}

/// Asks the nodes, and remembers.
#[derive(Debug)]
pub(crate) struct Watch {
    endpoints: Vec<EndpointUrl>,
    seen: Mutex<Seen>,
}

impl Watch {
    pub(crate) fn new(endpoints: Vec<EndpointUrl>) -> Watch {
        Watch {
            endpoints,
            seen: Mutex::default(),
        }
    }

    /// Waits until all nodes know one leader.
    ///
    /// # Panics
    /// If they take too long.
    pub(crate) async fn first_leader(&self) -> Seen {
        let deadline = Instant::now() + AGREE_WITHIN;
        while !self.look().await {
            assert!(Instant::now() < deadline, "no leader within {AGREE_WITHIN:?}");
            sleep(Duration::from_millis(100)).await;
        }
        self.lock().changes = 0;
        self.seen()
    }

    /// Looks every second until `ended`.
    pub(crate) async fn run(self: Arc<Self>, ended: Arc<Notify>) {
        loop {
            tokio::select! {
                () = ended.notified() => return,
                () = sleep(INTERVAL) => drop(self.look().await),
            }
        }
    }

    /// Looks once more; everything that was seen.
    pub(crate) async fn end(&self) -> Seen {
        self.look().await;
        self.seen()
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.lock()
    }

    /// True if all nodes answer and name one leader.
    async fn look(&self) -> bool {
        // A node that is too busy to answer is asked again; terms do not fall meanwhile.
        let nodes = status::gather(&self.endpoints, ANSWER_WITHIN)
            .await
            .unwrap_or_default();
        let answers: Vec<_> = nodes.iter().filter_map(|node| node.answer.as_ref()).collect();
        let mut seen = self.lock();
        for answer in &answers {
            let is_news = answer.term > seen.term || answer.term == seen.term && seen.leader == 0;
            if !is_news {
                continue;
            }
            seen.term = answer.term;
            if answer.leader != seen.leader {
                seen.changes += 1;
            }
            seen.leader = answer.leader;
        }
        answers.len() == self.endpoints.len()
            && seen.leader != 0
            && answers
                .iter()
                .all(|answer| (answer.term, answer.leader) == (seen.term, seen.leader))
    }

    /// No code that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
