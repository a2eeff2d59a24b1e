//! The codec of raft-core: what decodes is written and read back as the same value, in at most as many bytes, and no term or
//! index comes through on which arithmetic could overflow.

use std::fmt::Debug;

use bytes::Bytes;
use raft_core::entry::Payload;
use raft_core::message::{AppendResult, Body, Message, SnapshotContent, VoteRefusal};
use raft_core::types::{EntryId, Index, Term};
use raft_core::wire::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, WireError, decode_frame_body, decode_install_snapshot,
    decode_membership, decode_messages, decode_payload, encode_frame, encode_install_snapshot,
    encode_membership, encode_messages, encode_payload, payload_kind,
};

#[allow(dead_code, reason = "the transport uses the rest")]
#[path = "../../raft-transport/src/size.rs"]
mod size;

mod samples;

/// No decoder lets a term or an index through that is not below this.
const COUNTER_MAX: u64 = 1 << 62;

/// A batch of messages.
///
/// # Panics
/// If something does not hold that the module promises, or if a message is larger than the transport expects.
pub fn messages(data: &[u8]) {
    let Some(messages) = survives(data, decode_messages, |messages, out| {
        encode_messages(messages, out);
    }) else {
        return;
    };
    for message in &messages {
        assert!(message.term.0 < COUNTER_MAX);
        check_body(&message.body);
        let mut alone = Vec::new();
        encode_messages(std::slice::from_ref(message), &mut alone);
        // Less the count of the batch.
        assert!(alone.len() - 4 <= size::message_bytes(message), "{message:?}");
    }
    if messages.iter().all(is_canonical) {
        let mut written = Vec::new();
        encode_messages(&messages, &mut written);
        assert_eq!(written, data, "these messages have one form only");
    }
}

/// The kind of a payload and its bytes.
///
/// # Panics
/// If something does not hold that the module promises.
pub fn payload(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else {
        return;
    };
    let decode = |bytes| decode_payload(kind, bytes);
    if let Some(payload) = survives(bytes, decode, encode_payload) {
        assert_eq!(payload_kind(&payload), kind);
    }
}

/// A configuration.
///
/// # Panics
/// If something does not hold that the module promises.
pub fn membership(data: &[u8]) {
    survives(data, decode_membership, encode_membership);
}

/// The header of a snapshot stream.
///
/// # Panics
/// If something does not hold that the module promises.
pub fn snapshot_header(data: &[u8]) {
    let encode =
        |(header, content): &(_, _), out: &mut Vec<u8>| encode_install_snapshot(header, *content, out);
    if let Some((header, _)) = survives(data, decode_install_snapshot, encode) {
        assert!(header.term.0 < COUNTER_MAX);
        check_id(header.meta.last);
    }
}

/// A stream of frames, each read as far as its kind is known here; and a frame around the whole input.
///
/// # Panics
/// If a frame is not read as it was written, or one damaged byte is not noticed.
pub fn frames(data: &[u8]) {
    read_stream(data);
    let mut frame = Vec::new();
    encode_frame(FrameKind::Messages, &mut frame, |out| out.extend_from_slice(data));
    assert_eq!(read_frame(&frame, data.len()), Ok(Bytes::copy_from_slice(data)));
    assert!(
        data.is_empty() || read_frame(&frame, data.len() - 1).is_err(),
        "the limit holds"
    );
    // The input says which byte is damaged, and how.
    if let [place, other, flip @ 1..=255, ..] = *data {
        let at = (usize::from(place) << 8 | usize::from(other)) % frame.len();
        // The second byte is the kind: another kind is a whole frame, too.
        if at != 1 {
            frame[at] ^= flip;
            assert!(
                read_frame(&frame, usize::MAX).is_err(),
                "byte {at} was damaged by {flip}"
            );
        }
    }
}

/// Reads frames as the transport does, until one is no frame.
fn read_stream(mut stream: &[u8]) {
    const BYTES_MAX: usize = 1 << 16;
    while let Some((header, rest)) = stream.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let Ok(header) = FrameHeader::decode(header, BYTES_MAX) else {
            return;
        };
        assert!(header.body_bytes <= BYTES_MAX);
        let Some((body, rest)) = rest.split_at_checked(header.body_bytes) else {
            return;
        };
        let Ok(body) = decode_frame_body(&header, Bytes::copy_from_slice(body)) else {
            return;
        };
        match header.kind {
            FrameKind::Messages => messages(&body),
            FrameKind::InstallSnapshot => snapshot_header(&body),
            FrameKind::Hello | FrameKind::SnapshotReply => crate::transport::transport(&body),
            FrameKind::SnapshotChunk => {}
        }
        stream = rest;
    }
}

fn read_frame(frame: &[u8], bytes_max: usize) -> Result<Bytes, WireError> {
    let (header, body) = frame
        .split_first_chunk::<FRAME_HEADER_BYTES>()
        .ok_or(WireError::Truncated("a header"))?;
    let header = FrameHeader::decode(header, bytes_max)?;
    decode_frame_body(&header, Bytes::copy_from_slice(body))
}

/// Decodes; if that succeeds, the value is written in at most as many bytes, and read back as the same value.
fn survives<T: PartialEq + Debug>(
    data: &[u8],
    decode: impl Fn(Bytes) -> Result<T, WireError>,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> Option<T> {
    let value = decode(Bytes::copy_from_slice(data)).ok()?;
    let mut written = Vec::new();
    encode(&value, &mut written);
    assert!(
        written.len() <= data.len(),
        "the form that is written is the shortest: {value:?}"
    );
    let again = decode(Bytes::from(written)).expect("what was written is read");
    assert_eq!(again, value, "what was written is read as the same value");
    Some(value)
}

/// Whether a message has one form only. Lists of nodes come in any order, and what a message does not need is skipped.
fn is_canonical(message: &Message) -> bool {
    match &message.body {
        Body::ForwardRequest(_) | Body::ForwardResponse(_) => false,
        Body::AppendEntries(request) => {
            let is_list = |payload: &Payload| matches!(payload, Payload::Membership(_));
            !request.entries.iter().any(|entry| is_list(&entry.payload))
        }
        _ => true,
    }
}

fn check_body(body: &Body) {
    match body {
        Body::RequestVote(request) => check_id(request.last_log),
        Body::RequestPreVote(request) => {
            check_term(request.candidate_term);
            check_id(request.last_log);
        }
        Body::RequestPreVoteResponse(response) => {
            check_term(response.candidate_term);
            check_refusal(response.refusal);
        }
        Body::RequestVoteResponse(response) => check_refusal(response.refusal),
        Body::AppendEntries(request) => {
            check_id(request.prev);
            check_index(request.leader_commit);
            request.entries.iter().for_each(|entry| check_term(entry.term()));
        }
        Body::AppendEntriesResponse(response) => match response.result {
            AppendResult::Accepted { match_index } => check_index(match_index),
            AppendResult::Rejected { prev_index, hint } => {
                check_index(prev_index);
                check_id(hint);
            }
        },
        Body::TimeoutNow(request) => check_id(request.last_log),
        Body::TrustRestored(restored) => check_index(restored.index),
        Body::EntriesLost(lost) => check_index(lost.acknowledged),
        Body::Pulse(pulse) => {
            let leaderships = pulse.watches.iter().chain(&pulse.ended);
            leaderships.for_each(|leadership| check_term(leadership.term));
        }
        Body::ForwardRequest(_) | Body::ForwardResponse(_) => {}
    }
}

fn check_refusal(refusal: Option<VoteRefusal>) {
    if let Some(VoteRefusal::LogBehind(last_log)) = refusal {
        check_id(last_log);
    }
}

fn check_id(id: EntryId) {
    check_term(id.term);
    check_index(id.index);
}

fn check_term(term: Term) {
    assert!(term.0 < COUNTER_MAX, "{term}");
}

fn check_index(index: Index) {
    assert!(index.0 < COUNTER_MAX, "{index}");
}

/// A batch for each kind of message, and one of all.
#[must_use]
pub fn message_seeds() -> Vec<Vec<u8>> {
    let messages = samples::messages();
    let encoded = |messages: &[Message]| {
        let mut out = Vec::new();
        encode_messages(messages, &mut out);
        out
    };
    let mut seeds: Vec<_> = messages
        .iter()
        .map(|message| encoded(std::slice::from_ref(message)))
        .collect();
    seeds.push(encoded(&messages[..6]));
    seeds
}

/// One of each kind.
#[must_use]
pub fn payload_seeds() -> Vec<Vec<u8>> {
    let encoded = |payload: &Payload| {
        let mut out = vec![payload_kind(payload)];
        encode_payload(payload, &mut out);
        out
    };
    samples::payloads().iter().map(encoded).collect()
}

/// From nothing to a joint configuration.
#[must_use]
pub fn membership_seeds() -> Vec<Vec<u8>> {
    let encoded = |membership| {
        let mut out = Vec::new();
        encode_membership(membership, &mut out);
        out
    };
    samples::memberships().iter().map(encoded).collect()
}

/// One of each configuration.
#[must_use]
pub fn snapshot_header_seeds() -> Vec<Vec<u8>> {
    let encoded = |header| {
        let mut out = Vec::new();
        encode_install_snapshot(header, SnapshotContent::of(b"content"), &mut out);
        out
    };
    samples::snapshot_headers().iter().map(encoded).collect()
}

/// A frame of each kind, and a stream of all.
#[must_use]
pub fn frame_seeds() -> Vec<Vec<u8>> {
    let frame = |kind, body: Vec<u8>| {
        let mut out = Vec::new();
        encode_frame(kind, &mut out, |out| out.extend_from_slice(&body));
        out
    };
    let first = |seeds: Vec<Vec<u8>>| seeds.into_iter().next().unwrap_or_default();
    let mut seeds = vec![
        frame(FrameKind::Hello, first(crate::transport::seeds())),
        frame(FrameKind::Messages, first(message_seeds())),
        frame(FrameKind::InstallSnapshot, first(snapshot_header_seeds())),
        frame(FrameKind::SnapshotChunk, b"content".to_vec()),
        frame(FrameKind::SnapshotReply, vec![2]),
    ];
    seeds.push(seeds.concat());
    seeds
}
