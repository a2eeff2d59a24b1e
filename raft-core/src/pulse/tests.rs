//! Several nodes and what passes between them.

use std::time::Duration;

use super::peer::{LEADERSHIPS_MAX, REPEATS};
use super::{PulseEffect, PulseInput, PulseSettings, Pulses};
use crate::effect::Rest;
use crate::message::{Body, Message, PULSE_GROUP, Pulse};
use crate::types::{GroupId, NodeId, Term, Time};

const INTERVAL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_millis(1_000);
const GROUP: GroupId = GroupId(7);

fn process(node: u64, incarnation: u64) -> Pulses {
    Pulses::new(PulseSettings {
        node: NodeId(node),
        incarnation,
        interval: INTERVAL,
        timeout: TIMEOUT,
    })
}

fn following(leader: u64, term: u64) -> Rest {
    Rest::Following {
        leader: NodeId(leader),
        term: Term(term),
    }
}

fn leading(term: u64, asleep: bool) -> Rest {
    Rest::Leading {
        term: Term(term),
        asleep,
    }
}

/// Nodes 1, 2, … and a network that takes no time.
struct Nodes {
    now: Time,
    nodes: Vec<Pulses>,
    /// What each node's replicas were told.
    lost: Vec<(u64, GroupId, u64)>,
    /// Links that lose everything.
    cut: Vec<(u64, u64)>,
    sent: usize,
}

impl Nodes {
    fn new(count: u64) -> Nodes {
        Nodes {
            now: Time::ZERO,
            nodes: (1..=count).map(|node| process(node, 100 + node)).collect(),
            lost: Vec::new(),
            cut: Vec::new(),
            sent: 0,
        }
    }

    /// Node 1 leads a group that sleeps, and node 2 follows.
    fn asleep() -> Nodes {
        let mut nodes = Nodes::new(2);
        nodes.rest(1, GROUP, leading(3, false));
        nodes.rest(2, GROUP, following(1, 3));
        nodes.rest(1, GROUP, leading(3, true));
        nodes.run(2 * TIMEOUT);
        assert_eq!(
            nodes.lost,
            [],
            "a leader that lives is watched for as long as it does"
        );
        nodes
    }

    fn step(&mut self, node: u64, input: PulseInput) {
        let mut effects = Vec::new();
        self.nodes[node as usize - 1].step(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                PulseEffect::Lost { group, peer } => self.lost.push((node, group, peer.0)),
                PulseEffect::Send(message) => {
                    self.sent += 1;
                    let to = message.to.0;
                    if !self.cut.contains(&(node, to)) {
                        self.receive(message);
                    }
                }
            }
        }
    }

    fn receive(&mut self, message: Message) {
        let (from, to) = (message.from, message.to.0);
        self.step(
            to,
            PulseInput::Received {
                from,
                pulse: pulse_of(message),
            },
        );
    }

    fn rest(&mut self, node: u64, group: GroupId, rest: Rest) {
        self.step(node, PulseInput::Rested { group, rest });
    }

    /// The process of a node ends, and another one begins.
    fn restart(&mut self, node: u64) {
        let incarnation = self.nodes[node as usize - 1].incarnation() + 1_000;
        self.nodes[node as usize - 1] = process(node, incarnation);
    }

    /// Time passes, for the first `count` nodes.
    fn run_first(&mut self, count: usize, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, node)) = (0..count)
            .map(|at| (self.nodes[at].next_deadline(), at as u64 + 1))
            .min()
            && at <= end
        {
            self.now = self.now.max(at);
            self.step(node, PulseInput::Tick);
            let next = self.nodes[node as usize - 1].next_deadline();
            assert!(next > self.now, "the timer of node {node} stands still");
        }
        self.now = end;
    }

    fn run(&mut self, duration: Duration) {
        self.run_first(self.nodes.len(), duration);
    }
}

fn pulse_of(message: Message) -> Pulse {
    assert_eq!((message.group, message.term), (PULSE_GROUP, Term::ZERO));
    match message.body {
        Body::Pulse(pulse) => pulse,
        other => panic!("{other:?} is no pulse"),
    }
}

/// R35, R36: a follower that sleeps hears within the timeout that the node of its leader is gone.
#[test]
fn a_silent_node_is_lost() {
    for cut in [vec![(1, 2)], vec![(1, 2), (2, 1)]] {
        let mut nodes = Nodes::asleep();
        nodes.cut = cut;
        nodes.run(TIMEOUT - INTERVAL);
        assert_eq!(nodes.lost, []);
        nodes.run(2 * INTERVAL);
        assert_eq!(nodes.lost, [(2, GROUP, 1)]);
    }
}

/// R39: a node that was started again leads nothing that it led before, however soon it lives again.
#[test]
fn a_restarted_node_is_lost() {
    let mut nodes = Nodes::asleep();
    // Another group, of which the two say nothing here, keeps the pulses coming.
    let other = GroupId(8);
    nodes.rest(1, other, leading(5, true));
    nodes.rest(2, other, following(1, 5));
    nodes.run(TIMEOUT);
    nodes.restart(1);
    nodes.rest(1, other, leading(6, true));
    nodes.rest(2, other, following(1, 6));
    nodes.run(3 * INTERVAL);
    assert_eq!(nodes.lost, [(2, GROUP, 1)]);
    nodes.run(2 * TIMEOUT);
    assert_eq!(nodes.lost.len(), 1, "the other group is led by the new process");
}

/// R36: a leadership that ends on a node that lives is told to those who sleep under it, though pulses go on.
#[test]
fn the_end_of_a_leadership_is_told() {
    for rest in [Rest::Awake, leading(4, true)] {
        let mut nodes = Nodes::asleep();
        let other = GroupId(8);
        nodes.rest(1, other, leading(5, true));
        nodes.rest(2, other, following(1, 5));
        nodes.run(TIMEOUT);
        nodes.cut = vec![(1, 2)];
        nodes.step(1, PulseInput::Rested { group: GROUP, rest });
        nodes.run(TIMEOUT / 2);
        assert_eq!(nodes.lost, [], "lost with the pulses that said it");
        nodes.cut.clear();
        nodes.run(2 * INTERVAL);
        assert_eq!(nodes.lost, [(2, GROUP, 1)]);
        nodes.run(2 * TIMEOUT);
        assert_eq!(nodes.lost.len(), 1);
    }
}

/// R36: who misses every pulse that says so takes all of that node's leaderships for over, even if its own clock stands
/// still meanwhile.
#[test]
fn too_many_missed_pulses_are_a_loss() {
    let mut nodes = Nodes::asleep();
    nodes.cut = vec![(1, 2)];
    for _ in 0..REPEATS + 1 {
        nodes.run_first(1, INTERVAL);
    }
    assert_eq!(nodes.lost, []);
    nodes.cut.clear();
    nodes.run_first(1, INTERVAL);
    assert_eq!(nodes.lost, [(2, GROUP, 1)]);
}

/// R36: who was sent to sleep by a late word watches a leadership that is over, and is told; so is who sleeps under a node
/// that does not answer.
#[test]
fn a_leadership_that_does_not_exist_is_lost() {
    let mut nodes = Nodes::new(3);
    nodes.rest(1, GROUP, leading(4, true));
    nodes.rest(2, GROUP, following(1, 3));
    nodes.run(3 * INTERVAL);
    assert_eq!(nodes.lost, [(2, GROUP, 1)]);
    nodes.cut = vec![(2, 3)];
    nodes.rest(3, GROUP, leading(3, true));
    nodes.rest(2, GROUP, following(3, 3));
    nodes.run(TIMEOUT - INTERVAL);
    assert_eq!(nodes.lost.len(), 1);
    nodes.run(2 * INTERVAL);
    assert_eq!(nodes.lost[1..], [(2, GROUP, 3)]);
}

/// R68: a node that follows and is started again watches nothing, and its replica is awake without a leader: the leader is told,
/// and nobody goes on saying that he lives.
#[test]
fn nobody_pulses_for_nobody() {
    let mut nodes = Nodes::asleep();
    nodes.restart(2);
    nodes.run(3 * INTERVAL);
    assert_eq!(nodes.lost, [(1, GROUP, 2)]);
    nodes.sent = 0;
    nodes.run(10 * TIMEOUT);
    assert_eq!(nodes.sent, 0);
    assert_eq!(nodes.lost.len(), 1);
    // Nor does a leader that is awake, whose heartbeats say it.
    let mut nodes = Nodes::asleep();
    nodes.rest(1, GROUP, leading(3, false));
    nodes.rest(2, GROUP, Rest::Awake);
    nodes.run(3 * INTERVAL);
    nodes.sent = 0;
    nodes.run(10 * TIMEOUT);
    assert_eq!((nodes.sent, nodes.lost.len()), (0, 0));
    assert_eq!(
        nodes.nodes[0].next_deadline(),
        Time::from_nanos(u64::MAX),
        "there is no timer, either"
    );
}

/// Late pulses, of this process or of one before, prove no life: at worst somebody is woken in vain.
#[test]
fn late_pulses_prove_nothing() {
    let mut nodes = Nodes::asleep();
    let mut effects = Vec::new();
    nodes.now = nodes.now + INTERVAL;
    nodes.nodes[0].step(nodes.now, PulseInput::Tick, &mut effects);
    let Some(PulseEffect::Send(late)) = effects.pop() else {
        panic!("a pulse was due");
    };
    nodes.receive(late.clone());
    for _ in 0..9 {
        nodes.now = nodes.now + INTERVAL;
        nodes.receive(late.clone());
    }
    assert_eq!(nodes.lost, []);
    nodes.now = nodes.now + INTERVAL;
    nodes.receive(late);
    assert_eq!(
        nodes.lost,
        [(2, GROUP, 1)],
        "the same pulse again is no second one"
    );
}

/// However many groups sleep, there is one pulse for each direction and interval, and each is of bounded size.
#[test]
fn ten_thousand_groups_are_one_pulse() {
    let mut nodes = Nodes::new(2);
    let groups = || (1..=10_000).map(GroupId);
    for group in groups() {
        nodes.rest(1, group, leading(1, true));
        nodes.rest(2, group, following(1, 1));
    }
    nodes.run(TIMEOUT);
    nodes.sent = 0;
    nodes.run(10 * TIMEOUT);
    assert_eq!(nodes.lost, []);
    assert!((95..=105).contains(&nodes.sent), "{} pulses", nodes.sent);
    // More leaderships end at once than a pulse names: everybody is told all the same.
    for group in groups().take(LEADERSHIPS_MAX + 1) {
        nodes.rest(1, group, Rest::Awake);
    }
    nodes.run(2 * INTERVAL);
    assert_eq!(nodes.lost.len(), 10_000);
}
