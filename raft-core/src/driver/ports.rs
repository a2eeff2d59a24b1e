//! What the driver asks of its surroundings, and how a client's request ends.

use bytes::Bytes;

use crate::effect::{FatalReason, Rest, RoleChange, SuspicionReason, Write};
use crate::entry::Entry;
use crate::input::LogRead;
use crate::membership::Membership;
use crate::message::{Body, ForwardResponse, ForwardResult, InstallSnapshot, Message, SnapshotMeta};
use crate::request::{ChangePreview, RefusalReason, TransferResult};
use crate::sessions::Reply;
use crate::types::{EntryId, GroupId, Index, NodeId, Term, Ticket};

/// The surroundings of a [`Driver`](super::Driver): a runtime with threads and disks, or a simulator.
///
/// No method may block: each begins something, whose end comes back as an [`Input`](crate::input::Input).
pub trait Ports {
    /// Messages for one peer, to leave together, now. Called at most once per peer and step.
    fn send(&mut self, to: NodeId, messages: Vec<Message>);

    /// Make this durable, then send what rides in `then`, then report [`Input::Persisted`](crate::input::Input).
    fn persist(&mut self, write: Write);

    /// Read entries from the log store; report `Input::LogRead`.
    fn read_log(&mut self, request: LogRead);

    /// Apply entries, [settle](ApplyBatch::settle) what their clients wait for, report `Input::Applied`.
    ///
    /// `apply`, `create_snapshot` and `restore_snapshot` take effect in the order of the calls.
    fn apply(&mut self, batch: ApplyBatch);

    /// Save a snapshot of the state; report `Input::SnapshotCreated` or `Input::SnapshotFailed`.
    fn create_snapshot(&mut self, meta: SnapshotMeta);

    /// Replace the state by a snapshot; report `Input::SnapshotRestored`.
    fn restore_snapshot(&mut self, meta: SnapshotMeta);

    /// Stream a snapshot to `header.to`; report `Input::SnapshotSent`.
    fn send_snapshot(&mut self, header: InstallSnapshot);

    /// Purge the log up to here when convenient.
    fn compact(&mut self, through: EntryId);

    /// A request of a client of this node has ended. Called exactly once per ticket, unless it is settled with its
    /// [`ApplyBatch`].
    fn resolve(&mut self, ticket: Ticket, outcome: Outcome);

    /// The members are others from now on: everyone in it must be reachable.
    fn membership_changed(&mut self, membership: &Membership);

    /// This replica may have lost what it had promised: it neither votes nor counts until it has caught up. Only people
    /// need to know.
    fn suspected(&mut self, _reason: SuspicionReason) {}

    /// This replica has caught up, and votes and counts again.
    fn trust_restored(&mut self) {}

    /// The role, the term or the known leader changed.
    fn role_changed(&mut self, change: &RoleChange);

    /// This replica fell asleep or woke up. Needed only where [`Config::quiesce_after`](crate::config::Config::quiesce_after)
    /// is set: there the node's [`Pulses`](crate::pulse::Pulses) must be told.
    fn rested(&mut self, _rest: Rest) {}

    /// The replica must stop (R11).
    fn fatal(&mut self, reason: FatalReason);
}

/// How a client's request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command was applied.
    Applied {
        /// Where in the log: for a command of a session, where it was applied first.
        index: Index,
        /// The state machine's response.
        response: Bytes,
    },
    /// The read may be served: this node has applied `index`, and with it everything acknowledged before the read.
    ReadReady {
        /// The index that had to be applied.
        index: Index,
    },
    /// A change of the members is complete.
    MembershipChanged {
        /// Where its last configuration stands in the log.
        index: Index,
        /// That configuration.
        membership: Membership,
    },
    /// What a change of the members would do.
    Previewed(Box<ChangePreview>),
    /// A transfer of leadership ended.
    Transferred(TransferResult),
    /// It had no effect and never will.
    Refused(RefusalReason),
    /// A command may or may not be applied; a read got no answer.
    Unknown,
}

/// A request of a client of another replica ends as one of an own client would.
impl From<Outcome> for ForwardResult {
    fn from(outcome: Outcome) -> ForwardResult {
        match outcome {
            Outcome::Applied { index, response } => ForwardResult::Applied { index, response },
            Outcome::ReadReady { index } => ForwardResult::ReadIndex { index },
            Outcome::MembershipChanged { index, membership } => {
                ForwardResult::MembershipChanged { index, membership }
            }
            Outcome::Previewed(preview) => ForwardResult::Previewed(preview),
            Outcome::Transferred(result) => ForwardResult::Transferred(result),
            Outcome::Refused(reason) => ForwardResult::Refused(reason),
            Outcome::Unknown => ForwardResult::Unknown,
        }
    }
}

impl From<ForwardResult> for Outcome {
    fn from(result: ForwardResult) -> Outcome {
        match result {
            ForwardResult::Applied { index, response } => Outcome::Applied { index, response },
            ForwardResult::ReadIndex { index } => Outcome::ReadReady { index },
            ForwardResult::MembershipChanged { index, membership } => {
                Outcome::MembershipChanged { index, membership }
            }
            ForwardResult::Previewed(preview) => Outcome::Previewed(preview),
            ForwardResult::Transferred(result) => Outcome::Transferred(result),
            ForwardResult::Refused(reason) => Outcome::Refused(reason),
            ForwardResult::Unknown => Outcome::Unknown,
        }
    }
}

/// Committed entries on the way to the state machine, with the clients who wait for their responses.
///
/// The fate of these clients is sealed: their commands will be applied. So whoever applies the batch answers them
/// directly, without a detour through the driver.
#[derive(Clone, Debug)]
pub struct ApplyBatch {
    /// The entries, contiguous.
    pub entries: Vec<Entry>,
    /// Who waits, in log order.
    pub(super) claims: Vec<Claim>,
    pub(super) replies: ReplyHeader,
}

/// A client that waits for the response of one entry.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The position of the entry in its batch.
    pub(super) position: usize,
    pub(super) origin: Origin,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// A client of this node.
    Client(Ticket),
    /// Another replica, on behalf of its client.
    Replica {
        from: NodeId,
        /// The ticket that it chose.
        ticket: Ticket,
    },
}

/// What every message of this replica says about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyHeader {
    pub(super) group: GroupId,
    pub(super) id: NodeId,
    pub(super) term: Term,
}

impl ReplyHeader {
    pub(super) fn message(self, to: NodeId, body: Body) -> Message {
        Message {
            group: self.group,
            from: self.id,
            to,
            term: self.term,
            body,
        }
    }

    pub(super) fn response(self, to: NodeId, ticket: Ticket, result: ForwardResult) -> Message {
        self.message(to, Body::ForwardResponse(ForwardResponse { ticket, result }))
    }
}

/// The answers to the clients of one [`ApplyBatch`].
#[derive(Debug, Default)]
pub struct Settled {
    /// Requests of clients of this node.
    pub outcomes: Vec<(Ticket, Outcome)>,
    /// Answers to other replicas, to be sent now.
    pub messages: Vec<Message>,
}

impl ApplyBatch {
    /// The last index of the batch; 0 if it is empty.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.entries.last().map_or(Index::ZERO, Entry::index)
    }

    /// The payload bytes of its entries.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.entries.iter().map(Entry::payload_bytes).sum()
    }

    /// Makes `self` the batch of `self` followed by `later`, which must continue it.
    pub fn merge(&mut self, later: ApplyBatch) {
        let offset = self.entries.len();
        self.entries.extend(later.entries);
        self.claims.extend(later.claims.into_iter().map(|claim| Claim {
            position: claim.position + offset,
            ..claim
        }));
    }

    /// The answers to those who wait, from the results of [`ReplicatedState::apply`]: one for each entry, in order. A
    /// missing result leaves its client with [`Outcome::Unknown`].
    ///
    /// [`ReplicatedState::apply`]: crate::sessions::ReplicatedState::apply
    #[must_use]
    pub fn settle(self, mut results: Vec<Result<Reply, RefusalReason>>) -> Settled {
        let mut settled = Settled::default();
        let own = |claim: &&Claim| matches!(claim.origin, Origin::Client(_));
        settled.outcomes.reserve(self.claims.iter().filter(own).count());
        for claim in self.claims {
            let outcome = match results.get_mut(claim.position) {
                Some(Ok(reply)) => Outcome::Applied {
                    index: reply.index,
                    response: std::mem::take(&mut reply.response),
                },
                Some(Err(reason)) => Outcome::Refused(*reason),
                None => Outcome::Unknown,
            };
            match claim.origin {
                Origin::Client(ticket) => settled.outcomes.push((ticket, outcome)),
                Origin::Replica { from, ticket } => {
                    let response = self.replies.response(from, ticket, outcome.into());
                    settled.messages.push(response);
                }
            }
        }
        settled
    }
}
