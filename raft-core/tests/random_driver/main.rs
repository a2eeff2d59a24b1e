//! Clients of a whole cluster under random faults: every request ends once, and each end is true.
//!
//! Three drivers, with disks that are slow and forget what was not synced, and a network that loses, repeats and reorders.
//! A run is a function of its seed.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod clients;
mod recorder;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use clients::{Request, What};
use raft_core::config::Config;
use raft_core::driver::{ApplyBatch, Driver, Outcome, Ports};
use raft_core::effect::{FatalReason, RoleChange, Write};
use raft_core::input::{Input, LogRead, LogReadResult};
use raft_core::membership::Membership;
use raft_core::memory::MemoryLogStore;
use raft_core::message::{InstallSnapshot, Message, SnapshotMeta};
use raft_core::raft::Raft;
use raft_core::request::RefusalReason;
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{GroupWrite, LogStore};
use raft_core::types::{EntryId, GroupId, Index, NodeId, SessionId, Ticket, Time};
use recorder::Disk;

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
    state: ReplicatedState,
    state_disk: Disk,
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
    /// The sessions that were opened, with the highest sequence that was used in each.
    sessions: Vec<(SessionId, u64)>,
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
            sessions: Vec::new(),
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
                state: Disk::default().open(),
                state_disk: Disk::default(),
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
        replica.state = replica.state_disk.open();
        let applied = replica.state.last_applied();
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
        if self.faults && self.random.chance(2) {
            replica.state_disk.stop_before_commit();
        }
        let Ok(results) = replica.state.apply(&batch.entries) else {
            self.crash(id);
            self.start(id);
            return;
        };
        let last = batch.last_index();
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

/// R45, R72, R73, I13, I14, I15: every request ends exactly once; acknowledged commands stay, refused ones never show, none
/// is applied twice, copies of a command of a session get the identical reply, and no read is older than what was
/// acknowledged before it.
#[test]
fn every_request_ends_once_and_truly() {
    let (mut kinds, mut forwarded) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    for seed in 0..140 {
        let world = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed} fails"));
        let mut replied = BTreeSet::new();
        for (ticket, outcome) in &world.outcomes {
            let request = &world.requests[ticket];
            let kind = match outcome {
                Outcome::Applied { .. } => "applied",
                Outcome::ReadReady { .. } => "read",
                Outcome::Refused(RefusalReason::SessionExpired(_)) => "expired",
                Outcome::Refused(RefusalReason::SequenceAcknowledged { .. }) => "acknowledged",
                Outcome::Refused(_) => "refused",
                Outcome::Unknown => "unknown",
                other => panic!("nobody asked for {other:?}"),
            };
            *kinds.entry(kind).or_default() += 1;
            if kind == "applied" {
                forwarded.insert(request.node);
            }
            if let (What::InSession(command), "applied") = (&request.what, kind)
                && !replied.insert(command.clone())
            {
                *kinds.entry("duplicate").or_default() += 1;
            }
        }
    }
    // A run in which little happens would prove little.
    let floors = [
        ("applied", 3_000),
        ("read", 2_000),
        ("refused", 100),
        ("unknown", 100),
        ("duplicate", 300),
        ("expired", 100),
        ("acknowledged", 50),
    ];
    for (kind, floor) in floors {
        assert!(kinds.get(kind).is_some_and(|count| *count > floor), "{kinds:?}");
    }
    assert_eq!(
        forwarded.len(),
        3,
        "commands of every node's clients were applied"
    );
}
