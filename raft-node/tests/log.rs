//! `raft-node log` on the data directory of a node that was killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{Cluster, Ended, output_of, raft_node, run};
use serde_json::Value;

/// Everything that a look at a directory could change: names, sizes, times, contents.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let content = if data.is_dir() {
            all.extend(listing(&path));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        all.insert(
            path,
            (data.len(), data.mtime(), data.mtime_nsec(), data.ino(), content),
        );
    }
    all
}

/// `raft-node log` with `arguments` on `data`, which it must not change.
fn log(data: &Path, arguments: &[&str]) -> Ended {
    let before = listing(data);
    let mut command = raft_node();
    command.arg("log").arg(arguments[0]).arg("--data").arg(data);
    let ended = run(command.args(&arguments[1..]));
    assert!(listing(data) == before, "looking changed something: {ended:?}");
    ended
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap()
}

fn assert_refused(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {ended:?}");
    }
}

/// A node with 50 keys and one deletion of a key, killed.
fn killed_node() -> (Cluster, PathBuf) {
    let mut cluster = Cluster::start(1);
    let acked = cluster.path("acked");
    cluster.load(50, &acked);
    let endpoint = cluster.url(1);
    output_of(&["put", "colour", "blue", "--endpoints", &endpoint]);
    let data = cluster.path("data-n1");
    let running = run(raft_node().args(["log", "verify", "--data"]).arg(&data));
    assert_refused(
        &running,
        &["the node of the data directory", "runs", "stop it first"],
    );
    cluster.kill(1);
    (cluster, data)
}

#[test]
fn a_killed_nodes_log_is_shown_verified_and_exported() {
    let (cluster, data) = killed_node();
    let shown = log(&data, &["inspect"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for part in [
        "node 1 of cluster test",
        "watermark",
        "members: voter 1",
        "journal",
        "no findings",
    ] {
        assert!(
            shown.stdout.contains(part),
            "{part:?} is missing: {}",
            shown.stdout
        );
    }
    let inspected = json(&log(&data, &["inspect", "--group", "1", "--json"]));
    let group = &inspected["groups"][0];
    let last = group["last"]["index"].as_u64().unwrap();
    assert!(
        last >= 52 && group["entries"] == group["last"]["index"],
        "{inspected}"
    );
    assert_eq!(group["hard_state"]["vote"], 1, "{inspected}");
    assert_eq!(group["membership"]["voters"][0], 1, "{inspected}");
    assert_eq!(inspected["damaged"], false);
    assert!(inspected["disk"]["journal"]["bytes"].as_u64().unwrap() > 0);

    let verified = log(&data, &["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(
        verified.stdout.starts_with("no findings\nwhole: "),
        "{verified:?}"
    );

    let exported = log(&data, &["export", "--group", "1"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let lines: Vec<Value> = exported
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, last);
    let colour = lines.iter().find(|line| line["put"]["key"] == "colour").unwrap();
    assert_eq!(colour["put"]["value"], "blue");
    assert!(lines.iter().any(|line| line["membership"]["voters"][0] == 1));

    // A file gets the same, and is neither replaced nor put among the data.
    let out = cluster.path("entries.hex");
    let to_file = ["export", "--from", "2", "--to", "4", "--format", "hex", "--out"];
    let to_file = [&to_file[..], &[out.to_str().unwrap()]].concat();
    assert_eq!(log(&data, &to_file).code, Some(0));
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.lines().count() == 3 && text.starts_with("2 "), "{text}");
    assert_refused(
        &log(&data, &to_file),
        &["entries.hex", "a name that is not taken"],
    );
    let inside = data.join("entries");
    let refused = log(&data, &["export", "--out", inside.to_str().unwrap()]);
    assert_refused(&refused, &["lies in the data directory"]);
}

#[test]
fn what_cannot_be_looked_at_says_why() {
    let (cluster, data) = killed_node();
    assert_refused(
        &log(&data, &["inspect", "--group", "7"]),
        &["no group 7", "has 1"],
    );
    let beyond = ["export", "--from", "100000"];
    assert_refused(
        &log(&data, &beyond),
        &["no entries 100000", "its log has entries 1 to"],
    );
    let none = cluster.path("pki");
    assert_refused(
        &log(&none, &["verify"]),
        &["there is no data of a node", "--data"],
    );
    assert_eq!(run(raft_node().args(["log", "verify"])).code, Some(2));
    let identity = data.join("IDENTITY");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replace("\"rocksdb\"", "\"raft-engine\"")).unwrap();
    assert_refused(&log(&data, &["verify"]), &["kept by raft-engine", "RocksDB only"]);
}

/// R77: damage has an exit code of its own, and every finding is named.
#[test]
fn damage_is_listed_and_has_an_exit_code() {
    let (_cluster, data) = killed_node();
    fs::write(data.join("IDENTITY"), "?").unwrap();
    let mark = data.join("log/watermarks/group-00000000000000000001.mark");
    fs::write(mark, vec![0; 8192]).unwrap();
    for command in [["verify"], ["inspect"]] {
        let ended = log(&data, &command);
        assert_eq!(ended.code, Some(4), "{ended:?}");
        for part in ["IDENTITY", "neither of the two copies", "rejoin under a new id"] {
            assert!(ended.stdout.contains(part), "{part:?} is missing: {ended:?}");
        }
    }
    let verified = log(&data, &["verify"]);
    assert!(verified.stdout.contains("DAMAGED in 2 places"), "{verified:?}");
    let found = json(&log(&data, &["verify", "--json"]));
    assert_eq!(found["damaged"], true);
    assert_eq!(found["findings"].as_array().unwrap().len(), 2, "{found}");
    let exported = log(&data, &["export", "--from", "1", "--to", "1"]);
    assert_eq!((exported.code, exported.stdout.lines().count()), (Some(4), 1));
    assert!(exported.stderr.contains("IDENTITY"), "{exported:?}");
}
