//! Histories written by hand, on a register with compare-and-set.

use raft_core::types::Time;

use super::*;

/// Registers by name; all begin with 0.
struct Registers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Read,
    Write(u64),
    CompareAndSet(u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Value(u64),
    Done,
    Mismatch,
}

use Action::{CompareAndSet, Read, Write};
use Answer::{Done, Mismatch, Value};

impl Model for Registers {
    type Key = &'static str;
    type State = u64;
    type Operation = (&'static str, Action);
    type Response = Answer;

    fn key(operation: &Self::Operation) -> &'static str {
        operation.0
    }

    fn initial(_key: &&'static str) -> u64 {
        0
    }

    fn step(state: &u64, operation: &Self::Operation, response: Option<&Answer>) -> Option<u64> {
        let (next, answer) = match operation.1 {
            Read => (*state, Value(*state)),
            Write(value) => (value, Done),
            CompareAndSet(old, new) if old == *state => (new, Done),
            CompareAndSet(..) => (*state, Mismatch),
        };
        response
            .is_none_or(|response| *response == answer)
            .then_some(next)
    }
}

const STEPS_MAX: u64 = 10_000;

fn at(moment: u64) -> Moment {
    Moment::new(Time::from_millis(moment), 0)
}

/// An operation on the register `x` with an answer.
fn call(client: u64, called: u64, returned: u64, action: Action, answer: Answer) -> Call<Registers> {
    Call {
        client,
        operation: ("x", action),
        called: at(called),
        returned: Some((at(returned), answer)),
    }
}

/// One without.
fn unknown(client: u64, called: u64, action: Action) -> Call<Registers> {
    Call {
        client,
        operation: ("x", action),
        called: at(called),
        returned: None,
    }
}

fn order_of(history: &[Call<Registers>]) -> Vec<usize> {
    match check(history, STEPS_MAX) {
        Verdict::Linearizable(mut orders) => orders.remove("x").unwrap(),
        other => panic!("{other:?}"),
    }
}

fn counter_example(history: &[Call<Registers>]) -> CounterExample<&'static str> {
    match check(history, STEPS_MAX) {
        Verdict::NotLinearizable(example) => *example,
        other => panic!("{other:?}"),
    }
}

/// I16
#[test]
fn one_after_the_other() {
    let history = [
        call(1, 1, 2, Write(5), Done),
        call(2, 3, 4, Read, Value(5)),
        call(1, 5, 6, CompareAndSet(5, 6), Done),
        call(2, 7, 8, CompareAndSet(5, 7), Mismatch),
        call(2, 9, 10, Read, Value(6)),
    ];
    assert_eq!(order_of(&history), [0, 1, 2, 3, 4]);
}

/// I16
#[test]
fn concurrent_operations_stand_in_either_order() {
    let write = || call(1, 1, 10, Write(5), Done);
    let history = [
        write(),
        call(2, 2, 3, Read, Value(0)),
        call(2, 4, 5, Read, Value(5)),
    ];
    assert_eq!(order_of(&history), [1, 0, 2]);
    // What was seen once stays.
    let history = [
        write(),
        call(2, 2, 3, Read, Value(5)),
        call(2, 4, 5, Read, Value(0)),
    ];
    assert_eq!(counter_example(&history).prefix, [0, 1]);
}

/// I16: the moment of a return is not after itself.
#[test]
fn operations_that_touch_are_concurrent() {
    let touching = [call(1, 1, 2, Write(5), Done), call(2, 2, 3, Read, Value(0))];
    assert_eq!(order_of(&touching), [1, 0]);
    let apart = [call(1, 1, 2, Write(5), Done), call(2, 3, 4, Read, Value(0))];
    counter_example(&apart);
    let mut same_time = apart;
    same_time[1].called = Moment::new(Time::from_millis(2), 1);
    counter_example(&same_time);
}

/// I16
#[test]
fn a_stale_read_is_found_and_told() {
    let history = [
        call(1, 1, 2, Write(1), Done),
        call(1, 3, 4, Write(2), Done),
        unknown(3, 3, Write(3)),
        call(2, 5, 8, Read, Value(1)),
        call(4, 6, 9, Read, Value(2)),
        call(4, 10, 11, Read, Value(2)),
    ];
    let example = counter_example(&history);
    assert_eq!(example.prefix, [0, 1, 4]);
    assert_eq!(example.unplaced, [3]);
    assert_eq!(example.unanswered, [2]);
    assert_eq!(
        example.to_string(),
        r#"Not linearizable: no order of the 6 operations on key "x" explains every answer.
The longest order that can be explained has 3 and ends with:
     1. client 1, 0.001000 s to 0.002000 s: ("x", Write(1)) → Done
     2. client 1, 0.003000 s to 0.004000 s: ("x", Write(2)) → Done
     3. client 4, 0.006000 s to 0.009000 s: ("x", Read) → Value(2)
Then the state is 2.
One of these must come next, because all others were called after one of them had returned:
     ✗ client 2, 0.005000 s to 0.008000 s: ("x", Read) → Value(1), which contradicts that state
Nobody knows whether these took effect. It does not help to assume it of any:
     ? client 3, 0.003000 s to ?: ("x", Write(3))
"#
    );
}

/// I13
#[test]
fn a_lost_update_is_found() {
    let history = [
        call(1, 1, 5, CompareAndSet(0, 1), Done),
        call(2, 2, 6, CompareAndSet(0, 2), Done),
        call(3, 7, 8, Read, Value(2)),
    ];
    let example = counter_example(&history);
    assert_eq!(example.prefix.len(), 1);
    assert_eq!(example.unplaced.len(), 1);
}

/// I15
#[test]
fn a_compare_and_set_that_was_applied_twice_is_found() {
    let twice = |answer| {
        [
            unknown(1, 1, CompareAndSet(0, 1)),
            call(2, 2, 3, Read, Value(1)),
            call(2, 4, 5, Write(0), Done),
            call(2, 6, 7, Read, answer),
        ]
    };
    assert_eq!(order_of(&twice(Value(0))), [0, 1, 2, 3]);
    let example = counter_example(&twice(Value(1)));
    assert_eq!(example.prefix, [0, 1, 2]);
    assert_eq!(example.unplaced, [3]);
    // It was placed already.
    assert_eq!(example.unanswered, [0; 0]);
}

/// I14
#[test]
fn a_value_that_nobody_wrote_is_found() {
    let history = [call(1, 1, 2, Read, Value(9)), unknown(2, 3, Write(9))];
    let example = counter_example(&history);
    assert_eq!(example.prefix, [0; 0]);
    assert_eq!(example.unplaced, [0]);
    // The write was called after the read had returned.
    assert_eq!(example.unanswered, [0; 0]);
    assert!(
        example
            .to_string()
            .contains("Already the first is impossible. The state is 0.")
    );
}

#[test]
fn a_write_without_an_answer_may_show_late_or_never() {
    let begin = || vec![unknown(1, 1, Write(7)), call(2, 2, 3, Read, Value(0))];
    assert_eq!(order_of(&begin()), [1]);
    let mut late = begin();
    late.push(call(2, 500, 501, Read, Value(7)));
    assert_eq!(order_of(&late), [1, 0, 2]);
    late.push(call(2, 502, 503, Write(8), Done));
    late.push(call(2, 504, 505, Read, Value(7)));
    counter_example(&late);
}

/// Else each of them would double the sets to search.
#[test]
fn what_changes_nothing_need_not_have_happened() {
    let mut history = (0..100)
        .map(|client| unknown(client, 1, CompareAndSet(5, client)))
        .collect::<Vec<_>>();
    history.push(call(200, 2, 3, Read, Value(0)));
    history.push(call(200, 4, 5, Read, Value(1)));
    let example = counter_example(&history);
    assert_eq!(example.prefix, [100]);
    assert_eq!(example.unanswered.len(), 100);
    assert!(example.to_string().ends_with("and 88 more\n"));
}

/// Else every selection of them would be searched.
#[test]
fn equal_operations_without_an_answer_come_in_order() {
    let flip = |client| {
        [
            unknown(client, client, Write(1)),
            unknown(client, client, Write(0)),
        ]
    };
    let mut history = (0..20).flat_map(flip).collect::<Vec<_>>();
    for (time, value) in [(50, 1), (60, 0), (70, 1)] {
        history.push(call(100, time, time + 1, Read, Value(value)));
    }
    assert_eq!(order_of(&history), [0, 40, 1, 41, 2, 42]);
    history.push(call(100, 80, 81, Read, Value(2)));
    counter_example(&history);
}

#[test]
fn each_key_is_judged_alone() {
    let mut history = Vec::new();
    for (number, key) in ["a", "x", "b"].into_iter().enumerate() {
        let mut write = call(1, number as u64, 10, Write(1), Done);
        write.operation.0 = key;
        history.push(write);
    }
    let Verdict::Linearizable(orders) = check(&history, STEPS_MAX) else {
        panic!("nothing is wrong with it");
    };
    assert_eq!(
        orders.into_iter().collect::<Vec<_>>(),
        [("a", vec![0]), ("b", vec![2]), ("x", vec![1])]
    );
    let mut stale = call(2, 20, 21, Read, Value(0));
    stale.operation.0 = "b";
    history.push(stale);
    let example = counter_example(&history);
    assert_eq!((example.key, example.prefix), ("b", vec![2]));
}

/// Twenty writes that may have happened, and a value that none of them wrote: too many sets to try them all.
#[test]
fn a_search_that_takes_too_long_is_given_up() {
    let mut history = (0..20)
        .map(|client| unknown(client, 1, Write(client + 1)))
        .collect::<Vec<_>>();
    history.push(call(50, 2, 3, Read, Value(99)));
    assert_eq!(
        check(&history, STEPS_MAX),
        Verdict::Undecided {
            key: "x",
            placed: 0,
            steps: STEPS_MAX,
        }
    );
    // A key that is wrong for certain is told first.
    let mut wrong = call(60, 2, 3, Read, Value(1));
    wrong.operation.0 = "y";
    history.push(wrong);
    assert_eq!(counter_example(&history).key, "y");
}

#[test]
fn nothing_is_linearizable() {
    assert_eq!(
        check::<Registers>(&[], STEPS_MAX),
        Verdict::Linearizable([].into())
    );
}

#[test]
#[should_panic(expected = "returned before it was called")]
fn a_history_out_of_time_is_refused() {
    let _ = check(&[call(1, 2, 1, Read, Value(0))], STEPS_MAX);
}
