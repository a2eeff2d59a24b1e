//! `raft-node dev`: a local cluster whose nodes die one by one, or all together with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use common::{output_of, raft_node, wait_for};

/// A running `dev`, killed with its test.
struct Dev {
    process: Child,
    lines: Receiver<String>,
}

impl Dev {
    fn start(directory: &Path) -> Dev {
        let mut process = raft_node()
            .args([
                "dev",
                "--nodes",
                "3",
                "--client-port",
                "0",
                "--peer-port",
                "0",
                "--dir",
            ])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Dev { process, lines }
    }

    /// Waits for a line that contains `part`.
    fn line(&self, part: &str) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(common::PATIENCE)
                .unwrap_or_else(|_| panic!("no line has {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        signal(name, &self.process.id().to_string());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn signal(name: &str, process: &str) {
    let sent = Command::new("kill").args([name, process]).status().unwrap();
    assert!(sent.success(), "kill {name} {process}");
}

fn is_running(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

/// The process of node `id`, which its data directory knows.
fn process_of(directory: &Path, id: usize) -> String {
    let lock = fs::read_to_string(directory.join(format!("data-n{id}/LOCK"))).unwrap();
    lock.trim().to_owned()
}

#[test]
fn the_others_live_when_a_node_dies_and_all_stop_on_interrupt() {
    let directory = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(directory.path());
    let invitation = dev.line("raft-node put --endpoints");
    let endpoints = invitation.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(
        output_of(&["put", "a", "b", "--endpoints", &endpoints]),
        "OK (revision 2)\n"
    );
    let processes: Vec<String> = (1..=3).map(|id| process_of(directory.path(), id)).collect();
    assert!(processes.iter().all(|process| is_running(process)));

    signal("-KILL", &processes[1]);
    let line = dev.line("n2 | ended");
    assert!(
        line.contains("killed by signal 9") && line.contains("--id 2"),
        "{line}"
    );
    assert_eq!(output_of(&["get", "a", "--endpoints", &endpoints]), "a\nb\n");

    dev.signal("-INT");
    let status = wait_for("dev to stop", || dev.process.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(!processes.iter().any(|process| is_running(process)));
}

#[test]
fn no_node_outlives_a_dev_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(directory.path());
    dev.line("raft-node put --endpoints");
    let processes: Vec<String> = (1..=3).map(|id| process_of(directory.path(), id)).collect();
    drop(dev);
    wait_for("the nodes to stop", || {
        (!processes.iter().any(|process| is_running(process))).then_some(())
    });
}
