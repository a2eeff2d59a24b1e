//! The log of a node says why there is no leader.

use std::time::Duration;

use raft_core::explain::{Case, Question};
use raft_core::runtime::Node;
use tokio::time::interval;

/// How often it is looked whether there is a leader.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is said, as long as there is none.
const REMINDER_INTERVAL: Duration = Duration::from_secs(30);

/// Warns when there is no leader for two election timeouts, with the causes, and again every half minute. It ends with the
/// node.
pub(super) async fn warn_without_leader(node: Node) {
    let patience = node.config().election_timeout_longest() * 2;
    let mut look = interval(LOOK_INTERVAL);
    loop {
        look.tick().await;
        if node.status().leader.is_some() {
            continue;
        }
        let Some(explanation) = node.explain(Question::NoLeader).await else {
            return;
        };
        if matches!(explanation.case, Case::NoLeader { lasts, .. } if lasts >= patience) {
            tracing::warn!("{explanation}");
            look.reset_after(REMINDER_INTERVAL);
        }
    }
}
