//! Real processes that are recorded: what they did is done again by `raft-node replay`, to the same state.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Cluster, Ended, raft_node, run, wait_for};
use serde_json::Value;

/// Where node `id` is recorded.
fn recording(cluster: &Cluster, id: usize) -> PathBuf {
    cluster.path(&format!("recording-n{id}"))
}

fn start_recorded(cluster: &mut Cluster, id: usize) {
    let mut command = cluster.command(id);
    command.arg("--record").arg(recording(cluster, id));
    cluster.start_with(id, command);
}

fn replay(path: &Path, arguments: &[&str]) -> Ended {
    run(raft_node().arg("replay").arg(path).args(arguments))
}

/// The JSON objects of a replay: the steps, and the end.
fn json(path: &Path, arguments: &[&str]) -> (Vec<Value>, Value) {
    let ended = replay(path, &[arguments, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let mut lines: Vec<Value> = lines.collect();
    let end = lines.pop().unwrap();
    (lines, end)
}

/// S13: three processes under load, one of which is killed and started again, replay on every node to the recorded state. The
/// recording of one of them is shown in parts, becomes a page and a test, and is refused when it is damaged.
#[test]
fn a_cluster_replays_on_every_node() {
    let mut cluster = Cluster::describe(3);
    for id in 1..=3 {
        start_recorded(&mut cluster, id);
    }
    let leader = cluster.leader();
    cluster.load(300, &cluster.path("acked"));
    cluster.kill(leader);
    cluster.leader();
    start_recorded(&mut cluster, leader);
    cluster.leader();
    cluster.load(100, &cluster.path("more"));
    for id in 1..=3 {
        assert_eq!(cluster.stop(id), Some(0));
    }
    for id in 1..=3 {
        let (steps, end) = json(&recording(&cluster, id), &[]);
        assert_eq!(end["equal"], true, "{end}");
        assert_eq!(end["starts"], 1 + u64::from(id == leader), "{end}");
        assert_eq!(end["missing"], 0, "{end}");
        assert_eq!(end["steps"], steps.len() as u64);
        assert!(steps.len() > 100, "{end}");
    }
    parts_are_shown(&recording(&cluster, leader));
    it_becomes_other_things(&cluster, &recording(&cluster, leader));
    damage_is_told(&cluster, &recording(&cluster, leader));
}

/// `--from` and `--until` take the numbers and the times that are shown.
fn parts_are_shown(recording: &Path) {
    let (steps, end) = json(recording, &["--from", "20", "--until", "40"]);
    let numbers: Vec<u64> = steps.iter().map(|step| step["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (20..=40).collect::<Vec<u64>>());
    assert_eq!(end["step"], 40);
    let time = steps[10]["time"].as_str().unwrap();
    let (until, _) = json(recording, &["--until", time]);
    assert!(
        (29..=31).contains(&until.len()),
        "{} steps until {time}",
        until.len()
    );
    let text = replay(recording, &["--until", "40"]).stdout;
    for part in [
        "node ",
        "—— start 1: ",
        "step 40  20",
        "  state   ",
        "  input   ",
        "  effect  send n",
        "after step 40 the state is ",
    ] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    let quiet = replay(recording, &["--quiet"]).stdout;
    assert!(
        quiet.ends_with("which is the recorded state\n") && quiet.lines().count() == 1,
        "{quiet}"
    );
}

fn it_becomes_other_things(cluster: &Cluster, recording: &Path) {
    let (trace, test) = (cluster.path("trace.json"), cluster.path("test.rs"));
    let made = replay(
        recording,
        &[
            "--quiet",
            "--until",
            "60",
            "--trace",
            trace.to_str().unwrap(),
            "--export",
            test.to_str().unwrap(),
        ],
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    let trace: raft_sim::trace::Trace = serde_json::from_str(&fs::read_to_string(trace).unwrap()).unwrap();
    assert_eq!(
        trace.start.nodes.len() + 1,
        3,
        "the other nodes are there from the beginning"
    );
    assert!(trace.events.len() > 60);
    let page = fs::read_to_string(cluster.path("trace.html")).unwrap();
    assert!(page.contains("append_entries"));
    let test = fs::read_to_string(test).unwrap();
    assert!(
        test.contains("fn steps_1_to_60()") && test.contains("Raft::new"),
        "{test}"
    );
}

/// R77: exit code 4 and the place, and no step after it; a torn end is no damage.
fn damage_is_told(cluster: &Cluster, recording: &Path) {
    let whole = fs::read(recording.join("00000001.raftrec")).unwrap();
    let file = cluster.path("damaged.raftrec");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, damaged).unwrap();
    let told = replay(&file, &["--quiet"]);
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(told.stderr.contains("is damaged: its checksum is"), "{told:?}");
    fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let torn = replay(&file, &["--quiet"]);
    assert_eq!(torn.code, Some(0), "{torn:?}");
    assert!(torn.stderr.contains("are no whole record"), "{torn:?}");
    fs::write(&file, b"{}").unwrap();
    let none = replay(&file, &[]);
    assert_eq!(
        (none.code, none.stderr.contains("this is no recording")),
        (Some(1), true),
        "{none:?}"
    );
    let nothing = replay(&cluster.path("pki"), &[]);
    assert!(nothing.stderr.contains("has no recording"), "{nothing:?}");
}

/// What the memory holds is had from a running node.
#[test]
fn a_running_node_gives_what_its_memory_holds() {
    let cluster = Cluster::start(1);
    cluster.load(50, &cluster.path("acked"));
    let file = cluster.path("memory.raftrec");
    let steps = wait_for("what was written to be recorded", || {
        fs::write(&file, cluster.page(1, "/debug/recording")).unwrap();
        let (steps, end) = json(&file, &[]);
        assert_eq!(end["starts"], 1, "{end}");
        let text = serde_json::to_string(&steps).unwrap();
        text.contains("proposed 1 command").then_some(steps)
    });
    assert!(steps.len() > 10);
}
