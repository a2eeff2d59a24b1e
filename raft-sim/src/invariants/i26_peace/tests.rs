//! I26 sees what disturbs a group, and leaders that stay too long.

use raft_core::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, RequestPreVoteResponse, RequestVote, VoteRefusal,
};
use raft_core::types::{EntryId, Round};

use super::super::world_for_tests::{SmallWorld, assert_violated, message, voters_up_to, write_of};
use super::*;
use crate::clock::Instant;

fn at(world: &mut SmallWorld, millis: u64) {
    world.now = Instant::from_millis(millis);
}

fn receive(world: &mut SmallWorld, peace: &mut Peace, message: &Message) {
    assert_eq!(world.show(peace, &Observation::Received { message }), Ok(()));
}

fn append(term: u64) -> Message {
    let request = AppendEntries {
        prev: EntryId::ZERO,
        prev_acknowledged: false,
        entries: Vec::new(),
        leader_commit: Index::ZERO,
        round: Round(1),
        sleep: false,
    };
    message(1, 2, term, Body::AppendEntries(request))
}

/// Node 2 follows node 1, which it heard at one second.
fn following() -> (SmallWorld, Peace) {
    let (mut world, mut peace) = (SmallWorld::new(3), Peace::default());
    at(&mut world, 1_000);
    receive(&mut world, &mut peace, &append(1));
    let mut status = world.status(2);
    (status.leader, status.term) = (Some(NodeId(1)), Term(1));
    assert_eq!(world.step(&mut peace, &status, &status), Ok(()));
    (world, peace)
}

/// I26: who hears a leader helps nobody else.
#[test]
fn a_pre_vote_against_a_leader_is_found() {
    let (mut world, mut peace) = following();
    let grant = |granted: bool| {
        let response = RequestPreVoteResponse {
            candidate_term: Term(2),
            refusal: (!granted).then_some(VoteRefusal::LaterTerm),
            incarnation: 0,
        };
        message(2, 3, 1, Body::RequestPreVoteResponse(response))
    };
    at(&mut world, 1_900);
    assert_eq!(
        world.show(
            &mut peace,
            &Observation::Sent {
                message: &grant(false)
            }
        ),
        Ok(())
    );
    let sent = world.show(
        &mut peace,
        &Observation::Sent {
            message: &grant(true),
        },
    );
    assert_violated(
        sent,
        "node 2 would vote for node 3 in term 2, though it heard a leader 900ms ago",
    );
    at(&mut world, 2_000);
    assert_eq!(
        world.show(
            &mut peace,
            &Observation::Sent {
                message: &grant(true)
            }
        ),
        Ok(())
    );
}

/// I26, R22: a vote request that the leader does not want raises no term.
#[test]
fn a_term_that_is_raised_by_an_isolated_node_is_found() {
    for (leadership_transfer, is_found) in [(false, true), (true, false)] {
        let (mut world, mut peace) = following();
        let request = RequestVote {
            last_log: EntryId::ZERO,
            leadership_transfer,
            incarnation: 0,
        };
        let request = message(3, 2, 7, Body::RequestVote(request));
        receive(&mut world, &mut peace, &request);
        let change = RoleChange {
            from: RoleKind::Follower,
            to: RoleKind::Follower,
            term: Term(7),
            leader: None,
            reason: RoleChangeReason::HigherTerm { from: NodeId(3) },
        };
        let node = NodeId(2);
        let adopted = world.show(
            &mut peace,
            &Observation::RoleChanged {
                node,
                change: &change,
            },
        );
        if is_found {
            assert_violated(adopted, "node 2 adopted term 7 because node 3 asked for its vote");
        } else {
            assert_eq!(adopted, Ok(()));
        }
    }
}

/// I26: nobody campaigns without the pre-votes of a quorum.
#[test]
fn a_campaign_without_pre_votes_is_found() {
    let (mut world, mut peace) = (SmallWorld::new(3), Peace::default());
    world.history.begin_step(&voters_up_to(3));
    let change = RoleChange {
        from: RoleKind::PreCandidate,
        to: RoleKind::Candidate,
        term: Term(1),
        leader: None,
        reason: RoleChangeReason::PreVoteWon,
    };
    let (node, change) = (NodeId(1), &change);
    let campaigns = world.show(&mut peace, &Observation::RoleChanged { node, change });
    assert_violated(campaigns, "node 1 campaigns in term 1 in {1,2,3}");
    let response = RequestPreVoteResponse {
        candidate_term: Term(1),
        refusal: None,
        incarnation: 0,
    };
    let granted = message(2, 1, 0, Body::RequestPreVoteResponse(response));
    receive(&mut world, &mut peace, &granted);
    let campaigns = world.show(&mut peace, &Observation::RoleChanged { node, change });
    assert_eq!(campaigns, Ok(()));
}

/// Node 1 leads term 1 from the beginning on.
fn leading() -> (SmallWorld, Peace, Status) {
    let (mut world, mut peace) = (SmallWorld::new(3), Peace::default());
    world.history.begin_step(&voters_up_to(3));
    assert_eq!(world.change_role(&mut peace, 1, RoleKind::Leader, 1), Ok(()));
    let mut status = world.status(1);
    (status.role, status.term) = (RoleKind::Leader, Term(1));
    (world, peace, status)
}

/// I26, R36: a leader that hears nobody gives up, and one that hears a quorum does not have to.
#[test]
fn a_leader_that_nobody_hears_is_found() {
    let (mut world, mut peace, status) = leading();
    at(&mut world, 900);
    let response = AppendEntriesResponse {
        round: Round(1),
        prev_acknowledged: false,
        incarnation: 1,
        suspect: false,
        lease_ms: 0,
        disk_waits_ms: 0,
        result: AppendResult::Accepted {
            match_index: Index::ZERO,
        },
        sleeps: false,
    };
    receive(
        &mut world,
        &mut peace,
        &message(3, 1, 1, Body::AppendEntriesResponse(response)),
    );
    at(&mut world, 1_899);
    assert_eq!(world.step(&mut peace, &status, &status), Ok(()));
    at(&mut world, 1_900);
    assert_violated(
        world.step(&mut peace, &status, &status),
        "node 1 goes on leading term 1, and heard no quorum of {1,2,3} for 1s",
    );
}

/// I26, R35: a leader whose disk stands still gives up, if anybody could take over.
#[test]
fn a_leader_with_a_stalled_disk_is_found() {
    let (mut world, mut peace, mut status) = leading();
    world.start(1);
    let node = world.nodes.get_mut(NodeId(1));
    node.process
        .as_mut()
        .expect("it runs")
        .writes
        .push_back(write_of(&[]));
    status.peers = vec![raft_core::status::PeerProgress {
        id: NodeId(2),
        match_index: Index(1),
        next_index: Index(2),
        state: raft_core::progress::ProgressState::Replicate,
        inflight_messages: 0,
        inflight_bytes: 0,
        last_contact: Time::ZERO + std::time::Duration::from_millis(900),
        suspect: false,
    }];
    at(&mut world, 1_000);
    let leadership = peace.leaders.get_mut(&NodeId(1)).expect("it leads");
    leadership.since = Time::ZERO + std::time::Duration::from_millis(1_000);
    assert_violated(
        world.step(&mut peace, &status, &status),
        "its disk stands still for 1s, and others could take over",
    );
    status.peers.clear();
    assert_eq!(world.step(&mut peace, &status, &status), Ok(()));
}

/// I26: who left its leader for a term may adopt a later one in the same step, whoever asks for it.
#[test]
fn who_left_its_leader_may_adopt_a_term() {
    let (mut world, mut peace) = following();
    let refusal = RequestPreVoteResponse {
        candidate_term: Term(6),
        refusal: Some(VoteRefusal::LaterTerm),
        incarnation: 0,
    };
    let request = RequestVote {
        last_log: EntryId::ZERO,
        leadership_transfer: false,
        incarnation: 0,
    };
    let refused = message(3, 2, 6, Body::RequestPreVoteResponse(refusal));
    let asked = message(3, 2, 7, Body::RequestVote(request));
    for (message, term) in [(refused, Term(6)), (asked, Term(7))] {
        receive(&mut world, &mut peace, &message);
        let change = RoleChange {
            from: RoleKind::Follower,
            to: RoleKind::Follower,
            term,
            leader: None,
            reason: RoleChangeReason::HigherTerm { from: NodeId(3) },
        };
        let (node, change) = (NodeId(2), &change);
        let adopted = world.show(&mut peace, &Observation::RoleChanged { node, change });
        assert_eq!(adopted, Ok(()));
    }
}
