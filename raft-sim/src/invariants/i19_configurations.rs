//! I19 Membership: at most one configuration is uncommitted, quorums of consecutive ones intersect, learners are never
//! counted, and ids are never given out twice (thesis §4.1, §4.2.1, §4.3; Ongaro 2015; R13, R61–R63, R65, R68).
//!
//! A configuration is judged when its leader appends it, at the end of that step: by then everything before it is committed,
//! and an entry of the term. Also here: the latest configuration in the log is the one that counts (thesis §4.1); a leader
//! has the votes of a quorum of voters, counted from the answers that reached it; and what is reported to an operator as
//! complete is committed and not joint.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::effect::{LogChange, RoleKind, Write};
use raft_core::entry::Payload;
use raft_core::membership::Membership;
use raft_core::message::{Body, Message};
use raft_core::status::Status;
use raft_core::types::{EntryId, Index, NodeId, Term};

use super::Invariant;
use super::quorums::{is_quorum, quorums_intersect};
use crate::disk::LogImage;
use crate::observation::{Observation, View};

/// I19.
#[derive(Debug, Default)]
pub(super) struct Configurations {
    /// Every configuration that was appended anywhere.
    known: BTreeSet<EntryId>,
    /// Those that the current step appended first.
    new: Vec<Appended>,
    /// What was reported as complete within the current step.
    complete: Vec<(NodeId, Index, Membership)>,
    /// Whose votes reached whom, in the newest term in which it was a candidate.
    votes: BTreeMap<NodeId, (Term, BTreeSet<NodeId>)>,
}

/// A configuration and the one before it in the same log.
#[derive(Debug)]
struct Appended {
    id: EntryId,
    membership: Membership,
    before_at: Index,
    before: Membership,
}

impl Invariant for Configurations {
    fn name(&self) -> &'static str {
        "I19"
    }

    fn statement(&self) -> &'static str {
        "one configuration changes at a time, by quorums that intersect, of voters only, under ids that are new"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::WriteBegun { log, write, .. } => {
                self.appended(log, write);
                Ok(())
            }
            Observation::Received { message } => {
                self.received(message);
                Ok(())
            }
            Observation::RoleChanged { node, change } if change.to == RoleKind::Leader => {
                self.elected(node, change.term, view)
            }
            Observation::Stepped { after, .. } => {
                latest_counts(after, view)?;
                let new = std::mem::take(&mut self.new);
                new.iter().try_for_each(|appended| judge(appended, after, view))?;
                let mut complete = std::mem::take(&mut self.complete).into_iter();
                complete.try_for_each(|(node, index, membership)| completed(node, index, &membership, view))
            }
            Observation::ChangeCompleted {
                node,
                index,
                membership,
            } => {
                self.complete.push((node, index, membership.clone()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Configurations {
    fn appended(&mut self, log: &LogImage, write: &Write) {
        let entries = write.log.entries();
        let is_configuration =
            |entry: &&raft_core::entry::Entry| matches!(entry.payload, Payload::Membership(_));
        if !entries.iter().any(|entry| is_configuration(&entry)) {
            return;
        }
        let first = entries[0].index();
        let (mut before_at, mut before) = match (&write.log, &write.snapshot) {
            (LogChange::Reset(_), Some(snapshot)) => (snapshot.last.index, snapshot.membership.clone()),
            _ => {
                let kept = log.memberships().rfind(|(index, _)| *index < first);
                kept.map_or_else(Default::default, |(index, membership)| {
                    (index, membership.clone())
                })
            }
        };
        for entry in entries {
            let Payload::Membership(membership) = &entry.payload else {
                continue;
            };
            if self.known.insert(entry.id) {
                self.new.push(Appended {
                    id: entry.id,
                    membership: membership.clone(),
                    before_at,
                    before,
                });
            }
            (before_at, before) = (entry.index(), membership.clone());
        }
    }

    fn received(&mut self, message: &Message) {
        let Body::RequestVoteResponse(response) = &message.body else {
            return;
        };
        let (term, voters) = self.votes.entry(message.to).or_default();
        if message.term > *term {
            (*term, *voters) = (message.term, BTreeSet::new());
        }
        if message.term == *term && response.is_granted() {
            voters.insert(message.from);
        }
    }

    /// Nobody leads without the votes of a quorum; the own one counts once it is on the own disk (R29).
    fn elected(&self, node: NodeId, term: Term, view: &View<'_>) -> Result<(), String> {
        let own = view.nodes.get(node).durable().hard_state;
        let votes = self.votes.get(&node).filter(|votes| votes.0 == term);
        let voted = |voter: NodeId| {
            if voter == node {
                (own.term, own.vote) == (term, Some(node))
            } else {
                votes.is_some_and(|(_, voters)| voters.contains(&voter))
            }
        };
        let memberships = view.history.step_memberships();
        if memberships.iter().any(|membership| is_quorum(membership, voted)) {
            return Ok(());
        }
        let others: Vec<_> = votes.map(|votes| votes.1.iter().collect()).unwrap_or_default();
        Err(format!(
            "node {node} leads term {term} in {} with the votes of {others:?}, its own being on the disk as {own:?}",
            memberships.last().cloned().unwrap_or_default()
        ))
    }
}

/// The latest configuration in the log is the one that a replica counts with.
fn latest_counts(after: &Status, view: &View<'_>) -> Result<(), String> {
    let latest = view.nodes.get(after.id).issued.membership();
    if *latest == after.membership {
        return Ok(());
    }
    Err(format!(
        "node {} counts with {} in term {}, and the latest configuration in its log is {latest}",
        after.id, after.membership, after.term
    ))
}

/// A configuration that a leader appended in the step that led to `after`.
fn judge(appended: &Appended, after: &Status, view: &View<'_>) -> Result<(), String> {
    let Appended {
        id,
        membership: new,
        before_at,
        before,
    } = appended;
    let node = after.id;
    let what = format!("node {node} appended {new} as entry {id}, after {before} at index {before_at}");
    if *before_at > after.commit_index {
        return Err(format!(
            "{what}, which is not committed there: its commit index is {}",
            after.commit_index
        ));
    }
    let committed = view.history.committed_at(after.commit_index);
    if committed.is_none_or(|committed| committed.term != id.term) {
        return Err(format!(
            "{what}, before it committed an entry of term {}: the last committed one is {committed:?}",
            id.term
        ));
    }
    if new.voters().is_empty() {
        return Err(format!("{what}: it has no voter"));
    }
    if before.is_joint() && new.is_joint() && before != new {
        return Err(format!("{what}: a joint configuration is left, not changed"));
    }
    if !quorums_intersect(before, new) {
        return Err(format!(
            "{what}: a quorum of one and a quorum of the other have no node in common"
        ));
    }
    let is_old_or_new = |id: &NodeId| before.contains(*id) || *id > before.highest_id();
    if let Some(reused) = new.members().into_iter().find(|id| !is_old_or_new(id)) {
        return Err(format!(
            "{what}: node {reused} is not above {}, the highest id that was given out",
            before.highest_id()
        ));
    }
    if new.highest_id() < before.highest_id() {
        return Err(format!(
            "{what}: the highest id that was given out falls from {} to {}",
            before.highest_id(),
            new.highest_id()
        ));
    }
    Ok(())
}

fn completed(node: NodeId, index: Index, membership: &Membership, view: &View<'_>) -> Result<(), String> {
    let what = format!("node {node} reported {membership} at index {index} as complete");
    if membership.is_joint() {
        return Err(format!("{what}: it is joint"));
    }
    match view.history.configurations().get(&index) {
        Some(committed) if committed == membership => Ok(()),
        committed => Err(format!("{what}; what is committed there is {committed:?}")),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::membership::MembershipParts;
    use raft_core::message::RequestVoteResponse;

    use super::super::world_for_tests::{
        SmallWorld, assert_violated, configuration, entries, message, voters_up_to,
    };
    use super::*;

    /// Node 1 of three leads term 1, and committed index 1.
    fn led() -> (SmallWorld, Configurations) {
        let (mut world, mut configurations) = (SmallWorld::new(3), Configurations::default());
        world.store(&[1, 2], &entries(1..=1, 1));
        assert_eq!(world.commit(&mut configurations, 1, 1, 1), Ok(()));
        (world, configurations)
    }

    /// The leader appends a configuration in one step, of which it knows `commit` to be committed.
    fn append(
        world: &mut SmallWorld,
        configurations: &mut Configurations,
        (index, term): (u64, u64),
        membership: &Membership,
        commit: u64,
    ) -> Result<(), String> {
        let entry = configuration(index, term, membership.clone());
        world.append(configurations, 1, RoleKind::Leader, &[entry])?;
        let mut after = world.status(1);
        (after.role, after.term) = (RoleKind::Leader, Term(term));
        (after.membership, after.commit_index) = (membership.clone(), Index(commit));
        world.step(configurations, &after.clone(), &after)
    }

    fn voters(ids: &[u64]) -> Membership {
        Membership::of_voters(ids.iter().map(|id| NodeId(*id))).expect("there are voters")
    }

    /// I19: one voter more is fine.
    #[test]
    fn one_more_voter_is_fine() {
        let (mut world, mut configurations) = led();
        assert_eq!(
            append(&mut world, &mut configurations, (2, 1), &voters_up_to(4), 1),
            Ok(())
        );
        assert_violated(
            append(&mut world, &mut configurations, (3, 1), &voters_up_to(5), 1),
            "after {1,2,3,4} at index 2, which is not committed there",
        );
    }

    /// I19, R61: nothing changes before an entry of the own term is committed.
    #[test]
    fn a_change_before_the_first_own_commit_is_found() {
        let (mut world, mut configurations) = led();
        assert_violated(
            append(&mut world, &mut configurations, (2, 2), &voters_up_to(4), 1),
            "before it committed an entry of term 2",
        );
    }

    /// I19: two groups that could decide apart are found.
    #[test]
    fn quorums_that_do_not_intersect_are_found() {
        let (mut world, mut configurations) = led();
        assert_violated(
            append(&mut world, &mut configurations, (2, 1), &voters(&[1, 4, 5]), 1),
            "have no node in common",
        );
    }

    /// I19, R68: an id that was given up is never given out again, and nobody forgets which ones were.
    #[test]
    fn an_id_that_is_used_twice_is_found() {
        let (mut world, mut configurations) = led();
        assert_violated(
            append(&mut world, &mut configurations, (2, 1), &voters(&[1, 2]), 1),
            "the highest id that was given out falls from 3 to 2",
        );
        let (mut world, mut configurations) = led();
        let parts = MembershipParts {
            highest_id: NodeId(3),
            ..voters(&[1, 2]).to_parts()
        };
        let fewer = Membership::from_parts(parts).expect("it is one");
        world.store(&[1, 2], &[configuration(2, 1, fewer.clone())]);
        let (before, mut after) = world.commit_statuses(1, 1, 2);
        after.membership = fewer;
        assert_eq!(world.step(&mut configurations, &before, &after), Ok(()));
        assert_violated(
            append(&mut world, &mut configurations, (3, 1), &voters(&[1, 2, 3]), 2),
            "node 3 is not above 3, the highest id that was given out",
        );
    }

    /// I19: who does not count with the latest configuration in its log is found.
    #[test]
    fn counting_with_an_older_configuration_is_found() {
        let (mut world, mut configurations) = led();
        let entry = configuration(2, 1, voters_up_to(4));
        assert_eq!(
            world.append(&mut configurations, 1, RoleKind::Leader, &[entry]),
            Ok(())
        );
        let status = world.status(1);
        assert_violated(
            world.step(&mut configurations, &status, &status),
            "the latest configuration in its log is {1,2,3,4}",
        );
    }

    /// I19: the vote of a learner elects nobody, nor does an own vote that is not on the disk.
    #[test]
    fn a_leader_without_a_quorum_of_votes_is_found() {
        let (mut world, mut configurations) = (SmallWorld::new(3), Configurations::default());
        world.history.begin_step(&voters_up_to(3));
        let mut vote = |world: &mut SmallWorld, from| {
            let vote = message(
                from,
                1,
                1,
                Body::RequestVoteResponse(RequestVoteResponse {
                    refusal: None,
                    incarnation: 0,
                }),
            );
            world.show(&mut configurations, &Observation::Received { message: &vote })
        };
        assert_eq!(vote(&mut world, 4), Ok(()));
        assert_eq!(vote(&mut world, 2), Ok(()));
        let elected = world.change_role(&mut configurations, 1, RoleKind::Leader, 1);
        assert_violated(elected, "node 1 leads term 1 in {1,2,3} with the votes of");
        world.set_hard_state(1, 1, Some(1));
        let elected = world.change_role(&mut configurations, 1, RoleKind::Leader, 1);
        assert_eq!(elected, Ok(()));
    }

    /// I19, R63: a change is complete when it is committed, and nothing is joint.
    #[test]
    fn a_change_that_is_not_committed_is_not_complete() {
        let (mut world, mut configurations) = led();
        let membership = voters_up_to(4);
        let completed = Observation::ChangeCompleted {
            node: NodeId(1),
            index: Index(2),
            membership: &membership,
        };
        assert_eq!(world.show(&mut configurations, &completed), Ok(()));
        let status = world.status(1);
        assert_violated(
            world.step(&mut configurations, &status, &status),
            "as complete; what is committed there is None",
        );
    }
}
