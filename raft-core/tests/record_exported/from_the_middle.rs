//! Recorded by node 1 of group 7: steps 8 to 10.

use bytes::Bytes;
use raft_core::input::{Input, Proposal, Proposed};
use raft_core::record::{Records, Replay, describe_effect, describe_state};
use raft_core::types::{Index, Ticket, Time, WriteSeq};

#[test]
#[allow(clippy::too_many_lines, reason = "a recording is as long as what happened")]
fn steps_8_to_10() {
    // A state in the format of recordings, which no other version reads.
    let state = Bytes::from_static(b"RAFTREC\n\n\x00\x00\x00\xc3\xce\xc6&Nh\xea\t\x00\x01\x07\x01\x050.1.0\xdc\x00\x00\x00\xd5F\xc7\xe4\x02`\xbb\xbf\x02\x07\x00\x00\x07\x01\x01\x00\x00\x00\x80\xc2\xd7/\x00\x04\x00\x00\x92\xf8\xa9\xfa\x97\xb7\xde\x9b\x9e\x01\x80\x80@\x80\x80@\x80\x02\x80\x80\x80\x08\x80\x80\x80 \x80\x80\x04\x80\x80\x04\x80\x80\x80 \x80\x80\x80\x10\xa0\x8d\x06\x02\x01\x80\x80\x802\x01\x14\x00\x90N\x00\x00\x00\x00\x01\x01\x01\x02\x01\x01\x01\x01\x00\x01\x01\x02\x01\x0c\x00\x00\x00\x01\x01\x00\x00\x00\x00\x01\x00\x00\x02\x03\x00\x00\x00\x01\x01\x01\x02\xd1\xe0\xa7\xe9\xdf\xdc\xf9\xeex\xc0\x9f\xab\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02\x01\x00\x01\x01\x00\x00\x00\x00\x01\x01\x01\x01\x01\x00\x01\x03\x00\x00\x02\x02\x00\x00\x00\x00\x00\x00\x00\xc0\x9f\xab\x03\x00\x00\x01\x01\x01\x80\x89z\x00\x01\x80\x89z\x00\x01\x80\x89z\x00\x02\x03\x01\x01\x01\x04\x01\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\xcb\xd10\x01\x00\x80\x89z\x00\x80\x89z\x00\x00");
    let mut replay = Replay::default();
    for record in Records::new(state).expect("it is a recording") {
        let record = record.expect("it is whole");
        replay.take(record, &mut Vec::new()).expect("it is the first state");
    }
    let mut raft = replay.raft().expect("it holds a state").clone();
    let mut effects = Vec::new();
    let mut step = |nanos, inputs: Vec<Input>, expected: &[&str]| {
        raft.step_all(Time::from_nanos(nanos), inputs, &mut effects);
        let found: Vec<String> = effects.drain(..).map(|effect| describe_effect(&effect)).collect();
        assert_eq!(found, expected, "at {nanos} ns");
    };
    // Step 8
    step(
        8_000_000,
        vec![
            // proposed 1 command of 5 bytes
            Input::Propose(vec![Proposal { ticket: Ticket(2), command: Proposed::Command(Bytes::from(vec![0; 5])) }]),
        ],
        &[
            "request 2 is entry 3@1",
            "write 4: term 1, vote n1, commit 2; entry 3@1 (5 bytes)",
        ],
    );
    // Step 9
    step(
        9_000_000,
        vec![
            // write 4 is durable
            Input::Persisted(WriteSeq(4)),
        ],
        &[
            "apply entry 3@1 (5 bytes)",
        ],
    );
    // Step 10
    step(
        10_000_000,
        vec![
            // applied up to 3
            Input::Applied(Index(3)),
        ],
        &[
        ],
    );
    assert_eq!(describe_state(&raft), "leader of term 1, vote n1, leader n1, log ends at 3, durable 3, commit 3, applied 3, members {1}");
}
