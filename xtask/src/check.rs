//! `cargo xtask up --check`: the proof that a cluster keeps what it acknowledged, on real processes.
//!
//! It uses free ports and a folder of its own, so it runs beside anything else; it leaves no process behind.

use crate::cluster::{Client, Cluster, POLL};
use crate::failure::{Doing, Failure, Outcome};
use crate::json::Json;
use crate::{ports, project, up};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many keys the first step writes.
const KEYS: &str = "1000";
/// How long the load lasts in which the leader is killed, in seconds.
const LOAD_SECONDS: &str = "12";
/// The longest time without an acknowledgement that a leader's death may cause.
const GAP_MAX: Duration = Duration::from_millis(2000);
/// How many acknowledgements under load must have come before the leader is killed, and after, before it returns.
const ACKS_AROUND_KILL: usize = 200;
/// No single step of this waits longer than this for its condition.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// Proves it, prints each step with its figures, and removes everything it wrote. After a failure the folder stays.
pub(crate) fn run(program: &Path) -> Outcome {
    let folder = project::target().join(format!("up/check-{}", std::process::id()));
    up::remove(&folder)?;
    let mut proof = Proof::begin(program, &folder)?;
    let started = Instant::now();
    match proof.steps() {
        Ok(()) => {
            proof.print();
            println!("proved in {:.1} s", started.elapsed().as_secs_f64());
            drop(proof);
            up::remove(&folder)
        }
        Err(failure) => {
            proof.cluster.print_logs(30);
            proof.print();
            Err(Failure::work(format!(
                "{failure}\neverything the nodes wrote is in {}",
                folder.display()
            )))
        }
    }
}

struct Proof {
    cluster: Cluster,
    client: Client,
    folder: PathBuf,
    /// What each step that held found, and how long it took.
    summary: Vec<(Duration, String)>,
}

impl Proof {
    fn begin(program: &Path, folder: &Path) -> Outcome<Proof> {
        let cluster = Cluster::create(program, folder, &ports::free()?, None)?;
        let client = cluster.client();
        Ok(Proof {
            cluster,
            client,
            folder: folder.to_path_buf(),
            summary: Vec::new(),
        })
    }

    fn steps(&mut self) -> Outcome {
        self.step(Proof::start)?;
        self.step(Proof::write_everywhere)?;
        self.step(Proof::kill_the_leader)?;
        self.step(Proof::compare_everywhere)?;
        self.step(Proof::stop)
    }

    fn step(&mut self, step: fn(&mut Proof) -> Outcome<String>) -> Outcome {
        let started = Instant::now();
        let found = step(self)?;
        println!("  {found}");
        self.summary.push((started.elapsed(), found));
        Ok(())
    }

    fn print(&self) {
        println!("\n{:>9}  what held", "seconds");
        for (duration, found) in &self.summary {
            println!("{:>9.1}  {found}", duration.as_secs_f64());
        }
    }

    fn start(&mut self) -> Outcome<String> {
        self.cluster.start()?;
        self.cluster.wait_healthy()?;
        let leader = self.leader()?;
        Ok(format!("three nodes are healthy, node {leader} leads"))
    }

    /// Writes keys through the three nodes in turn, and reads every one of them from each.
    fn write_everywhere(&mut self) -> Outcome<String> {
        let acked = self.acked("first");
        let report = self.client.ask_json(&[
            "load",
            "--keys",
            KEYS,
            "--clients",
            "8",
            "--json",
            "--acked",
            &acked,
        ])?;
        let written = lines(&acked);
        if written.to_string() != KEYS {
            return Err(Failure::work(format!(
                "{KEYS} keys were to be written, {written} were acknowledged"
            )));
        }
        self.client.ask(&["verify", "--acked", &acked])?;
        let rate = report.field("rate").and_then(Json::whole).unwrap_or(0);
        Ok(format!(
            "{written} keys written through all three nodes in turn ({rate} per second), each read from all three"
        ))
    }

    /// Kills the leader under load, demands that writes go on, starts it again under load.
    fn kill_the_leader(&mut self) -> Outcome<String> {
        let acked = self.acked("second");
        let mut load = Load::start(&self.client, &acked)?;
        let load_process = load.watched_by(&mut self.cluster)?;
        self.wait_for("the load to begin", |_| lines(&acked) >= ACKS_AROUND_KILL)?;
        let leader = self.leader()?;
        let position = self.position(leader)?;
        self.cluster.kill(position)?;
        let before = lines(&acked);
        self.wait_for("writes to go on without the leader", |_| {
            lines(&acked) >= before + ACKS_AROUND_KILL
        })?;
        let successor = self.leader()?;
        self.cluster.start_node(position)?;
        let report = load.finish()?;
        self.cluster.forget(load_process);
        let gap = report
            .field("longest_gap_ms")
            .and_then(Json::whole)
            .map(Duration::from_millis)
            .ok_or_else(|| Failure::work("`raft-node load --json` printed no longest_gap_ms"))?;
        if gap > GAP_MAX {
            return Err(Failure::work(format!(
                "after the leader was killed nothing was acknowledged for {} ms; at most {} ms are allowed",
                gap.as_millis(),
                GAP_MAX.as_millis()
            )));
        }
        self.wait_caught_up(leader)?;
        Ok(format!(
            "leader {leader} killed (SIGKILL) under load, node {successor} took over; longest gap between two \
             acknowledgements {} ms of {} ms allowed; {} writes acknowledged; node {leader} is back and caught up",
            gap.as_millis(),
            GAP_MAX.as_millis(),
            lines(&acked)
        ))
    }

    /// Compares every acknowledged key on every node.
    fn compare_everywhere(&mut self) -> Outcome<String> {
        let mut keys = 0;
        for name in ["first", "second"] {
            let acked = self.acked(name);
            self.client.ask(&["verify", "--acked", &acked])?;
            keys += lines(&acked);
        }
        Ok(format!(
            "{keys} acknowledged keys compared on every node: all there, all equal"
        ))
    }

    fn stop(&mut self) -> Outcome<String> {
        self.cluster.stop()?;
        Ok("all nodes stopped cleanly".to_string())
    }

    /// The leader a majority agrees on, as soon as there is one.
    fn leader(&mut self) -> Outcome<u64> {
        let mut found = None;
        self.wait_for("a leader", |proof| {
            found = proof.client.leader().ok().flatten();
            found.is_some()
        })?;
        found.ok_or_else(|| Failure::work("no leader"))
    }

    /// Waits until a node has applied everything that is committed anywhere now.
    fn wait_caught_up(&mut self, id: u64) -> Outcome {
        let goal = self
            .client
            .status()?
            .iter()
            .map(|status| status.commit)
            .max()
            .unwrap_or(0);
        self.wait_for("the node that was killed to catch up", |proof| {
            let statuses = proof.client.status().unwrap_or_default();
            statuses
                .iter()
                .any(|status| status.id == id && status.applied >= goal)
        })
    }

    fn wait_for(&mut self, what: &str, mut condition: impl FnMut(&mut Proof) -> bool) -> Outcome {
        let deadline = Instant::now() + STEP_WITHIN;
        while !condition(self) {
            self.cluster.fail_if_one_ended()?;
            if Instant::now() > deadline {
                return Err(Failure::work(format!(
                    "waited {} s in vain for {what}",
                    STEP_WITHIN.as_secs()
                )));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn position(&self, id: u64) -> Outcome<usize> {
        let position = self.cluster.nodes().iter().position(|node| node.id() == id);
        position.ok_or_else(|| Failure::work(format!("node {id} leads, but is none of ours")))
    }

    fn acked(&self, name: &str) -> String {
        self.folder.join(format!("{name}.acked")).display().to_string()
    }
}

/// How many whole lines a file has that may be growing; 0 while it is not there.
fn lines(path: &str) -> usize {
    fs::read(path)
        .unwrap_or_default()
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The load generator, running beside us. It is killed when this goes away.
struct Load {
    child: Option<Child>,
}

impl Load {
    fn start(client: &Client, acked: &str) -> Outcome<Load> {
        let mut command: Command =
            client.command(&["load", "--duration", LOAD_SECONDS, "--clients", "8", "--json"]);
        command
            .args(["--acked", acked])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Load {
            child: Some(command.spawn().doing("start the load")?),
        })
    }

    /// Has it stopped should we be killed; its process number.
    fn watched_by(&self, cluster: &mut Cluster) -> Outcome<u32> {
        let child = self
            .child
            .as_ref()
            .ok_or_else(|| Failure::work("the load has ended before"))?;
        cluster.watch(child)?;
        Ok(child.id())
    }

    /// Waits for its end; its report.
    fn finish(&mut self) -> Outcome<Json> {
        let child = self
            .child
            .take()
            .ok_or_else(|| Failure::work("the load has ended before"))?;
        let output = child.wait_with_output().doing("wait for the load")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::work(format!(
                "the load failed ({}):\n{text}{errors}",
                output.status
            )));
        }
        Json::parse(text.trim())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
