//! Hosts with many groups: what they share, and what they must not share.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../node_world/mod.rs"]
mod node_world;

mod destruction;
mod sharing;
mod world;

use node_world::{Counter, add, read, until};
use raft_core::membership::MemberChange;
use raft_core::message::PULSE_GROUP;
use raft_core::runtime::{GroupOptions, NodeError};
use raft_core::types::{GroupId, NodeId};
use world::Hosts;

/// Groups elect leaders and commit beside each other; each has its own state, and a host that was stopped opens all again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_survive_a_restart_of_their_host() {
    const GROUPS: u64 = 20;
    let mut hosts = Hosts::started(3).await;
    for group in 1..=GROUPS {
        hosts.create(group).await;
        // Whoever is stopped below leads nothing.
        let leader = hosts.lead(1, group).await;
        assert_eq!(add(&leader, group).await.1, group);
    }
    let all: Vec<GroupId> = (1..=GROUPS).map(GroupId).collect();
    assert_eq!(hosts.host(2).groups(), all);
    hosts.stop(2).await;
    for group in 1..=GROUPS {
        assert_eq!(
            add(&hosts.node(3, group), 1).await.1,
            group + 1,
            "two of three go on"
        );
    }
    hosts.start(2).await;
    while hosts.host(2).unknown_group_messages() == 0 {
        add(&hosts.node(1, 1), 0).await;
    }
    assert!(hosts.host(2).groups().is_empty(), "no message opens a group");
    for group in 1..=GROUPS {
        let options = GroupOptions {
            bootstrap: None,
            ..hosts.group_options(2, group, Counter::default())
        };
        hosts.host(2).open_group(options).await.unwrap();
    }
    for group in 1..=GROUPS {
        assert_eq!(read(&hosts.node(2, group)).await, group + 1);
    }
}

/// R35, R36: groups that sleep have no timers, and wake up all the same when the node of their leader is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sleeping_groups_notice_that_their_leader_is_gone() {
    let mut hosts = Hosts::started(3).await;
    hosts.change = |config| config.quiesce_after = Some(std::time::Duration::from_millis(100));
    for group in 1..=4 {
        hosts.create(group).await;
        let leader = hosts.lead(1, group).await;
        add(&leader, group).await;
    }
    for group in 1..=4 {
        for id in 1..=3 {
            until(&hosts.node(id, group), "it sleeps", |status| status.asleep).await;
        }
    }
    hosts.stop(1).await;
    for group in 1..=4 {
        let node = hosts.node(2, group);
        until(&node, "another leads", |status| {
            status.leader.is_some_and(|leader| leader != NodeId(1))
        })
        .await;
        assert_eq!(add(&node, 1).await.1, group + 1);
    }
}

/// A group moves onto another host: it is created there without members, the members change, and it is destroyed where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_moves_onto_another_host() {
    let mut hosts = Hosts::started(3).await;
    for group in [1, 2] {
        hosts.create(group).await;
        add(&hosts.node(1, group), 10).await;
    }
    let new = hosts.add().await;
    let joining = GroupOptions {
        bootstrap: None,
        ..hosts.group_options(new, 1, Counter::default())
    };
    hosts.host(new).create_group(joining).await.unwrap();
    let asked = hosts.node(2, 1);
    let add_it = vec![MemberChange::AddLearner {
        id: NodeId(new),
        contact: None,
    }];
    asked.change_membership(add_it).await.unwrap();
    until(&hosts.node(new, 1), "the new replica has caught up", |status| {
        status.applied_index.0 >= 2 && !status.suspect
    })
    .await;
    let promote = async {
        // Until a round of entries has passed, it counts as one that has not caught up.
        while let Err(error) = asked
            .change_membership(vec![MemberChange::Promote(NodeId(new))])
            .await
        {
            assert!(error.to_string().contains("caught up"), "{error}");
            add(&asked, 0).await;
        }
    };
    tokio::time::timeout(node_world::PATIENCE, promote)
        .await
        .expect("it catches up");
    asked
        .change_membership(vec![MemberChange::Remove(NodeId(1))])
        .await
        .unwrap();
    hosts.host(1).destroy_group(GroupId(1)).await.unwrap();
    // Whoever led on host 1 is gone, and what is sent there nobody answers.
    until(&hosts.node(new, 1), "the new replica knows who leads", |status| {
        status.leader.is_some_and(|leader| leader != NodeId(1))
    })
    .await;
    assert_eq!(add(&hosts.node(new, 1), 1).await.1, 11);
    assert_eq!(read(&hosts.node(new, 1)).await, 11);
    assert_eq!(add(&hosts.node(1, 2), 1).await.1, 11, "the other group stays");
    assert_eq!(hosts.host(1).groups(), [GroupId(2)]);
}

/// A group that cannot be there is refused with the reason.
#[tokio::test]
async fn groups_are_created_once_and_opened_afterwards() {
    let hosts = Hosts::started(1).await;
    let host = hosts.host(1);
    let options = |group| hosts.group_options(1, group, Counter::default());
    let missing = host.open_group(options(1)).await.unwrap_err();
    assert!(
        matches!(missing, NodeError::GroupMissing(GroupId(1))),
        "{missing}"
    );
    let node = host.create_group(options(1)).await.unwrap();
    add(&node, 1).await;
    let runs = host.create_group(options(1)).await.unwrap_err();
    assert!(matches!(runs, NodeError::GroupRuns(GroupId(1))), "{runs}");
    node.shutdown().await;
    node.stopped().await.unwrap();
    assert!(host.group(GroupId(1)).is_none());
    let exists = host.create_group(options(1)).await.unwrap_err();
    assert!(matches!(exists, NodeError::GroupExists(GroupId(1))), "{exists}");
    let again = host.open_group(options(1)).await.unwrap();
    assert_eq!(read(&again).await, 1);
    assert!(
        node.propose(node_world::number(1)).await.is_err(),
        "the old handle is of one that has ended"
    );
    let reserved = host.create_group(options(PULSE_GROUP.0)).await.unwrap_err();
    assert!(matches!(reserved, NodeError::GroupReserved(_)), "{reserved}");
    let other = hosts.group_options(2, 5, Counter::default());
    let other = host.create_group(other).await.unwrap_err();
    assert!(matches!(other, NodeError::OtherNode { .. }), "{other}");
    host.stop().await;
    let stopped = host.create_group(options(6)).await.unwrap_err();
    assert!(matches!(stopped, NodeError::HostStopped), "{stopped}");
}
