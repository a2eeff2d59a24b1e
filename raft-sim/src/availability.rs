//! Whether a group can go on with the nodes that are up: the proof that it can, or that nobody may expect it to (I27).
//!
//! Raft goes on while a majority of the voters can talk to each other (paper §5.1), and "majority" depends on who asks: each
//! candidate counts with the latest configuration in its own log (thesis §4.1), in both halves if that is joint. So every
//! node that is up is tried as a candidate. It is elected if a quorum votes for it: nodes that are up, trust their memory,
//! and have no newer log (paper §5.4.1). Then it commits, if a quorum of the same configuration stores what it sends. Nodes
//! that may have lost what they had promised do neither (docs/decisions/0006).

use std::fmt;

use raft_core::membership::Membership;
use raft_core::types::{EntryId, Index, NodeId, Term, Trust};

use crate::node::{Node, Nodes};

/// Whether a group can go on. Displayed, it is a proof for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// This node can be elected and commit.
    Available {
        candidate: NodeId,
        last: EntryId,
        membership: Membership,
        /// Who would vote for it.
        voters: Vec<NodeId>,
    },
    /// None can; for each that is up, why not.
    Unavailable { obstacles: Vec<(NodeId, Obstacle)> },
}

/// Why a node cannot be elected, or not commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// It may have lost what it had promised, so it does not campaign.
    Suspect,
    /// It votes in no configuration that may be in force, so it does not campaign (R26).
    NoVoter { membership: Membership },
    /// Too few would vote for it.
    TooFewVotes {
        last: EntryId,
        membership: Membership,
        answers: Vec<(NodeId, Answer)>,
    },
}

/// What a voter would answer to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    Down,
    /// It may have lost what it had promised.
    Suspect,
    /// It is blank, and knows from the candidate's log that the group has a past.
    Blank,
    /// Its own log is newer.
    NewerLog(EntryId),
}

/// Judges by what is on the disks of the nodes that are up; the others are as good as gone.
pub(crate) fn judge(nodes: &Nodes, up: &[NodeId]) -> Availability {
    let mut obstacles = Vec::new();
    for id in up {
        match try_candidate(nodes, up, nodes.get(*id)) {
            Ok(available) => return available,
            Err(obstacle) => obstacles.push((*id, obstacle)),
        }
    }
    Availability::Unavailable { obstacles }
}

fn try_candidate(nodes: &Nodes, up: &[NodeId], candidate: &Node) -> Result<Availability, Obstacle> {
    let last = candidate.durable().last();
    let membership = latest_membership(candidate).clone();
    if memory_of(candidate) == Trust::Suspect {
        return Err(Obstacle::Suspect);
    }
    if !may_campaign(candidate) {
        return Err(Obstacle::NoVoter { membership });
    }
    let mut voters: Vec<NodeId> = [membership.voters(), membership.outgoing()].concat();
    voters.sort_unstable();
    voters.dedup();
    let answer = |voter: NodeId| match up.contains(&voter).then(|| nodes.get(voter)) {
        Some(voter) => answer_of(voter, candidate.id(), last),
        None => Answer::Down,
    };
    let answers: Vec<(NodeId, Answer)> = voters.into_iter().map(|voter| (voter, answer(voter))).collect();
    let agrees = |voter: NodeId| answers.contains(&(voter, Answer::Yes));
    // Whoever would vote for it stores what it sends, too: blank founders are trusted from their vote on.
    if [membership.voters(), membership.outgoing()]
        .iter()
        .all(|half| has_majority(half, agrees))
    {
        let voters = answers.iter().filter(|(_, answer)| *answer == Answer::Yes);
        return Ok(Availability::Available {
            candidate: candidate.id(),
            last,
            voters: voters.map(|(voter, _)| *voter).collect(),
            membership,
        });
    }
    Err(Obstacle::TooFewVotes {
        last,
        membership,
        answers,
    })
}

fn answer_of(voter: &Node, candidate: NodeId, last: EntryId) -> Answer {
    let own = voter.durable().last();
    match memory_of(voter) {
        _ if own > last => Answer::NewerLog(own),
        Trust::Suspect => Answer::Suspect,
        Trust::Founder if last != EntryId::ZERO && voter.id() != candidate => Answer::Blank,
        Trust::Founder | Trust::Trusted => Answer::Yes,
    }
}

/// Whether a node can rely on its memory, as far as it knows.
fn memory_of(node: &Node) -> Trust {
    let durable = node.durable();
    let is_blank = durable.hard_state.term == Term::ZERO && durable.last() == EntryId::ZERO;
    let is_suspect = node.status().is_some_and(|status| status.suspect);
    match durable.hard_state.trust {
        _ if is_suspect => Trust::Suspect,
        Trust::Suspect => Trust::Suspect,
        _ if is_blank && latest_membership(node).voters().is_empty() => Trust::Suspect,
        _ if is_blank => Trust::Founder,
        trust => trust,
    }
}

/// The configuration that a node counts with. A first member has one before its disk has.
fn latest_membership(node: &Node) -> &Membership {
    let stored = node.durable().membership();
    if stored.voters().is_empty() && node.durable().last() == EntryId::ZERO {
        &node.founding
    } else {
        stored
    }
}

/// Whether a node is a voter of the last configuration that it knows to be committed, or of a later one.
fn may_campaign(node: &Node) -> bool {
    let durable = node.durable();
    let known = node.status().map_or(Index::ZERO, |status| status.commit_index);
    let commit = known
        .max(durable.hard_state.commit)
        .max(durable.snapshot.last.index);
    if latest_membership(node).is_voter(node.id()) {
        return true;
    }
    for (index, membership) in durable.memberships().rev() {
        if membership.is_voter(node.id()) {
            return true;
        }
        if index <= commit {
            return false;
        }
    }
    false
}

fn has_majority(half: &[NodeId], agrees: impl Fn(NodeId) -> bool) -> bool {
    let count = half.iter().filter(|voter| agrees(**voter)).count();
    half.is_empty() || count * 2 > half.len()
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Availability::Available {
                candidate,
                last,
                membership,
                voters,
            } => {
                let voters: Vec<String> = voters.iter().map(NodeId::to_string).collect();
                write!(
                    f,
                    "the group can go on: node {candidate}, whose log ends at {last}, would be elected in {membership} by \
                     nodes {}, and could commit with them",
                    voters.join(", ")
                )
            }
            Availability::Unavailable { obstacles } => {
                write!(
                    f,
                    "the group cannot go on, and need not: no node that is up can be elected"
                )?;
                obstacles
                    .iter()
                    .try_for_each(|(node, obstacle)| write!(f, "\n  node {node} {obstacle}"))
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Suspect => {
                f.write_str("is a suspect: it may have lost what it had promised, and does not campaign")
            }
            Obstacle::NoVoter { membership } => {
                write!(f, "has no vote in {membership}, and does not campaign")
            }
            Obstacle::TooFewVotes {
                last,
                membership,
                answers,
            } => {
                write!(f, "has a log that ends at {last} and counts with {membership}:")?;
                for (position, (voter, answer)) in answers.iter().enumerate() {
                    let separator = if position == 0 { "" } else { ";" };
                    write!(f, "{separator} node {voter} {answer}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Yes => f.write_str("would vote for it"),
            Answer::Down => f.write_str("is down"),
            Answer::Suspect => f.write_str("is a suspect, and votes for nobody"),
            Answer::Blank => f.write_str("is blank, and votes for nobody who has entries"),
            Answer::NewerLog(last) => write!(f, "refuses, its log ends at {last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::message::SnapshotMeta;
    use raft_core::types::{GroupId, HardState};

    use super::*;
    use crate::invariants::world_for_tests::{
        SmallWorld, configuration, entries, hard_state, id, voters_up_to, write_of,
    };

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    /// Three nodes that share two entries, and nodes 2 and 3 a third one.
    fn three() -> SmallWorld {
        let mut world = SmallWorld::new(3);
        world.store(&[1, 2, 3], &entries(1..=2, 1));
        world.store(&[2, 3], &entries(3..=3, 1));
        (1..=3).for_each(|node| world.set_hard_state(node, 1, None));
        world
    }

    /// I27: who has the newest log of a majority can be elected, also if somebody else asks first.
    #[test]
    fn the_newest_log_of_a_majority_wins() {
        let world = three();
        let expected = Availability::Available {
            candidate: NodeId(2),
            last: id(3, 1),
            membership: voters_up_to(3),
            voters: ids(&[1, 2]),
        };
        let found = judge(&world.nodes, &ids(&[1, 2]));
        assert_eq!(found, expected);
        assert_eq!(
            found.to_string(),
            "the group can go on: node 2, whose log ends at 3@1, would be elected in {1,2,3} by nodes 1, 2, and could \
             commit with them"
        );
    }

    /// I27: a minority cannot go on, and the proof says who is down and who refuses.
    #[test]
    fn a_minority_has_its_proof() {
        let mut world = three();
        assert_eq!(
            judge(&world.nodes, &ids(&[2])).to_string(),
            "the group cannot go on, and need not: no node that is up can be elected\n  node 2 has a log that ends at 3@1 \
             and counts with {1,2,3}: node 1 is down; node 2 would vote for it; node 3 is down"
        );
        // Node 3 remembers nothing but the entries.
        let write = raft_core::effect::Write {
            hard_state: Some(HardState {
                trust: Trust::Suspect,
                ..hard_state(2, None)
            }),
            ..write_of(&[])
        };
        let change = raft_core::traits::GroupWrite::new(GroupId(1), &write);
        let storage = &mut world.nodes.get_mut(NodeId(3)).storage;
        storage.write(&change).expect("it fits");
        storage.sync().expect("the disk works");
        let proof = judge(&world.nodes, &ids(&[1, 3])).to_string();
        assert!(proof.contains("node 1 has a log that ends at 2@1"), "{proof}");
        assert!(proof.contains("node 3 refuses, its log ends at 3@1"), "{proof}");
        assert!(proof.contains("node 3 is a suspect"), "{proof}");
    }

    /// I27: of a joint configuration both halves must agree, and each candidate counts with its own.
    #[test]
    fn a_joint_configuration_needs_both_halves() {
        let mut world = three();
        let joint = Membership::new(ids(&[2, 3]), ids(&[1, 2, 3]), vec![]).expect("it is one");
        world.store(&[1], &entries(3..=3, 1));
        world.store(&[1], &[configuration(4, 1, joint)]);
        let Availability::Unavailable { obstacles } = judge(&world.nodes, &ids(&[1, 2])) else {
            panic!("node 1 needs nodes 2 and 3");
        };
        assert!(
            matches!(&obstacles[0], (NodeId(1), Obstacle::TooFewVotes { membership, .. }) if membership.is_joint())
        );
        assert!(
            matches!(&obstacles[1], (NodeId(2), Obstacle::TooFewVotes { membership, .. }) if !membership.is_joint())
        );
        assert!(matches!(
            judge(&world.nodes, &ids(&[1, 2, 3])),
            Availability::Available { .. }
        ));
    }

    /// I27, R68: blank founders elect each other, and nobody who has entries.
    #[test]
    fn blank_founders_elect_each_other_only() {
        let mut world = SmallWorld::new(3);
        assert!(matches!(
            judge(&world.nodes, &ids(&[1, 2])),
            Availability::Available { .. }
        ));
        world.store(&[1], &entries(1..=1, 1));
        world.set_hard_state(1, 1, None);
        let Availability::Unavailable { obstacles } = judge(&world.nodes, &ids(&[1, 2])) else {
            panic!("node 2 may have been wiped");
        };
        let [
            (_, Obstacle::TooFewVotes { answers, .. }),
            (_, Obstacle::TooFewVotes { .. }),
        ] = &obstacles[..]
        else {
            panic!("two candidates lack votes: {obstacles:?}");
        };
        assert_eq!(answers[1], (NodeId(2), Answer::Blank));
        assert_eq!(
            world.nodes.get(NodeId(1)).durable().snapshot,
            SnapshotMeta {
                last: EntryId::ZERO,
                membership: voters_up_to(3)
            }
        );
    }

    /// I27, R26: who has no vote does not campaign.
    #[test]
    fn a_learner_does_not_campaign() {
        let mut world = three();
        let removed = Membership::of_voters(ids(&[2, 3])).expect("it is one");
        world.store(&[1], &entries(3..=3, 1));
        world.store(&[1], &[configuration(4, 1, removed.clone())]);
        let commit = raft_core::effect::Write {
            hard_state: Some(HardState {
                commit: Index(4),
                ..hard_state(1, None)
            }),
            ..write_of(&[])
        };
        let storage = &mut world.nodes.get_mut(NodeId(1)).storage;
        storage
            .write(&raft_core::traits::GroupWrite::new(GroupId(1), &commit))
            .expect("it fits");
        storage.sync().expect("the disk works");
        let expected = Availability::Unavailable {
            obstacles: vec![(NodeId(1), Obstacle::NoVoter { membership: removed })],
        };
        assert_eq!(judge(&world.nodes, &ids(&[1])), expected);
    }
}
