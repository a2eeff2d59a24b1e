//! What ranges answer, one edge of etcd's data model at a time.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use common::{Machine, delete, everything, names, one, span};
use raft_core::traits::StateMachine;
use raft_kv::{KvError, RangeRequest, RangeResponse, SortOrder, SortTarget};

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
fn range_ends_mean_what_they_mean_in_etcd() {
    let (_directory, mut machine) = machine();
    for key in ["a", "a\0", "ab", "b", "\u{10ffff}"] {
        machine.put_value(key, "");
    }
    let found = |key, end| machine.range(&span(key, end)).kvs.len();
    assert_eq!(found("a", ""), 1, "an empty end means the one key");
    assert_eq!(found("a", "a\0"), 1);
    assert_eq!(found("a", "b"), 3, "a prefix ends before the next key without it");
    assert_eq!(found("a\0", "b"), 2);
    assert_eq!(found("ab", "\0"), 3, "a zero byte means every key from here on");
    assert_eq!(found("\0", "\0"), 5);
    assert_eq!(found("b", "a"), 0, "an end before the key means nothing");
    assert_eq!(found("a", "a"), 0);
    assert_eq!(machine.delete(delete("a\0", "\0")).unwrap().deleted, 4);
    assert_eq!(names(&machine.range(&everything())), ["a"]);
}

#[test]
fn an_old_revision_answers_what_it_answered_then() {
    let (_directory, mut machine) = three_keys();
    machine.delete(delete("a", "b")).unwrap();
    machine.put_value("d", "4");
    let at = |revision| {
        machine.range(&RangeRequest {
            revision,
            ..everything()
        })
    };
    assert_eq!(names(&at(1)), [""; 0]);
    assert_eq!(names(&at(2)), ["a"]);
    assert_eq!(names(&at(4)), ["a", "b", "c"]);
    assert_eq!(at(4).kvs[1].value, "9");
    assert_eq!(at(5).kvs[1].value, "2");
    assert_eq!(names(&at(6)), ["b", "c"]);
    assert_eq!(names(&at(7)), ["b", "c", "d"]);
    assert_eq!(at(7), at(0), "0 is the current revision");
    assert_eq!(at(-1), at(0), "and so is anything below");
    assert_eq!(
        at(2).header.revision,
        7,
        "the header always has the current revision"
    );
    let old = RangeRequest {
        revision: 4,
        ..one("b")
    };
    assert_eq!(machine.range(&old).kvs[0].value, "9");
    let future = RangeRequest {
        revision: 8,
        ..everything()
    };
    let expected = KvError::FutureRevision { current_revision: 7 };
    assert_eq!(machine.store.range(&future), Err(expected));
}

#[test]
fn limit_count_and_more() {
    let (_directory, machine) = three_keys();
    for revision in [0, 4] {
        let limited = |limit| {
            machine.range(&RangeRequest {
                limit,
                revision,
                ..everything()
            })
        };
        let shape = |response: RangeResponse| (response.kvs.len(), response.more, response.count);
        assert_eq!(shape(limited(0)), (3, false, 3));
        assert_eq!(shape(limited(-1)), (3, false, 3));
        assert_eq!(shape(limited(1)), (1, true, 3));
        assert_eq!(shape(limited(2)), (2, true, 3));
        assert_eq!(shape(limited(3)), (3, false, 3));
        assert_eq!(shape(limited(i64::MAX)), (3, false, 3));
    }
    let counted = machine.range(&RangeRequest {
        count_only: true,
        limit: 1,
        ..everything()
    });
    assert_eq!((counted.kvs.len(), counted.more, counted.count), (0, false, 3));
    assert_eq!(machine.range(&one("nobody")).count, 0);
    assert_eq!(machine.range(&one("a")).count, 1);
}

#[test]
fn keys_only_leaves_values_out() {
    let (_directory, machine) = three_keys();
    for revision in [0, 4] {
        let response = machine.range(&RangeRequest {
            keys_only: true,
            revision,
            sort_target: SortTarget::Value,
            ..everything()
        });
        assert!(
            response
                .kvs
                .iter()
                .all(|kv| kv.value.is_empty() && kv.version > 0)
        );
        assert_eq!(
            response.kvs[0].key, "c",
            "they are sorted by the value all the same"
        );
    }
}

#[test]
fn every_sort_target_in_both_orders() {
    let (_directory, machine) = three_keys();
    let sorted = |sort_target, sort_order| {
        let response = machine.range(&RangeRequest {
            sort_target,
            sort_order,
            ..everything()
        });
        names(&response).concat()
    };
    // a: version 1, created 2, changed 2, value 3; b: 2, 3, 5, 2; c: 1, 4, 4, 1.
    let expected = [
        (SortTarget::Key, "abc", "cba"),
        (SortTarget::Version, "acb", "bac"),
        (SortTarget::Create, "abc", "cba"),
        (SortTarget::Mod, "acb", "bca"),
        (SortTarget::Value, "cba", "abc"),
    ];
    for (target, ascending, descending) in expected {
        assert_eq!(sorted(target, SortOrder::Ascend), ascending, "{target:?}");
        assert_eq!(sorted(target, SortOrder::Descend), descending, "{target:?}");
    }
}

#[test]
fn a_limit_applies_after_sorting_but_before_it_without_an_order() {
    let (_directory, machine) = three_keys();
    let first_two = |sort_order| {
        let response = machine.range(&RangeRequest {
            sort_target: SortTarget::Value,
            sort_order,
            limit: 1,
            ..everything()
        });
        assert!(response.more);
        names(&response).concat()
    };
    assert_eq!(first_two(SortOrder::Ascend), "c");
    assert_eq!(first_two(SortOrder::Descend), "a");
    assert_eq!(
        first_two(SortOrder::None),
        "b",
        "of a and b, the first two keys, b has the smaller value"
    );
}

#[test]
fn revision_filters_shorten_the_answer_but_not_the_count() {
    let (_directory, machine) = three_keys();
    let filtered = |request: RangeRequest| {
        let response = machine.range(&request);
        assert_eq!(response.count, 3);
        names(&response).concat()
    };
    let min_mod = RangeRequest {
        min_mod_revision: 4,
        ..everything()
    };
    assert_eq!(filtered(min_mod.clone()), "bc");
    let max_mod = RangeRequest {
        max_mod_revision: 4,
        ..everything()
    };
    assert_eq!(filtered(max_mod), "ac");
    let min_create = RangeRequest {
        min_create_revision: 3,
        ..everything()
    };
    assert_eq!(filtered(min_create), "bc");
    let max_create = RangeRequest {
        max_create_revision: 3,
        ..everything()
    };
    assert_eq!(filtered(max_create), "ab");
    let limited = RangeRequest { limit: 1, ..min_mod };
    assert_eq!(
        filtered(limited.clone()),
        "b",
        "the limit counts what passed the filters"
    );
    assert!(machine.range(&limited).more);
}

#[test]
fn unknown_sort_numbers_are_refused() {
    assert_eq!(SortOrder::try_from(2), Ok(SortOrder::Descend));
    assert_eq!(SortOrder::try_from(3), Err(KvError::InvalidSortOption));
    assert_eq!(SortTarget::try_from(4), Ok(SortTarget::Value));
    assert_eq!(SortTarget::try_from(-1), Err(KvError::InvalidSortOption));
}

#[test]
fn queries_answer_what_the_reader_answers() {
    let (_directory, machine) = three_keys();
    let request = RangeRequest {
        limit: 2,
        ..everything()
    };
    let answer = machine.machine.query(&request.encode()).unwrap();
    assert_eq!(
        RangeResponse::decode_outcome(&answer).unwrap(),
        machine.store.range(&request)
    );
    let answer = machine.machine.query(&span("", "").encode()).unwrap();
    assert_eq!(
        RangeResponse::decode_outcome(&answer).unwrap(),
        Err(KvError::EmptyKey)
    );
    let answer = machine.machine.query(b"nonsense").unwrap();
    let outcome = RangeResponse::decode_outcome(&answer).unwrap();
    assert!(matches!(outcome, Err(KvError::Malformed(_))), "{outcome:?}");
}
