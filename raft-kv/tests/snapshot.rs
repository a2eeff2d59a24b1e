//! Snapshots: what comes out goes in again, and what is not whole goes nowhere.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Machine, delete, everything, listing, names, one, put};
use raft_core::message::SnapshotMeta;
use raft_core::traits::StateMachine;
use raft_core::types::{EntryId, Index, Term};
use raft_kv::{Command, KvError, RangeRequest, StateHash};

/// Some history: keys stored several times, some of them deleted; enough of it to be in files and in memory.
fn fill(machine: &mut Machine, rounds: u64) {
    for round in 0..rounds {
        let mut commands: Vec<Command> = (0..50)
            .map(|i| {
                let value = format!("{round} {}", "x".repeat(200));
                Command::Put(put(&format!("key-{:03}", (round * 7 + i * 3) % 400), &value))
            })
            .collect();
        let first = format!("key-{:03}", (round * 11) % 400);
        commands.push(Command::DeleteRange(delete(&first, &format!("{first}z"))));
        machine.apply_all(&commands);
    }
}

/// Everything that must be equal on two replicas with the same applied entry.
fn fingerprint(machine: &Machine) -> (EntryId, i64, StateHash) {
    let hash = machine.store.hash(0).unwrap();
    (machine.store.applied(), machine.store.revision(), hash)
}

fn empty() -> (tempfile::TempDir, Machine) {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::open(directory.path());
    (directory, machine)
}

/// R54: a restored replica has the same state, also at old revisions, also after a restart.
#[test]
fn a_restored_replica_is_equal() {
    let (_source_directory, mut source) = empty();
    fill(&mut source, 40);
    let (meta, bytes) = (source.meta(), source.snapshot_bytes());

    let (directory, mut target) = empty();
    target.put_value("something", "else");
    target.restore(&meta, &bytes);
    assert_eq!(fingerprint(&target), fingerprint(&source));
    assert_eq!(target.machine.last_applied(), meta.last);
    target.store.audit().unwrap();
    for revision in [1, 2, 500, 1000, source.store.revision()] {
        let request = RangeRequest {
            revision,
            ..everything()
        };
        assert_eq!(target.range(&request), source.range(&request));
        assert_eq!(target.store.hash(revision), source.store.hash(revision));
    }
    assert_eq!(listing(directory.path()), ["LOCK", "STATE", "db-2"]);

    // Both go on, in step.
    fill(&mut source, 3);
    fill(&mut target, 3);
    let expected = fingerprint(&source);
    assert_eq!(fingerprint(&target), expected);
    drop(target);
    let mut target = Machine::open(directory.path());
    assert_eq!(fingerprint(&target), expected);

    // A second restore on the same replica, now back to where the first one was.
    target.restore(&meta, &bytes);
    assert_eq!(target.machine.last_applied(), meta.last);
    assert_eq!(listing(directory.path()), ["LOCK", "STATE", "db-3"]);
}

#[test]
fn an_empty_store_has_a_snapshot_too() {
    let (_source_directory, mut source) = empty();
    let bytes = source.snapshot_bytes();
    let (_directory, mut target) = empty();
    target.put_value("a", "1");
    let meta = SnapshotMeta {
        last: EntryId::ZERO,
        ..source.meta()
    };
    target.restore(&meta, &bytes);
    assert_eq!(fingerprint(&target), fingerprint(&source));
    assert_eq!(target.store.revision(), 1);
}

/// A snapshot is the state at its moment, however long its stream takes.
#[test]
fn a_snapshot_is_not_disturbed_by_later_writes() {
    let (directory, mut source) = empty();
    fill(&mut source, 10);
    let (meta, expected) = (source.meta(), fingerprint(&source));
    let mut stream = source.machine.snapshot().unwrap();
    let mut bytes = vec![0; 1000];
    stream.read_exact(&mut bytes).unwrap();
    fill(&mut source, 40);
    stream.read_to_end(&mut bytes).unwrap();
    assert!(
        listing(directory.path())
            .iter()
            .any(|name| name.starts_with("checkpoint-"))
    );
    drop(stream);
    assert_eq!(listing(directory.path()), ["LOCK", "STATE", "db-1"]);

    let (_directory, mut target) = empty();
    target.restore(&meta, &bytes);
    assert_eq!(fingerprint(&target), expected);
}

/// A reader that fails after so many bytes.
struct Interrupted<'a> {
    bytes: &'a [u8],
}

impl Read for Interrupted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(out)? {
            0 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            length => Ok(length),
        }
    }
}

/// R54: a transfer that breaks off, or arrives damaged, changes nothing and leaves nothing behind.
#[test]
fn what_is_not_whole_leaves_the_old_state() {
    let (_source_directory, mut source) = empty();
    fill(&mut source, 20);
    let (meta, bytes) = (source.meta(), source.snapshot_bytes());
    let (directory, mut target) = empty();
    fill(&mut target, 5);
    let before = fingerprint(&target);

    for cut in [0, 1, 100, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
        let mut content = Interrupted { bytes: &bytes[..cut] };
        let error = target.machine.restore(&meta, &mut content).unwrap_err();
        assert!(error.to_string().contains("could not be read"), "{cut}: {error}");
        assert_eq!(fingerprint(&target), before);
        assert_eq!(listing(directory.path()), ["LOCK", "STATE", "db-1"]);
    }
    for position in [3, 60, bytes.len() / 2, bytes.len() - 2] {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        let error = target.machine.restore(&meta, &mut &damaged[..]).unwrap_err();
        assert!(
            error.to_string().contains("is damaged near byte"),
            "{position}: {error}"
        );
        assert_eq!(fingerprint(&target), before);
    }
    target.put_value("a", "1");
    assert_eq!(
        target.get("a").unwrap().value,
        "1",
        "the machine goes on with the old state"
    );
    target.restore(&meta, &bytes);
    assert_eq!(fingerprint(&target), fingerprint(&source));
}

/// R72: a snapshot under a wrong position would apply entries twice, or never.
#[test]
fn a_snapshot_of_another_position_is_refused() {
    let (_source_directory, mut source) = empty();
    fill(&mut source, 2);
    let bytes = source.snapshot_bytes();
    let (_directory, mut target) = empty();
    let meta = SnapshotMeta {
        last: EntryId::new(Term(1), Index(7)),
        ..source.meta()
    };
    let error = target.machine.restore(&meta, &mut &bytes[..]).unwrap_err();
    assert!(
        error.to_string().contains("is said to end at entry 7@1"),
        "{error}"
    );
    assert_eq!(target.machine.last_applied(), EntryId::ZERO);
}

/// R54, R74: whatever point a restore was interrupted at, the next start finds the old state or the new one.
#[test]
fn a_restore_that_crashed_leaves_either_state() {
    let (directory, mut machine) = empty();
    fill(&mut machine, 5);
    let old = fingerprint(&machine);
    drop(machine);
    let other = tempfile::tempdir().unwrap();
    let mut source = Machine::open(other.path());
    fill(&mut source, 9);
    let new = fingerprint(&source);
    let (meta, bytes) = (source.meta(), source.snapshot_bytes());

    // Before the switch: half of the files of the new database, half of the new STATE, and a checkpoint.
    let path = directory.path();
    fs::create_dir(path.join("db-2")).unwrap();
    fs::write(path.join("db-2/000009.sst"), b"half").unwrap();
    fs::write(path.join("STATE.new"), b"raft-kv for").unwrap();
    fs::create_dir(path.join("checkpoint-1-1")).unwrap();
    fs::write(path.join("checkpoint-1-1/000009.sst"), b"half").unwrap();
    let mut machine = Machine::open(path);
    assert_eq!(fingerprint(&machine), old);
    assert_eq!(listing(path), ["LOCK", "STATE", "db-1"]);

    // After the switch: the old database is still there.
    machine.restore(&meta, &bytes);
    drop(machine);
    fs::create_dir(path.join("db-1")).unwrap();
    fs::write(path.join("db-1/CURRENT"), b"MANIFEST-000001\n").unwrap();
    let machine = Machine::open(path);
    assert_eq!(fingerprint(&machine), new);
    assert_eq!(listing(path), ["LOCK", "STATE", "db-2"]);
}

/// Readers on other threads see the old state or the new one, whole, while a restore replaces it.
#[test]
fn readers_switch_over_as_a_whole() {
    let (_source_directory, mut source) = empty();
    for key in ["a", "b"] {
        source.put_value(key, "new");
    }
    source.put_value("c", "new");
    let (meta, bytes) = (source.meta(), source.snapshot_bytes());
    let (_directory, mut target) = empty();
    target.put_value("a", "old");
    target.put_value("b", "old");
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, stop) = (Arc::clone(&target.store), Arc::clone(&stop));
        std::thread::spawn(move || {
            let (mut old, mut new) = (0, 0);
            while !stop.load(Ordering::Acquire) || new == 0 {
                let response = store.range(&everything()).unwrap();
                match (names(&response).concat().as_str(), response.header.revision) {
                    ("ab", 3) if response.kvs.iter().all(|kv| kv.value == "old") => old += 1,
                    ("abc", 4) if response.kvs.iter().all(|kv| kv.value == "new") => new += 1,
                    _ => panic!("a mixture: {response:?}"),
                }
            }
            (old, new)
        })
    };
    target.restore(&meta, &bytes);
    stop.store(true, Ordering::Release);
    let (_, new) = reader.join().unwrap();
    assert!(new > 0);
}

/// Readers see whole batches: two keys that every batch changes together are never seen apart.
#[test]
fn readers_see_whole_batches() {
    let (_directory, mut machine) = empty();
    let pair = |i: u64| {
        let value = i.to_string();
        [
            Command::Put(put("left", &value)),
            Command::Put(put("right", &value)),
        ]
    };
    machine.apply_all(&pair(0));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, stop) = (Arc::clone(&machine.store), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut last = 0;
            let mut reads = 0;
            while !stop.load(Ordering::Acquire) || reads < 10 {
                let response = store.range(&everything()).unwrap();
                let newest = response.kvs.iter().map(|kv| kv.mod_revision).max().unwrap();
                assert_eq!(response.kvs[0].value, response.kvs[1].value);
                assert_eq!(newest, response.header.revision);
                assert!(newest >= last, "reads never go back");
                last = newest;
                reads += 1;
            }
        })
    };
    for i in 1..2000 {
        machine.apply_all(&pair(i));
    }
    stop.store(true, Ordering::Release);
    reader.join().unwrap();
    assert_eq!(machine.range(&one("left")).kvs[0].version, 2000);
    assert_eq!(machine.store.range(&one("")), Err(KvError::EmptyKey));
}
