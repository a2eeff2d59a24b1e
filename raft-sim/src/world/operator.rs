//! Operators: they change the members, hand leadership around, and add machines.

use raft_core::input::{ChangeRequest, Input};
use raft_core::membership::{MemberChange, Membership};
use raft_core::types::{GroupId, NodeId};

use super::World;
use crate::network::NODES_MAX;
use crate::node::ReplicaId;
use crate::random::Random;
use crate::violation::Violation;

/// More members than these are not wanted.
const MEMBERS_MAX: usize = 7;

impl World<'_> {
    /// An operator asks a node for a change of the members. Returns whether the node could be asked.
    pub(super) fn change_members(&mut self, asked: ReplicaId, draw: u64) -> Result<bool, Violation> {
        let Some(membership) = self
            .groups
            .node(asked)
            .status()
            .map(|status| status.membership.clone())
        else {
            return Ok(false);
        };
        let mut random = Random::new(draw);
        let changes = self.random_changes(asked.group, &membership, &mut random);
        if changes.is_empty() {
            return Ok(false);
        }
        let request = ChangeRequest {
            ticket: self.operator_ticket(asked),
            changes,
            dry_run: random.percent(4),
        };
        self.step(asked, vec![Input::ChangeMembership(request)])?;
        Ok(true)
    }

    /// An operator asks a node to hand leadership over.
    pub(super) fn transfer(&mut self, asked: ReplicaId, to: NodeId) -> Result<(), Violation> {
        let ticket = self.operator_ticket(asked);
        self.step(asked, vec![Input::TransferLeadership { ticket, to }])
    }

    /// One to four steps as one change; some of them do not fit, and are refused.
    fn random_changes(
        &mut self,
        group: GroupId,
        membership: &Membership,
        random: &mut Random,
    ) -> Vec<MemberChange> {
        let count = 1 + if random.percent(40) { random.below(4) } else { 0 };
        let mut new = membership.highest_id();
        let mut changes = Vec::new();
        let members = membership.members();
        for _ in 0..count {
            let change = match random.below(10) {
                0..=2 if members.len() < MEMBERS_MAX => self.new_machine(group, &mut new).map(|id| {
                    let contact = None;
                    if random.percent(70) {
                        MemberChange::AddLearner { id, contact }
                    } else {
                        MemberChange::AddVoter { id, contact }
                    }
                }),
                3..=6 => random
                    .one_of(membership.learners())
                    .map(|id| MemberChange::Promote(*id)),
                7 => random
                    .one_of(membership.voters())
                    .map(|id| MemberChange::Demote(*id)),
                _ => random.one_of(&members).map(|id| MemberChange::Remove(*id)),
            };
            changes.extend(change);
        }
        changes
    }

    /// A machine that was never a member as far as the leader knows, with an id above `new`, with a replica that waits to
    /// become one. It may have been one of a change that came to nothing.
    pub(super) fn new_machine(&mut self, group: GroupId, new: &mut NodeId) -> Option<NodeId> {
        let candidate = NodeId(new.0 + 1);
        if !self.machines.contains(candidate) {
            if self.machines.len() >= NODES_MAX {
                return None;
            }
            self.add_machine();
        }
        let at = ReplicaId {
            group,
            node: candidate,
        };
        self.order_replica(at);
        *new = candidate;
        Some(candidate)
    }
}
