//! How messages, entries and writes are written in a trace. An entry is `index@term`.

use raft_core::effect::{LogChange, Rest, RoleChange, RoleChangeReason, RoleKind, Write};
use raft_core::entry::{Entry, Payload, SessionCommand, SessionRequest};
use raft_core::message::{AppendResult, Body, Lane, Message};
use raft_core::progress::ProgressState;
use raft_core::status::Status;
use raft_core::types::{EntryId, NodeId};

/// `4@2 "x"`, `4@2 noop`, `4@2 {1,2,3}`.
pub(crate) fn entry(entry: &Entry) -> String {
    let payload = match &entry.payload {
        Payload::Noop => "noop".to_owned(),
        Payload::Command(command) if command.len() > 16 => format!("<{} bytes>", command.len()),
        Payload::Command(command) => format!("\"{}\"", String::from_utf8_lossy(command)),
        Payload::Membership(members) => members.to_string(),
        Payload::Session(entry) => session(&entry.request),
    };
    format!("{} {payload}", entry.id)
}

/// `open a session for 5000 ms`, `close session 4`, `session 4 #2 "x"`.
fn session(request: &SessionRequest) -> String {
    match request {
        SessionRequest::Open { ttl_ms } => format!("open a session for {ttl_ms} ms"),
        SessionRequest::KeepAlive(session) => format!("keep session {session}"),
        SessionRequest::Close(session) => format!("close session {session}"),
        SessionRequest::Command(SessionCommand {
            session,
            sequence,
            command,
            ..
        }) => format!(
            "session {session} #{sequence} \"{}\"",
            String::from_utf8_lossy(command)
        ),
    }
}

/// Entries in brackets, with what they hold.
pub(crate) fn entries(entries: &[Entry]) -> String {
    let entries: Vec<String> = entries.iter().map(entry).collect();
    format!("[{}]", entries.join(", "))
}

/// Entries in brackets, without what they hold.
fn ids(entries: &[Entry]) -> String {
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
    format!("[{}]", ids.join(", "))
}

/// What is said, in full: what a line of a sent message shows.
pub(crate) fn body(message: &Message) -> String {
    let term = message.term;
    match &message.body {
        Body::RequestVote(request) => format!(
            "RequestVote term={term} last={}{}",
            request.last_log,
            if request.leadership_transfer {
                " for the leader"
            } else {
                ""
            }
        ),
        Body::TimeoutNow(request) => format!("TimeoutNow term={term} last={}", request.last_log),
        Body::TrustRestored(restored) => format!("TrustRestored term={term} from={}", restored.index),
        Body::EntriesLost(lost) => format!("EntriesLost term={term} acknowledged={}", lost.acknowledged),
        Body::RequestVoteResponse(response) => {
            format!(
                "RequestVoteResponse term={term} {}",
                granted(response.is_granted())
            )
        }
        Body::RequestPreVote(request) => format!(
            "RequestPreVote term={term} candidate_term={} last={}",
            request.candidate_term, request.last_log
        ),
        Body::RequestPreVoteResponse(response) => format!(
            "RequestPreVoteResponse term={term} candidate_term={} {}",
            response.candidate_term,
            granted(response.is_granted())
        ),
        Body::AppendEntries(request) => format!(
            "AppendEntries term={term} prev={} {} commit={} round={}{}{}",
            request.prev,
            entries(&request.entries),
            request.leader_commit,
            request.round,
            if request.entries.is_empty() && message.lane() == Lane::Ordered {
                " in order"
            } else {
                ""
            },
            if request.sleep { " sleep" } else { "" }
        ),
        Body::AppendEntriesResponse(response) => format!(
            "AppendEntriesResponse term={term} {} round={}{}{}",
            append_result(response.result),
            response.round,
            if response.suspect { " suspect" } else { "" },
            if response.sleeps { " sleeps" } else { "" }
        ),
        Body::ForwardRequest(_) => "ForwardRequest".to_owned(),
        Body::ForwardResponse(_) => "ForwardResponse".to_owned(),
        Body::Pulse(_) => "Pulse".to_owned(),
    }
}

/// What is said, in short: what a line of a received message shows.
pub(crate) fn brief(message: &Message) -> String {
    match &message.body {
        Body::RequestVote(_) => "RequestVote".to_owned(),
        Body::TimeoutNow(_) => "TimeoutNow".to_owned(),
        Body::TrustRestored(_) => "TrustRestored".to_owned(),
        Body::EntriesLost(_) => "EntriesLost".to_owned(),
        Body::RequestVoteResponse(response) => {
            format!("RequestVoteResponse {}", granted(response.is_granted()))
        }
        Body::RequestPreVote(_) => "RequestPreVote".to_owned(),
        Body::RequestPreVoteResponse(response) => {
            format!("RequestPreVoteResponse {}", granted(response.is_granted()))
        }
        Body::AppendEntries(request) => {
            format!("AppendEntries prev={} {}", request.prev, ids(&request.entries))
        }
        Body::AppendEntriesResponse(response) => {
            format!("AppendEntriesResponse {}", append_result(response.result))
        }
        Body::ForwardRequest(_) => "ForwardRequest".to_owned(),
        Body::ForwardResponse(_) => "ForwardResponse".to_owned(),
        Body::Pulse(_) => "Pulse".to_owned(),
    }
}

fn granted(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

fn append_result(result: AppendResult) -> String {
    match result {
        AppendResult::Accepted { match_index } => format!("accepted {match_index}"),
        AppendResult::Rejected { prev_index, hint } => format!("rejected {prev_index} hint={hint}"),
    }
}

/// `#3 term=2 vote=1 commit=0 [4@2 "x"]`; what does not change is left out.
pub(crate) fn write(write: &Write) -> String {
    let mut out = format!("#{}", write.seq);
    if let Some(state) = write.hard_state {
        out += &format!(
            " term={} vote={} commit={}",
            state.term,
            vote(state.vote),
            state.commit
        );
    }
    if let Some(snapshot) = &write.snapshot {
        out += &format!(" snapshot={}", snapshot.last);
    }
    match &write.log {
        LogChange::Append(list) if list.is_empty() => {}
        LogChange::Append(list) => out += &format!(" {}", entries(list)),
        LogChange::Reset(list) => out += &format!(" and replaces the log by {}", entries(list)),
    }
    if write.is_empty() {
        out += " (nothing; it holds a place in the order)";
    }
    out
}

/// A vote, or `-`.
pub(crate) fn vote(vote: Option<NodeId>) -> String {
    vote.map_or("-".to_owned(), |node| node.to_string())
}

/// A sentence on a change of role, term or leader.
pub(crate) fn role_change(id: NodeId, change: &RoleChange) -> String {
    let (term, reason) = (change.term, change.reason);
    match (change.from, change.to, change.leader) {
        (_, RoleKind::Leader, _) => format!("n{id} becomes leader of term {term}: {reason}"),
        (RoleKind::Follower, RoleKind::Follower, None) if reason == RoleChangeReason::ElectionTimeout => {
            format!("n{id} knows no leader of term {term} any more: {reason}")
        }
        (RoleKind::Follower, RoleKind::Follower, None) => format!("n{id} moves to term {term}: {reason}"),
        (_, RoleKind::Follower, Some(leader)) => format!("n{id} follows n{leader} in term {term}: {reason}"),
        (_, role, _) => format!("n{id} becomes {role} in term {term}: {reason}"),
    }
}

/// A sentence on whether a replica sleeps.
pub(crate) fn rest(id: NodeId, rest: Rest) -> String {
    match rest {
        Rest::Awake => format!("n{id} is awake"),
        Rest::Leading { asleep: true, .. } => format!("n{id} sleeps, leading"),
        Rest::Leading { asleep: false, .. } => format!("n{id} is awake, and has asked for sleep"),
        Rest::Following { leader, term } => format!("n{id} sleeps under n{leader} in term {term}"),
    }
}

/// The four marks of a log and what else there is to know about a replica.
pub(crate) fn status(status: &Status) -> String {
    format!(
        "n{} {} term={} vote={} leader={} log={}..{} durable={} commit={} applied={} snapshot={} members={}{}",
        status.id,
        status.role,
        status.term,
        vote(status.vote),
        vote(status.leader),
        status.first_index,
        status.appended_index,
        status.durable_index,
        status.commit_index,
        status.applied_index,
        status.snapshot,
        status.membership,
        if status.asleep { " asleep" } else { "" }
    )
}

/// How a leader sees its followers, a line each.
pub(crate) fn progress(status: &Status) -> Vec<String> {
    let line = |peer: &raft_core::status::PeerProgress| {
        let state = match peer.state {
            ProgressState::Probe { sent: true } => "probe, one is out".to_owned(),
            ProgressState::Probe { sent: false } => "probe".to_owned(),
            ProgressState::Replicate => {
                format!(
                    "replicate, in flight: {} messages, {} bytes",
                    peer.inflight_messages, peer.inflight_bytes
                )
            }
            ProgressState::Snapshot { index } => format!("snapshot up to {index}"),
        };
        format!(
            "n{} match={} next={} {state}",
            peer.id, peer.match_index, peer.next_index
        )
    };
    status.peers.iter().map(line).collect()
}

/// `1@1 "c1", 2@1 "c2" | 3@2 noop`: the bar stands after the last committed entry.
pub(crate) fn log(purged: EntryId, list: &[Entry], commit: raft_core::types::Index) -> String {
    let (committed, rest): (Vec<&Entry>, Vec<&Entry>) = list.iter().partition(|e| e.index() <= commit);
    let join = |list: Vec<&Entry>| list.into_iter().map(entry).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if purged != EntryId::ZERO {
        parts.push(format!("(purged to {purged})"));
    }
    for part in [join(committed), "|".to_owned(), join(rest)] {
        if !part.is_empty() {
            parts.push(part);
        }
    }
    parts.join(" ")
}
