//! Real processes: nodes and the command line name what is wrong with a cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::disk::SmallDisk;
use common::{Cluster, output_of, raft_node, run, wait_for};

/// The election timeout of the clusters of these tests.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// What `raft-node why` prints.
fn why(cluster: &Cluster, more: &[&str]) -> String {
    let mut command = raft_node();
    command.args(["why", "--timeout", "1", "--endpoints", &cluster.urls()]);
    let ended = run(command.args(more));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

/// R36: two of three nodes are killed. The third names its silent leader within an election timeout, and as soon as an election
/// failed, that nobody is there to vote; so do the command, the status, the metrics and the log, in the same words.
#[test]
fn a_cluster_without_a_quorum_says_who_is_missing() {
    let mut cluster = Cluster::start(3);
    assert!(why(&cluster, &[]).starts_with("All is well: node "));
    let leader = cluster.leader();
    let left = (1..=3).find(|id| *id != leader).unwrap();
    let gone: Vec<usize> = (1..=3).filter(|id| *id != left).collect();
    for id in &gone {
        cluster.kill(*id);
    }
    let early = ["leader_silent", "election", "no_quorum"];
    let since = Instant::now();
    cluster.named(left, &early, since, ELECTION_TIMEOUT);
    let text = wait_for("an election to fail", || {
        let (cause, text) = cluster.why(left);
        (cause == "no_quorum").then_some(text)
    });
    let quorum = format!(
        "It takes 2 of the 3 voters 1, 2 and 3 to elect a leader, and only node {left} can be reached."
    );
    assert!(text.contains(&quorum), "{text}");
    let printed = why(&cluster, &[]);
    for part in [
        &quorum,
        &format!("Node {} has not answered for", gone[0]),
        &format!("Node {} does not answer at {}", gone[1], cluster.url(gone[1])),
    ] {
        assert!(printed.contains(part.as_str()), "{part:?} is missing: {printed}");
    }
    let status = output_of(&["status", "--timeout", "1", "--endpoints", &cluster.urls()]);
    assert!(status.contains(&quorum), "{status}");
    let page = cluster.metrics(left);
    assert!(page.contains("raft_trouble{cause=\"no_quorum\"} 1"), "{page}");
    wait_for("the log to say it", || {
        cluster.log(left).contains(&quorum).then_some(())
    });
}

/// R76: one process is stopped, as by a machine that hangs. The leader names it within an election timeout, and the command says that
/// it answers nobody.
#[test]
fn a_stopped_node_is_named() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let stopped = (1..=3).find(|id| *id != leader).unwrap();
    cluster.signal(stopped, "-STOP");
    let since = Instant::now();
    let text = cluster.named(leader, &["peer_silent"], since, ELECTION_TIMEOUT);
    assert!(
        text.starts_with(&format!("Node {stopped} does not answer.")),
        "{text}"
    );
    let printed = why(&cluster, &[]);
    let silent = format!("Node {stopped} does not answer at {}", cluster.url(stopped));
    assert!(
        printed.contains(&silent) && printed.contains("start them if not"),
        "{printed}"
    );
    cluster.signal(stopped, "-CONT");
    wait_for("all to be well", || {
        (cluster.why(leader).0 == "none").then_some(())
    });
}

/// R35: the disk of a follower stands still. The follower names it itself, and the leader knows it from its answers, both within
/// an election timeout of the first write that waits.
#[test]
fn a_disk_that_stands_still_is_named() {
    let mut cluster = Cluster::describe(3);
    let Some(disk) = SmallDisk::mount(&cluster.path("data-n3"), 96 << 20) else {
        return;
    };
    for id in 1..=3 {
        cluster.start_node(id);
    }
    if cluster.leader() == 3 {
        output_of(&["move-leader", "1", "--endpoints", &cluster.urls()]);
    }
    let leader = wait_for("another one to lead", || {
        Some(cluster.leader()).filter(|id| *id != 3)
    });
    disk.freeze();
    let since = Instant::now();
    output_of(&["put", "key", "value", "--endpoints", &cluster.url(leader)]);
    // A write began with the put at the latest; the own word of a follower is as old as a heartbeat.
    let put = since.elapsed();
    let limit = put + ELECTION_TIMEOUT;
    let own = cluster.named(3, &["own_disk"], since, limit);
    assert!(own.contains("its disk or its log writer is slow"), "{own}");
    let text = cluster.named(leader, &["peer_disk"], since, limit);
    assert!(
        text.contains("says that its oldest write has not become durable for"),
        "{text}"
    );
    let printed = why(&cluster, &["--member", "3"]);
    assert!(
        printed.contains("look at the load and the health of that disk"),
        "{printed}"
    );
    disk.thaw();
    wait_for("all to be well", || {
        (cluster.why(leader).0 == "none").then_some(())
    });
    for id in 1..=3 {
        assert_eq!(cluster.stop(id), Some(0), "{}", cluster.logs());
    }
}

/// S18: an entry is explained by its index, and the leader by how it became one.
#[test]
fn an_index_and_the_leader_are_explained() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    output_of(&["put", "key", "value", "--endpoints", &cluster.urls()]);
    let printed = why(&cluster, &["--index", "1"]);
    assert!(
        printed.starts_with(&format!("Entry 1 is applied on node {leader}")),
        "{printed}"
    );
    let printed = why(&cluster, &["--index", "1000000"]);
    assert!(printed.contains("There is no entry 1000000"), "{printed}");
    let printed = why(&cluster, &["--leader"]);
    assert!(printed.contains("became the leader of term"), "{printed}");
    let page = cluster.answer(leader, "/why?index=x");
    assert!(
        page.starts_with("HTTP/1.1 400") && page.contains("not a whole number"),
        "{page}"
    );
}
