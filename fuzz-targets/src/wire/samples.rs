//! A value of each kind, to be encoded as the beginning of a corpus.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::entry::{Entry, Payload, SessionCommand, SessionEntry, SessionRequest};
use raft_core::membership::{
    ChangeError, Contact, MemberChange, Membership, MembershipError, MembershipParts, MembershipPlan,
};
use raft_core::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, EntriesLost, ForwardRequest, ForwardResponse,
    ForwardResult, InstallSnapshot, Leadership, Message, Pulse, PulseId, RequestPreVote,
    RequestPreVoteResponse, RequestVote, RequestVoteResponse, SnapshotMeta, TimeoutNow, TrustRestored,
    VoteRefusal,
};
use raft_core::request::{ChangePreview, ClientRequest, RefusalReason, TransferAbort, TransferResult};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Round, Sequence, SessionId, Term, Ticket};

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn contact(text: &str) -> Contact {
    Contact::new(text).expect("the text is short")
}

/// From nothing to a joint configuration with contacts.
pub(super) fn memberships() -> Vec<Membership> {
    let contacts = [(NodeId(1), contact("quic://a:1")), (NodeId(7), contact(""))];
    let joint = MembershipParts {
        voters: nodes(&[1, 2, 3]),
        outgoing: nodes(&[3, 4]),
        learners: nodes(&[7]),
        learners_next: nodes(&[4]),
        contacts: contacts.into_iter().collect(),
        highest_id: NodeId(9),
    };
    vec![
        Membership::empty(),
        Membership::of_voters(nodes(&[1])).expect("one voter is enough"),
        Membership::of_voters(nodes(&[1, 2, 3])).expect("three voters are fine"),
        Membership::from_parts(joint).expect("it is made by the rules"),
    ]
}

/// One of each request of a session.
fn session_requests() -> Vec<SessionRequest> {
    vec![
        SessionRequest::Open { ttl_ms: 60_000 },
        SessionRequest::KeepAlive(SessionId(4)),
        SessionRequest::Close(SessionId(4)),
        SessionRequest::Command(SessionCommand {
            session: SessionId(4),
            sequence: Sequence(2),
            acknowledged_below: Sequence(1),
            command: Bytes::from_static(b"put"),
        }),
    ]
}

/// One of each kind of payload.
pub(super) fn payloads() -> Vec<Payload> {
    let mut payloads = vec![Payload::Noop, Payload::Command(Bytes::from_static(b"put a 1"))];
    payloads.extend(memberships().into_iter().skip(1).map(Payload::Membership));
    payloads.extend(session_requests().into_iter().map(|request| {
        Payload::Session(Arc::new(SessionEntry {
            elapsed_ms: 77,
            request,
        }))
    }));
    payloads
}

/// One of each configuration.
pub(super) fn snapshot_headers() -> Vec<InstallSnapshot> {
    let header = |membership| InstallSnapshot {
        group: GroupId(7),
        from: NodeId(1),
        to: NodeId(2),
        term: Term(5),
        meta: SnapshotMeta {
            last: id(4, 40),
            membership,
        },
    };
    memberships().into_iter().map(header).collect()
}

/// One of each kind, and more of those with many forms.
pub(super) fn messages() -> Vec<Message> {
    let mut bodies = elections();
    bodies.extend(replication());
    let ticket = Ticket(5);
    let forwarded = |request| Body::ForwardRequest(ForwardRequest { ticket, request });
    bodies.extend(requests().into_iter().map(forwarded));
    let answered = |result| Body::ForwardResponse(ForwardResponse { ticket, result });
    bodies.extend(results_of_requests().into_iter().map(answered));
    let message = |body| Message {
        group: GroupId(7),
        from: NodeId(1),
        to: NodeId(2),
        term: Term(5),
        body,
    };
    bodies.into_iter().map(message).collect()
}

fn elections() -> Vec<Body> {
    vec![
        Body::RequestVote(RequestVote {
            last_log: id(2, 7),
            leadership_transfer: true,
            incarnation: 0,
        }),
        Body::RequestVoteResponse(RequestVoteResponse {
            refusal: None,
            incarnation: 0,
        }),
        Body::RequestPreVote(RequestPreVote {
            candidate_term: Term(6),
            last_log: id(2, 7),
            incarnation: 4,
        }),
        Body::RequestPreVoteResponse(RequestPreVoteResponse {
            candidate_term: Term(6),
            refusal: Some(VoteRefusal::LaterTerm),
            incarnation: 4,
        }),
        Body::TimeoutNow(TimeoutNow { last_log: id(5, 9) }),
        Body::TrustRestored(TrustRestored {
            incarnation: 3,
            index: Index(8),
        }),
        Body::EntriesLost(EntriesLost {
            incarnation: 3,
            acknowledged: Index(8),
        }),
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
    ]
}

fn replication() -> Vec<Body> {
    let entries = payloads().into_iter().zip(8..).map(|(payload, index)| Entry {
        id: id(4, index),
        payload,
    });
    let mut bodies = vec![Body::AppendEntries(AppendEntries {
        prev: id(3, 7),
        prev_acknowledged: false,
        entries: entries.collect(),
        leader_commit: Index(6),
        round: Round(11),
        sleep: false,
    })];
    bodies.push(Body::AppendEntries(AppendEntries {
        prev: id(3, 7),
        prev_acknowledged: true,
        entries: Vec::new(),
        leader_commit: Index(6),
        round: Round(12),
        sleep: true,
    }));
    let results = [
        AppendResult::Accepted {
            match_index: Index(9),
        },
        AppendResult::Rejected {
            prev_index: Index(7),
            hint: id(2, 5),
        },
    ];
    bodies.extend(results.map(|result| {
        Body::AppendEntriesResponse(AppendEntriesResponse {
            round: Round(11),
            prev_acknowledged: true,
            incarnation: 3,
            suspect: false,
            lease_ms: 1_000,
            disk_waits_ms: 0,
            result,
            sleeps: false,
        })
    }));
    bodies
}

fn requests() -> Vec<ClientRequest> {
    let id = NodeId(4);
    let changes = vec![
        MemberChange::AddVoter { id, contact: None },
        MemberChange::AddLearner {
            id,
            contact: Some(contact("quic://d:1")),
        },
        MemberChange::Promote(id),
        MemberChange::Demote(id),
        MemberChange::Remove(id),
        MemberChange::SetContact {
            id,
            contact: contact("quic://d:2"),
        },
    ];
    let mut requests = vec![
        ClientRequest::Propose(Bytes::from_static(b"put")),
        ClientRequest::ReadIndex,
        ClientRequest::ChangeMembership {
            changes,
            dry_run: true,
        },
        ClientRequest::TransferLeadership(id),
    ];
    requests.extend(session_requests().into_iter().map(ClientRequest::Session));
    requests
}

fn results_of_requests() -> Vec<ForwardResult> {
    let [_, one, three, joint] = <[Membership; 4]>::try_from(memberships()).expect("there are four");
    let preview = ChangePreview {
        plan: MembershipPlan {
            current: one,
            joint: Some(joint.clone()),
            target: three,
        },
        reachable: nodes(&[1, 2]),
        refusal: Some(RefusalReason::NotCaughtUp {
            learner: NodeId(3),
            entries_behind: 9,
        }),
    };
    let mut results = vec![
        ForwardResult::Applied {
            index: Index(9),
            response: Bytes::from_static(b"ok"),
        },
        ForwardResult::ReadIndex { index: Index(9) },
        ForwardResult::MembershipChanged {
            index: Index(9),
            membership: joint,
        },
        ForwardResult::Previewed(Box::new(preview)),
        ForwardResult::Transferred(TransferResult::Done {
            leader: NodeId(2),
            term: Term(6),
        }),
        ForwardResult::Transferred(TransferResult::Aborted(TransferAbort::OtherLeader(NodeId(3)))),
        ForwardResult::Unknown,
    ];
    let refusals = [
        RefusalReason::NotLeader { leader: None },
        RefusalReason::TooLarge {
            bytes: 2,
            bytes_max: 1,
        },
        RefusalReason::Membership(ChangeError::NotALearner(NodeId(2))),
        RefusalReason::Membership(MembershipError::NoVoters.into()),
        RefusalReason::SessionWindowFull { limit: Sequence(4) },
    ];
    results.extend(refusals.map(ForwardResult::Refused));
    results
}
