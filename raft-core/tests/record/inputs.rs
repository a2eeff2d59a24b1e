//! Every input comes back as it was.

use std::sync::Arc;
use std::time::Duration;

use raft_core::entry::{Entry, Payload, SessionCommand, SessionEntry, SessionRequest};
use raft_core::input::{ChangeRequest, LogRead, LogReadResult, LogReader, Proposed};
use raft_core::membership::{Contact, MemberChange, MembershipParts};
use raft_core::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, EntriesLost, ForwardRequest, ForwardResponse,
    ForwardResult, InstallSnapshot, Leadership, Message, Pulse, PulseId, RequestPreVote,
    RequestPreVoteResponse, RequestVote, RequestVoteResponse, TimeoutNow, TrustRestored, VoteRefusal,
};
use raft_core::record::{Record, Records};
use raft_core::request::{ClientRequest, RefusalReason};
use raft_core::types::{Round, Sequence, SessionId, Term, WriteSeq};

use super::*;

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

fn meta() -> SnapshotMeta {
    let membership = Membership::from_parts(MembershipParts {
        voters: vec![NodeId(1), NodeId(2), NodeId(3)],
        outgoing: vec![NodeId(1), NodeId(4)],
        learners: vec![NodeId(5)],
        learners_next: vec![NodeId(4)],
        contacts: [(NodeId(2), Contact::new("host:1").unwrap())].into(),
        highest_id: NodeId(9),
    });
    SnapshotMeta {
        last: id(3, 70),
        membership: membership.unwrap(),
    }
}

fn session_requests() -> Vec<SessionRequest> {
    vec![
        SessionRequest::Open { ttl_ms: 60_000 },
        SessionRequest::KeepAlive(SessionId(3)),
        SessionRequest::Close(SessionId(u64::MAX)),
        SessionRequest::Command(SessionCommand {
            session: SessionId(4),
            sequence: Sequence(6),
            acknowledged_below: Sequence(5),
            command: Bytes::from_static(b"secret of a session"),
        }),
    ]
}

fn entries() -> Vec<Entry> {
    let payloads = [
        Payload::Noop,
        Payload::Command(Bytes::new()),
        Payload::Command(Bytes::from_static(b"secret of an entry")),
        Payload::Membership(meta().membership),
    ];
    let sessions = session_requests().into_iter().map(|request| {
        let elapsed_ms = 12;
        Payload::Session(Arc::new(SessionEntry { elapsed_ms, request }))
    });
    let entry = |(offset, payload)| Entry {
        id: id(3, 11 + offset as u64),
        payload,
    };
    payloads
        .into_iter()
        .chain(sessions)
        .enumerate()
        .map(entry)
        .collect()
}

fn votes() -> Vec<Body> {
    vec![
        Body::RequestVote(RequestVote {
            last_log: id(2, 10),
            leadership_transfer: true,
            incarnation: u64::MAX,
        }),
        Body::RequestVoteResponse(RequestVoteResponse {
            refusal: None,
            incarnation: 1,
        }),
        Body::RequestPreVote(RequestPreVote {
            candidate_term: Term(4),
            last_log: id(2, 10),
            incarnation: 1,
        }),
        Body::RequestPreVoteResponse(RequestPreVoteResponse {
            candidate_term: Term(4),
            refusal: Some(VoteRefusal::LogBehind(id(3, 8))),
            incarnation: 1,
        }),
    ]
}

fn bodies() -> Vec<Body> {
    let mut bodies = votes();
    bodies.extend([
        Body::AppendEntries(AppendEntries {
            prev: id(3, 10),
            prev_acknowledged: true,
            entries: entries(),
            leader_commit: Index(9),
            round: Round(5),
            sleep: true,
        }),
        Body::TimeoutNow(TimeoutNow { last_log: id(3, 10) }),
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
        Body::TrustRestored(TrustRestored {
            incarnation: 8,
            index: Index(3),
        }),
        Body::EntriesLost(EntriesLost {
            incarnation: 8,
            acknowledged: Index(4),
        }),
        Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(3),
            request: ClientRequest::ReadIndex,
        }),
        Body::ForwardResponse(ForwardResponse {
            ticket: Ticket(3),
            result: ForwardResult::Refused(RefusalReason::Busy),
        }),
    ]);
    for result in [
        AppendResult::Accepted {
            match_index: Index(3),
        },
        AppendResult::Rejected {
            prev_index: Index(3),
            hint: id(1, 2),
        },
    ] {
        bodies.push(Body::AppendEntriesResponse(AppendEntriesResponse {
            round: Round(1),
            prev_acknowledged: false,
            incarnation: 77,
            suspect: true,
            lease_ms: u32::MAX,
            sleeps: true,
            disk_waits_ms: 300,
            result,
        }));
    }
    bodies
}

fn changes() -> Vec<MemberChange> {
    let contact = Contact::new("http://a:1").unwrap();
    vec![
        MemberChange::AddVoter {
            id: NodeId(4),
            contact: None,
        },
        MemberChange::AddLearner {
            id: NodeId(5),
            contact: Some(contact.clone()),
        },
        MemberChange::Promote(NodeId(5)),
        MemberChange::Demote(NodeId(2)),
        MemberChange::Remove(NodeId(3)),
        MemberChange::SetContact {
            id: NodeId(1),
            contact,
        },
    ]
}

/// At least one of every kind.
pub(crate) fn inputs() -> Vec<Input> {
    let (ticket, to, last) = (Ticket(u64::MAX >> 1), NodeId(2), id(3, 70));
    let proposals = session_requests().into_iter().map(Proposed::Session);
    let command = Proposed::Command(Bytes::from_static(b"secret of a client"));
    let proposal = |command| Proposal { ticket, command };
    let read = |reader| LogRead {
        reader,
        first: Index(11),
        last: Index(18),
        bytes_max: usize::MAX,
    };
    let message = |body| Message {
        group: GroupId(7),
        from: NodeId(2),
        to: NodeId(1),
        term: Term(3),
        body,
    };
    let mut inputs = vec![
        Input::Tick,
        Input::Propose(proposals.chain([command]).map(proposal).collect()),
        Input::Read(vec![Ticket(0), ticket]),
        Input::ChangeMembership(ChangeRequest {
            ticket,
            changes: changes(),
            dry_run: true,
        }),
        Input::TransferLeadership { ticket, to },
        Input::Persisted(WriteSeq(300)),
        Input::LogRead(LogReadResult {
            request: read(LogReader::Apply),
            entries: entries(),
        }),
        Input::LogRead(LogReadResult {
            request: read(LogReader::Peer(to)),
            entries: Vec::new(),
        }),
        Input::Applied(Index(128)),
        Input::SnapshotReceived(InstallSnapshot {
            group: GroupId(7),
            from: to,
            to: NodeId(1),
            term: Term(3),
            meta: meta(),
        }),
        Input::SnapshotRestored(last),
        Input::SnapshotCreated(meta()),
        Input::SnapshotFailed,
        Input::SnapshotSent {
            to,
            last,
            delivered: true,
        },
        Input::RoundTrips(vec![(to, Duration::from_micros(120)), (NodeId(3), Duration::MAX)]),
        Input::Campaign,
        Input::PeerLost(to),
    ];
    inputs.extend(bodies().into_iter().map(message).map(Input::Receive));
    inputs
}

/// A kind that is new does not compile here before there is a sample of it.
fn kind(input: &Input) -> usize {
    match input {
        Input::Tick => 0,
        Input::Receive(message) => {
            20 + match message.body {
                Body::RequestVote(_) => 0,
                Body::RequestVoteResponse(_) => 1,
                Body::RequestPreVote(_) => 2,
                Body::RequestPreVoteResponse(_) => 3,
                Body::AppendEntries(_) => 4,
                Body::AppendEntriesResponse(_) => 5,
                Body::TimeoutNow(_) => 6,
                Body::TrustRestored(_) => 7,
                Body::EntriesLost(_) => 8,
                Body::ForwardRequest(_) => 9,
                Body::ForwardResponse(_) => 10,
                Body::Pulse(_) => 11,
            }
        }
        Input::Propose(_) => 1,
        Input::Read(_) => 2,
        Input::ChangeMembership(_) => 3,
        Input::TransferLeadership { .. } => 4,
        Input::Persisted(_) => 5,
        Input::LogRead(_) => 6,
        Input::Applied(_) => 7,
        Input::SnapshotReceived(_) => 8,
        Input::SnapshotRestored(_) => 9,
        Input::SnapshotCreated(_) => 10,
        Input::SnapshotFailed => 11,
        Input::SnapshotSent { .. } => 12,
        Input::RoundTrips(_) => 13,
        Input::Campaign => 14,
        Input::PeerLost(_) => 15,
    }
}

/// Puts down `inputs` as one step and reads it back.
fn recorded(inputs: &[Input], payloads: bool) -> (Bytes, Vec<Input>) {
    let options = RecorderOptions {
        payloads,
        ..small_segments()
    };
    let mut recorded = Recorded::new(options);
    recorded
        .recorder
        .step(&recorded.raft, Time::from_nanos(5), inputs);
    let bytes = recorded.bytes();
    let step = Records::new(bytes.clone())
        .unwrap()
        .find_map(|record| match record.unwrap() {
            Record::Step { at, inputs } => Some((at, inputs)),
            _ => None,
        });
    let (at, inputs) = step.expect("there is a step");
    assert_eq!(at, Time::from_nanos(5));
    (bytes, inputs)
}

/// S13: a kind of input that is not recorded as it is would make every replay another run.
#[test]
fn every_input_comes_back() {
    let inputs = inputs();
    let mut kinds: Vec<usize> = inputs.iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert!(kinds.iter().copied().eq((0..16).chain(20..32)), "{kinds:?}");
    assert_eq!(recorded(&inputs, true).1, inputs);
}

/// Without payloads, nothing that a client wrote is in the recording, and everything is as long as it was.
#[test]
fn what_clients_wrote_is_left_out_unless_it_is_asked_for() {
    let inputs: Vec<Input> = inputs();
    let inputs: Vec<Input> = inputs.into_iter().filter(|input| kind(input) < 29).collect();
    let contains = |bytes: &Bytes| bytes.windows(6).any(|window| window == b"secret");
    let (whole, _) = recorded(&inputs, true);
    let (lengths, back) = recorded(&inputs, false);
    assert!(contains(&whole) && !contains(&lengths));
    assert_eq!(back.len(), inputs.len());
    assert_eq!(recorded(&back, false).0, lengths);
    let Input::Propose(proposals) = &back[1] else {
        panic!("the second one is that");
    };
    let bytes: Vec<usize> = proposals
        .iter()
        .map(|proposal| proposal.command.bytes())
        .collect();
    assert_eq!(bytes, [0, 0, 0, 19, 18]);
}
