//! `cargo xtask up --check`: the proof that a cluster keeps what it acknowledged, on real processes.
//!
//! It uses free ports and a folder of its own, so it runs beside anything else; it leaves no process behind.

mod disk;
mod load;

use crate::cluster::{Client, Cluster, POLL};
use crate::failure::{Failure, Outcome};
use crate::json::Json;
use crate::{ports, project, up};
use disk::DiskProbe;
use load::Load;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many keys the first step writes.
const KEYS: &str = "1000";
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
    /// The files with the acknowledged writes.
    acked: Vec<String>,
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
            acked: Vec::new(),
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

    /// Kills the leader under load and demands that writes go on in time. A failure says what the disk did meanwhile.
    fn kill_the_leader(&mut self) -> Outcome<String> {
        // What the build has just written may still be on its way to the disk, and would hold up every sync.
        // Without the program of that name the measurement is only noisier.
        let _ = Command::new("sync").status();
        let disk = DiskProbe::start(&self.folder)?;
        let (gap, found) = self.kill_once("under-load")?;
        let stall = disk.finish()?;
        if gap <= GAP_MAX {
            return Ok(found);
        }
        Err(Failure::work(format!(
            "after the leader was killed nothing was acknowledged for {} ms, {} ms are allowed; \
             one small write of our own took the disk up to {} ms meanwhile",
            gap.as_millis(),
            GAP_MAX.as_millis(),
            stall.as_millis()
        )))
    }

    /// Kills the leader under load and starts it again under load; the longest gap, and what was found.
    fn kill_once(&mut self, name: &str) -> Outcome<(Duration, String)> {
        let acked = self.acked(name);
        let mut load = Load::start(&self.client, &acked)?;
        let load_process = load.watched_by(&mut self.cluster)?;
        self.wait_for("the load to begin", |_| lines(&acked) >= ACKS_AROUND_KILL)?;
        let leader = self.leader()?;
        let position = self.position(leader)?;
        self.cluster.kill(position)?;
        let goal = lines(&acked) + ACKS_AROUND_KILL;
        self.wait_for("writes to go on without the leader", |_| lines(&acked) >= goal)?;
        let successor = self.leader()?;
        self.cluster.start_node(position)?;
        let report = load.finish()?;
        self.cluster.forget(load_process);
        let number = |name: &str| report.field(name).and_then(Json::whole);
        let gap = number("longest_gap_ms")
            .ok_or_else(|| Failure::work("`raft-node load --json` printed no longest_gap_ms"))?;
        self.wait_caught_up(leader)?;
        let found = format!(
            "leader {leader} killed (SIGKILL) under load, node {successor} took over; longest gap between two \
             acknowledgements {gap} ms of {} ms allowed; {} writes acknowledged, {} per second; \
             node {leader} is back and caught up",
            GAP_MAX.as_millis(),
            lines(&acked),
            number("rate").unwrap_or(0)
        );
        Ok((Duration::from_millis(gap), found))
    }

    /// Compares every acknowledged key on every node.
    fn compare_everywhere(&mut self) -> Outcome<String> {
        let mut keys = 0;
        for acked in std::mem::take(&mut self.acked) {
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

    /// A new file for acknowledged writes; it is compared at the end.
    fn acked(&mut self, name: &str) -> String {
        let path = self.folder.join(format!("{name}.acked")).display().to_string();
        self.acked.push(path.clone());
        path
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
