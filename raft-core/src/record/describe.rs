//! What happens to a replica, and what it does, in lines for people.

use crate::effect::{Effect, LogChange, Rest, RoleKind, Write};
use crate::entry::{Entry, Payload, SessionRequest};
use crate::input::{Input, LogRead, LogReader, Proposed};
use crate::message::{AppendResult, Body, Message};
use crate::raft::Raft;
use crate::types::{EntryId, NodeId};

/// An input in one line, without its time.
#[must_use]
pub fn describe_input(input: &Input) -> String {
    match input {
        Input::Tick => "time passed".to_owned(),
        Input::Receive(message) => format!("received {}", describe_message(message)),
        Input::Propose(proposals) => {
            let bytes: usize = proposals.iter().map(|proposal| proposal.command.bytes()).sum();
            let sessions = proposals
                .iter()
                .any(|proposal| matches!(proposal.command, Proposed::Session(_)));
            let of_sessions = if sessions { ", some of sessions" } else { "" };
            let count = counted(proposals.len(), "command", "commands");
            format!("proposed {count} of {bytes} bytes{of_sessions}")
        }
        Input::Read(tickets) => format!("asked for {}", counted(tickets.len(), "read", "reads")),
        Input::ChangeMembership(request) => {
            let what = if request.dry_run {
                "what would be if"
            } else {
                "to change the members:"
            };
            format!("asked {what} {:?}", request.changes)
        }
        Input::TransferLeadership { to, .. } => format!("asked that node {to} leads"),
        Input::Persisted(seq) => format!("write {seq} is durable"),
        Input::LogRead(result) => {
            let what = log_read(&result.request);
            match result.entries.as_slice() {
                [] => format!("could not read {what}"),
                entries => format!("read {what}: {}", entries_text(entries)),
            }
        }
        Input::Applied(index) => format!("applied up to {index}"),
        Input::SnapshotReceived(header) => {
            let (from, last) = (header.from, header.meta.last);
            format!(
                "received the snapshot at {last} from node {from} in term {}",
                header.term
            )
        }
        Input::SnapshotRestored(last) => format!("restored the snapshot at {last}"),
        Input::SnapshotCreated(meta) => format!("made a snapshot at {}", meta.last),
        Input::SnapshotFailed => "could not make a snapshot".to_owned(),
        Input::SnapshotSent {
            to,
            last,
            delivered: true,
        } => format!("sent the snapshot at {last} to node {to}"),
        Input::SnapshotSent { to, last, .. } => format!("could not send the snapshot at {last} to node {to}"),
        Input::RoundTrips(round_trips) => {
            let times = round_trips
                .iter()
                .map(|(peer, time)| format!("{time:?} to node {peer}"));
            format!("measured round trips of {}", listed(times))
        }
        Input::PeerLost(peer) => format!("told that node {peer} is gone, or leads no more"),
        Input::Campaign => "asked to campaign".to_owned(),
    }
}

/// An effect in one line.
#[must_use]
pub fn describe_effect(effect: &Effect) -> String {
    match effect {
        Effect::Send(message) => format!("send {}", describe_message(message)),
        Effect::Persist(write) => persist(write),
        Effect::ReadLog(request) => format!("read {}", log_read(request)),
        Effect::Apply(entries) => format!("apply {}", entries_text(entries)),
        Effect::CreateSnapshot(meta) => format!("make a snapshot at {}", meta.last),
        Effect::RestoreSnapshot(meta) => format!("restore the snapshot at {}", meta.last),
        Effect::SendSnapshot { to, meta, .. } => format!("send the snapshot at {} to node {to}", meta.last),
        Effect::Compact(through) => format!("purge the log up to {through}"),
        Effect::Proposed { ticket, id } => format!("request {ticket} is entry {id}"),
        Effect::Refused { ticket, reason } => format!("refuse request {ticket}: {reason}"),
        Effect::ReadConfirmed { ticket, index } => format!("read {ticket} may be served at {index}"),
        Effect::MembershipChanged(membership) => format!("count with the members {membership}"),
        Effect::ChangeCommitted {
            ticket,
            index,
            membership,
        } => {
            format!("request {ticket} is done: {membership} at {index}")
        }
        Effect::Previewed { ticket, .. } => format!("request {ticket} has its preview"),
        Effect::TransferEnded { ticket, result } => format!("transfer {ticket} ended: {result:?}"),
        Effect::Unresolved { ticket } => format!("request {ticket} may or may not happen"),
        Effect::Suspected(reason) => format!("become a suspect: {reason}"),
        Effect::TrustRestored => "trusted again".to_owned(),
        Effect::Rested(Rest::Awake) => "be awake".to_owned(),
        Effect::Rested(Rest::Leading { asleep: false, .. }) => "be awake, and ask for sleep".to_owned(),
        Effect::Rested(Rest::Leading { .. }) => "sleep, leading".to_owned(),
        Effect::Rested(Rest::Following { leader, .. }) => format!("sleep under node {leader}"),
        Effect::RoleChanged(change) => {
            let leader = change.leader.filter(|_| change.to == RoleKind::Follower);
            let leader = leader.map_or_else(String::new, |leader| format!(" of n{leader}"));
            let reason = change.reason;
            format!(
                "{} becomes {}{leader} in term {}: {reason}",
                change.from, change.to, change.term
            )
        }
        Effect::Fatal(reason) => format!("stop: {reason}"),
    }
}

/// A message in one line: from whom to whom, its name in the paper, its term in brackets, and what it says.
#[must_use]
pub fn describe_message(message: &Message) -> String {
    let Message {
        from, to, term, body, ..
    } = message;
    let (name, text) = body_text(body);
    format!("n{from}→n{to} {name} [term {term}] {text}")
        .trim_end()
        .to_owned()
}

/// Where a replica stands, in one line.
#[must_use]
pub fn describe_state(raft: &Raft) -> String {
    let status = raft.status();
    let node = |node: Option<NodeId>| node.map_or_else(|| "nobody".to_owned(), |node| format!("n{node}"));
    let suspect = if status.suspect { ", a suspect" } else { "" };
    format!(
        "{} of term {}, vote {}, leader {}, log ends at {}, durable {}, commit {}, applied {}, members {}{suspect}{}",
        status.role,
        status.term,
        node(status.vote),
        node(status.leader),
        status.appended_index,
        status.durable_index,
        status.commit_index,
        status.applied_index,
        status.membership,
        if status.asleep { ", asleep" } else { "" },
    )
}

fn body_text(body: &Body) -> (&'static str, String) {
    match body {
        Body::RequestVote(request) => {
            let wish = if request.leadership_transfer {
                ", asked to by the leader"
            } else {
                ""
            };
            ("RequestVote", format!("last {}{wish}", request.last_log))
        }
        Body::RequestVoteResponse(response) => ("RequestVoteResponse", granted(response.is_granted())),
        Body::RequestPreVote(request) => {
            let (term, last) = (request.candidate_term, request.last_log);
            ("RequestPreVote", format!("for term {term}, last {last}"))
        }
        Body::RequestPreVoteResponse(response) => {
            let (granted, term) = (granted(response.is_granted()), response.candidate_term);
            ("RequestPreVoteResponse", format!("{granted} for term {term}"))
        }
        Body::AppendEntries(request) => {
            let (prev, entries) = (request.prev, entries_text(&request.entries));
            let text = format!(
                "after {prev}: {entries}; commit {}, round {}{}",
                request.leader_commit,
                request.round,
                if request.sleep { ", asks for sleep" } else { "" }
            );
            ("AppendEntries", text)
        }
        Body::AppendEntriesResponse(response) => {
            let suspect = if response.suspect { ", a suspect" } else { "" };
            let sleeps = if response.sleeps { ", sleeps" } else { "" };
            let result = match response.result {
                AppendResult::Accepted { match_index } => format!("match {match_index}"),
                AppendResult::Rejected { prev_index, hint } => {
                    format!("rejected after {prev_index}, hint {hint}")
                }
            };
            (
                "AppendEntriesResponse",
                format!("{result}, round {}{suspect}{sleeps}", response.round),
            )
        }
        Body::TimeoutNow(request) => ("TimeoutNow", format!("last {}", request.last_log)),
        Body::TrustRestored(restored) => ("TrustRestored", format!("with {}", restored.index)),
        Body::EntriesLost(lost) => ("EntriesLost", format!("acknowledged {}", lost.acknowledged)),
        Body::ForwardRequest(request) => ("ForwardRequest", format!("request {}", request.ticket)),
        Body::Pulse(pulse) => ("Pulse", format!("number {}", pulse.id.serial)),
        Body::ForwardResponse(response) => ("ForwardResponse", format!("request {}", response.ticket)),
    }
}

fn granted(granted: bool) -> String {
    if granted { "granted" } else { "refused" }.to_owned()
}

fn persist(write: &Write) -> String {
    let mut parts = Vec::new();
    if let Some(state) = write.hard_state {
        let vote = state
            .vote
            .map_or_else(|| "nobody".to_owned(), |vote| format!("n{vote}"));
        parts.push(format!(
            "term {}, vote {vote}, commit {}",
            state.term, state.commit
        ));
    }
    if let Some(snapshot) = &write.snapshot {
        parts.push(format!("the snapshot at {} in force", snapshot.last));
    }
    match &write.log {
        LogChange::Reset(entries) => parts.push(format!("a new log with {}", entries_text(entries))),
        LogChange::Append(entries) if entries.is_empty() => {}
        LogChange::Append(entries) => parts.push(entries_text(entries)),
    }
    if parts.is_empty() {
        parts.push("nothing".to_owned());
    }
    let then = write.then.iter().map(describe_message);
    let then = match write.then.len() {
        0 => String::new(),
        _ => format!(", then send {}", listed(then)),
    };
    format!("write {}: {}{then}", write.seq, parts.join("; "))
}

fn log_read(request: &LogRead) -> String {
    let reader = match request.reader {
        LogReader::Apply => "the state machine".to_owned(),
        LogReader::Peer(peer) => format!("node {peer}"),
    };
    format!("entries {} to {} for {reader}", request.first, request.last)
}

fn entries_text(entries: &[Entry]) -> String {
    let kind = |entry: &Entry| match &entry.payload {
        Payload::Noop => "a no-op".to_owned(),
        Payload::Command(command) => format!("{} bytes", command.len()),
        Payload::Membership(membership) => format!("members {membership}"),
        Payload::Session(session) => match &session.request {
            SessionRequest::Command(command) => {
                let (bytes, id) = (command.command.len(), command.session);
                format!("{bytes} bytes, {} of session {id}", command.sequence)
            }
            SessionRequest::Open { .. } => "a session opens".to_owned(),
            SessionRequest::KeepAlive(id) => format!("session {id} goes on"),
            SessionRequest::Close(id) => format!("session {id} closes"),
        },
    };
    let bytes = |entries: &[Entry]| entries.iter().map(Entry::payload_bytes).sum::<usize>();
    match entries {
        [] => "no entry".to_owned(),
        [one] => format!("entry {} ({})", one.id, kind(one)),
        [first, .., last] => {
            let ids: [EntryId; 2] = [first.id, last.id];
            format!("entries {} to {} ({} bytes)", ids[0], ids[1], bytes(entries))
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<String>>().join(", ")
}
