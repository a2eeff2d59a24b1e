//! What a replica remembers for no other purpose than to explain itself: when it heard from whom, how it was answered, and
//! how it came to know the leader that it knows.
//!
//! The protocol decides nothing by it, so it takes no part in fingerprints. It is bounded: one entry for each member, and
//! the last [`LEADER_CHANGES_MAX`] changes of the leader.

use std::collections::VecDeque;

use crate::codec::recorded;
use crate::effect::RoleChange;
use crate::membership::Membership;
use crate::message::{Body, Message, VoteRefusal};
use crate::types::{Index, NodeId, Time};

/// How many changes of the leader are remembered.
const LEADER_CHANGES_MAX: usize = 8;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Recollection {
    /// The members that were heard from or asked for their votes since the start, sorted by id.
    peers: Vec<Peer>,
    /// The newest stands last.
    leader_changes: VecDeque<PastLeaderChange>,
    /// The leader that was known last.
    last_leader: Option<NodeId>,
    /// Since when no leader is known.
    leaderless_since: Option<Time>,
    /// Up to where everything was committed, and since when nothing more was although there is more.
    commit_stands: Option<(Index, Time)>,
}

/// What is remembered of another member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    id: NodeId,
    /// When a message of it arrived last; none since the start.
    pub(super) heard: Option<Time>,
    /// When it was first asked for its vote of all times at which it has not answered.
    pub(super) unanswered_since: Option<Time>,
    /// How it answered when it was last asked for its vote, or whether it would vote.
    pub(super) vote: Option<VoteAnswer>,
}

/// How a member answered when it was asked for its vote.
#[derive(Clone, Copy, Debug)]
pub(super) struct VoteAnswer {
    pub(super) at: Time,
    pub(super) refusal: Option<VoteRefusal>,
}

/// Another leader was known from some moment on, or none any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct PastLeaderChange {
    pub(super) at: Time,
    pub(super) before: Option<NodeId>,
    pub(super) change: RoleChange,
}

impl Recollection {
    /// A replica that starts at `now` knows no leader.
    pub(super) fn new(now: Time) -> Recollection {
        Recollection {
            peers: Vec::new(),
            leader_changes: VecDeque::new(),
            last_leader: None,
            leaderless_since: Some(now),
            commit_stands: None,
        }
    }

    /// A message arrived.
    pub(super) fn heard(&mut self, message: &Message, membership: &Membership, now: Time) {
        if !membership.contains(message.from) {
            return;
        }
        let refusal = match &message.body {
            Body::RequestVoteResponse(response) => Some(response.refusal),
            Body::RequestPreVoteResponse(response) => Some(response.refusal),
            _ => None,
        };
        let peer = self.peer_mut(message.from, membership);
        peer.heard = Some(now);
        peer.unanswered_since = None;
        if let Some(refusal) = refusal {
            peer.vote = Some(VoteAnswer { at: now, refusal });
        }
    }

    /// `voter` is asked for its vote, or whether it would vote.
    pub(super) fn asks_vote(&mut self, voter: NodeId, membership: &Membership, now: Time) {
        self.peer_mut(voter, membership)
            .unanswered_since
            .get_or_insert(now);
    }

    /// The entry of a member; whoever is none any more is forgotten when one is added.
    fn peer_mut(&mut self, id: NodeId, membership: &Membership) -> &mut Peer {
        if self.peer(id).is_none() {
            self.peers.retain(|peer| membership.contains(peer.id));
            let place = self.peers.partition_point(|peer| peer.id < id);
            let new = Peer {
                id,
                heard: None,
                unanswered_since: None,
                vote: None,
            };
            self.peers.insert(place, new);
        }
        let place = self.peers.partition_point(|peer| peer.id < id);
        &mut self.peers[place]
    }

    /// The role, the term or the leader changed.
    pub(super) fn role_changed(&mut self, now: Time, before: Option<NodeId>, change: RoleChange) {
        self.last_leader = change.leader.or(self.last_leader);
        self.leaderless_since = match change.leader {
            Some(_) => None,
            None => self.leaderless_since.or(Some(now)),
        };
        if before == change.leader {
            return;
        }
        if self.leader_changes.len() == LEADER_CHANGES_MAX {
            self.leader_changes.pop_front();
        }
        self.leader_changes.push_back(PastLeaderChange {
            at: now,
            before,
            change,
        });
    }

    /// At the end of a step everything up to `commit` is committed, and the log ends at `last`.
    pub(super) fn committed(&mut self, commit: Index, last: Index, now: Time) {
        if commit >= last {
            self.commit_stands = None;
        } else if self.commit_stands.is_none_or(|(index, _)| index != commit) {
            self.commit_stands = Some((commit, now));
        }
    }

    /// What is remembered of `member`.
    pub(super) fn peer(&self, member: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == member)
    }

    /// The leader that was known last, also if it is none any more.
    pub(super) fn last_leader(&self) -> Option<NodeId> {
        self.last_leader
    }

    /// Since when no leader is known; none if one is.
    pub(super) fn leaderless_since(&self) -> Option<Time> {
        self.leaderless_since
    }

    /// Since when nothing more is committed although there is more.
    pub(super) fn commit_stands_since(&self) -> Option<Time> {
        self.commit_stands.map(|(_, since)| since)
    }

    /// The last changes of the leader, the newest last.
    pub(super) fn leader_changes(&self) -> impl Iterator<Item = &PastLeaderChange> {
        self.leader_changes.iter()
    }
}

recorded!(struct Recollection { peers, leader_changes, last_leader, leaderless_since, commit_stands });
recorded!(struct Peer { id, heard, unanswered_since, vote });
recorded!(struct VoteAnswer { at, refusal });
recorded!(struct PastLeaderChange { at, before, change });
