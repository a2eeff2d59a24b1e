//! Directories that do not open: each with an error that names the directory and says what to do.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::fs;
use std::path::Path;

use common::{Machine, SMALL, delete, everything, listing, put};
use raft_core::traits::StateMachine;
use raft_kv::{Command, KvError, KvStateMachine, OpenError};

fn refusal(path: &Path) -> OpenError {
    let error = KvStateMachine::open(path, SMALL).map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(path.to_str().unwrap()),
        "the error names the path: {text}"
    );
    assert!(text.contains("; "), "the error names a remedy: {text}");
    error
}

/// A directory with one key in it, closed.
fn closed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    Machine::open(directory.path()).put_value("a", "1");
    directory
}

/// R72: what was applied before a clean end is there after it, position and data.
#[test]
fn a_clean_end_keeps_everything() {
    let directory = closed();
    let machine = Machine::open(directory.path());
    assert_eq!(machine.machine.last_applied().index.0, 1);
    assert_eq!(machine.get("a").unwrap().value, "1");
    assert_eq!(listing(directory.path()), ["LOCK", "STATE", "db-1"]);
}

#[test]
fn a_missing_directory_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some/where");
    Machine::open(&path);
    assert_eq!(listing(&path), ["LOCK", "STATE", "db-1"]);
}

#[test]
fn a_first_start_that_was_interrupted_is_repeated() {
    let directory = closed();
    fs::remove_file(directory.path().join("STATE")).unwrap();
    let machine = Machine::open(directory.path());
    assert_eq!(
        machine.get("a").unwrap().value,
        "1",
        "nothing that is there is thrown away"
    );

    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("db-1")).unwrap();
    assert_eq!(Machine::open(directory.path()).store.revision(), 1);
}

#[test]
fn two_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::open(directory.path());
    assert!(matches!(refusal(directory.path()), OpenError::Locked { .. }));
    let Machine { machine, store } = machine;
    drop(machine);
    assert!(
        matches!(refusal(directory.path()), OpenError::Locked { .. }),
        "the reader holds it as well"
    );
    drop(store);
    Machine::open(directory.path());
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("holiday.jpg"), b"photo").unwrap();
    let error = refusal(directory.path());
    assert!(
        matches!(&error, OpenError::Foreign { found, .. } if found == "holiday.jpg"),
        "{error}"
    );
    assert_eq!(listing(directory.path()), ["holiday.jpg"]);
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    assert!(matches!(refusal(&path), OpenError::Io { .. }));
}

#[test]
fn another_format_is_refused() {
    let directory = closed();
    fs::write(
        directory.path().join("STATE"),
        "raft-kv format 3 database 1 crc32c 0\n",
    )
    .unwrap();
    let error = refusal(directory.path());
    assert!(
        matches!(
            error,
            OpenError::Format {
                found: 3,
                supported: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_damaged_state_file_is_refused() {
    let directory = closed();
    let path = directory.path().join("STATE");
    let text = fs::read_to_string(&path).unwrap();
    for damaged in [
        String::new(),
        text.replace("database 1", "database 7"),
        text.replace("raft", "r\u{e9}ft"),
    ] {
        fs::write(&path, damaged).unwrap();
        assert!(matches!(refusal(directory.path()), OpenError::Damaged { .. }));
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Damaged { .. }));
    fs::write(&path, text).unwrap();
    assert!(Machine::open(directory.path()).get("a").is_some());
}

#[test]
fn a_lost_state_file_is_noticed() {
    let directory = closed();
    fs::rename(directory.path().join("db-1"), directory.path().join("db-2")).unwrap();
    fs::remove_file(directory.path().join("STATE")).unwrap();
    let error = refusal(directory.path());
    assert!(error.to_string().contains("STATE is missing"), "{error}");
}

/// An empty store must never be mistaken for the one that was lost.
#[test]
fn a_lost_database_is_noticed() {
    let directory = closed();
    fs::remove_dir_all(directory.path().join("db-1")).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    fs::create_dir(directory.path().join("db-1")).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn every_lost_or_cut_file_of_the_database_is_noticed() {
    let directory = closed();
    let mut tried = 0;
    for name in listing(&directory.path().join("db-1")) {
        if !(name.ends_with(".sst") || name.starts_with("MANIFEST") || name == "CURRENT") {
            continue;
        }
        for keep in [None, Some(2)] {
            let damaged = tempfile::tempdir().unwrap();
            copy(directory.path(), damaged.path());
            let path = damaged.path().join("db-1").join(&name);
            let content = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            if let Some(part) = keep {
                fs::write(&path, &content[..content.len() / part]).unwrap();
            }
            let error = refusal(damaged.path());
            assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error}");
        }
        tried += 1;
    }
    assert!(
        tried >= 3,
        "the manifest, CURRENT and the files of the data: {tried}"
    );
}

/// R72: RocksDB takes a manifest that was cut short for an older one. What it opens then is an older state as a whole,
/// so the log goes on from there; or it does not open. Whether the files of an older state are still there depends on
/// when RocksDB removed them, so there is more than one attempt to find some.
#[test]
fn a_manifest_cut_anywhere_never_gives_a_mixture() {
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..10 {
        let (found, lost) = cut_manifest_everywhere();
        opened += found;
        refused += lost;
        if opened > 0 {
            break;
        }
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

/// How often the store opened, and how often it refused.
fn cut_manifest_everywhere() -> (usize, usize) {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = Machine::open(directory.path());
    let mut states = Vec::new();
    for value in ["first", "second", "third"] {
        states.push((machine.machine.last_applied(), machine.store.hash(0).unwrap()));
        machine.apply_all(&[
            Command::Put(put("a", value)),
            Command::DeleteRange(delete("b", "")),
            Command::Put(put("b", value)),
        ]);
        if value == "first" {
            // A snapshot makes durable what was applied; the rest becomes durable when the store is closed.
            drop(machine.machine.snapshot().unwrap());
        }
    }
    states.push((machine.machine.last_applied(), machine.store.hash(0).unwrap()));
    drop(machine);
    let names = listing(&directory.path().join("db-1"));
    let manifest = names.iter().find(|name| name.starts_with("MANIFEST")).unwrap();
    let length = fs::metadata(directory.path().join("db-1").join(manifest))
        .unwrap()
        .len();
    let (mut opened, mut refused) = (0, 0);
    for cut in (0..length).step_by(43).chain([length - 1]) {
        let damaged = tempfile::tempdir().unwrap();
        copy(directory.path(), damaged.path());
        let path = damaged.path().join("db-1").join(manifest);
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(cut)
            .unwrap();
        match KvStateMachine::open(damaged.path(), SMALL) {
            Ok((machine, store)) => {
                let found = (machine.last_applied(), store.hash(0).unwrap());
                assert!(states.contains(&found), "cut at {cut} of {length}: {found:?}");
                store.audit().unwrap();
                opened += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error, OpenError::Damaged { .. }),
                    "cut at {cut}: {error}"
                );
                refused += 1;
            }
        }
    }
    (opened, refused)
}

/// R77: a flipped bit in a file is noticed at the latest when what it belongs to is read; no read answers anything else
/// than before.
#[test]
fn a_flipped_bit_never_gives_another_answer() {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = Machine::open(directory.path());
    for round in 0..5 {
        let put_all = (0..40).map(|i| Command::Put(put(&format!("key-{i}"), &format!("{round} {i}"))));
        machine.apply_all(&put_all.collect::<Vec<_>>());
    }
    let (answer, hash) = (machine.range(&everything()), machine.store.hash(0).unwrap());
    drop(machine);
    let (mut at_open, mut at_read, mut harmless) = (0, 0, 0);
    let names = listing(&directory.path().join("db-1"));
    for name in names.iter().filter(|name| name.ends_with(".sst")) {
        let content = fs::read(directory.path().join("db-1").join(name)).unwrap();
        for position in (0..content.len()).step_by(content.len() / 6) {
            let damaged = tempfile::tempdir().unwrap();
            copy(directory.path(), damaged.path());
            let mut bytes = content.clone();
            bytes[position] ^= 0x20;
            fs::write(damaged.path().join("db-1").join(name), bytes).unwrap();
            let store = match KvStateMachine::open(damaged.path(), SMALL) {
                Ok((_machine, store)) => store,
                Err(error) => {
                    assert!(
                        matches!(error, OpenError::Damaged { .. }),
                        "{name} at {position}: {error}"
                    );
                    at_open += 1;
                    continue;
                }
            };
            match (store.range(&everything()), store.hash(0), store.audit()) {
                (Ok(found), Ok(found_hash), Ok(_)) => {
                    assert!(found == answer && found_hash == hash, "{name} at {position}");
                    harmless += 1;
                }
                outcomes => {
                    let (range, found_hash, audit) = outcomes;
                    let errors = [range.err(), found_hash.err(), audit.err()];
                    let storage = errors
                        .iter()
                        .flatten()
                        .all(|error| matches!(error, KvError::Storage(_)));
                    assert!(storage, "{name} at {position}: {errors:?}");
                    at_read += 1;
                }
            }
        }
    }
    assert!(
        at_open + at_read > harmless,
        "{at_open} at open, {at_read} at read, {harmless} unnoticed"
    );
}

/// Copies a closed store.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
