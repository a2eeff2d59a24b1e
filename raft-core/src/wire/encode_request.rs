//! Forwarded requests and their results, to bytes.

use super::chain::Sink;
use super::encode::{encode_membership, put_bytes, put_length, put_nodes, put_shared, put_u64};
use crate::entry::SessionRequest;
use crate::membership::{ChangeError, Contact, MemberChange, MembershipError};
use crate::message::{ForwardRequest, ForwardResponse, ForwardResult};
use crate::request::{ChangePreview, ClientRequest, RefusalReason, TransferAbort, TransferResult};
use crate::types::NodeId;

pub(super) fn encode_forward_request<S: Sink>(request: &ForwardRequest, sink: &mut S) {
    let out = sink.copied();
    put_u64(request.ticket.0, out);
    match &request.request {
        ClientRequest::Propose(command) => {
            out.push(1);
            put_shared(command, sink);
        }
        ClientRequest::ReadIndex => out.push(2),
        ClientRequest::ChangeMembership { changes, dry_run } => {
            out.push(3);
            out.push(u8::from(*dry_run));
            put_length(changes.len(), out);
            changes.iter().for_each(|change| encode_change(change, out));
        }
        ClientRequest::TransferLeadership(to) => {
            out.push(4);
            put_u64(to.0, out);
        }
        ClientRequest::Session(request) => {
            out.push(5);
            encode_session_request(request, sink);
        }
    }
}

pub(super) fn encode_session_request<S: Sink>(request: &SessionRequest, sink: &mut S) {
    let out = sink.copied();
    match request {
        SessionRequest::Open { ttl_ms } => {
            out.push(1);
            put_u64(*ttl_ms, out);
        }
        SessionRequest::Close(session) => {
            out.push(2);
            put_u64(session.0, out);
        }
        SessionRequest::KeepAlive(session) => {
            out.push(4);
            put_u64(session.0, out);
        }
        SessionRequest::Command(command) => {
            out.push(3);
            put_u64(command.session.0, out);
            put_u64(command.sequence.0, out);
            put_u64(command.acknowledged_below.0, out);
            put_shared(&command.command, sink);
        }
    }
}

fn encode_change(change: &MemberChange, out: &mut Vec<u8>) {
    let (tag, id, contact) = match change {
        MemberChange::AddVoter { id, contact } => (1, id, contact.as_ref()),
        MemberChange::AddLearner { id, contact } => (2, id, contact.as_ref()),
        MemberChange::Promote(id) => (3, id, None),
        MemberChange::Demote(id) => (4, id, None),
        MemberChange::Remove(id) => (5, id, None),
        MemberChange::SetContact { id, contact } => (6, id, Some(contact)),
    };
    out.push(tag);
    put_u64(id.0, out);
    out.push(u8::from(contact.is_some()));
    put_bytes(contact.map_or("", Contact::as_str).as_bytes(), out);
}

pub(super) fn encode_forward_response<S: Sink>(response: &ForwardResponse, sink: &mut S) {
    let out = sink.copied();
    put_u64(response.ticket.0, out);
    match &response.result {
        ForwardResult::Applied { index, response } => {
            out.push(1);
            put_u64(index.0, out);
            put_shared(response, sink);
        }
        ForwardResult::ReadIndex { index } => {
            out.push(2);
            put_u64(index.0, out);
        }
        ForwardResult::Refused(reason) => {
            out.push(3);
            encode_refusal(*reason, out);
        }
        ForwardResult::Unknown => out.push(4),
        ForwardResult::MembershipChanged { index, membership } => {
            out.push(5);
            put_u64(index.0, out);
            encode_membership(membership, out);
        }
        ForwardResult::Previewed(preview) => {
            out.push(6);
            encode_preview(preview, out);
        }
        ForwardResult::Transferred(result) => {
            out.push(7);
            encode_transfer_result(*result, out);
        }
    }
}

fn encode_preview(preview: &ChangePreview, out: &mut Vec<u8>) {
    let plan = &preview.plan;
    encode_membership(&plan.current, out);
    out.push(u8::from(plan.joint.is_some()));
    plan.joint.iter().for_each(|joint| encode_membership(joint, out));
    encode_membership(&plan.target, out);
    put_nodes(&preview.reachable, out);
    out.push(u8::from(preview.refusal.is_some()));
    preview
        .refusal
        .iter()
        .for_each(|reason| encode_refusal(*reason, out));
}

fn encode_transfer_result(result: TransferResult, out: &mut Vec<u8>) {
    match result {
        TransferResult::Done { leader, term } => {
            out.push(1);
            put_u64(leader.0, out);
            put_u64(term.0, out);
        }
        TransferResult::Aborted(TransferAbort::TimedOut) => out.push(2),
        TransferResult::Aborted(TransferAbort::OtherLeader(leader)) => {
            out.push(3);
            put_u64(leader.0, out);
        }
        TransferResult::Aborted(TransferAbort::TargetLeft) => out.push(4),
    }
}

fn encode_refusal(reason: RefusalReason, out: &mut Vec<u8>) {
    match reason {
        RefusalReason::NotLeader { leader } => {
            out.push(1);
            put_u64(leader.unwrap_or(NodeId(0)).0, out);
        }
        RefusalReason::Busy => out.push(2),
        RefusalReason::TooLarge { bytes, bytes_max } => {
            out.push(3);
            put_u64(bytes as u64, out);
            put_u64(bytes_max as u64, out);
        }
        RefusalReason::Stopped => out.push(4),
        RefusalReason::Transferring { to } => {
            out.push(5);
            put_u64(to.0, out);
        }
        RefusalReason::NotAVoter(node) => {
            out.push(6);
            put_u64(node.0, out);
        }
        RefusalReason::TargetUnreachable(node) => {
            out.push(14);
            put_u64(node.0, out);
        }
        RefusalReason::Removed => out.push(15),
        RefusalReason::MembershipChangePending => out.push(7),
        RefusalReason::Membership(error) => {
            out.push(8);
            encode_change_error(error, out);
        }
        RefusalReason::NotCaughtUp {
            learner,
            entries_behind,
        } => {
            out.push(9);
            put_u64(learner.0, out);
            put_u64(entries_behind, out);
        }
        RefusalReason::QuorumUnreachable { quorum, reachable } => {
            out.push(10);
            put_u64(quorum as u64, out);
            put_u64(reachable as u64, out);
        }
        RefusalReason::SessionExpired(session) => {
            out.push(11);
            put_u64(session.0, out);
        }
        RefusalReason::SequenceAcknowledged { acknowledged_below } => {
            out.push(12);
            put_u64(acknowledged_below.0, out);
        }
        RefusalReason::SessionWindowFull { limit } => {
            out.push(13);
            put_u64(limit.0, out);
        }
    }
}

/// A tag and two numbers, whose meaning depends on the tag.
fn encode_change_error(error: ChangeError, out: &mut Vec<u8>) {
    let (tag, first, second) = match error {
        ChangeError::Nothing => (1, 0, 0),
        ChangeError::AlreadyMember(id) => (2, id.0, 0),
        ChangeError::NotAMember(id) => (3, id.0, 0),
        ChangeError::NotALearner(id) => (4, id.0, 0),
        ChangeError::NotAVoter(id) => (5, id.0, 0),
        ChangeError::IdUsed { id, highest_id } => (6, id.0, highest_id.0),
        ChangeError::IdTooHigh { id, highest_id } => (14, id.0, highest_id.0),
        ChangeError::TooManySteps { steps } => (15, steps as u64, 0),
        ChangeError::Membership(MembershipError::TooMany { members }) => (16, members as u64, 0),
        ChangeError::Membership(MembershipError::NoVoters) => (7, 0, 0),
        ChangeError::Membership(MembershipError::Duplicate(id)) => (8, id.0, 0),
        ChangeError::Membership(MembershipError::VoterAndLearner(id)) => (9, id.0, 0),
        ChangeError::Membership(MembershipError::ZeroId) => (10, 0, 0),
        ChangeError::Membership(MembershipError::NotOutgoing(id)) => (11, id.0, 0),
        ChangeError::Membership(MembershipError::ContactOfStranger(id)) => (12, id.0, 0),
        ChangeError::Membership(MembershipError::ContactTooLong { bytes }) => (13, bytes as u64, 0),
    };
    out.push(tag);
    put_u64(first, out);
    put_u64(second, out);
}
