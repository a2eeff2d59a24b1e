//! I10 Replicated state machines: replicas that applied the same entries are in the same state, and answer the same (paper
//! §2; State Machine Safety, Figure 3).

use std::collections::HashMap;

use raft_core::entry::{Entry, Payload};
use raft_core::request::RefusalReason;
use raft_core::sessions::Reply;
use raft_core::types::{EntryId, Index, NodeId};

use super::Invariant;
use crate::observation::{Observation, View};

/// What the first state machine replied to an entry.
type FirstReply = (NodeId, Result<Reply, RefusalReason>);

/// I10.
#[derive(Debug, Default)]
pub(super) struct EqualStates {
    /// Who first reached a state of which index, and its hash.
    states: HashMap<Index, (NodeId, u64)>,
    /// The first reply to each entry that has a command, by its index.
    replies: HashMap<Index, FirstReply>,
    /// Who was shown the command at which index first, and a hash of what its state machine said: also where the session
    /// answered from memory (I15).
    responses: HashMap<Index, (NodeId, u64)>,
}

impl EqualStates {
    fn applied(
        &mut self,
        node: NodeId,
        entry: &Entry,
        reply: &Result<Reply, RefusalReason>,
    ) -> Result<(), String> {
        if !matches!(entry.payload, Payload::Command(_) | Payload::Session(_)) {
            return Ok(());
        }
        let known = self.replies.entry(entry.index());
        let (first, expected) = known.or_insert_with(|| (node, reply.clone()));
        if expected == reply {
            return Ok(());
        }
        Err(format!(
            "to {} node {first} replied {expected:?}, and node {node} replied {reply:?}",
            entry.id
        ))
    }
}

impl EqualStates {
    fn responded(&mut self, node: NodeId, responses: &[(Index, u64)]) -> Result<(), String> {
        for (index, hash) in responses {
            let (first, expected) = *self.responses.entry(*index).or_insert((node, *hash));
            if expected != *hash {
                return Err(format!(
                    "to the command at {index} the state machine of node {first} gave a response with the hash \
                     {expected:#x}, that of node {node} one with {hash:#x}"
                ));
            }
        }
        Ok(())
    }

    fn reached(&mut self, node: NodeId, last: EntryId, hash: u64) -> Result<(), String> {
        let (first, expected) = *self.states.entry(last.index).or_insert((node, hash));
        if expected == hash {
            return Ok(());
        }
        Err(format!(
            "nodes {first} and {node} applied everything up to {last}; the state of one has the hash {expected:#x}, that \
             of the other {hash:#x}"
        ))
    }
}

impl Invariant for EqualStates {
    fn name(&self) -> &'static str {
        "I10"
    }

    fn statement(&self) -> &'static str {
        "equal applied index means equal state, and equal replies on the way"
    }

    fn observe(&mut self, seen: &Observation<'_>, _view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Applied { node, entry, reply } => self.applied(*node, entry, reply),
            Observation::StateReached {
                node,
                last,
                responses,
                state_hash,
            } => {
                self.responded(*node, responses)?;
                state_hash.map_or(Ok(()), |hash| self.reached(*node, *last, hash))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::Term;

    use super::super::world_for_tests::{SmallWorld, assert_violated, command, id};
    use super::*;

    fn reach(
        world: &mut SmallWorld,
        invariant: &mut EqualStates,
        node: u64,
        state: (u64, u64),
    ) -> Result<(), String> {
        let seen = Observation::StateReached {
            node: NodeId(node),
            last: id(state.0, 1),
            responses: &[],
            state_hash: Some(state.1),
        };
        world.show(invariant, &seen)
    }

    fn apply(
        world: &mut SmallWorld,
        invariant: &mut EqualStates,
        node: u64,
        entry: &Entry,
        response: &'static str,
    ) -> Result<(), String> {
        let reply = &Ok(Reply {
            index: entry.index(),
            response: Bytes::from_static(response.as_bytes()),
        });
        let node = NodeId(node);
        world.show(invariant, &Observation::Applied { node, entry, reply })
    }

    /// I10: other indexes have other states; the reply to an entry without a command means nothing.
    #[test]
    fn equal_states_are_equal() {
        let (mut world, mut invariant) = (SmallWorld::new(3), EqualStates::default());
        assert_eq!(reach(&mut world, &mut invariant, 1, (4, 70)), Ok(()));
        assert_eq!(reach(&mut world, &mut invariant, 2, (5, 71)), Ok(()));
        assert_eq!(reach(&mut world, &mut invariant, 2, (4, 70)), Ok(()));
        let entry = &command(1, 1, "put");
        assert_eq!(apply(&mut world, &mut invariant, 1, entry, "done"), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, 2, entry, "done"), Ok(()));
        let noop = &Entry::noop(Term(1), Index(2));
        assert_eq!(apply(&mut world, &mut invariant, 1, noop, "this"), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, 2, noop, "that"), Ok(()));
    }

    /// I10: states differ, or replies.
    #[test]
    fn a_difference_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), EqualStates::default());
        assert_eq!(reach(&mut world, &mut invariant, 1, (4, 70)), Ok(()));
        assert_violated(
            reach(&mut world, &mut invariant, 3, (4, 71)),
            "nodes 1 and 3 applied everything up to 4@1",
        );
        let entry = &command(1, 1, "put");
        assert_eq!(apply(&mut world, &mut invariant, 1, entry, "done"), Ok(()));
        assert_violated(
            apply(&mut world, &mut invariant, 2, entry, "what?"),
            "to 1@1 node 1 replied",
        );
    }
}
