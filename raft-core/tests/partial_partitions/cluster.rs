//! Five real replicas, simulated disks and a simulated network, driven by events in the order of their times.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft_core::config::{Config, PRIORITY_MAX};
use raft_core::effect::{Effect, RoleKind, Write};
use raft_core::entry::Entry;
use raft_core::input::{Input, LogReadResult, Proposal};
use raft_core::membership::Membership;
use raft_core::message::{Message, SnapshotMeta};
use raft_core::raft::Raft;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Ticket, Time, Trust};

use crate::graph::Graph;

/// What ten of must suffice.
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(300);
const NODES: u64 = 5;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What happens at a later time.
enum Event {
    Arrives(Message),
    Durable(NodeId, Write),
}

struct Node {
    raft: Raft,
    /// When it wants to be woken, as it said after its last step.
    deadline: Time,
    /// The entries on the disk, from index 1.
    disk: Vec<Entry>,
    disk_delay: Duration,
    /// When the write before is durable: writes complete in order.
    disk_busy_until: Time,
}

/// A proposal that some leader took.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) by: NodeId,
    pub(crate) id: EntryId,
    pub(crate) at: Time,
    /// When that leader had committed it, still leading the same term.
    pub(crate) committed: Option<Time>,
}

impl Taken {
    pub(crate) fn leadership(&self) -> Leadership {
        Leadership {
            term: self.id.term,
            leader: self.by,
        }
    }
}

/// A leader in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leadership {
    pub(crate) term: Term,
    pub(crate) leader: NodeId,
}

/// What a replica has on its disk when it starts. Nothing of it is known to be committed.
#[derive(Clone, Default)]
pub(crate) struct Past {
    pub(crate) term: u64,
    pub(crate) vote: Option<u64>,
    /// The terms of its entries.
    pub(crate) log: Vec<u64>,
}

/// Settings that change who may ask for votes, and when.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    /// Leases are served, so that voters stay with a leader by time alone (R34).
    lease: bool,
    /// Each replica has a priority of its own (R38).
    priorities: bool,
}

impl Habits {
    /// Within what a connected majority elects: ten election timeouts, and as many more as the lowest priority waits on
    /// top of them.
    pub(crate) fn patience(self) -> Duration {
        let waits = if self.priorities { PRIORITY_MAX } else { 0 };
        ELECTION_TIMEOUT * (10 + u32::from(waits))
    }
}

pub(crate) struct Cluster {
    pub(crate) now: Time,
    pub(crate) habits: Habits,
    pub(crate) random: Random,
    pub(crate) taken: Vec<Taken>,
    graph: Graph,
    /// While set, every second message that is sent is lost.
    lossy: bool,
    nodes: Vec<Node>,
    events: BTreeMap<(Time, u64), Event>,
    events_made: u64,
    leaders: BTreeMap<Term, NodeId>,
    /// Entry `i` is what some replica handed to its state machine as index `i + 1`.
    applied: Vec<EntryId>,
}

impl Cluster {
    /// Five replicas with these pasts. Half of the seeds serve leases, and half have priorities.
    pub(crate) fn new(seed: u64, graph: Graph, pasts: &[Past; NODES as usize]) -> Cluster {
        let mut random = Random(seed);
        let habits = Habits {
            lease: random.below(2) == 0,
            priorities: random.below(2) == 0,
        };
        let now = Time::from_millis(1);
        let nodes = (1..=NODES)
            .map(|id| start(NodeId(id), &pasts[id as usize - 1], habits, &mut random, now))
            .collect();
        Cluster {
            now,
            habits,
            random,
            taken: Vec::new(),
            graph,
            lossy: false,
            nodes,
            events: BTreeMap::new(),
            events_made: 0,
            leaders: BTreeMap::new(),
            applied: Vec::new(),
        }
    }

    /// Cuts every link that is not in `graph`, also for what is under way.
    pub(crate) fn impose(&mut self, graph: Graph) {
        self.graph = graph;
    }

    /// Lets everything happen that happens until `end`.
    pub(crate) fn run_until(&mut self, end: Time) {
        loop {
            let timer = self.nodes.iter().map(|node| node.deadline).min();
            let timer = timer.expect("there are nodes");
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let next = event.map_or(timer, |event| event.min(timer));
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            match event {
                Some(at) if at <= timer => self.happen(),
                _ => self.fire_timer(timer),
            }
        }
        self.now = end;
    }

    fn happen(&mut self) {
        let (_, event) = self.events.pop_first().expect("the caller saw it");
        match event {
            Event::Arrives(message) => {
                if self.graph.carries(message.from, message.to) {
                    self.step(message.to, Input::Receive(message));
                }
            }
            Event::Durable(id, write) => {
                let node = self.node(id);
                if let Some(first) = write.log.entries().first() {
                    node.disk.truncate(first.index().0 as usize - 1);
                    node.disk.extend_from_slice(write.log.entries());
                }
                for message in write.then {
                    if message.to == id {
                        self.step(id, Input::Receive(message));
                    } else {
                        self.send(message);
                    }
                }
                self.step(id, Input::Persisted(write.seq));
            }
        }
    }

    fn fire_timer(&mut self, due: Time) {
        let node = self.nodes.iter().find(|node| node.deadline == due);
        let id = node.expect("the caller saw it").raft.id();
        self.step(id, Input::Tick);
        assert!(
            self.node(id).deadline > due,
            "a tick at its deadline moves the deadline on"
        );
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize - 1]
    }

    /// Lets `id` begin an election.
    pub(crate) fn campaign(&mut self, id: NodeId) {
        self.step(id, Input::Campaign);
    }

    /// Whoever leads at the moment; several of different terms under a partition.
    pub(crate) fn leaderships(&self) -> Vec<Leadership> {
        let leaders = self.nodes.iter().map(|node| &node.raft);
        leaders
            .filter(|raft| raft.role() == RoleKind::Leader)
            .map(|raft| Leadership {
                term: raft.term(),
                leader: raft.id(),
            })
            .collect()
    }

    /// A client that tries every leader with one command.
    pub(crate) fn propose_to_all_leaders(&mut self) {
        for leadership in self.leaderships() {
            self.propose(leadership.leader, 1);
        }
    }

    /// Proposes commands to a leader whose appends are lost on every second link.
    pub(crate) fn propose_lossily(&mut self, id: NodeId, count: u64) {
        self.lossy = true;
        self.propose(id, count);
        self.lossy = false;
    }

    fn propose(&mut self, id: NodeId, count: u64) {
        let proposals = (0..count).map(|_| Proposal {
            ticket: Ticket(self.taken.len() as u64),
            command: Bytes::from_static(b"x").into(),
        });
        self.step(id, Input::Propose(proposals.collect()));
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let (now, mut effects) = (self.now, Vec::new());
            self.node(id).raft.step(now, input, &mut effects);
            inputs.extend(
                effects
                    .into_iter()
                    .filter_map(|effect| self.carry_out(id, effect)),
            );
        }
        let node = self.node(id);
        node.deadline = node.raft.next_deadline();
        self.note_commits(id);
    }

    /// Begins one effect; returns what answers it at once.
    fn carry_out(&mut self, id: NodeId, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Send(message) => self.send(message),
            Effect::Persist(write) => {
                let now = self.now;
                let node = self.node(id);
                node.disk_busy_until = node.disk_busy_until.max(now + node.disk_delay);
                let at = node.disk_busy_until;
                self.at(at, Event::Durable(id, write));
            }
            Effect::ReadLog(request) => {
                let disk = &self.node(id).disk;
                let entries = disk[request.first.0 as usize - 1..request.last.0 as usize].to_vec();
                return Some(Input::LogRead(LogReadResult { request, entries }));
            }
            Effect::Apply(entries) => {
                for entry in &entries {
                    self.check_applied(entry.id);
                }
                return entries.last().map(|last| Input::Applied(last.index()));
            }
            Effect::Proposed { id: entry, .. } => self.taken.push(Taken {
                by: id,
                id: entry,
                at: self.now,
                committed: None,
            }),
            Effect::RoleChanged(change) if change.to == RoleKind::Leader => {
                let first = *self.leaders.entry(change.term).or_insert(id);
                assert_eq!(first, id, "I1: one leader in term {}", change.term);
            }
            Effect::Fatal(reason) => panic!("node {id} stopped: {reason}"),
            _ => {}
        }
        None
    }

    fn send(&mut self, message: Message) {
        if self.lossy && self.random.below(2) == 0 {
            return;
        }
        let delay = Duration::from_micros(500 + self.random.below(4_500));
        self.at(self.now + delay, Event::Arrives(message));
    }

    fn at(&mut self, time: Time, event: Event) {
        self.events.insert((time, self.events_made), event);
        self.events_made += 1;
    }

    fn check_applied(&mut self, id: EntryId) {
        let position = id.index.0 as usize - 1;
        match self.applied.get(position) {
            Some(known) => assert_eq!(*known, id, "I8: a committed entry is committed for ever"),
            None => {
                assert_eq!(position, self.applied.len(), "I9: entries are applied in order");
                self.applied.push(id);
            }
        }
    }

    /// Notes which proposals `id` has committed as the leader that took them.
    fn note_commits(&mut self, id: NodeId) {
        let raft = &self.nodes[id.0 as usize - 1].raft;
        if raft.role() != RoleKind::Leader {
            return;
        }
        let (term, commit, now) = (raft.term(), raft.commit_index(), self.now);
        let newest_first = self.taken.iter_mut().rev();
        for taken in newest_first.take_while(|taken| taken.committed.is_none() || taken.by != id) {
            if taken.by == id && taken.id.term == term && taken.id.index <= commit {
                taken.committed.get_or_insert(now);
            }
        }
    }
}

fn start(id: NodeId, past: &Past, habits: Habits, random: &mut Random, now: Time) -> Node {
    let disk: Vec<Entry> = (1..)
        .zip(&past.log)
        .map(|(index, &term)| Entry::command(Term(term), Index(index), Bytes::from_static(b"x")))
        .collect();
    let mut term_runs: Vec<(Index, Term)> = disk.iter().map(|entry| (entry.index(), entry.term())).collect();
    term_runs.dedup_by_key(|run| run.1);
    let membership = Membership::of_voters((1..=NODES).map(NodeId)).expect("five voters");
    let recovered = Recovered {
        lost: false,
        hard_state: HardState {
            term: Term(past.term),
            vote: past.vote.map(NodeId),
            commit: Index::ZERO,
            trust: Trust::Trusted,
        },
        snapshot: SnapshotMeta {
            last: EntryId::ZERO,
            membership,
        },
        purged: EntryId::ZERO,
        last_index: Index(disk.len() as u64),
        term_runs,
        memberships: Vec::new(),
    };
    let mut config = Config::new(GroupId(1), id);
    config.election_timeout = ELECTION_TIMEOUT;
    config.heartbeat_interval = HEARTBEAT_INTERVAL;
    config.random_seed = random.next();
    if habits.lease {
        config.lease_drift_max = Some(ELECTION_TIMEOUT / 10);
    }
    if habits.priorities {
        config.priority = random.below(u64::from(PRIORITY_MAX) + 1) as u8;
    }
    let raft = Raft::new(config, recovered, EntryId::ZERO, now).expect("a replica that can start");
    Node {
        deadline: raft.next_deadline(),
        raft,
        disk,
        // Every second disk is done at once.
        disk_delay: Duration::from_micros(random.below(2) * random.below(10_000)),
        disk_busy_until: now,
    }
}
