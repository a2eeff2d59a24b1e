//! `cargo xtask up`: from a fresh machine to three running nodes, in one command.

use crate::arguments::Arguments;
use crate::cargo;
use crate::check;
use crate::cluster::{Client, Cluster, POLL};
use crate::failure::{Doing, Failure, Outcome};
use crate::ports;
use crate::{prepare, project};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the cluster of the run before may take to stop.
const PREVIOUS_ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Outcome {
    let mut arguments = Arguments::new("up", words);
    let check = arguments.switch("--check");
    let keep = arguments.switch("--keep");
    let client_port = arguments.port("--client-port")?;
    let peer_port = arguments.port("--peer-port")?;
    let profile = arguments
        .value("--profile")?
        .unwrap_or_else(|| "release".to_string());
    arguments.finish()?;
    if check && (keep || client_port.is_some() || peer_port.is_some()) {
        return Err(Failure::usage(
            "`up --check` chooses its own ports and folder; leave the other flags away",
        ));
    }
    prepare::run()?;
    let program = build(&profile)?;
    if check {
        return check::run(&program);
    }
    let folder = project::target().join("up");
    let lock = lock(&folder)?;
    if !keep {
        for part in ["data", "certificates", "logs"] {
            remove(&folder.join(part))?;
        }
    }
    // Ports must not move under data that is kept: its clients would look in the wrong place.
    let ports = ports::choose(client_port, peer_port, !keep)?;
    let mut cluster = Cluster::create(&program, &folder, &ports, Some(lock))?;
    let outcome = serve(&mut cluster);
    if outcome.is_err() {
        cluster.print_logs(20);
    }
    outcome
}

/// Builds `raft-node` and returns the program.
fn build(profile: &str) -> Outcome<PathBuf> {
    println!("building raft-node ({profile})");
    let started = Instant::now();
    cargo::build(
        &mut cargo::cargo([
            "build",
            "--profile",
            profile,
            "-p",
            "raft-node",
            "--bin",
            "raft-node",
        ]),
        profile,
    )?;
    println!("built in {} s", started.elapsed().as_secs());
    Ok(program(profile))
}

/// Where cargo puts `raft-node`.
pub(crate) fn program(profile: &str) -> PathBuf {
    project::target()
        .join(if profile == "dev" { "debug" } else { profile })
        .join("raft-node")
}

/// Makes sure that no other `up` runs in this folder, and that the nodes of the last one are gone.
fn lock(folder: &Path) -> Outcome<File> {
    fs::create_dir_all(folder).doing(format_args!("make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).doing(format_args!("open {}", path.display()))?;
    let deadline = Instant::now() + PREVIOUS_ENDS_WITHIN;
    let mut said = false;
    while file.try_lock().is_err() {
        if Instant::now() > deadline {
            return Err(Failure::work(
                "another `cargo xtask up` runs in this folder; stop it with Ctrl-C in its terminal",
            ));
        }
        if !said {
            println!("waiting for the nodes of another `cargo xtask up` to stop");
            said = true;
        }
        std::thread::sleep(POLL);
    }
    Ok(file)
}

/// Removes a folder, if it is there.
pub(crate) fn remove(folder: &Path) -> Outcome {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).doing(format_args!("remove {}", folder.display()))
}

/// Starts the nodes, shows that they work, and stays until one of them ends or Ctrl-C ends us.
fn serve(cluster: &mut Cluster) -> Outcome {
    println!(
        "starting three nodes on RocksDB and QUIC; their logs: {}",
        cluster.logs().display()
    );
    let started = Instant::now();
    cluster.start()?;
    cluster.wait_healthy()?;
    println!(
        "all three are healthy after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let client = cluster.client();
    greet(cluster, &client)?;
    println!("\n{}", client.ask(&["status"])?.trim_end());
    println!("\nTalk to it (etcdctl is in Debian's package etcd-client):");
    println!(
        "  ETCDCTL_API=3 etcdctl --endpoints={} put greeting hello",
        client.addresses()
    );
    println!(
        "  ETCDCTL_API=3 etcdctl --endpoints={} get greeting",
        client.addresses()
    );
    println!("or, without etcdctl:");
    println!("  {}", cargo::line(&client.command(&["get", "greeting"])));
    println!("\nCtrl-C stops it. `cargo xtask up --keep` goes on with the same data.");
    loop {
        cluster.fail_if_one_ended()?;
        std::thread::sleep(POLL);
    }
}

/// Writes a key and reads it back, both through a follower, which must not matter to a client.
fn greet(cluster: &Cluster, client: &Client) -> Outcome {
    let leader = client.leader()?;
    let follower = cluster.nodes().iter().find(|node| Some(node.id()) != leader);
    let follower = follower.ok_or_else(|| Failure::work("every node says it is the leader"))?;
    let through = client.of(follower.url());
    through.ask(&["put", "xtask/greeting", "hello"])?;
    let read = through.ask(&["get", "xtask/greeting"])?;
    if !read.contains("hello") {
        return Err(Failure::work(format!(
            "wrote `hello` through node {}, read `{}`",
            follower.id(),
            read.trim()
        )));
    }
    let leader = leader.map_or("not known".to_string(), |leader| format!("node {leader}"));
    println!(
        "wrote and read a key through node {}, a follower (the leader is {leader})",
        follower.id()
    );
    Ok(())
}
