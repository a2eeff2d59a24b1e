//! The roles (paper Figure 4), and the only place where one replaces another.

use super::candidate::{Candidate, Phase};
use super::follower::Follower;
use super::leader::Leader;
use super::machine::Raft;
use super::quiescence::Nap;
use crate::codec::recorded;
use crate::effect::{Effect, RoleChange, RoleChangeReason, RoleKind};
use crate::request::RefusalReason;
use crate::types::{NodeId, Term};

/// A role with the data that only it has.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

impl Role {
    pub(super) fn kind(&self) -> RoleKind {
        match self {
            Role::Follower(_) => RoleKind::Follower,
            Role::Candidate(Candidate {
                phase: Phase::PreVote,
                ..
            }) => RoleKind::PreCandidate,
            Role::Candidate(Candidate {
                phase: Phase::Vote, ..
            }) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }
}
impl Raft {
    /// Steps back, in a higher term if one is given. The election timer goes on as it was: only a leader's message or a
    /// granted vote restarts it (R22). Who slept had none.
    pub(super) fn become_follower(
        &mut self,
        term: Option<Term>,
        leader: Option<NodeId>,
        reason: RoleChangeReason,
    ) {
        if let Some(term) = term {
            self.common.adopt_term(term);
        }
        let election_deadline = match &self.role {
            Role::Follower(follower) if follower.nap.is_asleep() => self.common.random_election_deadline(),
            Role::Follower(Follower {
                election_deadline, ..
            })
            | Role::Candidate(Candidate {
                election_deadline, ..
            }) => *election_deadline,
            Role::Leader(_) => self.common.random_election_deadline(),
        };
        let follower = Follower {
            leader,
            election_deadline,
            nap: Nap::default(),
        };
        self.transition(Role::Follower(follower), leader, reason);
    }

    /// The only place where a role changes. Asserts the legal edges (mission row S13):
    ///
    /// ```text
    /// follower ──election timeout──▶ pre-candidate ──quorum would vote──▶ candidate ──quorum voted──▶ leader
    ///    ▲  ▲                            │   │ ▲ └─election timeout─┐         │  │                       │
    ///    │  └──higher term, leader found─┘   │ └────────────────────┴─────────┘  │                       │
    ///    │      or a quorum refused ◀────────┴───────────────────────────────────┘                       │
    ///    └──────────────higher term, no quorum heard from, stalled, or removed───────────────────────────┘
    /// ```
    ///
    /// A follower that its leader asks to take over becomes a candidate at once (thesis §3.10).
    pub(super) fn transition(&mut self, to: Role, leader: Option<NodeId>, reason: RoleChangeReason) {
        use RoleChangeReason as Why;
        use RoleKind as Kind;
        let (from, into) = (self.role.kind(), to.kind());
        let legal = match (from, into) {
            (Kind::Follower, Kind::Follower) => {
                let leader_changed = matches!(reason, Why::LeaderFound | Why::ElectionTimeout);
                leader_changed || matches!(reason, Why::HigherTerm { .. })
            }
            (Kind::PreCandidate | Kind::Candidate, Kind::Follower) => {
                let gives_up = matches!(reason, Why::VoteLost | Why::Suspected);
                gives_up || matches!(reason, Why::HigherTerm { .. } | Why::LeaderFound)
            }
            (Kind::Leader, Kind::Follower) => {
                let gives_up = matches!(reason, Why::QuorumLost | Why::Stalled | Why::Removed);
                gives_up || matches!(reason, Why::HigherTerm { .. })
            }
            (Kind::Follower | Kind::PreCandidate | Kind::Candidate, Kind::PreCandidate) => {
                matches!(reason, Why::ElectionTimeout | Why::CampaignRequested)
            }
            (Kind::PreCandidate, Kind::Candidate) => reason == Why::PreVoteWon,
            (Kind::Follower, Kind::Candidate) => reason == Why::TransferReceived,
            (Kind::Candidate, Kind::Leader) => reason == Why::ElectionWon,
            _ => false,
        };
        assert!(legal, "no edge leads from {from} to {into} because {reason}");
        let leader_before = self.leader();
        let old = std::mem::replace(&mut self.role, to);
        if let Role::Leader(old) = old {
            self.resolve_what_a_leader_owes(*old, leader);
        }
        if let Some(leader) = leader {
            self.common.leader_after_transfer(leader);
        }
        let term = self.term();
        let change = RoleChange {
            from,
            to: into,
            term,
            leader,
            reason,
        };
        let now = self.common.now;
        self.common.recollection.role_changed(now, leader_before, change);
        self.common.effects.push(Effect::RoleChanged(change));
    }

    /// Nobody who waited for the old leader is forgotten (R45). Commands in flight are the driver's to resolve.
    fn resolve_what_a_leader_owes(&mut self, old: Leader, leader: Option<NodeId>) {
        for ticket in old.reads.into_unresolved() {
            let reason = RefusalReason::NotLeader { leader };
            self.common.effects.push(Effect::Refused { ticket, reason });
        }
        if let Some(ticket) = old.change {
            self.common.effects.push(Effect::Unresolved { ticket });
        }
        if let Some(transfer) = old.transfer {
            self.common.outlive(transfer);
        }
    }
}

recorded!(enum Role { 0 => Follower(role), 1 => Candidate(role), 2 => Leader(role) });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::traits::Recovered;
    use crate::types::{EntryId, GroupId, Time};

    /// S13: an edge that the paper does not have is a defect of this program, and stops it.
    #[test]
    #[should_panic(expected = "no edge leads from follower to leader because a quorum voted for it")]
    fn an_edge_that_does_not_exist_is_not_taken() {
        let config = Config::new(GroupId(1), NodeId(1));
        let mut raft = Raft::new(config, Recovered::default(), EntryId::ZERO, Time::ZERO).unwrap();
        let leader = Leader::new(&mut raft.common);
        raft.transition(
            Role::Leader(Box::new(leader)),
            Some(NodeId(1)),
            RoleChangeReason::ElectionWon,
        );
    }
}
