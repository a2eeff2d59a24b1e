//! I2 A replica votes once per term: the vote of a term is written once (paper §5.2, Figure 2: `votedFor` is stable storage).

use std::collections::BTreeMap;

use raft_core::message::Body;
use raft_core::types::{HardState, NodeId, Term};

use super::Invariant;
use crate::history::History;
use crate::observation::{Observation, View};

/// I2. Looks at each write, at each disk, and at whatever leaves, over the whole run: a restart forgets nothing. A vote that
/// no disk had and nobody was told of when its process ended was never cast.
#[derive(Debug, Default)]
pub(super) struct VoteOnce {
    /// For whom each replica voted, as far as anybody was told or a disk knew.
    votes: BTreeMap<(NodeId, Term), NodeId>,
}

impl VoteOnce {
    /// A vote for somebody who leads the term already elects nobody. A replica that lost its memory and is trusted again
    /// takes the leader for the one that it voted for (R68).
    fn cast(&mut self, voter: NodeId, term: Term, vote: NodeId, history: &History) -> Result<(), String> {
        let first = *self.votes.entry((voter, term)).or_insert(vote);
        if first == vote || history.leader_of(term) == Some(vote) {
            return Ok(());
        }
        Err(format!(
            "node {voter} voted for node {first} in term {term}, and for node {vote} as well"
        ))
    }
}

fn check_change(node: NodeId, before: HardState, after: Option<HardState>) -> Result<(), String> {
    let HardState { term, vote, .. } = before;
    match (vote, after) {
        (Some(first), Some(after)) if after.term == term && after.vote != vote => {
            let now = after
                .vote
                .map_or_else(|| "nobody".to_owned(), |vote| format!("node {vote}"));
            Err(format!(
                "node {node} voted for node {first} in term {term}, and writes that it voted for {now}"
            ))
        }
        _ => Ok(()),
    }
}

impl Invariant for VoteOnce {
    fn name(&self) -> &'static str {
        "I2"
    }

    fn statement(&self) -> &'static str {
        "the vote of a term is written once, and never another one given"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::WriteBegun { node, log, write, .. } => {
                check_change(*node, log.hard_state, write.hard_state)
            }
            Observation::WriteDurable { node, before, change } => {
                check_change(*node, *before, change.hard_state)?;
                match change
                    .hard_state
                    .and_then(|after| after.vote.map(|vote| (after.term, vote)))
                {
                    Some((term, vote)) => self.cast(*node, term, vote, view.history),
                    None => Ok(()),
                }
            }
            Observation::Sent { message } => match &message.body {
                Body::RequestVoteResponse(response) if response.is_granted() => {
                    self.cast(message.from, message.term, message.to, view.history)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::effect::{LogChange, RoleKind, Write};
    use raft_core::message::RequestVoteResponse;
    use raft_core::traits::GroupWrite;
    use raft_core::types::GroupId;

    use super::super::world_for_tests::{SmallWorld, assert_violated, hard_state, message, write_of};
    use super::*;

    /// Node 1 writes down its vote.
    fn vote(
        world: &mut SmallWorld,
        invariant: &mut VoteOnce,
        term: u64,
        vote: Option<u64>,
    ) -> Result<(), String> {
        let write = Write {
            hard_state: Some(hard_state(term, vote)),
            ..write_of(&[])
        };
        world.write(invariant, 1, RoleKind::Follower, &write)
    }

    /// What node 1 wrote down is durable.
    fn store(world: &mut SmallWorld, invariant: &mut VoteOnce, term: u64, vote: u64) -> Result<(), String> {
        let before = world.nodes.get(NodeId(1)).durable().hard_state;
        let change = &GroupWrite {
            group: GroupId(1),
            hard_state: Some(hard_state(term, Some(vote))),
            snapshot: None,
            log: LogChange::Append(Vec::new()),
        };
        world.sync(1);
        let node = NodeId(1);
        world.show(invariant, &Observation::WriteDurable { node, before, change })
    }

    fn grant(world: &mut SmallWorld, invariant: &mut VoteOnce, term: u64, to: u64) -> Result<(), String> {
        let body = Body::RequestVoteResponse(RequestVoteResponse {
            refusal: None,
            incarnation: 0,
        });
        let message = &message(1, to, term, body);
        world.show(invariant, &Observation::Sent { message })
    }

    /// I2: another term has another vote, and the same vote may be repeated.
    #[test]
    fn one_vote_per_term_is_fine() {
        let (mut world, mut invariant) = (SmallWorld::new(3), VoteOnce::default());
        assert_eq!(vote(&mut world, &mut invariant, 1, Some(2)), Ok(()));
        assert_eq!(store(&mut world, &mut invariant, 1, 2), Ok(()));
        assert_eq!(grant(&mut world, &mut invariant, 1, 2), Ok(()));
        assert_eq!(grant(&mut world, &mut invariant, 1, 2), Ok(()));
        assert_eq!(vote(&mut world, &mut invariant, 2, Some(3)), Ok(()));
        assert_eq!(store(&mut world, &mut invariant, 2, 3), Ok(()));
    }

    /// I2: a vote is changed, or taken back, in the same term.
    #[test]
    fn a_vote_that_changes_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), VoteOnce::default());
        assert_eq!(vote(&mut world, &mut invariant, 1, Some(2)), Ok(()));
        let changed = "node 1 voted for node 2 in term 1, and writes that it voted for node 3";
        assert_violated(vote(&mut world, &mut invariant, 1, Some(3)), changed);
        assert_violated(
            vote(&mut world, &mut invariant, 1, None),
            "node 1 voted for node 3 in term 1, and writes that it voted for nobody",
        );
        let (mut world, mut invariant) = (SmallWorld::new(3), VoteOnce::default());
        world.set_hard_state(1, 1, Some(2));
        assert_violated(store(&mut world, &mut invariant, 1, 3), changed);
    }

    /// I2, R32: a vote that was told and forgotten counts as well.
    #[test]
    fn a_vote_that_was_forgotten_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), VoteOnce::default());
        assert_eq!(grant(&mut world, &mut invariant, 1, 2), Ok(()));
        let forgotten = "node 1 voted for node 2 in term 1, and for node 3 as well";
        assert_violated(grant(&mut world, &mut invariant, 1, 3), forgotten);
        assert_violated(store(&mut world, &mut invariant, 1, 3), forgotten);
    }

    /// R68: who forgot its vote and is trusted again writes down the leader of the term.
    #[test]
    fn a_vote_for_the_leader_elects_nobody() {
        let (mut world, mut invariant) = (SmallWorld::new(3), VoteOnce::default());
        assert_eq!(grant(&mut world, &mut invariant, 4, 2), Ok(()));
        assert_eq!(world.change_role(&mut invariant, 3, RoleKind::Leader, 4), Ok(()));
        assert_eq!(store(&mut world, &mut invariant, 4, 3), Ok(()));
    }
}
