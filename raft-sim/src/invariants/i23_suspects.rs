//! I23 Suspects: a replica that may have lost what it had promised neither votes nor counts, until it has everything that
//! may have been decided with its help (R11, R68; docs/decisions/0006).
//!
//! - A suspect grants no vote and no pre-vote, does not campaign, and says in every acknowledgement that it is one.
//! - A leader commits what a quorum acknowledged to it in its term, each of them trusted by then. That is counted anew from
//!   the messages; I7 looks at disks instead.
//! - A suspect that is trusted again has everything on its disk that was committed when it was started.

use std::collections::BTreeMap;

use raft_core::effect::{RoleChange, RoleKind};
use raft_core::message::{AppendEntriesResponse, AppendResult, Body, Message};
use raft_core::status::Status;
use raft_core::types::{Index, NodeId, Term};

use super::Invariant;
use super::decisions::Decisions;
use super::quorums::is_quorum;
use crate::observation::{Observation, View};

/// I23.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    decisions: Decisions,
    nodes: BTreeMap<NodeId, Memory>,
    /// What was acknowledged to each node in the term in which it leads, or led last.
    counts: BTreeMap<NodeId, Count>,
}

/// What is known about one node.
#[derive(Debug, Default)]
struct Memory {
    /// Whether it was a suspect after its last step.
    is_suspect: bool,
    /// What was committed when it was started.
    committed: Index,
}

#[derive(Debug)]
struct Count {
    term: Term,
    acknowledged: BTreeMap<NodeId, Acknowledged>,
}

#[derive(Debug)]
struct Acknowledged {
    incarnation: u64,
    match_index: Index,
    /// Whether this incarnation ever said that it is no suspect: from then on all counts that it acknowledged.
    is_trusted: bool,
}

impl Invariant for Suspects {
    fn name(&self) -> &'static str {
        "I23"
    }

    fn statement(&self) -> &'static str {
        "a suspect neither votes nor counts before it has everything again"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        for message in self.decisions.of(seen) {
            self.decided(message)?;
        }
        match *seen {
            Observation::Started { node, .. } => {
                let status = view.nodes.get(node).status();
                let memory = Memory {
                    is_suspect: status.is_some_and(|status| status.suspect),
                    committed: view.history.commit(),
                };
                self.nodes.insert(node, memory);
                Ok(())
            }
            Observation::TrustRestored { node } => self.trusted(node, view),
            Observation::RoleChanged { node, change } => self.role_changed(node, change),
            Observation::Received { message } => {
                if let Body::AppendEntriesResponse(response) = &message.body {
                    self.acknowledged(message, *response, view);
                }
                Ok(())
            }
            Observation::Stepped { before, after } => {
                self.nodes.entry(after.id).or_default().is_suspect = after.suspect;
                self.committed(before, after, view)
            }
            _ => Ok(()),
        }
    }
}

impl Suspects {
    fn is_suspect(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|memory| memory.is_suspect)
    }

    /// A replica decided to say something.
    fn decided(&self, message: &Message) -> Result<(), String> {
        if !self.is_suspect(message.from) {
            return Ok(());
        }
        let what = match &message.body {
            Body::RequestVoteResponse(response) if response.is_granted() => "votes for",
            Body::RequestPreVoteResponse(response) if response.is_granted() => "would vote for",
            Body::AppendEntriesResponse(response) if !response.suspect => {
                "acknowledges like a trusted one to"
            }
            _ => return Ok(()),
        };
        Err(format!(
            "node {} is a suspect, and {what} node {} in term {}: {:?}",
            message.from, message.to, message.term, message.body
        ))
    }

    fn role_changed(&mut self, node: NodeId, change: &RoleChange) -> Result<(), String> {
        if change.to == RoleKind::Leader {
            let count = Count {
                term: change.term,
                acknowledged: BTreeMap::new(),
            };
            self.counts.insert(node, count);
        }
        if change.to == RoleKind::Follower || !self.is_suspect(node) {
            return Ok(());
        }
        Err(format!(
            "node {node} is a suspect and became a {} in term {}",
            change.to, change.term
        ))
    }

    fn trusted(&mut self, node: NodeId, view: &View<'_>) -> Result<(), String> {
        let memory = self.nodes.entry(node).or_default();
        // From here on it may vote, within the same step.
        memory.is_suspect = false;
        let floor = view.history.committed_at(memory.committed);
        let durable = view.nodes.get(node).durable();
        match floor.filter(|id| !durable.has(*id)) {
            Some(id) => Err(format!(
                "node {node} is trusted again; entry {id} was committed when it was started, and its disk has entries \
                 above {} up to {} only",
                durable.purged,
                durable.last()
            )),
            None => Ok(()),
        }
    }

    /// An acknowledgement reached a leader. What an earlier incarnation acknowledged counts until the new one is heard.
    fn acknowledged(&mut self, message: &Message, response: AppendEntriesResponse, view: &View<'_>) {
        let Some(count) = self
            .counts
            .get_mut(&message.to)
            .filter(|count| count.term == message.term)
        else {
            return;
        };
        let running = view.nodes.get(message.from).config.incarnation;
        let new = Acknowledged {
            incarnation: response.incarnation,
            match_index: Index::ZERO,
            is_trusted: false,
        };
        let known = count.acknowledged.entry(message.from).or_insert(new);
        if known.incarnation != response.incarnation {
            if known.incarnation == running {
                // A late answer of an earlier one.
                return;
            }
            known.incarnation = response.incarnation;
            if response.incarnation == running {
                (known.match_index, known.is_trusted) = (Index::ZERO, false);
            }
        }
        known.is_trusted |= !response.suspect;
        if let AppendResult::Accepted { match_index } = response.result {
            known.match_index = known.match_index.max(match_index);
        }
    }

    /// A step is over: what it committed first was acknowledged by a quorum.
    fn committed(&self, before: &Status, after: &Status, view: &View<'_>) -> Result<(), String> {
        let Some(last) = view.history.newly_committed().last().copied() else {
            return Ok(());
        };
        let leader = after.id;
        let Some(count) = self.counts.get(&leader) else {
            return Ok(());
        };
        if count.term != before.term && count.term != after.term {
            return Ok(());
        }
        let acknowledged = |voter: NodeId| {
            if voter == leader {
                return view.nodes.get(leader).durable().has(last);
            }
            let known = count.acknowledged.get(&voter);
            known.is_some_and(|known| known.is_trusted && known.match_index >= last.index)
        };
        let memberships = view.history.step_memberships();
        if memberships
            .iter()
            .any(|membership| is_quorum(membership, acknowledged))
        {
            return Ok(());
        }
        Err(format!(
            "node {leader} committed {last} in term {} with {}; trusted acknowledgements that reached it are {:?}",
            count.term,
            memberships.last().unwrap_or(&after.membership),
            count
                .acknowledged
                .iter()
                .filter(|(_, known)| known.is_trusted)
                .map(|(id, known)| (id.0, known.match_index.0))
                .collect::<Vec<_>>()
        ))
    }
}

#[cfg(test)]
mod tests {
    use raft_core::message::{RequestVoteResponse, VoteRefusal};
    use raft_core::types::Round;

    use super::super::world_for_tests::{Nothing, SmallWorld, assert_violated, entries, message};
    use super::*;

    fn acknowledge(from: u64, index: u64, suspect: bool) -> Message {
        let response = AppendEntriesResponse {
            round: Round(1),
            prev_acknowledged: false,
            incarnation: 0,
            suspect,
            lease_ms: 0,
            disk_waits_ms: 0,
            result: AppendResult::Accepted {
                match_index: Index(index),
            },
            sleeps: false,
        };
        message(from, 1, 1, Body::AppendEntriesResponse(response))
    }

    fn vote(granted: bool) -> Message {
        message(
            2,
            1,
            1,
            Body::RequestVoteResponse(RequestVoteResponse {
                refusal: (!granted).then_some(VoteRefusal::LaterTerm),
                incarnation: 0,
            }),
        )
    }

    /// Node 2 is a suspect after its last step.
    fn with_suspect() -> (SmallWorld, Suspects) {
        let (mut world, mut suspects) = (SmallWorld::new(3), Suspects::default());
        let mut status = world.status(2);
        status.suspect = true;
        assert_eq!(world.step(&mut suspects, &status.clone(), &status), Ok(()));
        (world, suspects)
    }

    /// I23: a suspect refuses every vote, and says what it is.
    #[test]
    fn a_suspect_that_votes_is_found() {
        let (mut world, mut suspects) = with_suspect();
        let mut say = |message: &Message| world.show(&mut suspects, &Observation::Sent { message });
        assert_eq!(say(&vote(false)), Ok(()));
        assert_violated(
            say(&vote(true)),
            "node 2 is a suspect, and votes for node 1 in term 1",
        );
        assert_eq!(say(&acknowledge(2, 1, true)), Ok(()));
        assert_violated(say(&acknowledge(2, 1, false)), "acknowledges like a trusted one");
        let campaigns = world.change_role(&mut suspects, 2, RoleKind::PreCandidate, 1);
        assert_violated(campaigns, "node 2 is a suspect and became a pre-candidate");
    }

    /// I23: a vote that was decided before the loss was known may leave after it.
    #[test]
    fn what_was_decided_before_may_leave() {
        let (mut world, mut suspects) = (SmallWorld::new(3), Suspects::default());
        let mut write = super::super::world_for_tests::write_of(&[]);
        write.then.push(vote(true));
        let begun = world.write(&mut suspects, 2, RoleKind::Follower, &write);
        assert_eq!(begun, Ok(()));
        let mut status = world.status(2);
        status.suspect = true;
        assert_eq!(world.step(&mut suspects, &status.clone(), &status), Ok(()));
        let sent = vote(true);
        assert_eq!(
            world.show(&mut suspects, &Observation::Sent { message: &sent }),
            Ok(())
        );
        let sent = world.show(&mut suspects, &Observation::Sent { message: &sent });
        assert_violated(sent, "votes for node 1");
    }

    /// I23: acknowledgements of a suspect do not make a quorum, until it is trusted again.
    #[test]
    fn a_commit_with_a_suspect_is_found() {
        for (suspect, expected) in [(true, false), (false, true)] {
            let (mut world, mut suspects) = (SmallWorld::new(3), Suspects::default());
            world.store(&[1, 2], &entries(1..=2, 1));
            assert_eq!(world.change_role(&mut suspects, 1, RoleKind::Leader, 1), Ok(()));
            for message in [acknowledge(2, 2, suspect), acknowledge(3, 1, false)] {
                let received = Observation::Received { message: &message };
                assert_eq!(world.show(&mut suspects, &received), Ok(()));
            }
            let committed = world.commit(&mut suspects, 1, 1, 2);
            if expected {
                assert_eq!(committed, Ok(()));
            } else {
                assert_violated(committed, "node 1 committed 2@1 in term 1 with {1,2,3}");
            }
        }
    }

    /// I23: who is trusted again has what was committed when it was started.
    #[test]
    fn trust_that_comes_too_early_is_found() {
        let mut world = SmallWorld::new(3);
        let mut suspects = Suspects::default();
        world.store(&[1, 3], &entries(1..=2, 1));
        assert_eq!(world.commit(&mut Nothing, 1, 1, 2), Ok(()));
        let started = Observation::Started {
            node: NodeId(2),
            recovered: &Default::default(),
            applied: raft_core::types::EntryId::ZERO,
            promised: &Default::default(),
            is_suspicious: true,
        };
        assert_eq!(world.show(&mut suspects, &started), Ok(()));
        world.store(&[2], &entries(1..=1, 1));
        let restored = Observation::TrustRestored { node: NodeId(2) };
        assert_violated(
            world.show(&mut suspects, &restored),
            "entry 2@1 was committed when it was started",
        );
        world.store(&[2], &entries(2..=2, 1));
        assert_eq!(world.show(&mut suspects, &restored), Ok(()));
    }
}
