//! Messages that anybody could send: about what the replica has, and about anything else.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use raft_core::effect::RoleKind;
use raft_core::entry::{Entry, Payload, SessionEntry, SessionRequest};
use raft_core::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, EntriesLost, ForwardRequest, InstallSnapshot,
    Message, RequestPreVote, RequestPreVoteResponse, RequestVote, RequestVoteResponse, SnapshotMeta,
    TimeoutNow, TrustRestored, VoteRefusal,
};
use raft_core::request::ClientRequest;
use raft_core::types::{EntryId, Index, NodeId, Round, Term, Ticket};

use super::events::{GROUP, OWN_ID, membership};
use super::node::Node;

/// The highest term and index that the codec lets through.
const COUNTER_MAX: u64 = (1 << 62) - 1;

/// A message from another node.
pub(super) fn message(node: &Node, input: &mut Unstructured<'_>) -> Result<Message> {
    let speaker: u8 = input.arbitrary()?;
    let term = term(node, input)?;
    let kind: u8 = input.arbitrary()?;
    let flag = kind & 0x80 != 0;
    let (from, term) = match kind % 14 {
        4..8 | 11 | 12 => leader(node, speaker, term),
        _ => (other(speaker), term),
    };
    let body = match kind % 14 {
        0 => Body::RequestVote(RequestVote {
            last_log: id(node, input)?,
            leadership_transfer: flag,
            incarnation: 0,
        }),
        1 => Body::RequestVoteResponse(RequestVoteResponse {
            refusal: refusal(node, input)?,
            // Sometimes an answer to an earlier start.
            incarnation: node.config.incarnation - u64::from(flag && node.config.incarnation > 0),
        }),
        2 => Body::RequestPreVote(RequestPreVote {
            candidate_term: self::term(node, input)?,
            last_log: id(node, input)?,
            incarnation: 0,
        }),
        3 => Body::RequestPreVoteResponse(RequestPreVoteResponse {
            candidate_term: node.status().term.next(),
            refusal: refusal(node, input)?,
            incarnation: node.config.incarnation - u64::from(flag && node.config.incarnation > 0),
        }),
        4..8 => Body::AppendEntries(append_entries(node, input, term)?),
        8..11 => Body::AppendEntriesResponse(response(node, input, flag)?),
        11 => Body::TimeoutNow(TimeoutNow {
            last_log: id(node, input)?,
        }),
        12 => trust(node, input)?,
        _ => Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(1),
            request: ClientRequest::ReadIndex,
        }),
    };
    Ok(Message {
        group: GROUP,
        from,
        to: OWN_ID,
        term,
        body,
    })
}

/// The header of a snapshot from another node.
pub(super) fn snapshot_header(node: &Node, input: &mut Unstructured<'_>) -> Result<InstallSnapshot> {
    let speaker: u8 = input.arbitrary()?;
    let term = term(node, input)?;
    let (from, term) = leader(node, speaker, term);
    Ok(InstallSnapshot {
        group: GROUP,
        from,
        to: OWN_ID,
        term,
        meta: SnapshotMeta {
            last: id(node, input)?,
            membership: membership(input)?,
        },
    })
}

fn other(speaker: u8) -> NodeId {
    NodeId(2 + u64::from(speaker % 5))
}

/// Who speaks as a leader, and in which term. Mostly one node for each term, and none in a term in which the replica leads:
/// otherwise most inputs would end soon, because a replica that hears of two leaders stops.
fn leader(node: &Node, speaker: u8, term: Term) -> (NodeId, Term) {
    if speaker >= 224 {
        return (other(speaker), term);
    }
    let status = node.status();
    let leads = status.role == RoleKind::Leader && status.term == term;
    let term = if leads { term.next() } else { term };
    (NodeId(2 + term.0 % 3), term)
}

fn term(node: &Node, input: &mut Unstructured<'_>) -> Result<Term> {
    let (own, choice) = (node.status().term, input.arbitrary::<u8>()?);
    Ok(match choice % 8 {
        0..4 => own,
        4 => own.next(),
        5 => Term(own.0.saturating_sub(1)),
        6 => Term(u64::from(input.arbitrary::<u8>()? % 16)),
        _ => Term(huge(input)?),
    })
}

fn index(node: &Node, input: &mut Unstructured<'_>) -> Result<Index> {
    let status = node.status();
    let last = status.appended_index;
    Ok(match input.arbitrary::<u8>()? % 10 {
        0..3 => last,
        3 => last.next(),
        4 => Index(u64::from(input.arbitrary::<u8>()?)),
        5 => status.commit_index,
        6 => last.previous(),
        7 => status.snapshot.index,
        8 => Index::ZERO,
        _ => Index(huge(input)?),
    })
}

/// An entry: one that the replica has, if it has one there and the input does not name another term.
fn id(node: &Node, input: &mut Unstructured<'_>) -> Result<EntryId> {
    let index = index(node, input)?;
    let choice: u8 = input.arbitrary()?;
    let known = node.entry_at(index).filter(|_| choice % 4 != 3);
    let other = EntryId::new(Term(u64::from(choice / 4 % 16)), index);
    Ok(known.unwrap_or(other))
}

fn huge(input: &mut Unstructured<'_>) -> Result<u64> {
    let below: u8 = input.arbitrary()?;
    Ok(COUNTER_MAX - u64::from(below))
}

fn append_entries(node: &Node, input: &mut Unstructured<'_>, term: Term) -> Result<AppendEntries> {
    let prev = id(node, input)?;
    let leader_commit = index(node, input)?;
    let mut last = prev;
    let mut entries = Vec::new();
    for _ in 0..input.arbitrary::<u8>()? % 5 {
        let choice: u8 = input.arbitrary()?;
        last = EntryId::new(
            match choice % 4 {
                0..2 => term,
                2 => last.term.max(Term(1)),
                _ => last.term.next(),
            },
            last.index.next(),
        );
        entries.push(Entry {
            id: last,
            payload: payload(input, choice / 4)?,
        });
    }
    // The low bits are the round's; a heartbeat may be one that overtakes what is under way.
    let round: u8 = input.arbitrary()?;
    Ok(AppendEntries {
        prev,
        prev_acknowledged: round >= 0x80,
        entries,
        leader_commit,
        round: Round(u64::from(round)),
        sleep: round & 0x40 != 0,
    })
}

fn payload(input: &mut Unstructured<'_>, choice: u8) -> Result<Payload> {
    Ok(match choice % 8 {
        0 => Payload::Noop,
        1 => Payload::Membership(membership(input)?),
        2 => Payload::Session(Arc::new(SessionEntry {
            elapsed_ms: u64::from(choice),
            request: SessionRequest::Open { ttl_ms: 1_000 },
        })),
        _ => Payload::Command(Bytes::from(vec![choice; usize::from(choice % 48)])),
    })
}

fn response(node: &Node, input: &mut Unstructured<'_>, suspect: bool) -> Result<AppendEntriesResponse> {
    let choice: u8 = input.arbitrary()?;
    let result = if choice & 1 == 0 {
        AppendResult::Accepted {
            match_index: index(node, input)?,
        }
    } else {
        AppendResult::Rejected {
            prev_index: index(node, input)?,
            hint: id(node, input)?,
        }
    };
    let round = match choice & 0x70 {
        0x70 => huge(input)?,
        _ => u64::from(choice >> 1 & 7),
    };
    Ok(AppendEntriesResponse {
        round: Round(round),
        prev_acknowledged: choice & 8 != 0,
        incarnation: u64::from(choice >> 6 & 1),
        suspect,
        lease_ms: u32::from(choice) * 10,
        sleeps: choice & 0x80 != 0,
        disk_waits_ms: 0,
        result,
    })
}

/// Half of the votes are granted.
fn refusal(node: &Node, input: &mut Unstructured<'_>) -> Result<Option<VoteRefusal>> {
    let choice: u8 = input.arbitrary()?;
    Ok(match choice >> 1 {
        _ if choice & 1 != 0 => None,
        0 => Some(VoteRefusal::VotedFor(other(choice))),
        1 => Some(VoteRefusal::HearsLeader(Some(other(choice)))),
        2 => Some(VoteRefusal::LogBehind(id(node, input)?)),
        _ => Some(VoteRefusal::LaterTerm),
    })
}

fn trust(node: &Node, input: &mut Unstructured<'_>) -> Result<Body> {
    let incarnation = node.config.incarnation;
    let index = index(node, input)?;
    Ok(if input.arbitrary::<u8>()? & 1 == 0 {
        Body::TrustRestored(TrustRestored { incarnation, index })
    } else {
        Body::EntriesLost(EntriesLost {
            incarnation,
            acknowledged: index,
        })
    })
}
