//! Nodes that are recorded: what they did is done again, step by step, and ends in the same state.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use node_world::{Counter, Fault, PATIENCE, World, add, number, until};
use raft_core::effect::RoleKind;
use raft_core::record::{Record, Records, Replay, Replayed};
use raft_core::runtime::{Node, NodeError, ProposeError, RecordingError, RecordingFiles};
use tokio::time::timeout;

/// What a directory has, oldest first.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What a replay of all the files found.
#[derive(Debug, Default)]
struct Found {
    steps: u64,
    starts: u64,
    /// How often a state was the recorded one.
    verified: u64,
    /// How often the replica stopped in the recorded state.
    ended: u64,
    missing: Vec<Option<u64>>,
    commands: usize,
}

fn replay(recordings: impl IntoIterator<Item = Vec<u8>>) -> Found {
    let (mut replay, mut found) = (Replay::default(), Found::default());
    for bytes in recordings {
        let mut records = Records::new(bytes.into()).unwrap();
        for record in records.by_ref() {
            let record = record.unwrap();
            if let Record::Step { inputs, .. } = &record {
                use raft_core::input::Input::Propose;
                let proposed = inputs.iter().map(|input| match input {
                    Propose(proposals) => proposals.len(),
                    _ => 0,
                });
                found.commands += proposed.sum::<usize>();
            }
            match replay.take(record, &mut Vec::new()).unwrap() {
                Replayed::Stepped { .. } => found.steps += 1,
                Replayed::Verified { .. } => found.verified += 1,
                Replayed::Ended { .. } => found.ended += 1,
                Replayed::Resumed { missing } => found.missing.push(missing),
                Replayed::Started | Replayed::Header => {}
            }
        }
        assert_eq!(records.torn_bytes(), 0);
    }
    found.starts = replay.starts();
    found
}

fn replay_files(directory: &Path) -> Found {
    replay(files(directory).iter().map(|file| std::fs::read(file).unwrap()))
}

fn record(world: &World, id: u64, directory: &Path) -> RecordingFiles {
    let own = directory.join(id.to_string());
    world.node(id).record_to(&own, 64 << 20).unwrap()
}

/// Adds from several clients at once.
async fn load(node: &Node, clients: u64) {
    let clients = (0..clients).map(|_| {
        let node = node.clone();
        tokio::spawn(async move {
            for amount in 0..20 {
                add(&node, amount).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

/// S13, R39: three nodes under load, of which the leader stops and starts again, do the same once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_under_load_replays_on_every_node() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::started(3, |config| {
        config.recording_bytes = 4 << 20;
        config.snapshot_entries = 50;
        config.retained_entries = 10;
        config.tail_bytes_max = 200;
    })
    .await;
    let mut recordings: Vec<RecordingFiles> =
        (1..=3).map(|id| record(&world, id, directory.path())).collect();
    let first = world.leader().await;
    load(world.node(first), 8).await;
    world.stop(first).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    let second = world.leader_among(&others).await;
    load(world.node(second), 8).await;
    world.start(first).await;
    let before = std::mem::replace(
        &mut recordings[first as usize - 1],
        record(&world, first, directory.path()),
    );
    assert!(before.close(PATIENCE));
    load(world.node(first), 2).await;
    for id in 1..=3 {
        world.stop(id).await;
    }
    for recording in recordings {
        assert_eq!(recording.error(), None);
        assert!(recording.close(PATIENCE));
    }
    for id in 1..=3 {
        let found = replay_files(&directory.path().join(id.to_string()));
        let starts = 1 + u64::from(id == first);
        assert_eq!((found.starts, found.ended), (starts, starts), "{found:?}");
        assert!(
            found.missing.is_empty() && found.verified > 1 && found.steps > 100,
            "{found:?}"
        );
        if id == first || id == second {
            assert!(found.commands > 100, "{found:?}");
        }
    }
}

/// Mission row S13: what the memory holds when a node stopped by itself ends with the state in which it stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_is_there_after_a_failure() {
    let world = World::new(1, |config| config.recording_bytes = 1 << 20);
    let counter = Counter {
        fault: Fault::Fails,
        ..Counter::default()
    };
    let node = world.try_start(1, counter).await.unwrap();
    until(&node, "it leads", |status| status.role == RoleKind::Leader).await;
    assert_eq!(node.propose(number(1)).await, Err(ProposeError::Unknown));
    let stopped = timeout(PATIENCE, node.stopped()).await.unwrap();
    assert!(matches!(stopped, Err(NodeError::StateMachine(_))), "{stopped:?}");
    let found = replay([node.recording().expect("it is recorded")]);
    assert_eq!(
        (found.starts, found.ended, found.commands),
        (1, 1, 1),
        "{found:?}"
    );
}

/// Nothing is kept that was not asked for.
#[tokio::test(start_paused = true)]
async fn without_a_wish_nothing_is_recorded() {
    let world = World::started(1, |_| {}).await;
    add(world.node(1), 1).await;
    assert_eq!(world.node(1).recording(), None);
}

/// The files take no more bytes than they may, and what is left begins with a state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_bounded() {
    const BYTES_MAX: u64 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::started(1, |config| {
        config.recording_bytes = 256 << 10;
        config.tail_bytes_max = 1_000;
    })
    .await;
    let recording = world.node(1).record_to(directory.path(), BYTES_MAX).unwrap();
    let first = directory.path().join("00000001.raftrec");
    let rotated = async {
        loop {
            load(world.node(1), 8).await;
            let all: u64 = files(directory.path())
                .iter()
                .filter_map(|file| Some(file.metadata().ok()?.len()))
                .sum();
            assert!(all <= BYTES_MAX, "{all}");
            if files(directory.path()).len() > 3 && !first.exists() {
                break;
            }
        }
    };
    timeout(PATIENCE, rotated)
        .await
        .expect("the first file is removed");
    world.stop(1).await;
    assert!(recording.close(PATIENCE));
    let found = replay_files(directory.path());
    assert_eq!(
        (found.starts, found.ended, found.missing.len()),
        (0, 1, 1),
        "{found:?}"
    );
}

/// R76: a disk that fails ends the recording, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_ends_the_recording_only() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::started(1, |_| {}).await;
    let gone = directory.path().join("gone");
    let recording = world.node(1).record_to(&gone, 1 << 20).unwrap();
    std::fs::remove_dir_all(&gone).unwrap();
    let failed = async {
        while recording.error().is_none() {
            add(world.node(1), 1).await;
        }
    };
    timeout(PATIENCE, failed).await.expect("the error is told");
    add(world.node(1), 1).await;
    assert!(!recording.close(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::started(1, |_| {}).await;
    let few = world.node(1).record_to(directory.path(), 1_000).unwrap_err();
    assert!(matches!(few, RecordingError::TooFewBytes(1_000)), "{few}");
    let file = directory.path().join("file");
    std::fs::write(&file, Bytes::new()).unwrap();
    let not = world.node(1).record_to(&file, 1 << 20).unwrap_err();
    assert!(matches!(not, RecordingError::Directory { .. }), "{not}");
}
