//! Real processes on a small file system of their own: a disk that is full stops the node, and loses nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::process::Stdio;

use common::disk::SmallDisk;
use common::{Cluster, output_of, raft_node};

/// R60: a node whose disk is full ends with exit code 1, and says where, why and what to do; when there is room again it
/// has everything that it acknowledged.
#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    let mut cluster = Cluster::describe(1);
    let Some(disk) = SmallDisk::mount(&cluster.path("data-n1"), 96 << 20) else {
        return;
    };
    cluster.start_node(1);
    cluster.leader();
    let acked = cluster.path("acked");
    cluster.load(100, &acked);
    let filler = disk.fill();
    let more = cluster.path("more");
    let load = raft_node()
        .args([
            "load",
            "--duration",
            "60",
            "--clients",
            "8",
            "--value-bytes",
            "65536",
        ])
        .args(["--endpoints", &cluster.urls(), "--acked"])
        .arg(&more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut load = load.unwrap();
    assert_eq!(cluster.ended(1), Some(1));
    load.kill().unwrap();
    load.wait().unwrap();
    let log = cluster.log(1);
    for part in ["data-n1", "the disk is full; free some space, then restart"] {
        assert!(log.contains(part), "{part:?} is missing: {log}");
    }
    fs::remove_file(filler).unwrap();
    cluster.start_node(1);
    cluster.leader();
    for file in [&acked, &more] {
        let file = file.to_str().unwrap();
        output_of(&["verify", "--acked", file, "--endpoints", &cluster.urls()]);
    }
}
