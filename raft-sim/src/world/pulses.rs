//! Nodes that watch each other for groups that sleep. There is one group here; on a host with many, others keep the pulses
//! between two nodes going whatever this one does, so in some runs one more for each node is said to sleep for ever.

use std::time::Duration;

use raft_core::effect::Rest;
use raft_core::input::Input;
use raft_core::message::{Body, PULSE_GROUP};
use raft_core::pulse::{PulseEffect, PulseInput, PulseSettings, Pulses};
use raft_core::types::{GroupId, NodeId, Term, Time};

use super::{GROUP, World};
use crate::node::Node;
use crate::observation::Observation;
use crate::queue::{Event, Parcel};
use crate::violation::Violation;

/// The first of the groups that only sleep; each node leads one.
const OTHERS: u64 = 1_000;

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
        let nodes: Vec<NodeId> = self.nodes.iter().map(Node::id).collect();
        for leader in nodes {
            self.other_group_sleeps(id, leader)?;
        }
        Ok(())
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
    pub(super) fn rested(&mut self, node: NodeId, rest: Rest) -> Result<(), Violation> {
        self.observe(&Observation::Rested { node, rest })?;
        if let Rest::Leading { asleep: true, .. } = rest {
            self.watch.tally.slept += 1;
        }
        self.step_pulses(node, PulseInput::Rested { group: GROUP, rest })
    }

    /// Takes the pulses out of what arrived.
    pub(super) fn receive_pulses(&mut self, to: NodeId, parcels: &mut Vec<Parcel>) -> Result<(), Violation> {
        let is_pulse = |parcel: &mut Parcel| parcel.message.group == PULSE_GROUP;
        let pulses: Vec<Parcel> = parcels.extract_if(.., is_pulse).collect();
        for Parcel { message, .. } in pulses {
            if let Body::Pulse(pulse) = message.body {
                let from = message.from;
                self.step_pulses(to, PulseInput::Received { from, pulse })?;
            }
        }
        Ok(())
    }

    /// When a node wants to pulse, by its own clock.
    pub(super) fn pulse_deadline(process: &crate::node::Process) -> Time {
        let deadline = process.pulses.as_ref().map(Pulses::next_deadline);
        deadline.unwrap_or(Time::from_nanos(u64::MAX))
    }

    pub(super) fn step_pulses(&mut self, id: NodeId, input: PulseInput) -> Result<(), Violation> {
        let now = self.now;
        let node = self.nodes.get_mut(id);
        let (local_now, life) = (node.clock.at(now), node.life);
        let Some(pulses) = node.process.as_mut().and_then(|process| process.pulses.as_mut()) else {
            return Ok(());
        };
        let mut effects = Vec::new();
        pulses.step(local_now, input, &mut effects);
        for effect in effects {
            match effect {
                PulseEffect::Send(message) => self.send(message.to, vec![message])?,
                PulseEffect::Lost { group, peer } if group == GROUP => {
                    let lost = Event::PeerLost { node: id, life, peer };
                    self.queue.push(now, lost);
                }
                // Who leads such a group waits to be watched again.
                PulseEffect::Lost { group, .. } if group == other_group(id) => {}
                PulseEffect::Lost { peer, .. } => self.other_group_sleeps(id, peer)?,
            }
        }
        self.set_timer(id);
        Ok(())
    }

    /// A replica hears that a peer is gone, or was started again.
    pub(super) fn peer_lost(&mut self, id: NodeId, life: u64, peer: NodeId) -> Result<(), Violation> {
        let node = self.nodes.get(id);
        if node.life != life {
            return Ok(());
        }
        if node.is_paused(self.now) {
            let later = self.again(node.paused_until);
            let node = id;
            self.queue.push(later, Event::PeerLost { node, life, peer });
            return Ok(());
        }
        self.step(id, vec![Input::PeerLost(peer)])
    }
}
