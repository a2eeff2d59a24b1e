//! Real processes: two of three nodes are gone for good, and the third goes on alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use common::{Cluster, Ended, free_ports, output_of, raft_node, run};

fn recover(cluster: &Cluster, id: usize) -> Command {
    let mut command = raft_node();
    command
        .arg("recover")
        .arg("--config")
        .arg(cluster.path("node.toml"));
    command.args(["--id", &id.to_string()]);
    command
}

/// Demands that the command failed with `code` and says all of `parts`, and that it changed nothing.
fn assert_refused(cluster: &Cluster, arguments: &[&str], code: i32, parts: &[&str]) -> Ended {
    let before = inspect(cluster);
    let ended = run(recover(cluster, 1).args(arguments));
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {ended:?}");
    }
    assert_eq!(inspect(cluster), before);
    ended
}

/// What `--inspect` says about stopped node 1.
fn inspect(cluster: &Cluster) -> String {
    let ended = run(recover(cluster, 1).arg("--inspect"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    ended.stdout
}

/// The entry after `name` in the line of `--inspect`.
fn entry<'a>(line: &'a str, name: &str) -> &'a str {
    let rest = line.split_once(&format!("{name} ")).unwrap().1;
    rest.split_once(',').unwrap().0
}

/// Compares what the file `name` says with what one node has.
fn verify(cluster: &Cluster, name: &str, endpoint: &str) -> String {
    let file = cluster.path(name);
    output_of(&[
        "verify",
        "--acked",
        file.to_str().unwrap(),
        "--endpoints",
        endpoint,
    ])
}

/// A node under a new id, which joins node 1 as a learner and is promoted.
struct NewNode {
    process: Child,
    url: String,
}

impl NewNode {
    fn join(cluster: &Cluster, id: &str) -> NewNode {
        let (client, peer) = free_ports(1)[0];
        let (url, peer) = (
            format!("http://127.0.0.1:{client}"),
            format!("quic://127.0.0.1:{peer}"),
        );
        let pki = cluster.path("pki");
        let arguments = [
            "cert",
            "--cluster",
            "test",
            "--node",
            id,
            "--out",
            pki.to_str().unwrap(),
        ];
        output_of(&arguments);
        let reached = ["--peer-url", &peer, "--client-url", &url];
        let add = ["member", "add", "--id", id, "--learner", "--endpoints"];
        output_of(&[&add[..], &[&cluster.url(1)], &reached].concat());
        let mut start = raft_node();
        start.arg("start").arg("--config").arg(cluster.path("node.toml"));
        start
            .args(["--id", id, "--join", "--stop-with-stdin"])
            .args(reached);
        // Standard input stays open as long as this process lives, so the node cannot outlive it.
        start.stdin(Stdio::piped());
        start.stderr(File::create(cluster.path(&format!("n{id}.log"))).unwrap());
        let process = start.spawn().unwrap();
        let node = NewNode { process, url };
        let promote = [
            "member",
            "promote",
            id,
            "--wait",
            "--timeout",
            "60",
            "--endpoints",
        ];
        output_of(&[&promote[..], &[&cluster.url(1)]].concat());
        node
    }
}

impl Drop for NewNode {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Three nodes of which every one has what `acked` says; then two of them and their data are lost, and the third is
/// stopped.
fn two_of_three_are_lost() -> Cluster {
    let mut cluster = Cluster::start(3);
    let acked = cluster.path("acked");
    cluster.load(300, &acked);
    assert_eq!(cluster.verify(&acked), "verified 300 keys on 3 nodes\n");
    for id in [2, 3] {
        cluster.kill(id);
        fs::remove_dir_all(cluster.path(&format!("data-n{id}"))).unwrap();
    }
    let running = run(recover(&cluster, 1).arg("--yes-lose-data"));
    assert_eq!(running.code, Some(1), "{running:?}");
    assert!(
        running.stderr.contains("in use by another process"),
        "{running:?}"
    );
    cluster.kill(1);
    cluster
}

/// R11, R68: the survivor keeps every write that it had, and takes new ones; nothing is done that was not confirmed.
#[test]
fn the_survivor_goes_on_with_everything_that_it_has() {
    let mut cluster = two_of_three_are_lost();
    let line = inspect(&cluster);
    assert!(
        line.starts_with("node 1 of cluster test: last ") && line.contains("members {1,2,3}"),
        "{line}"
    );

    let stated = run(recover(&cluster, 1).arg("--dry-run"));
    assert_eq!(stated.code, Some(0), "{stated:?}");
    for part in [
        "Node 1 is to go on alone",
        "What may be lost",
        "Node 2 must never be started again",
        "Node 3 must never be started again",
        entry(&line, "last"),
    ] {
        assert!(stated.stdout.contains(part), "{part:?} is missing: {stated:?}");
    }
    assert_eq!(inspect(&cluster), line);
    let unconfirmed = assert_refused(&cluster, &[], 2, &["--yes-lose-data"]);
    assert_eq!(unconfirmed.stdout, stated.stdout, "the statement comes first");
    let elsewhere = ["--contains", "999999@1", "--yes-lose-data"];
    assert_refused(
        &cluster,
        &elsewhere,
        1,
        &["entry 999999@1", "Nothing was changed"],
    );

    let committed = entry(&line, "committed");
    let ended = run(recover(&cluster, 1).args(["--contains", committed, "--yes-lose-data"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("What to do next"), "{ended:?}");
    assert!(inspect(&cluster).contains("members {1}"));
    assert_refused(&cluster, &["--yes-lose-data"], 1, &["just start it"]);

    cluster.start_node(1);
    assert_eq!(cluster.leader(), 1);
    let endpoint = cluster.url(1);
    assert_eq!(
        verify(&cluster, "acked", &endpoint),
        "verified 300 keys on 1 nodes\n"
    );
    let more = cluster.path("more");
    let load = [
        "load",
        "--keys",
        "100",
        "--acked",
        more.to_str().unwrap(),
        "--endpoints",
    ];
    output_of(&[&load[..], &[&endpoint]].concat());

    // Two new machines: the group survives a failure again, and whatever it knew is on all of them.
    let new_nodes = [NewNode::join(&cluster, "4"), NewNode::join(&cluster, "5")];
    cluster.kill(1);
    for node in &new_nodes {
        assert_eq!(
            verify(&cluster, "acked", &node.url),
            "verified 300 keys on 1 nodes\n"
        );
        assert_eq!(
            verify(&cluster, "more", &node.url),
            "verified 100 keys on 1 nodes\n"
        );
    }
}

#[test]
fn a_directory_without_a_node_is_left_alone() {
    let cluster = Cluster::describe(1);
    let ended = run(recover(&cluster, 1).arg("--inspect"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("there is no data of a node"), "{ended:?}");
    assert!(!cluster.path("data-n1").exists());
}
