//! I11 Nothing is promised before it is durable (paper §5.1, Figure 2: persistent state is "updated on stable storage before
//! responding to RPCs"; R11, R55): no acknowledgement, no vote, no vote request, no count of the own disk, no reply.
//!
//! So what a replica believes to be durable, here or elsewhere, is compared with the disks.

use raft_core::effect::RoleKind;
use raft_core::message::{AppendResult, Body, ForwardResult, Message};
use raft_core::status::{PeerProgress, Status};
use raft_core::types::{Index, NodeId};

use super::Invariant;
use crate::observation::{Ending, Observation, View};

/// I11. Keeps nothing: the disks know.
#[derive(Debug, Default)]
pub(super) struct DurableBeforeTold;

impl Invariant for DurableBeforeTold {
    fn name(&self) -> &'static str {
        "I11"
    }

    fn statement(&self) -> &'static str {
        "durable before any acknowledgement, vote, count of the own disk or reply to a client"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Sent { message } => sent(message, view),
            Observation::Stepped { before, after } => {
                own_mark(after, view)?;
                if after.role == RoleKind::Leader {
                    return marks_of_others(before, after, view);
                }
                Ok(())
            }
            Observation::Applied { node, entry, .. } => {
                let disk = view.nodes.get(*node).durable();
                if disk.has(entry.id) {
                    return Ok(());
                }
                Err(format!(
                    "node {node} applies {}, and its disk ends with {}",
                    entry.id,
                    disk.last()
                ))
            }
            Observation::Returned {
                call,
                ending: Ending::Applied(reply),
            } => replied(&format!("call {}", call.0), reply.index, view),
            _ => Ok(()),
        }
    }
}

fn sent(message: &Message, view: &View<'_>) -> Result<(), String> {
    let (from, to) = (message.from, message.to);
    match &message.body {
        Body::AppendEntriesResponse(response) => match response.result {
            AppendResult::Accepted { match_index } => acknowledged(message, match_index, view),
            AppendResult::Rejected { .. } => Ok(()),
        },
        Body::RequestVoteResponse(response) if response.is_granted() => voted(message, to, view),
        // It voted for itself (R39).
        Body::RequestVote(_) => voted(message, from, view),
        Body::ForwardResponse(response) => match response.result {
            ForwardResult::Applied { index, .. } => {
                replied(&format!("the client behind node {to}"), index, view)
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The disk has what the leader has at that index. A disk that knows a later term may have had it and lost it to a later
/// leader: then nothing can be said.
fn acknowledged(message: &Message, match_index: Index, view: &View<'_>) -> Result<(), String> {
    let (from, to) = (message.from, message.to);
    let disk = view.nodes.get(from).durable();
    if disk.hard_state.term > message.term {
        return Ok(());
    }
    if match_index > disk.last().index {
        return Err(format!(
            "node {from} acknowledges {match_index} to node {to}, and its disk ends with {}",
            disk.last()
        ));
    }
    if view.history.leader_of(message.term) != Some(to) {
        return Ok(());
    }
    let leader = &view.nodes.get(to).issued;
    match leader.id_at(match_index) {
        // The log of a leader only grows while its term lasts (I4).
        Some(id) if leader.hard_state.term == message.term && !disk.has(id) => Err(format!(
            "node {from} acknowledges {match_index} to node {to}, which has {id} there; its disk has {:?}",
            disk.id_at(match_index)
        )),
        _ => Ok(()),
    }
}

fn voted(message: &Message, vote: NodeId, view: &View<'_>) -> Result<(), String> {
    let node = message.from;
    let stored = view.nodes.get(node).durable().hard_state;
    let is_stored = (stored.term, stored.vote) == (message.term, Some(vote));
    if is_stored || stored.term > message.term {
        return Ok(());
    }
    Err(format!(
        "node {node} says that it votes for node {vote} in term {}, and its disk says term {}, vote {:?}",
        message.term, stored.term, stored.vote
    ))
}

/// R56, R57: what a replica takes for durable on its own disk is there, not an entry that was overwritten since.
fn own_mark(after: &Status, view: &View<'_>) -> Result<(), String> {
    let node = view.nodes.get(after.id);
    match node.issued.id_at(after.durable_index) {
        Some(id) if !node.durable().has(id) => Err(format!(
            "R56, R57: node {} takes {id} for durable, and its disk has {:?} there and ends with {}",
            after.id,
            node.durable().id_at(id.index),
            node.durable().last()
        )),
        _ => Ok(()),
    }
}

/// What a leader counts for another replica is on that one's disk, and comes before what it is sent next (R9).
fn marks_of_others(before: &Status, after: &Status, view: &View<'_>) -> Result<(), String> {
    for (position, peer) in after.peers.iter().enumerate() {
        let PeerProgress {
            id,
            match_index,
            next_index,
            ..
        } = *peer;
        if match_index >= next_index {
            return Err(format!(
                "R9: node {} would send node {id} what is at {next_index}, which matches up to {match_index} already",
                after.id
            ));
        }
        let was = before.peers.get(position).filter(|was| was.id == id);
        if was.is_some_and(|was| was.match_index >= match_index) || !view.nodes.contains(id) {
            continue;
        }
        let (own, other) = (&view.nodes.get(after.id).issued, view.nodes.get(id));
        let is_of_this_term = other.durable().hard_state.term == after.term && !other.lost;
        if let Some(entry) = own.id_at(match_index)
            && is_of_this_term
            && !other.durable().has(entry)
        {
            return Err(format!(
                "node {} leads term {} and counts {entry} for node {id}, whose disk ends with {}",
                after.id,
                after.term,
                other.durable().last()
            ));
        }
    }
    Ok(())
}

/// A client hears that its command was applied: it is committed.
fn replied(who: &str, index: Index, view: &View<'_>) -> Result<(), String> {
    let commit = view.history.commit();
    if index <= commit {
        return Ok(());
    }
    Err(format!(
        "{who} hears that its command was applied at {index}, and what is committed ends with {commit}"
    ))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::message::{AppendEntriesResponse, RequestVote, RequestVoteResponse};
    use raft_core::progress::ProgressState;
    use raft_core::sessions::Reply;
    use raft_core::types::{EntryId, Round, Time};

    use super::super::world_for_tests::{Nothing, SmallWorld, assert_violated, command, entries, message};
    use super::*;
    use crate::observation::CallId;

    fn send(world: &mut SmallWorld, from: u64, to: u64, body: Body) -> Result<(), String> {
        let message = &message(from, to, 2, body);
        world.show(&mut DurableBeforeTold, &Observation::Sent { message })
    }

    fn accept(match_index: u64) -> Body {
        let match_index = Index(match_index);
        Body::AppendEntriesResponse(AppendEntriesResponse {
            round: Round(1),
            prev_acknowledged: false,
            incarnation: 1,
            suspect: false,
            lease_ms: 0,
            disk_waits_ms: 0,
            result: AppendResult::Accepted { match_index },
            sleeps: false,
        })
    }

    /// Node 1 leads term 2 with three entries; node 2 has them in its log.
    fn world() -> SmallWorld {
        let mut world = SmallWorld::new(3);
        world.set_hard_state(1, 2, Some(1));
        world.set_hard_state(2, 2, Some(1));
        world.store(&[1], &entries(1..=3, 2));
        assert_eq!(world.change_role(&mut Nothing, 1, RoleKind::Leader, 2), Ok(()));
        assert_eq!(
            world.append(&mut Nothing, 2, RoleKind::Follower, &entries(1..=3, 2)),
            Ok(())
        );
        world
    }

    /// I11: what is durable may be acknowledged.
    #[test]
    fn an_acknowledgement_waits_for_the_disk() {
        let mut world = world();
        assert_violated(
            send(&mut world, 2, 1, accept(3)),
            "node 2 acknowledges 3 to node 1, and its disk ends with 0@0",
        );
        world.sync(2);
        assert_eq!(send(&mut world, 2, 1, accept(3)), Ok(()));
    }

    /// I11: another entry stands on the disk.
    #[test]
    fn an_acknowledgement_of_another_entry_is_found() {
        let mut world = world();
        world.store(&[2], &entries(1..=3, 1));
        assert_violated(
            send(&mut world, 2, 1, accept(2)),
            "node 2 acknowledges 2 to node 1, which has 2@2 there",
        );
        // The disk moved on to a later term: what it had before is not known.
        world.set_hard_state(2, 3, None);
        assert_eq!(send(&mut world, 2, 1, accept(2)), Ok(()));
    }

    /// I11, R39: a vote is on the disk before anybody hears of it, also one's own.
    #[test]
    fn a_vote_waits_for_the_disk() {
        let mut world = world();
        let grant = Body::RequestVoteResponse(RequestVoteResponse {
            refusal: None,
            incarnation: 0,
        });
        assert_eq!(send(&mut world, 2, 1, grant.clone()), Ok(()));
        assert_violated(
            send(&mut world, 3, 1, grant),
            "node 3 says that it votes for node 1 in term 2, and its disk says term 0",
        );
        let request = Body::RequestVote(RequestVote {
            last_log: EntryId::ZERO,
            leadership_transfer: false,
            incarnation: 0,
        });
        assert_violated(
            send(&mut world, 3, 1, request),
            "node 3 says that it votes for node 3 in term 2",
        );
    }

    /// R56, R57: the own mark is ahead of the disk, or vouches for an entry that was overwritten.
    #[test]
    fn a_mark_beyond_the_own_disk_is_found() {
        let mut world = world();
        let mut after = world.status(2);
        assert_eq!(world.step(&mut DurableBeforeTold, &after, &after), Ok(()));
        after.durable_index = Index(2);
        assert_violated(
            world.step(&mut DurableBeforeTold, &after, &after),
            "node 2 takes 2@2 for durable, and its disk has None there",
        );
        world.sync(2);
        assert_eq!(world.step(&mut DurableBeforeTold, &after, &after), Ok(()));
        let overwritten = world.append(&mut Nothing, 2, RoleKind::Follower, &entries(2..=2, 3));
        assert_eq!(overwritten, Ok(()));
        assert_violated(
            world.step(&mut DurableBeforeTold, &after, &after),
            "node 2 takes 2@3 for durable",
        );
    }

    /// I11, R9: what a leader counts for others.
    #[test]
    fn a_mark_beyond_the_disk_of_another_is_found() {
        let mut world = world();
        let (before, _) = world.commit_statuses(1, 2, 0);
        let mut after = before.clone();
        after.peers.push(PeerProgress {
            id: NodeId(2),
            match_index: Index(3),
            next_index: Index(4),
            state: ProgressState::Replicate,
            inflight_messages: 0,
            inflight_bytes: 0,
            last_contact: Time::ZERO,
            suspect: false,
        });
        assert_violated(
            world.step(&mut DurableBeforeTold, &before, &after),
            "node 1 leads term 2 and counts 3@2 for node 2, whose disk ends with 0@0",
        );
        world.sync(2);
        assert_eq!(world.step(&mut DurableBeforeTold, &before, &after), Ok(()));
        after.peers[0].next_index = Index(3);
        assert_violated(
            world.step(&mut DurableBeforeTold, &before, &after),
            "R9: node 1 would send node 2 what is at 3, which matches up to 3 already",
        );
    }

    /// I11: a reply before the commit, and an effect before the own disk has it.
    #[test]
    fn a_reply_that_is_too_early_is_found() {
        let mut world = world();
        let (entry, reply) = (
            &command(3, 2, "x"),
            Reply {
                index: Index(3),
                response: Bytes::new(),
            },
        );
        let applied = Observation::Applied {
            node: NodeId(2),
            entry,
            reply: &Ok(reply.clone()),
        };
        assert_violated(
            world.show(&mut DurableBeforeTold, &applied),
            "node 2 applies 3@2, and its disk ends with 0@0",
        );
        world.sync(2);
        assert_eq!(world.show(&mut DurableBeforeTold, &applied), Ok(()));
        let ending = &Ending::Applied(reply);
        let returned = Observation::Returned {
            call: CallId(5),
            ending,
        };
        assert_violated(
            world.show(&mut DurableBeforeTold, &returned),
            "call 5 hears that its command was applied at 3, and what is committed ends with 0",
        );
        assert_eq!(world.commit(&mut Nothing, 1, 2, 3), Ok(()));
        assert_eq!(world.show(&mut DurableBeforeTold, &returned), Ok(()));
    }
}
