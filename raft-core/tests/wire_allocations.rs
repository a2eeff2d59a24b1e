//! What the codec allocates: for a batch, and for the list of entries of a message, but never for a payload.
//!
//! Alone in its program, because the allocator counts for all threads of it.

use std::alloc::System;

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::message::{AppendEntries, Body, Message};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Round, Term};
use raft_core::wire::{FRAME_HEADER_BYTES, SHARED_BYTES_MIN, decode_messages, encode_messages_frame};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn batch(count: u64, payload_bytes: usize) -> Vec<Message> {
    let payload = Bytes::from(vec![7; payload_bytes]);
    let message = |place| Message {
        group: GroupId(1),
        from: NodeId(1),
        to: NodeId(2),
        term: Term(1),
        body: Body::AppendEntries(AppendEntries {
            prev: EntryId::new(Term(1), Index(place)),
            prev_acknowledged: false,
            entries: vec![Entry::command(Term(1), Index(place + 1), payload.clone())],
            leader_commit: Index(0),
            round: Round(0),
            sleep: false,
        }),
    };
    (1..=count).map(message).collect()
}

/// The allocations of encoding and of decoding `batch`, and the bytes that encoding asked for.
fn counted(batch: &[Message], estimate: usize) -> (usize, usize, usize) {
    let region = Region::new(ALLOCATOR);
    let pieces = encode_messages_frame(batch, estimate);
    let encoding = region.change();
    let body = Bytes::from(pieces.concat()).split_off(FRAME_HEADER_BYTES);
    let region = Region::new(ALLOCATOR);
    let decoded = decode_messages(body).expect("it was just encoded");
    let decoding = region.change();
    assert_eq!(decoded, batch);
    let calls = |change: &stats_alloc::Stats| change.allocations + change.reallocations;
    (calls(&encoding), calls(&decoding), encoding.bytes_allocated)
}

#[test]
fn a_batch_is_encoded_into_one_buffer_and_decoded_into_two_lists_and_one_for_each_message() {
    const BYTES: usize = 400;
    for count in [1, 16, 128] {
        let (encoding, decoding, _) = counted(&batch(count, 256), BYTES * count as usize);
        // The buffer, the list of its pieces; and a count of its owners, if it is not full.
        assert!(encoding <= 3, "{encoding} to encode {count} messages");
        // The list of messages, and for each its list of entries.
        assert!(
            decoding <= count as usize + 1,
            "{decoding} to decode {count} messages"
        );
    }
}

#[test]
fn large_payloads_are_not_copied() {
    let large = SHARED_BYTES_MIN * 8;
    let (_, _, bytes) = counted(&batch(16, large), 16 * (large + 150));
    assert!(
        bytes < large / 4,
        "{bytes} allocated to encode 16 payloads of {large}"
    );
}
