//! The groups of a run. Each has replicas on some of the machines, clients, and watchers of its own.

use raft_core::types::GroupId;

use super::clients::Clients;
use crate::node::{Node, Nodes, Presence, ReplicaId};
use crate::requests::Requests;
use crate::watch::Watch;

/// The first group of a run; the others follow.
pub(crate) const FIRST_GROUP: GroupId = GroupId(1);

/// One group.
pub(crate) struct Group<'r> {
    pub(crate) id: GroupId,
    pub(crate) nodes: Nodes,
    pub(crate) clients: Clients,
    pub(crate) watch: Watch,
    /// What its clients ask for.
    pub(crate) requests: Box<dyn Requests + 'r>,
    /// Whether somebody destroys it: nothing is demanded of it any more.
    pub(crate) is_doomed: bool,
}

impl Group<'_> {
    /// Whether nothing of it is left, or will ever be.
    pub(crate) fn is_gone(&self) -> bool {
        let is_left = |node: &Node| matches!(node.presence, Presence::Here | Presence::Ordered);
        self.is_doomed && !self.nodes.iter().any(is_left)
    }
}

/// All groups, those that are gone as well, by their ids, which count up from 1.
#[derive(Default)]
pub(crate) struct Groups<'r>(Vec<Group<'r>>);

impl<'r> Groups<'r> {
    /// One of them; asking for one that was never made is a mistake of the simulator.
    pub(crate) fn get(&self, id: GroupId) -> &Group<'r> {
        &self.0[id.0 as usize - 1]
    }

    pub(crate) fn get_mut(&mut self, id: GroupId) -> &mut Group<'r> {
        &mut self.0[id.0 as usize - 1]
    }

    /// What a machine has of a group.
    pub(crate) fn node(&self, at: ReplicaId) -> &Node {
        self.get(at.group).nodes.get(at.node)
    }

    pub(crate) fn node_mut(&mut self, at: ReplicaId) -> &mut Node {
        self.get_mut(at.group).nodes.get_mut(at.node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Group<'r>> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group<'r>> {
        self.0.iter_mut()
    }

    /// All ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = GroupId> + use<> {
        (1..=self.0.len() as u64).map(GroupId)
    }

    /// Those that nobody destroys.
    pub(crate) fn living(&self) -> Vec<GroupId> {
        let living = self.0.iter().filter(|group| !group.is_doomed);
        living.map(|group| group.id).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The id of the next group.
    pub(crate) fn next_id(&self) -> GroupId {
        GroupId(self.0.len() as u64 + 1)
    }

    pub(crate) fn push(&mut self, group: Group<'r>) {
        debug_assert_eq!(group.id, self.next_id(), "ids count up from 1");
        self.0.push(group);
    }
}
