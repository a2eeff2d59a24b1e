//! Recordings that become tests. `tests/record_exported` has the source, and compiles it.

use std::path::Path;

use raft_core::record::{Records, source_of};

use super::inputs::inputs;
use super::*;

/// Compares `found` with a file of this folder, or writes the file if `UPDATE_EXPORTED` is set.
fn check(name: &str, expected: &str, found: &str) {
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_EXPORTED").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/record_exported")
            .join(name);
        std::fs::write(path, found).unwrap();
        return;
    }
    panic!(
        "tests/record_exported/{name} is another file now; write it with UPDATE_EXPORTED=1, and see that `--test record_exported` passes:\n{found}"
    );
}

fn source(recorded: &Recorded, steps: std::ops::RangeInclusive<u64>) -> String {
    let records = Records::new(recorded.bytes()).unwrap().map(Result::unwrap);
    source_of(&recorded.header(), records, steps).unwrap()
}

/// S13: a recording that begins with the start becomes a test of nothing but public types.
#[test]
fn a_recording_from_the_start_becomes_a_test() {
    let mut recorded = Recorded::new(small_segments());
    recorded.settle(Input::Campaign);
    recorded.command(1, b"a \"command\" with \\ and \0");
    let inputs = inputs();
    // Not what this replica could not have asked for.
    let possible = |input: &Input| !matches!(input, Input::Applied(_) | Input::SnapshotCreated(_));
    let possible = |input: &Input| possible(input) && !source_is_impossible(input);
    recorded.step(inputs.into_iter().filter(possible).collect());
    check(
        "from_the_start.rs",
        include_str!("../record_exported/from_the_start.rs"),
        &source(&recorded, 1..=100),
    );
}

/// Forwarded requests never reach the protocol.
fn source_is_impossible(input: &Input) -> bool {
    use raft_core::message::Body;
    matches!(input, Input::Receive(message) if matches!(message.body, Body::ForwardRequest(_) | Body::ForwardResponse(_)))
}

/// One that begins in the middle becomes a test that begins with a state.
#[test]
fn a_recording_from_the_middle_becomes_a_test() {
    let mut recorded = Recorded::new(RecorderOptions {
        payloads: false,
        ..small_segments()
    });
    recorded.settle(Input::Campaign);
    recorded.command(1, b"before");
    let first = recorded.steps + 1;
    recorded.command(2, b"after");
    let found = source(&recorded, first..=100);
    assert!(found.contains("replay.raft()") && !found.contains("Raft::new"));
    check(
        "from_the_middle.rs",
        include_str!("../record_exported/from_the_middle.rs"),
        &found,
    );
}

/// What is not there is not exported.
#[test]
fn steps_that_are_not_recorded_are_no_test() {
    let mut recorded = Recorded::new(small_segments());
    recorded.settle(Input::Campaign);
    let records = Records::new(recorded.bytes()).unwrap().map(Result::unwrap);
    let error = source_of(&recorded.header(), records, 1_000..=2_000).unwrap_err();
    assert_eq!(error.to_string(), "the recording has no step from 1000 to 2000");
}
