//! Real processes on a small file system of their own: a disk that is full stops the node, and loses nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Cluster, output_of, raft_node};

/// A file system in a file, which is unmounted in the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `bytes` at `path`; none, with a message, if this user or machine cannot.
    fn mount(path: &Path, bytes: u64) -> Option<SmallDisk> {
        let image = path.with_extension("img");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        fs::create_dir(path).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status();
        let mounted = made.ok().filter(|made| made.success()).and_then(|_| {
            let mut mount = Command::new("mount");
            mount.args(["-o", "loop"]).arg(&image).arg(path);
            mount.stderr(Stdio::null()).status().ok()
        });
        if mounted.is_some_and(|mounted| mounted.success()) {
            return Some(SmallDisk(path.to_owned()));
        }
        fs::remove_dir(path).unwrap();
        eprintln!("skipped: this takes root, mkfs.ext4 and a loop device");
        None
    }

    /// Uses up what is free with a file, which is returned.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let block = vec![1; 64 << 10];
        while file.write_all(&block).is_ok() {}
        // What is written late must not find less room than it seemed.
        file.sync_all().unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the node may just be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

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
