//! `raft-node member`, `move-leader` and the consistency of `get`, on three real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Cluster, Ended, output_of, raft_node, run, wait_for};

impl Cluster {
    /// Runs a command against the whole cluster.
    fn ask(&self, arguments: &[&str]) -> Ended {
        run(raft_node().args(arguments).args(["--endpoints", &self.urls()]))
    }

    /// The same, and demands success; its standard output.
    fn tell(&self, arguments: &[&str]) -> String {
        let ended = self.ask(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// The same, and demands that it was refused with all of `parts`.
    fn refuse(&self, arguments: &[&str], parts: &[&str]) {
        let ended = self.ask(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        for part in parts {
            assert!(ended.stderr.contains(part), "{part:?} is missing: {ended:?}");
        }
    }
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

/// R71: a learner that has not caught up does not vote. R68: an id is not given out twice. R62: a refusal is an error.
#[test]
fn members_come_and_go() {
    let cluster = Cluster::start(3);
    let list = cluster.tell(&["member", "list"]);
    assert_has(&list, &["n1", "n2", "n3", &cluster.url(2), "\nvoters 1, 2, 3\n"]);

    let add = ["member", "add", "--peer-url", "quic://127.0.0.1:9", "--learner"];
    let preview = cluster.tell(&[&add[..], &["--dry-run"]].concat());
    assert_has(
        &preview,
        &["to      voters 1, 2, 3; learner 4", "the leader would take"],
    );
    assert!(
        !cluster.tell(&["member", "list"]).contains("learner"),
        "{preview}"
    );
    let added = cluster.tell(&add);
    assert_has(&added, &["node 4 is a learner now", "promote 4 --wait"]);
    cluster.refuse(&add, &["member 4 has quic://127.0.0.1:9 already"]);
    cluster.refuse(
        &["member", "add", "--id", "4", "--peer-url", "quic://127.0.0.1:8"],
        &["node 4 is a member already"],
    );
    cluster.refuse(
        &["member", "add", "--peer-url", "127.0.0.1:8"],
        &["does not begin with quic://"],
    );

    let json = cluster.tell(&["member", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["configuration"]["learners"], serde_json::json!([4]));
    assert_eq!(
        json["members"][3]["peer_urls"],
        serde_json::json!(["quic://127.0.0.1:9"])
    );
    assert_eq!(json["members"][3]["role"], "learner");
    assert_has(
        &cluster.tell(&["status"]),
        &["members: voters 1, 2, 3; learner 4", "node 4 is not connected"],
    );

    cluster.refuse(
        &["member", "promote", "4"],
        &["learner 4 has not caught up", "retry"],
    );
    cluster.refuse(
        &["member", "promote", "4", "--wait", "--timeout", "3"],
        &["node 4 is not reachable", "is it started?", "has not caught up"],
    );
    cluster.tell(&["member", "update", "4", "--name", "east-4"]);
    let list = cluster.tell(&["member", "list"]);
    assert_has(&list, &["east-4", "quic://127.0.0.1:9"]);
    assert_has(
        &cluster.tell(&["member", "remove", "4"]),
        &["node 4 is no member any more", "members: voters 1, 2, 3"],
    );
    cluster.refuse(&["member", "remove", "4"], &["node 4 is not a member"]);
    assert_has(&cluster.tell(&add), &["node 5 is a learner now"]);
}

/// R63: several changes at once go through a joint configuration, which is left by itself.
#[test]
fn several_changes_are_one() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader().to_string();
    let others: Vec<String> = (1..=3)
        .map(|id| id.to_string())
        .filter(|id| *id != leader)
        .collect();
    let [first, second] = &others[..] else {
        panic!("three nodes and one leader");
    };
    let demote = ["member", "change", "--demote", first, "--remove", second];
    let preview = cluster.tell(&[&demote[..], &["--dry-run"]].concat());
    assert_has(
        &preview,
        &[
            &format!("through joint: a majority of {leader} and one of 1, 2, 3"),
            &format!("to      voter {leader}; learner {first}"),
            "quorum: 1 of 1 voter; survives no failure",
            "a quorum of every configuration on the way is reachable now",
        ],
    );
    let changed = cluster.tell(&demote);
    assert_has(&changed, &[&format!("members: voter {leader}; learner {first}")]);
    // Who would be alone with a voter that does not run is told before.
    let bad = ["member", "change", "--add", "4=quic://127.0.0.1:9"];
    let ended = cluster.ask(&[&bad[..], &["--dry-run"]].concat());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_has(
        &ended.stdout,
        &[
            "NO quorum is reachable now",
            "REFUSE",
            "not reachable now:",
            "node 4 would count",
        ],
    );
    cluster.refuse(&bad, &["the group would stop"]);
    assert_has(
        &cluster.tell(&["member", "promote", first, "--wait"]),
        &[&format!("node {first} votes now")],
    );
    cluster.tell(&["put", "a", "b"]);
}

#[test]
fn leadership_moves_where_it_is_told() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let target = leader % 3 + 1;
    let other = target % 3 + 1;
    let moved = output_of(&[
        "move-leader",
        &target.to_string(),
        "--endpoints",
        &cluster.url(other),
    ]);
    assert_has(&moved, &[&format!("node {target} leads now, in term ")]);
    wait_for("everybody to know it", || {
        (cluster.leader() == target).then_some(())
    });
    let again = cluster.tell(&["move-leader", &target.to_string()]);
    assert_has(&again, &["leads already"]);
    cluster.refuse(&["move-leader", "9"], &["node 9 is not a voter", "name a voter"]);
}

/// A node that lost its majority answers what it has to those who say that it may be old, and to nobody else.
#[test]
fn a_read_says_how_current_it_must_be() {
    let mut cluster = Cluster::start(3);
    cluster.tell(&["put", "a", "b"]);
    let last = cluster.leader();
    let get = |consistency: &str| {
        let arguments = ["get", "a", "--consistency", consistency, "--timeout", "3"];
        run(raft_node()
            .args(arguments)
            .args(["--endpoints", &cluster.url(last)]))
    };
    for consistency in ["linearizable", "l", "serializable", "s"] {
        assert_eq!(get(consistency).stdout, "a\nb\n");
    }
    assert_eq!(get("eventual").code, Some(2));
    for id in (1..=3).filter(|id| *id != last) {
        cluster.kill(id);
    }
    let get = |consistency: &str| {
        let arguments = ["get", "a", "--consistency", consistency, "--timeout", "3"];
        run(raft_node()
            .args(arguments)
            .args(["--endpoints", &cluster.url(last)]))
    };
    assert_eq!(get("s").stdout, "a\nb\n");
    let refused = get("l");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    let members = cluster.ask(&["member", "list", "--consistency", "s"]);
    assert_has(&members.stdout, &["voters 1, 2, 3"]);
}
