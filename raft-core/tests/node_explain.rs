//! A running node explains itself.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use node_world::{PATIENCE, World, add};
use raft_core::explain::{Case, Question, Severity};
use raft_core::runtime::Node;
use raft_core::types::{Index, NodeId};
use tokio::time::timeout;

/// Asks `node` again whenever its state changed, until it answers with this label.
async fn labelled(node: &Node, label: &str) -> raft_core::explain::Explanation {
    let mut status = node.watch_status();
    let asked = async {
        loop {
            let explanation = node.explain(Question::WhatIsWrong).await.expect("the node runs");
            if explanation.label() == label {
                return explanation;
            }
            status.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, asked).await.expect("the node names the cause")
}

/// R36: when two of three nodes are gone, the third names both and what it takes; when they are back, all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_quorum_names_who_is_missing() {
    let mut world = World::started(3, |_| {}).await;
    let leader = world.leader().await;
    let (index, _) = add(world.node(leader), 1).await;
    let explanation = world
        .node(leader)
        .explain(Question::NotApplied(index))
        .await
        .unwrap();
    assert!(matches!(explanation.case, Case::Applied { .. }), "{explanation}");
    let left = world.follower().await;
    let gone: Vec<u64> = (1..=3).filter(|id| *id != left).collect();
    for id in &gone {
        world.stop(*id).await;
    }
    let node = world.node(left).clone();
    let explanation = labelled(&node, "no_quorum").await;
    assert_eq!(explanation.severity(), Severity::NoLeader);
    let silent: Vec<NodeId> = gone.iter().map(|id| NodeId(*id)).collect();
    assert_eq!(explanation.silent(), silent, "{explanation}");
    assert!(
        explanation
            .to_string()
            .contains("It takes 2 of the 3 voters 1, 2 and 3"),
        "{explanation}"
    );
    let ahead = node.explain(Question::NotCommitted(Index(1_000))).await.unwrap();
    assert!(matches!(ahead.case, Case::NotInLog { .. }), "{ahead}");
    for id in gone {
        world.start(id).await;
    }
    labelled(&node, "none").await;
    world.stop(left).await;
    assert_eq!(
        node.explain(Question::WhatIsWrong).await,
        None,
        "a stopped node answers nothing"
    );
}
