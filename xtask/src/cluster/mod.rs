//! A local cluster of three `raft-node` processes, driven from outside through its command line and its ports.
//!
//! A cluster never outlives its value: dropping it kills what runs, and the guard does so when this process is killed.

mod client;
mod health;
mod node;

pub(crate) use client::Client;
pub(crate) use node::Node;

use crate::failure::{Doing, Failure, Outcome};
use crate::guard::{self, Guard};
use crate::ports::Ports;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The name in every certificate and data directory.
const NAME: &str = "xtask";
/// Three processes on one machine need no second of patience: a follower stands for election after 500 to 1,000 ms
/// of silence, so that even a first election that splits its votes leaves time for a second within two seconds.
const TIMING: [&str; 4] = ["--election-timeout-ms", "500", "--heartbeat-interval-ms", "50"];
/// How long the nodes may take to become healthy: three processes that open RocksDB on a busy machine, and an election.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// How long a node may take to stop after it was asked to.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Three nodes, their ports, and the folder that holds everything they write.
pub(crate) struct Cluster {
    program: PathBuf,
    folder: PathBuf,
    nodes: Vec<Node>,
    guard: Guard,
}

impl Cluster {
    /// Makes the certificates (unless they are there) and describes the nodes; starts nothing yet.
    pub(crate) fn create(
        program: &Path,
        folder: &Path,
        ports: &[Ports],
        lock: Option<File>,
    ) -> Outcome<Cluster> {
        fs::create_dir_all(folder.join("logs")).doing(format_args!("make {}", folder.display()))?;
        let certificates = folder.join("certificates");
        if !certificates.join("ca.pem").exists() {
            let mut command = Command::new(program);
            command.args([
                "cert",
                "--cluster",
                NAME,
                "--nodes",
                &ports.len().to_string(),
                "--out",
            ]);
            command.arg(&certificates);
            client::output_of(&mut command)?;
        }
        let nodes = ports
            .iter()
            .zip(1..)
            .map(|(ports, id)| Node::new(id, *ports, folder.join(format!("logs/n{id}.log"))))
            .collect();
        Ok(Cluster {
            program: program.to_path_buf(),
            folder: folder.to_path_buf(),
            nodes,
            guard: Guard::start(lock)?,
        })
    }

    /// Starts every node.
    pub(crate) fn start(&mut self) -> Outcome {
        for position in 0..self.nodes.len() {
            self.start_node(position)?;
        }
        Ok(())
    }

    /// Starts one node; the command line is the same for all but the id.
    pub(crate) fn start_node(&mut self, position: usize) -> Outcome {
        let mut command = self.start_command(self.nodes[position].id());
        let node = &mut self.nodes[position];
        let child = node.start(&mut command)?;
        self.guard.watch(child)
    }

    fn start_command(&self, id: u64) -> Command {
        let map = |url: &dyn Fn(&Node) -> String| {
            let entries: Vec<String> = self
                .nodes
                .iter()
                .map(|node| format!("{}={}", node.id(), url(node)))
                .collect();
            entries.join(",")
        };
        let certificates = self.folder.join("certificates");
        let mut command = Command::new(&self.program);
        command.arg("start");
        command.args(["--id", &id.to_string(), "--cluster", NAME]);
        command.arg("--data-dir").arg(self.folder.join("data/n{id}"));
        command.args([
            "--initial-cluster",
            &map(&|node| format!("quic://127.0.0.1:{}", node.ports().peer)),
        ]);
        command.args(["--initial-client-urls", &map(&Node::url)]);
        command.arg("--cert").arg(certificates.join("n{id}.pem"));
        command.arg("--key").arg(certificates.join("n{id}.key"));
        command.arg("--ca").arg(certificates.join("ca.pem"));
        command.args(TIMING);
        without_node_settings(&mut command);
        command
    }

    /// The nodes, in the order of their ids.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The command-line client, pointed at every node.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.program, self.nodes.iter().map(Node::url).collect())
    }

    /// The folder of the nodes' logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Waits until every node answers its health question with yes.
    pub(crate) fn wait_healthy(&mut self) -> Outcome {
        let deadline = Instant::now() + HEALTHY_WITHIN;
        loop {
            self.fail_if_one_ended()?;
            let ill = self.nodes.iter().find_map(|node| {
                let answer = health::ask(node.ports().client);
                answer
                    .err()
                    .map(|reason| format!("node {} is not healthy: {reason}", node.id()))
            });
            let Some(ill) = ill else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(Failure::work(format!(
                    "{ill}, {} s after its start",
                    HEALTHY_WITHIN.as_secs()
                )));
            }
            std::thread::sleep(POLL);
        }
    }

    /// An error when a node that was started has ended by itself.
    pub(crate) fn fail_if_one_ended(&mut self) -> Outcome {
        for node in &mut self.nodes {
            if let Some(status) = node.ended()? {
                return Err(Failure::work(format!(
                    "node {} ended by itself ({status})",
                    node.id()
                )));
            }
        }
        Ok(())
    }

    /// Kills a node as a power cut would: SIGKILL, no warning.
    pub(crate) fn kill(&mut self, position: usize) -> Outcome {
        if let Some(process) = self.nodes[position].kill()? {
            self.guard.forget(process);
        }
        Ok(())
    }

    /// Has another process of ours, such as a load generator, stopped as well should we be killed.
    pub(crate) fn watch(&mut self, process: &Child) -> Outcome {
        self.guard.watch(process)
    }

    /// Ends the watch over a process that was collected.
    pub(crate) fn forget(&mut self, process: u32) {
        self.guard.forget(process);
    }

    /// Asks every node to stop and waits for it. An error when one had to be killed, or ended badly.
    pub(crate) fn stop(&mut self) -> Outcome {
        for node in &self.nodes {
            if let Some(process) = node.process() {
                guard::shell_kill("TERM", process);
            }
        }
        let mut failure = None;
        for position in 0..self.nodes.len() {
            let deadline = Instant::now() + STOP_WITHIN;
            let node = &mut self.nodes[position];
            while node.process().is_some() {
                if let Some(status) = node.ended()? {
                    if !status.success() {
                        failure = Some(format!("node {} did not stop cleanly ({status})", node.id()));
                    }
                    break;
                }
                if Instant::now() > deadline {
                    failure = Some(format!("node {} did not stop within {STOP_WITHIN:?}", node.id()));
                    break;
                }
                std::thread::sleep(POLL);
            }
            self.kill(position)?;
        }
        failure.map_or(Ok(()), |failure| Err(Failure::work(failure)))
    }

    /// The last lines of every node's log, for the person who has to find out what went wrong.
    pub(crate) fn print_logs(&self, lines: usize) {
        for node in &self.nodes {
            println!("\n--- the last lines of {} ---", node.log().display());
            let text = fs::read(node.log()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let all: Vec<&str> = text.lines().collect();
            for line in &all[all.len().saturating_sub(lines)..] {
                println!("{line}");
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for position in 0..self.nodes.len() {
            // The guard kills what cannot be killed from here.
            let _ = self.kill(position);
        }
    }
}

/// Takes the person's own `RAFT_NODE_...` settings away from a node: this cluster is described by its flags alone.
fn without_node_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RAFT_NODE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
}
