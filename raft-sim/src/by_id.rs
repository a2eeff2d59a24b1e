//! Things of which every machine has one.

use raft_core::types::NodeId;

/// Something that belongs to one machine.
pub(crate) trait Identified {
    /// The machine.
    fn id(&self) -> NodeId;
}

/// One for each machine, by the machines' ids, which count up from 1.
#[derive(Debug)]
pub(crate) struct ById<T>(Vec<T>);

impl<T> Default for ById<T> {
    fn default() -> ById<T> {
        ById(Vec::new())
    }
}

impl<T: Identified> ById<T> {
    /// One of them; asking for one that was never made is a mistake of the simulator.
    pub(crate) fn get(&self, id: NodeId) -> &T {
        &self.0[id.0 as usize - 1]
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> &mut T {
        &mut self.0[id.0 as usize - 1]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// All ids.
    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.0.iter().map(T::id).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, id: NodeId) -> bool {
        (1..=self.0.len() as u64).contains(&id.0)
    }

    /// The id of the next machine.
    pub(crate) fn next_id(&self) -> NodeId {
        NodeId(self.0.len() as u64 + 1)
    }

    pub(crate) fn push(&mut self, one: T) {
        debug_assert_eq!(one.id(), self.next_id(), "ids count up from 1");
        self.0.push(one);
    }
}
