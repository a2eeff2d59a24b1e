//! One other node, as the one that is watched, and as the one that watches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::message::{Leadership, Pulse, PulseId};
use crate::mutants::{self, Mutant};
use crate::types::{GroupId, Term, Time};

/// How many leaderships one pulse names in each of its lists.
pub(super) const LEADERSHIPS_MAX: usize = 4_096;

/// In how many pulses that follow each other it is said that a leadership is over. Who misses more than that in a row may
/// have missed it.
pub(super) const REPEATS: u64 = 8;

/// What is known about one other node.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The newest pulse of it that was taken, and when that arrived.
    heard: Option<(PulseId, Time)>,
    /// Leaderships of it that it knows to be watched from here.
    watched: BTreeMap<GroupId, Term>,
    /// Leaderships of it of which it may not know yet that they are watched, the oldest first.
    unheard: VecDeque<Unheard>,
    /// Groups that are led here and watched from there, and whether their leader sleeps.
    watchers: BTreeMap<GroupId, bool>,
    /// How many of those leaders sleep.
    asleep: usize,
    /// Leaderships over groups here that are over, and how often that is still to be said.
    ended: BTreeMap<Leadership, u64>,
    /// Whether it asked for something since the last pulse to it.
    owes_answer: bool,
    /// The serial of the last pulse to it, and when it left.
    serial: u64,
    sent_at: Option<Time>,
}

/// A wish to watch a leadership that may not have been heard.
#[derive(Debug)]
struct Unheard {
    leadership: Leadership,
    since: Time,
    /// The first pulse that said it; all later ones repeated it.
    asked_in: Option<u64>,
}

impl Peer {
    // ---- it leads ----

    /// A group here sleeps under a leadership of it.
    pub(super) fn watch(&mut self, leadership: Leadership, now: Time) {
        self.unheard.push_back(Unheard {
            leadership,
            since: now,
            asked_in: None,
        });
    }

    /// A group here does not sleep under it any more.
    pub(super) fn unwatch(&mut self, group: GroupId) {
        if self.watched.remove(&group).is_none() {
            self.unheard.retain(|unheard| unheard.leadership.group != group);
        }
    }

    /// A pulse of it arrived, to the process `incarnation`. Gives the groups away whose leadership may be over, and
    /// those that are led here and slept there before it was started again.
    pub(super) fn heard(&mut self, pulse: &Pulse, incarnation: u64, now: Time, lost: &mut Vec<GroupId>) {
        let (mut is_late, mut follows) = (false, false);
        if let Some((known, _)) = self.heard {
            if known.incarnation == pulse.id.incarnation {
                is_late = pulse.id.serial <= known.serial;
                follows = is_late || pulse.id.serial - known.serial <= REPEATS;
            } else if mutants::is(Mutant::RestartedPulseCounted) {
                follows = true;
            } else {
                // Nobody there watches anything but what this pulse says. What slept there is awake, and knows no leader.
                let watched = std::mem::take(&mut self.watchers).into_iter();
                lost.extend(watched.filter_map(|(group, asleep)| asleep.then_some(group)));
                self.asleep = 0;
                self.ended.clear();
            }
        }
        if !is_late && pulse.heard.is_some_and(|heard| heard.incarnation != incarnation) {
            // What it knows, or forgot, is of another process of this node.
            follows = false;
            self.owes_answer = true;
        }
        if !follows {
            lost.extend(std::mem::take(&mut self.watched).into_keys());
            self.unheard
                .iter_mut()
                .for_each(|unheard| unheard.asked_in = None);
        }
        if !is_late {
            self.heard = Some((pulse.id, now));
        }
        self.told_ends(&pulse.ended, lost);
        if let Some(heard) = pulse.heard.filter(|heard| heard.incarnation == incarnation) {
            let is_heard =
                |unheard: &Unheard| unheard.asked_in.is_some_and(|asked_in| asked_in <= heard.serial);
            while let Some(unheard) = self.unheard.pop_front_if(|unheard| is_heard(unheard)) {
                let Leadership { group, term } = unheard.leadership;
                self.watched.insert(group, term);
            }
        }
    }

    /// Leaderships of it are over.
    fn told_ends(&mut self, ended: &[Leadership], lost: &mut Vec<GroupId>) {
        for leadership in ended {
            if self.watched.get(&leadership.group) == Some(&leadership.term) {
                self.watched.remove(&leadership.group);
                lost.push(leadership.group);
            }
        }
        if !self.unheard.is_empty() && !ended.is_empty() {
            let ended: BTreeSet<&Leadership> = ended.iter().collect();
            let over = self
                .unheard
                .iter()
                .filter(|unheard| ended.contains(&unheard.leadership));
            lost.extend(over.map(|unheard| unheard.leadership.group));
            self.unheard
                .retain(|unheard| !ended.contains(&unheard.leadership));
        }
    }

    /// Time passed. Gives the groups away whose leader was not heard from, or could not be told that it is watched.
    pub(super) fn expire(&mut self, now: Time, timeout: Duration, lost: &mut Vec<GroupId>) {
        if self.silence_ends(timeout).is_some_and(|end| now >= end) {
            lost.extend(std::mem::take(&mut self.watched).into_keys());
        }
        while let Some(unheard) = self
            .unheard
            .pop_front_if(|unheard| now >= unheard.since + timeout)
        {
            lost.push(unheard.leadership.group);
        }
    }

    /// When what is watched counts as gone if nothing is heard before.
    fn silence_ends(&self, timeout: Duration) -> Option<Time> {
        let (_, heard_at) = self.heard.filter(|_| !self.watched.is_empty())?;
        Some(heard_at + timeout)
    }

    // ---- it watches ----

    /// A group that is led here fell asleep or woke up.
    pub(super) fn leader_rests(&mut self, group: GroupId, asleep: bool) {
        if let Some(known) = self.watchers.get_mut(&group)
            && *known != asleep
        {
            *known = asleep;
            self.asleep = if asleep { self.asleep + 1 } else { self.asleep - 1 };
        }
    }

    /// It wants to watch a leadership here: one that exists, with a leader that sleeps or not, or none.
    pub(super) fn wants_to_watch(&mut self, leadership: Leadership, asleep: Option<bool>) {
        self.owes_answer = true;
        match asleep {
            Some(asleep) => {
                self.watchers.entry(leadership.group).or_insert(false);
                self.leader_rests(leadership.group, asleep);
            }
            None => self.tell_end(leadership),
        }
    }

    /// A leadership here is over.
    pub(super) fn leader_ended(&mut self, leadership: Leadership) {
        if let Some(asleep) = self.watchers.remove(&leadership.group) {
            self.asleep -= usize::from(asleep);
            self.tell_end(leadership);
        }
    }

    fn tell_end(&mut self, leadership: Leadership) {
        if mutants::is(Mutant::EndedLeadershipNotTold) {
            return;
        }
        self.ended.insert(leadership, REPEATS);
        if self.ended.len() > LEADERSHIPS_MAX {
            // Too much to say one by one. Who misses as many pulses as now take no place takes everything for over.
            self.ended.clear();
            self.serial += REPEATS;
            self.owes_answer = true;
        }
    }

    // ---- pulses to it ----

    /// When the next pulse to it is due; none while there is nothing to say.
    fn pulse_due(&self, interval: Duration) -> Option<Time> {
        let speaks =
            self.asleep > 0 || self.owes_answer || !self.ended.is_empty() || !self.unheard.is_empty();
        speaks.then(|| self.sent_at.map_or(Time::ZERO, |sent_at| sent_at + interval))
    }

    /// The pulse to it, if one is due.
    pub(super) fn pulse(&mut self, incarnation: u64, now: Time, interval: Duration) -> Option<Pulse> {
        self.pulse_due(interval).filter(|due| now >= *due)?;
        self.serial += 1;
        self.sent_at = Some(now);
        self.owes_answer = false;
        let serial = self.serial;
        let watches = self.unheard.iter_mut().take(LEADERSHIPS_MAX).map(|unheard| {
            unheard.asked_in.get_or_insert(serial);
            unheard.leadership
        });
        let watches = watches.collect();
        let ended = self.ended.keys().copied().collect();
        self.ended.retain(|_, times| {
            *times -= 1;
            *times > 0
        });
        Some(Pulse {
            id: PulseId { incarnation, serial },
            heard: self.heard.map(|(id, _)| id),
            watches,
            ended,
        })
    }

    /// When time alone will change something.
    pub(super) fn next_deadline(&self, interval: Duration, timeout: Duration) -> Option<Time> {
        let unheard = self.unheard.front().map(|unheard| unheard.since + timeout);
        let all = [self.pulse_due(interval), self.silence_ends(timeout), unheard];
        all.into_iter().flatten().min()
    }
}
