//! Real processes: a node's past is made again, at an index and at a time, and a new cluster goes on from it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Cluster, Ended, free_ports, output_of, raft_node, run, wait_for};
use raft_core::traits::StateMachine;
use raft_kv::{KvOptions, KvStateMachine};
use raft_node::archive::times;

fn put(endpoint: &str, key: &str, value: &str) {
    output_of(&["put", key, value, "--endpoints", endpoint]);
}

fn get(endpoint: &str, key: &str) -> String {
    output_of(&["get", key, "--endpoints", endpoint])
}

/// The last time that node 1 noted, once it has noted `index`.
fn noted(cluster: &Cluster, index: u64) -> u64 {
    let path = cluster.path("data-n1/TIMES");
    wait_for("the time is noted", || {
        let last = times::read(&path).unwrap().list.last().copied()?;
        (last.applied.0 >= index).then_some(last.unix_ms)
    })
}

/// A figure of node 1.
fn figure(cluster: &Cluster, name: &str) -> Option<u64> {
    let metrics = cluster.metrics(1);
    let mut lines = metrics.lines();
    lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn applied(cluster: &Cluster) -> u64 {
    figure(cluster, "raft_applied_index ").unwrap()
}

fn restore(cluster: &Cluster, arguments: &[&str]) -> Ended {
    let mut command = raft_node();
    command.arg("restore").arg("--data").arg(cluster.path("data-n1"));
    command
        .arg("--archive")
        .arg(cluster.path("archive-n1"))
        .args(arguments);
    run(&mut command)
}

/// A node of the new cluster.
struct Restored {
    process: Child,
    client: String,
    peer: String,
}

impl Restored {
    fn start(cluster: &Cluster, id: &str, data: &Path, first: Option<&Restored>) -> Restored {
        let (client, peer) = free_ports(1)[0];
        let (client, peer) = (
            format!("http://127.0.0.1:{client}"),
            format!("quic://127.0.0.1:{peer}"),
        );
        let pki = cluster.path("pki-restored");
        let certificate = ["cert", "--cluster", "test-restored", "--node", id, "--out"];
        output_of(&[&certificate[..], &[pki.to_str().unwrap()]].concat());
        let reached = ["--peer-url", &peer, "--client-url", &client];
        let begun_by = first.map_or(format!("{id}={peer}"), |first| format!("1={}", first.peer));
        let mut start: Command = raft_node();
        start.args([
            "start",
            "--id",
            id,
            "--cluster",
            "test-restored",
            "--stop-with-stdin",
        ]);
        start
            .args(["--initial-cluster", &begun_by])
            .arg("--data-dir")
            .arg(data);
        match first {
            None => start.args(["--initial-client-urls", &format!("{id}={client}")]),
            Some(first) => {
                let add = [
                    "member",
                    "add",
                    "--id",
                    id,
                    "--learner",
                    "--endpoints",
                    &first.client,
                ];
                output_of(&[&add[..], &reached].concat());
                start.arg("--join").args(reached)
            }
        };
        for (flag, file) in [
            ("--cert", format!("n{id}.pem")),
            ("--key", format!("n{id}.key")),
            ("--ca", "ca.pem".to_owned()),
        ] {
            start.arg(flag).arg(pki.join(file));
        }
        start.stdin(Stdio::piped());
        start.stderr(File::create(cluster.path(&format!("restored-{id}.log"))).unwrap());
        let process = start.spawn().unwrap();
        Restored {
            process,
            client,
            peer,
        }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A node with a past: `story` was "early" until `index` and `time`, and is "late".
fn a_stopped_node() -> (Cluster, u64, u64) {
    let mut cluster = Cluster::describe(1);
    let mut command = cluster.command(1);
    command.arg("--archive").arg(cluster.path("archive-n{id}"));
    command.args(["--snapshot-entries", "100", "--log-retention-entries", "10"]);
    cluster.start_with(1, command);
    cluster.leader();
    let endpoint = cluster.url(1);
    cluster.load(150, &cluster.path("acked-early"));
    put(&endpoint, "story", "early");
    let index = applied(&cluster);
    let time = noted(&cluster, index);
    put(&endpoint, "story", "late");
    cluster.load(400, &cluster.path("acked-late"));
    let archived = || figure(&cluster, "raft_archive_index ").is_some_and(|archived| archived > index);
    wait_for("the log forgets what the archive has", || {
        archived().then_some(())
    });
    let running = restore(&cluster, &["--show"]);
    assert!(
        running.stderr.contains("in use by another process"),
        "{running:?}"
    );
    assert_eq!(cluster.stop(1), Some(0));
    (cluster, index, time)
}

/// A refusal names what was asked for and what to do, and leaves nothing behind.
fn refuses_what_cannot_be(cluster: &Cluster, at: &str) {
    let far = restore(cluster, &["--at-index", "1000000", "--out", "far"]);
    assert!(
        far.code == Some(1) && far.stderr.contains("is not known to be committed here"),
        "{far:?}"
    );
    let odd = restore(cluster, &["--at-time", "yesterday", "--out", "odd"]);
    assert!(
        odd.code == Some(2) && odd.stderr.contains("2026-11-23T04:00:00Z"),
        "{odd:?}"
    );
    let nameless = restore(cluster, &["--at-index", at, "--out", "."]);
    assert!(
        nameless.code == Some(2) && nameless.stderr.contains("it has no name"),
        "{nameless:?}"
    );
    let same = restore(cluster, &["--at-index", at, "--cluster", "test", "--out", "same"]);
    assert!(
        same.code == Some(1) && same.stderr.contains("name of the old one"),
        "{same:?}"
    );
}

/// S4: the state comes back as it was at an index and at a time, and a new cluster goes on from it, with more members.
#[test]
fn a_cluster_goes_on_from_a_restored_state() {
    let (cluster, index, time) = a_stopped_node();
    let shown = restore(&cluster, &["--show"]);
    assert!(shown.stdout.contains("leads to the indexes 0 to "), "{shown:?}");

    let out = |name: &str| -> PathBuf { cluster.path(name) };
    let at = index.to_string();
    let by_index = out("by-index");
    let arguments = ["--at-index", &at, "--out", by_index.to_str().unwrap()];
    let dry = restore(&cluster, &[&arguments[..], &["--dry-run"]].concat());
    assert!(dry.code == Some(0) && !by_index.exists(), "{dry:?}");
    let ended = restore(&cluster, &arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains(&format!("restored entry {index}@")),
        "{ended:?}"
    );
    let again = restore(&cluster, &arguments);
    assert!(
        again.code == Some(1) && again.stderr.contains("is not empty"),
        "{again:?}"
    );

    let seconds = (time / 1_000 + 1).to_string();
    // As a shell completes it once the directory is there.
    let by_time = out("by-time");
    std::fs::create_dir(&by_time).unwrap();
    let with_slash = format!("{}/", by_time.display());
    let ended_by_time = restore(&cluster, &["--at-time", &seconds, "--out", &with_slash]);
    assert_eq!(ended_by_time.code, Some(0), "{ended_by_time:?}");

    refuses_what_cannot_be(&cluster, &at);
    let first = Restored::start(&cluster, "1", &by_index, None);
    wait_for("the restored node serves", || {
        let found = run(raft_node().args(["get", "story", "--endpoints", &first.client]));
        (found.code == Some(0)).then(|| assert!(found.stdout.contains("early"), "{found:?}"))
    });
    put(&first.client, "story", "another");
    let second = Restored::start(&cluster, "2", &out("second"), Some(&first));
    let promote = [
        "member",
        "promote",
        "2",
        "--wait",
        "--timeout",
        "60",
        "--endpoints",
        &first.client,
    ];
    output_of(&promote);
    assert!(get(&second.client, "story").contains("another"));
}

/// Stops node 1, and gives the last entry of its state and the state's revision, versions and hash, as `raft-node restore` prints them.
fn recorded(cluster: &mut Cluster) -> (u64, String) {
    assert_eq!(cluster.stop(1), Some(0));
    let path = cluster.path("data-n1/kv");
    let (machine, store) = KvStateMachine::open(&path, KvOptions::default()).unwrap();
    let hash = store.hash(0).unwrap();
    let text = format!(
        "revision {}, {} versions, hash {:08x}",
        hash.revision, hash.versions, hash.hash
    );
    (machine.last_applied().index.0, text)
}

/// S4: at every index that was sampled, the state that is restored has the hash that the running node's had, from an archive that keeps
/// a time; what is older is refused with the window. `status` says from where on.
#[test]
fn every_sample_of_a_bounded_past_has_its_hash() {
    let mut cluster = Cluster::describe(1);
    let start = |cluster: &mut Cluster| {
        let mut command = cluster.command(1);
        command.arg("--archive").arg(cluster.path("archive-n{id}"));
        command.args(["--snapshot-entries", "40", "--log-retention-entries", "5"]);
        command.args(["--log-retention-time", "8s"]);
        cluster.start_with(1, command);
        cluster.leader();
    };
    let mut samples = Vec::new();
    let mut is_bounded = false;
    // Until something is older than what is to be kept, and then a few times more.
    for round in 0.. {
        start(&mut cluster);
        cluster.load(90, &cluster.path(&format!("acked-{round}")));
        is_bounded =
            is_bounded || figure(&cluster, "raft_restorable_first_index ").is_some_and(|first| first > 0);
        samples.push(recorded(&mut cluster));
        if is_bounded && samples.len() >= 8 {
            break;
        }
    }
    start(&mut cluster);
    let first = figure(&cluster, "raft_restorable_first_index ").unwrap();
    let said = wait_for("the times are known", || {
        let said = output_of(&["status", "--endpoints", &cluster.url(1)]);
        let line = said
            .lines()
            .find(|line| line.starts_with("node 1 can be restored"))?;
        (!line.contains("not noted")).then(|| line.to_owned())
    });
    assert!(said.contains(&format!("from index {first}, at 20")), "{said}");
    assert_eq!(cluster.stop(1), Some(0));
    let shown = restore(&cluster, &["--show"]).stdout;
    assert!(
        shown.contains(&format!("leads to the indexes {first} to ")),
        "{shown}"
    );

    let mut restored = 0;
    for (index, hash) in samples {
        let out = cluster.path(&format!("at-{index}"));
        let ended = restore(
            &cluster,
            &["--at-index", &index.to_string(), "--out", out.to_str().unwrap()],
        );
        if index < first {
            assert!(
                ended.code == Some(1) && ended.stderr.contains(&format!("indexes {first} to ")),
                "{ended:?}"
            );
            continue;
        }
        let expected = format!("restored entry {index}@");
        assert!(
            ended.stdout.contains(&expected) && ended.stdout.contains(&hash),
            "{hash}: {ended:?}"
        );
        restored += 1;
    }
    // The newest sample always is; how many more depends on how long a round took.
    assert!(restored > 0);
}
