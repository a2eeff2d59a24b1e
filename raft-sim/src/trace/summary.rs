//! What messages, requests, answers and faults say, for people.

use raft_core::message::{AppendResult, Body, ForwardResult, Message};
use raft_core::request::ClientRequest;
use raft_core::types::EntryId;

use crate::observation::{Ending, Phase};
use crate::plan::{Direction, DiskDamage, Fault};
use crate::workload::Request;

/// So many bytes of a request or an answer are shown.
const BYTES_MAX: usize = 24;

/// A message's name in the paper, and what it says.
pub(super) fn message(message: &Message) -> (&'static str, String) {
    match &message.body {
        Body::RequestVote(vote) => {
            let wish = if vote.leadership_transfer {
                ", asked to by the leader"
            } else {
                ""
            };
            ("request_vote", format!("last {}{wish}", position(vote.last_log)))
        }
        Body::RequestVoteResponse(answer) => ("request_vote_response", granted(answer.is_granted())),
        Body::RequestPreVote(vote) => (
            "request_pre_vote",
            format!(
                "for term {}, last {}",
                vote.candidate_term,
                position(vote.last_log)
            ),
        ),
        Body::RequestPreVoteResponse(answer) => (
            "request_pre_vote_response",
            format!(
                "{} for term {}",
                granted(answer.is_granted()),
                answer.candidate_term
            ),
        ),
        Body::AppendEntries(append) => {
            let entries = match append.entries.as_slice() {
                [] => "no entry".to_owned(),
                [one] => format!("entry {}", position(one.id)),
                [first, .., last] => format!("entries {} to {}", position(first.id), position(last.id)),
            };
            let text = format!(
                "after {}: {entries}; commit {}, round {}{}",
                position(append.prev),
                append.leader_commit,
                append.round.0,
                if append.sleep { ", sleep" } else { "" }
            );
            ("append_entries", text)
        }
        Body::AppendEntriesResponse(answer) => {
            let result = match answer.result {
                AppendResult::Accepted { match_index } => format!("match {match_index}"),
                AppendResult::Rejected { prev_index, hint } => {
                    format!("rejected after {prev_index}, hint {}", position(hint))
                }
            };
            let suspect = if answer.suspect { ", suspect" } else { "" };
            let sleeps = if answer.sleeps { ", sleeps" } else { "" };
            let text = format!("{result}, round {}{suspect}{sleeps}", answer.round.0);
            ("append_entries_response", text)
        }
        Body::TimeoutNow(now) => ("timeout_now", format!("last {}", position(now.last_log))),
        Body::TrustRestored(restored) => ("trust_restored", format!("with {}", restored.index)),
        Body::EntriesLost(lost) => ("entries_lost", format!("acknowledged {}", lost.acknowledged)),
        Body::ForwardRequest(forward) => ("forward_request", client_request(&forward.request).to_owned()),
        Body::ForwardResponse(answer) => ("forward_response", forward_result(&answer.result)),
        Body::Pulse(pulse) => (
            "pulse",
            format!(
                "{}, watches {}, ended {}",
                pulse.id.serial,
                pulse.watches.len(),
                pulse.ended.len()
            ),
        ),
    }
}

fn granted(granted: bool) -> String {
    if granted { "granted" } else { "refused" }.to_owned()
}

/// An entry as people write it: its index, and its term after an @.
fn position(id: EntryId) -> String {
    format!("{}@{}", id.index, id.term)
}

fn client_request(request: &ClientRequest) -> &'static str {
    match request {
        ClientRequest::Propose(_) => "a command",
        ClientRequest::ReadIndex => "a read",
        ClientRequest::ChangeMembership { .. } => "a change of the members",
        ClientRequest::TransferLeadership(_) => "a transfer of leadership",
        ClientRequest::Session(_) => "a request of a session",
    }
}

fn forward_result(result: &ForwardResult) -> String {
    match result {
        ForwardResult::Applied { index, .. } => format!("applied at {index}"),
        ForwardResult::ReadIndex { index } => format!("read at {index}"),
        ForwardResult::MembershipChanged { index, membership } => format!("members at {index}: {membership}"),
        ForwardResult::Previewed(_) => "a preview".to_owned(),
        ForwardResult::Transferred(_) => "transferred".to_owned(),
        ForwardResult::Refused(reason) => format!("refused: {reason}"),
        ForwardResult::Unknown => "unknown".to_owned(),
    }
}

/// What a client asks.
pub(super) fn request(request: &Request) -> String {
    match request {
        Request::Write(command) => format!("write {}", shortly(command)),
        Request::Read(question) => format!("read {}", shortly(question)),
    }
}

/// How a call ended.
pub(super) fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Applied(reply) => format!("applied at {}: {}", reply.index, shortly(&reply.response)),
        Ending::Answered(answer) => format!("answered: {}", shortly(answer)),
        Ending::Refused => "refused".to_owned(),
        Ending::Unknown => "unknown".to_owned(),
    }
}

fn shortly(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(BYTES_MAX)];
    let more = if bytes.len() > BYTES_MAX { "…" } else { "" };
    format!("{}{more}", shown.escape_ascii())
}

/// The name of a phase.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Safety => "safety",
        Phase::QuorumHealed => "quorum_healed",
        Phase::AllHealed => "all_healed",
    }
}

/// What a fault does. Whom it is meant for is told apart.
pub(super) fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Crash { down_ms, .. } => format!("power is lost for {down_ms} ms"),
        Fault::CrashAll { down_ms } => format!("every node loses power, for up to {down_ms} ms"),
        Fault::Pause { ms, .. } => format!("the process does nothing for {ms} ms"),
        Fault::Isolate { direction, ms, .. } => format!("cut off for {ms} ms, {}", directed(*direction)),
        Fault::CutLink { direction, ms, .. } => format!("link cut for {ms} ms, {}", directed(*direction)),
        Fault::Partition { ms, .. } => format!("the nodes fall into two parts for {ms} ms"),
        Fault::Clog { ms, .. } => format!("messages are held back for {ms} ms"),
        Fault::DiskStall { ms, .. } => format!("the disk completes nothing for {ms} ms"),
        Fault::ApplyStall { ms, .. } => format!("the state machine does nothing for {ms} ms"),
        Fault::DiskError { .. } => "the next write fails".to_owned(),
        Fault::DiskFull { ms, .. } => format!("the disk is full for {ms} ms"),
        Fault::Damage { damage, down_ms, .. } => {
            format!("power is lost for {down_ms} ms, and {}", damaged(*damage))
        }
        Fault::ClockStep { ms, .. } => format!("the clock jumps ahead by {ms} ms"),
        Fault::ClockRate { rate_ppm, ms, .. } => {
            format!("the clock runs at {rate_ppm} millionths for {ms} ms")
        }
        Fault::Campaign { .. } => "it campaigns at once".to_owned(),
        Fault::ChangeMembers { .. } => "an operator asks for a change of the members".to_owned(),
        Fault::Transfer { .. } => "an operator asks that another node leads".to_owned(),
        Fault::CreateGroup { .. } => "an operator creates a group".to_owned(),
        Fault::DestroyGroup { .. } => "an operator destroys a group".to_owned(),
        Fault::MoveReplica { .. } => "an operator moves a replica to another machine".to_owned(),
    }
}

fn directed(direction: Direction) -> &'static str {
    match direction {
        Direction::Out => "outward",
        Direction::In => "inward",
        Direction::Both => "both ways",
    }
}

fn damaged(damage: DiskDamage) -> &'static str {
    match damage {
        DiskDamage::BitRot => "a bit of the disk flips",
        DiskDamage::SnapshotRot => "a bit of a snapshot flips",
        DiskDamage::LostWrite => "a write that was synced is gone",
        DiskDamage::Misdirected => "a sector stands at a wrong place",
        DiskDamage::CutTail => "the end of the log is gone",
        DiskDamage::StaleSector => "a sector holds what it held earlier",
        DiskDamage::Wipe => "the disk is new",
    }
}

/// For how long a fault lasts, in milliseconds; none if it is over at once, or ends when a process starts.
pub(super) fn lasts_ms(fault: &Fault) -> Option<u64> {
    match fault {
        Fault::Pause { ms, .. }
        | Fault::Isolate { ms, .. }
        | Fault::CutLink { ms, .. }
        | Fault::Partition { ms, .. }
        | Fault::Clog { ms, .. }
        | Fault::DiskStall { ms, .. }
        | Fault::ApplyStall { ms, .. }
        | Fault::DiskFull { ms, .. }
        | Fault::ClockRate { ms, .. } => Some(*ms),
        _ => None,
    }
}
