//! The codec against everything that can arrive: what it wrote itself, what was cut, what was damaged, and what lies.
//!
//! Bytes from a network may be anybody's. A decoder may refuse them, but never panic, and never allocate on the word of a
//! length. The random cases come from fixed seeds.

mod chain;
mod frames;
mod requests;

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::entry::{Entry, Payload, SessionEntry, SessionRequest};
use raft_core::membership::Membership;
use raft_core::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, ForwardRequest, ForwardResponse, ForwardResult,
    InstallSnapshot, Leadership, Message, Pulse, PulseId, RequestPreVote, RequestPreVoteResponse,
    RequestVote, RequestVoteResponse, SnapshotContent, SnapshotMeta, VoteRefusal,
};
use raft_core::request::{ClientRequest, RefusalReason};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Round, Term, Ticket};
use raft_core::wire::{
    WireError, decode_install_snapshot, decode_membership, decode_messages, decode_payload,
    encode_install_snapshot, encode_membership, encode_messages, encode_payload, payload_kind,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

fn joint() -> Membership {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    Membership::new(nodes(&[1, 2, 3]), nodes(&[3, 4]), nodes(&[7])).expect("a valid configuration")
}

fn command(term: u64, index: u64, bytes: &'static [u8]) -> Entry {
    Entry::command(Term(term), Index(index), Bytes::from_static(bytes))
}

/// An entry of every kind.
fn entries() -> Vec<Entry> {
    let mut entries = vec![
        Entry::noop(Term(3), Index(8)),
        command(3, 9, b"put a 1"),
        command(4, 10, b""),
        Entry {
            id: id(4, 11),
            payload: Payload::Membership(joint()),
        },
    ];
    let session = |(position, request): (usize, SessionRequest)| Entry {
        id: id(4, 12 + position as u64),
        payload: Payload::Session(Arc::new(SessionEntry {
            elapsed_ms: 77,
            request,
        })),
    };
    entries.extend(requests::session_requests().into_iter().enumerate().map(session));
    entries
}

/// One body of every kind, and every variant inside of it.
#[expect(clippy::too_many_lines, reason = "a table, one row for each body")]
fn bodies() -> Vec<Body> {
    let append = |entries: Vec<Entry>| {
        Body::AppendEntries(AppendEntries {
            prev: id(2, 7),
            prev_acknowledged: entries.is_empty(),
            entries,
            leader_commit: Index(6),
            round: Round(5),
            sleep: true,
        })
    };
    let response = |result| {
        Body::AppendEntriesResponse(AppendEntriesResponse {
            round: Round(9),
            prev_acknowledged: true,
            incarnation: u64::MAX,
            suspect: true,
            lease_ms: 900,
            disk_waits_ms: u32::MAX,
            result,
            sleeps: false,
        })
    };
    let refused_vote = |reason| {
        Body::RequestVoteResponse(RequestVoteResponse {
            refusal: Some(reason),
            incarnation: 7,
        })
    };
    let request = |request| {
        Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(u64::MAX),
            request,
        })
    };
    let forwarded = |result| {
        Body::ForwardResponse(ForwardResponse {
            ticket: Ticket(1 << 63),
            result,
        })
    };
    let refused = |reason| forwarded(ForwardResult::Refused(reason));
    vec![
        Body::Pulse(Pulse {
            id: PulseId {
                incarnation: 3,
                serial: 300,
            },
            heard: Some(PulseId {
                incarnation: 4,
                serial: 2,
            }),
            watches: vec![Leadership {
                group: GroupId(700),
                term: Term(5),
            }],
            ended: vec![Leadership {
                group: GroupId(701),
                term: Term(6),
            }],
        }),
        Body::RequestVote(RequestVote {
            last_log: id(3, 8),
            leadership_transfer: true,
            incarnation: 7,
        }),
        Body::RequestVoteResponse(RequestVoteResponse {
            refusal: None,
            incarnation: 7,
        }),
        Body::RequestPreVote(RequestPreVote {
            candidate_term: Term(6),
            last_log: EntryId::ZERO,
            incarnation: 7,
        }),
        Body::RequestPreVoteResponse(RequestPreVoteResponse {
            candidate_term: Term(6),
            refusal: None,
            incarnation: 7,
        }),
        refused_vote(VoteRefusal::LaterTerm),
        refused_vote(VoteRefusal::VotedFor(NodeId(u64::MAX))),
        refused_vote(VoteRefusal::HearsLeader(Some(NodeId(3)))),
        refused_vote(VoteRefusal::HearsLeader(None)),
        refused_vote(VoteRefusal::LogBehind(id(3, 8))),
        refused_vote(VoteRefusal::Suspect),
        refused_vote(VoteRefusal::Founder),
        append(entries()),
        append(Vec::new()),
        response(AppendResult::Accepted {
            match_index: Index(4),
        }),
        response(AppendResult::Rejected {
            prev_index: Index(12),
            hint: id(2, 5),
        }),
        request(ClientRequest::Propose(Bytes::from_static(b"put b 2"))),
        request(ClientRequest::ReadIndex),
        forwarded(ForwardResult::Applied {
            index: Index(9),
            response: Bytes::from_static(b"ok"),
        }),
        forwarded(ForwardResult::ReadIndex { index: Index(3) }),
        forwarded(ForwardResult::Unknown),
        refused(RefusalReason::NotLeader { leader: None }),
        refused(RefusalReason::NotLeader {
            leader: Some(NodeId(2)),
        }),
        refused(RefusalReason::Busy),
        refused(RefusalReason::TooLarge {
            bytes: 2000,
            bytes_max: 1000,
        }),
        refused(RefusalReason::Stopped),
    ]
}

fn all_bodies() -> Vec<Body> {
    let mut bodies = bodies();
    bodies.extend(requests::bodies());
    bodies
}

fn message(body: Body) -> Message {
    Message {
        group: GroupId(u64::MAX),
        from: NodeId(1),
        to: NodeId(2),
        term: Term(4),
        body,
    }
}

fn header() -> InstallSnapshot {
    InstallSnapshot {
        group: GroupId(1),
        from: NodeId(1),
        to: NodeId(3),
        term: Term(4),
        meta: SnapshotMeta {
            last: id(3, 100),
            membership: joint(),
        },
    }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// What was written is read back; every prefix of it is refused, and so is one byte more.
fn check<T: PartialEq + Debug>(value: &T, bytes: &[u8], decode: impl Fn(Bytes) -> Result<T, WireError>) {
    assert_eq!(decode(Bytes::copy_from_slice(bytes)).as_ref(), Ok(value));
    for length in 0..bytes.len() {
        let cut = Bytes::copy_from_slice(&bytes[..length]);
        assert!(
            decode(cut).is_err(),
            "the first {length} of {} bytes of {value:?}",
            bytes.len()
        );
    }
    let longer = [bytes, &[0]].concat();
    assert_eq!(
        decode(Bytes::from(longer)),
        Err(WireError::Trailing(1)),
        "{value:?}"
    );
}

#[test]
fn every_message_survives_and_every_part_of_it_is_refused() {
    for body in all_bodies() {
        let batch = vec![message(body)];
        check(
            &batch,
            &encoded(|out| encode_messages(&batch, out)),
            decode_messages,
        );
    }
    let batch: Vec<Message> = all_bodies().into_iter().map(message).collect();
    check(
        &batch,
        &encoded(|out| encode_messages(&batch, out)),
        decode_messages,
    );
    check(
        &Vec::new(),
        &encoded(|out| encode_messages(&[], out)),
        decode_messages,
    );
}

#[test]
fn memberships_and_snapshot_headers_survive_and_every_part_of_them_is_refused() {
    for membership in [
        joint(),
        Membership::of_voters([NodeId(5)]).unwrap(),
        Membership::empty(),
    ] {
        let bytes = encoded(|out| encode_membership(&membership, out));
        check(&membership, &bytes, decode_membership);
    }
    let content = SnapshotContent {
        bytes: u64::MAX,
        checksum: 0xdead_beef,
    };
    check(
        &(header(), content),
        &encoded(|out| encode_install_snapshot(&header(), content, out)),
        decode_install_snapshot,
    );
}

/// A payload is all of its bytes, so only a configuration can be cut too short.
#[test]
fn payloads_survive() {
    for payload in [
        Payload::Noop,
        Payload::Command(Bytes::from_static(b"x")),
        Payload::Membership(joint()),
        Payload::Session(Arc::new(SessionEntry {
            elapsed_ms: 77,
            request: SessionRequest::Open { ttl_ms: 5_000 },
        })),
    ] {
        let bytes = encoded(|out| encode_payload(&payload, out));
        assert_eq!(
            decode_payload(payload_kind(&payload), Bytes::from(bytes)),
            Ok(payload)
        );
    }
    assert!(
        decode_payload(0, Bytes::from_static(b"x")).is_err(),
        "a no-op holds nothing"
    );
    assert!(decode_payload(2, Bytes::from_static(b"x")).is_err());
    assert!(matches!(
        decode_payload(4, Bytes::new()),
        Err(WireError::Tag { tag: 4, .. })
    ));
}

/// Decoding copies no payload: it stays in the buffer that the frame was read into.
#[test]
fn payloads_share_the_buffer() {
    let bytes = Bytes::from(encoded(|out| {
        encode_messages(&bodies().into_iter().map(message).collect::<Vec<_>>(), out)
    }));
    let mut seen = 0;
    for message in decode_messages(bytes.clone()).unwrap() {
        let Body::AppendEntries(append) = message.body else {
            continue;
        };
        for entry in append.entries {
            if let Payload::Command(command) = entry.payload
                && !command.is_empty()
            {
                assert!(bytes.as_ptr_range().contains(&command.as_ptr()));
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 1);
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let length = random.below(200);
        let bytes = Bytes::from(random.bytes(length));
        let _ = decode_messages(bytes.clone());
        let _ = decode_install_snapshot(bytes.clone());
        let _ = decode_membership(bytes.clone());
        let _ = decode_payload(random.next() as u8 % 5, bytes);
    }
}

/// Damaged messages are closer to valid ones than random bytes, and get further into the decoder. What is still accepted
/// is a message like any other: it is written and read back as the same.
#[test]
fn damaged_messages_never_panic() {
    let batch: Vec<Message> = all_bodies().into_iter().map(message).collect();
    let valid = encoded(|out| encode_messages(&batch, out));
    let mut random = Random(2);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = valid.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = [0, 1, 0xff, random.next() as u8][random.below(4)];
        }
        if let Ok(found) = decode_messages(Bytes::from(bytes)) {
            let again = encoded(|out| encode_messages(&found, out));
            assert_eq!(decode_messages(Bytes::from(again)), Ok(found));
            accepted += 1;
        }
    }
    assert!(
        (1_000..19_000).contains(&accepted),
        "{accepted} of 20000 accepted: the damage tests nothing"
    );
}

/// A length that promises more than there is is refused before anything of that size is allocated: each of these would
/// be gigabytes.
#[test]
fn lengths_that_lie_are_refused() {
    let huge = u32::MAX.to_le_bytes();
    let truncated =
        |result: Result<(), WireError>| assert!(matches!(result, Err(WireError::Truncated(_))), "{result:?}");
    truncated(decode_messages(Bytes::copy_from_slice(&huge)).map(drop));
    truncated(decode_membership(Bytes::copy_from_slice(&huge)).map(drop));
    for body in all_bodies() {
        let valid = encoded(|out| encode_messages(&[message(body)], out));
        for at in 4 + 33..valid.len().saturating_sub(3) {
            let mut bytes = valid.clone();
            bytes[at..at + 4].copy_from_slice(&huge);
            let _ = decode_messages(Bytes::from(bytes));
        }
    }
    // The number of entries of an append, right behind prev, commit and round.
    let is_heartbeat = |body: &Body| matches!(body, Body::AppendEntries(append) if append.entries.is_empty());
    let heartbeat = bodies().into_iter().find(is_heartbeat).unwrap();
    let heartbeat = encoded(|out| encode_messages(&[message(heartbeat)], out));
    let mut bytes = heartbeat.clone();
    let count_at = heartbeat.len() - 4;
    bytes[count_at..].copy_from_slice(&huge);
    truncated(decode_messages(Bytes::from(bytes)).map(drop));
}

/// Nobody's term or index comes near 2^62; one that does could overflow where the core counts on.
#[test]
fn terms_and_indexes_out_of_range_are_refused() {
    let decode =
        |message: Message| decode_messages(Bytes::from(encoded(|out| encode_messages(&[message], out))));
    let rejected = |prev_index, hint| {
        let result = AppendResult::Rejected { prev_index, hint };
        message(Body::AppendEntriesResponse(AppendEntriesResponse {
            round: Round(0),
            prev_acknowledged: false,
            incarnation: u64::MAX,
            suspect: true,
            lease_ms: 900,
            disk_waits_ms: 0,
            result,
            sleeps: false,
        }))
    };
    let limit = 1 << 62;
    assert!(decode(rejected(Index(limit - 1), id(limit - 1, limit - 1))).is_ok());
    assert_eq!(
        decode(rejected(Index(limit), EntryId::ZERO)),
        Err(WireError::OutOfRange(limit))
    );
    assert_eq!(
        decode(rejected(Index(0), id(u64::MAX, 1))),
        Err(WireError::OutOfRange(u64::MAX))
    );
    let mut newest = message(bodies().remove(0));
    newest.term = Term(u64::MAX);
    assert_eq!(decode(newest), Err(WireError::OutOfRange(u64::MAX)));
    // The header of a snapshot makes its receiver adopt the term, too.
    let snapshot = InstallSnapshot {
        term: Term(limit),
        ..header()
    };
    let snapshot = encoded(|out| encode_install_snapshot(&snapshot, SnapshotContent::default(), out));
    assert_eq!(
        decode_install_snapshot(Bytes::from(snapshot)),
        Err(WireError::OutOfRange(limit))
    );
}

/// R12: entries that are not a slice of a log do not get through the decoder. (Gaps cannot even be written: an entry's index
/// is its place.)
#[test]
fn entries_whose_terms_fall_are_refused() {
    let append = Body::AppendEntries(AppendEntries {
        prev: id(5, 7),
        prev_acknowledged: false,
        entries: vec![command(4, 8, b"x")],
        leader_commit: Index(0),
        round: Round(0),
        sleep: false,
    });
    let bytes = encoded(|out| encode_messages(&[message(append)], out));
    assert!(matches!(
        decode_messages(Bytes::from(bytes)),
        Err(WireError::LogSlice(_))
    ));
}

/// R65: a configuration that breaks its own rules is refused wherever it comes from.
#[test]
fn impossible_memberships_are_refused() {
    let list = |nodes: &[u64]| {
        let mut out = u32::try_from(nodes.len()).unwrap().to_le_bytes().to_vec();
        nodes
            .iter()
            .for_each(|node| out.extend_from_slice(&node.to_le_bytes()));
        out
    };
    for lists in [
        [&[1, 1][..], &[], &[]],
        [&[0], &[], &[]],
        [&[1], &[], &[1]],
        [&[], &[1], &[]],
        [&[], &[], &[1]],
    ] {
        // Nobody becomes a learner, nobody has a contact, and no id was used before.
        let rest = [&list(&[])[..], &list(&[]), &[0; 8]].concat();
        let bytes = [lists.map(list).concat(), rest].concat();
        assert!(
            matches!(
                decode_membership(Bytes::from(bytes)),
                Err(WireError::Membership(_))
            ),
            "{lists:?}"
        );
    }
}
