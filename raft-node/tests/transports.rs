//! Real processes that talk over TCP in the place of QUIC.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Cluster, run};

/// Everything acknowledged is on every node after the leader was killed, over TCP as over QUIC.
#[test]
fn a_cluster_over_tcp_survives_the_death_of_its_leader() {
    let mut cluster = Cluster::describe(3);
    for id in 1..=3 {
        let command = cluster.command_over_tcp(id);
        cluster.start_with(id, command);
    }
    let first = cluster.leader();
    let (before, after) = (cluster.path("before"), cluster.path("after"));
    cluster.load(500, &before);
    cluster.kill(first);
    assert_ne!(cluster.leader(), first);
    cluster.load(500, &after);
    let command = cluster.command_over_tcp(first);
    cluster.start_with(first, command);
    cluster.leader();
    for acked in [before, after] {
        assert_eq!(cluster.verify(&acked), "verified 500 keys on 3 nodes\n");
    }
    for id in 1..=3 {
        assert_eq!(cluster.stop(id), Some(0), "{}", cluster.logs());
    }
}

/// A URL that belongs to the other transport is named, before anything is opened.
#[test]
fn urls_of_the_other_transport_are_refused() {
    let cluster = Cluster::describe(3);
    let ended = run(cluster.command(1).args(["--transport", "tcp"]));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("`initial-cluster`, node 1") && ended.stderr.contains("tcp://"),
        "{}",
        ended.stderr
    );
}
