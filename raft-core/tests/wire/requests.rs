//! What is asked of a leader beside commands and reads, and how it ends.

use bytes::Bytes;
use raft_core::entry::{SessionCommand, SessionRequest};
use raft_core::membership::{
    ChangeError, Contact, MemberChange, Membership, MembershipError, MembershipPlan,
};
use raft_core::message::{
    Body, EntriesLost, ForwardRequest, ForwardResponse, ForwardResult, TimeoutNow, TrustRestored,
};
use raft_core::request::{ChangePreview, ClientRequest, RefusalReason, TransferAbort, TransferResult};
use raft_core::types::{Index, NodeId, Sequence, SessionId, Term, Ticket};

use super::id;

/// One of each.
pub(crate) fn bodies() -> Vec<Body> {
    let mut bodies = vec![
        Body::TimeoutNow(TimeoutNow { last_log: id(3, 8) }),
        Body::TrustRestored(TrustRestored {
            incarnation: 5,
            index: Index(9),
        }),
        Body::EntriesLost(EntriesLost {
            incarnation: 5,
            acknowledged: Index(9),
        }),
    ];
    bodies.extend(requests().into_iter().map(|request| {
        Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(7),
            request,
        })
    }));
    bodies.extend(results().into_iter().map(|result| {
        Body::ForwardResponse(ForwardResponse {
            ticket: Ticket(7),
            result,
        })
    }));
    bodies
}

fn contact(text: &str) -> Contact {
    Contact::new(text).expect("short enough")
}

/// Three voters, of which one is replaced, with contacts and an id that is no member's any more.
fn plan() -> MembershipPlan {
    let contacts = [
        (NodeId(1), contact("quic://[::1]:7101")),
        (NodeId(2), contact("")),
    ];
    let current = Membership::of_voters([1, 2, 9].map(NodeId))
        .and_then(|membership| membership.with_contacts(contacts))
        .expect("a valid configuration");
    let added = MemberChange::AddVoter {
        id: NodeId(10),
        contact: Some(contact("somewhere")),
    };
    let changes = [MemberChange::Demote(NodeId(9)), added];
    MembershipPlan::new(&current, &changes).expect("a valid change")
}

fn requests() -> Vec<ClientRequest> {
    let id = NodeId(4);
    let changes = vec![
        MemberChange::AddVoter { id, contact: None },
        MemberChange::AddLearner {
            id,
            contact: Some(contact("x")),
        },
        MemberChange::Promote(id),
        MemberChange::Demote(id),
        MemberChange::Remove(id),
        MemberChange::SetContact {
            id,
            contact: contact("y"),
        },
    ];
    let change = |dry_run| ClientRequest::ChangeMembership {
        changes: changes.clone(),
        dry_run,
    };
    let mut requests = vec![change(true), change(false), ClientRequest::TransferLeadership(id)];
    requests.extend(session_requests().map(ClientRequest::Session));
    requests
}

/// One of each that a session can ask.
pub(crate) fn session_requests() -> [SessionRequest; 4] {
    let session = SessionId(12);
    [
        SessionRequest::Open { ttl_ms: 5_000 },
        SessionRequest::Close(session),
        SessionRequest::KeepAlive(session),
        SessionRequest::Command(SessionCommand {
            session,
            sequence: Sequence(9),
            acknowledged_below: Sequence(8),
            command: Bytes::from_static(b"once"),
        }),
    ]
}

fn results() -> Vec<ForwardResult> {
    let (plan, id) = (plan(), NodeId(3));
    let preview = |refusal| {
        ForwardResult::Previewed(Box::new(ChangePreview {
            plan: plan.clone(),
            reachable: vec![NodeId(1), NodeId(9)],
            refusal,
        }))
    };
    let joint = plan.joint.clone().expect("two votes change");
    let mut results = vec![
        ForwardResult::MembershipChanged {
            index: Index(9),
            membership: joint,
        },
        preview(None),
        preview(Some(RefusalReason::MembershipChangePending)),
        ForwardResult::Transferred(TransferResult::Done {
            leader: id,
            term: Term(8),
        }),
        ForwardResult::Transferred(TransferResult::Aborted(TransferAbort::TimedOut)),
        ForwardResult::Transferred(TransferResult::Aborted(TransferAbort::OtherLeader(id))),
        ForwardResult::Transferred(TransferResult::Aborted(TransferAbort::TargetLeft)),
    ];
    results.extend(refusals().into_iter().map(ForwardResult::Refused));
    results
}

fn refusals() -> Vec<RefusalReason> {
    let id = NodeId(3);
    let errors = [
        ChangeError::Nothing,
        ChangeError::AlreadyMember(id),
        ChangeError::NotAMember(id),
        ChangeError::NotALearner(id),
        ChangeError::NotAVoter(id),
        ChangeError::IdUsed {
            id,
            highest_id: NodeId(5),
        },
        ChangeError::IdTooHigh {
            id,
            highest_id: NodeId(5),
        },
        ChangeError::TooManySteps { steps: 300 },
        MembershipError::TooMany { members: 300 }.into(),
        MembershipError::NoVoters.into(),
        MembershipError::Duplicate(id).into(),
        MembershipError::VoterAndLearner(id).into(),
        MembershipError::ZeroId.into(),
        MembershipError::NotOutgoing(id).into(),
        MembershipError::ContactOfStranger(id).into(),
        MembershipError::ContactTooLong { bytes: 2_000 }.into(),
    ];
    let mut refusals = vec![
        RefusalReason::Transferring { to: id },
        RefusalReason::NotAVoter(id),
        RefusalReason::TargetUnreachable(id),
        RefusalReason::MembershipChangePending,
        RefusalReason::Removed,
        RefusalReason::NotCaughtUp {
            learner: id,
            entries_behind: 12,
        },
        RefusalReason::QuorumUnreachable {
            quorum: 2,
            reachable: 1,
        },
        RefusalReason::SessionExpired(SessionId(12)),
        RefusalReason::SequenceAcknowledged {
            acknowledged_below: Sequence(3),
        },
        RefusalReason::SessionWindowFull {
            limit: Sequence(1027),
        },
    ];
    refusals.extend(errors.map(RefusalReason::Membership));
    refusals
}
