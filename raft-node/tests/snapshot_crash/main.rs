//! Three nodes on real stores in a process that dies while a snapshot is made, received or installed. Whatever the point:
//! every node boots, nothing acknowledged is lost, and the state is the fold of the log.
//!
//! The test binary starts itself again as the process that dies. The next one looks first at what it left, and then dies, too. All
//! of them use one directory, so that what a crash left over meets the next one.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod cluster;
mod points;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cluster::{Cluster, SNAPSHOT_ENTRIES, put, until};
use points::{POINTS, Points, say};
use raft_core::types::NodeId;

const DIRECTORY: &str = "SNAPSHOT_CRASH_DIRECTORY";
/// How many commands were acknowledged to the clients before.
const ACKED: &str = "SNAPSHOT_CRASH_ACKED";
const POINT: &str = "SNAPSHOT_CRASH_POINT";

/// How many snapshots a follower is sent before a process that does not die gives up.
const CYCLES_MAX: u64 = 3;
/// How many commands one client can write at most.
const COMMANDS_MAX: u64 = CYCLES_MAX * 4 * SNAPSHOT_ENTRIES;

/// Looks at what the last process left; then writes, and again and again one follower is away until the log that it needs is
/// gone.
async fn write_until_dead(directory: &Path, acked: u64, points: &Arc<Points>, cycles: u64) {
    let cluster = Cluster::start(directory, points).await;
    let mut number = cluster.check(acked).await + 1;
    say(&format!("applied {}", number - 1));
    points.arm();
    let session = cluster.session().await;
    for _ in 0..cycles {
        let away = cluster.follower().await;
        cluster.network.isolate(NodeId(away as u64 + 1));
        let last = cluster.nodes[away].status().appended_index;
        for _ in 0..2 * SNAPSHOT_ENTRIES {
            put(&session, number).await;
            say(&format!("acked {number}"));
            number += 1;
        }
        let others = (0..3).filter(|place| *place != away);
        for node in others.map(|place| &cluster.nodes[place]) {
            until(node, "the log is purged", |status| {
                status.first_index > last.next()
            })
            .await;
        }
        cluster.network.heal();
        cluster.converge().await;
        for _ in 0..2 * SNAPSHOT_ENTRIES {
            put(&session, number).await;
            say(&format!("acked {number}"));
            number += 1;
        }
    }
    // A process that ends while a database is open may be aborted by RocksDB, whose global objects are gone by then.
    drop(session);
    cluster.stop().await;
    say("survived");
}

/// The other process; which one it is, the environment says.
fn child() {
    let text = |name| std::env::var(name).unwrap();
    let (directory, acked) = (text(DIRECTORY), text(ACKED).parse().unwrap());
    let point = std::env::var(POINT).ok();
    let cycles = if point.as_deref() == Some("none") {
        0
    } else {
        CYCLES_MAX
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(write_until_dead(
        directory.as_ref(),
        acked,
        &Points::new(point),
        cycles,
    ));
}

/// What one process after the other left.
struct Course {
    test: &'static str,
    directory: tempfile::TempDir,
    /// How many commands were acknowledged.
    acked: u64,
}

impl Course {
    fn new(test: &'static str) -> Course {
        Course {
            test,
            directory: tempfile::tempdir().unwrap(),
            acked: 0,
        }
    }

    /// Runs a process that dies at `point`, or is killed after so many acknowledgements. Returns whether it came to its end
    /// alive.
    fn run(&mut self, point: Option<&str>, kill_after: u64) -> bool {
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer
            .args(["--exact", self.test, "--nocapture", "--test-threads", "1"])
            .env(DIRECTORY, self.directory.path())
            .env(ACKED, self.acked.to_string())
            .envs(point.map(|point| (POINT, point)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        let (mut applied, mut left, mut survived) = (None, kill_after, false);
        for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            survived |= line == "@survived";
            if let Some(count) = line.strip_prefix("@applied ") {
                applied = Some(count.parse().unwrap());
                self.acked = count.parse().unwrap();
            }
            if let Some(number) = line.strip_prefix("@acked ") {
                self.acked += 1;
                assert_eq!(number.parse(), Ok(self.acked));
                left = left.wrapping_sub(1);
                if left == 0 {
                    // What it said before it was killed still stands in the pipe, and counts.
                    writer.kill().unwrap();
                }
            }
        }
        let status = writer.wait().unwrap();
        let mut error = String::new();
        writer.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        let acked = self.acked;
        assert!(
            applied.is_some_and(|applied: u64| applied <= acked),
            "after {acked} acknowledged commands the next process failed: {error}"
        );
        assert_eq!(
            status.code().is_some(),
            survived,
            "it failed in another way: {error}"
        );
        survived
    }
}

/// R52, R53, R54, R72, R74: a process that dies before or after any step of making, receiving and installing a snapshot leaves
/// nodes that boot and know everything.
#[test]
fn a_crash_at_every_step_of_a_snapshot_leaves_nodes_that_boot() {
    if std::env::var(DIRECTORY).is_ok() {
        return child();
    }
    let mut course = Course::new("a_crash_at_every_step_of_a_snapshot_leaves_nodes_that_boot");
    for point in POINTS {
        let survived = course.run(Some(point), u64::MAX);
        assert!(!survived, "no process came to this point: {point}");
        println!("{point}: {} commands", course.acked);
    }
    assert!(course.run(Some("none"), u64::MAX), "what the last one left");
}

/// The same at moments that nobody chose, between the steps and inside of them.
#[test]
fn a_kill_at_any_moment_of_a_snapshot_leaves_nodes_that_boot() {
    const ROUNDS: u64 = 8;
    if std::env::var(DIRECTORY).is_ok() {
        return child();
    }
    let mut course = Course::new("a_kill_at_any_moment_of_a_snapshot_leaves_nodes_that_boot");
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    for _ in 0..ROUNDS {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let kill_after = 1 + (seed >> 33) % (COMMANDS_MAX / 2);
        assert!(!course.run(None, kill_after), "it was to be killed");
    }
    assert!(course.run(Some("none"), u64::MAX), "what the last one left");
}
