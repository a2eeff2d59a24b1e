//! What a replica says about itself: made for people, for tests and for the program around it. The protocol decides nothing by
//! it.

use crate::effect::RoleKind;
use crate::membership::Membership;
use crate::progress::ProgressState;
use crate::types::{EntryId, GroupId, Index, NodeId, Term, Time};

/// The state of one replica at one moment.
///
/// The four states of an entry (mission row S18) are four marks: appended, durable, committed, applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub id: NodeId,
    /// Its role.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// The leader of that term, if known.
    pub leader: Option<NodeId>,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// The latest configuration in its log.
    pub membership: Membership,
    /// Where that configuration stands in the log; the index of the snapshot in force if it is that one's.
    pub membership_index: Index,
    /// The first index that its log still has.
    pub first_index: Index,
    /// The last index in its log.
    pub appended_index: Index,
    /// The last index that is durable on its own disk.
    pub durable_index: Index,
    /// The last index that it knows to be committed.
    pub commit_index: Index,
    /// The last index that its state machine applied.
    pub applied_index: Index,
    /// The last entry that its newest snapshot covers.
    pub snapshot: EntryId,
    /// Whether it has applied again what it knew to be committed before it was last started: before that, even a read
    /// that may be stale would go backwards (R75).
    pub ready: bool,
    /// Whether it may have lost what it had promised, so that it neither votes nor counts until it has caught up (R68).
    pub suspect: bool,
    /// Whether it sleeps: nothing happens in the group, so that it neither sends nor waits for anything.
    pub asleep: bool,
    /// What it knows about the other members, if it leads; sorted by id.
    pub peers: Vec<PeerProgress>,
}

impl Status {
    /// Whether the latest configuration is committed as far as this replica knows: it can no longer be taken back.
    #[must_use]
    pub fn membership_is_committed(&self) -> bool {
        self.membership_index <= self.commit_index
    }

    /// Whether this replica was a member and is none any more, for good.
    ///
    /// It needs no memory of having been one: ids are given out in rising order and never twice (R68), so an id below the
    /// highest of a committed configuration that lacks it can never be in a later one. A higher id may yet join.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.membership_is_committed() && self.membership.is_former_member(self.id)
    }
}

/// What a leader knows about one follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The follower.
    pub id: NodeId,
    /// The last index known to be durable there and to match.
    pub match_index: Index,
    /// The next index to send.
    pub next_index: Index,
    /// How it is replicated to.
    pub state: ProgressState,
    /// Unacknowledged messages.
    pub inflight_messages: usize,
    /// Unacknowledged payload bytes.
    pub inflight_bytes: usize,
    /// When it was last heard from.
    pub last_contact: Time,
    /// Whether its acknowledgements do not count, because it may have lost what it had promised (R68).
    pub suspect: bool,
}
