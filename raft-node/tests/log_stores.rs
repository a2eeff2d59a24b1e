//! Real processes with their logs in different stores.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Cluster, output_of, run};

/// Starts node `id` with its log in `store`.
fn start(cluster: &mut Cluster, id: usize, store: &str) {
    let mut command = cluster.command(id);
    command.args(["--log-store", store]);
    cluster.start_with(id, command);
}

/// What comes of starting node `id` with its log in `store`, which is refused.
fn refusal(cluster: &Cluster, id: usize, store: &str) -> String {
    let mut command = cluster.command(id);
    let ended = run(command.args(["--log-store", store]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.stderr
}

/// R11, R39: everything acknowledged is there after all nodes lost power at once, in raft-engine as in RocksDB.
#[test]
fn a_cluster_on_raft_engine_survives_the_death_of_every_node() {
    let mut cluster = Cluster::describe(3);
    for id in 1..=3 {
        start(&mut cluster, id, "raft-engine");
    }
    cluster.leader();
    let acked = cluster.path("acked");
    cluster.load(1000, &acked);
    for id in 1..=3 {
        cluster.kill(id);
    }
    let other = refusal(&cluster, 1, "rocksdb");
    assert!(
        other.contains("in the store raft-engine, and this start asks for rocksdb")
            && other.contains("start the node with --log-store raft-engine"),
        "{other}"
    );
    for id in 1..=3 {
        start(&mut cluster, id, "raft-engine");
    }
    cluster.leader();
    assert_eq!(cluster.verify(&acked), "verified 1000 keys on 3 nodes\n");
    assert_eq!(cluster.stop(2), Some(0), "{}", cluster.logs());
    let file = cluster.path("node.toml");
    let position = output_of(&[
        "recover",
        "--config",
        file.to_str().unwrap(),
        "--id",
        "2",
        "--inspect",
    ]);
    assert!(position.starts_with("node 2 of cluster test"), "{position}");
}

/// R68: nodes of one cluster keep their logs where they want; the one that kept it in memory never starts again.
#[test]
fn a_cluster_of_three_stores_loses_the_one_in_memory_only() {
    let mut cluster = Cluster::describe(3);
    for (id, store) in [(1, "rocksdb"), (2, "raft-engine"), (3, "memory")] {
        start(&mut cluster, id, store);
    }
    cluster.leader();
    let acked = cluster.path("acked");
    cluster.load(300, &acked);
    assert_eq!(cluster.verify(&acked), "verified 300 keys on 3 nodes\n");
    assert!(
        cluster.log(3).contains("the log is in memory"),
        "{}",
        cluster.log(3)
    );
    for id in 1..=3 {
        cluster.kill(id);
    }
    let forgotten = refusal(&cluster, 3, "memory");
    assert!(
        forgotten.contains("node 3 of cluster test kept its log in memory and has forgotten")
            && forgotten.contains("under a new id"),
        "{forgotten}"
    );
    let other = refusal(&cluster, 3, "rocksdb");
    assert!(other.contains("kept its log in memory"), "{other}");
    let other = refusal(&cluster, 2, "memory");
    assert!(other.contains("in the store raft-engine"), "{other}");
    start(&mut cluster, 1, "rocksdb");
    start(&mut cluster, 2, "raft-engine");
    cluster.leader();
    let endpoints = format!("{},{}", cluster.url(1), cluster.url(2));
    let verified = output_of(&[
        "verify",
        "--acked",
        acked.to_str().unwrap(),
        "--endpoints",
        &endpoints,
    ]);
    assert_eq!(verified, "verified 300 keys on 2 nodes\n");
}
