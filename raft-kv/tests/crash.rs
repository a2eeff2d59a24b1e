//! Processes that die: what is left is the state after some whole batch, and the log goes on from there.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use bytes::Bytes;
use common::Machine;
use raft_core::entry::Entry;
use raft_core::traits::{SessionChanges, StateMachine};
use raft_core::types::{Index, Term};
use raft_kv::{Command, DeleteRangeRequest, PutRequest};

/// Tells this test that it is the process that dies, and where its store is.
const CHILD: &str = "RAFT_KV_CRASH_DIRECTORY";

/// The log: what stands at each index never changes. Mostly puts over a few hundred keys, some deletions, garbage and
/// entries without a command.
fn entry(index: u64) -> Entry {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let key = format!("key-{:03}", mixed % 300);
    let command = match mixed % 16 {
        0 => return Entry::noop(Term(1), Index(index)),
        1 => return Entry::command(Term(1), Index(index), "garbage".into()),
        2 | 3 => Command::DeleteRange(DeleteRangeRequest {
            range_end: format!("{key}~").into(),
            key: key.into(),
            prev_kv: true,
        }),
        _ => Command::Put(PutRequest {
            key: key.into(),
            value: vec![index as u8; (mixed % 400) as usize].into(),
            prev_kv: index.is_multiple_of(3),
            ..PutRequest::default()
        }),
    };
    Entry::command(Term(1), Index(index), command.encode())
}

/// Applies the log from where the store is to `last`, in batches of different sizes.
fn apply_to(machine: &mut Machine, last: u64, mut applied: impl FnMut(u64)) {
    let mut next = machine.machine.last_applied().index.0 + 1;
    while next <= last {
        let end = (next + next % 37).min(last);
        let entries: Vec<Entry> = (next..=end).map(entry).collect();
        machine.machine.apply(&entries).unwrap();
        let value = Bytes::copy_from_slice(&end.to_le_bytes());
        let sessions = SessionChanges {
            replaces_all: false,
            records: vec![(Bytes::from_static(b"position"), Some(value))],
        };
        machine.machine.commit(&sessions).unwrap();
        applied(end);
        next = end + 1;
    }
}

/// The process that dies: applies the log until it is killed, and tells what it applied.
fn child(directory: PathBuf) {
    let mut machine = Machine::open(&directory);
    let mut out = std::io::stdout().lock();
    apply_to(&mut machine, u64::MAX - 1000, |index| {
        writeln!(out, "applied {index}").unwrap();
        out.flush().unwrap();
    });
}

/// Starts a process on `directory`, kills it as soon as it has applied `more` entries, and says how far it was.
fn run_and_kill(directory: &Path, test: &str, more: u64) -> u64 {
    let mut process = Process::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut first, mut last) = (None, 0);
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(index) = line.strip_prefix("applied ") else {
            continue;
        };
        last = index.parse().unwrap();
        if last >= *first.get_or_insert(last) + more {
            break;
        }
    }
    // `kill` is SIGKILL: no destructor runs, nothing is flushed.
    process.kill().unwrap();
    let status = process.wait().unwrap();
    assert!(!status.success(), "the process ended before it was killed");
    last
}

/// R72: after SIGKILL the applied position, the data and the sessions are of the same moment, again and again on the same
/// store.
#[test]
fn a_killed_process_leaves_a_position_that_fits_the_data() {
    if let Ok(directory) = std::env::var(CHILD) {
        return child(directory.into());
    }
    let test = "a_killed_process_leaves_a_position_that_fits_the_data";
    let directory = tempfile::tempdir().unwrap();
    let model_directory = tempfile::tempdir().unwrap();
    // The same log, applied without a crash.
    let mut model = Machine::open(model_directory.path());
    let (mut recovered, mut lost, mut progress) = (0, 0u64, 0);
    for round in 0..12 {
        let reached = run_and_kill(directory.path(), test, 300 + round * 171);
        let machine = Machine::open(directory.path());
        let last = machine.machine.last_applied().index.0;
        assert!(
            last >= recovered,
            "what was durable once is durable for ever: {last} < {recovered}"
        );
        lost += reached.saturating_sub(last);
        progress += u64::from(last > recovered);
        recovered = last;

        apply_to(&mut model, last, |_| ());
        assert_eq!(
            machine.store.hash(0).unwrap(),
            model.store.hash(0).unwrap(),
            "at entry {last}"
        );
        assert_eq!(machine.store.revision(), model.store.revision());
        let sessions = machine.machine.sessions().unwrap();
        let position = sessions.first().map_or(0, |(_, value)| {
            u64::from_le_bytes(value[..].try_into().expect("it was written with eight bytes"))
        });
        assert_eq!(position, last, "the sessions are of the same moment as the data");
        machine.store.audit().unwrap();
        // Closing it here flushes nothing new: nothing was applied since it was opened.
    }
    assert!(
        progress >= 6,
        "too little reached the disk to say anything: {progress}"
    );
    assert!(lost > 0, "nothing was ever lost, so nothing was tested");
}
