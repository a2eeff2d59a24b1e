//! A group of five that lost three for good goes on from one of the two that are left.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::time::Duration;

use node_world::{Counter, PATIENCE, World, add, number, read, until};
use raft_core::config::Config;
use raft_core::membership::MemberChange;
use raft_core::memory::{MemoryLogStore, MemorySnapshotStore};
use raft_core::recovery::{RecoveryError, RecoveryPlan};
use raft_core::runtime::{ChangeMembershipError, Node, NodeOptions};
use raft_core::traits::LogStore;
use raft_core::types::{EntryId, GroupId, NodeId};
use tokio::time::timeout;

const GROUP: GroupId = GroupId(1);

/// What a recovery from stopped node `id` would do. Its counter begins empty at every start, so it has applied nothing.
async fn plan(world: &World, id: u64) -> RecoveryPlan {
    let recovered = world.logs[id as usize - 1].load(GROUP).await.unwrap();
    RecoveryPlan::new(GROUP, NodeId(id), &recovered, EntryId::ZERO).unwrap()
}

/// Changes the members, again if it was refused: a learner needs a while to catch up.
async fn change(node: &Node, change: MemberChange) {
    let attempts = async {
        loop {
            match node.change_membership(vec![change.clone()]).await {
                Ok(_) => return,
                Err(ChangeMembershipError::Refused(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{change:?}: {error}"),
            }
        }
    };
    timeout(PATIENCE, attempts).await.expect("a change ends");
}

/// Starts a node that the group did not know before, with empty disks.
async fn join(world: &mut World, id: u64) {
    assert_eq!(world.nodes.len(), id as usize - 1, "ids count up");
    world.logs.push(MemoryLogStore::new());
    world.snapshots.push(MemorySnapshotStore::new());
    let options = NodeOptions {
        bootstrap: None,
        ..world.options(id, Counter::default())
    };
    world.nodes.push(Some(Node::start(options).await.unwrap()));
}

/// Nobody campaigns who is not told to, however busy the machine is.
fn patient(config: &mut Config) {
    config.election_timeout = Duration::from_secs(3_600);
}

/// Five nodes with 20 acknowledged additions, then stopped: the best survivor, whose log ends with one addition of 1,000
/// that nobody else has, and one that missed the second half.
async fn five_stopped() -> (World, u64, u64) {
    let (best, behind) = (1, 2);
    let mut world = World::started(5, patient).await;
    world.node(best).campaign();
    assert_eq!(world.leader().await, best);
    for _ in 0..10 {
        add(world.node(best), 1).await;
    }
    until(world.node(behind), "the first half is there", |status| {
        status.commit_index.0 > 10
    })
    .await;
    world.network.isolate(NodeId(behind));
    for _ in 0..10 {
        add(world.node(best), 1).await;
    }
    world.network.isolate(NodeId(best));
    let before = world.node(best).status().durable_index;
    let node = world.node(best).clone();
    let unanswered = tokio::spawn(async move { node.propose(number(1_000)).await });
    until(world.node(best), "the last addition is on its disk", |status| {
        status.durable_index > before
    })
    .await;
    for id in 1..=5 {
        world.stop(id).await;
    }
    assert!(unanswered.await.unwrap().is_err(), "nobody else has it");
    world.network.heal();
    (world, best, behind)
}

/// R68, R11: the survivor with the highest last entry leads alone with everything that it has; another survivor joins,
/// wiped and under a new id, first as a learner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_best_survivor_goes_on() {
    let (mut world, best, behind) = five_stopped().await;
    let (plan, other) = (plan(&world, best).await, plan(&world, behind).await);
    assert!(
        plan.found.last > other.found.last,
        "the better one has the higher last entry"
    );
    assert!(plan.contains(other.found.commit) && !other.contains(plan.found.last));
    let (_, undecided) = plan.undecided().expect("nobody confirmed the last addition");
    assert_eq!(undecided, plan.found.last.index);
    let disk = world.logs[best as usize - 1].clone();
    disk.write(vec![plan.write()]).await.unwrap();

    world.start(best).await;
    world.node(best).campaign();
    assert_eq!(world.leader().await, best);
    assert_eq!(read(world.node(best)).await, 1_020, "nothing that it had is lost");
    let status = until(world.node(best), "all is applied", |status| {
        status.applied_index > plan.found.last.index
    })
    .await;
    assert_eq!(status.membership, plan.target);
    let again = disk.load(GROUP).await.unwrap();
    let refused = RecoveryPlan::new(GROUP, NodeId(best), &again, EntryId::ZERO).unwrap_err();
    assert_eq!(refused, RecoveryError::NotNeeded(NodeId(best)));

    // The other survivor, and a new machine, under ids that nobody had.
    let contact = None;
    for id in [6, 7] {
        join(&mut world, id).await;
        let (leader, id) = (world.node(best), NodeId(id));
        let contact = contact.clone();
        change(leader, MemberChange::AddLearner { id, contact }).await;
        change(leader, MemberChange::Promote(id)).await;
    }
    add(world.node(6), 1).await;
    assert_eq!(read(world.node(7)).await, 1_021);
    // A group of three survives any one of its members, also the one that it began with.
    world.node(best).transfer_leadership(NodeId(6)).await.unwrap();
    // What node 7 sends to the old leader would be lost with it, and nobody could say what became of it.
    until(world.node(7), "node 7 follows node 6", |status| {
        status.leader == Some(NodeId(6))
    })
    .await;
    world.stop(best).await;
    add(world.node(7), 1).await;
    assert_eq!(read(world.node(6)).await, 1_022);
}

/// R68: an id that a lost node had is refused to a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ids_of_the_lost_are_not_given_out_again() {
    let (mut world, best, behind) = five_stopped().await;
    let plan = plan(&world, best).await;
    world.logs[best as usize - 1]
        .write(vec![plan.write()])
        .await
        .unwrap();
    world.start(best).await;
    world.node(best).campaign();
    world.leader().await;
    let id = NodeId(behind);
    let contact = None;
    let refused = world
        .node(best)
        .change_membership(vec![MemberChange::AddLearner { id, contact }])
        .await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("ids are never used twice"), "{message}");
}
