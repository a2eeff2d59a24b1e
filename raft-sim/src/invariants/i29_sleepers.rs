//! I29 Sleepers: who sleeps has nothing to do, and nobody relies on it (docs/decisions/0016).
//!
//! - A follower falls asleep with everything that its log has durable, committed and applied.
//! - A leader falls asleep only after every other member has said that it sleeps, in a later round than that of whatever it
//!   was sent that is no question for sleep.
//! - A leader that falls asleep would answer no read at once (R42), unless it is the only voter.
//! - A follower sleeps only as long as there are signs that its leader still leads: AppendEntries of that leadership, or
//!   pulses that left the leader's node while it led (R36). Without any it is awake after the time that nodes wait for
//!   pulses. So a leader that died is missed in time, whoever else its node had to do with, and however soon it came back.
//!
//! Who leads, and when, is what roles say; what pulses contain is not looked at. A node that is paused does nothing, and is
//! given a moment afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::effect::{Rest, RoleKind};
use raft_core::message::{Body, Message, PulseId};
use raft_core::types::{NodeId, Round, Term, Time};

use super::Invariant;
use super::i18_leases::would_answer;
use crate::clock::Instant;
use crate::node::Node;
use crate::observation::{Observation, View};

/// For how long, in true time, somebody may sleep without a sign who should be awake: what is due may be due at the same
/// instant still.
const MOMENT: Duration = Duration::from_millis(200);

/// I29.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    followers: BTreeMap<NodeId, Sleeper>,
    /// For each leader and term the newest round of anything that is no question.
    work: BTreeMap<(NodeId, Term), Round>,
    /// The round in which a follower agreed to sleep, as its leader has heard.
    agreed: BTreeMap<(NodeId, Term, NodeId), Round>,
    /// The term that the sender led when a pulse left, if it did.
    pulses: BTreeMap<PulseKey, Option<Term>>,
}

/// A pulse: from whom, to whom, of which process, and its number.
type PulseKey = (NodeId, NodeId, u64, u64);

fn key_of(message: &Message, id: PulseId) -> PulseKey {
    (message.from, message.to, id.incarnation, id.serial)
}

/// A follower that sleeps.
#[derive(Debug)]
struct Sleeper {
    leader: NodeId,
    term: Term,
    /// The last sign of its leader, by the own clock.
    sign: Time,
    /// Since when it should be awake.
    late_since: Option<Instant>,
}

impl Invariant for Sleepers {
    fn name(&self) -> &'static str {
        "I29"
    }

    fn statement(&self) -> &'static str {
        "who sleeps has nothing to do, and its leader leads"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::Stopped { node } => {
                self.followers.remove(&node);
            }
            Observation::Sent { message } => self.sent(message, view),
            Observation::Received { message } => self.received(message, view),
            Observation::Rested { node, rest } => self.rested(node, rest, view)?,
            _ => {}
        }
        self.check_followers(view)
    }
}

/// The term that a node leads, if it does.
fn leads(node: &Node) -> Option<Term> {
    let status = node.status().filter(|status| status.role == RoleKind::Leader)?;
    Some(status.term)
}

impl Sleepers {
    fn sent(&mut self, message: &Message, view: &View<'_>) {
        match &message.body {
            Body::AppendEntries(request) if !request.sleep => {
                let work = self.work.entry((message.from, message.term)).or_default();
                *work = request.round.max(*work);
            }
            Body::Pulse(pulse) => {
                let led = leads(view.nodes.get(message.from));
                self.pulses.insert(key_of(message, pulse.id), led);
            }
            _ => {}
        }
    }

    fn received(&mut self, message: &Message, view: &View<'_>) {
        let node = view.nodes.get(message.to);
        let is_sign = |sleeper: &Sleeper| match &message.body {
            Body::AppendEntries(_) => message.term == sleeper.term,
            Body::Pulse(pulse) => {
                let led = self.pulses.get(&key_of(message, pulse.id));
                led == Some(&Some(sleeper.term))
            }
            _ => false,
        };
        if let Some(sleeper) = self.followers.get_mut(&message.to)
            && sleeper.leader == message.from
            && is_sign(sleeper)
        {
            sleeper.sign = view.machines.get(node.id()).clock.at(view.now);
        }
        if let Body::AppendEntriesResponse(response) = &message.body
            && response.sleeps
        {
            let agreed = self
                .agreed
                .entry((message.to, message.term, message.from))
                .or_default();
            *agreed = response.round.max(*agreed);
        }
    }

    fn rested(&mut self, id: NodeId, rest: Rest, view: &View<'_>) -> Result<(), String> {
        self.followers.remove(&id);
        let node = view.nodes.get(id);
        let Some(status) = node.status() else {
            return Ok(());
        };
        match rest {
            Rest::Following { leader, term } => {
                let last = status.appended_index;
                let marks = [status.durable_index, status.commit_index, status.applied_index];
                if marks.iter().any(|mark| *mark != last) {
                    return Err(format!(
                        "node {id} falls asleep: its log ends at {last}, and what is durable, committed and applied at {marks:?}"
                    ));
                }
                let sleeper = Sleeper {
                    leader,
                    term,
                    sign: view.machines.get(node.id()).clock.at(view.now),
                    late_since: None,
                };
                self.followers.insert(id, sleeper);
            }
            Rest::Leading { term, asleep: true } => {
                // One that is a quorum by itself needs no lease.
                if status.membership.voters() != [id] && would_answer(node, view).is_some() {
                    return Err(format!("node {id} falls asleep, and would answer a read at once"));
                }
                let work = self.work.get(&(id, term)).copied().unwrap_or_default();
                let agreed = |member: &NodeId| self.agreed.get(&(id, term, *member)).copied();
                let has_agreed = |member: &NodeId| agreed(member).is_some_and(|round| round > work);
                let others = status
                    .membership
                    .members()
                    .into_iter()
                    .filter(|member| *member != id);
                if let Some(member) = others.into_iter().find(|member| !has_agreed(member)) {
                    return Err(format!(
                        "node {id} falls asleep leading term {term}, and node {member} agreed in round {:?}; the last \
                         message that asks for no sleep was of round {work}",
                        agreed(&member)
                    ));
                }
            }
            Rest::Leading { .. } | Rest::Awake => {}
        }
        Ok(())
    }

    fn check_followers(&mut self, view: &View<'_>) -> Result<(), String> {
        for (id, sleeper) in &mut self.followers {
            let (node, machine) = (view.nodes.get(*id), view.machines.get(*id));
            let silence = machine.clock.at(view.now).since(sleeper.sign);
            let was_paused = view.now.since(machine.paused_until) < MOMENT;
            if silence <= node.config.election_timeout || was_paused || machine.is_paused(view.now) {
                sleeper.late_since = None;
                continue;
            }
            let late_since = *sleeper.late_since.get_or_insert(view.now);
            if view.now.since(late_since) >= MOMENT {
                return Err(format!(
                    "node {id} sleeps under node {} in term {}, and nothing has shown for {silence:?} that it leads still",
                    sleeper.leader, sleeper.term
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use raft_core::message::{AppendEntries, AppendEntriesResponse, AppendResult};
    use raft_core::types::{EntryId, Index};

    use super::super::world_for_tests::{SmallWorld, assert_violated, message};
    use super::*;

    fn append(sleep: bool, round: u64) -> Message {
        let request = AppendEntries {
            prev: EntryId::ZERO,
            prev_acknowledged: true,
            entries: Vec::new(),
            leader_commit: Index::ZERO,
            round: Round(round),
            sleep,
        };
        message(1, 2, 1, Body::AppendEntries(request))
    }

    fn agreement(from: u64, round: u64) -> Message {
        let response = AppendEntriesResponse {
            round: Round(round),
            prev_acknowledged: true,
            incarnation: 1,
            suspect: false,
            lease_ms: 0,
            disk_waits_ms: 0,
            sleeps: true,
            result: AppendResult::Accepted {
                match_index: Index::ZERO,
            },
        };
        message(from, 1, 1, Body::AppendEntriesResponse(response))
    }

    fn rest(world: &mut SmallWorld, sleepers: &mut Sleepers, node: u64, rest: Rest) -> Result<(), String> {
        let node = NodeId(node);
        world.show(sleepers, &Observation::Rested { node, rest })
    }

    const ASLEEP: Rest = Rest::Leading {
        term: Term(1),
        asleep: true,
    };
    const UNDER_1: Rest = Rest::Following {
        leader: NodeId(1),
        term: Term(1),
    };

    /// I29: a leader that sleeps before everybody else does is found.
    #[test]
    fn a_leader_that_sleeps_too_early_is_found() {
        let (mut world, mut sleepers) = (SmallWorld::new(3), Sleepers::default());
        (1..=3).for_each(|node| world.start(node));
        for message in [append(false, 4), append(true, 5)] {
            let sent = world.show(&mut sleepers, &Observation::Sent { message: &message });
            assert_eq!(sent, Ok(()));
        }
        for message in [agreement(2, 5), agreement(3, 4)] {
            let heard = world.show(&mut sleepers, &Observation::Received { message: &message });
            assert_eq!(heard, Ok(()));
        }
        let slept = rest(&mut world, &mut sleepers, 1, ASLEEP);
        assert_violated(slept, "node 3 agreed in round Some(Round(4))");
        let message = agreement(3, 5);
        let heard = world.show(&mut sleepers, &Observation::Received { message: &message });
        assert_eq!(heard, Ok(()));
        assert_eq!(rest(&mut world, &mut sleepers, 1, ASLEEP), Ok(()));
    }

    /// I29, R36: a follower that sleeps on without a sign of its leader is found.
    #[test]
    fn a_follower_that_sleeps_for_ever_is_found() {
        let (mut world, mut sleepers) = (SmallWorld::new(3), Sleepers::default());
        world.start(2);
        world.now = Instant::from_millis(1_000);
        assert_eq!(rest(&mut world, &mut sleepers, 2, UNDER_1), Ok(()));
        let message = append(true, 5);
        let mut look = |millis, is_sign: bool| {
            world.now = Instant::from_millis(millis);
            let mut foreign = message.clone();
            foreign.term = Term(2);
            let message = if is_sign { &message } else { &foreign };
            world.show(&mut sleepers, &Observation::Received { message })
        };
        assert_eq!(look(1_900, true), Ok(()));
        assert_eq!(look(2_800, false), Ok(()));
        assert_eq!(look(2_901, false), Ok(()));
        assert_violated(look(3_101, false), "node 2 sleeps under node 1 in term 1");
    }
}
