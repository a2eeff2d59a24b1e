//! Messages written by hand: `send 2->1 AppendEntries term=3 prev=2@1 entries=[3@2] commit=3`.

use raft_core::entry::Payload;
use raft_core::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, EntriesLost, Message, RequestPreVote,
    RequestPreVoteResponse, RequestVote, RequestVoteResponse, TimeoutNow, TrustRestored, VoteRefusal,
};
use raft_core::types::{EntryId, Index, NodeId, Round, Term};

use super::arguments::{self, Arguments};
use super::world::GROUP;

/// The message that a `send` command describes. `known` says what an entry holds that was seen before, and `incarnation` how
/// often a node was started: a vote is an answer to the present start unless the command says otherwise.
pub(crate) fn parse(
    arguments: &Arguments,
    known: impl Fn(EntryId) -> Option<Payload>,
    incarnation: impl Fn(NodeId) -> u64,
) -> Message {
    let (from, to) = arguments.link(0);
    let term = Term(arguments.number("term", 0));
    let id = |key: &str| arguments.value(key).map_or(EntryId::ZERO, arguments::entry_id);
    let candidate_term = Term(arguments.number("candidate_term", term.0 + 1));
    let refusal = || match arguments.word(2) {
        "granted" => None,
        "refused" => Some(VoteRefusal::LaterTerm),
        other => panic!("`{other}` is neither granted nor refused"),
    };
    let round = Round(arguments.number("round", 0));
    let body = match arguments.word(1) {
        "RequestVote" => Body::RequestVote(RequestVote {
            last_log: id("last"),
            leadership_transfer: arguments.number("transfer", 0) == 1,
            incarnation: arguments.number("incarnation", 1),
        }),
        "TrustRestored" => Body::TrustRestored(TrustRestored {
            incarnation: arguments.number("incarnation", 0),
            index: Index(arguments.number("index", 0)),
        }),
        "EntriesLost" => Body::EntriesLost(EntriesLost {
            incarnation: arguments.number("incarnation", 0),
            acknowledged: Index(arguments.number("acknowledged", 0)),
        }),
        "TimeoutNow" => Body::TimeoutNow(TimeoutNow { last_log: id("last") }),
        "RequestVoteResponse" => Body::RequestVoteResponse(RequestVoteResponse {
            refusal: refusal(),
            incarnation: arguments.number("incarnation", incarnation(to)),
        }),
        "RequestPreVote" => Body::RequestPreVote(RequestPreVote {
            candidate_term,
            last_log: id("last"),
            incarnation: arguments.number("incarnation", 1),
        }),
        "RequestPreVoteResponse" => Body::RequestPreVoteResponse(RequestPreVoteResponse {
            candidate_term: Term(arguments.number("candidate_term", term.0)),
            refusal: refusal(),
            incarnation: arguments.number("incarnation", incarnation(to)),
        }),
        "AppendEntries" => Body::AppendEntries(append_entries(arguments, known, round)),
        "AppendEntriesResponse" => Body::AppendEntriesResponse(AppendEntriesResponse {
            round,
            prev_acknowledged: arguments.number("acknowledged", 0) == 1,
            incarnation: arguments.number("incarnation", 1),
            suspect: arguments.number("suspect", 0) == 1,
            lease_ms: u32::try_from(arguments.number("lease_ms", 0)).expect("a lease is short"),
            sleeps: arguments.number("sleeps", 0) == 1,
            disk_waits_ms: u32::try_from(arguments.number("disk_waits_ms", 0)).expect("a test is short"),
            result: match arguments.word(2) {
                "accepted" => AppendResult::Accepted {
                    match_index: Index(arguments.count(3, 0)),
                },
                "rejected" => AppendResult::Rejected {
                    prev_index: Index(arguments.count(3, 0)),
                    hint: id("hint"),
                },
                other => panic!("`{other}` is neither accepted nor rejected"),
            },
        }),
        other => panic!("`{other}` is no message"),
    };
    Message {
        group: GROUP,
        from,
        to,
        term,
        body,
    }
}

/// Without entries it is a heartbeat, about what was acknowledged unless the command says otherwise.
fn append_entries(
    arguments: &Arguments,
    known: impl Fn(EntryId) -> Option<Payload>,
    round: Round,
) -> AppendEntries {
    let entries = arguments
        .value("entries")
        .map_or(Vec::new(), |word| arguments::entries(word, known));
    AppendEntries {
        prev: arguments.value("prev").map_or(EntryId::ZERO, arguments::entry_id),
        prev_acknowledged: arguments.number("acknowledged", u64::from(entries.is_empty())) == 1,
        entries,
        leader_commit: Index(arguments.number("commit", 0)),
        round,
        sleep: arguments.number("sleep", 0) == 1,
    }
}
