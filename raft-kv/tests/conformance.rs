//! The suite of raft-core that every state machine must pass.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::sync::Mutex;

use bytes::Bytes;
use common::{SMALL, bytes, delete, everything, one, put, span};
use raft_core::traits::StateMachine;
use raft_kv::{Command, DeleteRangeRequest, KvStateMachine, PutRequest, RangeRequest, SortOrder, SortTarget};

fn commands() -> Vec<Bytes> {
    let prev_kv = |request: PutRequest| PutRequest {
        prev_kv: true,
        ..request
    };
    let ignore_value = PutRequest {
        ignore_value: true,
        ..put("b", "")
    };
    let leased = PutRequest {
        lease: 7,
        ..put("a", "1")
    };
    let delete_prev_kv = DeleteRangeRequest {
        prev_kv: true,
        ..delete("a", "c")
    };
    let mut commands: Vec<Bytes> = [
        Command::Put(put("a", "1")),
        Command::Put(prev_kv(put("a", "2"))),
        Command::Put(put("b", "1")),
        Command::Put(put("", "an empty key")),
        Command::Put(ignore_value),
        Command::Put(leased),
        Command::DeleteRange(delete("nobody", "")),
        Command::DeleteRange(delete_prev_kv),
        Command::Put(prev_kv(put("a", "3"))),
        Command::DeleteRange(delete("a", "\0")),
        Command::Put(put("c", "1")),
    ]
    .iter()
    .map(Command::encode)
    .collect();
    commands.insert(4, bytes("garbage"));
    commands
}

fn questions() -> Vec<Bytes> {
    let old = |revision| RangeRequest {
        revision,
        ..everything()
    };
    let sorted = RangeRequest {
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Mod,
        limit: 1,
        ..everything()
    };
    let mut questions: Vec<Bytes> = [
        everything(),
        one("a"),
        span("b", "c"),
        sorted,
        old(2),
        old(4),
        old(6),
        old(99),
    ]
    .iter()
    .map(RangeRequest::encode)
    .collect();
    questions.push(bytes("garbage"));
    questions
}

/// I10, I21: equal logs make equal states, however they are batched, and a snapshot stands for its prefix.
#[test]
fn the_state_machine_conforms() {
    let directories = Mutex::new(Vec::new());
    let new = || {
        let directory = tempfile::tempdir().unwrap();
        let (machine, _store) = KvStateMachine::open(directory.path(), SMALL).unwrap();
        directories.lock().unwrap().push(directory);
        Box::new(machine) as Box<dyn StateMachine>
    };
    raft_core::conformance::state_machine(new, &commands(), &questions());
}

/// R72, R73: what a restart finds is of one moment: data, position and sessions.
#[test]
fn a_restart_finds_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let (machine, _store) = KvStateMachine::open(directory.path(), SMALL).unwrap();
        Box::new(machine) as Box<dyn StateMachine>
    };
    raft_core::conformance::durable_state_machine(open, &commands(), &questions());
}
