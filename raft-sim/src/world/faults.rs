//! Faults of the plan: how they begin, and how they end.

use std::time::Duration;

use raft_core::effect::RoleKind;
use raft_core::input::Input;
use raft_core::types::{EntryId, NodeId};

use super::World;
use crate::clock::Instant;
use crate::disk::Damage;
use crate::node::Node;
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

    fn target(&self, target: Target) -> NodeId {
        match target {
            Target::Leader => self.leader().unwrap_or(NodeId(1)),
            Target::Node(number) => NodeId(1 + number % self.nodes.len() as u64),
        }
    }

    /// Begins a fault of the plan, unless nothing goes wrong any more.
    pub(super) fn fault_begins(&mut self, number: usize) -> Result<(), Violation> {
        if !self.is_faulty {
            return Ok(());
        }
        let fault = self.plan.faults[number].fault.clone();
        let nodes = self.meant(&fault);
        let seen = Observation::FaultBegun {
            number: number as u64,
            fault: &fault,
            nodes: &nodes,
        };
        self.observe(&seen)?;
        if self.inflict(number, &fault)? {
            self.watch.tally.fault(fault.kind());
            return Ok(());
        }
        self.observe(&Observation::FaultEnded {
            number: number as u64,
            was_void: true,
        })
    }

    /// Whom a fault is meant for; the nodes on the other side, if it divides them.
    fn meant(&self, fault: &Fault) -> Vec<NodeId> {
        match fault {
            Fault::CrashAll { .. } => self.nodes.iter().map(Node::id).collect(),
            Fault::Partition { side, .. } => self.sides(*side).0,
            Fault::CutLink { from, to, .. } | Fault::Clog { from, to, .. } => {
                vec![self.target(*from), self.target(*to)]
            }
            Fault::Transfer { target, to } => vec![self.target(*target), self.target(*to)],
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
            | Fault::ChangeMembers { target, .. } => vec![self.target(*target)],
        }
    }

    /// The nodes on the other side of a partition, and those on this one.
    fn sides(&self, side: u64) -> (Vec<NodeId>, Vec<NodeId>) {
        let ids = self.nodes.iter().map(Node::id);
        ids.partition(|node| side >> (node.0 - 1) & 1 == 1)
    }

    /// Returns whether the fault had any effect.
    fn inflict(&mut self, number: usize, fault: &Fault) -> Result<bool, Violation> {
        match fault.kind() {
            FaultKind::Crash | FaultKind::Pause | FaultKind::Damage => self.disturb_process(fault),
            FaultKind::Partition | FaultKind::Clog => self.disturb_links(number, fault),
            FaultKind::DiskStall | FaultKind::ApplyStall | FaultKind::DiskError => {
                self.disturb_storage(number, fault)
            }
            FaultKind::Clock => Ok(self.disturb_clock(number, fault)),
            FaultKind::Campaign | FaultKind::Membership | FaultKind::Transfer => self.order(fault),
        }
    }

    /// What concerns whole processes.
    fn disturb_process(&mut self, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::Crash { target, down_ms } => self.crash_for(self.target(*target), *down_ms),
            Fault::CrashAll { down_ms } => self.crash_all(*down_ms),
            Fault::Pause { target, ms } => {
                let node = self.target(*target);
                self.nodes.get_mut(node).paused_until = now + Duration::from_millis(*ms);
                Ok(true)
            }
            Fault::Damage {
                target,
                damage,
                place,
                down_ms,
            } => self.damage(self.target(*target), *damage, *place, *down_ms),
            _ => Ok(false),
        }
    }

    /// What concerns links.
    fn disturb_links(&mut self, number: usize, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::Isolate {
                target,
                direction,
                ms,
            } => {
                let node = self.target(*target);
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
                let cuts = directed(self.target(*from), self.target(*to), *direction);
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
                let (from, to) = (self.target(*from), self.target(*to));
                self.network.clog(from, to, now + Duration::from_millis(*ms));
                Ok(from != to)
            }
            _ => Ok(false),
        }
    }

    /// What concerns disks and state machines.
    fn disturb_storage(&mut self, number: usize, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::DiskStall { target, ms } => {
                let node = self.target(*target);
                self.nodes.get_mut(node).disk_stalled_until = now + Duration::from_millis(*ms);
                Ok(true)
            }
            Fault::ApplyStall { target, ms } => {
                let node = self.target(*target);
                self.nodes.get_mut(node).apply_stalled_until = now + Duration::from_millis(*ms);
                Ok(true)
            }
            Fault::DiskError { target, .. } => {
                let node = self.target(*target);
                self.nodes.get_mut(node).storage.arm(crate::disk::Fault::Eio);
                Ok(true)
            }
            Fault::DiskFull { target, ms } => {
                let node = self.target(*target);
                self.nodes.get_mut(node).storage.full(true);
                self.last_until(number, Lasting::Full(node), *ms);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What concerns clocks.
    fn disturb_clock(&mut self, number: usize, fault: &Fault) -> bool {
        match fault {
            Fault::ClockStep { target, ms } => {
                let node = self.target(*target);
                self.nodes.get_mut(node).clock.step(Duration::from_millis(*ms));
                self.set_timer(node);
                true
            }
            Fault::ClockRate { target, rate_ppm, ms } => {
                self.run_clock_at(number, self.target(*target), *rate_ppm, *ms)
            }
            _ => false,
        }
    }

    /// What somebody orders.
    fn order(&mut self, fault: &Fault) -> Result<bool, Violation> {
        let now = self.now;
        match fault {
            Fault::Campaign { target } => {
                let node = self.target(*target);
                let is_up = self.nodes.get(node).process.is_some() && !self.nodes.get(node).is_paused(now);
                if is_up {
                    self.step(node, vec![Input::Campaign])?;
                }
                Ok(is_up)
            }
            Fault::ChangeMembers { target, draw } => self.change_members(self.target(*target), *draw),
            Fault::Transfer { target, to } => {
                let (asked, to) = (self.target(*target), self.target(*to));
                let leads = |node: &Node| {
                    node.status()
                        .is_some_and(|status| status.role == RoleKind::Leader)
                };
                let is_up = leads(self.nodes.get(asked)) && !self.nodes.get(asked).is_paused(now);
                if is_up {
                    self.transfer(asked, to)?;
                }
                Ok(is_up)
            }
            _ => Ok(false),
        }
    }

    fn others(&self, node: NodeId) -> Vec<NodeId> {
        let ids = self.nodes.iter().map(Node::id);
        ids.filter(|id| *id != node).collect()
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
        self.nodes.get_mut(id).clock.set_rate(now, rate_ppm);
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
                self.nodes.get_mut(id).clock.restore_rate(now);
                self.set_timer(id);
            }
            Some(Lasting::Full(id)) => self.nodes.get_mut(id).storage.full(false),
        }
        self.observe(&Observation::FaultEnded {
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
        for node in self.nodes.iter_mut() {
            let now = Instant::ZERO;
            (
                node.paused_until,
                node.disk_stalled_until,
                node.apply_stalled_until,
            ) = (now, now, now);
            node.storage.disarm();
        }
        Ok(())
    }

    // ---- crashes and damage ----

    fn crash_for(&mut self, id: NodeId, down_ms: u64) -> Result<bool, Violation> {
        if self.nodes.get(id).process.is_none() {
            return Ok(false);
        }
        self.crash(id)?;
        self.start_after(id, down_ms);
        Ok(true)
    }

    pub(super) fn start_after(&mut self, id: NodeId, ms: u64) {
        let life = self.nodes.get(id).life;
        let at = self.now + Duration::from_millis(ms);
        self.queue.push(at, Event::Start { node: id, life });
    }

    fn crash_all(&mut self, down_ms: u64) -> Result<bool, Violation> {
        let ids: Vec<NodeId> = self.nodes.iter().map(Node::id).collect();
        for id in ids {
            let down_ms = self.random.below(down_ms + 1);
            self.crash_for(id, down_ms)?;
        }
        Ok(true)
    }

    /// Whether one more node may lose what it promised, so that recovery stays possible: a majority of the voters of
    /// every configuration that may be in force remembers everything, and every first member has stored something (R68).
    fn may_lose(&self, id: NodeId) -> bool {
        let founders = self.nodes.iter().filter(|node| node.id().0 <= self.plan.voters);
        let all_stored = founders
            .into_iter()
            .all(|node| node.lost || node.durable().last() != EntryId::ZERO);
        let sound = |voter: &NodeId| {
            *voter != id
                && self.nodes.contains(*voter)
                && !self.nodes.get(*voter).lost
                && self.nodes.get(*voter).is_sound()
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
        all_stored && self.nodes.iter().all(in_force)
    }

    fn damage(
        &mut self,
        id: NodeId,
        damage: DiskDamage,
        place: u64,
        down_ms: u64,
    ) -> Result<bool, Violation> {
        if !self.may_lose(id) || self.nodes.get(id).process.is_none() {
            return Ok(false);
        }
        let synced = self.nodes.get(id).durable().clone();
        self.crash(id)?;
        let node = self.nodes.get_mut(id);
        // What was kept without having been synced was promised to nobody, and its loss is no loss.
        node.promised.forget_unsynced(&synced);
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
        let what = node.storage.damage(kind, &mut random);
        if let Some(what) = &what {
            node.lost |= !node.storage.is_intact();
            if damage == DiskDamage::Wipe {
                node.kept_state = None;
                node.lost = true;
                node.disks += 1;
                if random.percent(50) {
                    node.founding = raft_core::membership::Membership::empty();
                }
            }
            self.observe(&Observation::Damaged { node: id, what })?;
        }
        self.start_after(id, down_ms);
        Ok(what.is_some())
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
