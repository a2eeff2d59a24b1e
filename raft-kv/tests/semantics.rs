//! What commands do, one edge of etcd's data model at a time.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use bytes::Bytes;
use common::{Machine, bytes, delete, everything, names, put, span};
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::traits::StateMachine;
use raft_core::types::{EntryId, Index, NodeId, Term};
use raft_kv::{Command, DeleteRangeRequest, KeyValue, KvError, PutRequest, Response};

fn machine() -> (tempfile::TempDir, Machine) {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::open(directory.path());
    (directory, machine)
}

/// `a`, `b`, `c` with values 3, 2, 1, then `b` once more: versions 1, 2, 1.
fn three_keys() -> (tempfile::TempDir, Machine) {
    let (directory, mut machine) = machine();
    machine.put_value("a", "3");
    machine.put_value("b", "9");
    machine.put_value("c", "1");
    machine.put_value("b", "2");
    (directory, machine)
}

#[test]
fn an_empty_store_has_revision_1_and_the_first_put_gets_2() {
    let (_directory, mut machine) = machine();
    assert_eq!(machine.store.revision(), 1);
    assert_eq!(machine.range(&everything()).header.revision, 1);
    let response = machine.put_value("a", "1");
    assert_eq!(response.header.revision, 2);
    assert_eq!(machine.store.revision(), 2);
    let expected = KeyValue {
        key: bytes("a"),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        value: bytes("1"),
        lease: 0,
    };
    assert_eq!(machine.get("a"), Some(expected));
}

#[test]
fn a_second_put_keeps_the_creation_and_counts_the_version() {
    let (_directory, mut machine) = machine();
    machine.put_value("a", "1");
    machine.put_value("b", "1");
    machine.put_value("a", "2");
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 4, 2));
}

#[test]
fn a_key_that_was_deleted_is_created_anew() {
    let (_directory, mut machine) = machine();
    machine.put_value("a", "1");
    machine.put_value("a", "2");
    machine.delete(delete("a", "")).unwrap();
    assert_eq!(machine.get("a"), None);
    machine.put_value("a", "3");
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn a_deletion_that_deletes_nothing_makes_no_revision() {
    let (_directory, mut machine) = machine();
    machine.put_value("a", "1");
    for request in [
        delete("b", ""),
        delete("b", "z"),
        delete("z", "b"),
        delete("a", "a"),
    ] {
        let response = machine.delete(request).unwrap();
        assert_eq!((response.deleted, response.header.revision), (0, 2));
    }
    assert_eq!(machine.store.revision(), 2);
    assert!(machine.get("a").is_some());
}

#[test]
fn a_deletion_of_many_keys_makes_one_revision() {
    let (_directory, mut machine) = three_keys();
    let request = DeleteRangeRequest {
        prev_kv: true,
        ..delete("a", "c")
    };
    let response = machine.delete(request).unwrap();
    assert_eq!((response.deleted, response.header.revision), (2, 6));
    let deleted: Vec<_> = response
        .prev_kvs
        .iter()
        .map(|kv| (&kv.key[..], &kv.value[..]))
        .collect();
    assert_eq!(deleted, [(&b"a"[..], &b"3"[..]), (b"b", b"2")]);
    assert_eq!(names(&machine.range(&everything())), ["c"]);
    assert_eq!(machine.store.audit().unwrap().versions, 6);
}

#[test]
fn empty_keys_are_refused() {
    let (_directory, mut machine) = machine();
    assert_eq!(machine.put(put("", "1")), Err(KvError::EmptyKey));
    assert_eq!(machine.delete(delete("", "")), Err(KvError::EmptyKey));
    assert_eq!(machine.delete(delete("", "\0")), Err(KvError::EmptyKey));
    assert_eq!(machine.store.range(&span("", "\0")), Err(KvError::EmptyKey));
    assert_eq!(machine.store.revision(), 1);
    assert_eq!(
        machine.store.applied().index,
        Index(3),
        "a refused command is applied all the same"
    );
}

#[test]
fn put_answers_the_previous_pair_if_asked() {
    let (_directory, mut machine) = machine();
    let request = PutRequest {
        prev_kv: true,
        ..put("a", "1")
    };
    assert_eq!(machine.put(request.clone()).unwrap().prev_kv, None);
    let before = machine.get("a");
    assert_eq!(machine.put(request).unwrap().prev_kv, before);
    assert_eq!(machine.put_value("a", "2").prev_kv, None);
}

#[test]
fn ignore_value_keeps_the_value() {
    let (_directory, mut machine) = machine();
    let request = PutRequest {
        ignore_value: true,
        ..put("a", "")
    };
    assert_eq!(machine.put(request.clone()), Err(KvError::KeyNotFound));
    machine.put_value("a", "1");
    let response = machine.put(request).unwrap();
    assert_eq!((response.header.revision, response.prev_kv), (3, None));
    let kv = machine.get("a").unwrap();
    assert_eq!((&kv.value[..], kv.mod_revision, kv.version), (&b"1"[..], 3, 2));
    let request = PutRequest {
        ignore_value: true,
        ..put("a", "2")
    };
    assert_eq!(machine.put(request), Err(KvError::ValueProvided));
}

#[test]
fn ignore_lease_needs_a_key_and_no_lease() {
    let (_directory, mut machine) = machine();
    let request = PutRequest {
        ignore_lease: true,
        ..put("a", "2")
    };
    assert_eq!(machine.put(request.clone()), Err(KvError::KeyNotFound));
    machine.put_value("a", "1");
    assert_eq!(machine.put(request.clone()).unwrap().header.revision, 3);
    assert_eq!(machine.get("a").unwrap().value, "2");
    let request = PutRequest { lease: 7, ..request };
    assert_eq!(machine.put(request), Err(KvError::LeaseProvided));
}

#[test]
fn a_lease_that_was_never_granted_is_refused() {
    let (_directory, mut machine) = machine();
    for lease in [7, -1] {
        let request = PutRequest {
            lease,
            ..put("a", "1")
        };
        assert_eq!(machine.put(request), Err(KvError::LeaseNotFound));
    }
    assert_eq!(machine.store.revision(), 1);
}

#[test]
fn commands_of_one_batch_see_each_other() {
    let (_directory, mut machine) = machine();
    machine.put_value("a", "0");
    let prev = |request: PutRequest| {
        Command::Put(PutRequest {
            prev_kv: true,
            ..request
        })
    };
    let delete_all = Command::DeleteRange(DeleteRangeRequest {
        prev_kv: true,
        ..delete("\0", "\0")
    });
    let outcomes = machine.apply_all(&[
        prev(put("a", "1")),
        Command::Put(put("b", "1")),
        Command::DeleteRange(delete("a", "")),
        Command::Put(put("c", "1")),
        delete_all.clone(),
        delete_all,
        prev(put("a", "2")),
    ]);
    let revisions: Vec<i64> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().header().revision)
        .collect();
    assert_eq!(revisions, [3, 4, 5, 6, 7, 7, 8]);
    let Ok(Response::Put(first)) = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(first.prev_kv.as_ref().unwrap().value, "0");
    let Ok(Response::DeleteRange(all)) = &outcomes[4] else {
        panic!("{outcomes:?}")
    };
    let deleted: Vec<_> = all
        .prev_kvs
        .iter()
        .map(|kv| (&kv.key[..], kv.mod_revision))
        .collect();
    assert_eq!(deleted, [(&b"b"[..], 4), (b"c", 6)]);
    let Ok(Response::Put(last)) = &outcomes[6] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(last.prev_kv, None);
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.version), (8, 1));
    machine.store.audit().unwrap();
}

/// R72: entries without a command move the applied position and nothing else.
#[test]
fn entries_without_a_command_only_move_the_position() {
    let (directory, mut machine) = machine();
    let membership = Membership::of_voters([NodeId(1)]).unwrap();
    let entries = [
        Entry::noop(Term(1), Index(1)),
        Entry {
            id: EntryId::new(Term(2), Index(2)),
            payload: Payload::Membership(membership),
        },
    ];
    let responses = machine.apply_entries(&entries);
    assert_eq!(responses, [Bytes::new(), Bytes::new()]);
    assert_eq!(machine.store.revision(), 1);
    drop(machine);
    let machine = Machine::open(directory.path());
    assert_eq!(machine.machine.last_applied(), EntryId::new(Term(2), Index(2)));
}

#[test]
fn a_command_that_does_not_decode_is_answered_and_changes_nothing() {
    let (_directory, mut machine) = machine();
    machine.put_value("a", "1");
    let before = machine.store.hash(0).unwrap();
    let newer = Bytes::from_static(&[2, 0, 0]);
    let mut long = Command::Put(put("a", "2")).encode().to_vec();
    long.push(0);
    for garbage in [
        Bytes::new(),
        newer,
        Bytes::from_static(b"\x01\xff\xff"),
        long.into(),
    ] {
        let entries = machine.entries([garbage]);
        let responses = machine.apply_entries(&entries);
        let outcome = Response::decode_outcome(&responses[0]).unwrap();
        assert!(matches!(outcome, Err(KvError::Malformed(_))), "{outcome:?}");
    }
    assert_eq!(machine.store.hash(0).unwrap(), before);
    assert_eq!(machine.store.applied().index, Index(5));
    assert_eq!(
        machine.put_value("a", "2").header.revision,
        3,
        "the machine goes on"
    );
}

/// R72: an entry that was applied before, or one too far ahead, is an error of the caller, never applied.
#[test]
fn entries_out_of_order_stop_the_machine() {
    let (_directory, mut machine) = machine();
    machine.put_value("a", "1");
    let again = Entry::command(Term(1), Index(1), Command::Put(put("a", "2")).encode());
    let error = machine.machine.apply(&[again]).unwrap_err();
    assert!(error.to_string().contains("does not follow"), "{error}");
    assert_eq!(machine.get("a").unwrap().value, "1");
    let next = machine.entries([Command::Put(put("a", "3")).encode()]);
    let error = machine.machine.apply(&next).unwrap_err();
    assert!(error.to_string().contains("failed earlier"), "{error}");
}

#[test]
fn binary_keys_and_values_survive() {
    let (directory, mut machine) = machine();
    let key = Bytes::from_static(&[0, 0xff, 0, 0, 1, 0xff]);
    let value = Bytes::from(vec![0u8; 1 << 20]);
    let request = PutRequest {
        key: key.clone(),
        value: value.clone(),
        ..PutRequest::default()
    };
    machine.put(request).unwrap();
    drop(machine);
    let machine = Machine::open(directory.path());
    let response = machine.range(&everything());
    assert_eq!((&response.kvs[0].key, &response.kvs[0].value), (&key, &value));
    assert!(machine.store.db_size_bytes().unwrap() > 1 << 20);
}
