//! How large a message is once encoded, without encoding it: what the queue counts and the frames are cut by.

use raft_core::entry::Payload;
use raft_core::membership::Membership;
use raft_core::message::{Body, ForwardRequest, ForwardResult, Message};
use raft_core::request::ClientRequest;
use raft_core::wire::{encode_membership, encode_messages};

/// An upper bound for the rest of every body without a variable part.
const SMALL_BODY_BYTES: usize = 56;
/// An upper bound for an acknowledgement flag and the number of entries.
const APPEND_BYTES: usize = 1 + 5;
/// Kind and length of an entry.
const ENTRY_HEAD_BYTES: usize = 1 + 4;

/// Tag, session, sequence, what is acknowledged, and the length of the command: an upper bound for a session's requests.
const SESSION_HEAD_BYTES: usize = 1 + 3 * 8 + 4;

/// An upper bound of the bytes that `message` takes in a frame, exact but for a few bytes.
pub(crate) fn message_bytes(message: &Message) -> usize {
    let numbers = [message.group.0, message.from.0, message.to.0, message.term.0];
    let head = 1 + compact_bytes(numbers);
    let variable = match &message.body {
        Body::AppendEntries(request) => {
            let (prev, commit) = (request.prev, request.leader_commit);
            let numbers = [prev.term.0, prev.index.0, commit.0, request.round.0];
            let entries = request.entries.iter().map(|entry| {
                ENTRY_HEAD_BYTES + compact_bytes([entry.term().0]) + payload_bytes(&entry.payload)
            });
            return head + compact_bytes(numbers) + APPEND_BYTES + entries.sum::<usize>();
        }
        Body::ForwardRequest(ForwardRequest { request, .. }) => match request {
            ClientRequest::Propose(command) => command.len(),
            ClientRequest::Session(request) => SESSION_HEAD_BYTES + request.command_bytes(),
            ClientRequest::ChangeMembership { .. } => return written_bytes(message),
            _ => 0,
        },
        Body::ForwardResponse(response) => match &response.result {
            ForwardResult::Applied { response, .. } => response.len(),
            ForwardResult::MembershipChanged { .. } | ForwardResult::Previewed(_) => {
                return written_bytes(message);
            }
            _ => 0,
        },
        Body::Pulse(_) => return written_bytes(message),
        _ => 0,
    };
    head + SMALL_BODY_BYTES + variable
}

/// How many bytes numbers take that are written with seven bits in each byte.
fn compact_bytes<const N: usize>(numbers: [u64; N]) -> usize {
    let bits = numbers.map(|number| 64 - (number | 1).leading_zeros());
    bits.iter().map(|bits| bits.div_ceil(7) as usize).sum()
}

/// What is rare is measured by writing it.
fn written_bytes(message: &Message) -> usize {
    let mut bytes = Vec::new();
    encode_messages(std::slice::from_ref(message), &mut bytes);
    bytes.len()
}

fn payload_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Noop => 0,
        Payload::Command(command) => command.len(),
        Payload::Membership(membership) => membership_bytes(membership),
        Payload::Session(entry) => 8 + SESSION_HEAD_BYTES + entry.request.command_bytes(),
    }
}

fn membership_bytes(membership: &Membership) -> usize {
    let mut bytes = Vec::new();
    encode_membership(membership, &mut bytes);
    bytes.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use std::sync::Arc;

    use raft_core::entry::{Entry, SessionCommand, SessionEntry, SessionRequest};
    use raft_core::membership::MemberChange;
    use raft_core::message::{
        AppendEntries, AppendEntriesResponse, AppendResult, ForwardResponse, RequestPreVote, RequestVote,
    };
    use raft_core::request::RefusalReason;
    use raft_core::types::{EntryId, GroupId, Index, NodeId, Round, Sequence, SessionId, Term, Ticket};

    use super::*;

    fn session_command() -> SessionRequest {
        SessionRequest::Command(SessionCommand {
            session: SessionId(1),
            sequence: Sequence(1),
            acknowledged_below: Sequence(1),
            command: Bytes::from(vec![0; 300]),
        })
    }

    #[expect(clippy::too_many_lines, reason = "a table, one row for each body")]
    fn bodies() -> Vec<Body> {
        let membership = Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]).unwrap();
        let entries = vec![
            Entry::noop(Term(1), Index(1)),
            Entry::command(Term(1), Index(2), Bytes::from_static(b"command")),
            Entry {
                id: EntryId::new(Term(1), Index(3)),
                payload: Payload::Membership(membership),
            },
        ];
        let respond = |result| {
            Body::ForwardResponse(ForwardResponse {
                ticket: Ticket(1),
                result,
            })
        };
        vec![
            Body::RequestVote(RequestVote {
                last_log: EntryId::ZERO,
                leadership_transfer: false,
                incarnation: 0,
            }),
            Body::RequestPreVote(RequestPreVote {
                candidate_term: Term(1),
                last_log: EntryId::ZERO,
                incarnation: 1,
            }),
            Body::AppendEntries(AppendEntries {
                prev: EntryId::ZERO,
                prev_acknowledged: false,
                entries,
                leader_commit: Index(0),
                round: Round(0),
                sleep: false,
            }),
            Body::AppendEntriesResponse(AppendEntriesResponse {
                round: Round(1),
                prev_acknowledged: false,
                incarnation: 1,
                suspect: false,
                lease_ms: 0,
                disk_waits_ms: 0,
                result: AppendResult::Rejected {
                    prev_index: Index(1),
                    hint: EntryId::ZERO,
                },
                sleeps: false,
            }),
            Body::ForwardRequest(ForwardRequest {
                ticket: Ticket(1),
                request: ClientRequest::Propose(Bytes::from(vec![0; 300])),
            }),
            Body::AppendEntries(AppendEntries {
                prev: EntryId::ZERO,
                prev_acknowledged: false,
                entries: vec![Entry {
                    id: EntryId::new(Term(1), Index(1)),
                    payload: Payload::Session(Arc::new(SessionEntry {
                        elapsed_ms: 1,
                        request: session_command(),
                    })),
                }],
                leader_commit: Index(0),
                round: Round(0),
                sleep: false,
            }),
            Body::ForwardRequest(ForwardRequest {
                ticket: Ticket(1),
                request: ClientRequest::Session(session_command()),
            }),
            Body::ForwardRequest(ForwardRequest {
                ticket: Ticket(1),
                request: ClientRequest::ChangeMembership {
                    changes: vec![MemberChange::Remove(NodeId(3)); 40],
                    dry_run: true,
                },
            }),
            respond(ForwardResult::MembershipChanged {
                index: Index(1),
                membership: Membership::of_voters((1..40).map(NodeId)).unwrap(),
            }),
            respond(ForwardResult::Applied {
                index: Index(1),
                response: Bytes::from(vec![0; 300]),
            }),
            respond(ForwardResult::Refused(RefusalReason::TooLarge {
                bytes: 1,
                bytes_max: 1,
            })),
        ]
    }

    #[test]
    fn the_estimate_is_never_too_small_and_never_far_off() {
        for body in bodies() {
            let message = Message {
                group: GroupId(1),
                from: NodeId(1),
                to: NodeId(2),
                term: Term(1),
                body,
            };
            let mut encoded = Vec::new();
            encode_messages(std::slice::from_ref(&message), &mut encoded);
            let exact = encoded.len() - 4;
            let estimate = message_bytes(&message);
            assert!(
                (exact..=exact + SMALL_BODY_BYTES).contains(&estimate),
                "{estimate} for {exact}: {message:?}"
            );
        }
    }
}
