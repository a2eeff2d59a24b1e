//! Groups come, move and go while everything runs: somebody creates them, adds machines to them, and destroys them.
//!
//! Whoever does that asks each machine for itself, at its own time, and those that are down when they are back. So the first
//! members of a group begin long after each other, and a group that is destroyed dies one replica at a time while the others
//! serve on. What is destroyed never comes back to a machine, and messages on their way to it find nobody.

use std::time::Duration;

use raft_core::effect::Rest;
use raft_core::input::{ChangeRequest, Input};
use raft_core::membership::{MemberChange, Membership};
use raft_core::pulse::PulseInput;
use raft_core::types::{GroupId, NodeId};

use super::World;
use crate::network::NODES_MAX;
use crate::node::{Node, Presence, ReplicaId};
use crate::observation::Observation;
use crate::plan::Fault;
use crate::queue::Event;
use crate::random::Random;
use crate::violation::Violation;

/// More groups than these do not live at once, nor are they created in one run.
const LIVING_MAX: usize = 8;
const GROUPS_MAX: usize = 24;
/// Where several groups are, so many more machines are there than a group begins with.
const SPARE_MACHINES: u64 = 2;
/// Within so long, in milliseconds, whoever creates or destroys something asks every machine.
const ASKED_WITHIN_MS: u64 = 2_000;
/// After so long a machine that was down is asked again.
const ASKED_AGAIN: Duration = Duration::from_millis(300);

impl World<'_> {
    /// The machines and groups with which a run begins. Groups share machines, and none has the same as the next.
    pub(super) fn begin_groups(&mut self) {
        let plan = self.plan;
        let spare = if plan.has_many_groups() { SPARE_MACHINES } else { 0 };
        let machines = (plan.voters + spare).min(NODES_MAX as u64);
        for _ in 0..machines {
            self.add_machine();
        }
        for number in 0..plan.groups {
            let voters = (0..plan.voters).map(|step| NodeId(1 + (number + step) % machines));
            let founding = Membership::of_voters(voters).unwrap_or_else(|_| Membership::empty());
            self.found(&founding);
        }
    }

    /// A new group of these first members; each begins when its machine is asked.
    fn found(&mut self, founding: &Membership) -> GroupId {
        let group = self.add_group(founding);
        for node in founding.voters() {
            self.order_replica(ReplicaId { group, node: *node });
        }
        group
    }

    /// What somebody does with groups. Returns whether anything came of it.
    pub(super) fn arrange(&mut self, group: GroupId, fault: &Fault) -> Result<bool, Violation> {
        match fault {
            Fault::CreateGroup { draw } => Ok(self.create_group(*draw)),
            Fault::DestroyGroup { draw } => Ok(self.destroy_group(*draw)),
            Fault::MoveReplica { target, draw } => {
                let node = self.target(group, *target);
                self.move_replica(ReplicaId { group, node }, *draw)
            }
            _ => Ok(false),
        }
    }

    // ---- creation ----

    fn create_group(&mut self, draw: u64) -> bool {
        if self.groups.living().len() >= LIVING_MAX || self.groups.len() >= GROUPS_MAX {
            return false;
        }
        let mut random = Random::new(draw);
        let mut nodes = self.machines.ids();
        random.shuffle(&mut nodes);
        let voters = if random.percent(60) {
            3
        } else {
            1 + random.position(5)
        };
        nodes.truncate(voters);
        let Ok(founding) = Membership::of_voters(nodes) else {
            return false;
        };
        let group = self.found(&founding);
        self.begin_clients(group);
        self.tally.groups_created += 1;
        true
    }

    /// A machine shall have a replica. One that is down has it when it starts.
    pub(super) fn order_replica(&mut self, at: ReplicaId) {
        let node = self.groups.node_mut(at);
        if node.presence != Presence::Absent {
            return;
        }
        node.presence = Presence::Ordered;
        if self.machines.get(at.node).is_up {
            self.ask(at, Event::Create(at));
        }
    }

    /// A machine is asked for something, some time soon.
    fn ask(&mut self, at: ReplicaId, event: Event) {
        debug_assert!(
            self.machines.contains(at.node),
            "nobody asks a machine that is not there"
        );
        let soon = self.now + Duration::from_millis(self.random.below(ASKED_WITHIN_MS));
        self.queue.push(soon, event);
    }

    /// A replica begins on a machine that runs.
    pub(super) fn create(&mut self, at: ReplicaId) -> Result<(), Violation> {
        let machine = self.machines.get(at.node);
        if self.groups.node(at).presence != Presence::Ordered || !machine.is_up {
            return Ok(());
        }
        if machine.is_paused(self.now) {
            self.queue
                .push(self.again(machine.paused_until), Event::Create(at));
            return Ok(());
        }
        let (recovered, is_suspicious) = self.open(at);
        let incarnation = self.random.next_u64();
        match self.assemble(at, incarnation, recovered, is_suspicious)? {
            Some(assembled) => {
                self.begin(at, assembled)?;
                self.step(at, vec![Input::Tick])
            }
            None => Err(self.broken(
                at.group,
                "start",
                &format!("node {} cannot begin with nothing", at.node),
            )),
        }
    }

    // ---- moving ----

    /// An operator asks a leader to have another machine in place of one. Returns whether it could be asked.
    fn move_replica(&mut self, asked: ReplicaId, draw: u64) -> Result<bool, Violation> {
        let Some(status) = self.groups.node(asked).status() else {
            return Ok(false);
        };
        let membership = status.membership.clone();
        let mut random = Random::new(draw);
        let old = random.one_of(membership.voters()).copied();
        let mut new = membership.highest_id();
        let (Some(old), Some(new)) = (old, self.new_machine(asked.group, &mut new)) else {
            return Ok(false);
        };
        let change = |id| MemberChange::AddVoter { id, contact: None };
        let request = ChangeRequest {
            ticket: self.operator_ticket(asked),
            changes: vec![change(new), MemberChange::Remove(old)],
            dry_run: false,
        };
        self.step(asked, vec![Input::ChangeMembership(request)])?;
        Ok(true)
    }

    /// The members of a group changed: replicas that can be none any more are destroyed, where groups come and go.
    pub(super) fn clear_away(&mut self, group: GroupId, membership: &Membership) {
        if !self.plan.has_many_groups() || membership.is_joint() {
            return;
        }
        let is_left = |node: &&Node| {
            let id = node.id();
            node.presence == Presence::Here && !membership.contains(id) && id <= membership.highest_id()
        };
        let nodes = &self.groups.get(group).nodes;
        let left: Vec<NodeId> = nodes.iter().filter(is_left).map(Node::id).collect();
        for node in left {
            let at = ReplicaId { group, node };
            self.ask(at, Event::Destroy(at));
        }
    }

    // ---- destruction ----

    fn destroy_group(&mut self, draw: u64) -> bool {
        let living = self.groups.living();
        let mut random = Random::new(draw);
        let Some(group) = random.one_of(&living).copied().filter(|_| living.len() > 1) else {
            return false;
        };
        self.groups.get_mut(group).is_doomed = true;
        for node in self.machines.ids() {
            let at = ReplicaId { group, node };
            if self.groups.node(at).presence != Presence::Absent {
                self.ask(at, Event::Destroy(at));
            }
        }
        true
    }

    /// A replica is destroyed, for ever.
    pub(super) fn destroy(&mut self, at: ReplicaId) -> Result<(), Violation> {
        let machine = self.machines.get(at.node);
        let is_heard = machine.is_up && !machine.is_paused(self.now);
        let group = self.groups.get_mut(at.group);
        let node = group.nodes.get_mut(at.node);
        if matches!(node.presence, Presence::Absent | Presence::Destroyed) {
            return Ok(());
        }
        if !is_heard {
            self.queue.push(self.now + ASKED_AGAIN, Event::Destroy(at));
            return Ok(());
        }
        node.presence = Presence::Destroyed;
        let ran = node.process.take().is_some();
        group.clients.node_ended(at.node);
        if group.is_gone() {
            self.tally.groups_destroyed += 1;
        } else if !group.is_doomed {
            self.tally.replicas_moved += 1;
        }
        if ran {
            self.observe(at.group, &Observation::Stopped { node: at.node })?;
        }
        let (group, rest) = (at.group, Rest::Awake);
        self.step_pulses(at.node, PulseInput::Rested { group, rest })?;
        self.observe(at.group, &Observation::Destroyed { node: at.node })
    }
}
