//! Nodes that watch each other for groups that sleep. On a host with many groups others keep the pulses between two nodes
//! going whatever one does, so in some runs one more for each node is said to sleep for ever.

use std::time::Duration;

use raft_core::effect::Rest;
use raft_core::message::{Body, Message, PULSE_GROUP};
use raft_core::pulse::{PulseEffect, PulseInput, PulseSettings, Pulses};
use raft_core::types::{GroupId, NodeId, Term, Time};

use super::World;
use crate::machine::Machine;
use crate::node::ReplicaId;
use crate::observation::Observation;
use crate::queue::Event;
use crate::violation::Violation;

/// The first of the groups that only sleep; each node leads one.
const OTHERS: u64 = 1_000;

/// How much later than its node a replica hears that a peer is gone, if nothing else happens to it before: what does is taken
/// in the same step.
const HEARD_WITHIN: Duration = Duration::from_millis(5);

/// The group that only sleeps, under this leader.
fn other_group(leader: NodeId) -> GroupId {
    GroupId(OTHERS + leader.0)
}

impl World<'_> {
    /// What a process that is started knows of sleep: nothing. None where no group sleeps.
    pub(super) fn new_pulses(&self, node: NodeId, incarnation: u64) -> Option<Pulses> {
        let settings = &self.plan.settings;
        settings.quiesce_after_ms?;
        Some(Pulses::new(PulseSettings {
            node,
            incarnation,
            interval: Duration::from_millis(settings.heartbeat_interval_ms),
            timeout: settings.election_timeout(),
        }))
    }

    /// A process began: its other groups sleep already.
    pub(super) fn begin_pulses(&mut self, id: NodeId) -> Result<(), Violation> {
        if !self.plan.settings.other_groups_sleep {
            return Ok(());
        }
        let mut nodes = self.machines.ids().into_iter();
        nodes.try_for_each(|leader| self.other_group_sleeps(id, leader))
    }

    fn other_group_sleeps(&mut self, id: NodeId, leader: NodeId) -> Result<(), Violation> {
        let (group, term) = (other_group(leader), Term(1));
        let rest = if leader == id {
            Rest::Leading { term, asleep: true }
        } else {
            Rest::Following { leader, term }
        };
        self.step_pulses(id, PulseInput::Rested { group, rest })
    }

    /// A replica says whether it sleeps.
    pub(super) fn rested(&mut self, at: ReplicaId, rest: Rest) -> Result<(), Violation> {
        let ReplicaId { group, node } = at;
        self.observe(group, &Observation::Rested { node, rest })?;
        if let Rest::Leading { asleep: true, .. } = rest {
            self.groups.get_mut(group).watch.tally.slept += 1;
        }
        self.step_pulses(node, PulseInput::Rested { group, rest })
    }

    /// Pulses arrive at a machine that runs.
    pub(super) fn receive_pulses(&mut self, to: NodeId, messages: Vec<Message>) -> Result<(), Violation> {
        for message in messages {
            if let Body::Pulse(pulse) = message.body {
                let from = message.from;
                self.step_pulses(to, PulseInput::Received { from, pulse })?;
            }
        }
        Ok(())
    }

    /// When a machine wants to pulse, by its own clock.
    pub(super) fn pulse_deadline(machine: &Machine) -> Time {
        let deadline = machine.pulses.as_ref().map(Pulses::next_deadline);
        deadline.unwrap_or(Time::from_nanos(u64::MAX))
    }

    pub(super) fn step_pulses(&mut self, id: NodeId, input: PulseInput) -> Result<(), Violation> {
        let now = self.now;
        let machine = self.machines.get_mut(id);
        let (local_now, life) = (machine.clock.at(now), machine.life);
        let Some(pulses) = &mut machine.pulses else {
            return Ok(());
        };
        let mut effects = Vec::new();
        pulses.step(local_now, input, &mut effects);
        for effect in effects {
            match effect {
                PulseEffect::Send(message) => self.send(PULSE_GROUP, message.to, vec![message])?,
                PulseEffect::Lost { group, peer } if group.0 < OTHERS => {
                    let at = ReplicaId { group, node: id };
                    if let Some(process) = &mut self.groups.node_mut(at).process {
                        process.lost_peers.push(peer);
                        self.queue.push(now + HEARD_WITHIN, Event::PeersLost { at, life });
                    }
                }
                // Who leads such a group waits to be watched again.
                PulseEffect::Lost { group, .. } if group == other_group(id) => {}
                PulseEffect::Lost { peer, .. } => self.other_group_sleeps(id, peer)?,
            }
        }
        self.set_timer(id);
        Ok(())
    }

    /// A replica hears that peers are gone, or were started again, if it did not hear of it together with something else.
    pub(super) fn peers_lost(&mut self, at: ReplicaId, life: u64) -> Result<(), Violation> {
        let machine = self.machines.get(at.node);
        if machine.life != life {
            return Ok(());
        }
        if machine.is_paused(self.now) {
            let later = self.again(machine.paused_until);
            self.queue.push(later, Event::PeersLost { at, life });
            return Ok(());
        }
        let process = &self.groups.node_mut(at).process;
        let is_due = process
            .as_ref()
            .is_some_and(|process| !process.lost_peers.is_empty());
        if is_due { self.step(at, Vec::new()) } else { Ok(()) }
    }
}
