//! How time passes: faults, turns, and what a whole run demands.

use raft_core::effect::{Effect, RoleKind};
use raft_core::input::Input;
use raft_core::raft::Raft;
use raft_core::types::{NodeId, Ticket};

use super::node::Node;
use super::world::World;

impl World {
    /// Cuts a node off: it is not heard, or it does not hear, or both; by all others, or by one.
    pub(crate) fn isolate(&mut self, id: NodeId) {
        if self.swarm.is_duel && self.random.percent(60) {
            self.cut.clear();
        }
        let which = self.random.below(3);
        let others: Vec<NodeId> = self.nodes.keys().copied().collect();
        let only = self.random.one_of(&others).filter(|_| self.random.percent(40));
        for other in others
            .into_iter()
            .filter(|other| only.is_none_or(|only| only == *other))
        {
            if which != 0 {
                self.cut.push((id, other));
            }
            if which != 1 {
                self.cut.push((other, id));
            }
        }
    }

    fn random_fault(&mut self, id: NodeId) {
        let long = self.now + self.random.below(3_000_000);
        let (stalls, pauses) = (self.swarm.stalls, self.swarm.pauses);
        match self.random.below(self.swarm.fault_period) {
            0 => self.crash(id),
            1 => {
                let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
                let other = self.random.one_of(&ids).expect("there are nodes");
                self.cut.push((id, other));
                if self.random.percent(60) {
                    self.cut.push((other, id));
                }
            }
            2 => self.cut.clear(),
            3 if self.swarm.losses => self.lose(id),
            4 if stalls => self.node(id).disk_stalled_until = long,
            5 if stalls => self.node(id).work_stalled_until = long,
            6 if pauses => self.node(id).paused_until = long,
            _ => {}
        }
    }

    /// A little time passes, and every node does a little.
    pub(crate) fn turn(&mut self) {
        self.now += self.random.below(12_000);
        self.deliver();
        if self.faults {
            self.operate();
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            if self.faults {
                self.random_fault(id);
            }
            self.node_turn(id);
        }
        self.check_leases();
    }

    fn node_turn(&mut self, id: NodeId) {
        let (now, faults) = (self.now, self.faults);
        let node = &self.nodes[&id];
        if node.raft.is_none() {
            if !faults || self.random.percent(2) {
                self.start(id);
            }
            return;
        }
        if node.paused_until > now {
            return;
        }
        let (disk_works, state_machine_works) =
            (node.disk_stalled_until <= now, node.work_stalled_until <= now);
        // Whatever else wakes a process up, its timers are looked at.
        self.step(id, Input::Tick);
        if faults {
            self.hurry(id);
        }
        if disk_works && (!faults || self.random.percent(70)) {
            self.complete_write(id);
        }
        if state_machine_works && (!faults || self.random.percent(70)) {
            self.complete_work(id);
        }
        for read in std::mem::take(&mut self.node(id).log_reads) {
            self.step(id, read);
        }
        self.clients_act(id);
    }

    /// Whoever must wait, because it heard a leader or may have, is asked not to.
    fn hurry(&mut self, id: NodeId) {
        let dice = self.random.below(1_000);
        let leads = |raft: &Raft| raft.role() == RoleKind::Leader;
        if dice < self.swarm.campaigns {
            self.step(id, Input::Campaign);
        } else if dice < self.swarm.campaigns + self.swarm.restarts
            && !self.nodes[&id].raft.as_ref().is_some_and(leads)
        {
            self.crash(id);
            self.start(id);
        }
    }

    /// I18: at no true instant would two replicas answer a read at once, nor one with less than is committed.
    fn check_leases(&mut self) {
        let leads = |node: &&Node| {
            node.raft
                .as_ref()
                .is_some_and(|raft| raft.role() == RoleKind::Leader)
        };
        let leaders: Vec<&Node> = self.nodes.values().filter(leads).collect();
        if leaders.len() < 2 {
            return;
        }
        self.counts.two_leaders += 1;
        let reads_at_once = |node: &&&Node| {
            let mut raft: Raft = node.raft.clone().expect("it leads");
            let mut effects = Vec::new();
            raft.step(
                node.clock.at(self.now),
                Input::Read(vec![Ticket(u64::MAX)]),
                &mut effects,
            );
            let newest = self.history.committed_count();
            effects.iter().any(|effect| {
                let Effect::ReadConfirmed { index, .. } = effect else {
                    return false;
                };
                assert!(
                    index.0 >= newest,
                    "I18: a leader reads at {index}, and {newest} is committed"
                );
                true
            })
        };
        let count = leaders.iter().filter(reads_at_once).count();
        assert!(count < 2, "I18: two leaders answer reads at once");
    }

    // ---- a run ----

    /// Many turns with faults; then everything heals, and progress is demanded.
    pub(crate) fn run(&mut self) {
        self.turns(2_500);
        self.heal();
        let goal = self.history.committed_count() + 20;
        let mut turns = 0;
        while !self.everybody_applied(goal) {
            turns += 1;
            if turns > 6_000 {
                for node in self.nodes.values() {
                    eprintln!("{:?}", node.raft.as_ref().map(Raft::status));
                }
                panic!("I27: after healing, not every member applied {goal} entries");
            }
            self.turn();
        }
        self.check_peace();
        self.clients.check_nobody_waits();
        self.counts.joint_changes = self.history.joint_count();
    }

    fn turns(&mut self, count: u32) {
        for _ in 0..count {
            self.turn();
        }
    }

    fn heal(&mut self) {
        self.faults = false;
        self.cut.clear();
        for node in self.nodes.values_mut() {
            (
                node.disk_stalled_until,
                node.work_stalled_until,
                node.paused_until,
            ) = (0, 0, 0);
        }
    }

    /// Whether there is one leader, all of whose members applied so many entries.
    fn everybody_applied(&self, goal: u64) -> bool {
        let Some(leader) = self.only_leader() else {
            return false;
        };
        let members = leader.status().membership.members();
        members
            .iter()
            .all(|member| self.nodes[member].applied.len() as u64 >= goal)
    }

    fn only_leader(&self) -> Option<&Raft> {
        let rafts = self.nodes.values().filter_map(|node| node.raft.as_ref());
        let mut leaders = rafts.filter(|raft| raft.role() == RoleKind::Leader);
        leaders.next().filter(|_| leaders.next().is_none())
    }

    /// I26, R70: nodes that are no members, or were, run on; they do not disturb a group that is well.
    fn check_peace(&mut self) {
        // Late messages and transfers from before are over first.
        self.turns(700);
        let status = self.only_leader().expect("a leader stays").status();
        self.turns(500);
        let later = self.only_leader().expect("the leader stays").status();
        assert!(!later.membership.is_joint(), "R63: a joint configuration is left");
        assert_eq!(
            (status.id, status.term),
            (later.id, later.term),
            "R70: a group that is well changed its leader"
        );
    }
}
