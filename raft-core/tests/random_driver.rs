//! Clients of a whole cluster under random faults: every request ends once, and each end is true.
//!
//! Three drivers, with disks that are slow and forget what was not synced, and a network that loses, repeats and reorders.
//! A run is a function of its seed.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::driver::{ApplyBatch, Driver, Outcome, Ports};
use raft_core::effect::{FatalReason, RoleChange, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::input::{Input, LogRead, LogReadResult, Proposal};
use raft_core::membership::Membership;
use raft_core::memory::MemoryLogStore;
use raft_core::message::{InstallSnapshot, Message, SnapshotMeta};
use raft_core::raft::Raft;
use raft_core::sessions::Reply;
use raft_core::traits::{GroupWrite, LogStore};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Ticket, Time};

const GROUP: GroupId = GroupId(1);
const NODES: u64 = 3;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The memory store never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store waited"),
    }
}

/// What a driver asked for and has not got yet.
#[derive(Default)]
struct Pending {
    sent: Vec<Message>,
    writes: VecDeque<Write>,
    reads: Vec<LogRead>,
    applies: VecDeque<ApplyBatch>,
    ended: Vec<(Ticket, Outcome)>,
}

impl Ports for Pending {
    fn send(&mut self, _to: NodeId, messages: Vec<Message>) {
        self.sent.extend(messages);
    }
    fn persist(&mut self, write: Write) {
        self.writes.push_back(write);
    }
    fn read_log(&mut self, request: LogRead) {
        self.reads.push(request);
    }
    fn apply(&mut self, batch: ApplyBatch) {
        self.applies.push_back(batch);
    }
    fn create_snapshot(&mut self, meta: SnapshotMeta) {
        panic!("no snapshots here: {meta:?}");
    }
    fn restore_snapshot(&mut self, meta: SnapshotMeta) {
        panic!("no snapshots here: {meta:?}");
    }
    fn send_snapshot(&mut self, header: InstallSnapshot) {
        panic!("no snapshots here: {header:?}");
    }
    fn compact(&mut self, through: EntryId) {
        panic!("no snapshots here: {through}");
    }
    fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        self.ended.push((ticket, outcome));
    }
    fn membership_changed(&mut self, _membership: &Membership) {}

    fn role_changed(&mut self, _change: &RoleChange) {}
    fn fatal(&mut self, reason: FatalReason) {
        panic!("{reason}");
    }
}

struct Replica {
    driver: Option<Driver>,
    ports: Pending,
    disk: MemoryLogStore,
    /// The state machine: all commands that were applied. It survives crashes, as if on a disk of its own.
    applied: Vec<Entry>,
}

/// What a client asked for, and what was acknowledged before it asked.
struct Request {
    node: u64,
    command: Option<Bytes>,
    acknowledged_before: Index,
}

struct World {
    random: Random,
    now: Time,
    incarnations: u64,
    replicas: Vec<Replica>,
    network: Vec<Message>,
    requests: BTreeMap<Ticket, Request>,
    outcomes: BTreeMap<Ticket, Outcome>,
    next_ticket: u64,
    acknowledged: Index,
    faults: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            random: Random(seed),
            now: Time::ZERO,
            incarnations: seed,
            replicas: Vec::new(),
            network: Vec::new(),
            requests: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            next_ticket: 0,
            acknowledged: Index::ZERO,
            faults: true,
        };
        for id in 1..=NODES {
            let disk = MemoryLogStore::new();
            let membership = Membership::of_voters((1..=NODES).map(NodeId)).unwrap();
            let first = GroupWrite {
                group: GROUP,
                hard_state: None,
                snapshot: Some(SnapshotMeta {
                    last: EntryId::ZERO,
                    membership,
                }),
                log: raft_core::effect::LogChange::Append(Vec::new()),
            };
            ready(disk.write(vec![first])).unwrap();
            world.replicas.push(Replica {
                driver: None,
                ports: Pending::default(),
                disk,
                applied: Vec::new(),
            });
            world.start(id);
        }
        world
    }

    fn start(&mut self, id: u64) {
        let mut config = Config::new(GROUP, NodeId(id));
        config.random_seed ^= self.random.next();
        config.snapshot_entries = u64::MAX;
        config.tail_bytes_max = 100;
        config.proposals_max = 40;
        config.reads_max = 40;
        self.incarnations += 1;
        let replica = &mut self.replicas[id as usize - 1];
        let recovered = ready(replica.disk.load(GROUP)).unwrap();
        let applied = replica.applied.last().map_or(EntryId::ZERO, |entry| entry.id);
        let raft = Raft::new(config, recovered, applied, self.now).unwrap();
        replica.driver = Some(Driver::new(raft, self.incarnations));
    }

    /// The process is gone: what waited for the disk is lost, and so are its clients' connections.
    fn crash(&mut self, id: u64) {
        let replica = &mut self.replicas[id as usize - 1];
        replica.driver = None;
        let ended = std::mem::take(&mut replica.ports).ended;
        self.take_ended(id, ended);
        let lost = self.requests.iter().filter(|(_, request)| request.node == id);
        let lost: Vec<Ticket> = lost.map(|(ticket, _)| *ticket).collect();
        for ticket in lost {
            self.outcomes.entry(ticket).or_insert(Outcome::Unknown);
        }
    }

    fn step(&mut self, id: u64, inputs: Vec<Input>) {
        let replica = &mut self.replicas[id as usize - 1];
        if let Some(driver) = &mut replica.driver {
            driver.step_all(self.now, inputs, &mut replica.ports);
            self.network.append(&mut replica.ports.sent);
            let ended = std::mem::take(&mut replica.ports.ended);
            self.take_ended(id, ended);
        }
    }

    fn take_ended(&mut self, id: u64, ended: Vec<(Ticket, Outcome)>) {
        for (ticket, outcome) in ended {
            let request = &self.requests[&ticket];
            assert_eq!(request.node, id, "{ticket} ended on another node");
            match &outcome {
                Outcome::Applied { index, response } => {
                    assert_eq!(
                        request.command.as_ref(),
                        Some(response),
                        "the response is another command's"
                    );
                    self.acknowledged = self.acknowledged.max(*index);
                }
                Outcome::ReadReady { index } => {
                    assert!(request.command.is_none());
                    let seen = self.replicas[id as usize - 1]
                        .applied
                        .last()
                        .map_or(Index::ZERO, Entry::index);
                    assert!(
                        seen >= *index && seen >= request.acknowledged_before,
                        "read {ticket} sees {seen}, but {} was acknowledged before",
                        request.acknowledged_before
                    );
                }
                Outcome::Refused(_) | Outcome::Unknown => {}
                other => panic!("nobody asked for {other:?}"),
            }
            let before = self.outcomes.insert(ticket, outcome);
            assert!(before.is_none(), "{ticket} ended twice, first with {before:?}");
        }
    }

    /// One random thing happens.
    fn happen(&mut self) {
        let id = 1 + self.random.below(NODES);
        match self.random.below(100) {
            0..=34 => self.deliver(),
            35..=54 => self.persist(id),
            55..=69 => self.apply(id),
            70..=74 => self.read_log(id),
            75..=84 => {
                self.now = self.now + Duration::from_millis(1 + self.random.below(60));
                self.step(id, vec![Input::Tick]);
            }
            85..=97 => self.ask(id),
            _ if !self.faults => {}
            98 => self.network.clear(),
            _ => {
                self.crash(id);
                self.start(id);
            }
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let place = if self.faults {
            self.random.below(self.network.len() as u64) as usize
        } else {
            0
        };
        if self.faults && self.random.chance(10) {
            // Delivered now, and once more later.
            let copy = self.network[place].clone();
            self.network.push(copy);
        }
        let message = self.network.remove(place);
        if !(self.faults && self.random.chance(5)) {
            self.step(message.to.0, vec![Input::Receive(message)]);
        }
    }

    fn persist(&mut self, id: u64) {
        let replica = &mut self.replicas[id as usize - 1];
        let Some(write) = replica.ports.writes.pop_front() else {
            return;
        };
        if !write.is_empty() {
            ready(replica.disk.write(vec![GroupWrite::new(GROUP, &write)])).unwrap();
        }
        let (own, others): (Vec<_>, Vec<_>) = write.then.into_iter().partition(|message| message.to.0 == id);
        self.network.extend(others);
        let own = own.into_iter().map(Input::Receive);
        self.step(
            id,
            std::iter::once(Input::Persisted(write.seq)).chain(own).collect(),
        );
    }

    fn apply(&mut self, id: u64) {
        let replica = &mut self.replicas[id as usize - 1];
        let Some(batch) = replica.ports.applies.pop_front() else {
            return;
        };
        let last = batch.last_index();
        replica.applied.extend(batch.entries.iter().cloned());
        let reply = |entry: &Entry| {
            let response = match &entry.payload {
                Payload::Command(command) => command.clone(),
                _ => Bytes::new(),
            };
            let index = entry.index();
            Ok(Reply { index, response })
        };
        let results = batch.entries.iter().map(reply).collect();
        let settled = batch.settle(results);
        self.network.extend(settled.messages);
        self.take_ended(id, settled.outcomes);
        self.step(id, vec![Input::Applied(last)]);
    }

    fn read_log(&mut self, id: u64) {
        let replica = &mut self.replicas[id as usize - 1];
        let Some(request) = replica.ports.reads.pop() else {
            return;
        };
        let fails = self.faults && self.random.chance(20);
        let read = replica
            .disk
            .read(GROUP, request.first, request.last, request.bytes_max);
        let entries = ready(read).ok().filter(|_| !fails).unwrap_or_default();
        self.step(id, vec![Input::LogRead(LogReadResult { request, entries })]);
    }

    fn ask(&mut self, id: u64) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let command = self
            .random
            .chance(60)
            .then(|| Bytes::from(format!("command {ticket}")));
        let request = Request {
            node: id,
            command: command.clone(),
            acknowledged_before: self.acknowledged,
        };
        self.requests.insert(ticket, request);
        let input = match command {
            Some(command) => Input::Propose(vec![Proposal {
                ticket,
                command: command.into(),
            }]),
            None => Input::Read(vec![ticket]),
        };
        self.step(id, vec![input]);
    }

    /// No more faults and no more requests: everything must come to an end.
    fn settle(&mut self) {
        self.faults = false;
        for _ in 0..20_000 {
            self.deliver();
            for id in 1..=NODES {
                self.persist(id);
                self.apply(id);
                self.read_log(id);
                self.step(id, vec![Input::Tick]);
            }
            if self.network.is_empty() {
                self.now = self.now + Duration::from_millis(10);
            }
            if self.outcomes.len() == self.requests.len() {
                return;
            }
        }
        let waiting = self
            .requests
            .keys()
            .filter(|ticket| !self.outcomes.contains_key(ticket));
        panic!("these requests never end: {:?}", waiting.collect::<Vec<_>>());
    }

    /// Compares every outcome with what the longest state machine has applied.
    fn check(&self) {
        let longest = self.replicas.iter().map(|replica| &replica.applied);
        let longest = longest.max_by_key(|applied| applied.len()).unwrap();
        for replica in &self.replicas {
            assert!(longest.starts_with(&replica.applied), "two state machines differ");
        }
        let mut places = BTreeMap::new();
        for entry in longest {
            if let Payload::Command(command) = &entry.payload {
                let before = places.insert(command.clone(), entry.index());
                assert!(before.is_none(), "{command:?} was applied twice");
            }
        }
        for (ticket, outcome) in &self.outcomes {
            let Some(command) = &self.requests[ticket].command else {
                continue;
            };
            match outcome {
                Outcome::Applied { index, .. } => {
                    assert_eq!(
                        places.get(command),
                        Some(index),
                        "an acknowledged command is not where it was"
                    );
                }
                Outcome::Refused(reason) => {
                    assert_eq!(
                        places.get(command),
                        None,
                        "{command:?} was refused ({reason}) and applied all the same"
                    );
                }
                _ => {}
            }
        }
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..6_000 {
        world.happen();
    }
    world.settle();
    // One more command, so that every committed entry of before is applied by some node.
    world.ask(1);
    world.settle();
    world.check();
    world
}

/// R45, R73, I13, I14: every request ends exactly once; acknowledged commands stay, refused ones never show, none is
/// applied twice, and no read is older than what was acknowledged before it.
#[test]
fn every_request_ends_once_and_truly() {
    let (mut kinds, mut forwarded) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    for seed in 0..70 {
        let world = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed} fails"));
        for (ticket, outcome) in &world.outcomes {
            let kind = match outcome {
                Outcome::Applied { .. } => "applied",
                Outcome::ReadReady { .. } => "read",
                Outcome::Refused(_) => "refused",
                Outcome::Unknown => "unknown",
                other => panic!("nobody asked for {other:?}"),
            };
            *kinds.entry(kind).or_default() += 1;
            if kind == "applied" {
                forwarded.insert(world.requests[ticket].node);
            }
        }
    }
    // A run in which little happens would prove little.
    assert!(kinds["applied"] > 3_000 && kinds["read"] > 2_000, "{kinds:?}");
    assert!(kinds["refused"] > 100 && kinds["unknown"] > 100, "{kinds:?}");
    assert_eq!(
        forwarded.len(),
        3,
        "commands of every node's clients were applied"
    );
}
