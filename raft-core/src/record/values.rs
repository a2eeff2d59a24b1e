//! How what a replica is given is recorded, and how it is written as Rust source.
//!
//! Everything here has public fields; what only the protocol sees says how it is recorded where it is defined.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::source::{Source, number};
use crate::codec::{CodecError, Reader, Recorded, Writer, recorded};
use crate::config::Config;
use crate::effect::{Rest, RoleChange, RoleChangeReason, RoleKind, SuspicionReason};
use crate::entry::{Entry, Payload, SessionCommand, SessionEntry, SessionRequest};
use crate::input::{ChangeRequest, Input, LogRead, LogReadResult, LogReader, Proposal, Proposed};
use crate::membership::{Contact, MemberChange, Membership, MembershipParts};
use crate::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, EntriesLost, ForwardRequest, ForwardResponse,
    InstallSnapshot, Leadership, Message, Pulse, PulseId, RequestPreVote, RequestPreVoteResponse,
    RequestVote, RequestVoteResponse, SnapshotMeta, TimeoutNow, TrustRestored, VoteRefusal,
};
use crate::traits::Recovered;
use crate::types::{
    EntryId, GroupId, HardState, Index, NodeId, Round, Sequence, SessionId, Term, Ticket, Time, Trust,
    WriteSeq,
};
use crate::wire;

/// Like [`recorded!`], for what can also be written as source.
macro_rules! value {
    (struct $type:ident { $($field:ident),* $(,)? }) => {
        recorded!(struct $type { $($field),* });

        impl Source for $type {
            fn source(&self, out: &mut String) {
                out.push_str(concat!(stringify!($type), " { "));
                $(
                    out.push_str(concat!(stringify!($field), ": "));
                    self.$field.source(out);
                    out.push_str(", ");
                )*
                end_fields(out);
            }
        }
    };
    // Only what differs from the usual is written: a field that is new does not change what was exported before.
    (struct $type:ident { $($field:ident),* $(,)? } like $usual:expr) => {
        recorded!(struct $type { $($field),* });

        impl Source for $type {
            fn source(&self, out: &mut String) {
                let (usual, text): ($type, String) = $usual(self);
                out.push_str(concat!(stringify!($type), " { "));
                $(
                    if self.$field != usual.$field {
                        out.push_str(concat!(stringify!($field), ": "));
                        self.$field.source(out);
                        out.push_str(", ");
                    }
                )*
                out.push_str("..");
                out.push_str(&text);
                out.push_str(" }");
            }
        }
    };
    (enum $type:ident { $($tag:literal => $variant:ident $({ $($field:ident),* $(,)? })? $(($item:ident))?),* $(,)? }) => {
        recorded!(enum $type { $($tag => $variant $({ $($field),* })? $(($item))?),* });

        impl Source for $type {
            fn source(&self, out: &mut String) {
                match self {
                    $($type::$variant $({ $($field),* })? $(($item))? => {
                        out.push_str(concat!(stringify!($type), "::", stringify!($variant)));
                        $(
                            out.push_str(" { ");
                            $(
                                out.push_str(concat!(stringify!($field), ": "));
                                $field.source(out);
                                out.push_str(", ");
                            )*
                            end_fields(out);
                        )?
                        $(
                            out.push('(');
                            $item.source(out);
                            out.push(')');
                        )?
                    })*
                }
            }
        }
    };
    (number $($type:ident),* $(,)?) => {
        recorded!(number $($type),*);

        $(
            impl Source for $type {
                fn source(&self, out: &mut String) {
                    write!(out, "{}({})", stringify!($type), number(self.0)).expect("a string takes everything");
                }
            }
        )*
    };
}

/// Ends a list of fields, without the comma behind the last one.
fn end_fields(out: &mut String) {
    out.truncate(out.trim_end_matches(", ").len());
    out.push_str(" }");
}

/// The settings that a replica has unless it is told otherwise, and what makes them.
fn usual_settings(config: &Config) -> (Config, String) {
    let Config { group, id, .. } = config;
    let text = format!(
        "Config::new(GroupId({}), NodeId({}))",
        number(group.0),
        number(id.0)
    );
    (Config::new(*group, *id), text)
}

/// What an empty store recovers, and what makes it.
fn nothing_recovered(_: &Recovered) -> (Recovered, String) {
    (Recovered::default(), "Recovered::default()".to_owned())
}

value!(number GroupId, NodeId, Term, Index, Round, Ticket, WriteSeq, SessionId, Sequence);
value!(struct EntryId { term, index });
value!(enum Trust { 0 => Trusted, 1 => Founder, 2 => Suspect });
value!(struct HardState { term, vote, commit, trust });

impl Source for Entry {
    fn source(&self, out: &mut String) {
        let Entry { id, payload } = self;
        out.push_str("Entry { id: ");
        id.source(out);
        out.push_str(", payload: ");
        payload.source(out);
        out.push_str(" }");
    }
}

value!(enum Payload { 0 => Noop, 1 => Command(command), 2 => Membership(membership), 3 => Session(session) });
value!(struct SessionEntry { elapsed_ms, request });
value!(enum SessionRequest { 0 => Open { ttl_ms }, 1 => KeepAlive(session), 2 => Close(session), 3 => Command(command) });
value!(struct SessionCommand { session, sequence, acknowledged_below, command });

value!(struct MembershipParts { voters, outgoing, learners, learners_next, contacts, highest_id });
value!(enum MemberChange {
    1 => AddVoter { id, contact },
    2 => AddLearner { id, contact },
    3 => Promote(id),
    4 => Demote(id),
    5 => Remove(id),
    6 => SetContact { id, contact },
});

value!(struct Message { group, from, to, term, body });
value!(enum Body {
    1 => RequestVote(body),
    2 => RequestVoteResponse(body),
    3 => RequestPreVote(body),
    4 => RequestPreVoteResponse(body),
    5 => AppendEntries(body),
    6 => AppendEntriesResponse(body),
    7 => ForwardRequest(body),
    8 => ForwardResponse(body),
    9 => TimeoutNow(body),
    10 => TrustRestored(body),
    11 => EntriesLost(body),
    12 => Pulse(body),
});
value!(struct RequestVote { last_log, leadership_transfer, incarnation });
value!(struct RequestVoteResponse { refusal, incarnation });
value!(enum VoteRefusal {
    1 => LaterTerm,
    2 => VotedFor(other),
    3 => HearsLeader(leader),
    4 => LogBehind(last_log),
    5 => Suspect,
    6 => Founder,
});
value!(struct RequestPreVote { candidate_term, last_log, incarnation });
value!(struct RequestPreVoteResponse { candidate_term, refusal, incarnation });
value!(struct AppendEntries { prev, prev_acknowledged, entries, leader_commit, round, sleep });
value!(struct AppendEntriesResponse {
    round, prev_acknowledged, incarnation, suspect, lease_ms, sleeps,
    disk_waits_ms, result,
});
value!(enum AppendResult { 1 => Accepted { match_index }, 2 => Rejected { prev_index, hint } });
value!(struct TimeoutNow { last_log });
value!(struct TrustRestored { incarnation, index });
value!(struct EntriesLost { incarnation, acknowledged });
value!(struct Pulse { id, heard, watches, ended });
value!(struct PulseId { incarnation, serial });
value!(struct Leadership { group, term });
value!(struct SnapshotMeta { last, membership });
value!(struct InstallSnapshot { group, from, to, term, meta });

value!(enum Input {
    0 => Tick,
    1 => Receive(message),
    2 => Propose(proposals),
    3 => Read(tickets),
    4 => ChangeMembership(request),
    5 => TransferLeadership { ticket, to },
    6 => Persisted(seq),
    7 => LogRead(result),
    8 => Applied(index),
    9 => SnapshotReceived(header),
    10 => SnapshotRestored(last),
    11 => SnapshotCreated(meta),
    12 => SnapshotFailed,
    13 => SnapshotSent { to, last, delivered },
    14 => RoundTrips(round_trips),
    15 => Campaign,
    16 => PeerLost(peer),
});
value!(struct Proposal { ticket, command });
value!(enum Proposed { 0 => Command(command), 1 => Session(request) });
value!(struct ChangeRequest { ticket, changes, dry_run });
value!(struct LogReadResult { request, entries });
value!(struct LogRead { reader, first, last, bytes_max });
value!(enum LogReader { 0 => Apply, 1 => Peer(peer) });

value!(struct Recovered {
    hard_state, snapshot, purged, term_runs, last_index, memberships, lost,
} like nothing_recovered);
value!(struct Config {
    group, id, election_timeout, election_timeout_max, heartbeat_interval, quiesce_after, priority, lease_drift_max, incarnation,
    random_seed, entry_bytes_max, append_bytes_max, inflight_messages_max, inflight_bytes_max, uncommitted_bytes_max,
    proposals_max, reads_max, apply_bytes_max, tail_bytes_max, snapshot_entries, snapshot_transfers_max,
    snapshot_bytes_per_second, write_stall_max, retained_entries, recording_bytes,
    recording_payloads,
} like usual_settings);

recorded!(enum Rest { 0 => Awake, 1 => Leading { term, asleep }, 2 => Following { leader, term } });
recorded!(enum SuspicionReason {
    0 => StoreNoticed,
    1 => StartedEmpty,
    2 => GroupHasPast,
    3 => EntriesLost { acknowledged, last },
});

recorded!(struct RoleChange { from, to, term, leader, reason });
recorded!(enum RoleKind { 0 => Follower, 1 => PreCandidate, 2 => Candidate, 3 => Leader });
recorded!(enum RoleChangeReason {
    0 => ElectionTimeout,
    1 => CampaignRequested,
    2 => PreVoteWon,
    3 => VoteLost,
    4 => ElectionWon,
    5 => HigherTerm { from },
    6 => LeaderFound,
    7 => QuorumLost,
    8 => TransferReceived,
    9 => Stalled,
    10 => Removed,
    11 => Suspected,
});

impl Recorded for Time {
    fn put(&self, out: &mut Writer) {
        out.number(self.as_nanos());
    }

    fn take(from: &mut Reader) -> Result<Time, CodecError> {
        from.number().map(Time::from_nanos)
    }
}

impl Recorded for Contact {
    fn put(&self, out: &mut Writer) {
        self.as_str().to_owned().put(out);
    }

    fn take(from: &mut Reader) -> Result<Contact, CodecError> {
        Contact::new(&String::take(from)?).map_err(|_| CodecError::Invalid("a contact"))
    }
}

impl Recorded for Membership {
    fn put(&self, out: &mut Writer) {
        self.to_parts().put(out);
    }

    fn take(from: &mut Reader) -> Result<Membership, CodecError> {
        let parts = MembershipParts::take(from)?;
        if parts == MembershipParts::default() {
            return Ok(Membership::empty());
        }
        Membership::from_parts(parts).map_err(|_| CodecError::Invalid("a configuration"))
    }
}

/// Requests that are forwarded never reach the protocol: only the driver knows them, and the format between nodes.
fn put_by_wire(body: Body, out: &mut Writer) {
    let message = Message {
        group: GroupId(0),
        from: NodeId(0),
        to: NodeId(0),
        term: Term::ZERO,
        body,
    };
    let mut bytes = Vec::new();
    wire::encode_messages(&[message], &mut bytes);
    bytes.len().put(out);
    out.bytes.append(&mut bytes);
}

fn take_by_wire(from: &mut Reader) -> Result<Option<Body>, CodecError> {
    let length = from.size()?;
    let messages = wire::decode_messages(from.slice(length)?);
    let mut messages = messages.map_err(|_| CodecError::Invalid("a forwarded request"))?;
    Ok(messages.pop().map(|message| message.body))
}

impl Recorded for ForwardRequest {
    fn put(&self, out: &mut Writer) {
        put_by_wire(Body::ForwardRequest(self.clone()), out);
    }

    fn take(from: &mut Reader) -> Result<ForwardRequest, CodecError> {
        match take_by_wire(from)? {
            Some(Body::ForwardRequest(request)) => Ok(request),
            _ => Err(CodecError::Invalid("a forwarded request")),
        }
    }
}

impl Recorded for ForwardResponse {
    fn put(&self, out: &mut Writer) {
        put_by_wire(Body::ForwardResponse(self.clone()), out);
    }

    fn take(from: &mut Reader) -> Result<ForwardResponse, CodecError> {
        match take_by_wire(from)? {
            Some(Body::ForwardResponse(response)) => Ok(response),
            _ => Err(CodecError::Invalid("an answer to a forwarded request")),
        }
    }
}

impl Source for Membership {
    fn source(&self, out: &mut String) {
        let parts = self.to_parts();
        if parts == MembershipParts::default() {
            out.push_str("Membership::empty()");
            return;
        }
        out.push_str("Membership::from_parts(");
        parts.source(out);
        out.push_str(").expect(\"it was one\")");
    }
}

impl Source for Contact {
    fn source(&self, out: &mut String) {
        write!(out, "Contact::new({:?}).expect(\"it was one\")", self.as_str())
            .expect("a string takes everything");
    }
}

impl Source for Time {
    fn source(&self, out: &mut String) {
        write!(out, "Time::from_nanos({})", number(self.as_nanos())).expect("a string takes everything");
    }
}

impl Source for Duration {
    fn source(&self, out: &mut String) {
        let (seconds, nanos) = (number(self.as_secs()), number(u64::from(self.subsec_nanos())));
        write!(out, "Duration::new({seconds}, {nanos})").expect("a string takes everything");
    }
}

impl Source for Bytes {
    fn source(&self, out: &mut String) {
        if !self.is_empty() && self.iter().all(|byte| *byte == 0) {
            write!(out, "Bytes::from(vec![0; {}])", number(self.len() as u64))
        } else {
            write!(out, "Bytes::from_static(b\"{}\")", self.escape_ascii())
        }
        .expect("a string takes everything");
    }
}

impl<T: Source> Source for Arc<T> {
    fn source(&self, out: &mut String) {
        out.push_str("Arc::new(");
        T::source(self, out);
        out.push(')');
    }
}

/// Nothing that the protocol takes: it stands for itself.
impl Source for ForwardRequest {
    fn source(&self, out: &mut String) {
        out.push_str("unreachable!(\"the driver keeps forwarded requests to itself\")");
    }
}

/// Nothing that the protocol takes: it stands for itself.
impl Source for ForwardResponse {
    fn source(&self, out: &mut String) {
        out.push_str("unreachable!(\"the driver keeps forwarded requests to itself\")");
    }
}
