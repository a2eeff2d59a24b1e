//! Real processes that are recorded: what they did is done again by `raft-node replay`, to the same state.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    no_two_nodes_share_a_directory(&mut cluster, leader);
    parts_are_shown(&recording(&cluster, leader));
    nothing_is_done_for_nobody(&cluster, &recording(&cluster, leader));
    it_becomes_other_things(&cluster, &recording(&cluster, leader));
    damage_is_told(&cluster, &recording(&cluster, leader));
    what_is_no_recording_is_told(&cluster, leader);
}

/// A node that is told to record where another one does, or where nothing can be, does not start, and leaves everything as it is.
fn no_two_nodes_share_a_directory(cluster: &mut Cluster, of: usize) {
    let other = of % 3 + 1;
    let before: Vec<PathBuf> = files_in(&recording(cluster, of));
    for (place, told) in [
        (
            recording(cluster, of),
            format!("is of node {of} of group 1, and each node needs a directory of its own"),
        ),
        (cluster.path("node.toml"), "cannot record in".to_owned()),
    ] {
        let mut command = cluster.command(other);
        command.arg("--record").arg(place);
        cluster.start_with(other, command);
        assert_eq!(cluster.ended(other), Some(1));
        let log = cluster.log(other);
        assert!(
            log.contains(&told) && log.contains("correct --record, or leave it out"),
            "{log}"
        );
    }
    assert_eq!(files_in(&recording(cluster, of)), before);
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
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
    // The state at --until is checked by the next one that the recording tells.
    assert_eq!(
        (&end["equal"], &end["verified_step"]),
        (&Value::Bool(false), &Value::from(0))
    );
    assert!(
        (41..=104).contains(&end["next_verified_step"].as_u64().unwrap()),
        "{end}"
    );
    for (arguments, told) in [
        (
            ["--until", "99999999"],
            "the recording ends before --until step 99999999: with step ",
        ),
        (
            ["--until", "2100-01-01T00:00:00+01:00"],
            "before --until 2099-12-31T23:00:00Z: with step ",
        ),
        (
            ["--until", "-900d"],
            "is before everything: the recording begins with step 1, 20",
        ),
        (
            ["--from", "99999999"],
            "nothing is at or behind --from step 99999999: the replay ends with step ",
        ),
    ] {
        let ended = replay(recording, &[&arguments[..], &["--quiet"]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stderr.contains(told), "{told:?} is missing: {ended:?}");
    }
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

/// A replay ends when its reader goes away, as `head` does, and does not even find the damage behind what was read.
fn nothing_is_done_for_nobody(cluster: &Cluster, recording: &Path) {
    let file = cluster.path("long.raftrec");
    let mut damaged = fs::read(recording.join("00000001.raftrec")).unwrap();
    let late = damaged.len() / 4 * 3;
    damaged[late] ^= 1;
    fs::write(&file, damaged).unwrap();
    assert_eq!(replay(&file, &[]).code, Some(4));
    let mut command = raft_node();
    let mut read = command
        .arg("replay")
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(read.stdout.take());
    assert_eq!(read.wait().unwrap().code(), Some(0));
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
    assert!(
        told.stderr.contains("damaged.raftrec: the record at byte "),
        "{told:?}"
    );
    let (_, until) = told.stderr.split_once("`--until ").unwrap();
    let (until, _) = until.split_once('`').unwrap();
    let whole_part = replay(&file, &["--quiet", "--until", until]);
    assert_eq!(whole_part.code, Some(0), "as the error advises: {whole_part:?}");
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

/// R77: what lies about in a directory of recordings is passed over or named, and nothing is read that has no end.
fn what_is_no_recording_is_told(cluster: &Cluster, id: usize) {
    let whole = fs::read(recording(cluster, id).join("00000001.raftrec")).unwrap();
    let directory = cluster.path("mixed");
    let put = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), bytes).unwrap();
    };
    // Two nodes died before they had written whose recording it is; a pipe would be waited for without end.
    put("00000000.raftrec", b"");
    put("00000001.raftrec", &whole);
    put("00000002.raftrec", &whole[..5]);
    let made = Command::new("mkfifo")
        .arg(directory.join("pipe.raftrec"))
        .status()
        .unwrap();
    assert!(made.success());
    let (steps, end) = json(&directory, &["--until", "60"]);
    assert_eq!((steps.len(), &end["node"]), (60, &Value::from(id)));
    let all = replay(&directory, &["--quiet"]);
    assert!(
        all.code == Some(0) && all.stderr.contains("the last 5 bytes of "),
        "{all:?}"
    );
    let endless = replay(Path::new("/dev/zero"), &[]);
    assert!(
        endless
            .stderr
            .contains("/dev/zero is neither a file nor a directory"),
        "{endless:?}"
    );
    put("readme.raftrec", b"hello");
    let foreign = replay(&directory, &["--quiet"]);
    assert_eq!(foreign.code, Some(1), "{foreign:?}");
    for part in ["readme.raftrec: this is no recording", "move them away"] {
        assert!(foreign.stderr.contains(part), "{foreign:?}");
    }
    // Without its beginning a recording has steps and no state.
    let end_of_header = 20 + usize::from(whole[8]);
    let start =
        end_of_header + 12 + u32::from_le_bytes(whole[end_of_header..][..4].try_into().unwrap()) as usize;
    let checkpoint = start + 12 + u32::from_le_bytes(whole[start..][..4].try_into().unwrap()) as usize;
    let file = cluster.path("cut.raftrec");
    fs::write(&file, [&whole[..end_of_header], &whole[checkpoint..]].concat()).unwrap();
    let cut = replay(&file, &[]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    let told = format!(
        "cut.raftrec, the record at byte {end_of_header}, after step 0: a step is recorded before any state"
    );
    assert!(cut.stderr.contains(&told), "{told:?} is missing: {cut:?}");
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
