//! Election timeouts that grow with the round trip (docs/decisions/0015), over links whose delay grows from 12 to 200 ms on average
//! and differs from message to message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raft_core::config::Config;
use raft_core::effect::{Effect, RoleKind};
use raft_core::input::Input;
use raft_core::membership::Membership;
use raft_core::message::{Message, SnapshotMeta};
use raft_core::raft::Raft;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, NodeId, Time};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const INTERVAL: Duration = Duration::from_millis(80);
/// Every so often the delay doubles, up to the longest.
const DOUBLES_EVERY: Duration = Duration::from_secs(10);
const DELAY_FIRST: Duration = Duration::from_micros(12_500);
const DELAY_LONGEST: Duration = Duration::from_millis(200);

/// What happens next on a link or to a node.
#[derive(Debug)]
enum Event {
    Arrives(Message),
    /// A transport looks at its round trips.
    Measures(NodeId),
}

/// Three replicas with disks and state machines that take no time.
struct Group {
    now: Time,
    nodes: BTreeMap<NodeId, Raft>,
    events: BTreeMap<(Time, u64), Event>,
    number: u64,
    /// When the last message of a link arrives: none overtakes another.
    last_arrivals: BTreeMap<(NodeId, NodeId), Time>,
    /// The smoothed round trip between two nodes, as a transport has it.
    smoothed: BTreeMap<(NodeId, NodeId), Duration>,
    /// The times at which somebody began an election or gave up leading.
    unrest: Vec<Time>,
    leaders: BTreeSet<NodeId>,
}

impl Group {
    fn new(election_timeout_max: Option<Duration>) -> Group {
        let membership = Membership::of_voters(NODES).expect("three voters");
        let node = |id| {
            let mut config = Config::new(GroupId(1), id);
            config.election_timeout = Duration::from_millis(240);
            config.heartbeat_interval = INTERVAL;
            config.election_timeout_max = election_timeout_max;
            let snapshot = SnapshotMeta {
                last: EntryId::ZERO,
                membership: membership.clone(),
            };
            let recovered = Recovered {
                snapshot,
                ..Recovered::default()
            };
            (
                id,
                Raft::new(config, recovered, EntryId::ZERO, Time::ZERO).expect("the configuration is valid"),
            )
        };
        let mut group = Group {
            now: Time::ZERO,
            nodes: NODES.into_iter().map(node).collect(),
            events: BTreeMap::new(),
            number: 0,
            last_arrivals: BTreeMap::new(),
            smoothed: BTreeMap::new(),
            unrest: Vec::new(),
            leaders: BTreeSet::new(),
        };
        for id in NODES {
            group.after(Duration::ZERO, Event::Measures(id));
        }
        group
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.number += 1;
        self.events.insert((self.now + delay, self.number), event);
    }

    /// How long a message takes now, on average.
    fn delay(&self) -> Duration {
        let doublings = self.now.since(Time::ZERO).as_nanos() / DOUBLES_EVERY.as_nanos();
        (DELAY_FIRST * (1 << doublings.min(10))).min(DELAY_LONGEST)
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            let raft = self.nodes.get_mut(&id).expect("it is one of three");
            raft.step(self.now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Send(message) => self.send(message),
                    Effect::Persist(write) => {
                        inputs.push(Input::Persisted(write.seq));
                        for message in write.then {
                            self.send(message);
                        }
                    }
                    Effect::Apply(entries) => inputs.push(Input::Applied(
                        entries.last().expect("there is something to apply").id.index,
                    )),
                    Effect::RoleChanged(change) => {
                        if change.to == RoleKind::Leader {
                            self.leaders.insert(id);
                        }
                        if change.to == RoleKind::PreCandidate || change.from == RoleKind::Leader {
                            self.unrest.push(self.now);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, message: Message) {
        if message.from == message.to {
            self.after(Duration::ZERO, Event::Arrives(message));
            return;
        }
        // From a quarter of the average to seven quarters, in no order that anybody could follow.
        let draw = (self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % 1_000;
        let delay = self.delay() / 4 + self.delay() * 3 / 2 * draw / 1_000;
        let last = self.last_arrivals.entry((message.from, message.to)).or_default();
        *last = (self.now + delay).max(*last);
        let delay = last.since(self.now);
        self.after(delay, Event::Arrives(message));
    }

    /// Lets time pass until `end`.
    fn run(&mut self, end: Time) {
        loop {
            let timer = self
                .nodes
                .values()
                .map(Raft::next_deadline)
                .min()
                .expect("there are nodes");
            let event = self.events.keys().next().map_or(end, |(at, _)| *at);
            self.now = self.now.max(timer.min(event));
            if self.now >= end {
                return;
            }
            if event <= timer {
                let (_, event) = self.events.pop_first().expect("it was seen");
                self.happens(event);
                continue;
            }
            let due: Vec<NodeId> = NODES
                .into_iter()
                .filter(|id| self.nodes[id].next_deadline() <= self.now)
                .collect();
            for id in due {
                self.step(id, Input::Tick);
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrives(message) => {
                // What arrives shows how long the way is; as in RFC 9002, an eighth of it counts.
                let sample = self.delay() * 2;
                let smoothed = self.smoothed.entry((message.to, message.from)).or_insert(sample);
                *smoothed = *smoothed * 7 / 8 + sample / 8;
                self.step(message.to, Input::Receive(message));
            }
            Event::Measures(id) => {
                let of_id = self.smoothed.iter().filter(|((from, _), _)| *from == id);
                let measured = of_id.map(|((_, peer), rtt)| (*peer, *rtt)).collect();
                self.step(id, Input::RoundTrips(measured));
                self.after(INTERVAL, Event::Measures(id));
            }
        }
    }

    /// How often somebody began an election or gave up leading from ten seconds on, when there was a leader.
    fn unrest_while_the_way_grows(&mut self) -> usize {
        self.run(Time::ZERO + DOUBLES_EVERY);
        assert_eq!(self.leaders.len(), 1, "a short way is no trouble");
        self.unrest.clear();
        self.run(Time::ZERO + DOUBLES_EVERY * 10);
        self.unrest.len()
    }
}

/// R36: no node fails, and the round trip grows to 400 ms. With timeouts of 240 ms the leader gives up and nobody stays one;
/// with timeouts that grow to what the way needs, nobody asks for an election.
#[test]
fn a_longer_way_costs_no_election() {
    let fixed = Group::new(None).unrest_while_the_way_grows();
    assert!(
        fixed > 10,
        "a fixed timeout is too short for this way, and there were {fixed} changes"
    );
    let mut adaptive = Group::new(Some(Duration::from_secs(5)));
    assert_eq!(adaptive.unrest_while_the_way_grows(), 0, "{:?}", adaptive.unrest);
    assert_eq!(adaptive.leaders.len(), 1);
    for raft in adaptive.nodes.values() {
        let timeout = raft.election_timeout();
        assert!(
            timeout > Duration::from_millis(3_900) && timeout <= Duration::from_millis(4_100),
            "{timeout:?}"
        );
    }
}

/// R36, R42: a leader that dies is replaced within the longest timeouts, and the timeouts fall again with the way.
#[test]
fn timeouts_fall_again() {
    let mut group = Group::new(Some(Duration::from_secs(5)));
    group.run(Time::ZERO + DOUBLES_EVERY);
    for id in NODES {
        let far = NODES.into_iter().filter(|peer| *peer != id);
        let far = far.map(|peer| (peer, Duration::from_secs(2))).collect();
        group.step(id, Input::RoundTrips(far));
        assert_eq!(group.nodes[&id].election_timeout(), Duration::from_secs(5));
    }
    group.run(group.now + INTERVAL * 2);
    for raft in group.nodes.values() {
        assert!(raft.election_timeout() < Duration::from_millis(600));
    }
}
