//! Bad input on the command line: each stops with one clear message that names the input and the remedy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use common::{Cluster, Ended, output_of, raft_node, run};

/// Demands that the command failed with `code` and one message that contains all of `parts`.
fn assert_refused(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {ended:?}");
    }
    assert!(ended.stdout.is_empty(), "{ended:?}");
    let errors = ended.stderr.matches("error").count();
    assert!(errors >= 1 && !ended.stderr.contains("panicked"), "{ended:?}");
}

fn start(arguments: &[&str]) -> Ended {
    run(raft_node().arg("start").args(arguments))
}

#[test]
fn an_unknown_flag_is_named_and_a_similar_one_offered() {
    assert_refused(&start(&["--data-dri", "x"]), 2, &["--data-dri", "--data-dir"]);
}

#[test]
fn every_subcommand_has_help_with_examples() {
    for name in [
        "start",
        "cert",
        "dev",
        "status",
        "member",
        "move-leader",
        "put",
        "get",
        "load",
        "verify",
        "recover",
        "log",
    ] {
        let help = output_of(&[name, "--help"]);
        assert!(help.contains("Examples:"), "{help}");
    }
    assert!(output_of(&["--help"]).contains("Examples:"));
    assert!(output_of(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_member_command_that_is_not_understood_says_why() {
    let member = |arguments: &[&str]| run(raft_node().arg("member").args(arguments));
    assert_refused(&member(&["promote", "n4"]), 2, &["n4", "whole number"]);
    assert_refused(&member(&["remove"]), 2, &["<IDS>"]);
    assert_refused(&member(&["add", "--learner"]), 2, &["--peer-url"]);
    assert_refused(&member(&["update", "4"]), 2, &["--peer-url", "--name"]);
    assert_refused(&member(&["change"]), 2, &["--add", "--remove"]);
    assert_refused(
        &member(&["change", "--add", "quic://a:1"]),
        2,
        &["quic://a:1", "ID=URL"],
    );
    assert_refused(
        &member(&["promote", "4", "--wait", "--dry-run"]),
        2,
        &["--wait", "--dry-run"],
    );
    assert_refused(&run(raft_node().args(["move-leader", "0"])), 2, &["whole number"]);
}

#[test]
fn a_question_that_is_not_understood_says_why() {
    let why = |arguments: &[&str]| run(raft_node().arg("why").args(arguments));
    assert_refused(
        &why(&["--index", "0"]),
        2,
        &["--index", "from 1 on", "raft-node status"],
    );
    assert_refused(&why(&["--member", "n3"]), 2, &["n3", "raft-node member list"]);
    assert_refused(
        &why(&["--index", "3", "--member", "2"]),
        2,
        &["--index", "--member"],
    );
    let nobody = why(&["--endpoints", "http://127.0.0.1:1", "--timeout", "1"]);
    assert_refused(
        &nobody,
        1,
        &["http://127.0.0.1:1", "start the cluster", "--endpoints"],
    );
}

#[test]
fn a_setting_that_is_missing_is_named_with_all_the_places_it_may_stand_in() {
    let ended = start(&["--id", "1"]);
    assert_refused(
        &ended,
        2,
        &["`cluster`", "--cluster", "RAFT_NODE_CLUSTER", "--config"],
    );
}

#[test]
fn an_unknown_key_of_the_file_is_named_with_its_line() {
    let cluster = Cluster::describe(1);
    let file = cluster.path("node.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}heartbeat = 5\n")).unwrap();
    let line = format!("line {}", text.lines().count() + 1);
    let ended = run(&mut cluster.command(1));
    assert_refused(
        &ended,
        2,
        &["node.toml", &line, "`heartbeat`", "heartbeat-interval-ms"],
    );
    fs::write(&file, format!("{text}snapshot-entries = \"many\"\n")).unwrap();
    assert_refused(&run(&mut cluster.command(1)), 2, &["node.toml", &line]);
    fs::remove_file(&file).unwrap();
    assert_refused(&run(&mut cluster.command(1)), 2, &["node.toml", "--config"]);
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let cluster = Cluster::describe(1);
    let file = cluster.path("node.toml");
    let printed = |command: &mut std::process::Command| -> toml::Table {
        let ended = run(command.arg("--print-config"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout.parse().unwrap()
    };
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("election-timeout-ms = 500", "")).unwrap();
    assert_eq!(
        printed(&mut cluster.command(1))["election-timeout-ms"].as_integer(),
        Some(1000)
    );
    fs::write(
        &file,
        text.replace("election-timeout-ms = 500", "election-timeout-ms = 700"),
    )
    .unwrap();
    assert_eq!(
        printed(&mut cluster.command(1))["election-timeout-ms"].as_integer(),
        Some(700)
    );
    let mut command = cluster.command(1);
    command.env("RAFT_NODE_ELECTION_TIMEOUT_MS", "800");
    assert_eq!(
        printed(&mut command)["election-timeout-ms"].as_integer(),
        Some(800)
    );
    let mut command = cluster.command(1);
    command
        .env("RAFT_NODE_ELECTION_TIMEOUT_MS", "800")
        .args(["--election-timeout-ms", "900"]);
    let settings = printed(&mut command);
    assert_eq!(settings["election-timeout-ms"].as_integer(), Some(900));
    let data_dir = cluster.path("data-n1");
    assert_eq!(
        settings["data-dir"].as_str(),
        data_dir.to_str(),
        "the placeholder is replaced"
    );
}

/// R68: the data directory of another node or cluster is refused with both names.
#[test]
fn the_data_directory_of_another_node_or_cluster_is_refused() {
    let mut cluster = Cluster::describe(2);
    cluster.start_node(1);
    common::wait_for("the identity", || {
        cluster.path("data-n1/log").exists().then_some(())
    });
    let data = cluster.path("data-n1");
    let in_use = run(cluster.command(2).arg("--data-dir").arg(&data));
    assert_refused(
        &in_use,
        1,
        &["data-n1", "in use by another process", "--data-dir"],
    );
    cluster.kill(1);
    let before = fs::read(data.join("IDENTITY")).unwrap();
    let other_node = run(cluster.command(2).arg("--data-dir").arg(&data));
    assert_refused(
        &other_node,
        1,
        &[
            "data-n1",
            "node 1 of cluster test",
            "node 2 of cluster test",
            "--data-dir",
        ],
    );
    let other_cluster = run(cluster.command(1).args(["--cluster", "prod"]));
    assert_refused(
        &other_cluster,
        1,
        &["node 1 of cluster test", "node 1 of cluster prod", "--cluster"],
    );
    assert_eq!(fs::read(data.join("IDENTITY")).unwrap(), before);
}

#[test]
fn a_data_directory_that_cannot_be_one_is_refused() {
    let cluster = Cluster::describe(1);
    let file = cluster.path("file");
    fs::write(&file, "x").unwrap();
    let ended = run(cluster.command(1).arg("--data-dir").arg(&file));
    assert_refused(&ended, 1, &["/file", "must name a directory"]);
    // Nobody can make a directory there, not even root.
    let ended = run(cluster.command(1).args(["--data-dir", "/sys/raft-node"]));
    assert_refused(&ended, 1, &["/sys/raft-node", "--data-dir"]);
    let foreign = cluster.path("pki");
    let ended = run(cluster.command(1).arg("--data-dir").arg(&foreign));
    assert_refused(&ended, 1, &["pki", "not empty", "IDENTITY"]);
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let cluster = Cluster::describe(1);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let ended = run(cluster.command(1).args(["--listen-client", &address]));
    assert_refused(&ended, 1, &[&address, "--listen-client", "in use"]);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap().to_string();
    let ended = run(cluster.command(1).args(["--listen-peer", &address]));
    assert_refused(&ended, 1, &[&address, "--listen-peer", "in use"]);
}

#[test]
fn a_certificate_that_does_not_match_is_refused() {
    let cluster = Cluster::describe(2);
    let pki = |name: &str| cluster.path("pki").join(name);
    let with = |flag: &str, path: std::path::PathBuf| run(cluster.command(1).arg(flag).arg(path));
    assert_refused(&with("--cert", pki("none.pem")), 1, &["none.pem"]);
    assert_refused(&with("--cert", pki("n1.key")), 1, &["n1.key"]);
    assert_refused(
        &with("--key", pki("n2.key")),
        1,
        &["n2.key", "n1.pem", "does not belong"],
    );
    let other = run(cluster
        .command(1)
        .arg("--cert")
        .arg(pki("n2.pem"))
        .arg("--key")
        .arg(pki("n2.key")));
    assert_refused(
        &other,
        1,
        &["n2.pem", "n2.test.raft.internal", "n1.test.raft.internal"],
    );
    let strange = cluster.path("strange");
    output_of(&[
        "cert",
        "--cluster",
        "test",
        "--node",
        "1",
        "--out",
        strange.to_str().unwrap(),
    ]);
    assert_refused(
        &with("--ca", strange.join("ca.pem")),
        1,
        &["n1.pem", "strange/ca.pem"],
    );
    let key = pki("n1.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = run(&mut cluster.command(1));
    assert_refused(&open, 1, &["n1.key", "0644", "chmod 600"]);
}

#[test]
fn commands_without_a_cluster_say_whom_they_asked() {
    let (port, _) = common::free_ports(1)[0];
    let url = format!("http://127.0.0.1:{port}");
    let directory = tempfile::tempdir().unwrap();
    let acked = directory.path().join("acked");
    fs::write(&acked, "a\tb\n").unwrap();
    let acked = acked.to_str().unwrap();
    let commands: [&[&str]; 5] = [
        &["status"],
        &["put", "a", "b"],
        &["get", "a"],
        &["load", "--keys", "1"],
        &["verify", "--acked", acked, "--timeout", "0.2"],
    ];
    for command in commands {
        let ended = run(raft_node().args(command).args(["--endpoints", &url]));
        assert_refused(&ended, 1, &[&url, "refused", "--endpoints"]);
    }
    let ended = run(raft_node().args(["get", "a", "--endpoints", "https://127.0.0.1:1"]));
    assert_refused(&ended, 2, &["https://127.0.0.1:1", "http only"]);
}

#[test]
fn a_certificate_that_cannot_be_made_or_renewed_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let pki = path("pki");
    let cert = |arguments: &[&str]| run(raft_node().arg("cert").args(arguments));
    let make = |arguments: &[&str]| {
        let mut all = vec!["--cluster", "demo", "--out", &pki];
        all.extend(arguments);
        cert(&all)
    };
    assert_eq!(make(&["--nodes", "1"]).code, Some(0));
    let node = "n1.demo.raft.internal";
    assert_refused(&make(&["--client", node]), 2, &[node, "kept for nodes"]);
    assert_refused(
        &make(&["--server", "http://x"]),
        2,
        &["http://x", "without a scheme"],
    );
    assert_refused(
        &make(&["--server", "a", "--server", "b"]),
        1,
        &["server.pem", "LABEL="],
    );

    let nowhere = path("nowhere.pem");
    assert_refused(&cert(&["renew", &nowhere]), 1, &[&nowhere, "No such file"]);
    assert_refused(&cert(&["renew", &path("pki/ca.pem")]), 1, &["rotate-ca"]);
    assert_refused(
        &cert(&["renew", &pki, "--days", "0"]),
        1,
        &["--days 0", "1 to 3650"],
    );
    assert_refused(&cert(&["rotate-ca", "switch", &pki]), 1, &["rotate-ca add"]);
    assert_refused(&cert(&["show", &path("pki/n1.key")]), 1, &["PRIVATE KEY"]);
    fs::copy(path("pki/n1.pem"), path("n1.pem")).unwrap();
    assert_refused(&cert(&["renew", &path("n1.pem")]), 1, &["ca.pem", "--ca"]);
}
