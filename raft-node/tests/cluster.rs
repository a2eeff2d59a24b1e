//! Three real processes: what was acknowledged survives the death of any of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, output_of, raft_node, run};

/// How long writes may pause when a leader dies. `cargo xtask up --check` demands two seconds of a machine of its own;
/// here the disk may be busy with other things, and no vote counts before it is synced.
const FAILOVER_MAX: Duration = Duration::from_secs(10);

#[test]
fn a_cluster_survives_the_death_of_its_leader() {
    let mut cluster = Cluster::start(3);
    for id in 1..=3 {
        output_of(&[
            "put",
            &format!("key-{id}"),
            &format!("value-{id}"),
            "--endpoints",
            &cluster.url(id),
        ]);
    }
    for id in 1..=3 {
        let all = output_of(&["get", "key-", "--prefix", "--endpoints", &cluster.url(id)]);
        assert_eq!(all, "key-1\nvalue-1\nkey-2\nvalue-2\nkey-3\nvalue-3\n");
    }
    let acked = cluster.path("acked");
    cluster.load(300, &acked);

    // Under load, with the leader killed in the middle: the generator itself measures the pause.
    let load = cluster.start_load(6, &acked);
    common::wait_for("the load to begin", || {
        (Cluster::acked(&acked) > 400).then_some(())
    });
    let leader = cluster.leader();
    cluster.kill(leader);
    let before = Cluster::acked(&acked);
    let killed = Instant::now();
    common::wait_for("writes to go on", || {
        (Cluster::acked(&acked) > before + 50).then_some(())
    });
    assert!(
        killed.elapsed() < FAILOVER_MAX,
        "writes paused for {:?}",
        killed.elapsed()
    );
    let report = load.report();
    let gap = report["longest_gap_ms"].as_u64().unwrap();
    assert!(u128::from(gap) < FAILOVER_MAX.as_millis(), "{report}");

    cluster.start_node(leader);
    let total = Cluster::acked(&acked);
    let verified = cluster.verify(&acked);
    assert_eq!(verified, format!("verified {total} keys on 3 nodes\n"));
    for id in 1..=3 {
        assert_eq!(cluster.stop(id), Some(0), "{}", cluster.logs());
    }
}

/// R11, R39: everything acknowledged is there after all nodes lost power at once.
#[test]
fn a_cluster_survives_the_death_of_every_node() {
    let mut cluster = Cluster::start(3);
    let acked = cluster.path("acked");
    cluster.load(1000, &acked);
    for id in 1..=3 {
        cluster.kill(id);
    }
    for id in 1..=3 {
        cluster.start_node(id);
    }
    assert_eq!(cluster.verify(&acked), "verified 1000 keys on 3 nodes\n");
    cluster.load(100, &cluster.path("more"));
    assert_eq!(cluster.verify(&acked), "verified 1000 keys on 3 nodes\n");
}

/// The members are in the data: flags that name others neither add one nor stop the node.
#[test]
fn the_data_wins_over_the_flags_of_the_first_start() {
    let mut cluster = Cluster::start(1);
    output_of(&["put", "a", "b", "--endpoints", &cluster.urls()]);
    assert_eq!(cluster.stop(1), Some(0));
    let file = cluster.path("node.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // With a second voter that does not exist, nothing could be written any more.
    let text = text
        .replace(
            "initial-cluster = \"",
            "initial-cluster = \"2=quic://127.0.0.1:9,",
        )
        .replace(
            "initial-client-urls = \"",
            "initial-client-urls = \"2=http://127.0.0.1:9,",
        );
    std::fs::write(&file, text).unwrap();
    cluster.start_node(1);
    cluster.leader();
    assert_eq!(
        output_of(&["put", "a", "c", "--endpoints", &cluster.urls()]),
        "OK (revision 3)\n"
    );
    assert!(
        cluster.logs().contains("the data directory counts"),
        "{}",
        cluster.logs()
    );
}

/// R68: a node whose log was taken away does not start as if it had never voted.
#[test]
fn a_node_that_lost_its_log_does_not_start() {
    let mut cluster = Cluster::start(3);
    cluster.load(100, &cluster.path("acked"));
    assert_eq!(cluster.stop(2), Some(0), "{}", cluster.logs());
    std::fs::remove_dir_all(cluster.path("data-n2/log")).unwrap();
    let ended = run(&mut cluster.command(2));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("data-n2/log") && ended.stderr.contains("new id"),
        "{ended:?}"
    );
}

#[test]
fn verify_finds_what_is_missing_and_what_differs() {
    let cluster = Cluster::start(1);
    let acked = cluster.path("acked");
    cluster.load(10, &acked);
    let mut lines = std::fs::read_to_string(&acked).unwrap();
    output_of(&[
        "put",
        "changed",
        "behind its back",
        "--endpoints",
        &cluster.urls(),
    ]);
    lines.push_str("changed\tas acknowledged\nnever-written\tvalue\n");
    std::fs::write(&acked, lines).unwrap();
    let ended = run(raft_node()
        .args(["verify", "--endpoints", &cluster.urls(), "--acked"])
        .arg(&acked));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("never-written is missing"), "{ended:?}");
    assert!(ended.stdout.contains("behind its back"), "{ended:?}");
    assert!(ended.stdout.contains("2 keys differ"), "{ended:?}");
}

#[test]
fn status_shows_every_node_and_who_is_silent() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let table = output_of(&["status", "--endpoints", &cluster.url(leader)]);
    for id in 1..=3 {
        assert!(
            table.contains(&cluster.url(id)),
            "the members are found from one of them:\n{table}"
        );
    }
    assert!(table.contains("leader") && table.contains("follower"), "{table}");
    assert!(
        table.contains("lost packets") && table.contains(" ms"),
        "the ways to the peers are measured:\n{table}"
    );
    let victim = leader % 3 + 1;
    cluster.kill(victim);
    let table = output_of(&["status", "--endpoints", &cluster.url(leader)]);
    assert!(
        table.contains(&format!("{} does not answer", cluster.url(victim))),
        "{table}"
    );
}
