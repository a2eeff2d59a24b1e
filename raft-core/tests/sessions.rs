//! Sessions on real nodes: leaders die, snapshots replace the log, clients resume, and every command is applied once.

// A test binary holds nothing but tests.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node_world::{PATIENCE, World, add, number, read, until, value};
use raft_core::config::Config;
use raft_core::effect::Effect;
use raft_core::entry::{Payload, SessionRequest};
use raft_core::input::{Input, Proposal, Proposed};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::raft::Raft;
use raft_core::request::RefusalReason;
use raft_core::runtime::{Applied, Node, ProposeError, Session};
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, NodeId, Sequence, Ticket, Time};
use tokio::task::JoinSet;
use tokio::time::timeout;

const TTL: Duration = Duration::from_secs(3_600);

/// Opens a session, again if it was refused: that is what a refusal allows.
async fn open(node: &Node, ttl: Duration) -> Session {
    let attempts = async {
        loop {
            match node.open_session(ttl).await {
                Ok(session) => return session.with_patience(PATIENCE),
                Err(ProposeError::NotApplied(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("opening a session: {error}"),
            }
        }
    };
    timeout(PATIENCE, attempts).await.expect("a session opens")
}

/// Adds one within the session, under a number of its own: again after a refusal, which says that it was not applied.
async fn increment(session: Session, sequence: Sequence) -> Applied {
    let attempts = async {
        loop {
            match session.propose_at(sequence, number(1)).await {
                Ok(applied) => return applied,
                Err(ProposeError::NotApplied(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("sequence {sequence}: {error}"),
            }
        }
    };
    timeout(PATIENCE, attempts).await.expect("a command ends")
}

/// R73, I15: leaders are killed after they applied commands whose answers never arrive. The client repeats what it does not
/// know the outcome of, and every command is applied once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_is_applied_once_while_leaders_die() {
    const COMMANDS: u64 = 40;
    let mut world = World::started(3, |_| {}).await;
    let session = open(world.node(1), TTL).await;
    let mut running = JoinSet::new();
    let (mut proposed, mut rounds_with_copies) = (0, 0);
    for _ in 0..4 {
        let leader = leader_but_not_1(&world).await;
        let committed = world.node(leader).status().commit_index;
        // The client's node is heard, and hears nothing.
        world.network.cut(NodeId(leader), NodeId(1));
        for _ in 0..COMMANDS {
            running.spawn(increment(session.clone(), session.next_sequence().unwrap()));
        }
        proposed += COMMANDS;
        let applied = until(world.node(leader), "commands are applied", |status| {
            status.applied_index >= committed + COMMANDS / 2
        });
        // Unless the client's node noticed first that it hears no leader.
        let applied = timeout(Duration::from_secs(1), applied).await;
        rounds_with_copies += u64::from(applied.is_ok());
        world.stop(leader).await;
        world.network.heal();
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        world.leader_among(&others).await;
        world.start(leader).await;
    }
    let answers = running.join_all().await;
    let sums: BTreeSet<u64> = answers.iter().map(|applied| value(&applied.response)).collect();
    assert_eq!(
        sums,
        (1..=proposed).collect(),
        "each increment has a sum of its own"
    );
    assert_eq!(read(world.node(2)).await, proposed);
    assert!(
        rounds_with_copies > 0,
        "no answer was lost, so nothing was repeated"
    );
}

/// The leader, once it is another node than the client's.
async fn leader_but_not_1(world: &World) -> u64 {
    loop {
        match world.leader().await {
            1 => drop(world.node(1).transfer_leadership(NodeId(2)).await),
            leader => return leader,
        }
    }
}

/// R73, I15: a duplicate gets the identical reply from the next leader, and after all nodes restarted from snapshots that
/// cover the original (mutant: sessions missing from the snapshot).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_gets_the_identical_reply_for_ever() {
    let mut world = World::started(3, |config| {
        config.snapshot_entries = 10;
        config.retained_entries = 1;
    })
    .await;
    let leader = world.leader().await;
    let session = open(world.node(leader), TTL).await;
    let (id, sequence) = (session.id(), session.next_sequence().unwrap());
    let original = increment(session, sequence).await;

    let resume = |node: &Node| {
        node.resume_session(id, [sequence], sequence.next())
            .with_patience(PATIENCE)
    };
    world.stop(leader).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let next = world.leader_among(&others).await;
    assert_eq!(increment(resume(world.node(next)), sequence).await, original);
    world.start(leader).await;

    for _ in 0..30 {
        add(world.node(next), 1).await;
    }
    for id in 1..=3 {
        let compacted = until(world.node(id), "the original is compacted", |status| {
            status.first_index > original.index
        });
        compacted.await;
    }
    for id in 1..=3 {
        world.stop(id).await;
    }
    for id in 1..=3 {
        world.start(id).await;
    }
    for id in 1..=3 {
        assert_eq!(increment(resume(world.node(id)), sequence).await, original);
    }
    assert_eq!(read(world.node(1)).await, 31);
}

/// R73: what became of a command is unknown only when the patience ends, and can still be asked for then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_resolved_later() {
    let world = World::started(3, |_| {}).await;
    let leader = world.leader().await;
    let session = open(world.node(leader), TTL).await;
    let sequence = session.next_sequence().unwrap();
    world.network.isolate(NodeId(leader));
    let brief = session.clone().with_patience(Duration::from_millis(1));
    assert_eq!(
        brief.propose_at(sequence, number(1)).await,
        Err(ProposeError::Unknown)
    );
    world.network.heal();
    let applied = increment(session.clone(), sequence).await;
    assert_eq!(increment(session, sequence).await, applied);
    assert_eq!(read(world.node(leader)).await, 1);
}

/// R73: a session that is closed, expired or unknown takes no command, on any node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends() {
    let world = World::started(3, |_| {}).await;
    let expired = |session: &Session| {
        Err(ProposeError::NotApplied(RefusalReason::SessionExpired(
            session.id(),
        )))
    };
    let leader = world.leader().await;
    let closed = open(world.node(leader), TTL).await;
    closed.propose(number(1)).await.unwrap();
    closed.clone().close().await.unwrap();
    assert_eq!(closed.propose(number(1)).await, expired(&closed));

    let brief = open(world.node(leader), Duration::from_millis(1)).await;
    let other = open(world.node(leader), TTL).await;
    other.keep_alive().await.unwrap();
    let opened = Instant::now();
    // The group's time goes on with the entries of any session.
    while opened.elapsed() < Duration::from_millis(20) {
        other.propose(number(1)).await.unwrap();
    }
    assert_eq!(brief.propose(number(1)).await, expired(&brief));
    let error = brief.keep_alive().await.unwrap_err();
    assert_eq!(error, expired(&brief).unwrap_err());
    assert!(other.propose(number(0)).await.is_ok());
}

/// A sequence that was acknowledged is answered by nobody any more, and keeps nothing from going on.
#[tokio::test]
async fn what_was_acknowledged_is_forgotten() {
    let world = World::started(1, |_| {}).await;
    let session = open(world.node(1), TTL).await;
    for _ in 0..3 {
        session.propose(number(1)).await.unwrap();
    }
    let answer = session.propose_at(Sequence::FIRST, number(1)).await;
    assert_eq!(answer, Err(ProposeError::Unknown));
    assert_eq!(value(&session.propose(number(1)).await.unwrap().response), 4);
    let too_large = Bytes::from(vec![0; world.node(1).config().entry_bytes_max + 1]);
    let refused = session.propose(too_large).await;
    assert!(matches!(
        refused,
        Err(ProposeError::NotApplied(RefusalReason::TooLarge { .. }))
    ));
}

/// A group of one, driven by hand: its disk is as fast as its clock is told.
struct Alone {
    raft: Raft,
    applied: Vec<Payload>,
}

impl Alone {
    fn new() -> Alone {
        let (id, now) = (NodeId(1), Time::ZERO);
        let snapshot = SnapshotMeta {
            last: EntryId::ZERO,
            membership: Membership::of_voters([id]).unwrap(),
        };
        let recovered = Recovered {
            snapshot,
            ..Recovered::default()
        };
        let raft = Raft::new(Config::new(GroupId(1), id), recovered, EntryId::ZERO, now).unwrap();
        Alone {
            raft,
            applied: Vec::new(),
        }
    }

    fn step(&mut self, now: Time, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.raft.step(now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Persist(write) => {
                        inputs.push(Input::Persisted(write.seq));
                        inputs.extend(write.then.into_iter().map(Input::Receive));
                    }
                    Effect::Apply(entries) => {
                        self.applied
                            .extend(entries.into_iter().map(|entry| entry.payload));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Opens a session, and returns what its entry says about the time.
    fn elapsed_ms(&mut self, now: Time) -> u64 {
        let command = Proposed::Session(SessionRequest::Open { ttl_ms: 1 });
        let ticket = Ticket(1);
        self.step(now, Input::Propose(vec![Proposal { ticket, command }]));
        match self.applied.last() {
            Some(Payload::Session(entry)) => entry.elapsed_ms,
            other => panic!("no session was opened: {other:?}"),
        }
    }
}

/// R73: an entry of a session says for how long its leader has led, whatever its clock shows otherwise.
#[test]
fn leaders_write_how_long_they_lead() {
    let mut group = Alone::new();
    group.step(Time::from_millis(70_000), Input::Campaign);
    assert_eq!(group.elapsed_ms(Time::from_millis(70_000)), 0);
    assert_eq!(group.elapsed_ms(Time::from_millis(70_250)), 250);
    assert_eq!(
        group.elapsed_ms(Time::from_millis(60_000)),
        250,
        "time never falls within a leadership"
    );
}
