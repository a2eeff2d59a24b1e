//! Bytes to values. The bytes may be anybody's: nothing here panics, and nothing is allocated on the word of a length.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::WireError;
use crate::entry::{Entry, LogSlice, Payload, SessionEntry};
use crate::membership::{Contact, Membership, MembershipError, MembershipParts};
use crate::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, EntriesLost, InstallSnapshot, Leadership,
    Message, Pulse, PulseId, RequestPreVote, RequestPreVoteResponse, RequestVote, RequestVoteResponse,
    SnapshotContent, SnapshotMeta, TimeoutNow, TrustRestored, VoteRefusal,
};
use crate::types::{EntryId, GroupId, Index, NodeId, Round, Sequence, SessionId, Term};

/// The payload of `kind` whose bytes are all of `bytes`.
pub fn decode_payload(kind: u8, bytes: Bytes) -> Result<Payload, WireError> {
    match kind {
        0 if bytes.is_empty() => Ok(Payload::Noop),
        0 => Err(WireError::Trailing(bytes.len())),
        1 => Ok(Payload::Command(bytes)),
        2 => {
            let mut reader = Reader(bytes);
            let membership = reader.membership()?;
            reader.finish()?;
            if membership.voters().is_empty() {
                return Err(MembershipError::NoVoters.into());
            }
            Ok(Payload::Membership(membership))
        }
        3 => {
            let mut reader = Reader(bytes);
            let entry = SessionEntry {
                elapsed_ms: reader.u64()?,
                request: reader.session_request()?,
            };
            reader.finish()?;
            Ok(Payload::Session(Arc::new(entry)))
        }
        tag => Err(WireError::Tag {
            what: "a payload",
            tag,
        }),
    }
}

/// The configuration that is all of `bytes`.
pub fn decode_membership(bytes: Bytes) -> Result<Membership, WireError> {
    let mut reader = Reader(bytes);
    let membership = reader.membership()?;
    reader.finish()?;
    Ok(membership)
}

/// The header of a snapshot stream that is all of `bytes`, and what the stream holds.
pub fn decode_install_snapshot(bytes: Bytes) -> Result<(InstallSnapshot, SnapshotContent), WireError> {
    let mut reader = Reader(bytes);
    let header = InstallSnapshot {
        group: GroupId(reader.u64()?),
        from: NodeId(reader.u64()?),
        to: NodeId(reader.u64()?),
        term: reader.term()?,
        meta: SnapshotMeta {
            last: reader.id()?,
            membership: reader.membership()?,
        },
    };
    let content = SnapshotContent {
        bytes: reader.u64()?,
        checksum: reader.u32()?,
    };
    reader.finish()?;
    Ok((header, content))
}

/// The batch of messages that is all of `bytes`.
pub fn decode_messages(bytes: Bytes) -> Result<Vec<Message>, WireError> {
    // Most are larger. If all are smaller, the memory grows with what was really read.
    const MESSAGE_BYTES_SMALL: usize = 34;
    let mut reader = Reader(bytes);
    let count = reader.length()?;
    let mut messages = Vec::with_capacity(count.min(reader.0.len() / MESSAGE_BYTES_SMALL));
    for _ in 0..count {
        messages.push(reader.message()?);
    }
    reader.finish()?;
    Ok(messages)
}

/// A contact, which is text.
pub(super) fn contact(bytes: &[u8]) -> Result<Contact, WireError> {
    let text = std::str::from_utf8(bytes).map_err(|_| WireError::NotText("a contact"))?;
    Ok(Contact::new(text)?)
}

/// A number that counts up by one, so that it stays below 2^62 for longer than any group lives. Nothing that follows from it
/// overflows, whoever sent it.
fn in_range(value: u64) -> Result<u64, WireError> {
    if value >> 62 == 0 {
        Ok(value)
    } else {
        Err(WireError::OutOfRange(value))
    }
}

/// Takes values off the front of a buffer.
pub(super) struct Reader(Bytes);

impl Reader {
    fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WireError::Trailing(self.0.len()))
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| WireError::Truncated("a byte"))
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::Tag { what: "a flag", tag }),
        }
    }

    /// Two flags in one byte, the first in the lowest bit.
    fn two_flags(&mut self) -> Result<(bool, bool), WireError> {
        match self.u8()? {
            flags @ 0..=3 => Ok((flags & 1 != 0, flags & 2 != 0)),
            tag => Err(WireError::Tag {
                what: "two flags",
                tag,
            }),
        }
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.0
            .try_get_u32_le()
            .map_err(|_| WireError::Truncated("an integer"))
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.0
            .try_get_u64_le()
            .map_err(|_| WireError::Truncated("an integer"))
    }

    /// A number of seven bits in each byte, in its shortest form: whatever is read is written as it was.
    fn compact(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self
                .0
                .try_get_u8()
                .map_err(|_| WireError::Truncated("an integer"))?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && byte > 1) || (shift > 0 && byte == 0) {
                return Err(WireError::Tag {
                    what: "the last byte of an integer",
                    tag: byte,
                });
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        // The tenth byte is at most 1, so it has ended there.
        Err(WireError::Truncated("an integer"))
    }

    fn compact_counter(&mut self) -> Result<u64, WireError> {
        in_range(self.compact()?)
    }

    fn compact_id(&mut self) -> Result<EntryId, WireError> {
        Ok(EntryId {
            term: Term(self.compact_counter()?),
            index: Index(self.compact_counter()?),
        })
    }

    fn counter(&mut self) -> Result<u64, WireError> {
        in_range(self.u64()?)
    }

    pub(super) fn term(&mut self) -> Result<Term, WireError> {
        self.counter().map(Term)
    }

    pub(super) fn index(&mut self) -> Result<Index, WireError> {
        self.counter().map(Index)
    }

    pub(super) fn sequence(&mut self) -> Result<Sequence, WireError> {
        self.counter().map(Sequence)
    }

    pub(super) fn session(&mut self) -> Result<SessionId, WireError> {
        self.counter().map(SessionId)
    }

    pub(super) fn length(&mut self) -> Result<usize, WireError> {
        let length = self
            .0
            .try_get_u32_le()
            .map_err(|_| WireError::Truncated("a length"))?;
        usize::try_from(length).map_err(|_| WireError::Truncated("a length"))
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, WireError> {
        let length = self.length()?;
        if length > self.0.len() {
            return Err(WireError::Truncated("a byte string"));
        }
        Ok(self.0.split_to(length))
    }

    fn id(&mut self) -> Result<EntryId, WireError> {
        Ok(EntryId {
            term: self.term()?,
            index: self.index()?,
        })
    }

    pub(super) fn nodes(&mut self) -> Result<Vec<NodeId>, WireError> {
        let count = self.length()?;
        if count > self.0.len() / 8 {
            return Err(WireError::Truncated("a list of nodes"));
        }
        (0..count).map(|_| Ok(NodeId(self.u64()?))).collect()
    }

    /// Empty lists are the configuration of a replica that belongs to no group yet.
    pub(super) fn membership(&mut self) -> Result<Membership, WireError> {
        let mut parts = MembershipParts {
            voters: self.nodes()?,
            outgoing: self.nodes()?,
            learners: self.nodes()?,
            learners_next: self.nodes()?,
            ..MembershipParts::default()
        };
        for _ in 0..self.length()? {
            let (node, text) = (NodeId(self.u64()?), self.bytes()?);
            parts.contacts.insert(node, contact(&text)?);
        }
        parts.highest_id = NodeId(self.u64()?);
        if parts == MembershipParts::default() {
            return Ok(Membership::empty());
        }
        Ok(Membership::from_parts(parts)?)
    }

    fn message(&mut self) -> Result<Message, WireError> {
        Ok(Message {
            group: GroupId(self.compact()?),
            from: NodeId(self.compact()?),
            to: NodeId(self.compact()?),
            term: Term(self.compact_counter()?),
            body: self.body()?,
        })
    }

    fn body(&mut self) -> Result<Body, WireError> {
        Ok(match self.u8()? {
            1 => Body::RequestVote(RequestVote {
                last_log: self.id()?,
                leadership_transfer: self.bool()?,
                incarnation: self.u64()?,
            }),
            2 => Body::RequestVoteResponse(RequestVoteResponse {
                refusal: self.vote_refusal()?,
                incarnation: self.u64()?,
            }),
            3 => Body::RequestPreVote(RequestPreVote {
                candidate_term: self.term()?,
                last_log: self.id()?,
                incarnation: self.u64()?,
            }),
            4 => Body::RequestPreVoteResponse(RequestPreVoteResponse {
                candidate_term: self.term()?,
                refusal: self.vote_refusal()?,
                incarnation: self.u64()?,
            }),
            5 => Body::AppendEntries(self.append_entries()?),
            6 => Body::AppendEntriesResponse(self.append_entries_response()?),
            7 => Body::ForwardRequest(self.forward_request()?),
            8 => Body::ForwardResponse(self.forward_response()?),
            9 => Body::TimeoutNow(TimeoutNow { last_log: self.id()? }),
            10 => Body::TrustRestored(TrustRestored {
                incarnation: self.u64()?,
                index: self.index()?,
            }),
            11 => Body::EntriesLost(EntriesLost {
                incarnation: self.u64()?,
                acknowledged: self.index()?,
            }),
            12 => Body::Pulse(self.pulse()?),
            tag => {
                return Err(WireError::Tag {
                    what: "a message",
                    tag,
                });
            }
        })
    }

    fn vote_refusal(&mut self) -> Result<Option<VoteRefusal>, WireError> {
        Ok(Some(match self.u8()? {
            0 => return Ok(None),
            1 => VoteRefusal::LaterTerm,
            2 => VoteRefusal::VotedFor(NodeId(self.compact()?)),
            3 => VoteRefusal::HearsLeader(Some(self.compact()?).filter(|id| *id != 0).map(NodeId)),
            4 => VoteRefusal::LogBehind(self.compact_id()?),
            5 => VoteRefusal::Suspect,
            6 => VoteRefusal::Founder,
            tag => {
                return Err(WireError::Tag {
                    what: "a refused vote",
                    tag,
                });
            }
        }))
    }

    fn append_entries(&mut self) -> Result<AppendEntries, WireError> {
        const ENTRY_BYTES_MIN: usize = 6;
        let prev = self.compact_id()?;
        let leader_commit = Index(self.compact_counter()?);
        let round = Round(self.compact_counter()?);
        let (prev_acknowledged, sleep) = self.two_flags()?;
        let count = usize::try_from(self.compact()?).map_err(|_| WireError::Truncated("entries"))?;
        if count > self.0.len() / ENTRY_BYTES_MIN {
            return Err(WireError::Truncated("entries"));
        }
        let mut entries = Vec::with_capacity(count);
        let mut index = prev.index;
        for _ in 0..count {
            index = index.next();
            let term = Term(self.compact_counter()?);
            let kind = self.u8()?;
            let payload = decode_payload(kind, self.bytes()?)?;
            entries.push(Entry {
                id: EntryId { term, index },
                payload,
            });
        }
        let entries = LogSlice::new(prev, entries)?.into_entries();
        Ok(AppendEntries {
            prev,
            prev_acknowledged,
            entries,
            leader_commit,
            round,
            sleep,
        })
    }

    fn append_entries_response(&mut self) -> Result<AppendEntriesResponse, WireError> {
        let round = Round(self.compact_counter()?);
        let (prev_acknowledged, sleeps) = self.two_flags()?;
        let (incarnation, suspect, lease_ms) = (self.u64()?, self.bool()?, self.u32()?);
        let disk_waits_ms = u32::try_from(self.compact()?).map_err(|_| WireError::Truncated("a duration"))?;
        let result = match self.u8()? {
            1 => AppendResult::Accepted {
                match_index: Index(self.compact_counter()?),
            },
            2 => AppendResult::Rejected {
                prev_index: Index(self.compact_counter()?),
                hint: self.compact_id()?,
            },
            tag => {
                return Err(WireError::Tag {
                    what: "an append result",
                    tag,
                });
            }
        };
        Ok(AppendEntriesResponse {
            round,
            prev_acknowledged,
            incarnation,
            suspect,
            lease_ms,
            sleeps,
            disk_waits_ms,
            result,
        })
    }

    fn pulse(&mut self) -> Result<Pulse, WireError> {
        let id = self.pulse_id()?;
        let heard = if self.bool()? {
            Some(self.pulse_id()?)
        } else {
            None
        };
        Ok(Pulse {
            id,
            heard,
            watches: self.leaderships()?,
            ended: self.leaderships()?,
        })
    }

    fn pulse_id(&mut self) -> Result<PulseId, WireError> {
        Ok(PulseId {
            incarnation: self.u64()?,
            serial: self.compact_counter()?,
        })
    }

    fn leaderships(&mut self) -> Result<Vec<Leadership>, WireError> {
        const LEADERSHIP_BYTES_MIN: usize = 2;
        let count = usize::try_from(self.compact()?).map_err(|_| WireError::Truncated("leaderships"))?;
        if count > self.0.len() / LEADERSHIP_BYTES_MIN {
            return Err(WireError::Truncated("leaderships"));
        }
        let leadership = |_| {
            Ok(Leadership {
                group: GroupId(self.compact()?),
                term: Term(self.compact_counter()?),
            })
        };
        (0..count).map(leadership).collect()
    }

    pub(super) fn size(&mut self) -> Result<usize, WireError> {
        usize::try_from(self.u64()?).map_err(|_| WireError::Truncated("a size"))
    }
}
