//! Bytes to forwarded requests and their results.

use super::WireError;
use super::decode::{Reader, contact};
use crate::entry::{SessionCommand, SessionRequest};
use crate::membership::{ChangeError, MemberChange, MembershipError, MembershipPlan};
use crate::message::{ForwardRequest, ForwardResponse, ForwardResult};
use crate::request::{ChangePreview, ClientRequest, RefusalReason, TransferAbort, TransferResult};
use crate::types::{NodeId, Ticket};

fn unknown<T>(what: &'static str, tag: u8) -> Result<T, WireError> {
    Err(WireError::Tag { what, tag })
}

fn size(value: u64) -> Result<usize, WireError> {
    usize::try_from(value).map_err(|_| WireError::Truncated("a size"))
}

impl Reader {
    pub(super) fn forward_request(&mut self) -> Result<ForwardRequest, WireError> {
        let ticket = Ticket(self.u64()?);
        let request = match self.u8()? {
            1 => ClientRequest::Propose(self.bytes()?),
            2 => ClientRequest::ReadIndex,
            3 => self.change_membership()?,
            4 => ClientRequest::TransferLeadership(NodeId(self.u64()?)),
            5 => ClientRequest::Session(self.session_request()?),
            tag => return unknown("a forwarded request", tag),
        };
        Ok(ForwardRequest { ticket, request })
    }

    pub(super) fn session_request(&mut self) -> Result<SessionRequest, WireError> {
        Ok(match self.u8()? {
            1 => SessionRequest::Open { ttl_ms: self.u64()? },
            2 => SessionRequest::Close(self.session()?),
            3 => SessionRequest::Command(SessionCommand {
                session: self.session()?,
                sequence: self.sequence()?,
                acknowledged_below: self.sequence()?,
                command: self.bytes()?,
            }),
            4 => SessionRequest::KeepAlive(self.session()?),
            tag => return unknown("a request of a session", tag),
        })
    }

    fn change_membership(&mut self) -> Result<ClientRequest, WireError> {
        let dry_run = self.bool()?;
        // Nothing is allocated on the word of the count: each step takes its bytes first.
        let changes: Result<_, _> = (0..self.length()?).map(|_| self.member_change()).collect();
        Ok(ClientRequest::ChangeMembership {
            changes: changes?,
            dry_run,
        })
    }

    fn member_change(&mut self) -> Result<MemberChange, WireError> {
        let (tag, id, has_contact) = (self.u8()?, NodeId(self.u64()?), self.bool()?);
        let text = self.bytes()?;
        let contact = has_contact.then(|| contact(&text)).transpose()?;
        match (tag, contact) {
            (1, contact) => Ok(MemberChange::AddVoter { id, contact }),
            (2, contact) => Ok(MemberChange::AddLearner { id, contact }),
            (3, None) => Ok(MemberChange::Promote(id)),
            (4, None) => Ok(MemberChange::Demote(id)),
            (5, None) => Ok(MemberChange::Remove(id)),
            (6, Some(contact)) => Ok(MemberChange::SetContact { id, contact }),
            (tag, _) => unknown("a change of a member", tag),
        }
    }

    pub(super) fn forward_response(&mut self) -> Result<ForwardResponse, WireError> {
        let ticket = Ticket(self.u64()?);
        let result = match self.u8()? {
            1 => ForwardResult::Applied {
                index: self.index()?,
                response: self.bytes()?,
            },
            2 => ForwardResult::ReadIndex { index: self.index()? },
            3 => ForwardResult::Refused(self.refusal()?),
            4 => ForwardResult::Unknown,
            5 => ForwardResult::MembershipChanged {
                index: self.index()?,
                membership: self.membership()?,
            },
            6 => ForwardResult::Previewed(Box::new(self.preview()?)),
            7 => ForwardResult::Transferred(self.transfer_result()?),
            tag => return unknown("a forwarded result", tag),
        };
        Ok(ForwardResponse { ticket, result })
    }

    fn preview(&mut self) -> Result<ChangePreview, WireError> {
        let current = self.membership()?;
        let joint = self.bool()?.then(|| self.membership()).transpose()?;
        Ok(ChangePreview {
            plan: MembershipPlan {
                current,
                joint,
                target: self.membership()?,
            },
            reachable: self.nodes()?,
            refusal: self.bool()?.then(|| self.refusal()).transpose()?,
        })
    }

    fn transfer_result(&mut self) -> Result<TransferResult, WireError> {
        Ok(match self.u8()? {
            1 => TransferResult::Done {
                leader: NodeId(self.u64()?),
                term: self.term()?,
            },
            2 => TransferResult::Aborted(TransferAbort::TimedOut),
            3 => TransferResult::Aborted(TransferAbort::OtherLeader(NodeId(self.u64()?))),
            4 => TransferResult::Aborted(TransferAbort::TargetLeft),
            tag => return unknown("the result of a transfer", tag),
        })
    }

    fn refusal(&mut self) -> Result<RefusalReason, WireError> {
        Ok(match self.u8()? {
            1 => {
                let leader = NodeId(self.u64()?);
                RefusalReason::NotLeader {
                    leader: (leader != NodeId(0)).then_some(leader),
                }
            }
            2 => RefusalReason::Busy,
            3 => RefusalReason::TooLarge {
                bytes: self.size()?,
                bytes_max: self.size()?,
            },
            4 => RefusalReason::Stopped,
            5 => RefusalReason::Transferring {
                to: NodeId(self.u64()?),
            },
            6 => RefusalReason::NotAVoter(NodeId(self.u64()?)),
            7 => RefusalReason::MembershipChangePending,
            8 => RefusalReason::Membership(self.change_error()?),
            9 => RefusalReason::NotCaughtUp {
                learner: NodeId(self.u64()?),
                entries_behind: self.u64()?,
            },
            10 => RefusalReason::QuorumUnreachable {
                quorum: self.size()?,
                reachable: self.size()?,
            },
            11 => RefusalReason::SessionExpired(self.session()?),
            12 => RefusalReason::SequenceAcknowledged {
                acknowledged_below: self.sequence()?,
            },
            13 => RefusalReason::SessionWindowFull {
                limit: self.sequence()?,
            },
            15 => RefusalReason::Removed,
            14 => RefusalReason::TargetUnreachable(NodeId(self.u64()?)),
            tag => return unknown("a refusal", tag),
        })
    }

    fn change_error(&mut self) -> Result<ChangeError, WireError> {
        let (tag, first, second) = (self.u8()?, self.u64()?, self.u64()?);
        let id = NodeId(first);
        Ok(match tag {
            1 => ChangeError::Nothing,
            2 => ChangeError::AlreadyMember(id),
            3 => ChangeError::NotAMember(id),
            4 => ChangeError::NotALearner(id),
            5 => ChangeError::NotAVoter(id),
            6 => ChangeError::IdUsed {
                id,
                highest_id: NodeId(second),
            },
            7 => MembershipError::NoVoters.into(),
            8 => MembershipError::Duplicate(id).into(),
            9 => MembershipError::VoterAndLearner(id).into(),
            10 => MembershipError::ZeroId.into(),
            11 => MembershipError::NotOutgoing(id).into(),
            12 => MembershipError::ContactOfStranger(id).into(),
            13 => MembershipError::ContactTooLong { bytes: size(first)? }.into(),
            14 => ChangeError::IdTooHigh {
                id,
                highest_id: NodeId(second),
            },
            15 => ChangeError::TooManySteps { steps: size(first)? },
            16 => MembershipError::TooMany {
                members: size(first)?,
            }
            .into(),
            tag => return unknown("a refused change", tag),
        })
    }
}
