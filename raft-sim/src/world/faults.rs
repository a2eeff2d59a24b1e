//! Faults of the plan: how they begin, and how they end.

use std::time::Duration;

use raft_core::effect::RoleKind;
use raft_core::input::Input;
use raft_core::types::{EntryId, GroupId, Index, NodeId};

use super::World;
use super::groups::FIRST_GROUP;
use crate::clock::Instant;
use crate::disk::{Damage, LogImage};
use crate::machine::Machine;
use crate::node::{Node, ReplicaId};
use crate::observation::Observation;
use crate::plan::{Direction, DiskDamage, Fault, FaultKind, Target};
use crate::queue::Event;
use crate::random::Random;
use crate::violation::Violation;

/// What a fault does until it ends.
#[derive(Debug)]
pub(super) enum Lasting {
    /// These directions are cut.
    Cuts(Vec<(NodeId, NodeId)>),
    /// The clock runs at a rate that is not its own.
    Rate(NodeId),
    /// The disk is full.
    Full(NodeId),
}

impl World<'_> {
    pub(super) fn plan_faults(&mut self) {
        for (number, planned) in self.plan.faults.iter().enumerate() {
            let at = Instant::from_millis(planned.at_ms);
            self.queue.push(at, Event::FaultBegins(number));
            self.lasting.push(None);
        }
    }

    /// The group that a fault is meant for: each in turn, as long as there are any.
    fn group_of(&self, number: usize) -> GroupId {
        let living = self.groups.living();
        let in_turn = living.get(number.checked_rem(living.len()).unwrap_or_default());
        in_turn.copied().unwrap_or(FIRST_GROUP)
    }

    /// The machine that is meant, seen from a group.
    pub(super) fn target(&self, group: GroupId, target: Target) -> NodeId {
        match target {
            Target::Leader => self.leader(group).unwrap_or(NodeId(1)),
            Target::Node(number) => NodeId(1 + number % self.machines.len() as u64),
        }
    }

    /// Begins a fault of the plan, unless nothing goes wrong any more.
    pub(super) fn fault_begins(&mut self, number: usize) -> Result<(), Violation> {
        if !self.is_faulty {
            return Ok(());
        }
        let fault = self.plan.faults[number].fault.clone();
        let group = self.group_of(number);
        let nodes = self.meant(group, &fault);
        let seen = Observation::FaultBegun {
            number: number as u64,
            fault: &fault,
            nodes: &nodes,
        };
        self.observe_everywhere(&seen)?;
        if self.inflict(group, number, &fault)? {
            self.tally.fault(fault.kind());
            return Ok(());
        }
        self.observe_everywhere(&Observation::FaultEnded {
            number: number as u64,
            was_void: true,
        })
    }

    /// Whom a fault is meant for; the nodes on the other side, if it divides them.
    fn meant(&self, group: GroupId, fault: &Fault) -> Vec<NodeId> {
        match fault {
            Fault::CrashAll { .. } => self.machines.ids(),
            // Whom it concerns is drawn.
            Fault::CreateGroup { .. } | Fault::DestroyGroup { .. } => Vec::new(),
            Fault::Partition { side, .. } => self.sides(*side).0,
            Fault::CutLink { from, to, .. } | Fault::Clog { from, to, .. } => {
                vec![self.target(group, *from), self.target(group, *to)]
            }
            Fault::Transfer { target, to } => vec![self.target(group, *target), self.target(group, *to)],
            Fault::Crash { target, .. }
            | Fault::Pause { target, .. }
            | Fault::Isolate { target, .. }
            | Fault::DiskStall { target, .. }
            | Fault::ApplyStall { target, .. }
            | Fault::DiskError { target, .. }
            | Fault::DiskFull { target, .. }
            | Fault::Damage { target, .. }
            | Fault::ClockStep { target, .. }
            | Fault::ClockRate { target, .. }
            | Fault::Campaign { target }
            | Fault::ChangeMembers { target, .. }
            | Fault::MoveReplica { target, .. } => vec![self.target(group, *target)],
        }
    }

    /// The nodes on the other side of a partition, and those on this one.
    fn sides(&self, side: u64) -> (Vec<NodeId>, Vec<NodeId>) {
        let ids = self.machines.ids().into_iter();
        ids.partition(|node| side >> (node.0 - 1) & 1 == 1)
    }

    /// Returns whether the fault had any effect.
    fn inflict(&mut self, group: GroupId, number: usize, fault: &Fault) -> Result<bool, Violation> {
        match fault.kind() {
            FaultKind::Crash | FaultKind::Pause | FaultKind::Damage => self.disturb_process(group, fault),
            FaultKind::Partition | FaultKind::Clog => self.disturb_links(group, number, fault),
            FaultKind::DiskStall | FaultKind::ApplyStall | FaultKind::DiskError => {
                self.disturb_storage(group, number, fault)
            }
            FaultKind::Clock => Ok(self.disturb_clock(group, number, fault)),
            FaultKind::Campaign | FaultKind::Membership | FaultKind::Transfer => {
                self.give_order(group, fault)
            }
            FaultKind::Groups => self.arrange(group, fault),
        }
    }

    /// What concerns whole processes.
    fn disturb_process(&mut self, group: GroupId, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::Crash { target, down_ms } => self.crash_for(self.target(group, *target), *down_ms),
            Fault::CrashAll { down_ms } => self.crash_all(*down_ms),
            Fault::Pause { target, ms } => {
                let node = self.target(group, *target);
                self.machines.get_mut(node).paused_until = now + Duration::from_millis(*ms);
                Ok(true)
            }
            Fault::Damage {
                target,
                damage,
                place,
                down_ms,
            } => {
                let node = self.target(group, *target);
                self.damage(ReplicaId { group, node }, *damage, *place, *down_ms)
            }
            _ => Ok(false),
        }
    }

    /// What concerns links.
    fn disturb_links(&mut self, group: GroupId, number: usize, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::Isolate {
                target,
                direction,
                ms,
            } => {
                let node = self.target(group, *target);
                let others = self.others(node);
                let cuts = others
                    .into_iter()
                    .flat_map(|other| directed(node, other, *direction));
                self.cut(number, cuts.collect(), *ms)
            }
            Fault::CutLink {
                from,
                to,
                direction,
                ms,
            } => {
                let cuts = directed(self.target(group, *from), self.target(group, *to), *direction);
                self.cut(number, cuts, *ms)
            }
            Fault::Partition { side, ms } => {
                let (there, here) = self.sides(*side);
                let pairs = there
                    .iter()
                    .flat_map(|one| here.iter().map(move |other| (*one, *other)));
                let cuts = pairs.flat_map(|(one, other)| directed(one, other, Direction::Both));
                self.cut(number, cuts.collect(), *ms)
            }
            Fault::Clog { from, to, ms } => {
                let (from, to) = (self.target(group, *from), self.target(group, *to));
                self.network.clog(from, to, now + Duration::from_millis(*ms));
                Ok(from != to)
            }
            _ => Ok(false),
        }
    }

    /// What concerns disks and state machines.
    fn disturb_storage(&mut self, group: GroupId, number: usize, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::DiskStall { target, ms } => {
                let node = self.target(group, *target);
                self.machines.get_mut(node).disk_stalled_until = now + Duration::from_millis(*ms);
                Ok(true)
            }
            Fault::ApplyStall { target, ms } => {
                let node = self.target(group, *target);
                self.groups
                    .node_mut(ReplicaId { group, node })
                    .apply_stalled_until = now + Duration::from_millis(*ms);
                Ok(true)
            }
            Fault::DiskError { target, .. } => {
                let node = self.target(group, *target);
                let node = self.groups.node_mut(ReplicaId { group, node });
                node.storage.arm(crate::disk::Fault::Eio);
                Ok(true)
            }
            Fault::DiskFull { target, ms } => {
                let node = self.target(group, *target);
                self.set_full(node, true);
                self.last_until(number, Lasting::Full(node), *ms);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What concerns clocks.
    fn disturb_clock(&mut self, group: GroupId, number: usize, fault: &Fault) -> bool {
        match fault {
            Fault::ClockStep { target, ms } => {
                let node = self.target(group, *target);
                self.machines.get_mut(node).clock.step(Duration::from_millis(*ms));
                self.set_timer(node);
                true
            }
            Fault::ClockRate { target, rate_ppm, ms } => {
                self.run_clock_at(number, self.target(group, *target), *rate_ppm, *ms)
            }
            _ => false,
        }
    }

    /// What somebody orders.
    fn give_order(&mut self, group: GroupId, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::Campaign { target } => {
                let node = self.target(group, *target);
                let at = ReplicaId { group, node };
                let is_up = self.groups.node(at).process.is_some() && !self.machines.get(node).is_paused(now);
                if is_up {
                    self.step(at, vec![Input::Campaign])?;
                }
                Ok(is_up)
            }
            Fault::ChangeMembers { target, draw } => {
                let node = self.target(group, *target);
                self.change_members(ReplicaId { group, node }, *draw)
            }
            Fault::Transfer { target, to } => {
                let (node, to) = (self.target(group, *target), self.target(group, *to));
                let asked = ReplicaId { group, node };
                let leads = |node: &Node| {
                    node.status()
                        .is_some_and(|status| status.role == RoleKind::Leader)
                };
                let is_up = leads(self.groups.node(asked)) && !self.machines.get(node).is_paused(now);
                if is_up {
                    self.transfer(asked, to)?;
                }
                Ok(is_up)
            }
            _ => Ok(false),
        }
    }

    fn others(&self, node: NodeId) -> Vec<NodeId> {
        let mut others = self.machines.ids();
        others.retain(|id| *id != node);
        others
    }

    fn cut(&mut self, number: usize, cuts: Vec<(NodeId, NodeId)>, ms: u64) -> Result<bool, Violation> {
        for (from, to) in &cuts {
            self.network.cut(*from, *to);
        }
        let is_effective = !cuts.is_empty();
        self.last_until(number, Lasting::Cuts(cuts), ms);
        Ok(is_effective)
    }

    fn run_clock_at(&mut self, number: usize, id: NodeId, rate_ppm: u64, ms: u64) -> bool {
        let now = self.now;
        self.machines.get_mut(id).clock.set_rate(now, rate_ppm);
        self.set_timer(id);
        self.last_until(number, Lasting::Rate(id), ms);
        true
    }

    fn last_until(&mut self, number: usize, lasting: Lasting, ms: u64) {
        self.lasting[number] = Some(lasting);
        let end = self.now + Duration::from_millis(ms);
        self.queue.push(end, Event::FaultEnds(number));
    }

    /// A fault is over.
    pub(super) fn fault_ends(&mut self, number: usize) -> Result<(), Violation> {
        let now = self.now;
        match self.lasting[number].take() {
            None => return Ok(()),
            Some(Lasting::Cuts(cuts)) => {
                for (from, to) in cuts {
                    self.network.mend(from, to);
                }
            }
            Some(Lasting::Rate(id)) => {
                self.machines.get_mut(id).clock.restore_rate(now);
                self.set_timer(id);
            }
            Some(Lasting::Full(id)) => self.set_full(id, false),
        }
        self.observe_everywhere(&Observation::FaultEnded {
            number: number as u64,
            was_void: false,
        })
    }

    /// Every fault is over.
    pub(super) fn end_all_faults(&mut self) -> Result<(), Violation> {
        self.is_faulty = false;
        for number in 0..self.lasting.len() {
            self.fault_ends(number)?;
        }
        self.network.heal();
        self.machines.iter_mut().for_each(Machine::recover);
        for node in self.groups.iter_mut().flat_map(|group| group.nodes.iter_mut()) {
            node.apply_stalled_until = Instant::ZERO;
            node.storage.disarm();
        }
        Ok(())
    }

    /// The disk of a machine has no room, or has room again.
    fn set_full(&mut self, id: NodeId, is_full: bool) {
        for group in self.groups.iter_mut() {
            group.nodes.get_mut(id).storage.full(is_full);
        }
    }

    // ---- crashes and damage ----

    fn crash_for(&mut self, id: NodeId, down_ms: u64) -> Result<bool, Violation> {
        if !self.machines.get(id).is_up {
            return Ok(false);
        }
        self.crash(id)?;
        self.start_after(id, down_ms);
        Ok(true)
    }

    pub(super) fn start_after(&mut self, id: NodeId, ms: u64) {
        let life = self.machines.get(id).life;
        let at = self.now + Duration::from_millis(ms);
        self.queue.push(at, Event::Start { node: id, life });
    }

    fn crash_all(&mut self, down_ms: u64) -> Result<bool, Violation> {
        for id in self.machines.ids() {
            let down_ms = self.random.below(down_ms + 1);
            self.crash_for(id, down_ms)?;
        }
        Ok(true)
    }

    /// Whether one more replica may lose what it promised, so that recovery stays possible: a majority of the voters of
    /// every configuration that may be in force remembers everything, and every first member has stored something (R68).
    fn may_lose(&self, at: ReplicaId) -> bool {
        let nodes = &self.groups.get(at.group).nodes;
        let first = self
            .groups
            .get(at.group)
            .watch
            .history
            .configuration_at(Index::ZERO);
        let founders = nodes.iter().filter(|node| first.is_voter(node.id()));
        let all_stored = founders
            .into_iter()
            .all(|node| node.lost || node.durable().last() != EntryId::ZERO);
        let sound = |voter: &NodeId| {
            *voter != at.node
                && nodes.contains(*voter)
                && !nodes.get(*voter).lost
                && nodes.get(*voter).is_sound()
        };
        let is_quorum = |voters: &[NodeId]| {
            voters.is_empty() || voters.iter().filter(|v| sound(v)).count() * 2 > voters.len()
        };
        let in_force = |node: &Node| {
            let log = node.durable();
            let mut all = log
                .memberships()
                .map(|(_, membership)| membership)
                .chain(node.issued.memberships().map(|(_, m)| m));
            all.all(|membership| is_quorum(membership.voters()) && is_quorum(membership.outgoing()))
        };
        all_stored && nodes.iter().all(in_force)
    }

    /// What one replica has on its disks is damaged; new disks are new for all replicas of the machine.
    fn damage(
        &mut self,
        at: ReplicaId,
        damage: DiskDamage,
        place: u64,
        down_ms: u64,
    ) -> Result<bool, Violation> {
        let id = at.node;
        let mut concerned = vec![at];
        if damage == DiskDamage::Wipe {
            concerned = self.replicas_on(id);
        }
        let is_here = self.groups.node(at).process.is_some();
        if !is_here || !concerned.iter().all(|at| self.may_lose(*at)) {
            return Ok(false);
        }
        let synced = concerned.iter().map(|at| self.groups.node(*at).durable().clone());
        let synced: Vec<_> = synced.collect();
        self.crash(id)?;
        let mut is_effective = false;
        for (at, synced) in concerned.into_iter().zip(synced) {
            is_effective |= self.damage_one(at, &synced, damage, place)?;
        }
        self.start_after(id, down_ms);
        Ok(is_effective)
    }

    fn damage_one(
        &mut self,
        at: ReplicaId,
        synced: &LogImage,
        damage: DiskDamage,
        place: u64,
    ) -> Result<bool, Violation> {
        let node = self.groups.node_mut(at);
        // What was kept without having been synced was promised to nobody, and its loss is no loss.
        node.promised.forget_unsynced(synced);
        let mut random = Random::new(place);
        let kind = match damage {
            DiskDamage::BitRot => Damage::BitRot,
            DiskDamage::SnapshotRot => Damage::SnapshotRot,
            DiskDamage::LostWrite => Damage::LostWrite,
            DiskDamage::Misdirected => Damage::Misdirected,
            DiskDamage::CutTail => Damage::CutTail,
            DiskDamage::StaleSector => Damage::StaleSector,
            DiskDamage::Wipe => Damage::Wipe,
        };
        let Some(what) = node.storage.damage(kind, &mut random) else {
            return Ok(false);
        };
        node.lost |= !node.storage.is_intact();
        if damage == DiskDamage::Wipe {
            node.kept_state = None;
            node.lost = true;
            if random.percent(50) {
                node.founding = raft_core::membership::Membership::empty();
            }
            self.machines.get_mut(at.node).disks += 1;
        }
        let node = at.node;
        self.observe(at.group, &Observation::Damaged { node, what: &what })?;
        Ok(true)
    }
}

/// The directions of a link that are meant.
fn directed(one: NodeId, other: NodeId, direction: Direction) -> Vec<(NodeId, NodeId)> {
    if one == other {
        return Vec::new();
    }
    match direction {
        Direction::Out => vec![(one, other)],
        Direction::In => vec![(other, one)],
        Direction::Both => vec![(one, other), (other, one)],
    }
}
