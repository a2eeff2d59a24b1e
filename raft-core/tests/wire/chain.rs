//! Frames in pieces: the same bytes as in one piece, and large payloads where they were.

use bytes::Bytes;
use raft_core::entry::{Entry, Payload, SessionCommand, SessionEntry, SessionRequest};
use raft_core::message::{AppendEntries, Body, ForwardRequest, ForwardResponse, ForwardResult, Message};
use raft_core::request::ClientRequest;
use raft_core::types::{Index, Round, Sequence, SessionId, Term, Ticket};
use raft_core::wire::{FrameKind, SHARED_BYTES_MIN, encode_frame, encode_messages, encode_messages_frame};

use super::{Random, all_bodies, encoded, id, message};

fn session_command(command: Bytes) -> SessionRequest {
    SessionRequest::Command(SessionCommand {
        session: SessionId(3),
        sequence: Sequence(4),
        acknowledged_below: Sequence(2),
        command,
    })
}

/// A message of every kind that carries a payload.
fn carriers(payload: &Bytes) -> Vec<Body> {
    let entries = vec![
        Entry::command(Term(3), Index(8), payload.clone()),
        Entry::noop(Term(3), Index(9)),
        Entry {
            id: id(3, 10),
            payload: Payload::Session(std::sync::Arc::new(SessionEntry {
                elapsed_ms: 5,
                request: session_command(payload.clone()),
            })),
        },
    ];
    let request = |request| {
        Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(1),
            request,
        })
    };
    vec![
        Body::AppendEntries(AppendEntries {
            prev: id(2, 7),
            prev_acknowledged: true,
            entries,
            leader_commit: Index(6),
            round: Round(5),
            sleep: false,
        }),
        request(ClientRequest::Propose(payload.clone())),
        request(ClientRequest::Session(session_command(payload.clone()))),
        Body::ForwardResponse(ForwardResponse {
            ticket: Ticket(1),
            result: ForwardResult::Applied {
                index: Index(9),
                response: payload.clone(),
            },
        }),
    ]
}

fn in_one_piece(batch: &[Message]) -> Vec<u8> {
    encoded(|out| encode_frame(FrameKind::Messages, out, |out| encode_messages(batch, out)))
}

/// Random batches of everything, with payloads on both sides of the threshold, and estimates of the size that lie.
#[test]
fn pieces_are_the_bytes_of_the_frame_in_one_piece() {
    let mut random = Random(3);
    let lengths = [
        0,
        1,
        256,
        SHARED_BYTES_MIN - 1,
        SHARED_BYTES_MIN,
        SHARED_BYTES_MIN + 1,
    ];
    let mut cut = 0;
    for _ in 0..300 {
        let mut batch = Vec::new();
        for _ in 0..random.below(6) {
            let length = lengths[random.below(lengths.len())];
            let mut bodies = carriers(&Bytes::from(random.bytes(length)));
            bodies.extend(all_bodies());
            batch.push(message(bodies.swap_remove(random.below(bodies.len()))));
            let carrier = random.below(4);
            let length = lengths[random.below(lengths.len())];
            batch.push(message(
                carriers(&Bytes::from(random.bytes(length))).swap_remove(carrier),
            ));
        }
        let pieces = encode_messages_frame(&batch, random.below(100_000));
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
        cut += usize::from(pieces.len() > 1);
        assert_eq!(pieces.concat(), in_one_piece(&batch));
    }
    assert!(
        (50..300).contains(&cut),
        "{cut} of 300 frames have several pieces"
    );
}

/// What is large is shared with the entry wherever it occurs; what is small is copied, and leaves in one piece.
#[test]
fn only_large_payloads_are_shared() {
    for (length, shared) in [(SHARED_BYTES_MIN, true), (SHARED_BYTES_MIN - 1, false)] {
        let payload = Bytes::from(vec![7; length]);
        for body in carriers(&payload) {
            let times = if matches!(body, Body::AppendEntries(_)) {
                2
            } else {
                1
            };
            let pieces = encode_messages_frame(&[message(body)], length);
            let same = pieces.iter().filter(|piece| piece.as_ptr() == payload.as_ptr());
            assert_eq!(same.count(), if shared { times } else { 0 });
            assert_eq!(pieces.len() > 1, shared);
        }
    }
}
