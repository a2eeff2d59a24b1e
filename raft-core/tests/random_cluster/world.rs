//! Replicas, a network, disks and clocks: effects become inputs, some of them late, some never.

use std::collections::BTreeMap;

use raft_core::effect::{Effect, RoleChangeReason, RoleKind};
use raft_core::input::{Input, LogRead, LogReadResult};
use raft_core::membership::Membership;
use raft_core::message::{InstallSnapshot, Message};
use raft_core::types::{EntryId, NodeId};

use super::clients::Clients;
use super::history::History;
use super::node::{GROUP, Node, Work};
use super::random::{Random, Swarm};

/// What a run did, to tell whether it was worth anything.
#[derive(Default, Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) commits: u64,
    pub(crate) elections: u64,
    pub(crate) crashes: u64,
    pub(crate) losses: u64,
    pub(crate) snapshots_installed: u64,
    pub(crate) reads: u64,
    pub(crate) lease_reads: u64,
    pub(crate) two_leaders: u64,
    pub(crate) changes: u64,
    pub(crate) joint_changes: u64,
    pub(crate) rollbacks: u64,
    pub(crate) removals_of_leaders: u64,
    pub(crate) transfers: u64,
    pub(crate) transfers_aborted: u64,
    pub(crate) stalled_leaders: u64,
    pub(crate) trust_restored: u64,
}

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Everything,
    /// Everything, while reads are served by lease.
    Leases,
    /// Leases against elections.
    Duels,
    /// Memory that is lost.
    Losses,
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) swarm: Swarm,
    /// The true time, in microseconds.
    pub(crate) now: u64,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// Messages under way, with when they arrive.
    pub(crate) network: Vec<(u64, Message)>,
    snapshots_in_transit: Vec<(u64, InstallSnapshot, Vec<EntryId>)>,
    /// Directed links that lose everything.
    pub(crate) cut: Vec<(NodeId, NodeId)>,
    pub(crate) history: History,
    pub(crate) clients: Clients,
    pub(crate) counts: Counts,
    /// Whether anything goes wrong still.
    pub(crate) faults: bool,
    /// Whether every step is recorded.
    is_recorded: bool,
}

impl World {
    pub(crate) fn new(seed: u64, kind: Kind) -> World {
        World::with(seed, kind, false)
    }

    /// A world whose replicas are recorded.
    pub(crate) fn recorded(seed: u64, kind: Kind) -> World {
        World::with(seed, kind, true)
    }

    fn with(seed: u64, kind: Kind, is_recorded: bool) -> World {
        let mut random = Random(seed);
        let swarm = match kind {
            Kind::Everything => Swarm::draw(&mut random, false),
            Kind::Leases => Swarm::draw(&mut random, true),
            Kind::Duels => Swarm::duel(),
            Kind::Losses => Swarm::losses(&mut random),
        };
        let ids: Vec<NodeId> = (1..=swarm.voters).map(NodeId).collect();
        let membership = Membership::of_voters(ids.iter().copied()).expect("there are voters");
        let mut world = World {
            random,
            swarm,
            now: 0,
            nodes: BTreeMap::new(),
            network: Vec::new(),
            snapshots_in_transit: Vec::new(),
            cut: Vec::new(),
            history: History::new(membership.clone()),
            clients: Clients::default(),
            counts: Counts::default(),
            faults: true,
            is_recorded,
        };
        for id in ids {
            world.add_node(id, membership.clone());
        }
        world
    }

    /// A new machine is there.
    pub(crate) fn add_node(&mut self, id: NodeId, membership: Membership) {
        let node = Node::new(id, membership, &self.swarm, &mut self.random);
        self.nodes.insert(id, node);
        self.start(id);
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("nodes are never taken away")
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        let (now, seed) = (self.now, self.random.next());
        let is_recorded = self.is_recorded;
        self.node(id).start(now, seed, is_recorded);
    }

    /// Does again what every replica did; how many steps, and from how many states.
    pub(crate) fn check_recordings(&mut self) -> (u64, u64) {
        let mut replayed = (0, 0);
        for node in self.nodes.values_mut() {
            node.check_recording();
            replayed = (replayed.0 + node.replayed.0, replayed.1 + node.replayed.1);
        }
        replayed
    }

    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        if node.raft.is_some() {
            node.crash(&mut self.random);
            self.clients.forget(id);
            self.counts.crashes += 1;
        }
    }

    /// A node stops, and what it promised is gone: its disk is new, or lost its end. Only while everybody else has all of
    /// its memory, and every first member has stored something: fewer than a quorum of the disks are damaged.
    pub(crate) fn lose(&mut self, id: NodeId) {
        let first = self.history.first_membership();
        if self.nodes.values().all(Node::is_sound) {
            self.crash(id);
            let (kind, keep) = (self.random.below(3), self.random.below(100));
            self.node(id).lose(kind, keep, first);
            self.counts.losses += 1;
        }
    }

    /// Gives a replica one input, does what follows, and checks what must hold.
    pub(crate) fn step(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let node = self.node(id);
        let Some(raft) = &mut node.raft else { return };
        let before = raft.status();
        let mut effects = Vec::new();
        let at = node.clock.at(now);
        if let Some(recording) = &mut node.recording {
            recording.step(raft, at, &input);
        }
        raft.step(at, input, &mut effects);
        if let Some(recording) = &mut node.recording {
            recording.stepped(&effects);
        }
        let after = raft.status();
        let node = self.node(id);
        node.lost &= !node.is_sound();
        self.history.begin_step(&before);
        for effect in effects {
            self.effect(id, effect, after.role);
        }
        let committed = self.history.end_step(&self.nodes, now, &before, &after);
        self.counts.commits += committed;
        if after.role != RoleKind::Leader {
            self.clients.leadership_is_over(id);
        }
    }

    fn effect(&mut self, id: NodeId, effect: Effect, role: RoleKind) {
        match effect {
            Effect::Send(message) => self.send(message),
            Effect::Persist(write) => {
                let now = self.now;
                let is_rollback = self.history.write_issued(role, &self.nodes[&id].issued, &write);
                self.counts.rollbacks += u64::from(is_rollback);
                let node = self.node(id);
                node.issued.apply(&write);
                if node.writes.is_empty() {
                    node.writing_since = node.clock.at(now);
                }
                node.writes.push_back(write);
            }
            Effect::ReadLog(request) => self.read_log(id, request),
            Effect::Apply(entries) => self.node(id).work.push_back(Work::Apply(entries)),
            Effect::CreateSnapshot(meta) => self.node(id).work.push_back(Work::Create(meta)),
            Effect::RestoreSnapshot(meta) => self.node(id).work.push_back(Work::Restore(meta)),
            Effect::SendSnapshot { to, term, meta } => {
                let state = self.nodes[&id].snapshots[&meta.last.index].1.clone();
                let header = InstallSnapshot {
                    group: GROUP,
                    from: id,
                    to,
                    term,
                    meta,
                };
                let at = self.now + self.random.below(100_000);
                self.snapshots_in_transit.push((at, header, state));
            }
            Effect::Compact(through) => {
                let node = self.node(id);
                assert!(through.index <= node.disk.snapshot.last.index, "I12");
                node.disk.compact(through);
                node.issued.compact(through);
            }
            Effect::RoleChanged(change) => {
                if change.to == RoleKind::Leader {
                    self.history.elected(change.term, id);
                    self.counts.elections += 1;
                }
                self.counts.stalled_leaders += u64::from(change.reason == RoleChangeReason::Stalled);
                self.counts.removals_of_leaders += u64::from(change.reason == RoleChangeReason::Removed);
            }
            Effect::MembershipChanged(membership) => self.history.membership_changed(membership),
            Effect::Suspected(_) => {}
            Effect::TrustRestored => self.counts.trust_restored += 1,
            Effect::Fatal(reason) => panic!("node {id} stopped: {reason}"),
            answer => self
                .clients
                .answered(id, answer, &mut self.history, &mut self.counts),
        }
    }

    fn read_log(&mut self, id: NodeId, request: LogRead) {
        let fails = self.faults && self.random.percent(10);
        let node = self.node(id);
        let mut entries = node.disk.entries.clone();
        entries.retain(|entry| (request.first..=request.last).contains(&entry.index()));
        entries.truncate(if fails { 0 } else { 4 });
        node.log_reads
            .push(Input::LogRead(LogReadResult { request, entries }));
    }

    // ---- the network ----

    fn send(&mut self, message: Message) {
        self.history.sent(&self.nodes[&message.from].disk, &message);
        if self.faults && self.random.percent(self.swarm.lost_percent) {
            return;
        }
        let delay = |random: &mut Random, max_ms: u64| random.below(max_ms * 1_000);
        let ms = if self.random.percent(self.swarm.late_percent) {
            2_000
        } else {
            20
        };
        let after = if self.faults {
            delay(&mut self.random, ms)
        } else {
            1_000
        };
        self.network.push((self.now + after, message.clone()));
        if self.faults && self.random.percent(self.swarm.late_percent) {
            let again = self.now + delay(&mut self.random, 3_000);
            self.network.push((again, message));
        }
    }

    pub(crate) fn deliver(&mut self) {
        let now = self.now;
        let network = std::mem::take(&mut self.network);
        let (due, later): (Vec<_>, Vec<_>) = network.into_iter().partition(|(at, _)| *at <= now);
        self.network = later;
        for (_, message) in due {
            let paused_until = self.nodes[&message.to].paused_until;
            if self.cut.contains(&(message.from, message.to)) {
                continue;
            }
            if paused_until > now {
                self.network.push((paused_until, message));
            } else {
                self.step(message.to, Input::Receive(message));
            }
        }
        for (at, header, state) in std::mem::take(&mut self.snapshots_in_transit) {
            if at > now || self.nodes[&header.to].paused_until > now {
                self.snapshots_in_transit.push((at, header, state));
            } else {
                self.snapshot_arrives(header, state);
            }
        }
    }

    fn snapshot_arrives(&mut self, header: InstallSnapshot, state: Vec<EntryId>) {
        let (from, to, last) = (header.from, header.to, header.meta.last);
        let alive = self.nodes[&to].raft.is_some() && !self.cut.contains(&(from, to));
        let delivered = alive && !(self.faults && self.random.percent(30));
        if delivered {
            let stored = (header.meta.clone(), state);
            self.node(to).snapshots.insert(header.meta.last.index, stored);
            self.step(to, Input::SnapshotReceived(header));
        }
        self.step(from, Input::SnapshotSent { to, last, delivered });
    }

    // ---- disks and state machines ----

    pub(crate) fn complete_write(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        if node.raft.is_none() {
            return;
        }
        let Some(write) = node.writes.pop_front() else {
            return;
        };
        node.writing_since = node.clock.at(now);
        node.disk.apply(&write);
        for message in write.then {
            if message.to == id {
                self.step(id, Input::Receive(message));
            } else {
                self.send(message);
            }
        }
        self.step(id, Input::Persisted(write.seq));
    }

    pub(crate) fn complete_work(&mut self, id: NodeId) {
        let fails = self.random.percent(20);
        let node = self.nodes.get_mut(&id).expect("nodes are never taken away");
        let Some(work) = node.work.pop_front() else {
            return;
        };
        let input = match work {
            Work::Apply(entries) => {
                for entry in &entries {
                    self.history.applied(node, entry.id);
                    node.applied.push(entry.id);
                    self.clients.applied(id, entry.id);
                }
                Input::Applied(node.applied.last().expect("a batch is not empty").index)
            }
            Work::Create(meta) => {
                assert_eq!(node.applied.last(), Some(&meta.last), "I21");
                self.history.snapshot(&meta);
                node.applied_durable = node.applied.clone();
                node.snapshots
                    .insert(meta.last.index, (meta.clone(), node.applied.clone()));
                if fails {
                    Input::SnapshotFailed
                } else {
                    Input::SnapshotCreated(meta)
                }
            }
            Work::Restore(meta) => {
                node.applied = node.snapshots[&meta.last.index].1.clone();
                node.applied_durable = node.applied.clone();
                self.history.restored(&node.applied);
                self.counts.snapshots_installed += 1;
                Input::SnapshotRestored(meta.last)
            }
        };
        self.step(id, input);
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.commits += other.commits;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.losses += other.losses;
        self.snapshots_installed += other.snapshots_installed;
        self.reads += other.reads;
        self.lease_reads += other.lease_reads;
        self.two_leaders += other.two_leaders;
        self.changes += other.changes;
        self.joint_changes += other.joint_changes;
        self.rollbacks += other.rollbacks;
        self.removals_of_leaders += other.removals_of_leaders;
        self.transfers += other.transfers;
        self.transfers_aborted += other.transfers_aborted;
        self.stalled_leaders += other.stalled_leaders;
        self.trust_restored += other.trust_restored;
    }
}
