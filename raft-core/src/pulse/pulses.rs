//! All other nodes, and which groups here sleep.

use std::collections::BTreeMap;
use std::time::Duration;

use super::peer::Peer;
use crate::effect::Rest;
use crate::message::{Body, Leadership, Message, PULSE_GROUP, Pulse};
use crate::types::{GroupId, NodeId, Term, Time};

/// How one process pulses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PulseSettings {
    /// The node.
    pub node: NodeId,
    /// Differs from one start of the node to the next.
    pub incarnation: u64,
    /// How often other nodes are told that this one lives, while groups sleep. As long as the heartbeat interval of the
    /// groups, and at most a third of `timeout` of any node, or a lost pulse or two wake them up.
    pub interval: Duration,
    /// After how long a silence a node counts as gone. As long as the election timeout of the groups.
    pub timeout: Duration,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PulseInput {
    /// Time passed; nothing else happened.
    Tick,
    /// A replica of this node [says](crate::effect::Effect::Rested) whether it sleeps.
    Rested {
        /// Its group.
        group: GroupId,
        /// What it says.
        rest: Rest,
    },
    /// A pulse arrived. Its sender was authenticated by the transport.
    Received {
        /// The sender.
        from: NodeId,
        /// What it says.
        pulse: Pulse,
    },
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PulseEffect {
    /// Send this now.
    Send(Message),
    /// Tell the replica of this group that a peer is [gone](crate::input::Input::PeerLost).
    Lost {
        /// The group.
        group: GroupId,
        /// The leader under which it sleeps, or, if it leads, a follower that slept and was started again.
        peer: NodeId,
    },
}

/// What one process knows about the sleep of its groups, and about the nodes that matter for it.
///
/// There is nothing here for a group that is awake and under which nobody sleeps. Everything else is bounded by the number
/// of groups that the process runs, and what waits to be said by a constant for each other node.
#[derive(Debug)]
pub struct Pulses {
    settings: PulseSettings,
    now: Time,
    groups: BTreeMap<GroupId, Rest>,
    peers: BTreeMap<NodeId, Peer>,
}

impl Pulses {
    /// A process that begins: every replica in it is awake.
    #[must_use]
    pub fn new(settings: PulseSettings) -> Pulses {
        Pulses {
            settings,
            now: Time::ZERO,
            groups: BTreeMap::new(),
            peers: BTreeMap::new(),
        }
    }

    /// Takes one input at `now`, which must not be earlier than before, and appends what is to be done to `effects`.
    pub fn step(&mut self, now: Time, input: PulseInput, effects: &mut Vec<PulseEffect>) {
        self.now = self.now.max(now);
        match input {
            PulseInput::Tick => {}
            PulseInput::Rested { group, rest } => self.rested(group, rest),
            PulseInput::Received { from, pulse } => self.received(from, &pulse, effects),
        }
        self.check_timers(effects);
    }

    /// When [`PulseInput::Tick`] is due if nothing else happens before; never, while there is nothing to say and nobody to
    /// watch.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let PulseSettings {
            interval, timeout, ..
        } = self.settings;
        let peers = self.peers.values();
        let deadlines = peers.filter_map(|peer| peer.next_deadline(interval, timeout));
        deadlines.min().unwrap_or(Time::from_nanos(u64::MAX))
    }

    /// Which start of the node this is.
    #[cfg(test)]
    pub(super) fn incarnation(&self) -> u64 {
        self.settings.incarnation
    }

    fn rested(&mut self, group: GroupId, rest: Rest) {
        let before = if rest == Rest::Awake {
            self.groups.remove(&group)
        } else {
            self.groups.insert(group, rest)
        };
        let before = before.unwrap_or_default();
        match before {
            Rest::Following { leader, .. } if before != rest => {
                if let Some(peer) = self.peers.get_mut(&leader) {
                    peer.unwatch(group);
                }
            }
            Rest::Leading { term, .. } if !leads(rest, term) => {
                let leadership = Leadership { group, term };
                self.peers
                    .values_mut()
                    .for_each(|peer| peer.leader_ended(leadership));
            }
            _ => {}
        }
        match rest {
            Rest::Following { leader, term } if before != rest => {
                let peer = self.peers.entry(leader).or_default();
                peer.watch(Leadership { group, term }, self.now);
            }
            Rest::Leading { asleep, .. } => {
                self.peers
                    .values_mut()
                    .for_each(|peer| peer.leader_rests(group, asleep));
            }
            _ => {}
        }
    }

    fn received(&mut self, from: NodeId, pulse: &Pulse, effects: &mut Vec<PulseEffect>) {
        let peer = self.peers.entry(from).or_default();
        let mut lost = Vec::new();
        peer.heard(pulse, self.settings.incarnation, self.now, &mut lost);
        for leadership in &pulse.watches {
            let asleep = match self.groups.get(&leadership.group) {
                Some(Rest::Leading { term, asleep }) if *term == leadership.term => Some(*asleep),
                _ => None,
            };
            peer.wants_to_watch(*leadership, asleep);
        }
        self.lose(from, lost, effects);
    }

    fn check_timers(&mut self, effects: &mut Vec<PulseEffect>) {
        let PulseSettings {
            node,
            incarnation,
            interval,
            timeout,
        } = self.settings;
        let mut lost = Vec::new();
        for (&to, peer) in &mut self.peers {
            let mut groups = Vec::new();
            peer.expire(self.now, timeout, &mut groups);
            lost.push((to, groups));
            if let Some(pulse) = peer.pulse(incarnation, self.now, interval) {
                effects.push(PulseEffect::Send(Message {
                    group: PULSE_GROUP,
                    from: node,
                    to,
                    term: Term::ZERO,
                    body: Body::Pulse(pulse),
                }));
            }
        }
        for (peer, groups) in lost {
            self.lose(peer, groups, effects);
        }
    }

    fn lose(&mut self, peer: NodeId, groups: Vec<GroupId>, effects: &mut Vec<PulseEffect>) {
        for group in groups {
            if let Some(Rest::Following { .. }) = self.groups.get(&group) {
                self.groups.remove(&group);
            }
            effects.push(PulseEffect::Lost { group, peer });
        }
    }
}

/// Whether a replica leads this term.
fn leads(rest: Rest, term: Term) -> bool {
    matches!(rest, Rest::Leading { term: led, .. } if led == term)
}
