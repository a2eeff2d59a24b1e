//! I30 One life: a replica does something only between its creation and its destruction, and has each of them once (R70).
//!
//! Groups share a process, a network and the pulses between machines. So whatever was on its way when a replica was destroyed
//! arrives at a process that runs still: messages of its group, the end of a sync, a timer, a peer that is lost. None of it
//! may begin the replica again, or speak for it; a machine on which nobody created one stays without, whoever writes to it;
//! and no pulse asks to be told of a leader on behalf of a replica that is not there.

use std::collections::BTreeMap;

use raft_core::message::{Body, Message};
use raft_core::types::NodeId;

use super::Invariant;
use crate::observation::{Observation, View};

/// I30.
#[derive(Debug, Default)]
pub(super) struct OneLife {
    lives: BTreeMap<NodeId, Life>,
}

/// What became of a replica. Machines that nobody asked for one have no life here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It is there. Its process may be down.
    Created,
    Destroyed,
}

impl Invariant for OneLife {
    fn name(&self) -> &'static str {
        "I30"
    }

    fn statement(&self) -> &'static str {
        "a replica does something only between its creation and its destruction"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::Created { node } => match self.lives.insert(node, Life::Created) {
                None => Ok(()),
                Some(_) => Err(format!("node {node} has a replica for the second time")),
            },
            Observation::Destroyed { node } => match self.lives.insert(node, Life::Destroyed) {
                Some(Life::Destroyed) => Err(format!("the replica on node {node} is destroyed twice")),
                Some(Life::Created) | None => Ok(()),
            },
            Observation::Sent { message } => self.sent(message, view),
            Observation::Started { node, .. } => self.acts(node, "starts"),
            Observation::WriteBegun { node, .. } | Observation::WriteDurable { node, .. } => {
                self.acts(node, "writes")
            }
            Observation::RoleChanged { node, .. } => self.acts(node, "changes its role"),
            Observation::Rested { node, .. } => self.acts(node, "says whether it sleeps"),
            Observation::Stepped { after, .. } => self.acts(after.id, "takes a step"),
            Observation::StateReached { node, .. } | Observation::Applied { node, .. } => {
                self.acts(node, "applies")
            }
            Observation::SnapshotCreated { node, .. } | Observation::SnapshotRestored { node, .. } => {
                self.acts(node, "has a snapshot")
            }
            Observation::ReadServed { node, .. } => self.acts(node, "serves a read"),
            _ => Ok(()),
        }
    }
}

impl OneLife {
    fn sent(&self, message: &Message, view: &View<'_>) -> Result<(), String> {
        let node = message.from;
        match &message.body {
            Body::Pulse(pulse) => {
                let asks = pulse
                    .watches
                    .iter()
                    .any(|leadership| leadership.group == view.group);
                if asks {
                    self.acts(node, "asks to be told of a leader")
                } else {
                    Ok(())
                }
            }
            _ => self.acts(node, "sends a message"),
        }
    }

    fn acts(&self, node: NodeId, does: &str) -> Result<(), String> {
        match self.lives.get(&node) {
            Some(Life::Created) => Ok(()),
            Some(Life::Destroyed) => Err(format!("the replica on node {node} {does}, and was destroyed")),
            None => Err(format!(
                "the replica on node {node} {does}, and nobody created it"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::message::{Leadership, Pulse, PulseId, TimeoutNow};
    use raft_core::types::{EntryId, GroupId, Term};

    use super::super::world_for_tests::{SmallWorld, assert_violated, message};
    use super::*;

    const CREATED: Observation<'_> = Observation::Created { node: NodeId(2) };
    const DESTROYED: Observation<'_> = Observation::Destroyed { node: NodeId(2) };

    /// A replica on node 2 that lived, and the machines.
    fn life_is_over() -> (SmallWorld, OneLife) {
        let (mut world, mut lives) = (SmallWorld::new(3), OneLife::default());
        for seen in [CREATED, DESTROYED] {
            assert_eq!(world.show(&mut lives, &seen), Ok(()));
        }
        (world, lives)
    }

    fn sends(world: &mut SmallWorld, lives: &mut OneLife, body: Body) -> Result<(), String> {
        let message = &message(2, 1, 1, body);
        world.show(lives, &Observation::Sent { message })
    }

    fn pulse_for(group: u64) -> Body {
        let watched = Leadership {
            group: GroupId(group),
            term: Term(1),
        };
        Body::Pulse(Pulse {
            id: PulseId {
                incarnation: 1,
                serial: 1,
            },
            heard: None,
            watches: vec![watched],
            ended: Vec::new(),
        })
    }

    /// I30: a replica that sends a message after its destruction is found, and so is one that was never created.
    #[test]
    fn who_speaks_without_being_there_is_found() {
        let (mut world, mut lives) = (SmallWorld::new(3), OneLife::default());
        let order = Body::TimeoutNow(TimeoutNow {
            last_log: EntryId::ZERO,
        });
        let early = sends(&mut world, &mut lives, order.clone());
        assert_violated(early, "node 2 sends a message, and nobody created it");
        assert_eq!(world.show(&mut lives, &CREATED), Ok(()));
        assert_eq!(sends(&mut world, &mut lives, order.clone()), Ok(()));
        assert_eq!(world.show(&mut lives, &DESTROYED), Ok(()));
        let late = sends(&mut world, &mut lives, order);
        assert_violated(late, "node 2 sends a message, and was destroyed");
    }

    /// I30: nobody is created or destroyed for the second time.
    #[test]
    fn a_second_life_is_found() {
        let (mut world, mut lives) = life_is_over();
        assert_violated(world.show(&mut lives, &CREATED), "for the second time");
        let (mut world, mut lives) = life_is_over();
        assert_violated(world.show(&mut lives, &DESTROYED), "is destroyed twice");
    }

    /// I30: a pulse that watches a leader for a replica that is gone is found. What it says for other groups is theirs.
    #[test]
    fn a_pulse_for_the_dead_is_found() {
        let (mut world, mut lives) = life_is_over();
        assert_eq!(sends(&mut world, &mut lives, pulse_for(2)), Ok(()));
        let spoken = sends(&mut world, &mut lives, pulse_for(1));
        assert_violated(spoken, "node 2 asks to be told of a leader, and was destroyed");
    }
}
