//! Real processes: a node whose disk lost the end of its log comes back as a suspect.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::{Cluster, run, wait_for};

/// Cuts the last records off the journal's segments of the log in `directory`.
fn cut_journal(directory: &Path) {
    let mut cut = 0;
    for entry in fs::read_dir(directory.join("log/journal")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            continue;
        };
        if path.extension().is_some_and(|extension| extension == "seg") {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(last as u64 - 8_192).unwrap();
            cut += 1;
        }
    }
    assert!(cut > 0, "the journal has a segment");
}

/// R11, R68: a node that lost the end of its log is refused with the reason and the remedy; as a suspect it comes back
/// with everything that was acknowledged, although its state machine had applied what the log lost; and it counts again.
#[test]
fn a_node_that_lost_the_end_of_its_log_comes_back_as_a_suspect() {
    let mut cluster = Cluster::start(3);
    let acked = cluster.path("acked");
    cluster.load(300, &acked);
    assert_eq!(cluster.verify(&acked), "verified 300 keys on 3 nodes\n");
    let leader = cluster.leader();
    let hurt = (1..=3).find(|id| *id != leader).unwrap();
    let other = (1..=3).find(|id| ![leader, hurt].contains(id)).unwrap();
    // A clean stop makes the state machine durable, so that it has what the log is about to lose.
    assert_eq!(cluster.stop(hurt), Some(0));
    let data = cluster.path(&format!("data-n{hurt}"));
    cut_journal(&data);
    // The log's tables are as a crash leaves them: empty.
    fs::remove_dir_all(data.join("log/db")).unwrap();

    let refused = run(&mut cluster.command(hurt));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in [
        "lost or damaged what was acknowledged",
        "raft-node start --suspect",
    ] {
        assert!(refused.stderr.contains(part), "{part:?} is missing: {refused:?}");
    }
    assert!(!data.join("kv.set-aside-1").exists(), "a refusal changes nothing");

    let mut command = cluster.command(hurt);
    command.arg("--suspect");
    cluster.start_with(hurt, command);
    wait_for("the suspect to be trusted again", || {
        cluster.log(hurt).contains("votes and counts again").then_some(())
    });
    let log = cluster.log(hurt);
    for part in [
        "the replica starts as a suspect",
        "neither votes nor counts",
        "was set aside",
    ] {
        assert!(log.contains(part), "{part:?} is missing: {log}");
    }
    assert!(data.join("kv.set-aside-1").is_dir(), "nothing is deleted");
    assert_eq!(cluster.verify(&acked), "verified 300 keys on 3 nodes\n");

    // A plain start goes on with it, and without the third node nothing works unless it counts.
    assert_eq!(cluster.stop(hurt), Some(0));
    cluster.start_node(hurt);
    cluster.leader();
    cluster.kill(other);
    cluster.leader();
    cluster.load(50, &cluster.path("more"));
}
