//! Values to bytes.

use bytes::Bytes;

use super::chain::Sink;
use super::encode_request::{encode_forward_request, encode_forward_response, encode_session_request};
use crate::entry::{Entry, Payload};
use crate::membership::Membership;
use crate::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, InstallSnapshot, Message, Pulse, PulseId,
    SnapshotContent, VoteRefusal,
};
use crate::types::{EntryId, NodeId};

/// The tag of a payload's kind, stored beside its bytes.
#[must_use]
pub fn payload_kind(payload: &Payload) -> u8 {
    match payload {
        Payload::Noop => 0,
        Payload::Command(_) => 1,
        Payload::Membership(_) => 2,
        Payload::Session(_) => 3,
    }
}

/// Appends the bytes of a payload; its kind and length are the caller's to keep.
pub fn encode_payload(payload: &Payload, out: &mut Vec<u8>) {
    put_payload(payload, out);
}

fn put_payload<S: Sink>(payload: &Payload, out: &mut S) {
    match payload {
        Payload::Noop => {}
        Payload::Command(command) => out.put_shared(command),
        Payload::Membership(membership) => encode_membership(membership, out.copied()),
        Payload::Session(entry) => {
            put_u64(entry.elapsed_ms, out.copied());
            encode_session_request(&entry.request, out);
        }
    }
}

/// Appends a configuration: its four lists, the contacts, the highest id.
pub fn encode_membership(membership: &Membership, out: &mut Vec<u8>) {
    for nodes in [
        membership.voters(),
        membership.outgoing(),
        membership.learners(),
        membership.learners_next(),
    ] {
        put_nodes(nodes, out);
    }
    put_length(membership.contacts().len(), out);
    for (node, contact) in membership.contacts() {
        put_u64(node.0, out);
        put_bytes(contact.as_str().as_bytes(), out);
    }
    put_u64(membership.highest_id().0, out);
}

/// Appends the header of a snapshot stream, which says also what the stream holds.
pub fn encode_install_snapshot(header: &InstallSnapshot, content: SnapshotContent, out: &mut Vec<u8>) {
    put_u64(header.group.0, out);
    put_u64(header.from.0, out);
    put_u64(header.to.0, out);
    put_u64(header.term.0, out);
    put_id(header.meta.last, out);
    encode_membership(&header.meta.membership, out);
    put_u64(content.bytes, out);
    out.extend_from_slice(&content.checksum.to_le_bytes());
}

/// Appends a batch of messages.
pub fn encode_messages(messages: &[Message], out: &mut Vec<u8>) {
    put_messages(messages, out);
}

pub(super) fn put_messages<S: Sink>(messages: &[Message], out: &mut S) {
    put_length(messages.len(), out.copied());
    for message in messages {
        put_message(message, out);
    }
}

fn put_message<S: Sink>(message: &Message, sink: &mut S) {
    let out = sink.copied();
    put_compact(message.group.0, out);
    put_compact(message.from.0, out);
    put_compact(message.to.0, out);
    put_compact(message.term.0, out);
    match &message.body {
        Body::RequestVote(request) => {
            out.push(1);
            put_id(request.last_log, out);
            out.push(u8::from(request.leadership_transfer));
            put_u64(request.incarnation, out);
        }
        Body::RequestVoteResponse(response) => {
            out.push(2);
            put_refusal(response.refusal, out);
            put_u64(response.incarnation, out);
        }
        Body::RequestPreVote(request) => {
            out.push(3);
            put_u64(request.candidate_term.0, out);
            put_id(request.last_log, out);
            put_u64(request.incarnation, out);
        }
        Body::RequestPreVoteResponse(response) => {
            out.push(4);
            put_u64(response.candidate_term.0, out);
            put_refusal(response.refusal, out);
            put_u64(response.incarnation, out);
        }
        Body::AppendEntries(request) => {
            out.push(5);
            put_append(request, sink);
        }
        Body::AppendEntriesResponse(response) => {
            out.push(6);
            encode_append_response(response, out);
        }
        Body::ForwardRequest(request) => {
            out.push(7);
            encode_forward_request(request, sink);
        }
        Body::ForwardResponse(response) => {
            out.push(8);
            encode_forward_response(response, sink);
        }
        Body::TimeoutNow(request) => {
            out.push(9);
            put_id(request.last_log, out);
        }
        Body::TrustRestored(restored) => {
            out.push(10);
            put_u64(restored.incarnation, out);
            put_u64(restored.index.0, out);
        }
        Body::EntriesLost(lost) => {
            out.push(11);
            put_u64(lost.incarnation, out);
            put_u64(lost.acknowledged.0, out);
        }
        Body::Pulse(pulse) => {
            out.push(12);
            encode_pulse(pulse, out);
        }
    }
}

fn put_append<S: Sink>(request: &AppendEntries, sink: &mut S) {
    let out = sink.copied();
    put_compact_id(request.prev, out);
    put_compact(request.leader_commit.0, out);
    put_compact(request.round.0, out);
    out.push(two_flags(request.prev_acknowledged, request.sleep));
    put_compact(request.entries.len() as u64, out);
    for entry in &request.entries {
        put_entry(entry, sink);
    }
}

/// Term, kind, length, bytes. The index follows from the message's `prev` and the entry's place.
fn put_entry<S: Sink>(entry: &Entry, sink: &mut S) {
    let out = sink.copied();
    put_compact(entry.term().0, out);
    out.push(payload_kind(&entry.payload));
    let length_at = out.len();
    put_length(0, out);
    let before = sink.written();
    put_payload(&entry.payload, sink);
    let length = length_bytes(sink.written() - before);
    sink.copied()[length_at..length_at + 4].copy_from_slice(&length);
}

/// 0 for a vote that is granted.
fn put_refusal(refusal: Option<VoteRefusal>, out: &mut Vec<u8>) {
    match refusal {
        None => out.push(0),
        Some(VoteRefusal::LaterTerm) => out.push(1),
        Some(VoteRefusal::VotedFor(node)) => {
            out.push(2);
            put_compact(node.0, out);
        }
        Some(VoteRefusal::HearsLeader(leader)) => {
            out.push(3);
            // 0 is nobody's id.
            put_compact(leader.map_or(0, |leader| leader.0), out);
        }
        Some(VoteRefusal::LogBehind(last_log)) => {
            out.push(4);
            put_compact_id(last_log, out);
        }
        Some(VoteRefusal::Suspect) => out.push(5),
        Some(VoteRefusal::Founder) => out.push(6),
    }
}

fn encode_append_response(response: &AppendEntriesResponse, out: &mut Vec<u8>) {
    put_compact(response.round.0, out);
    out.push(two_flags(response.prev_acknowledged, response.sleeps));
    put_u64(response.incarnation, out);
    out.push(u8::from(response.suspect));
    out.extend_from_slice(&response.lease_ms.to_le_bytes());
    put_compact(u64::from(response.disk_waits_ms), out);
    match response.result {
        AppendResult::Accepted { match_index } => {
            out.push(1);
            put_compact(match_index.0, out);
        }
        AppendResult::Rejected { prev_index, hint } => {
            out.push(2);
            put_compact(prev_index.0, out);
            put_compact_id(hint, out);
        }
    }
}

fn encode_pulse(pulse: &Pulse, out: &mut Vec<u8>) {
    put_pulse_id(pulse.id, out);
    out.push(u8::from(pulse.heard.is_some()));
    pulse.heard.iter().for_each(|heard| put_pulse_id(*heard, out));
    for leaderships in [&pulse.watches, &pulse.ended] {
        put_compact(leaderships.len() as u64, out);
        for leadership in leaderships {
            put_compact(leadership.group.0, out);
            put_compact(leadership.term.0, out);
        }
    }
}

fn put_pulse_id(id: PulseId, out: &mut Vec<u8>) {
    put_u64(id.incarnation, out);
    put_compact(id.serial, out);
}

/// The first in the lowest bit.
fn two_flags(first: bool, second: bool) -> u8 {
    u8::from(first) | u8::from(second) << 1
}

pub(super) fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Seven bits in each byte, the lowest first; the eighth says that more follow (LEB128). Most ids, terms and indexes take one to
/// four bytes, and a small message is mostly made of them.
fn put_compact(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_compact_id(id: EntryId, out: &mut Vec<u8>) {
    put_compact(id.term.0, out);
    put_compact(id.index.0, out);
}

pub(super) fn put_id(id: EntryId, out: &mut Vec<u8>) {
    put_u64(id.term.0, out);
    put_u64(id.index.0, out);
}

pub(super) fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&length_bytes(length));
}

pub(super) fn put_nodes(nodes: &[NodeId], out: &mut Vec<u8>) {
    put_length(nodes.len(), out);
    for node in nodes {
        put_u64(node.0, out);
    }
}

/// The length of bytes that may be shared, and the bytes.
pub(super) fn put_shared<S: Sink>(bytes: &Bytes, out: &mut S) {
    put_length(bytes.len(), out.copied());
    out.put_shared(bytes);
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn length_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("limits keep every length below 4 GiB")
        .to_le_bytes()
}
