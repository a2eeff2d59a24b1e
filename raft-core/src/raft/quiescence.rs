//! Quiescence: a group in which nothing happens sleeps. Nobody sends anything, and nobody has a deadline
//! (docs/decisions/0016).
//!
//! A leader that was idle for long enough, and whose members all have everything, asks them to sleep with its heartbeats.
//! Whoever has nothing to do agrees, and sleeps; the leader sleeps when all have agreed. Until then it goes on as usual.
//!
//! Whatever arrives wakes, but for what was under way when its receiver fell asleep, and what outsiders say. All that
//! leaves after a leader woke up belongs to a later round than what asked for sleep, so that the one is told from the other
//! however late it arrives.
//!
//! What sleep must not break:
//! - CheckQuorum (R36): a leader that wakes counts everybody as heard, once. It fell asleep because everybody answered,
//!   so without answers it can do that no second time;
//! - leases (R42): a leader that wakes has none before a quorum answered a round that began after that;
//! - stickiness (R34, R70): who sleeps has a leader, and whoever asks it for a vote wakes it and is refused;
//! - the way back of those who may not campaign (R68): they tell the members that they wait for a leader.
//!
//! A follower that sleeps does not see its leader die. Its node watches the leader's node for it
//! ([`pulse`](crate::pulse)), and says so with [`Input::PeerLost`].

use std::collections::BTreeMap;

use super::common::Common;
use super::follower::Follower;
use super::leader::Leader;
use super::machine::Raft;
use super::role::Role;
use crate::codec::recorded;
use crate::effect::{Effect, Rest};
use crate::fingerprint::Fingerprint;
use crate::input::Input;
use crate::message::{AppendEntries, AppendEntriesResponse, Body, Message};
use crate::mutants::{self, Mutant};
use crate::progress::{Progress, ProgressState};
use crate::types::{NodeId, Round, Time, Trust};

/// The sleep of one leadership.
#[derive(Clone, Debug)]
pub(super) struct Sleep {
    /// Since when there is nothing to do.
    idle_since: Time,
    state: SleepState,
    /// Whether anybody was asked to sleep in this leadership.
    has_asked: bool,
}

#[derive(Clone, Debug)]
enum SleepState {
    Awake,
    Asking(Asking),
    Asleep,
}

/// Questions that nothing came between.
#[derive(Clone, Debug)]
struct Asking {
    /// The round of the first of them.
    since: Round,
    /// Who sleeps, and the round that it agreed in.
    agreed: BTreeMap<NodeId, Round>,
}

/// The sleep of a follower, under one leadership.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Nap {
    /// The newest round that arrived. Kept only where a replica may sleep.
    newest: Round,
    /// The round that it agreed to sleep in.
    asleep: Option<Round>,
}

impl Nap {
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.is_some()
    }
}

impl Sleep {
    pub(super) fn new(now: Time) -> Sleep {
        Sleep {
            idle_since: now,
            state: SleepState::Awake,
            has_asked: false,
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(self.state, SleepState::Asking(_))
    }

    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let Sleep {
            idle_since,
            state,
            has_asked,
        } = self;
        fingerprint.feed_past(*idle_since);
        fingerprint.feed(has_asked);
        match state {
            SleepState::Awake => fingerprint.feed(&0_u8),
            SleepState::Asking(Asking { since, agreed }) => fingerprint.feed(&(1_u8, since, agreed)),
            SleepState::Asleep => fingerprint.feed(&2_u8),
        }
    }
}

impl Leader {
    pub(super) fn is_asleep(&self) -> bool {
        matches!(self.sleep.state, SleepState::Asleep)
    }

    /// Whether nothing is outstanding here, with any member, or for anybody.
    fn is_idle(&self, common: &Common) -> bool {
        let last = common.log.last().index;
        let is_settled = |progress: &Progress| {
            progress.state() == ProgressState::Replicate
                && progress.match_index() == last
                && progress.was_heard
                && common.now.since(progress.last_contact) < common.election_timeout
                && progress.counts()
                && progress.acknowledged_before.is_none()
        };
        common.commit == last
            && common.is_done()
            && common.handed_over.is_none()
            && common.membership().is_voter(common.id())
            && !self.change_is_pending(common)
            && self.change.is_none()
            && self.transfer.is_none()
            && self.reads.pending() == 0
            && self.departing.is_empty()
            && self.progress.values().all(is_settled)
    }

    /// Ends a step: where something is to be done still, idleness begins anew.
    pub(super) fn heed_work(&mut self, common: &mut Common) {
        if common.config.quiesce_after.is_some() && !self.is_asleep() && !self.is_idle(common) {
            self.stir(common);
        }
    }

    /// Something arrived, or there is something to do: nobody sleeps any more. What is sent from now on is of a later round
    /// than what asked for sleep.
    pub(super) fn stir(&mut self, common: &mut Common) {
        self.sleep.idle_since = common.now;
        match std::mem::replace(&mut self.sleep.state, SleepState::Awake) {
            SleepState::Awake => {}
            SleepState::Asking(_) => self.reads.begin_bare_round(),
            SleepState::Asleep => {
                // CheckQuorum begins anew (R31, R36), and so does the lease (R42).
                for progress in self.progress.values_mut() {
                    progress.last_contact = common.now;
                }
                self.lease.forget();
                self.heartbeat_due = common.now + common.config.heartbeat_interval;
                self.begin_round(common);
            }
        }
    }

    /// Whether it is time to ask for sleep.
    pub(super) fn asks_for_sleep(&self, common: &Common) -> bool {
        common
            .config
            .quiesce_after
            .is_some_and(|after| common.now.since(self.sleep.idle_since) >= after)
            && self.is_idle(common)
    }

    /// The round that was just begun asks for sleep. Where there is nobody to ask, the leader sleeps at once.
    pub(super) fn ask_for_sleep(&mut self, common: &Common) {
        self.sleep.has_asked = true;
        if !self.sleep.is_asking() {
            let agreed = BTreeMap::new();
            let since = self.reads.round();
            self.sleep.state = SleepState::Asking(Asking { since, agreed });
        }
        self.sleep_if_agreed(common);
    }

    /// A follower sleeps, as of this round. What it says counts if nothing happened since it was asked.
    pub(super) fn agreed_to_sleep(&mut self, common: &Common, from: NodeId, round: Round) {
        if let SleepState::Asking(asking) = &mut self.sleep.state
            && (asking.since..=self.reads.round()).contains(&round)
        {
            asking.agreed.insert(from, round);
            self.sleep_if_agreed(common);
        }
    }

    fn sleep_if_agreed(&mut self, common: &Common) {
        let SleepState::Asking(asking) = &self.sleep.state else {
            return;
        };
        let agreed = self
            .progress
            .keys()
            .filter(|id| asking.agreed.contains_key(id))
            .count();
        let wanted = if mutants::is(Mutant::LeaderSleepsAlone) {
            self.progress.len().min(1)
        } else {
            self.progress.len()
        };
        if agreed >= wanted && self.is_idle(common) {
            self.sleep.state = SleepState::Asleep;
        }
    }

    /// Whether an answer tells nothing but that it answers: it is of the start that is known, to a round of this leadership.
    /// While the leader sleeps, that is one that was begun before.
    fn is_usual(&self, from: NodeId, response: &AppendEntriesResponse) -> bool {
        let incarnation = self.progress.get(&from).and_then(|progress| progress.incarnation);
        incarnation == Some(response.incarnation) && !response.suspect && response.round > Round::default()
    }
}

impl Raft {
    /// Whether this replica sleeps.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.nap.is_asleep(),
            Role::Leader(leader) => leader.is_asleep(),
            Role::Candidate(_) => false,
        }
    }

    /// Whoever wants something wakes this replica. What it began itself does not, when it ends; messages are looked at
    /// one by one.
    pub(super) fn rouse(&mut self, input: &Input) {
        match input {
            Input::Propose(_)
            | Input::Read(_)
            | Input::ChangeMembership(_)
            | Input::TransferLeadership { .. }
            | Input::SnapshotReceived(_) => self.wake(),
            Input::Campaign => self.rise(),
            Input::Tick
            | Input::Receive(_)
            | Input::Persisted(_)
            | Input::LogRead(_)
            | Input::Applied(_)
            | Input::SnapshotRestored(_)
            | Input::SnapshotCreated(_)
            | Input::SnapshotFailed
            | Input::SnapshotSent { .. }
            | Input::RoundTrips(_)
            | Input::PeerLost(_) => {}
        }
    }

    /// Whether a message is a reason to wake up, or not to fall asleep.
    pub(super) fn is_roused_by(&self, message: &Message) -> bool {
        if self.common.config.quiesce_after.is_none() {
            return false;
        }
        let is_of_this_term = message.term == self.term();
        match (&self.role, &message.body) {
            // Who was removed cannot keep the others awake (R70).
            (_, Body::RequestPreVote(_)) => self.common.membership().contains(message.from),
            (_, Body::RequestVote(request)) => {
                request.leadership_transfer || self.common.membership().contains(message.from)
            }
            (Role::Follower(follower), Body::AppendEntries(request)) => {
                let is_its_leaders = is_of_this_term && follower.leader == Some(message.from);
                !(is_its_leaders && follower.nap.asleep.is_some_and(|asleep| request.round <= asleep))
            }
            (Role::Leader(leader), Body::AppendEntriesResponse(response)) => {
                self.knows(message.from) && !(is_of_this_term && leader.is_usual(message.from, response))
            }
            // Answers to what was asked before this replica followed, or led.
            (_, Body::AppendEntriesResponse(_)) => message.term > self.term() && self.knows(message.from),
            (_, Body::RequestVoteResponse(_) | Body::RequestPreVoteResponse(_)) => message.term > self.term(),
            _ => true,
        }
    }

    /// Whether a node is a member, or is still told that it is none.
    pub(super) fn knows(&self, node: NodeId) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.progress.contains_key(&node),
            Role::Follower(_) | Role::Candidate(_) => self.common.membership().contains(node),
        }
    }

    /// Wakes up, and waits for the leader as if it had just been heard: until now there was no reason to doubt it.
    pub(super) fn wake(&mut self) {
        if let Role::Follower(follower) = &self.role
            && follower.nap.is_asleep()
        {
            self.common.leader_contact = Some(self.common.now);
        }
        self.rise();
    }

    /// Wakes up; a follower looks for another leader if it hears from none.
    fn rise(&mut self) {
        match &mut self.role {
            Role::Follower(follower) => {
                if follower.nap.asleep.take().is_some() {
                    self.restart_election_timer();
                }
            }
            Role::Leader(leader) => {
                if self.common.config.quiesce_after.is_some() {
                    leader.stir(&mut self.common);
                }
            }
            Role::Candidate(_) => {}
        }
    }

    /// A node is gone, was started again, or leads this group no more: who slept under it looks for another leader. A leader
    /// that sleeps contacts everybody, since who was started again knows of none (R68).
    pub(super) fn peer_lost(&mut self, peer: NodeId) {
        // Nobody watches that node for this replica any more, which has to be told if it falls asleep again in this very step.
        let was_watched = matches!(self.common.rest_told, Rest::Following { leader, .. } if leader == peer);
        if was_watched {
            self.tell_rest(Rest::Awake);
        }
        let concerns = match &self.role {
            Role::Follower(follower) => follower.leader == Some(peer),
            Role::Leader(leader) => leader.is_asleep() && self.knows(peer),
            Role::Candidate(_) => false,
        };
        if concerns {
            self.rise();
        }
    }

    /// The leader of this replica asks for something. Returns whether this replica sleeps from now on: it is asked to, the
    /// question is the newest, its log is the leader's, and it has nothing left to do.
    pub(super) fn agrees_to_sleep(&mut self, request: &AppendEntries) -> bool {
        let Role::Follower(Follower { nap, .. }) = &mut self.role else {
            return false;
        };
        let common = &self.common;
        if common.config.quiesce_after.is_none() {
            return false;
        }
        let is_newest = request.round >= nap.newest;
        nap.newest = nap.newest.max(request.round);
        let has_everything = request.prev == common.log.last() && request.leader_commit == request.prev.index;
        let is_done = common.is_done() || mutants::is(Mutant::FollowerSleepsBehind);
        let agrees = request.sleep
            && request.entries.is_empty()
            && is_newest
            && (has_everything || mutants::is(Mutant::FollowerSleepsBehind))
            && is_done
            && common.trust == Trust::Trusted
            && common.handed_over.is_none()
            && common.membership().contains(common.id());
        if agrees {
            nap.asleep = Some(request.round);
        }
        agrees
    }

    /// A replica that waited for a leader in vain and may not campaign has no other way to wake a leader that sleeps: a
    /// learner, or one that may have lost what it had promised (R68).
    pub(super) fn wake_the_leader(&mut self) {
        let common = &self.common;
        let is_member = common.membership().contains(common.id());
        if common.config.quiesce_after.is_some() && is_member && matches!(self.role, Role::Follower(_)) {
            self.common.make_itself_known();
        }
    }

    /// Tells the surroundings whether this replica sleeps, if that changed.
    pub(super) fn report_rest(&mut self) {
        let term = self.term();
        let rest = match &self.role {
            Role::Follower(Follower {
                leader: Some(leader),
                nap,
                ..
            }) if nap.is_asleep() => Rest::Following {
                leader: *leader,
                term,
            },
            Role::Leader(leader) if leader.sleep.has_asked => Rest::Leading {
                term,
                asleep: leader.is_asleep(),
            },
            _ => Rest::Awake,
        };
        if rest != self.common.rest_told {
            self.tell_rest(rest);
        }
    }

    fn tell_rest(&mut self, rest: Rest) {
        self.common.rest_told = rest;
        self.common.effects.push(Effect::Rested(rest));
    }
}

recorded!(struct Nap { newest, asleep });
recorded!(struct Sleep { idle_since, state, has_asked });
recorded!(enum SleepState { 0 => Awake, 1 => Asking(asking), 2 => Asleep });
recorded!(struct Asking { since, agreed });
